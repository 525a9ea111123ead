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

/* The estimate of the rate: the greatest of ten rounds. */
static uint64_t bbr_estimate(const struct bbr_flow *f)
{
    struct bbr_flow g = *f;

    cc_bbr.on_restart(&g.cc, g.state, 1); /* paces at the rate itself */
    return g.cc.pacing_rate;
}

static void bbr_believes_the_greatest_rate_of_ten_rounds(void)
{
    struct bbr_flow f = bbr_steady();

    f.ack.rate = 8 * BBR_RATE;
    f.ack.acked = 1000000;
    bbr_round(&f, 1);
    for (int round = 1; round <= 30; round++) {
        uint32_t best = round <= 10 ? 8 : round <= 15 ? 6 : round <= 18 ? 4 : 2;

        f.ack.rate = (round == 5 ? 6 : round == 8 ? 4 : 2) * BBR_RATE;
        bbr_round(&f, 1);
        CHECK(bbr_estimate(&f) == bbr_paced(best * BBR_RATE, 256));
        CHECK(f.cc.cwnd == 2 * best * BBR_BDP + 6 * BBR_MSS);
    }
    f.ack.rate = 3 * BBR_RATE; /* a greater one counts at once */
    bbr_ack(&f);
    CHECK(bbr_estimate(&f) == bbr_paced(3 * BBR_RATE, 256));
}

/* While rates fall the second best is one of the last three quarters of the
 * window, the third of the last half, as in Linux's lib/minmax.c. */
static void bbr_has_younger_rates_at_hand_when_the_best_is_too_old(void)
{
    struct bbr_flow f = bbr_steady();

    for (uint32_t round = 0; round <= 21; round++) {
        uint32_t since = round <= 10 ? 0 : round <= 13 ? 3 : round <= 16 ? 6 : 11;

        f.ack.rate = 10 * BBR_RATE - 1000 * round;
        bbr_round(&f, 1);
        CHECK(bbr_estimate(&f) == bbr_paced(10 * BBR_RATE - 1000 * since, 256));
    }
}

/* Whatever comes: never less than the newest, nor than any of the last two
 * rounds, and no older than the window, but for its quarter. */
static void bbr_forgets_a_rate_after_ten_rounds(void)
{
    struct bbr_flow f = bbr_steady();
    uint32_t rate[400] = {0}, seed = 1;

    for (int r = 0; r < 400; r++) {
        uint64_t most = 0, least = 0, got;

        seed = seed * 1664525 + 1013904223;
        rate[r] = BBR_RATE + (seed >> 8) % 1000 * 100;
        f.ack.rate = rate[r];
        bbr_round(&f, 1);
        for (int i = r > 10 ? r - 10 : 0; i <= r; i++)
            most = rate[i] > most ? rate[i] : most;
        for (int i = r > 2 ? r - 2 : 0; i <= r; i++)
            least = rate[i] > least ? rate[i] : least;
        got = bbr_estimate(&f);
        CHECK(got <= bbr_paced(most, 256));
        CHECK(got >= bbr_paced(least, 256));
    }
}

/* After rounds in which nothing was measured the next sample is all there is. */
static void bbr_has_no_older_rate_than_ten_rounds_after_a_pause(void)
{
    struct bbr_flow f = bbr_steady();

    f.ack.app_limited = true;
    f.ack.rate = BBR_RATE / 2;
    for (int i = 0; i < 30; i++)
        bbr_round(&f, 1); /* says less, for lack of text: not counted */
    CHECK(bbr_estimate(&f) == bbr_paced(BBR_RATE, 256));
    f.ack.app_limited = false;
    bbr_round(&f, 1);
    CHECK(bbr_estimate(&f) == bbr_paced(BBR_RATE / 2, 256));
    f.ack.app_limited = true;
    f.ack.rate = BBR_RATE / 4;
    for (int i = 0; i < 30; i++)
        bbr_round(&f, 1);
    f.ack.rate = BBR_RATE / 2 + 1000; /* more than was known counts all the same */
    bbr_round(&f, 1);
    CHECK(bbr_estimate(&f) == bbr_paced(BBR_RATE / 2 + 1000, 256));
    f.ack.app_limited = false;
    f.ack.rate = BBR_RATE / 4;
    bbr_round(&f, 1);
    CHECK(bbr_estimate(&f) == bbr_paced(BBR_RATE / 2 + 1000, 256));
}

