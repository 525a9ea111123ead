/* SPDX-License-Identifier: BSD-3-Clause */
/* CUBIC's curve (RFC 9438 4), by how many bytes the next segment of the window
 * takes. A part of congestion.c, whose struct flow it uses.                 */
#pragma once

/* Bytes that let the window grow by a segment now: what a flow has counted is
 * tried until one byte more is enough. */
static uint32_t needed(const struct flow *f)
{
    uint32_t least = 0, most = 1u << 30;

    while (least < most) {
        uint32_t middle = least + (most - least) / 2;
        struct flow g = *f;

        g.cc.acked = middle;
        ack(&g, 1, f->rtt_ms, true);
        if (g.cc.cwnd > f->cc.cwnd)
            most = middle;
        else
            least = middle + 1;
    }
    return least + 1;
}

/* RFC 9438 4.4: cwnd / (target - cwnd) segments, all in segments. */
static bool needs(const struct flow *f, double target, double tolerance)
{
    double cwnd = f->cc.cwnd / (double)MSS, want = cwnd / (target - cwnd) * MSS;
    double off = needed(f) / want - 1;

    return off <= tolerance && off >= -tolerance;
}

/* RFC 9438 4.2, 4.4: W_cubic a round trip from now, with C = 0.4 and K = 9.0856 s. */
static void cubic_grows_towards_the_curve_of_a_round_trip_from_now(void)
{
    struct flow f = start(UST_CC_CUBIC, 1000, 200);
    ust_time begin;
    double k = 9.0856, d;

    lose(&f);
    CHECK(needs(&f, 1000 - 0.4 * (k - 0.2) * (k - 0.2) * (k - 0.2), 0.005));
    ack(&f, 1, 200, true);
    begin = f.now;
    f.now = begin + 5000ull * MS;
    d = 5.2 - k;
    f.cc.cwnd = 900 * MSS;
    CHECK(needs(&f, 1000 + 0.4 * d * d * d, 0.002));
    f.now = begin + 20000ull * MS;
    d = 20.2 - k;
    f.cc.cwnd = 1400 * MSS;
    CHECK(needs(&f, 1000 + 0.4 * d * d * d, 0.002));
    f.cc.cwnd = 1100 * MSS; /* 2.5 segments for one: its 20.2 s are less than half above */
    CHECK(needs(&f, 1000 + 0.4 * d * d * d, 0.002));
    CHECK(needed(&f) > 2 * MSS && needed(&f) < 3 * MSS);
    f.cc.cwnd = 1000 * MSS; /* 4.4: the target is at most half as much again */
    CHECK(needed(&f) == 2 * MSS);
}

/* A second loss below W_max: 4.7 makes it 59.5, and time begins anew. */
static void cubics_curve_begins_anew_with_each_loss(void)
{
    struct flow f = start(UST_CC_CUBIC, 100, 100);
    double k = 2.9719;

    lose(&f);
    ack(&f, 1, 100, true);
    f.now += 50000ull * MS;
    lose(&f);
    CHECK(f.cc.cwnd == 49 * MSS);
    CHECK(needs(&f, 59.5 - 0.4 * (k - 0.1) * (k - 0.1) * (k - 0.1), 0.01));
}

/* RFC 9438 4.2: above W_max the curve begins flat, where the window is. */
static void cubic_begins_at_the_window_when_that_is_above_w_max(void)
{
    struct flow f = start(UST_CC_CUBIC, 100, 100);

    lose(&f);
    ack(&f, 1, 100, true); /* an epoch with a K of its own */
    lose(&f);
    f.cc.cwnd = 120 * MSS;
    ack(&f, 1, 100, true);
    f.now += 10000ull * MS;
    f.cc.cwnd = 500 * MSS;
    CHECK(needs(&f, 120 + 0.4 * 10.1 * 10.1 * 10.1, 0.002));
}

