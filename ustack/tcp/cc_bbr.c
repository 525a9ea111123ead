/* SPDX-License-Identifier: BSD-3-Clause */
/* BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): instead of
 * filling the queue until it overflows, it learns what the path delivers and how
 * long it takes when empty, and sends at that rate with that much in flight.
 *
 *   bw       the greatest delivery rate of ten round trips
 *   min_rtt  the least round trip of ten seconds
 *
 *   STARTUP    2.885 times the rate, until three rounds bring no quarter more
 *   DRAIN      the inverse, until the queue of STARTUP is gone
 *   PROBE_BW   1.25, 0.75, and six times 1 times the rate, a min_rtt each
 *   PROBE_RTT  after ten seconds without a new minimum: four segments for 200 ms
 *
 * It owns its window also in recovery: a loss holds it to what is delivered for
 * a round trip, and does not reduce it. Gains are 256ths, rates bytes a second. */
#include "cc.h"
#include "seq.h"

enum {
    UNIT = 256,
    HIGH_GAIN = UNIT * 2885 / 1000 + 1,
    DRAIN_GAIN = UNIT * 1000 / 2885,
    CWND_GAIN = UNIT * 2,
    BW_ROUNDS = 10,
    CYCLE = 8,
    FULL_ROUNDS = 3,
    MIN_SEGS = 4,
    MARGIN = 1, /* percent below the estimate */
};

static const ust_time min_rtt_window = 10000000000, probe_rtt_time = 200000000;
static const uint16_t cycle_gain[CYCLE] = {UNIT * 5 / 4, UNIT * 3 / 4, UNIT, UNIT,
                                           UNIT,         UNIT,         UNIT, UNIT};

enum bbr_mode { STARTUP, DRAIN, PROBE_BW, PROBE_RTT };

/* The greatest value of the last rounds: the best, and the best since each. */
struct max_filter {
    uint64_t value[3];
    uint32_t round[3];
};

struct bbr {
    struct max_filter bw;
    uint64_t full_bw;
    ust_time cycle_start, min_rtt_at;
    ust_time probe_rtt_end;   /* 0: the window is not down yet */
    uint32_t min_rtt_us;      /* UINT32_MAX: none */
    uint32_t rounds;          /* round trips so far */
    uint32_t round_delivered; /* packets: the round ends with the ACK of what is sent after */
    uint32_t prior_cwnd;
    uint8_t mode, cycle, full_rounds;
    bool round_start : 1, full : 1, restarting : 1;
    bool probe_rtt_round : 1; /* a round has passed with the window down */
    bool begun : 1, recovering : 1, conserving : 1;
};

_Static_assert(sizeof(struct bbr) <= CC_STATE_SIZE, "BBR's state fits its pool");

/* ------------------------------------------------------- estimates */

static void filter_set(struct max_filter *f, uint64_t value, uint32_t round)
{
    for (int i = 0; i < 3; i++) {
        f->value[i] = value;
        f->round[i] = round;
    }
}

static void filter_shift(struct max_filter *f, uint64_t value, uint32_t round)
{
    for (int i = 0; i < 2; i++) {
        f->value[i] = f->value[i + 1];
        f->round[i] = f->round[i + 1];
    }
    f->value[2] = value;
    f->round[2] = round;
}

/* Keeps the best three of the window in order of age, as the windowed filters
 * of Kathleen Nichols do. */
static void filter_add(struct max_filter *f, uint64_t value, uint32_t round)
{
    uint32_t age = round - f->round[0];

    if (value >= f->value[0] || round - f->round[2] > BW_ROUNDS)
        return filter_set(f, value, round);
    for (int i = 1; i < 3; i++)
        if (value >= f->value[i]) {
            for (; i < 3; i++) {
                f->value[i] = value;
                f->round[i] = round;
            }
        }
    if (age > BW_ROUNDS) { /* the best is too old: the next take its place */
        filter_shift(f, value, round);
        if (round - f->round[0] > BW_ROUNDS) /* so was that one; the third is not */
            filter_shift(f, value, round);
    } else if (f->round[1] == f->round[0] && age > BW_ROUNDS / 4) {
        f->value[1] = f->value[2] = value;
        f->round[1] = f->round[2] = round;
    } else if (f->round[2] == f->round[1] && age > BW_ROUNDS / 2) {
        f->value[2] = value;
        f->round[2] = round;
    }
}

/* gain times the bandwidth-delay product. */
static uint64_t bdp(const struct cc *cc, const struct bbr *b, uint32_t gain)
{
    if (b->min_rtt_us == UINT32_MAX)
        return 10 * (uint64_t)cc->mss;
    return b->bw.value[0] * b->min_rtt_us / 1000000 * gain / UNIT;
}

