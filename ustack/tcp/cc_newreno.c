/* SPDX-License-Identifier: BSD-3-Clause */
/* NewReno's window (RFC 5681 3, RFC 6582), counted in bytes acknowledged
 * (RFC 3465). It needs no state, so whoever finds the pool empty falls back
 * to it.                                                                    */
#include "cc.h"

static void on_ack(struct cc *cc, void *state, const struct cc_ack *ack)
{
    uint32_t acked = ack->acked;

    (void)state;
    if (!ack->cwnd_limited)
        return;
    if (cc_in_slow_start(cc))
        acked = cc_slow_start(cc, acked);
    if (acked > 0)
        cc_grow(cc, cc->cwnd, acked);
}

/* RFC 5681 equation 4; RFC 3168 6.1.2 */
static void on_loss(struct cc *cc, void *state, enum cc_cause cause, uint32_t in_flight)
{
    uint32_t half = (cause == CC_ECN ? cc->cwnd : in_flight) / 2;

    (void)state;
    cc->ssthresh = half > 2 * cc->mss ? half : 2 * cc->mss;
}

const struct cc_ops cc_newreno = {.only_limited = true, .on_ack = on_ack, .on_loss = on_loss};
