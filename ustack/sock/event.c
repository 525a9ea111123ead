/* SPDX-License-Identifier: BSD-3-Clause */
/* Readiness: which sockets have news. A socket stands in the event list at most
 * once, and what is reported is its readiness when the list is read, so the
 * list is bounded and never stale.                                          */
#include "sock.h"

/* SO_RCVLOWAT, but for a window that would not let more come. */
static bool enough_to_read(const struct tcb *tcb)
{
    uint32_t inq = tcb->rcvbuf.len - (tcb->urgent != URGENT_NONE && urgent_skips(tcb));

    return inq > 0 && (inq >= tcb_rcvlowat(tcb) || tcb->rcv_adv - tcb->rcv_nxt <= tcb->rcv_mss);
}

unsigned sock_ready(const struct tcp *tcp, const struct tcb *tcb)
{
    unsigned r = 0;

    if (tcb->state == UST_LISTEN)
        return tcp->listeners[tcb->listener].n_accept ? UST_READABLE : 0;
    if (tcb->error)
        r |= UST_ERROR | UST_READABLE | UST_WRITABLE;
    if (tcb->urgent == URGENT_HERE && !tcb->oob_inline)
        r |= UST_URGENT;
    if (enough_to_read(tcb) || tcb->fin_received || tcb->rcv_shut)
        r |= UST_READABLE;
    if (sock_may_send(tcb)) {
        r |= UST_CONNECTED;
        if (sndspace_writable(tcp, tcb))
            r |= UST_WRITABLE;
    } else if (tcb->fin_queued) {
        r |= UST_CONNECTED;
    }
    if (tcb->state == UST_CLOSED)
        r |= UST_HUP | (tcb->irs || tcb->iss ? UST_READABLE : 0);
    else if (tcb->fin_received && tcb->fin_queued)
        r |= UST_HUP;
    return r;
}

int ust_readable(const struct ust_engine *eng, ust_handle h)
{
    const struct tcb *tcb = sock_find(sock_tcp_const(eng), h);

    if (!tcb || tcb->state == UST_LISTEN || tcb->state == UST_CLOSED || tcb->error)
        return (ust_ready(eng, h) & UST_READABLE) != 0; /* -EBADF has every bit but one */
    return enough_to_read(tcb) || tcb->fin_received || tcb->rcv_shut;
}

void sock_changed(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t i = tcb_index(tcp, tcb);

    if (tcb->event_queued)
        return;
    tcb->event_queued = true;
    tcb->event_prev = tcp->event_tail;
    tcb->event_next = TCP_NONE;
    if (tcp->event_tail == TCP_NONE)
        tcp->event_head = i;
    else
        tcp->tcbs[tcp->event_tail].event_next = i;
    tcp->event_tail = i;
}

void sock_gone(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->event_queued)
        return;
    tcb->event_queued = false;
    if (tcb->event_prev == TCP_NONE)
        tcp->event_head = tcb->event_next;
    else
        tcp->tcbs[tcb->event_prev].event_next = tcb->event_next;
    if (tcb->event_next == TCP_NONE)
        tcp->event_tail = tcb->event_prev;
    else
        tcp->tcbs[tcb->event_next].event_prev = tcb->event_prev;
}

static unsigned dgram_events(struct udp *udp, struct ust_event *ev, unsigned max)
{
    unsigned n;

    for (n = 0; n < max && udp->event_head != UDP_NONE; n++) {
        struct udp_sock *s = &udp->socks[udp->event_head];

        udp_unevent(udp, s);
        ev[n] = (struct ust_event){.handle = dgram_handle(udp, s),
                                   .user = s->user,
                                   .events = dgram_ready(s),
                                   .error = s->error};
    }
    return n;
}

int ust_engine_has_events(struct ust_engine *eng)
{
    struct tcp *tcp = sock_tcp(eng);

    return tcp->event_head != TCP_NONE || tcp->net.udp->event_head != UDP_NONE;
}

unsigned ust_engine_events(struct ust_engine *eng, struct ust_event *ev, unsigned max)
{
    struct tcp *tcp = sock_tcp(eng);
    unsigned n;

    for (n = 0; n < max && tcp->event_head != TCP_NONE; n++) {
        struct tcb *tcb = &tcp->tcbs[tcp->event_head];

        sock_gone(tcp, tcb);
        ev[n] = (struct ust_event){.handle = sock_handle(tcp, tcb),
                                   .user = tcb->user,
                                   .events = sock_ready(tcp, tcb),
                                   .error = tcb->error};
    }
    return n + dgram_events(tcp->net.udp, ev + n, max - n);
}
