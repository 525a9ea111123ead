/* SPDX-License-Identifier: BSD-3-Clause */
/* The windows of the congestion controls, fed with numbers and nothing else.
 * Sources: tcp/cc.c tcp/cc_newreno.c tcp/cc_python.c tcp/cc_cubic.c tcp/cc_dctcp.c tcp/cc_bbr.c
 * tcp/hystart.c */
#include "tcp/cc.h"

#include "check.h"
#include "congestion_bbr.h"
#include "congestion_bbr_model.h"
#include "congestion_exact.h"

enum { MSS = 1000, MS = 1000000 };

struct flow {
    struct cc cc;
    const struct cc_ops *ops;
    uint64_t state[CC_STATE_SIZE / 8];
    ust_time now;
    uint32_t una, rtt_ms;
};

static struct flow start(enum ust_cc which, uint32_t segments, uint32_t rtt_ms)
{
    struct flow f = {.cc = {.cwnd = segments * MSS, .ssthresh = CC_SSTHRESH_NONE, .mss = MSS},
                     .ops = cc_table[which],
                     .now = 1000ull * MS,
                     .rtt_ms = rtt_ms};

    if (f.ops->init)
        f.ops->init(&f.cc, f.state);
    return f;
}

static void ack(struct flow *f, uint32_t bytes, uint32_t rtt_ms, bool limited)
{
    struct cc_ack a = {.now = f->now,
                       .acked = bytes,
                       .in_flight = f->cc.cwnd,
                       .una = f->una += bytes,
                       .rtt_us = rtt_ms * 1000,
                       .srtt_us = rtt_ms * 1000,
                       .min_rtt_us = f->rtt_ms * 1000,
                       .cwnd_limited = limited};

    a.nxt = f->una + f->cc.cwnd;
    f->ops->on_ack(&f->cc, f->state, &a);
}

/* One round trip, a segment an ACK, spread over its time. */
static void round_trip(struct flow *f, uint32_t rtt_ms)
{
    uint32_t n = f->cc.cwnd / MSS;

    for (uint32_t i = 0; i < n; i++) {
        f->now += (ust_time)rtt_ms * MS / n;
        ack(f, MSS, rtt_ms, true);
    }
}

static void lose(struct flow *f)
{
    f->cc.prior_cwnd = f->cc.cwnd;
    f->cc.prior_ssthresh = f->cc.ssthresh;
    f->cc.acked = 0;
    f->ops->on_loss(&f->cc, f->state, CC_LOSS, f->cc.cwnd);
    f->cc.cwnd = f->cc.ssthresh;
}

/* RFC 5681 3.1 */
static void slow_start_doubles_in_a_round_trip(void)
{
    for (int which = 0; which < UST_CC_BBR; which++) {
        struct flow f = start(which, 10, 100);

        round_trip(&f, 100);
        CHECK(f.cc.cwnd == 20 * MSS);
        round_trip(&f, 100);
        CHECK(f.cc.cwnd == 40 * MSS);
    }
}

/* RFC 5681 3.1: MUST NOT exceed ssthresh by slow start's rule */
static void slow_start_ends_at_ssthresh(void)
{
    struct flow f = start(UST_CC_RENO, 10, 100);

    f.cc.ssthresh = 12 * MSS;
    ack(&f, 4 * MSS, 100, true);
    CHECK(f.cc.cwnd == 12 * MSS);
    CHECK(f.cc.acked == 2 * MSS);
}

static void a_window_that_is_not_used_does_not_grow(void)
{
    for (int which = 0; which < UST_CC_BBR; which++) {
        struct flow f = start(which, 10, 100);

        ack(&f, MSS, 100, false);
        f.cc.ssthresh = 5 * MSS;
        ack(&f, 100 * MSS, 100, false);
        CHECK(f.cc.cwnd == 10 * MSS);
    }
}

/* RFC 5681 3.1, RFC 3465 2.1 */
static void reno_grows_by_a_segment_in_a_round_trip(void)
{
    struct flow f = start(UST_CC_RENO, 10, 100);

    f.cc.ssthresh = 10 * MSS;
    for (int i = 0; i < 9; i++)
        ack(&f, MSS, 100, true);
    CHECK(f.cc.cwnd == 10 * MSS);
    ack(&f, MSS, 100, true);
    CHECK(f.cc.cwnd == 11 * MSS);
}

static void reno_halves(void)
{
    struct flow f = start(UST_CC_RENO, 20, 100);

    lose(&f);
    CHECK(f.cc.ssthresh == 10 * MSS);
    f.cc.cwnd = 3 * MSS;
    lose(&f);
    CHECK(f.cc.ssthresh == 2 * MSS);
}

