/* SPDX-License-Identifier: BSD-3-Clause */
/* A congestion control outside the engine: what happens is noted in a report
 * that grows until it is taken (report.c), and the answer comes by a call of the
 * boundary, ust_cc_update(). In the meantime a loss halves the window, as
 * RFC 5681 3.2 has it, so a controller that is late or gone does no harm. After
 * a timeout or a pause, slow start up to ssthresh is done here, too.        */
#include <string.h>

#include "cc.h"
#include "seq.h"

static void init(struct cc *cc, void *state)
{
    struct cc_report *r = state;

    (void)cc;
    memset(r, 0, sizeof *r);
    r->news = UST_CC_START;
}

static void on_ack(struct cc *cc, void *state, const struct cc_ack *ack)
{
    struct cc_report *r = state;

    if (cc->ssthresh != CC_SSTHRESH_NONE && cc_in_slow_start(cc) && ack->cwnd_limited)
        cc_slow_start(cc, ack->acked);
    r->news |= UST_CC_ACK;
    r->acked += ack->acked;
    r->in_flight = ack->in_flight;
    r->n_acks++;
    r->limited = ack->cwnd_limited;
    if (ack->rtt_us)
        r->rtt_us = ack->rtt_us;
    if ((r->news & UST_CC_START) && r->n_acks == 1) {
        r->round_end = ack->nxt;
    } else if (seq_geq(ack->una, r->round_end)) {
        r->news |= UST_CC_ROUND;
        r->round_end = ack->nxt;
    }
}

static void on_loss(struct cc *cc, void *state, enum cc_cause cause, uint32_t in_flight)
{
    struct cc_report *r = state;

    r->news |= cause == CC_ECN ? UST_CC_ECN : UST_CC_LOSS;
    r->in_flight = in_flight;
    cc->ssthresh = cc_whole(cc, cc->cwnd / 2);
}

static void on_undo(struct cc *cc, void *state)
{
    (void)cc;
    ((struct cc_report *)state)->news |= UST_CC_UNDO;
}

static void on_restart(struct cc *cc, void *state, ust_time idle)
{
    struct cc_report *r = state;

    (void)cc;
    r->news |= UST_CC_RESTART;
    r->idle = idle;
}

const struct cc_ops cc_python = {
    .state_size = sizeof(struct cc_report),
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_undo = on_undo,
    .on_restart = on_restart,
};
