/* SPDX-License-Identifier: BSD-3-Clause */
/* CUBIC (RFC 9438), with HyStart++ in its first slow start. Letters and names
 * in capitals are the RFC's:
 *
 *   W_cubic(t) = C * (t - K)^3 + W_max,  K = cbrt((W_max - cwnd_epoch) / C)
 *
 * t counts from the epoch, the first ACK of congestion avoidance; time without
 * anything in flight does not count (5.8). Windows are bytes, times ms.
 *
 * As Linux: a reduction is of cwnd, not of what is in flight, since cwnd only
 * grows while it is used (4.6 allows it then), and in whole segments; while no
 * loss has told W_max, growth is at least 1/20 a round trip.                */
#include "hystart.h"

enum {
    BETA = 717, /* 0.7 in 1024ths, as Linux rounds it */
    SCALE = 1024,
    T_MAX = 500000, /* ms; keeps (t - K)^3 * mss in 64 bits */
    UNPROBED = 20,
};

/* What undo restores (RFC 9438 4.9). */
struct epoch {
    ust_time start; /* 0: congestion avoidance has not begun */
    uint32_t w_max;
    uint32_t origin; /* what the curve's plateau is: W_max, or cwnd if that is more */
    uint32_t k_ms;
    uint32_t w_est;     /* Reno's window of the same age (4.3) */
    uint32_t est_acked; /* bytes acknowledged since it last grew */
};

struct cubic {
    struct epoch now, before;
    struct hystart hystart;
};

_Static_assert(sizeof(struct cubic) <= CC_STATE_SIZE, "CUBIC's state fits its pool");

static void init(struct cc *cc, void *state)
{
    struct cubic *c = state;

    (void)cc;
    *c = (struct cubic){0};
    hystart_init(&c->hystart);
}

static uint32_t cube_root(uint64_t x)
{
    uint64_t root = 0;

    for (int bit = 21; bit >= 0; bit--) {
        uint64_t r = root | 1ull << bit;

        if (r * r * r <= x)
            root = r;
    }
    return (uint32_t)root;
}

/* K in ms is cbrt(segments / 0.4 * 10^9). */
static void start_epoch(struct cubic *c, const struct cc *cc, ust_time now)
{
    struct epoch *e = &c->now;

    e->start = now ? now : 1;
    e->w_est = cc->cwnd;
    e->est_acked = 0;
    e->origin = cc->cwnd;
    e->k_ms = 0;
    if (cc->cwnd < e->w_max) {
        e->origin = e->w_max;
        e->k_ms = cube_root((uint64_t)(e->w_max - cc->cwnd) * 2500000000u / cc->mss);
    }
}

static uint32_t w_cubic(const struct epoch *e, uint32_t mss, uint64_t t_ms)
{
    uint64_t d = t_ms > e->k_ms ? t_ms - e->k_ms : e->k_ms - t_ms, delta;

    if (d > T_MAX)
        d = T_MAX;
    delta = d * d * d / 2500 * mss / 1000000; /* 0.4 * mss * (d / 1000)^3 */
    if (t_ms < e->k_ms)
        return delta < e->origin ? e->origin - (uint32_t)delta : 0;
    return delta < CC_CWND_MAX - e->origin ? e->origin + (uint32_t)delta : CC_CWND_MAX;
}

/* RFC 9438 4.3: as Reno would, alpha = 9/17 for the same average; when it has
 * come back to where it was, alpha = 1. */
static void grow_estimate(struct epoch *e, const struct cc *cc, uint32_t acked)
{
    uint64_t need = e->w_est < cc->prior_cwnd ? (uint64_t)cc->cwnd * 17 / 9 : cc->cwnd;

    e->est_acked += acked;
    while (e->est_acked >= need && e->w_est < CC_CWND_MAX) {
        e->est_acked -= (uint32_t)need;
        e->w_est += cc->mss;
    }
}

/* RFC 9438 4.4, 4.5: towards where the curve is a round trip from now, by at
 * most half a window in a round trip. */
static void avoid(struct cc *cc, struct cubic *c, const struct cc_ack *ack, uint32_t acked)
{
    struct epoch *e = &c->now;
    uint64_t t, rtt = ack->min_rtt_us == UINT32_MAX ? ack->srtt_us : ack->min_rtt_us;
    uint64_t target, need = UINT32_MAX;

    if (e->start == 0)
        start_epoch(c, cc, ack->now);
    grow_estimate(e, cc, acked);
    t = (ack->now - e->start) / 1000000;
    if (w_cubic(e, cc->mss, t) < e->w_est && cc->cwnd < e->w_est)
        cc->cwnd = e->w_est;
    target = w_cubic(e, cc->mss, t + rtt / 1000);
    if (target > cc->cwnd)
        need = (uint64_t)cc->cwnd * cc->mss / (target - cc->cwnd);
    if (need < 2 * (uint64_t)cc->mss)
        need = 2 * (uint64_t)cc->mss;
    if (e->w_max == 0 && need > UNPROBED * (uint64_t)cc->mss)
        need = UNPROBED * (uint64_t)cc->mss;
    if (need < UINT32_MAX)
        cc_grow(cc, (uint32_t)need, acked);
}

static void on_ack(struct cc *cc, void *state, const struct cc_ack *ack)
{
    struct cubic *c = state;
    uint32_t acked = ack->acked;

    if (!ack->cwnd_limited)
        return;
    if (cc_in_slow_start(cc)) {
        if (cc->ssthresh == CC_SSTHRESH_NONE)
            acked = hystart_acked(&c->hystart, cc, ack);
        acked = cc_slow_start(cc, acked);
    }
    if (acked > 0)
        avoid(cc, c, ack, acked);
}

/* RFC 9438 4.6; 4.7: fast convergence leaves room for others. */
static void on_loss(struct cc *cc, void *state, enum cc_cause cause, uint32_t in_flight)
{
    struct cubic *c = state;

    (void)cause;
    (void)in_flight;
    c->before = c->now;
    if (cc->cwnd < c->now.w_max)
        c->now.w_max = (uint32_t)((uint64_t)cc->cwnd * (SCALE + BETA) / (2 * SCALE));
    else
        c->now.w_max = cc->cwnd;
    c->now.start = 0;
    cc->ssthresh = cc_whole(cc, (uint64_t)cc->cwnd * BETA / SCALE);
}

static void on_undo(struct cc *cc, void *state)
{
    struct cubic *c = state;

    (void)cc;
    c->now = c->before;
}

static void on_restart(struct cc *cc, void *state, ust_time idle)
{
    struct cubic *c = state;

    (void)cc;
    if (c->now.start)
        c->now.start += idle;
}

const struct cc_ops cc_cubic = {
    .only_limited = true,
    .state_size = sizeof(struct cubic),
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_undo = on_undo,
    .on_restart = on_restart,
};