/* What an application that is slow shows again is known to be there still. */
static void bbr_keeps_a_rate_that_is_shown_again(void)
{
    struct bbr_flow f = bbr_steady(), g;

    f.ack.app_limited = true;
    for (int i = 0; i < 15; i++)
        bbr_round(&f, 1);
    f.ack.app_limited = false;
    f.ack.rate = BBR_RATE / 2;
    for (int i = 0; i < 10; i++)
        bbr_round(&f, 1);
    CHECK(bbr_estimate(&f) == bbr_paced(BBR_RATE, 256));
    g = f;
    bbr_round(&g, 1);
    CHECK(bbr_estimate(&g) == bbr_paced(BBR_RATE / 2, 256));
    f.ack.app_limited = true; /* less than the best, so it says nothing */
    f.ack.rate = BBR_RATE - 1;
    bbr_ack(&f);
    f.ack.app_limited = false;
    f.ack.rate = BBR_RATE / 2;
    bbr_round(&f, 1);
    CHECK(bbr_estimate(&f) == bbr_paced(BBR_RATE / 2, 256));
}

static void bbr_keeps_the_best_rate_for_ten_rounds_without_another(void)
{
    for (int pause = 9; pause <= 10; pause++) {
        struct bbr_flow f = bbr_steady();

        bbr_round(&f, 1);
        f.ack.app_limited = true;
        f.ack.rate = BBR_RATE / 2;
        for (int i = 0; i < pause; i++)
            bbr_round(&f, 1);
        f.ack.app_limited = false;
        bbr_round(&f, 1);
        CHECK(bbr_estimate(&f) == bbr_paced(pause == 9 ? BBR_RATE : BBR_RATE / 2, 256));
    }
}

/* The window shows min_rtt: twice what the path holds, and three bursts. */
static uint32_t bbr_window(uint32_t rtt_us)
{
    return 2 * (BBR_RATE / 1000 * rtt_us / 1000) + 6 * BBR_MSS;
}

static void bbr_believes_the_least_round_trip_of_ten_seconds(void)
{
    struct bbr_flow f = bbr_steady();
    ust_time begin;

    f.ack.acked = 50 * BBR_MSS; /* at the target at once */
    bbr_ack(&f);
    CHECK(f.cc.cwnd == bbr_window(100000));
    f.ack.rtt_us = 80000;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == bbr_window(80000));
    begin = f.ack.now;
    f.ack.rtt_us = 0; /* nothing measured */
    bbr_ack(&f);
    f.ack.rtt_us = 120000;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == bbr_window(80000));
    f.ack.now = begin + 10000ull * BBR_MS;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == bbr_window(80000));
    f.ack.rtt_us = 80000; /* the same again is new */
    bbr_ack(&f);
    f.ack.rtt_us = 120000;
    f.ack.now = begin + 20000ull * BBR_MS;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == bbr_window(80000));
    f.ack.now++;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 4 * BBR_MSS);
}

/* Into PROBE_RTT, at the rate that it has measured. */
static struct bbr_flow bbr_probing_rtt(struct bbr_flow f)
{
    f.ack.rtt_us = 120000;
    f.ack.acked = 0;
    bbr_round(&f, 10100);
    CHECK(f.cc.cwnd == 4 * BBR_MSS);
    f.ack.rtt_us = 130000; /* longer, so that 120 ms stay the least */
    return f;
}

/* Four segments for 200 ms and a round trip, from when no more is in flight. */
static void bbr_measures_with_four_segments_for_200_ms(void)
{
    struct bbr_flow f = bbr_steady();
    uint32_t before = f.cc.cwnd;

    for (int again = 0; again < 2; again++) {
        uint32_t sent_before;

        f = bbr_probing_rtt(f);
        CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
        f.ack.pipe = 4 * BBR_MSS + 1;
        bbr_round(&f, 1000); /* the window is not down yet */
        bbr_round(&f, 1000);
        CHECK(f.cc.cwnd == 4 * BBR_MSS);
        sent_before = f.ack.delivered;
        f.ack.delivered += 5;
        f.ack.pipe = 4 * BBR_MSS;
        bbr_ack(&f); /* now it is */
        f.ack.now += 200ull * BBR_MS + 1;
        f.ack.prior_delivered = sent_before;
        bbr_ack(&f);
        CHECK(f.cc.cwnd == 4 * BBR_MSS);
        bbr_round(&f, 0);
        CHECK(f.cc.cwnd == before);
        bbr_round(&f, 9000); /* the next in ten seconds */
        CHECK(f.cc.cwnd == before);
        f.ack.pipe = BBR_BDP;
    }
}