static void update_round(struct bbr *b, const struct cc_ack *ack)
{
    b->round_start = false;
    if (ack->rate && !seq_lt(ack->prior_delivered, b->round_delivered)) {
        b->round_delivered = ack->delivered;
        b->rounds++;
        b->round_start = true;
        b->conserving = false;
    }
}

static void update_bw(struct bbr *b, const struct cc_ack *ack)
{
    update_round(b, ack);
    if (ack->rate && (!ack->app_limited || ack->rate >= b->bw.value[0]))
        filter_add(&b->bw, ack->rate, b->rounds);
}

/* ------------------------------------------------------- modes */

static void enter_probe_bw(struct bbr *b, ust_time now)
{
    b->mode = PROBE_BW;
    b->cycle = (uint8_t)(2 + (now >> 16) % (CYCLE - 2)); /* anywhere but at 1.25 and 0.75 */
    b->cycle_start = now;
}

static void advance_cycle(const struct cc *cc, struct bbr *b, const struct cc_ack *ack)
{
    bool over = ack->now - b->cycle_start > b->min_rtt_us * 1000ull;
    uint32_t gain = cycle_gain[b->cycle];

    if (b->mode != PROBE_BW)
        return;
    if (gain > UNIT)
        over = over && (ack->lost || ack->in_flight >= bdp(cc, b, gain));
    else if (gain < UNIT)
        over = over || ack->in_flight <= bdp(cc, b, UNIT);
    if (over) {
        b->cycle = (uint8_t)((b->cycle + 1) % CYCLE);
        b->cycle_start = ack->now;
    }
}

static void check_full(struct bbr *b, const struct cc_ack *ack)
{
    if (b->full || !b->round_start || ack->app_limited)
        return;
    if (b->bw.value[0] >= b->full_bw * 5 / 4) {
        b->full_bw = b->bw.value[0];
        b->full_rounds = 0;
    } else {
        b->full = ++b->full_rounds >= FULL_ROUNDS;
    }
}

static void check_drain(const struct cc *cc, struct bbr *b, const struct cc_ack *ack)
{
    if (b->mode == STARTUP && b->full)
        b->mode = DRAIN;
    if (b->mode == DRAIN && ack->pipe <= bdp(cc, b, UNIT))
        enter_probe_bw(b, ack->now);
}

static void leave_probe_rtt(struct cc *cc, struct bbr *b, ust_time now)
{
    b->min_rtt_at = now;
    if (cc->cwnd < b->prior_cwnd)
        cc->cwnd = b->prior_cwnd;
    if (b->full)
        enter_probe_bw(b, now);
    else
        b->mode = STARTUP;
}

static void probe_rtt(struct cc *cc, struct bbr *b, const struct cc_ack *ack)
{
    if (b->probe_rtt_end == 0) {
        if (ack->pipe > MIN_SEGS * cc->mss)
            return;
        b->probe_rtt_end = ack->now + probe_rtt_time;
        b->probe_rtt_round = false;
        b->round_delivered = ack->delivered;
        return;
    }
    b->probe_rtt_round |= b->round_start;
    if (b->probe_rtt_round && ack->now > b->probe_rtt_end)
        leave_probe_rtt(cc, b, ack->now);
}

static void update_min_rtt(struct cc *cc, struct bbr *b, const struct cc_ack *ack)
{
    bool old = ack->now > b->min_rtt_at + min_rtt_window;

    if (ack->rtt_us && (ack->rtt_us <= b->min_rtt_us || old)) {
        b->min_rtt_us = ack->rtt_us;
        b->min_rtt_at = ack->now;
    }
    if (old && !b->restarting && b->mode != PROBE_RTT) {
        b->mode = PROBE_RTT;
        b->prior_cwnd = cc->cwnd;
        b->probe_rtt_end = 0;
    }
    if (b->mode == PROBE_RTT)
        probe_rtt(cc, b, ack);
    b->restarting = false;
}

/* ------------------------------------------------------- rate and window */

static uint32_t pacing_gain(const struct bbr *b)
{
    switch (b->mode) {
    case STARTUP: return HIGH_GAIN;
    case DRAIN: return DRAIN_GAIN;
    case PROBE_BW: return cycle_gain[b->cycle];
    default: return UNIT;
    }
}

static void set_rate(struct cc *cc, const struct bbr *b, uint32_t gain)
{
    uint64_t rate = b->bw.value[0] * gain / UNIT * (100 - MARGIN) / 100;

    if (rate && (b->full || rate > cc->pacing_rate))
        cc->pacing_rate = rate;
}

