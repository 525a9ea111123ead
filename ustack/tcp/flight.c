/* SPDX-License-Identifier: BSD-3-Clause */
/* What only a connection with text in flight needs: its struct recovery and
 * one record of a transmission. They come from a pool when text, or a FIN, is
 * about to leave, and go back when all is acknowledged. Most connections of a
 * server with very many are idle.
 *
 *  L1  a TCB without one refers to flights[0], which says that nothing is in
 *      flight, is nobody's, and never changes
 *  L2  who has records in its list has a struct flight (T1 of sent.h)
 *
 * The first tcp.idle_flights that are in use stay with their connections though
 * they are idle, for taking one costs time. One that has something to remember
 * of its last loss (undo.c) keeps it, until half of the pool is in use. When
 * none is to be had, text waits and is tried again a little later
 * (tcp.flight.none); nothing is lost.
 *
 * Giving one back loses nothing else that counts: what a later flight compares
 * with is in the TCB, or older than all that a later flight will send.       */
#include "tcp.h"

static struct flight *flight_of(const struct tcb *tcb)
{
    return (struct flight *)((char *)tcb + (ptrdiff_t)tcb->flight * TCP_UNIT);
}

static void refer(struct tcb *tcb, const struct flight *f)
{
    tcb->flight = (int32_t)(((const char *)f - (const char *)tcb) / TCP_UNIT);
}

static const struct recovery blank = {.head = TCP_NONE,
                                      .tail = TCP_NONE,
                                      .oldest = TCP_NONE,
                                      .newest = TCP_NONE,
                                      .cursor = TCP_NONE,
                                      .resend = TCP_NONE};

void flight_init(struct tcp *tcp)
{
    tcp->flights[0].rec = blank;
    tcp->flights[0].rec.nobody = true;
    tcp->flight_free = TCP_NONE;
    tcp->flights_fresh = 1;
    tcp->flights_used = 0;
}

void flight_none(const struct tcp *tcp, struct tcb *tcb)
{
    refer(tcb, &tcp->flights[0]);
}

uint32_t flight_index(const struct tcp *tcp, const struct tcb *tcb)
{
    return (uint32_t)(flight_of(tcb) - tcp->flights);
}

static struct flight *take(struct tcp *tcp)
{
    uint32_t i = tcp->flight_free;

    if (fault_hits(&tcp->net.core.faults))
        return NULL;
    if (i != TCP_NONE)
        tcp->flight_free = tcp->flights[i].next;
    else if (tcp->flights_fresh < tcp->n_flights)
        i = tcp->flights_fresh++;
    else
        return NULL;
    tcp->flights_used++;
    return &tcp->flights[i];
}

bool flight_is_free(const struct tcp *tcp, const struct tcb *tcb)
{
    return !tcb_rec(tcb)->nobody || tcp->flight_free != TCP_NONE ||
           tcp->flights_fresh < tcp->n_flights;
}

bool flight_have(struct tcp *tcp, struct tcb *tcb)
{
    struct flight *f;

    if (!tcb_rec(tcb)->nobody)
        return true;
    f = take(tcp);
    if (!f) {
        count(tcp_core(tcp), C_TCP_FLIGHT_NONE);
        return false;
    }
    traffic_have(tcp, tcb);
    f->rec = blank;
    f->rec.recover = tcb->snd_una;
    refer(tcb, f);
    return true;
}

static void give_back(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t i = flight_index(tcp, tcb);

    tcp->flights[i].next = tcp->flight_free;
    tcp->flight_free = i;
    tcp->flights_used--;
    flight_none(tcp, tcb);
}

/* Does it know anything that may count once more? */
static bool remembers(const struct tcp *tcp, const struct recovery *rec)
{
    return rec->undo || rec->stamped || rec->tlp || rec->tlp_due || rec->dsack_round ||
           rec->renege || rec->new_first || rec->last_at >= tcp_now(tcp);
}

void flight_rest(struct tcp *tcp, struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);
    uint32_t half = tcp->n_flights / 2, keep = (uint32_t)tcp->net.core.set.tcp_idle_flights;

    if (tcp->flights_used <= (keep < half ? keep : half) || rec->nobody ||
        tcb->snd_una != tcb->snd_max || tcb->ca_state != UST_CA_OPEN)
        return;
    if (!remembers(tcp, rec) || tcp->flights_used > half)
        give_back(tcp, tcb);
}

void flight_release(struct tcp *tcp, struct tcb *tcb)
{
    sent_clear(tcp, tcb);
    if (!tcb_rec(tcb)->nobody)
        give_back(tcp, tcb);
}

bool flight_check(const struct tcp *tcp)
{
    const struct recovery *rec = &tcp->flights[0].rec;

    return rec->nobody && rec->head == TCP_NONE && rec->tail == TCP_NONE && rec->packets == 0 &&
           rec->n_records == 0 && rec->waiting == 0 && !rec->undo && !rec->new_first &&
           !rec->tlp_due;
}
