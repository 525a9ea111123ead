/* SPDX-License-Identifier: BSD-3-Clause */
/* Urgent data (RFC 6093, RFC 9293 3.8.5), which is one byte that may be read
 * out of its turn: a mark in the stream.
 *
 * On the wire the urgent pointer names the byte behind the last urgent one, as
 * in every stack that is in use (RFC 6093 3.1). Sending: snd_up is that byte
 * until it is acknowledged. Receiving: rcv_up is the urgent byte itself; unless
 * SO_OOBINLINE is set, it is read by MSG_OOB only, and recv passes over it.
 * Reading always stops in front of the mark once.                           */
#include "tcp.h"

void urgent_queue(struct tcp *tcp, struct tcb *tcb)
{
    struct extra *x = extra_have(tcp, tcb);

    if (!x)
        return;
    x->snd_up = snd_end(tcb);
    tcb->snd_urgent = true;
}

bool urgent_sending(struct tcb *tcb)
{
    if (tcb->snd_urgent && seq_leq(tcb_extra(tcb)->snd_up, tcb->snd_una))
        tcb->snd_urgent = false;
    return tcb->snd_urgent;
}

void urgent_mark(struct tcb *tcb, struct tcp_header *h)
{
    uint32_t ahead = tcb_extra(tcb)->snd_up - h->seq;

    if (!urgent_sending(tcb) || seq_geq(h->seq, tcb_extra(tcb)->snd_up))
        return;
    if (ahead > 65535 && !seq_gt(h->seq + 65535, tcb->snd_nxt))
        return;
    h->flags |= TH_URG;
    h->urg = (uint16_t)(ahead < 65535 ? ahead : 65535);
}

uint32_t urgent_read_to(const struct tcb *tcb)
{
    return tcb->rcv_nxt - tcb->fin_received - tcb->rcvbuf.len;
}

/* Sixth: a new mark, if it is ahead of what was read and of the last one. A
 * byte at the old mark that nobody has read in its turn is in line now. */
static void take_mark(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    uint32_t at = seg->seq + (seg->urg ? seg->urg - 1u : 0);
    struct extra *x;

    if (seq_lt(at, tcb->rcv_nxt) || !(x = extra_have(tcp, tcb)))
        return;
    if (tcb->urgent != URGENT_NONE && seq_leq(at, tcb_extra(tcb)->rcv_up))
        return;
    if (tcb->urgent != URGENT_NONE && !tcb->oob_inline && tcb->rcvbuf.len > 0 &&
        tcb_extra(tcb)->rcv_up == urgent_read_to(tcb))
        rcvbuf_read(&tcp->net.core.pool, &tcb->rcvbuf, NULL, 1);
    tcb->urgent = URGENT_COMING;
    x->rcv_up = at;
}

void urgent_input(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    uint32_t off;

    if (seg->flags & TH_URG)
        take_mark(tcp, tcb, seg);
    off = tcb_extra(tcb)->rcv_up - seg->seq;
    if (tcb->urgent != URGENT_COMING || off >= seg->text_len)
        return;
    mbuf_copy_out(&tcp->net.core.pool, seg->m, seg->text_off + off,
                  &tcb_own_extra(tcb)->urgent_byte, 1);
    tcb->urgent = URGENT_HERE;
    tcp_changed(tcp, tcb);
}

bool urgent_at_mark(const struct tcb *tcb)
{
    return tcb->urgent != URGENT_NONE && tcb_extra(tcb)->rcv_up == urgent_read_to(tcb);
}

bool urgent_skips(const struct tcb *tcb)
{
    return !tcb->oob_inline && tcb->rcvbuf.len > 0 && urgent_at_mark(tcb);
}

uint32_t urgent_until_mark(const struct tcb *tcb)
{
    uint32_t ahead = tcb_extra(tcb)->rcv_up - urgent_read_to(tcb);

    if (tcb->urgent == URGENT_NONE || ahead == 0 || ahead >= tcb->rcvbuf.len)
        return tcb->rcvbuf.len;
    return ahead;
}

void urgent_was_read(struct tcb *tcb)
{
    if (tcb->urgent != URGENT_NONE && seq_gt(urgent_read_to(tcb), tcb_extra(tcb)->rcv_up))
        tcb->urgent = URGENT_NONE;
}
