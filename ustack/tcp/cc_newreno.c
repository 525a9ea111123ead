/* SPDX-License-Identifier: BSD-3-Clause */
/* NewReno's window (RFC 5681 3, RFC 6582), counted in bytes
 * acknowledged (RFC 3465; no limit L in slow start, as Linux), and the restart after idle of RFC 5681 4.1.                   */
#include "cc.h"

static uint32_t halve(const struct cc *cc, uint32_t in_flight)
{
    uint32_t half = in_flight / 2;

    return half > 2 * cc->mss ? half : 2 * cc->mss; /* RFC 5681 equation 4 */
}

static void init(struct cc *cc, uint32_t mss, uint32_t initial_window)
{
    *cc = (struct cc){.cwnd = initial_window, .ssthresh = CC_SSTHRESH_NONE, .mss = mss};
}

static void on_ack(struct cc *cc, const struct cc_ack *ack)
{
    if (!ack->cwnd_limited)
        return;
    if (cc->cwnd < cc->ssthresh) {
        cc->cwnd += ack->acked;
        return;
    }
    cc->acked += ack->acked;
    if (cc->acked >= cc->cwnd) {
        cc->acked -= cc->cwnd;
        cc->cwnd += cc->mss;
    }
}

static void on_loss(struct cc *cc, uint32_t in_flight)
{
    cc->ssthresh = halve(cc, in_flight);
    cc->cwnd = cc->ssthresh;
    cc->acked = 0;
}

static void on_rto(struct cc *cc, uint32_t in_flight, int first)
{
    if (first) /* RFC 5681 3.1: hold ssthresh on a repeated timeout */
        cc->ssthresh = halve(cc, in_flight);
    cc->cwnd = cc->mss;
    cc->acked = 0;
}

static void on_recovered(struct cc *cc, uint32_t in_flight)
{
    uint32_t small = (in_flight > cc->mss ? in_flight : cc->mss) + cc->mss;

    /* RFC 6582 3.2 step 3, option 1: no burst when little is in flight. */
    cc->cwnd = cc->ssthresh < small ? cc->ssthresh : small;
    cc->acked = 0;
}

static void on_idle(struct cc *cc, uint32_t initial_window)
{
    if (cc->cwnd > initial_window)
        cc->cwnd = initial_window;
}

const struct cc_ops cc_newreno = {
    .name = "newreno",
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
    .on_rto = on_rto,
    .on_recovered = on_recovered,
    .on_idle = on_idle,
};
