/* SPDX-License-Identifier: BSD-3-Clause */
/* Orphans: connections that their application has closed, and that still wait
 * for their peer: to take the last bytes, to acknowledge the FIN, to send its
 * own (FIN-WAIT-2). Nobody but these limits ends them.
 *
 *   close() --> orphan --- FIN acknowledged ---> FIN-WAIT-2 --> TIME-WAIT
 *                  | tcp.orphan_retries              | tcp.fin_timeout_ms
 *                  v                                 v
 *                 gone                              gone
 *
 * There are at most tcp.max_orphans. One more ends the orphan that has been in
 * FIN-WAIT-2 longest, for all its bytes have arrived; where there is none, it is
 * reset itself. An orphan whose peer keeps the window closed counts double when
 * its timer asks whether it may go on, and one that ICMP says is not reached
 * double again, as in Linux.
 *
 *  O1  tcp.orphans counts the TCBs with orphan set
 *  O2  in the list, oldest first, if and only if orphan_waits               */
#include "tcp.h"

static uint32_t limit(const struct tcp *tcp)
{
    return (uint32_t)tcp->net.core.set.tcp_max_orphans;
}

void orphan_begin(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->orphan)
        tcp->orphans++;
    tcb->orphan = true;
    tcb->user = 0;
    tcp->up->gone(tcp, tcb);
}

static void leave_list(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->orphan_waits)
        return;
    tcb->orphan_waits = false;
    if (tcb->orphan_prev == TCP_NONE)
        tcp->orphan_oldest = tcb->orphan_next;
    else
        tcp->tcbs[tcb->orphan_prev].orphan_next = tcb->orphan_next;
    if (tcb->orphan_next == TCP_NONE)
        tcp->orphan_newest = tcb->orphan_prev;
    else
        tcp->tcbs[tcb->orphan_next].orphan_prev = tcb->orphan_prev;
}

void orphan_end(struct tcp *tcp, struct tcb *tcb)
{
    leave_list(tcp, tcb);
    if (tcb->orphan)
        tcp->orphans--;
    tcb->orphan = false;
}

void orphan_fin_wait(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t i = tcb_index(tcp, tcb);
    int linger2 = tcb_extra(tcb)->linger2;
    ust_time wait = ms(tcp->net.core.set.tcp_fin_timeout_ms), least = tcb->rto_us * 3500ull;

    if (linger2) /* TCP_LINGER2; -1: not at all */
        wait = linger2 < 0 ? 0 : (ust_time)linger2 * NS_PER_S;
    if (wait && wait < least)
        wait = least; /* as Linux: enough for a FIN that was lost */
    tcp_arm(tcp, tcb, TIMER_FINWAIT, tcp_now(tcp) + wait);
    if (tcb->orphan_waits)
        return;
    tcb->orphan_waits = true;
    tcb->orphan_next = TCP_NONE;
    tcb->orphan_prev = tcp->orphan_newest;
    if (tcp->orphan_newest == TCP_NONE)
        tcp->orphan_oldest = i;
    else
        tcp->tcbs[tcp->orphan_newest].orphan_next = i;
    tcp->orphan_newest = i;
}

void orphan_limit(struct tcp *tcp, struct tcb *tcb)
{
    if (tcp->orphans <= limit(tcp))
        return;
    count(tcp_core(tcp), C_TCP_ORPHANS_ENDED);
    if (tcp->orphan_oldest != TCP_NONE)
        tcp_done(tcp, &tcp->tcbs[tcp->orphan_oldest], 0);
    else
        tcp_abort(tcp, tcb, 0);
}

bool orphan_must_go(struct tcp *tcp, const struct tcb *tcb)
{
    uint64_t weight = tcp->orphans;

    if (!tcb->orphan)
        return false;
    if (tcb->snd_wnd == 0)
        weight *= 2;
    if (tcb->soft_error)
        weight *= 2;
    if (weight <= limit(tcp))
        return false;
    count(tcp_core(tcp), C_TCP_ORPHANS_ENDED);
    return true;
}
