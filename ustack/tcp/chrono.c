/* SPDX-License-Identifier: BSD-3-Clause */
/* What a sender's time goes by: something to send or unacknowledged (busy), and
 * of that, held back by the peer's window alone, or by an application that
 * waits for room in its send buffer; and how long timeouts have lasted. For
 * TCP_INFO, as in Linux.                                                    */
#include "tcp.h"

static enum chrono held_by(const struct tcb *tcb)
{
    uint32_t unsent, left;

    if (tcb->sndbuf.len == 0)
        return CHRONO_IDLE;
    unsent = seq_lt(tcb->snd_nxt, snd_end(tcb)) ? snd_end(tcb) - tcb->snd_nxt : 0;
    if (unsent == 0)
        return tcb->want_write ? CHRONO_SNDBUF : CHRONO_BUSY;
    left = tcb_window_left(tcb, tcb->snd_nxt);
    if (unsent > left && left < tcb->snd_mss && tcb_pipe(tcb) + tcb->snd_mss <= tcb->cc.cwnd)
        return CHRONO_RWND;
    return CHRONO_BUSY;
}

/* ns in which, less when it began while it is the one of now. */
static ust_time *spent_in(struct tcb *tcb, enum chrono which)
{
    return which == CHRONO_BUSY ? &tcb_own_traffic(tcb)->busy
                                : &tcb_own_extra(tcb)->times.spent[which - CHRONO_RWND];
}

/* All is acknowledged that kept it busy. */
static void rest(const struct tcp *tcp, struct tcb *tcb)
{
    tcb_own_traffic(tcb)->busy += tcp_now(tcp);
    tcb->chrono = CHRONO_IDLE;
}

void chrono_update(struct tcp *tcp, struct tcb *tcb)
{
    enum chrono now;

    if (tcb->sndbuf.len == 0 && tcb->chrono == CHRONO_BUSY)
        return rest(tcp, tcb);
    now = held_by(tcb);
    if (now > CHRONO_BUSY && !extra_have(tcp, tcb))
        now = CHRONO_BUSY;
    if (now == (enum chrono)tcb->chrono)
        return;
    traffic_have(tcp, tcb);
    if (tcb->chrono != CHRONO_IDLE)
        *spent_in(tcb, tcb->chrono) += tcp_now(tcp);
    if (now != CHRONO_IDLE)
        *spent_in(tcb, now) -= tcp_now(tcp);
    tcb->chrono = (uint8_t)now;
}

ust_time chrono_spent(const struct tcp *tcp, const struct tcb *tcb, enum chrono which)
{
    ust_time spent = which == CHRONO_BUSY ? tcb_traffic(tcb)->busy
                                          : tcb_extra(tcb)->times.spent[which - CHRONO_RWND];

    return tcb->chrono == which ? spent + tcp_now(tcp) : spent;
}

void chrono_rto(struct tcp *tcp, struct tcb *tcb)
{
    struct extra *x = extra_have(tcp, tcb);

    if (!x)
        return;
    x->times.rtos++;
    if (x->times.rto_since)
        return;
    x->times.rto_episodes++;
    x->times.rto_since = tcp_now(tcp) ? tcp_now(tcp) : 1;
}

void chrono_progress(const struct tcp *tcp, struct tcb *tcb)
{
    struct times *t;

    if (!tcb_extra(tcb)->times.rto_since)
        return;
    t = &tcb_own_extra(tcb)->times;
    t->rto_spent += tcp_now(tcp) - t->rto_since;
    t->rto_since = 0;
}
