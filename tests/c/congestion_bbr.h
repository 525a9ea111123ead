/* SPDX-License-Identifier: BSD-3-Clause */
/* BBR fed with numbers (draft-cardwell-iccrg-bbr-congestion-control-00; gains as
 * Linux has them: 739, 88, 320, 192 and 512 of 256, and 1 % of margin).
 *
 * A path of 100 kB/s and 100 ms holds ten segments; `ack` is the next ACK, for
 * one segment of the round before unless a test says otherwise. A part of
 * congestion.c.                                                             */
#pragma once
#include "tcp/cc.h"

#include "check.h"

enum { BBR_MSS = 1000, BBR_MS = 1000000, BBR_RATE = 100000, BBR_BDP = 10000 };

struct bbr_flow {
    struct cc cc;
    uint64_t state[CC_STATE_SIZE / 8];
    struct cc_ack ack;
};

static struct bbr_flow bbr_start(void)
{
    struct bbr_flow f = {.cc = {.cwnd = 10 * BBR_MSS,
                                .ssthresh = 20 * BBR_MSS, /* of another before it */
                                .pacing_rate = 12345,
                                .mss = BBR_MSS},
                         .ack = {.now = 1000000ull * BBR_MS,
                                 .acked = BBR_MSS,
                                 .in_flight = BBR_BDP,
                                 .pipe = BBR_BDP + 1,
                                 .rate = BBR_RATE,
                                 .delivered = 100,
                                 .prior_delivered = 90,
                                 .rtt_us = 100000,
                                 .srtt_us = 100000,
                                 .min_rtt_us = 100000}};

    cc_bbr.init(&f.cc, f.state);
    return f;
}

/* One ACK within the round. */
static void bbr_ack(struct bbr_flow *f)
{
    cc_bbr.on_ack(&f->cc, f->state, &f->ack);
}

/* One ACK that ends the round, so much later: for what was sent when the last ended. */
static void bbr_round(struct bbr_flow *f, uint32_t ms)
{
    f->ack.now += (ust_time)ms * BBR_MS;
    f->ack.prior_delivered = f->ack.delivered;
    f->ack.delivered += 10;
    bbr_ack(f);
    f->ack.prior_delivered = f->ack.delivered - 1;
}

/* What a gain makes of the rate, less the margin. */
static uint64_t bbr_paced(uint64_t rate, uint32_t gain)
{
    return rate * gain / 256 * 99 / 100;
}

/* The first round begins, then three without growth; what is in flight keeps it in DRAIN. */
static struct bbr_flow bbr_full(void)
{
    struct bbr_flow f = bbr_start();

    f.cc.cwnd = 100 * BBR_MSS;
    bbr_ack(&f);
    for (int i = 0; i < 4; i++)
        bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 88));
    return f;
}

/* In PROBE_BW, the path as it was. */
static struct bbr_flow bbr_steady(void)
{
    struct bbr_flow f = bbr_full();

    f.ack.pipe = BBR_BDP;
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
    return f;
}

static void bbr_begins_with_its_window_in_a_round_trip(void)
{
    struct bbr_flow f = bbr_start();

    CHECK(f.cc.pacing_rate == 0);
    CHECK(f.cc.ssthresh == CC_SSTHRESH_NONE);
    f.ack.rate = 0;
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == 100000ull * 739 / 256);
    f = bbr_start();
    f.ack.rate = 0;
    f.ack.srtt_us = 0; /* not measured: a millisecond */
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == 10000000ull * 739 / 256);
}

static void bbr_startup_paces_at_2_885_times_the_rate_and_never_less(void)
{
    struct bbr_flow f = bbr_start();

    f.ack.rate = 50000;
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == 100000ull * 739 / 256);
    f.ack.rate = 200000;
    bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == bbr_paced(200000, 739));
}

/* 2.885 times what the path holds, and three bursts of two segments. */
static void bbr_startup_grows_by_what_is_acknowledged_up_to_its_target(void)
{
    struct bbr_flow f = bbr_start();
    uint32_t target = BBR_BDP * 739 / 256 + 3 * 2 * BBR_MSS, was = f.cc.cwnd;

    for (int i = 0; i < 60; i++) {
        bbr_ack(&f);
        CHECK(f.cc.cwnd == was + (was < target ? BBR_MSS : 0));
        was = f.cc.cwnd;
    }
    CHECK(was == 35 * BBR_MSS);
    f.ack.acked = 0;
    f.ack.rate = 2 * BBR_RATE;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == was);
}

/* Of a millisecond at the pacing rate that was, at most 64 KiB. */
static void bbr_adds_three_bursts_to_its_target(void)
{
    struct bbr_flow f = bbr_steady();
    uint64_t was;

    f.ack.acked = 1000000000;
    for (uint64_t rate = 1250000; rate <= 80000000; rate *= 2) {
        f.ack.rate = rate;
        bbr_ack(&f);
        was = f.cc.pacing_rate / 1000;
        f.ack.rate = 1;
        bbr_ack(&f);
        CHECK(was == bbr_paced(rate, 256) / 1000);
        was = was < 2000 ? 2000 : was > 65536 ? 65536 : was;
        CHECK(f.cc.cwnd == rate / 10 * 2 + 3 * was);
    }
}

/* Three rounds that do not bring a quarter more; exactly a quarter is enough. */
static void bbr_startup_ends_after_three_rounds_without_a_quarter_more(void)
{
    struct bbr_flow f = bbr_start();

    f.ack.pipe = 2 * BBR_BDP;
    bbr_ack(&f);
    bbr_round(&f, 100);
    for (int i = 0; i < 2; i++) {
        f.ack.rate = 124999;
        bbr_round(&f, 100);
    }
    f.ack.rate = 125000;
    bbr_round(&f, 100); /* begins to count anew */
    for (int i = 0; i < 2; i++) {
        f.ack.rate = 156249;
        bbr_round(&f, 100);
        bbr_ack(&f); /* within the round: does not count */
        bbr_ack(&f);
        CHECK(f.cc.pacing_rate == bbr_paced(156249, 739));
    }
    bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == bbr_paced(156249, 88));
}

