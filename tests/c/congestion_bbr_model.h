/* SPDX-License-Identifier: BSD-3-Clause */
/* What BBR believes of the path, and how it treats a loss: see congestion_bbr.h.
 * A part of congestion.c.                                                   */
#pragma once
#include "congestion_bbr.h"

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

/* After rounds that tell nothing the second best may be out of the window, too:
 * then the third is the best, as in Linux's lib/win_minmax.c. */
static void bbr_passes_over_a_second_rate_that_is_too_old_as_well(void)
{
    struct bbr_flow f = bbr_steady();

    for (int round = 0; round <= 14; round++) {
        f.ack.rate = (round == 0 ? 8 : round == 3 ? 6 : round == 6 ? 4 : 1) * BBR_RATE;
        f.ack.app_limited = round > 6 && round < 14;
        bbr_round(&f, 1);
        CHECK(bbr_estimate(&f) == bbr_paced((round < 14 ? 8 : 4) * BBR_RATE, 256));
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

static void bbr_model_tests(void)
{
    RUN(bbr_believes_the_greatest_rate_of_ten_rounds);
    RUN(bbr_forgets_a_rate_after_ten_rounds);
    RUN(bbr_has_younger_rates_at_hand_when_the_best_is_too_old);
    RUN(bbr_passes_over_a_second_rate_that_is_too_old_as_well);
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