/* As Linux, while no loss has told where the plateau is. */
static void cubic_grows_by_a_twentieth_at_least_before_the_first_loss(void)
{
    struct flow f = start(UST_CC_CUBIC, 100, 100);

    f.cc.ssthresh = 100 * MSS;
    CHECK(needed(&f) == 20 * MSS);
    ack(&f, 1, 100, true);
    f.now += 4000ull * MS;
    CHECK(needs(&f, 100 + 0.4 * 4.1 * 4.1 * 4.1, 0.002)); /* 27 more */
    lose(&f);
    f.cc.cwnd = 99 * MSS;
    CHECK(needed(&f) > 20 * MSS);
}

/* RFC 9438 4.2: the least round trip is the path's; without one, the smoothed. */
static void cubic_takes_the_least_round_trip_that_is_known(void)
{
    struct flow f = start(UST_CC_CUBIC, 1000, 200), g;
    struct cc_ack a = {.acked = 500, .cwnd_limited = true, .srtt_us = 200000};

    lose(&f);
    a.now = f.now;
    f.cc.acked = needed(&f) - 500;
    g = f;
    a.min_rtt_us = UINT32_MAX;
    f.ops->on_ack(&f.cc, f.state, &a);
    CHECK(f.cc.cwnd == 701 * MSS);
    a.min_rtt_us = 100000;
    g.ops->on_ack(&g.cc, g.state, &a);
    CHECK(g.cc.cwnd == 700 * MSS);
}

/* However long it has been, time does not wrap round to a small window. */
static void cubics_curve_never_comes_down_again(void)
{
    struct flow f = start(UST_CC_CUBIC, 1000, 200);

    lose(&f);
    ack(&f, 1, 200, true);
    for (int i = 0; i < 100; i++) {
        f.now += 100003ull * 1000 * MS;
        CHECK(needed(&f) == 2 * MSS);
    }
}

/* RFC 9438 4.3: the estimate of Reno's window counts only where the curve is below it. */
static void cubic_does_not_jump_to_renos_window_below_its_curve(void)
{
    struct flow f = start(UST_CC_CUBIC, 129, 1);

    lose(&f);
    while (f.cc.cwnd < 100 * MSS)
        ack(&f, MSS, 1, true);
    f.now += 60000ull * MS;
    f.cc.cwnd = 95 * MSS;
    ack(&f, 1, 1, true);
    CHECK(f.cc.cwnd <= 96 * MSS);
}

/* RFC 9438 4.3: 9/17 of a segment for each window, and a whole one when it is
 * back at the window before the loss. No time passes, so the curve stands still. */
static void cubics_estimate_of_reno_is_exact(void)
{
    struct flow f = start(UST_CC_CUBIC, 129, 0);
    uint64_t est = 90 * MSS, acked = 0;

    lose(&f);
    CHECK(f.cc.cwnd == est);
    while (est < 140 * MSS) {
        uint64_t need = est < 129 * MSS ? est * 17 / 9 : est;

        ack(&f, MSS, 0, true);
        acked += MSS;
        if (acked >= need) {
            acked -= need;
            est += MSS;
        }
        CHECK(f.cc.cwnd == est);
    }
    lose(&f); /* and again: what was counted is forgotten */
    est = f.cc.cwnd;
    for (acked = 0; acked + MSS < est * 17 / 9; acked += MSS) {
        ack(&f, MSS, 0, true);
        CHECK(f.cc.cwnd == est);
    }
    ack(&f, MSS, 0, true);
    CHECK(f.cc.cwnd == est + MSS);
}

static void cubic_tests(void)
{
    RUN(cubic_grows_towards_the_curve_of_a_round_trip_from_now);
    RUN(cubics_curve_begins_anew_with_each_loss);
    RUN(cubic_begins_at_the_window_when_that_is_above_w_max);
    RUN(cubic_grows_by_a_twentieth_at_least_before_the_first_loss);
    RUN(cubic_takes_the_least_round_trip_that_is_known);
    RUN(cubics_curve_never_comes_down_again);
    RUN(cubic_does_not_jump_to_renos_window_below_its_curve);
    RUN(cubics_estimate_of_reno_is_exact);
}
