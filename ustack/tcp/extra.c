/* SPDX-License-Identifier: BSD-3-Clause */
/* What few connections have: options that were set, ECN, urgent data, counts of
 * what went wrong. It comes from a pool at the first need, and goes back with
 * the connection.
 *
 *  X1  a TCB without it refers to extras[0], which is all zero: nothing was set,
 *      and nothing has happened
 *
 * tcp.max_extras bounds it; by default there is one for each TCB. When none is
 * to be had (tcp.extra.none), setting an option fails with ENOBUFS, no ECN is
 * asked for, a connection that would inherit options or ECN waits for its next
 * segment, what is answered at a limited rate is not answered, urgent marks and
 * FINs out of order are as if they had been lost, and counts stand still.   */
#include "tcp.h"

static struct extra *extra_of(const struct tcb *tcb)
{
    return (struct extra *)((char *)tcb + (ptrdiff_t)tcb->extra * TCP_UNIT);
}

static void refer(struct tcb *tcb, const struct extra *x)
{
    tcb->extra = (int32_t)(((const char *)x - (const char *)tcb) / TCP_UNIT);
}

void extra_init(struct tcp *tcp)
{
    tcp->extras[0].nobody = true;
    tcp->extra_free = TCP_NONE;
    tcp->extras_fresh = 1;
    tcp->extras_used = 0;
}

void extra_none(const struct tcp *tcp, struct tcb *tcb)
{
    refer(tcb, &tcp->extras[0]);
}

static struct extra *take(struct tcp *tcp)
{
    uint32_t i = tcp->extra_free;

    if (fault_hits(&tcp->net.core.faults))
        return NULL;
    if (i != TCP_NONE)
        tcp->extra_free = tcp->extras[i].next;
    else if (tcp->extras_fresh < tcp->n_extras)
        i = tcp->extras_fresh++;
    else
        return NULL;
    tcp->extras_used++;
    return &tcp->extras[i];
}

struct extra *extra_have(struct tcp *tcp, struct tcb *tcb)
{
    struct extra *x = extra_of(tcb);

    if (!x->nobody)
        return x;
    x = take(tcp);
    if (!x) {
        count(tcp_core(tcp), C_TCP_EXTRA_NONE);
        return NULL;
    }
    memset(x, 0, sizeof *x);
    refer(tcb, x);
    return x;
}

bool extra_inherit(struct tcp *tcp, struct tcb *tcb, const struct tcb *l)
{
    const struct extra *from = tcb_extra(l);
    struct extra *x;

    if (from->nobody)
        return true;
    x = extra_have(tcp, tcb);
    if (!x)
        return false;
    x->keepidle = from->keepidle;
    x->keepintvl = from->keepintvl;
    x->keepcnt = from->keepcnt;
    x->linger1 = from->linger1;
    x->linger2 = from->linger2;
    x->user_timeout_ms = from->user_timeout_ms;
    x->max_pacing_rate = from->max_pacing_rate;
    x->rcvlowat = from->rcvlowat;
    x->notsent_lowat = from->notsent_lowat;
    return true;
}

void extra_release(struct tcp *tcp, struct tcb *tcb)
{
    struct extra *x = extra_of(tcb);

    if (x->nobody)
        return;
    x->next = tcp->extra_free;
    tcp->extra_free = (uint32_t)(x - tcp->extras);
    tcp->extras_used--;
    extra_none(tcp, tcb);
}

bool extra_check(const struct tcp *tcp)
{
    return blank_but(&tcp->extras[0], sizeof tcp->extras[0], offsetof(struct extra, nobody));
}