static void bbr_startup_is_not_ended_by_an_application_that_is_slow(void)
{
    struct bbr_flow f = bbr_start();

    bbr_ack(&f);
    f.ack.app_limited = true;
    for (int i = 0; i < 10; i++)
        bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == 100000ull * 739 / 256);
}

/* Undone: the plateau may have been the loss's doing. */
static void bbr_counts_rounds_anew_after_a_needless_reduction(void)
{
    struct bbr_flow f = bbr_start();

    bbr_ack(&f);
    for (int i = 0; i < 3; i++)
        bbr_round(&f, 100);
    cc_bbr.on_undo(&f.cc, f.state);
    for (int i = 0; i < 3; i++)
        bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == 100000ull * 739 / 256);
    bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 88));
}

/* The window of DRAIN is STARTUP's; it ends when no more is in flight than the path holds. */
static void bbr_drains_until_the_path_holds_what_is_in_flight(void)
{
    struct bbr_flow f = bbr_full();

    bbr_round(&f, 100);
    CHECK(f.cc.cwnd == BBR_BDP * 739 / 256 + 6 * BBR_MSS);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 88));
    f.ack.pipe = BBR_BDP;
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
    CHECK(f.cc.cwnd == 2 * BBR_BDP + 6 * BBR_MSS);
}

/* How many round trips until the gain is 1.25, from a start so many ticks later. */
static int bbr_first_probe(unsigned ticks)
{
    struct bbr_flow f = bbr_full();

    f.ack.now += (ust_time)ticks << 16;
    f.ack.pipe = BBR_BDP;
    f.ack.in_flight = 0;
    bbr_ack(&f);
    for (int n = 0; n < 20; n++) {
        bbr_ack(&f); /* no time has passed */
        if (f.cc.pacing_rate == bbr_paced(BBR_RATE, 320))
            return n;
        CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
        bbr_round(&f, 101);
    }
    return -1;
}

/* So that flows do not probe in step. */
static void bbr_begins_its_cycle_anywhere_but_at_1_25_and_0_75(void)
{
    unsigned seen = 0;

    for (unsigned ticks = 0; ticks < 12; ticks++) {
        int n = bbr_first_probe(ticks);

        CHECK(n >= 1 && n <= 6);
        CHECK(n == 1 ? bbr_first_probe(ticks + 1) == 6 : bbr_first_probe(ticks + 1) == n - 1);
        seen |= 1u << n;
    }
    CHECK(seen == 0x7e);
}

/* On to the phase of 1.25. */
static struct bbr_flow bbr_probing(void)
{
    struct bbr_flow f = bbr_steady();

    for (int n = 0; n < 6 && f.cc.pacing_rate == bbr_paced(BBR_RATE, 256); n++)
        bbr_round(&f, 101);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 320));
    return f;
}

static void bbr_probes_for_more_until_it_is_in_flight_or_lost(void)
{
    struct bbr_flow f = bbr_probing(), g;

    f.ack.in_flight = BBR_BDP * 5 / 4 - 1;
    bbr_round(&f, 101);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 320));
    g = f;
    g.ack.in_flight = BBR_BDP * 5 / 4;
    bbr_ack(&g);
    CHECK(g.cc.pacing_rate == bbr_paced(BBR_RATE, 192));
    f.ack.lost = 1;
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 192));
}

static void bbr_probes_for_a_round_trip_at_least(void)
{
    struct bbr_flow f = bbr_probing();

    f.ack.in_flight = 2 * BBR_BDP;
    bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 320));
    f.ack.now++;
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 192));
}

/* 0.75 lasts a round trip, or until the queue is gone; then come six at 1. */
static void bbr_drains_what_it_has_probed_with(void)
{
    struct bbr_flow f = bbr_probing(), g;

    f.ack.in_flight = 2 * BBR_BDP;
    bbr_round(&f, 101);
    g = f;
    f.ack.in_flight = BBR_BDP + 1;
    bbr_round(&f, 100);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 192));
    f.ack.now++;
    bbr_ack(&f);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
    g.ack.in_flight = BBR_BDP;
    bbr_ack(&g);
    CHECK(g.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
    for (int i = 0; i < 5; i++) {
        bbr_round(&g, 101);
        CHECK(g.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
    }
    bbr_round(&g, 101);
    CHECK(g.cc.pacing_rate == bbr_paced(BBR_RATE, 320));
}

static void bbr_tests(void)
{
    RUN(bbr_begins_with_its_window_in_a_round_trip);
    RUN(bbr_startup_paces_at_2_885_times_the_rate_and_never_less);
    RUN(bbr_startup_grows_by_what_is_acknowledged_up_to_its_target);
    RUN(bbr_adds_three_bursts_to_its_target);
    RUN(bbr_startup_ends_after_three_rounds_without_a_quarter_more);
    RUN(bbr_startup_is_not_ended_by_an_application_that_is_slow);
    RUN(bbr_counts_rounds_anew_after_a_needless_reduction);
    RUN(bbr_drains_until_the_path_holds_what_is_in_flight);
    RUN(bbr_begins_its_cycle_anywhere_but_at_1_25_and_0_75);
    RUN(bbr_probes_for_more_until_it_is_in_flight_or_lost);
    RUN(bbr_probes_for_a_round_trip_at_least);
    RUN(bbr_drains_what_it_has_probed_with);
}