/* Before anything is measured: the window in the first round trip. */
static void first_rate(struct cc *cc, uint32_t srtt_us)
{
    cc->pacing_rate = (uint64_t)cc->cwnd * 1000000 / (srtt_us ? srtt_us : 1000) * HIGH_GAIN / UNIT;
}

/* True: a loss holds the window. */
static bool recovering(struct cc *cc, struct bbr *b, const struct cc_ack *ack)
{
    bool now = ack->ca_state >= UST_CA_RECOVERY;

    if (ack->lost) {
        uint32_t lost = ack->lost * cc->mss;

        cc->cwnd = cc->cwnd > lost + cc->mss ? cc->cwnd - lost : cc->mss;
    }
    if (now && !b->recovering) {
        b->conserving = true;
        b->round_delivered = ack->delivered;
        cc->cwnd = ack->pipe + (ack->acked > cc->mss ? ack->acked : cc->mss);
    } else if (!now && b->recovering) {
        b->conserving = false;
        if (cc->cwnd < b->prior_cwnd)
            cc->cwnd = b->prior_cwnd;
    }
    b->recovering = now;
    if (b->conserving && cc->cwnd < ack->pipe + ack->acked)
        cc->cwnd = ack->pipe + ack->acked;
    return b->conserving;
}

static void set_cwnd(struct cc *cc, struct bbr *b, const struct cc_ack *ack)
{
    uint32_t gain = b->mode == STARTUP || b->mode == DRAIN ? HIGH_GAIN : CWND_GAIN;
    uint64_t target = bdp(cc, b, gain), burst = cc->pacing_rate / 1000, cwnd;

    if (!recovering(cc, b, ack) && ack->acked) {
        target += 3 * (burst > 2 * cc->mss ? burst < 65536 ? burst : 65536 : 2 * cc->mss);
        cwnd = cc->cwnd + (uint64_t)ack->acked;
        if (b->full)
            cwnd = cwnd < target ? cwnd : target;
        else if (cc->cwnd >= target)
            cwnd = cc->cwnd;
        cc->cwnd = (uint32_t)(cwnd < CC_CWND_MAX ? cwnd : CC_CWND_MAX);
    }
    if (cc->cwnd < MIN_SEGS * cc->mss && !b->recovering)
        cc->cwnd = MIN_SEGS * cc->mss;
    if (b->mode == PROBE_RTT && cc->cwnd > MIN_SEGS * cc->mss)
        cc->cwnd = MIN_SEGS * cc->mss;
}

/* ------------------------------------------------------- what it is told */

static void init(struct cc *cc, void *state)
{
    struct bbr *b = state;

    *b = (struct bbr){.min_rtt_us = UINT32_MAX, .prior_cwnd = cc->cwnd};
    cc->ssthresh = CC_SSTHRESH_NONE;
    cc->pacing_rate = 0;
}

static void begin(struct cc *cc, struct bbr *b, const struct cc_ack *ack)
{
    b->begun = true;
    b->min_rtt_at = b->cycle_start = ack->now;
    b->round_delivered = ack->delivered;
    if (ack->min_rtt_us != UINT32_MAX)
        b->min_rtt_us = ack->min_rtt_us;
    first_rate(cc, ack->srtt_us);
}

static void on_ack(struct cc *cc, void *state, const struct cc_ack *ack)
{
    struct bbr *b = state;

    if (!b->begun)
        begin(cc, b, ack);
    update_bw(b, ack);
    advance_cycle(cc, b, ack);
    check_full(b, ack);
    check_drain(cc, b, ack);
    update_min_rtt(cc, b, ack);
    set_rate(cc, b, pacing_gain(b));
    set_cwnd(cc, b, ack);
}

/* A loss says nothing of the rate; the window is as before when it is repaired. */
static void on_loss(struct cc *cc, void *state, enum cc_cause cause, uint32_t in_flight)
{
    struct bbr *b = state;

    (void)cause;
    (void)in_flight;
    if ((!b->recovering && b->mode != PROBE_RTT) || b->prior_cwnd < cc->cwnd)
        b->prior_cwnd = cc->cwnd;
}

static void on_undo(struct cc *cc, void *state)
{
    struct bbr *b = state;

    (void)cc;
    b->full_bw = 0; /* the plateau may have been the loss's doing */
}

static void on_restart(struct cc *cc, void *state, ust_time idle)
{
    struct bbr *b = state;

    (void)idle;
    b->restarting = true;
    if (b->mode == PROBE_BW)
        set_rate(cc, b, UNIT);
}

const struct cc_ops cc_bbr = {
    .owns_window = true,
    .state_size = sizeof(struct bbr),
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_undo = on_undo,
    .on_restart = on_restart,
};