static void bbr_measures_for_200_ms_though_rounds_are_short(void)
{
    struct bbr_flow f = bbr_probing_rtt(bbr_steady());

    f.ack.pipe = 4 * BBR_MSS;
    bbr_round(&f, 0);
    bbr_round(&f, 100);
    bbr_round(&f, 100);
    CHECK(f.cc.cwnd == 4 * BBR_MSS);
    f.ack.now++;
    bbr_ack(&f);
    CHECK(f.cc.cwnd > 4 * BBR_MSS);
}

static void bbr_goes_on_with_startup_when_it_had_not_filled_the_path(void)
{
    struct bbr_flow f = bbr_start();

    f.ack.min_rtt_us = UINT32_MAX;
    bbr_ack(&f);
    f = bbr_probing_rtt(f);
    f.ack.pipe = 0;
    bbr_round(&f, 0);
    f.ack.rate = 2 * BBR_RATE;
    bbr_round(&f, 300);
    CHECK(f.cc.pacing_rate == bbr_paced(2 * BBR_RATE, 739));
    CHECK(f.cc.cwnd >= 10 * BBR_MSS);
}

/* Having been idle is as good as a small window. */
static void bbr_does_not_measure_after_having_been_idle(void)
{
    struct bbr_flow f = bbr_steady();

    f.ack.rtt_us = 120000;
    cc_bbr.on_restart(&f.cc, f.state, 11000ull * BBR_MS);
    f.ack.acked = 50 * BBR_MSS;
    bbr_round(&f, 11000);
    CHECK(f.cc.cwnd == bbr_window(120000));
    bbr_round(&f, 10001);
    CHECK(f.cc.cwnd == 4 * BBR_MSS);
}

static void bbr_paces_at_the_rate_when_it_goes_on(void)
{
    struct bbr_flow f = bbr_probing();

    cc_bbr.on_restart(&f.cc, f.state, 1);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 256));
    f = bbr_full();
    cc_bbr.on_restart(&f.cc, f.state, 1);
    CHECK(f.cc.pacing_rate == bbr_paced(BBR_RATE, 88));
}

/* A loss: what is delivered may be sent, no more, for a round trip; then the
 * window is that of the rate; when all is repaired it is as before. */
static void bbr_conserves_packets_for_a_round_trip_of_recovery(void)
{
    struct bbr_flow f = bbr_steady();
    uint32_t before = f.cc.cwnd;

    cc_bbr.on_loss(&f.cc, f.state, CC_LOSS, f.cc.cwnd);
    f.ack.ca_state = UST_CA_RECOVERY;
    f.ack.delivered += 5;
    f.ack.lost = 3;
    f.ack.pipe = 6 * BBR_MSS;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 7 * BBR_MSS);
    f.ack.lost = 0;
    f.ack.acked = 2 * BBR_MSS;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 8 * BBR_MSS);
    f.ack.pipe = 5 * BBR_MSS;
    f.ack.prior_delivered++; /* sent before the recovery, though in this round */
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 8 * BBR_MSS);
    bbr_round(&f, 100); /* and grows by what is delivered */
    CHECK(f.cc.cwnd == 10 * BBR_MSS);
    f.ack.lost = 2;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 10 * BBR_MSS);
    cc_bbr.on_loss(&f.cc, f.state, CC_LOSS, f.cc.cwnd); /* of the same recovery */
    f.ack.lost = 100;
    f.ack.acked = 0;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == BBR_MSS);
    f.ack.lost = 0;
    f.ack.ca_state = UST_CA_OPEN;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == before);
}

/* The window of before the loss, also where it has been larger once. */
static void bbr_grows_again_when_a_recovery_was_short(void)
{
    struct bbr_flow f = bbr_steady();

    f.cc.cwnd = 8 * BBR_MSS;
    cc_bbr.on_loss(&f.cc, f.state, CC_LOSS, f.cc.cwnd);
    f.ack.pipe = 2 * BBR_MSS;
    f.ack.ca_state = UST_CA_RECOVERY;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 3 * BBR_MSS);
    f.ack.ca_state = UST_CA_OPEN;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 9 * BBR_MSS);
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 10 * BBR_MSS);
}

