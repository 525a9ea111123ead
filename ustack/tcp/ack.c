/* SPDX-License-Identifier: BSD-3-Clause */
/* What an acknowledgment does (RFC 9293 3.10.7.4, fifth check): validity, RTT
 * (Karn's rule, MUST-18), the send buffer, the window, and the states that wait
 * for our FIN to be acknowledged.                                           */
#include "tcp.h"

static bool fin_acked(const struct tcb *tcb)
{
    return tcb->fin_sent && tcb->snd_una == snd_end(tcb) + 1;
}

/* MUST-34: the window may shrink, even below what is in flight. */
void tcp_update_window(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    uint32_t wnd = (uint32_t)seg->wnd << (seg->flags & TH_SYN ? 0 : tcb->snd_wscale);

    if (!(seq_lt(tcb->snd_wl1, seg->seq) ||
          (tcb->snd_wl1 == seg->seq && seq_leq(tcb->snd_wl2, seg->ack))))
        return;
    if (wnd > tcb->snd_wnd)
        tcp_ready(tcp, tcb);
    if (wnd > 0 && tcb->snd_wnd == 0) {
        tcp_disarm(tcb, TIMER_PERSIST);
        tcb->stalled = 0;
        tcb->probes = 0;
        rtt_reset_backoff(tcp, tcb);
    }
    tcb->snd_wnd = wnd;
    tcb->snd_wl1 = seg->seq;
    tcb->snd_wl2 = seg->ack;
    if (wnd > tcb->max_wnd)
        tcb->max_wnd = wnd;
}

/* RFC 5681 2: the five conditions. */
static bool is_dupack(const struct tcb *tcb, const struct segment *seg)
{
    return tcb->snd_una != tcb->snd_max && seg->len == 0 && seg->ack == tcb->snd_una &&
           (uint32_t)seg->wnd << tcb->snd_wscale == tcb->snd_wnd;
}

/* A segment is timed if nothing since was sent twice; else timestamps tell. */
static void take_rtt(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (tcb->rtt_timing && seq_geq(seg->ack, tcb->rtt_seq)) {
        tcb->rtt_timing = false;
        rtt_sample(tcp, tcb, (tcp_now(tcp) - tcb->rtt_start) / 1000);
    } else if (tcb->retransmits && tcb->ts_ok && seg->opt.ts_ok && seg->opt.ts_ecr) {
        uint32_t age = tcp_ts_now(tcp, tcb->ts_offset) - seg->opt.ts_ecr;

        if (age < 60000)
            rtt_sample(tcp, tcb, age * 1000ull);
    }
}

static void drop_acked(struct tcp *tcp, struct tcb *tcb, uint32_t ack)
{
    uint32_t bytes = ack - tcb->sndbuf.start;

    if (seq_lt(ack, tcb->sndbuf.start))
        return; /* nothing but the SYN */
    if (bytes > tcb->sndbuf.len)
        bytes = tcb->sndbuf.len; /* the FIN holds no byte */
    tcb->bytes_acked += bytes;
    sndbuf_drop(&tcp->net.core.pool, &tcb->sndbuf, bytes);
}

static void new_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    uint32_t acked = seg->ack - tcb->snd_una, flight = tcb_flight(tcb);

    take_rtt(tcp, tcb, seg);
    drop_acked(tcp, tcb, seg->ack);
    tcb->snd_una = seg->ack;
    tcb->snd_nxt = seq_max(tcb->snd_nxt, tcb->snd_una);
    tcb->retransmits = 0;
    tcb->stalled = 0;
    tcb->soft_error = 0;
    rtt_reset_backoff(tcp, tcb);
    neigh_progress(&tcp->net, &tcb->dst);
    recovery_acked(tcp, tcb, acked, flight);
    sndspace_check(tcp, tcb);
    if (tcb->snd_una == tcb->snd_max)
        tcp_disarm(tcb, TIMER_REXMT); /* RFC 6298 5.2 */
    else if (tcb->ca_state != UST_CA_RECOVERY)
        tcp_arm_rexmt(tcp, tcb); /* 5.3 */
    if (snd_end(tcb) + tcb->fin_queued != tcb->snd_nxt || tcb->rexmt_due)
        tcp_ready(tcp, tcb);
}

/* SYN-RECEIVED of a TCB: our SYN is acknowledged, or the ACK is a lie. */
static enum verdict syn_received(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!seq_lt(tcb->snd_una, seg->ack) || seq_gt(seg->ack, tcb->snd_max)) {
        tcp_send_bare(tcp,
                      &(struct tcp_header){
                          .key = &tcb->key, .seq = seg->ack, .flags = TH_RST, .dst = &tcb->dst});
        count(tcp_core(tcp), C_TCP_RESETS_OUT);
        count(tcp_core(tcp), C_TCP_DROP_ACK);
        return DROP;
    }
    take_rtt(tcp, tcb, seg);
    tcb->snd_una = tcb->snd_nxt = seg->ack;
    tcb->syn_due = false;
    tcb->stalled = 0;
    rtt_reset_backoff(tcp, tcb);
    tcb->snd_wnd = (uint32_t)seg->wnd << (seg->flags & TH_SYN ? 0 : tcb->snd_wscale);
    tcb->max_wnd = tcb->snd_wnd;
    tcb->snd_wl1 = seg->seq;
    tcb->snd_wl2 = seg->ack;
    tcp_established(tcp, tcb);
    if (snd_end(tcb) + tcb->fin_queued != tcb->snd_nxt)
        tcp_ready(tcp, tcb);
    if (tcb->fin_queued)
        tcb->state = UST_FIN_WAIT_1;
    return PASS;
}

/* Our FIN has been acknowledged. False: the TCB is gone. */
static bool after_fin(struct tcp *tcp, struct tcb *tcb)
{
    switch (tcb->state) {
    case UST_FIN_WAIT_1:
        tcb->state = UST_FIN_WAIT_2;
        if (tcb->orphan)
            orphan_fin_wait(tcp, tcb);
        return true;
    case UST_CLOSING: tcp_enter_timewait(tcp, tcb); return false;
    case UST_LAST_ACK: tcp_done(tcp, tcb, 0); return false;
    }
    return true;
}

enum verdict tcp_check_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!(seg->flags & TH_ACK)) {
        count(tcp_core(tcp), C_TCP_DROP_NOACK);
        return DROP;
    }
    if (tcb->state == UST_SYN_RECEIVED)
        return syn_received(tcp, tcb, seg);
    if (seq_gt(seg->ack, tcb->snd_max) || seq_lt(seg->ack, tcb->snd_una - tcb->max_wnd)) {
        count(tcp_core(tcp), C_TCP_DROP_ACK); /* RFC 5961 5.2 */
        return DROP_ACK;
    }
    if (seq_gt(seg->ack, tcb->snd_una))
        new_ack(tcp, tcb, seg);
    else if (is_dupack(tcb, seg))
        recovery_dupack(tcp, tcb);
    if (seq_geq(seg->ack, tcb->snd_una))
        tcp_update_window(tcp, tcb, seg);
    if (fin_acked(tcb) && !after_fin(tcp, tcb))
        return DROP;
    return PASS;
}
