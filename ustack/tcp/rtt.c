/* SPDX-License-Identifier: BSD-3-Clause */
/* Round-trip time and the retransmission timeout (RFC 6298).
 *
 * srtt and rttvar are kept times 8 and times 4, so an update is shifts and
 * adds. As in Linux the minimum bounds the variance term, so the RTO stays
 * tcp.rto_min_ms above SRTT.
 *
 * Always: rto_us <= tcp.rto_max_ms; doubled only by rtt_backoff().
 * Not here: which segments may be timed (Karn's rule); see ack.c.           */
#include "tcp.h"

static void set_rto(const struct tcp *tcp, struct tcb *tcb)
{
    const struct settings *set = &tcp->net.core.set;
    uint64_t us, min_us = (uint64_t)set->tcp_rto_min_ms * 1000;
    uint64_t max_us = (uint64_t)set->tcp_rto_max_ms * 1000;

    if (tcb->srtt == 0)
        us = (uint64_t)set->tcp_rto_init_ms * 1000;
    else
        us = tcb->srtt / 8 + (tcb->rttvar > min_us ? tcb->rttvar : min_us);
    us <<= tcb->backoff;
    tcb->rto_us = (uint32_t)(us < max_us ? us : max_us);
}

void rtt_init(const struct tcp *tcp, struct tcb *tcb)
{
    tcb->srtt = tcb->rttvar = 0;
    tcb->backoff = 0;
    set_rto(tcp, tcb);
}

/* RFC 6298 5.7: a SYN was lost, so one second was too hopeful. */
void rtt_after_lost_syn(struct tcb *tcb)
{
    if (tcb->srtt == 0)
        tcb->rto_us = 3000000;
}

void rtt_sample(const struct tcp *tcp, struct tcb *tcb, uint64_t us)
{
    uint32_t r = us > 60000000 ? 60000000 : us == 0 ? 1 : (uint32_t)us;

    if (tcb->srtt == 0) { /* RFC 6298 2.2 */
        tcb->srtt = r * 8;
        tcb->rttvar = r * 2;
    } else { /* 2.3: beta 1/4, alpha 1/8 */
        int32_t err = (int32_t)(r - tcb->srtt / 8);

        tcb->rttvar += (uint32_t)(err < 0 ? -err : err) - tcb->rttvar / 4;
        tcb->srtt += (uint32_t)err;
        if (tcb->srtt < 8)
            tcb->srtt = 8;
    }
    if (r < tcb->min_rtt)
        tcb->min_rtt = r;
    set_rto(tcp, tcb);
}

void rtt_backoff(const struct tcp *tcp, struct tcb *tcb)
{
    if (tcb->backoff < 16)
        tcb->backoff++;
    set_rto(tcp, tcb);
}

void rtt_reset_backoff(const struct tcp *tcp, struct tcb *tcb)
{
    tcb->backoff = 0;
    set_rto(tcp, tcb);
}
