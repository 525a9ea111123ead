/* SPDX-License-Identifier: BSD-3-Clause */
/* Congestion controls outside the engine: reports out, windows in. */
#include <errno.h>

#include "sock.h"

/* While the window is brought down to ssthresh, or grows back to it, that is what
 * the controller decides. */
static bool follows_ssthresh(const struct tcb *tcb)
{
    bool open = tcb->ca_state == UST_CA_OPEN || tcb->ca_state == UST_CA_DISORDER;

    return !open || (tcb->cc.ssthresh != CC_SSTHRESH_NONE && cc_in_slow_start(&tcb->cc));
}

int ust_cc_pending(const struct ust_engine *eng)
{
    return sock_tcp_const(eng)->report_head != TCP_NONE;
}

unsigned ust_cc_reports(struct ust_engine *eng, struct ust_cc_report *reports, unsigned max)
{
    struct tcp *tcp = sock_tcp(eng);
    struct cc_report r;
    const struct tcb *tcb;
    unsigned n;

    for (n = 0; n < max && (tcb = report_take(tcp, &r)); n++)
        reports[n] =
            (struct ust_cc_report){.handle = sock_handle(tcp, tcb),
                                   .user = tcb->user,
                                   .news = r.news,
                                   .mss = tcb->cc.mss,
                                   .cwnd = follows_ssthresh(tcb) ? tcb->cc.ssthresh : tcb->cc.cwnd,
                                   .window = tcb->cc.cwnd,
                                   .prior_cwnd = tcb->cc.prior_cwnd,
                                   .in_flight = r.in_flight,
                                   .rtt_us = r.rtt_us,
                                   .srtt_us = tcb->srtt / 8,
                                   .min_rtt_us = tcb->min_rtt,
                                   .n_acks = r.n_acks,
                                   .acked = r.acked,
                                   .now = tcp_now(tcp),
                                   .idle_ns = r.idle,
                                   .limited = r.limited};
    return n;
}

int ust_cc_update(struct ust_engine *eng, ust_handle h, uint32_t cwnd, uint64_t pacing_rate,
                  int per_round)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (!tcb)
        return -EBADF;
    if (!report_per_round(tcp, tcb, per_round != 0))
        return -EINVAL;
    if (cwnd > CC_CWND_MAX)
        cwnd = CC_CWND_MAX;
    if (cwnd < tcb->cc.mss)
        cwnd = tcb->cc.mss;
    if (follows_ssthresh(tcb))
        tcb->cc.ssthresh = cwnd;
    else
        tcb->cc.cwnd = cwnd;
    if (tcb->cc.cwnd > cwnd && tcb->ca_state == UST_CA_OPEN)
        tcb->cc.cwnd = cwnd;
    if (tcb->cc.ssthresh > cwnd && tcb->cc.ssthresh != CC_SSTHRESH_NONE)
        tcb->cc.ssthresh = cwnd;
    tcb->cc.pacing_rate = pacing_rate > (uint64_t)PACE_MAX ? 0 : pacing_rate;
    tcp_ready(tcp, tcb);
    return 0;
}
