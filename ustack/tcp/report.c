/* SPDX-License-Identifier: BSD-3-Clause */
/* Reports for congestion controls outside the engine: a list of the connections
 * that have something to tell, each at most once, so it is bounded by them.
 *
 *  P1  a state is in the list exactly if it says so, and belongs to a connection
 *      whose congestion control is "python"                                   */
#include "tcp.h"

static struct cc_report *content(struct cc_state *s)
{
    return (struct cc_report *)s->words;
}

void report_note(struct tcp *tcp, const struct tcb *tcb, uint32_t more)
{
    struct cc_state *s;
    uint32_t i = tcb->cc.state;

    if (tcb->cc.algorithm != UST_CC_PYTHON || i == CC_NO_STATE)
        return;
    s = &tcp->cc_states[i];
    content(s)->news |= more;
    if (s->reported || (content(s)->per_round && content(s)->news == UST_CC_ACK))
        return;
    s->reported = true;
    s->next = TCP_NONE;
    s->prev = tcp->report_tail;
    if (s->prev == TCP_NONE)
        tcp->report_head = i;
    else
        tcp->cc_states[s->prev].next = i;
    tcp->report_tail = i;
}

void report_forget(struct tcp *tcp, uint32_t i)
{
    struct cc_state *s = &tcp->cc_states[i];

    if (!s->reported)
        return;
    s->reported = false;
    if (s->prev == TCP_NONE)
        tcp->report_head = s->next;
    else
        tcp->cc_states[s->prev].next = s->next;
    if (s->next == TCP_NONE)
        tcp->report_tail = s->prev;
    else
        tcp->cc_states[s->next].prev = s->prev;
}

struct tcb *report_take(struct tcp *tcp, struct cc_report *report)
{
    struct cc_report *r;
    struct tcb *tcb;

    if (tcp->report_head == TCP_NONE)
        return NULL;
    tcb = &tcp->tcbs[tcp->cc_states[tcp->report_head].owner];
    r = content(&tcp->cc_states[tcp->report_head]);
    *report = *r;
    report_forget(tcp, tcp->report_head);
    r->news = r->n_acks = r->rtt_us = 0;
    r->acked = r->idle = 0;
    return tcb;
}

bool report_per_round(struct tcp *tcp, struct tcb *tcb, bool per_round)
{
    if (tcb->cc.algorithm != UST_CC_PYTHON)
        return false;
    if (tcb->cc.state != CC_NO_STATE)
        content(&tcp->cc_states[tcb->cc.state])->per_round = per_round;
    return true;
}
