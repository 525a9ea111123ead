/* SPDX-License-Identifier: BSD-3-Clause */
/* Loss recovery: fast retransmit and NewReno's fast recovery (RFC 5681 3.2,
 * RFC 6582), and what a retransmission timeout does to the send sequence.
 *
 *   OPEN -- dupack --> DISORDER -- 3rd dupack --> RECOVERY -- full ACK --> OPEN
 *     any -- RTO --> LOSS -- ACK beyond recover --> OPEN
 *
 * recover is the last sequence number sent when the episode began; until it
 * is acknowledged, new duplicate ACKs start no new episode.
 *
 * Congestion control says how much; this file says which bytes.             */
#include "tcp.h"

static uint32_t window_flight(const struct tcb *tcb)
{
    uint32_t flight = tcb_flight(tcb);

    return flight < tcb->snd_wnd ? flight : tcb->snd_wnd;
}

uint32_t recovery_window(const struct tcb *tcb)
{
    return tcb->cc.cwnd + tcb->inflate;
}

static void enter_recovery(struct tcp *tcp, struct tcb *tcb)
{
    count(tcp_core(tcp), C_TCP_REXMT_FAST);
    tcb->ca_state = UST_CA_RECOVERY;
    tcb->recover = tcb->snd_max - 1;
    tcb->partial_seen = false;
    congestion_lost(tcp, tcb, CC_LOSS, window_flight(tcb));
    tcb->cc.cwnd = tcb->cc.ssthresh;
    tcb->inflate = tcb->dupacks * tcb->snd_mss;
    tcb->rexmt_due = true;
}

void recovery_dupack(struct tcp *tcp, struct tcb *tcb)
{
    tcb->dupacks++;
    tcb->dupacks_in++;
    count(tcp_core(tcp), C_TCP_DUPACKS_IN);
    if (tcb->ca_state == UST_CA_RECOVERY) {
        tcb->inflate += tcb->snd_mss; /* a segment has left the network */
    } else if (tcb->ca_state == UST_CA_LOSS) {
        return;
    } else if (tcb->dupacks == (uint32_t)tcp->net.core.set.tcp_dupacks &&
               seq_gt(tcb->snd_una, tcb->recover)) {
        enter_recovery(tcp, tcb);
    } else {
        tcb->ca_state = UST_CA_DISORDER;
        return;
    }
    tcp_ready(tcp, tcb);
}

static void partial_ack(struct tcp *tcp, struct tcb *tcb, uint32_t acked)
{
    count(tcp_core(tcp), C_TCP_REXMT_PARTIAL);
    tcb->rexmt_due = true;
    tcb->inflate = tcb->inflate > acked ? tcb->inflate - acked : 0;
    if (acked >= tcb->snd_mss)
        tcb->inflate += tcb->snd_mss;
    if (!tcb->partial_seen) /* RFC 6582 4: the impatient variant */
        tcp_arm_rexmt(tcp, tcb);
    tcb->partial_seen = true;
}

/* RFC 6582 3.2 step 3, option 1: no burst when little is in flight. */
static uint32_t window_after_recovery(const struct tcb *tcb)
{
    uint32_t flight = tcb_flight(tcb), mss = tcb->snd_mss;
    uint32_t small = (flight > mss ? flight : mss) + mss;

    return tcb->cc.ssthresh < small ? tcb->cc.ssthresh : small;
}

void recovery_acked(struct tcp *tcp, struct tcb *tcb, uint32_t acked, uint32_t flight)
{
    struct cc_ack ack = {.acked = acked, .in_flight = flight};

    tcb->dupacks = 0;
    if (tcb->ca_state == UST_CA_OPEN) /* 2 GiB later it would seem to lie ahead */
        tcb->recover = seq_max(tcb->recover, tcb->snd_una - 1);
    if (tcb->ca_state == UST_CA_RECOVERY) {
        if (seq_leq(tcb->snd_una, tcb->recover))
            return partial_ack(tcp, tcb, acked);
        tcb->inflate = 0;
        tcb->cc.cwnd = window_after_recovery(tcb);
        tcb->ca_state = UST_CA_OPEN;
        return;
    }
    if (tcb->ca_state == UST_CA_DISORDER ||
        (tcb->ca_state == UST_CA_LOSS && seq_gt(tcb->snd_una, tcb->recover)))
        tcb->ca_state = UST_CA_OPEN;
    congestion_acked(tcp, tcb, &ack);
}

void recovery_rto(struct tcp *tcp, struct tcb *tcb)
{
    count(tcp_core(tcp), C_TCP_REXMT_RTO);
    congestion_rto(tcp, tcb, window_flight(tcb), tcb->retransmits > 0);
    tcb->ca_state = UST_CA_LOSS;
    tcb->recover = tcb->snd_max - 1;
    tcb->inflate = 0;
    tcb->dupacks = 0;
    tcb->rtt_timing = false; /* Karn (MUST-18) */
    tcb->snd_nxt = tcb->snd_una;
    tcb->rexmt_due = true;
}
