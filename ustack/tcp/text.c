/* SPDX-License-Identifier: BSD-3-Clause */
/* Text and FIN of a segment in the window: the seventh and the eighth step of
 * segment arrival (RFC 9293 3.10.7.4).
 *
 * Always: seg->m is left alone, or queued and then NULL.
 *
 * Not here: whether the segment is taken at all (input.c), text that has to
 * wait for what is before it (reass.c), when it is acknowledged (delack.c).  */
#include "tcp.h"

static void owe_ack(struct tcp *tcp, struct tcb *tcb)
{
    tcb->ack_now = true;
    tcp_ready(tcp, tcb);
}

/* Cuts off what is already received and what lies beyond the window. */
static void trim_to_window(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    uint32_t wnd = tcb->rcv_adv - tcb->rcv_nxt, old;

    if (seq_lt(seg->seq, tcb->rcv_nxt)) {
        dsack_set(tcp, tcb, seg->seq, seq_min(seg->seq + seg->text_len, tcb->rcv_nxt));
        old = tcb->rcv_nxt - seg->seq;
        if (old > seg->text_len)
            old = seg->text_len;
        seg->seq += old;
        seg->text_off = (uint16_t)(seg->text_off + old);
        seg->text_len -= old;
    }
    if (seg->seq + seg->text_len - tcb->rcv_nxt > wnd) {
        seg->text_len = wnd - (seg->seq - tcb->rcv_nxt);
        seg->flags &= (uint8_t)~TH_FIN;
    }
    seg->len = seg->text_len + !!(seg->flags & TH_FIN);
}

static bool receives(const struct tcb *tcb)
{
    return tcb->state == UST_ESTABLISHED || tcb->state == UST_FIN_WAIT_1 ||
           tcb->state == UST_FIN_WAIT_2;
}

static void take_in_order(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;

    mbuf_trim_front(pool, seg->m, seg->text_off);
    mbuf_trim_to(pool, seg->m, seg->text_len);
    tcb->rcv_nxt += seg->text_len;
    traffic_have(tcp, tcb)->bytes_received += seg->text_len;
    rcvbuf_append(pool, &tcb->rcvbuf, seg->m);
    seg->m = NULL;
    rcvwnd_measure(tcp, tcb, seg);
    delack_text_arrived(tcp, tcb, seg->text_len);
    if (tcb->reass != TCP_NONE) {
        reass_drain(tcp, tcb);
        owe_ack(tcp, tcb); /* RFC 5681 4.2: a filled hole is told at once */
    }
    delack_decide(tcp, tcb);
    tcp_changed(tcp, tcb);
}

static void take_out_of_order(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    struct extra *x = extra_have(tcp, tcb);

    if (x && (seg->flags & TH_FIN)) {
        tcb->fin_pending = true;
        x->fin_seq = seg->seq + seg->text_len;
    }
    if (x)
        x->rcv_ooopack += seg->text_len > 0;
    if (seg->text_len > 0)
        reass_add(tcp, tcb, seg);
    count(tcp_core(tcp), C_TCP_DUPACKS_OUT);
    tcb->dupacks_due++; /* each earns its own (RFC 5681 4.2) */
    tcp_ready(tcp, tcb);
}

/* Text for an application that has closed: it is lost, and the peer must know
 * (RFC 9293 3.6.1). The RST is that of a connection that is gone, as Linux's. */
static bool nobody_reads(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!tcb->orphan || seg->text_len == 0 || !seq_gt(seg->seq + seg->text_len, tcb->rcv_nxt))
        return false;
    count(tcp_core(tcp), C_TCP_DROP_CLOSED_RCV);
    if (tcp_send_bare(tcp, &(struct tcp_header){.key = &tcb->key,
                                                .seq = seg->ack,
                                                .flags = TH_RST,
                                                .tos = tcb->tos,
                                                .ttl = tcb->ttl,
                                                .dst = &tcb->dst}))
        count(tcp_core(tcp), C_TCP_RESETS_OUT);
    tcp_done(tcp, tcb, 0);
    return true;
}

/* Text in order is worth more than text that has to wait. */
static bool has_share(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    const struct core *core = tcp_core(tcp);

    if (share_allows(core, seg->m, tcb_rcv_held(tcp, tcb)))
        return true;
    reass_prune(tcp, tcb, seg->seq, 0);
    return share_allows(core, seg->m, tcb_rcv_held(tcp, tcb));
}

/* Text of which nothing is old and nothing beyond the window. */
enum verdict tcp_queue_text(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    struct core *core = tcp_core(tcp);

    if (core->pool.n_free[MBUF_SMALL] < (uint64_t)core->set.mbuf_reserve) {
        owe_ack(tcp, tcb);
        count(core, C_TCP_DROP_NOMBUF);
        return DROP;
    }
    if (!has_share(tcp, tcb, seg)) {
        owe_ack(tcp, tcb);
        count(core, C_TCP_DROP_SHARE);
        return DROP;
    }
    delack_measure_mss(tcb, seg);
    if (seg->seq != tcb->rcv_nxt) {
        take_out_of_order(tcp, tcb, seg);
        return DROP;
    }
    take_in_order(tcp, tcb, seg);
    return PASS;
}

enum verdict tcp_process_text(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    if (seg->text_len == 0 && !(seg->flags & TH_FIN))
        return PASS;
    if (!receives(tcb)) { /* a peer that has sent its FIN should not */
        if (seg->text_len > 0)
            count(tcp_core(tcp), C_TCP_DROP_CLOSED_RCV);
        return PASS;
    }
    if (nobody_reads(tcp, tcb, seg))
        return DROP;
    if (seg->text_len > 0 && tcb->rcv_adv == tcb->rcv_nxt)
        owe_ack(tcp, tcb); /* a probe of our closed window */
    trim_to_window(tcp, tcb, seg);
    if (seg->text_len > 0)
        return tcp_queue_text(tcp, tcb, seg);
    if (seg->seq == tcb->rcv_nxt)
        return PASS;
    take_out_of_order(tcp, tcb, seg);
    return DROP;
}

static void fin_received(struct tcp *tcp, struct tcb *tcb)
{
    tcb->fin_received = true;
    tcb->fin_pending = false;
    reass_free(tcp, tcb); /* behind a FIN there is no text */
    tcb->rcv_nxt++;
    if (seq_lt(tcb->rcv_adv, tcb->rcv_nxt))
        tcb->rcv_adv = tcb->rcv_nxt;
    tcp_changed(tcp, tcb);
}

void tcp_process_fin(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    bool here = (seg->flags & TH_FIN) && seg->seq + seg->len - 1 == tcb->rcv_nxt;

    if (!receives(tcb) || (!here && !(tcb->fin_pending && tcb_extra(tcb)->fin_seq == tcb->rcv_nxt)))
        return;
    fin_received(tcp, tcb);
    switch (tcb->state) {
    case UST_ESTABLISHED:
        tcb->state = UST_CLOSE_WAIT;
        delack_fin(tcp, tcb);
        break;
    case UST_FIN_WAIT_1: /* ours is not acknowledged, or we would be in 2 */
        tcb->state = UST_CLOSING;
        owe_ack(tcp, tcb);
        break;
    case UST_FIN_WAIT_2:
        owe_ack(tcp, tcb);
        tcp_enter_timewait(tcp, tcb);
        break;
    }
}