static void bbr_leaves_a_segment_at_least_of_what_is_lost(void)
{
    struct bbr_flow f = bbr_steady();

    f.ack.ca_state = UST_CA_RECOVERY;
    f.ack.acked = 0;
    f.ack.pipe = 5 * BBR_MSS;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 6 * BBR_MSS); /* the fast retransmit may go */
    f.ack.pipe = 0;
    f.ack.lost = 4;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 2 * BBR_MSS);
    f.ack.lost = 1;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == BBR_MSS);
    f.ack.ca_state = UST_CA_LOSS;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == BBR_MSS);
}

/* CWR is no recovery to it: marks are not its business. */
static void bbr_has_four_segments_at_least(void)
{
    struct bbr_flow f = bbr_steady();

    f.ack.ca_state = UST_CA_CWR;
    f.cc.cwnd = BBR_MSS;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == 4 * BBR_MSS);
}

static void bbr_keeps_the_window_of_before_probe_rtt_through_a_loss(void)
{
    struct bbr_flow f = bbr_steady();
    uint32_t before = f.cc.cwnd;

    f = bbr_probing_rtt(f);
    cc_bbr.on_loss(&f.cc, f.state, CC_LOSS, f.cc.cwnd);
    f.ack.pipe = 0;
    bbr_round(&f, 0);
    f.ack.now += 201ull * BBR_MS;
    bbr_round(&f, 0);
    CHECK(f.cc.cwnd == before);
}

static void bbr_has_ten_segments_while_no_round_trip_is_known(void)
{
    struct bbr_flow f = bbr_start();

    f.ack.min_rtt_us = UINT32_MAX;
    f.ack.rtt_us = 0;
    for (int i = 0; i < 20; i++)
        bbr_ack(&f);
    CHECK(f.cc.cwnd == 16 * BBR_MSS); /* and three bursts */
}

/* What the handshake has measured counts before the first text has. */
static void bbr_takes_over_the_least_round_trip_that_is_known(void)
{
    struct bbr_flow f = bbr_start();

    f.ack.min_rtt_us = 50000;
    f.ack.rtt_us = 0;
    for (int i = 0; i < 40; i++)
        bbr_ack(&f);
    CHECK(f.cc.cwnd == 21 * BBR_MSS); /* 5000 * 739 / 256 + 6000 = 20433 */
}

static void bbr_windows_do_not_overflow(void)
{
    struct bbr_flow f = bbr_start();

    f.ack.rate = 1ull << 40;
    f.cc.cwnd = CC_CWND_MAX - BBR_MSS;
    f.ack.acked = CC_CWND_MAX;
    bbr_ack(&f);
    CHECK(f.cc.cwnd == CC_CWND_MAX);
    bbr_ack(&f);
    CHECK(f.cc.cwnd == CC_CWND_MAX);
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
    RUN(bbr_believes_the_greatest_rate_of_ten_rounds);
    RUN(bbr_forgets_a_rate_after_ten_rounds);
    RUN(bbr_has_younger_rates_at_hand_when_the_best_is_too_old);
    RUN(bbr_has_no_older_rate_than_ten_rounds_after_a_pause);
    RUN(bbr_keeps_a_rate_that_is_shown_again);
    RUN(bbr_keeps_the_best_rate_for_ten_rounds_without_another);
    RUN(bbr_believes_the_least_round_trip_of_ten_seconds);
    RUN(bbr_measures_with_four_segments_for_200_ms);
    RUN(bbr_measures_for_200_ms_though_rounds_are_short);
    RUN(bbr_goes_on_with_startup_when_it_had_not_filled_the_path);
    RUN(bbr_does_not_measure_after_having_been_idle);
    RUN(bbr_paces_at_the_rate_when_it_goes_on);
    RUN(bbr_conserves_packets_for_a_round_trip_of_recovery);
    RUN(bbr_grows_again_when_a_recovery_was_short);
    RUN(bbr_leaves_a_segment_at_least_of_what_is_lost);
    RUN(bbr_has_four_segments_at_least);
    RUN(bbr_keeps_the_window_of_before_probe_rtt_through_a_loss);
    RUN(bbr_has_ten_segments_while_no_round_trip_is_known);
    RUN(bbr_takes_over_the_least_round_trip_that_is_known);
    RUN(bbr_windows_do_not_overflow);
}
