/* SPDX-License-Identifier: BSD-3-Clause */
/* What a connection has that has carried text: counts, rates, how its windows
 * are used. It is taken at the first text or FIN, either way, and kept until the
 * TCB is free.
 *
 *  Y1  a TCB without one refers to traffics[0], which is all zero
 *
 * There are as many as TCBs, so one is always to be had; they are taken from
 * the front, so that memory which nobody needs is never touched.            */
#include "tcp.h"

static struct traffic *traffic_of(const struct tcb *tcb)
{
    return (struct traffic *)((char *)tcb + (ptrdiff_t)tcb->traffic * TCP_UNIT);
}

static void refer(struct tcb *tcb, const struct traffic *t)
{
    tcb->traffic = (int32_t)(((const char *)t - (const char *)tcb) / TCP_UNIT);
}

void traffic_init(struct tcp *tcp)
{
    tcp->traffics[0].nobody = true;
    tcp->traffic_free = TCP_NONE;
    tcp->traffics_fresh = 1;
}

void traffic_none(const struct tcp *tcp, struct tcb *tcb)
{
    refer(tcb, &tcp->traffics[0]);
}

/* Nothing has been sent: last_sent is when the connection was established. */
struct traffic *traffic_take(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t i = tcp->traffic_free;
    struct traffic *t;

    if (i != TCP_NONE)
        tcp->traffic_free = tcp->traffics[i].next;
    else
        i = tcp->traffics_fresh++;
    t = &tcp->traffics[i];
    *t = (struct traffic){.last_text = tcb->last_sent,
                          .used_since = tcb->last_sent,
                          .usage_seq = tcb->snd_una,
                          .rcv_seq = tcb->irs + 1,
                          .rcv_time = tcb->last_sent};
    refer(tcb, t);
    return t;
}

void traffic_release(struct tcp *tcp, struct tcb *tcb)
{
    struct traffic *t = traffic_of(tcb);

    if (t->nobody)
        return;
    t->next = tcp->traffic_free;
    tcp->traffic_free = (uint32_t)(t - tcp->traffics);
    traffic_none(tcp, tcb);
}

bool traffic_check(const struct tcp *tcp)
{
    return blank_but(&tcp->traffics[0], sizeof tcp->traffics[0], offsetof(struct traffic, nobody));
}
