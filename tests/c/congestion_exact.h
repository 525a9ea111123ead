/* SPDX-License-Identifier: BSD-3-Clause */
/* The arithmetic that congestion controls share, and those of a few lines: what
 * each number must be. A part of congestion.c.                              */
#pragma once
#include <string.h>

#include "tcp/cc.h"

#include "check.h"

enum { EXACT_MSS = 1000 };

static struct cc exact_cc(uint32_t segments, uint32_t ssthresh)
{
    return (struct cc){
        .cwnd = segments * EXACT_MSS, .ssthresh = ssthresh * EXACT_MSS, .mss = EXACT_MSS};
}

/* ------------------------------------------------------- cc.c */

/* RFC 3465 2.1: a segment for each window's worth of bytes; the rest is kept. */
static void bytes_beyond_a_window_count_for_the_next(void)
{
    struct cc cc = exact_cc(10, 5);

    cc_grow(&cc, 10000, 25500);
    CHECK(cc.cwnd == 12 * EXACT_MSS && cc.acked == 5500);
    cc_grow(&cc, 12000, 6499);
    CHECK(cc.cwnd == 12 * EXACT_MSS && cc.acked == 11999);
    cc_grow(&cc, 12000, 1);
    CHECK(cc.cwnd == 13 * EXACT_MSS && cc.acked == 0);
}

/* As Linux: what was counted towards a larger need is one segment, no more. */
static void a_need_that_falls_gives_one_segment_at_once(void)
{
    struct cc cc = exact_cc(10, 5);

    cc.acked = 9000;
    cc_grow(&cc, 4000, 1000);
    CHECK(cc.cwnd == 11 * EXACT_MSS && cc.acked == 1000);
    cc.acked = 4000; /* exactly enough */
    cc_grow(&cc, 4000, 3999);
    CHECK(cc.cwnd == 12 * EXACT_MSS && cc.acked == 3999);
}

/* RFC 5681 equation 4: two segments at least; whole ones. */
static void reductions_leave_whole_segments(void)
{
    struct cc cc = exact_cc(10, 5);

    CHECK(cc_whole(&cc, 0) == 2 * EXACT_MSS);
    CHECK(cc_whole(&cc, 2999) == 2 * EXACT_MSS);
    CHECK(cc_whole(&cc, 3000) == 3 * EXACT_MSS);
    CHECK(cc_whole(&cc, 7999) == 7 * EXACT_MSS);
}

static void congestion_controls_have_names(void)
{
    CHECK(strcmp(ust_cc_name(UST_CC_RENO), "reno") == 0);
    CHECK(strcmp(ust_cc_name(UST_CC_PYTHON), "python") == 0);
    CHECK(ust_cc_name(UST_CCS) == NULL);
}

/* ------------------------------------------------------- cc_newreno.c */

/* RFC 5681 equation 4: of what is in flight; RFC 3168 6.1.2: by a mark, of cwnd. */
static void reno_halves_what_is_in_flight(void)
{
    struct cc cc = exact_cc(20, 100);

    cc_newreno.on_loss(&cc, NULL, CC_LOSS, 12001);
    CHECK(cc.ssthresh == 6000);
    cc_newreno.on_loss(&cc, NULL, CC_ECN, 12000);
    CHECK(cc.ssthresh == 10000);
    cc_newreno.on_loss(&cc, NULL, CC_LOSS, 5000); /* 2.5 segments are more than two */
    CHECK(cc.ssthresh == 2500);
    cc_newreno.on_loss(&cc, NULL, CC_LOSS, 3999);
    CHECK(cc.ssthresh == 2000);
}

/* RFC 5681 3.1: slow start below ssthresh, and what is left of an ACK that
 * crosses it counts for congestion avoidance. */
static void reno_counts_what_slow_start_leaves(void)
{
    struct cc cc = exact_cc(10, 12);
    struct cc_ack ack = {.acked = 2001, .cwnd_limited = true};

    cc_newreno.on_ack(&cc, NULL, &ack);
    CHECK(cc.cwnd == 12000 && cc.acked == 1);
    ack.acked = 11998;
    cc_newreno.on_ack(&cc, NULL, &ack);
    CHECK(cc.cwnd == 12000 && cc.acked == 11999);
    ack.acked = 1;
    cc_newreno.on_ack(&cc, NULL, &ack);
    CHECK(cc.cwnd == 13000);
}

/* ------------------------------------------------------- cc_dctcp.c */

struct dctcp_flow {
    struct cc cc;
    uint64_t state[CC_STATE_SIZE / 8];
    struct cc_ack ack;
};

static struct dctcp_flow dctcp_start(void)
{
    struct dctcp_flow f = {.cc = exact_cc(1000, 10), .ack = {.acked = 1000, .una = 1000}};

