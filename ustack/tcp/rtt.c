/* SPDX-License-Identifier: BSD-3-Clause */
/* Round-trip time and the retransmission timeout (RFC 6298).
 *
 * srtt is kept times 8, mdev and rttvar times 4, so an update is shifts and
 * adds. Every ACK may bring a sample, so the deviation would fade within a round
 * trip; as in Linux rttvar is the largest smoothed deviation of a round and
 * falls by a quarter of the difference each round. The minimum bounds it, so
 * that the RTO stays tcp.rto_min_ms above SRTT.
 *
 * Always: rto_us <= tcp.rto_max_ms; doubled only by rtt_backoff().
 * Not here: which transmissions may be timed (Karn's rule); see ack.c.      */
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
    tcb->srtt = tcb->rttvar = tcb->mdev = tcb->mdev_max = 0;
    tcb->backoff = 0;
    set_rto(tcp, tcb);
}

/* RFC 6298 5.7: a SYN was lost, so one second was too hopeful. */
void rtt_after_lost_syn(struct tcb *tcb)
{
    if (tcb->srtt == 0)
        tcb->rto_us = 3000000;
}

static uint32_t bounded(uint64_t us)
{
    return us > 60000000 ? 60000000 : us == 0 ? 1 : (uint32_t)us;
}

/* 2.3, beta 1/4; but a sample below SRTT counts an eighth of that, or a fall in
 * the RTT would raise the RTO. */
static void deviate(struct tcb *tcb, int32_t err)
{
    int32_t by = (err < 0 ? -err : err) - (int32_t)(tcb->mdev / 4);

    if (err < 0 && by > 0)
        by /= 8;
    tcb->mdev += (uint32_t)by;
    if (tcb->mdev > tcb->mdev_max)
        tcb->mdev_max = tcb->mdev;
    if (tcb->mdev_max > tcb->rttvar)
        tcb->rttvar = tcb->mdev_max;
}

/* Once a round trip rttvar falls towards the largest deviation in it. */
static void end_round(const struct tcp *tcp, struct tcb *tcb)
{
    if (!seq_gt(tcb->snd_una, tcb->rtt_seq))
        return;
    if (tcb->mdev_max < tcb->rttvar)
        tcb->rttvar -= (tcb->rttvar - tcb->mdev_max) / 4;
    tcb->rtt_seq = tcb->snd_nxt;
    tcb->mdev_max = (uint32_t)tcp->net.core.set.tcp_rto_min_ms * 1000;
}

void rtt_sample(const struct tcp *tcp, struct tcb *tcb, uint64_t us)
{
    uint32_t r = bounded(us), min_us = (uint32_t)tcp->net.core.set.tcp_rto_min_ms * 1000;

    if (tcb->srtt == 0) { /* RFC 6298 2.2 */
        tcb->srtt = r * 8;
        tcb->mdev = r * 2;
        tcb->rttvar = tcb->mdev_max = tcb->mdev > min_us ? tcb->mdev : min_us;
        tcb->rtt_seq = tcb->snd_nxt;
        rtt_least(tcp, tcb, r);
    } else { /* 2.3, alpha 1/8 */
        int32_t err = (int32_t)(r - tcb->srtt / 8);

        tcb->srtt += (uint32_t)err;
        if (tcb->srtt < 8)
            tcb->srtt = 8;
        deviate(tcb, err);
        end_round(tcp, tcb);
    }
    tcb->backoff = 0; /* RFC 6298 3: only a sample ends it (Karn) */
    set_rto(tcp, tcb);
}

/* The least RTT of the last five minutes, and a bit of what was before. */
void rtt_least(const struct tcp *tcp, struct tcb *tcb, uint64_t us)
{
    uint32_t r = bounded(us);

    if (r > tcb->min_rtt && tcp_now(tcp) - tcb->min_rtt_at < 300 * NS_PER_S)
        return;
    tcb->min_rtt = r;
    tcb->min_rtt_at = tcp_now(tcp);
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