/* RFC 9438 4.6: beta is 0.7; whole segments, as in Linux */
static void cubic_goes_down_by_three_tenths(void)
{
    struct flow f = start(UST_CC_CUBIC, 10, 100);

    lose(&f);
    CHECK(f.cc.ssthresh == 7 * MSS);
    f.cc.cwnd = 9 * MSS;
    lose(&f);
    CHECK(f.cc.ssthresh == 6 * MSS);
    f.cc.cwnd = 2 * MSS;
    lose(&f);
    CHECK(f.cc.ssthresh == 2 * MSS);
}

/* RFC 9438 4.2: K = cbrt((W_max - cwnd) / C) = cbrt(300 / 0.4) = 9.086 s, where
 * it is back at W_max; and C * 4^3 = 25.6 segments above 4 s later. */
static void cubic_is_back_at_w_max_after_k(void)
{
    struct flow f = start(UST_CC_CUBIC, 1000, 200);
    ust_time begin;

    lose(&f);
    CHECK(f.cc.cwnd == 700 * MSS);
    begin = f.now;
    while (f.now - begin < 9086ull * MS)
        round_trip(&f, 200);
    CHECK(f.cc.cwnd >= 990 * MSS && f.cc.cwnd <= 1002 * MSS);
    while (f.now - begin < 13086ull * MS)
        round_trip(&f, 200);
    CHECK(f.cc.cwnd >= 1020 * MSS && f.cc.cwnd <= 1032 * MSS);
}

/* Concave, then flat, then convex: growth a second falls until K, then rises. */
static void cubic_is_flat_at_w_max(void)
{
    struct flow f = start(UST_CC_CUBIC, 1000, 100);
    uint32_t growth[14], was;

    lose(&f);
    for (int s = 0; s < 14; s++) {
        was = f.cc.cwnd;
        for (int i = 0; i < 10; i++)
            round_trip(&f, 100);
        growth[s] = f.cc.cwnd - was;
    }
    CHECK(growth[0] > growth[3] && growth[3] > growth[6] && growth[6] > growth[8]);
    CHECK(growth[9] < growth[11] && growth[11] < growth[13]);
}

/* RFC 9438 4.7 */
static void cubic_leaves_room_when_it_lost_below_w_max(void)
{
    struct flow f = start(UST_CC_CUBIC, 100, 100);
    ust_time begin;

    lose(&f); /* W_max 100, cwnd 70 */
    lose(&f); /* W_max 70 * 0.85 = 59.5, cwnd 49: K = cbrt(10.5 / 0.4) = 2.97 s */
    CHECK(f.cc.cwnd == 49 * MSS);
    begin = f.now;
    while (f.now - begin < 2970ull * MS)
        round_trip(&f, 100);
    CHECK(f.cc.cwnd >= 59 * MSS && f.cc.cwnd <= 66 * MSS); /* Reno's rate reaches 64.7 */
}

/* RFC 9438 4.3: at 2 ms the cubic curve is far slower than Reno. */
static void cubic_is_no_slower_than_reno(void)
{
    struct flow f = start(UST_CC_CUBIC, 40, 2);

    lose(&f);
    CHECK(f.cc.cwnd == 28 * MSS);
    for (int i = 0; i < 20; i++) /* 9/17 of a segment each, then one */
        round_trip(&f, 2);
    CHECK(f.cc.cwnd >= 37 * MSS && f.cc.cwnd <= 39 * MSS);
    for (int i = 0; i < 20; i++)
        round_trip(&f, 2);
    CHECK(f.cc.cwnd >= 53 * MSS && f.cc.cwnd <= 57 * MSS);
}

/* RFC 9438 4.4: at most half as much again in a round trip, however late */
static void cubic_grows_by_at_most_half_a_window_in_a_round_trip(void)
{
    struct flow f = start(UST_CC_CUBIC, 100, 100);

    lose(&f);
    ack(&f, MSS, 100, true);
    f.now += 3600ull * 1000 * MS;
    for (int i = 0; i < 70; i++)
        ack(&f, MSS, 100, true);
    CHECK(f.cc.cwnd >= 104 * MSS && f.cc.cwnd <= 106 * MSS);
}

/* RFC 9438 5.8: idle time is not on the curve's clock. */
static void cubic_does_not_grow_by_having_been_idle(void)
{
    struct flow f = start(UST_CC_CUBIC, 100, 100), g;

    lose(&f);
    round_trip(&f, 100);
    g = f;
    round_trip(&f, 100);
    g.now += 60ull * 1000 * MS;
    g.ops->on_restart(&g.cc, g.state, 60ull * 1000 * MS);
    round_trip(&g, 100);
    CHECK(f.cc.cwnd == g.cc.cwnd);
}