    cc_dctcp.init(&f.cc, f.state);
    return f;
}

/* One round trip: two ACKs, of which so many bytes were marked. */
static void dctcp_round(struct dctcp_flow *f, uint32_t acked, uint32_t marked)
{
    f->ack.nxt = f->ack.una + acked;
    f->ack.acked = acked / 2;
    f->ack.ce_bytes = marked / 2;
    f->ack.una += acked - 1;
    cc_dctcp.on_ack(&f->cc, f->state, &f->ack);
    f->ack.una++;
    f->ack.nxt += acked;
    cc_dctcp.on_ack(&f->cc, f->state, &f->ack);
}

/* alpha in 1024ths, from what a mark would leave of a million bytes. */
static uint32_t dctcp_alpha(const struct dctcp_flow *f)
{
    struct dctcp_flow g = *f;

    g.cc.mss = 1;
    g.cc.cwnd = 1 << 20;
    cc_dctcp.on_loss(&g.cc, g.state, CC_ECN, 0);
    return ((1 << 20) - g.cc.ssthresh) >> 9;
}

/* RFC 8257 4.2: alpha is 1 at first; 3.3: a sixteenth of the way in each round. */
static void dctcps_alpha_moves_by_a_sixteenth_a_round(void)
{
    struct dctcp_flow f = dctcp_start();

    CHECK(dctcp_alpha(&f) == 1024);
    f.ack.nxt = 1000; /* the first ACK tells where the first round ends */
    cc_dctcp.on_ack(&f.cc, f.state, &f.ack);
    CHECK(dctcp_alpha(&f) == 1024 - 64);
    f.ack.nxt = 17000;
    cc_dctcp.on_ack(&f.cc, f.state, &f.ack);
    CHECK(dctcp_alpha(&f) == 960 - 60);
    dctcp_round(&f, 16000, 4000); /* a quarter of 64 */
    CHECK(dctcp_alpha(&f) == 900 - 56 + 16);
    dctcp_round(&f, 16000, 16000);
    CHECK(dctcp_alpha(&f) == 860 - 53 + 64);
}

/* 3.3: F is the fraction of a whole round trip, not of its last ACK. */
static void dctcp_waits_for_the_end_of_a_round(void)
{
    struct dctcp_flow f = dctcp_start();

    f.ack.nxt = 9000;
    f.ack.ce_bytes = 1000;
    cc_dctcp.on_ack(&f.cc, f.state, &f.ack);
    f.ack.ce_bytes = 0;
    for (f.ack.una = 2000; f.ack.una < 9000; f.ack.una += 1000) {
        f.ack.nxt += 1000; /* goes on, but the round ends where it did */
        cc_dctcp.on_ack(&f.cc, f.state, &f.ack);
        CHECK(dctcp_alpha(&f) == 1024);
    }
    cc_dctcp.on_ack(&f.cc, f.state, &f.ack); /* one in nine was marked */
    CHECK(dctcp_alpha(&f) == 1024 - 64 + 7);
}

/* What fades is gone at last: no mark for many rounds, then alpha is 0. */
static void dctcps_alpha_fades_away(void)
{
    struct dctcp_flow f = dctcp_start();

    for (int i = 0; i < 80; i++)
        dctcp_round(&f, 16000, 0);
    CHECK(dctcp_alpha(&f) == 0);
    dctcp_round(&f, 16000, 16000);
    CHECK(dctcp_alpha(&f) == 64);
    dctcp_round(&f, 16000, 32000); /* more than was acknowledged is not believed */
    CHECK(dctcp_alpha(&f) == 64 - 4 + 64);
    for (int i = 0; i < 200; i++)
        dctcp_round(&f, 16000, 16000);
    CHECK(dctcp_alpha(&f) >= 1009 && dctcp_alpha(&f) <= 1024);
    f = dctcp_start();
    f.ack.acked = 0; /* a round with nothing delivered says nothing */
    cc_dctcp.on_ack(&f.cc, f.state, &f.ack);
    CHECK(dctcp_alpha(&f) == 1024);
    f.ack.acked = 1; /* and a single byte is a round */
    cc_dctcp.on_ack(&f.cc, f.state, &f.ack);
    CHECK(dctcp_alpha(&f) == 1024 - 64);
}

/* RFC 8257 3.3, 3.5: by half of alpha for a mark, by half for a loss. */
static void dctcp_reduces_by_half_of_alpha(void)
{
    struct dctcp_flow f = dctcp_start();

    for (int i = 0; i < 11; i++)
        dctcp_round(&f, 16000, 0);
    CHECK(dctcp_alpha(&f) == 507);
    cc_dctcp.on_loss(&f.cc, f.state, CC_ECN, 1);
    CHECK(f.cc.ssthresh == 752 * EXACT_MSS); /* 1 - 507 / 2048 */
    cc_dctcp.on_loss(&f.cc, f.state, CC_LOSS, 1);
    CHECK(f.cc.ssthresh == 500 * EXACT_MSS);
    f.cc.cwnd = 3 * EXACT_MSS;
    cc_dctcp.on_loss(&f.cc, f.state, CC_LOSS, 1);
    CHECK(f.cc.ssthresh == 2 * EXACT_MSS);
}

