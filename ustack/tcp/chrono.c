/* SPDX-License-Identifier: BSD-3-Clause */
/* What a sender's time goes by: something to send or unacknowledged (busy), and
 * of that, held back by the peer's window alone, or by an application that
 * waits for room in its send buffer; and how long timeouts have lasted. For
 * TCP_INFO, as in Linux.                                                    */
#include "tcp.h"

static enum chrono held_by(const struct tcb *tcb)
{
    uint32_t unsent = seq_lt(tcb->snd_nxt, snd_end(tcb)) ? snd_end(tcb) - tcb->snd_nxt : 0;
    uint32_t used = tcb->snd_nxt - tcb->snd_una;
    uint32_t left = tcb->snd_wnd > used ? tcb->snd_wnd - used : 0;

    if (tcb->sndbuf.len == 0)
        return CHRONO_IDLE;
    if (unsent > left && left < tcb->snd_mss && tcb_pipe(tcb) + tcb->snd_mss <= tcb->cc.cwnd)
        return CHRONO_RWND;
    return tcb->want_write && unsent == 0 ? CHRONO_SNDBUF : CHRONO_BUSY;
}

void chrono_update(const struct tcp *tcp, struct tcb *tcb)
{
    struct times *t = &tcb->times;
    enum chrono now = held_by(tcb);

    if (now == (enum chrono)t->chrono)
        return;
    if (t->chrono != CHRONO_IDLE)
        t->spent[t->chrono - 1] += tcp_now(tcp) - t->since;
    t->chrono = (uint8_t)now;
    t->since = tcp_now(tcp);
}

ust_time chrono_spent(const struct tcp *tcp, const struct tcb *tcb, enum chrono which)
{
    const struct times *t = &tcb->times;
    ust_time spent = t->spent[which - 1];

    return t->chrono == which ? spent + (tcp_now(tcp) - t->since) : spent;
}

void chrono_rto(const struct tcp *tcp, struct tcb *tcb)
{
    struct times *t = &tcb->times;

    t->rtos++;
    if (t->rto_since)
        return;
    t->rto_episodes++;
    t->rto_since = tcp_now(tcp) ? tcp_now(tcp) : 1;
}

void chrono_progress(const struct tcp *tcp, struct tcb *tcb)
{
    struct times *t = &tcb->times;

    if (t->rto_since)
        t->rto_spent += tcp_now(tcp) - t->rto_since;
    t->rto_since = 0;
}
