/* SPDX-License-Identifier: BSD-3-Clause */
/* When in-order text is acknowledged (RFC 9293 3.8.6.3, RFC 5681 4.2), by
 * Linux's rules.
 *
 *   at once    more than one full segment is unacknowledged, and reading would
 *              not bring an ACK anyway; or there are quick ACKs left, which a
 *              connection has when it starts, after a long pause, while its
 *              window grows, and after a segment that should not have come
 *   else       after ato, which follows the gaps between the segments, or with
 *              the answer of the application, if that comes earlier
 *
 * An application that answers within ato makes the connection interactive
 * (pingpong): quick ACKs are not used, for the answer will carry the ACK.
 *
 * ato is in us; 0 until the first text.                                     */
#include "tcp.h"

static uint32_t least_ato(const struct tcp *tcp)
{
    return (uint32_t)tcp->net.core.set.tcp_delack_ms * 1000;
}

static uint32_t most_ato(const struct tcp *tcp)
{
    return (uint32_t)tcp->net.core.set.tcp_delack_max_ms * 1000;
}

static void owe_ack(struct tcp *tcp, struct tcb *tcb)
{
    tcb->ack_now = true;
    tcp_ready(tcp, tcb);
}

/* As many as half the window's segments, within tcp.quickack_segs. */
static void more_quick_acks(const struct tcp *tcp, struct tcb *tcb)
{
    uint32_t n = tcb->rcv_mss ? (tcb->rcv_adv - tcb->rcv_acked) / (2 * tcb->rcv_mss) : 0;
    uint32_t most = (uint32_t)tcp->net.core.set.tcp_quickack_segs;

    n = n ? n : 2;
    n = n < most ? n : most;
    if (n > tcb->quickack)
        tcb->quickack = n;
}

void delack_quick(const struct tcp *tcp, struct tcb *tcb)
{
    more_quick_acks(tcp, tcb);
    tcb->pingpong = false;
    tcb->ato = least_ato(tcp);
}

/* A segment of exactly the size of the one before tells the peer's MSS, too:
 * it may have become smaller. PSH marks the end of something: whoever has read
 * all of it is not waiting for more. */
void delack_measure_mss(struct tcb *tcb, const struct segment *seg)
{
    uint32_t len = seg->m->gso_size ? seg->m->gso_size : seg->text_len, last = tcb->last_seg_len;

    tcb->last_seg_len = 0;
    if (len >= tcb->rcv_mss) {
        tcb->rcv_mss = len < tcb->advmss ? len : tcb->advmss;
        tcb->ack_pushed |= (seg->flags & TH_PSH) != 0;
        return;
    }
    if (len >= 536 || (len >= 88 && !(seg->flags & (TH_FIN | TH_URG | TH_SYN | TH_PSH)))) {
        tcb->last_seg_len = (uint16_t)len;
        if (len == last) {
            tcb->rcv_mss = len;
            return;
        }
    }
    tcb->ack_pushed2 |= tcb->ack_pushed;
    tcb->ack_pushed = true;
}

/* What the gap before this segment teaches. */
static void adapt_ato(const struct tcp *tcp, struct tcb *tcb)
{
    uint64_t gap = (tcp_now(tcp) - tcb_traffic(tcb)->last_text) / 1000;
    uint32_t least = least_ato(tcp);

    if (tcb->ato == 0) {
        more_quick_acks(tcp, tcb);
        tcb->ato = least;
    } else if (gap <= least / 2) {
        tcb->ato = tcb->ato / 2 + least / 2;
    } else if (gap < tcb->ato) {
        tcb->ato = tcb->ato / 2 + (uint32_t)gap;
        if (tcb->ato > tcb->rto_us)
            tcb->ato = tcb->rto_us;
    } else if (gap > tcb->rto_us) {
        more_quick_acks(tcp, tcb); /* the peer has slowed down, let it speed up */
    }
    tcb_own_traffic(tcb)->last_text = tcp_now(tcp);
}

void delack_text_arrived(struct tcp *tcp, struct tcb *tcb, uint32_t len)
{
    adapt_ato(tcp, tcb);
    if (rcvwnd_text_arrived(tcb, len) && tcp->net.core.set.tcp_quickack_segs)
        tcb->quickack |= 1; /* tell the peer of the larger window */
}

static uint32_t delay_us(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t ato = tcb->ato, least = least_ato(tcp), most = most_ato(tcp), rtt = tcb->srtt / 8;

    if (ato > least) {
        uint32_t cap = tcb->pingpong || tcb->ack_pushed ? most : 500000;

        if (rtt && rtt < cap)
            cap = rtt > least ? rtt : least;
        ato = ato < cap ? ato : cap;
    }
    return ato < most ? ato : most > least ? most : least;
}