/* ------------------------------------------------------- cc_python.c */

static void a_report_tells_what_has_happened_since_the_last(void)
{
    uint64_t state[CC_STATE_SIZE / 8];
    struct cc_report *r = (struct cc_report *)state;
    struct cc cc = exact_cc(10, 5);
    struct cc_ack ack = {.acked = 1000,
                         .in_flight = 7000,
                         .rtt_us = 50,
                         .una = 1000,
                         .nxt = 9000,
                         .cwnd_limited = true};

    memset(state, 0xff, sizeof state);
    cc_python.init(&cc, r);
    CHECK(r->news == UST_CC_START && r->acked == 0 && !r->per_round && r->idle == 0);
    cc_python.on_ack(&cc, r, &ack);
    CHECK(r->news == (UST_CC_START | UST_CC_ACK));
    ack = (struct cc_ack){.acked = 500, .in_flight = 6000, .una = 8999, .nxt = 17000};
    cc_python.on_ack(&cc, r, &ack);
    CHECK(r->news == (UST_CC_START | UST_CC_ACK));
    CHECK(r->acked == 1500 && r->in_flight == 6000 && r->n_acks == 2 && r->rtt_us == 50);
    CHECK(!r->limited && r->round_end == 9000);
    ack.una = 9000;
    ack.cwnd_limited = true;
    cc_python.on_ack(&cc, r, &ack);
    CHECK(r->news == (UST_CC_START | UST_CC_ACK | UST_CC_ROUND));
    CHECK(r->round_end == 17000 && r->limited);
    r->news = r->n_acks = 0; /* taken; the next ACK is no first one */
    ack.nxt = 18000;
    cc_python.on_ack(&cc, r, &ack);
    CHECK(r->news == UST_CC_ACK && r->round_end == 17000);
    cc_python.on_loss(&cc, r, CC_LOSS, 4000);
    CHECK(r->news == (UST_CC_ACK | UST_CC_LOSS) && r->in_flight == 4000);
    cc_python.on_loss(&cc, r, CC_ECN, 4000);
    CHECK(r->news == (UST_CC_ACK | UST_CC_LOSS | UST_CC_ECN));
    cc_python.on_undo(&cc, r);
    CHECK(r->news & UST_CC_UNDO);
    cc_python.on_restart(&cc, r, 77);
    CHECK((r->news & UST_CC_RESTART) && r->idle == 77);
}

/* RFC 5681 3.1, 3.2, until the controller outside has answered. */
static void a_controller_outside_is_stood_in_for(void)
{
    uint64_t state[CC_STATE_SIZE / 8];
    struct cc cc = exact_cc(10, 5);
    struct cc_ack ack = {.acked = 1000, .cwnd_limited = true};

    cc_python.init(&cc, state);
    cc_python.on_ack(&cc, state, &ack);
    CHECK(cc.cwnd == 10000); /* not in slow start: its own business */
    cc_python.on_loss(&cc, state, CC_LOSS, 1);
    CHECK(cc.ssthresh == 5000);
    cc.cwnd = 1000; /* after a timeout slow start is done here */
    cc_python.on_ack(&cc, state, &ack);
    CHECK(cc.cwnd == 2000);
    ack.cwnd_limited = false;
    cc_python.on_ack(&cc, state, &ack);
    CHECK(cc.cwnd == 2000);
    ack.cwnd_limited = true;
    cc.ssthresh = CC_SSTHRESH_NONE; /* nor the first one */
    cc_python.on_ack(&cc, state, &ack);
    CHECK(cc.cwnd == 2000);
}

static void exact_tests(void)
{
    RUN(bytes_beyond_a_window_count_for_the_next);
    RUN(a_need_that_falls_gives_one_segment_at_once);
    RUN(reductions_leave_whole_segments);
    RUN(congestion_controls_have_names);
    RUN(reno_halves_what_is_in_flight);
    RUN(reno_counts_what_slow_start_leaves);
    RUN(dctcps_alpha_moves_by_a_sixteenth_a_round);
    RUN(dctcp_waits_for_the_end_of_a_round);
    RUN(dctcps_alpha_fades_away);
    RUN(dctcp_reduces_by_half_of_alpha);
    RUN(a_report_tells_what_has_happened_since_the_last);
    RUN(a_controller_outside_is_stood_in_for);
}