/* RFC 9438 4.9 */
static void cubic_undoes_a_spurious_reduction(void)
{
    struct flow f = start(UST_CC_CUBIC, 100, 100), g;

    lose(&f);
    round_trip(&f, 100);
    g = f;
    lose(&f);
    f.cc.cwnd = g.cc.cwnd;
    f.cc.ssthresh = g.cc.ssthresh;
    f.cc.acked = g.cc.acked;
    f.cc.prior_cwnd = g.cc.prior_cwnd;
    f.ops->on_undo(&f.cc, f.state);
    for (int i = 0; i < 10; i++) {
        round_trip(&f, 100);
        round_trip(&g, 100);
        CHECK(f.cc.cwnd == g.cc.cwnd);
    }
}

/* RFC 9406 4.2: with RTT 100 ms the threshold is 12.5 ms. */
static void hystart_slows_down_when_the_delay_rises(void)
{
    struct flow f = start(UST_CC_CUBIC, 10, 100);

    round_trip(&f, 100);
    round_trip(&f, 112); /* less than the threshold */
    CHECK(f.cc.cwnd == 40 * MSS);
    round_trip(&f, 125); /* threshold 14 ms now */
    CHECK(f.cc.cwnd == 80 * MSS);
    round_trip(&f, 141);
    CHECK(f.cc.cwnd < 108 * MSS); /* eight samples, then a quarter */
    CHECK(f.cc.ssthresh == CC_SSTHRESH_NONE);
    for (int i = 0; i < 6; i++)
        round_trip(&f, 141);
    CHECK(f.cc.ssthresh != CC_SSTHRESH_NONE && f.cc.ssthresh <= f.cc.cwnd);
}

/* RFC 9406 4.2: a jitter ends conservative slow start, not slow start. */
static void hystart_resumes_when_the_delay_falls_again(void)
{
    struct flow f = start(UST_CC_CUBIC, 10, 100);
    uint32_t was;

    round_trip(&f, 100);
    round_trip(&f, 100);
    round_trip(&f, 130);
    was = f.cc.cwnd;
    CHECK(was < 80 * MSS);
    round_trip(&f, 100);
    round_trip(&f, 100);
    CHECK(f.cc.cwnd > 3 * was);
    CHECK(f.cc.ssthresh == CC_SSTHRESH_NONE);
}

/* RFC 9406 4.2: N_RTT_SAMPLE is 8. */
static void hystart_believes_no_fewer_than_eight_samples(void)
{
    struct flow f = start(UST_CC_CUBIC, 7, 100);

    round_trip(&f, 100);
    f.cc.cwnd = 7 * MSS;
    round_trip(&f, 200);
    CHECK(f.cc.cwnd == 14 * MSS);
}

#include "congestion_cubic.h"

static void windows_do_not_overflow(void)
{
    for (int which = 0; which < UST_CC_BBR; which++) {
        struct flow f = start(which, 10, 100);

        f.cc.cwnd = CC_CWND_MAX - MSS;
        for (int i = 0; i < 100; i++)
            ack(&f, CC_CWND_MAX / 2, 100, true);
        CHECK(f.cc.cwnd <= CC_CWND_MAX && f.cc.cwnd >= CC_CWND_MAX - MSS);
        lose(&f);
        f.now += 1000000ull * 1000 * MS;
        for (int i = 0; i < 100; i++) {
            f.now += 1000000ull * 1000 * MS;
            ack(&f, CC_CWND_MAX / 2, 100, true);
        }
        CHECK(f.cc.cwnd <= CC_CWND_MAX && f.cc.cwnd >= CC_CWND_MAX / 2);
    }
}

int main(void)
{
    RUN(slow_start_doubles_in_a_round_trip);
    RUN(slow_start_ends_at_ssthresh);
    RUN(a_window_that_is_not_used_does_not_grow);
    RUN(reno_grows_by_a_segment_in_a_round_trip);
    RUN(reno_halves);
    RUN(cubic_goes_down_by_three_tenths);
    RUN(cubic_is_back_at_w_max_after_k);
    RUN(cubic_is_flat_at_w_max);
    RUN(cubic_leaves_room_when_it_lost_below_w_max);
    RUN(cubic_is_no_slower_than_reno);
    RUN(cubic_grows_by_at_most_half_a_window_in_a_round_trip);
    RUN(cubic_does_not_grow_by_having_been_idle);
    RUN(cubic_undoes_a_spurious_reduction);
    RUN(hystart_slows_down_when_the_delay_rises);
    RUN(hystart_resumes_when_the_delay_falls_again);
    RUN(hystart_believes_no_fewer_than_eight_samples);
    cubic_tests();
    RUN(windows_do_not_overflow);
    exact_tests();
    bbr_tests();
    bbr_model_tests();
    return 0;
}