static void delay(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t us = delay_us(tcp, tcb);
    ust_time at = tcp_now(tcp) + us * 1000ull;

    if (us == 0)
        return owe_ack(tcp, tcb);
    if (!tcp_armed(tcb, TIMER_DELACK))
        return tcp_arm(tcp, tcb, TIMER_DELACK, at);
    if (tcp_deadline(tcb, TIMER_DELACK) <= tcp_now(tcp) + us * 250ull)
        return owe_ack(tcp, tcb); /* nearly over */
    if (at < tcp_deadline(tcb, TIMER_DELACK))
        tcp_arm(tcp, tcb, TIMER_DELACK, at);
}

static bool window_moves(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb->rcvbuf.len < tcb_rcvlowat(tcb) ||
           tcp_window_to_offer(tcp, tcb) >= tcb->rcv_adv - tcb->rcv_acked;
}

/* MUST-58: one decision for all that a burst brings. */
void delack_decide(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t unacked = tcb->rcv_nxt - tcb->rcv_acked;

    if (rcvwnd_pinched(tcb))
        tcb->quickack = 0;
    if (tcb->reass != TCP_NONE || (unacked > tcb->rcv_mss && window_moves(tcp, tcb)) ||
        (tcb->quickack && !tcb->pingpong))
        owe_ack(tcp, tcb);
    else
        delay(tcp, tcb);
}

/* The handshake's ACK may go with the first text: a client that has cleared
 * TCP_QUICKACK, or set TCP_DEFER_ACCEPT, says that it will soon send some. */
void delack_wait_for_text(struct tcp *tcp, struct tcb *tcb)
{
    tcb->rcv_acked = tcb->irs;
    delack_quick(tcp, tcb);
    tcp_arm(tcp, tcb, TIMER_DELACK, tcp_now(tcp) + most_ato(tcp) * 1000ull);
}

/* The application will close in turn, as Linux expects: its FIN carries the ACK,
 * unless it is later than ato. */
void delack_fin(struct tcp *tcp, struct tcb *tcb)
{
    tcb->pingpong = true;
    delack_decide(tcp, tcb);
}

void delack_expired(struct tcp *tcp, struct tcb *tcb)
{
    if (tcb->rcv_nxt == tcb->rcv_acked)
        return;
    count(tcp_core(tcp), C_TCP_DELACKS);
    if (tcb->pingpong) { /* the application did not answer in time */
        tcb->pingpong = false;
        tcb->ato = least_ato(tcp);
    } else {
        tcb->ato = 2 * tcb->ato < tcb->rto_us ? 2 * tcb->ato : tcb->rto_us;
    }
    owe_ack(tcp, tcb);
}

void delack_ack_sent(const struct tcp *tcp, struct tcb *tcb)
{
    bool owed = tcb->rcv_nxt != tcb->rcv_acked || tcb->ack_now;

    tcb->ack_pushed = tcb->ack_pushed2 = false;
    if (!tcb->quickack || !owed)
        return;
    if (--tcb->quickack == 0)
        tcb->ato = least_ato(tcp);
}

void delack_text_sent(const struct tcp *tcp, struct tcb *tcb)
{
    if (tcp_now(tcp) - tcb_traffic(tcb)->last_text < tcb->ato * 1000ull)
        tcb->pingpong = true;
}

/* Linux's rules for a reader: the ACK that waits goes when all has been read
 * and nothing suggests an answer; a window twice as large is worth an ACK. */
void delack_read(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t offered = tcb->rcv_adv - tcb->rcv_nxt, now;
    bool waits = tcb->rcv_nxt != tcb->rcv_acked;
    bool drained = tcb->rcvbuf.len == 0;

    if (!tcb_synchronized(tcb))
        return;
    if (waits && (tcb->rcv_nxt - tcb->rcv_acked > tcb->rcv_mss ||
                  (drained && (tcb->ack_pushed2 || (tcb->ack_pushed && !tcb->pingpong)))))
        return owe_ack(tcp, tcb);
    if (tcb->fin_received || tcb->rcv_shut || 2 * (uint64_t)offered > tcb->rcvwnd.clamp)
        return;
    now = tcp_window_to_offer(tcp, tcb);
    if (now && now >= 2 * offered)
        owe_ack(tcp, tcb);
}

void delack_set_quickack(struct tcp *tcp, struct tcb *tcb, bool on)
{
    tcb->pingpong = !on;
    if (!on || tcb->rcv_nxt == tcb->rcv_acked)
        return;
    if (tcb->state == UST_ESTABLISHED || tcb->state == UST_CLOSE_WAIT)
        owe_ack(tcp, tcb);
}
