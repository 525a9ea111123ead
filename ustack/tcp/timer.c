/* SPDX-License-Identifier: BSD-3-Clause */
/* The timers of a TCB. Those that are never armed together share a slot, and a
 * deadline in the TCB; the wheel holds one node for the earliest. Moving a
 * deadline later leaves the node where it is: it fires early, sees so, and is
 * filed again.                                                              */
#include <errno.h>

#include "tcp.h"

/* An RTO from now, but no later than the user timeout allows. */
static ust_time after_rto(const struct tcp *tcp, const struct tcb *tcb)
{
    ust_time at = tcp_now(tcp) + tcb->rto_us * 1000ull;
    ust_time last = tcb->stalled + ms(tcb_extra(tcb)->user_timeout_ms);

    return tcb_extra(tcb)->user_timeout_ms && tcb->stalled && last < at ? last : at;
}

/* Of the three that wait for an ACK one is armed at a time, as in Linux. */
void tcp_arm_loss(struct tcp *tcp, struct tcb *tcb, enum tcp_timer t, ust_time deadline)
{
    tcp_arm(tcp, tcb, t, deadline); /* it takes the place of the others */
}

void tcp_disarm_loss(struct tcb *tcb)
{
    tcp_disarm(tcb, TIMER_REXMT);
    tcp_disarm(tcb, TIMER_TLP);
    tcp_disarm(tcb, TIMER_REO);
}

void tcp_arm_rexmt(struct tcp *tcp, struct tcb *tcb)
{
    tcp_arm_loss(tcp, tcb, TIMER_REXMT, after_rto(tcp, tcb));
}

/* RFC 7765 4: few segments and nothing behind them, so that no duplicate ACKs
 * can be hoped for. */
static bool restarts(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcp->net.core.set.tcp_rto_restart && tcb_rec(tcb)->packets < 4 &&
           snd_end(tcb) + tcb->fin_queued == tcb->snd_nxt;
}

void tcp_rearm_rexmt(struct tcp *tcp, struct tcb *tcb, bool since_sent)
{
    ust_time at = after_rto(tcp, tcb), since;

    if (tcb_rec(tcb)->packets == 0)
        return tcp_disarm_loss(tcb);
    if (since_sent || restarts(tcp, tcb)) {
        since = tcp->sents[tcb_rec(tcb)->head].at + tcb->rto_us * 1000ull;
        at = since > at ? at : since > tcp_now(tcp) ? since : tcp_now(tcp) + 1;
    }
    tcp_arm_loss(tcp, tcb, TIMER_REXMT, at);
}

void tcp_arm_persist(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->stalled)
        tcb->stalled = tcp_now(tcp) ? tcp_now(tcp) : 1;
    tcp_arm(tcp, tcb, TIMER_PERSIST, after_rto(tcp, tcb));
}

uint32_t tcp_keepidle(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t s = tcb_extra(tcb)->keepidle;

    return s ? s : (uint32_t)tcp->net.core.set.tcp_keepalive_time;
}

uint32_t tcp_keepintvl(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t s = tcb_extra(tcb)->keepintvl;

    return s ? s : (uint32_t)tcp->net.core.set.tcp_keepalive_intvl;
}

uint32_t tcp_keepcnt(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t n = tcb_extra(tcb)->keepcnt;

    return n ? n : (uint32_t)tcp->net.core.set.tcp_keepalive_probes;
}

uint32_t tcp_syncnt(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t n = tcb_extra(tcb)->syncnt;

    return n ? n : (uint32_t)tcp->net.core.set.tcp_syn_retries;
}

void tcp_arm_keepalive(struct tcp *tcp, struct tcb *tcb, ust_time since)
{
    uint32_t wait = tcb->keepalives ? tcp_keepintvl(tcp, tcb) : tcp_keepidle(tcp, tcb);

    if (tcb->keepalive && tcb_synchronized(tcb))
        tcp_arm(tcp, tcb, TIMER_KEEPALIVE, since + wait * NS_PER_S);
    else
        tcp_disarm(tcb, TIMER_KEEPALIVE);
}

static void give_up(struct tcp *tcp, struct tcb *tcb)
{
    count(tcp_core(tcp), C_TCP_TIMEOUTS);
    tcp_done(tcp, tcb, tcb->soft_error ? tcb->soft_error : ETIMEDOUT);
}

/* RFC 5482: nothing has been acknowledged for so long. */
static bool user_timeout_over(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb_extra(tcb)->user_timeout_ms && tcb->stalled &&
           tcp_now(tcp) - tcb->stalled >= ms(tcb_extra(tcb)->user_timeout_ms);
}

/* RFC 9293 3.8.3: R2, or the user timeout when there is one. */
static bool too_long(const struct tcp *tcp, const struct tcb *tcb, int64_t tries)
{
    const struct settings *set = &tcp->net.core.set;
    int64_t limit = tcb->orphan ? set->tcp_orphan_retries : set->tcp_retries2;

    if (tcb->state == UST_SYN_SENT || tcb->state == UST_SYN_RECEIVED)
        limit = tcp_syncnt(tcp, tcb);
    if (tcb_extra(tcb)->user_timeout_ms && tcb->stalled)
        return user_timeout_over(tcp, tcb);
    return tries >= limit;
}

/* A peer that has closed its window and still answers is alive (SHLD-17), but
 * an application that has set a user timeout does not wait for it. */
static bool window_closed_but_alive(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb_synchronized(tcb) && tcb->snd_wnd == 0 && !tcb->orphan &&
           !tcb_extra(tcb)->user_timeout_ms &&
           tcp_now(tcp) - tcb->last_rcvd < 2 * ms(tcp->net.core.set.tcp_rto_max_ms);
}

static void on_rexmt(struct tcp *tcp, struct tcb *tcb)
{
    bool opening = tcb->state == UST_SYN_SENT || tcb->state == UST_SYN_RECEIVED;

    if (tcb->snd_una == tcb->snd_max)
        return;
    if (too_long(tcp, tcb, tcb->retransmits) && !window_closed_but_alive(tcp, tcb))
        return give_up(tcp, tcb);
    if (orphan_must_go(tcp, tcb))
        return tcp_abort(tcp, tcb, 0);
    if (opening) {
        count(tcp_core(tcp), C_TCP_SYN_REXMT);
        tcb->syn_due = true;
        tcb->rtt_timing = false;
        fastopen_timeout(tcp, tcb);
    } else {
        recovery_rto(tcp, tcb);
        chrono_rto(tcp, tcb);
    }
    if (tcb->retransmits < 255)
        tcb->retransmits++;
    if (tcb->retransmits == tcp->net.core.set.tcp_retries1)
        neigh_doubt(&tcp->net, &tcb->dst); /* MUST-20 (b): negative advice at R1 */
    rtt_backoff(tcp, tcb);
    tcp_arm_rexmt(tcp, tcb);
    tcp_ready(tcp, tcb);
}

/* RFC 9293 3.8.6.1 (MUST-36): the window has kept us for an RTO. */
static void on_persist(struct tcp *tcp, struct tcb *tcb)
{
    if (tcb->snd_una != tcb->snd_max || snd_end(tcb) + tcb->fin_queued == tcb->snd_nxt)
        return;
    if (too_long(tcp, tcb, tcb->probes))
        return give_up(tcp, tcb);
    if (orphan_must_go(tcp, tcb))
        return tcp_abort(tcp, tcb, 0);
    if (tcb->snd_wnd > 0) {
        tcb->forced = true; /* SWS avoidance held it back (RFC 1122 4.2.3.4) */
    } else {
        tcb->probe_due = true;
        if (tcb->probes < 255)
            tcb->probes++;
        rtt_backoff(tcp, tcb);
        tcp_arm_persist(tcp, tcb);
    }
    tcp_ready(tcp, tcb);
}

/* Unanswered for long enough? With a user timeout that decides, after at least
 * one probe, as in Linux. */
static bool keepalive_over(const struct tcp *tcp, const struct tcb *tcb)
{
    if (tcb_extra(tcb)->user_timeout_ms)
        return tcb->keepalives > 0 &&
               tcp_now(tcp) - tcb->last_rcvd >= ms(tcb_extra(tcb)->user_timeout_ms);
    return tcb->keepalives >= tcp_keepcnt(tcp, tcb);
}

static void on_keepalive(struct tcp *tcp, struct tcb *tcb)
{
    ust_time due = tcb->last_rcvd + tcp_keepidle(tcp, tcb) * NS_PER_S;

    if (tcb->snd_una != tcb->snd_max || tcb->sndbuf.len > 0) /* MUST-26: nothing outstanding */
        return tcp_arm_keepalive(tcp, tcb, tcp_now(tcp));
    if (tcb->keepalives == 0 && due > tcp_now(tcp))
        return tcp_arm(tcp, tcb, TIMER_KEEPALIVE, due);
    if (keepalive_over(tcp, tcb)) {
        count(tcp_core(tcp), C_TCP_TIMEOUTS);
        return tcp_abort(tcp, tcb, ETIMEDOUT);
    }
    tcb->keepalives += tcb->keepalives < UINT8_MAX; /* a user timeout may allow many */
    tcb->keepalive_due = true;
    tcp_arm_keepalive(tcp, tcb, tcp_now(tcp));
    tcp_ready(tcp, tcb);
}

static void fire(struct tcp *tcp, struct tcb *tcb, enum tcp_timer t)
{
    switch (t) {
    case TIMER_REXMT: return on_rexmt(tcp, tcb);
    case TIMER_PERSIST: return on_persist(tcp, tcb);
    case TIMER_DELACK: return delack_expired(tcp, tcb);
    case TIMER_KEEPALIVE: return on_keepalive(tcp, tcb);
    case TIMER_FINWAIT: return tcp_done(tcp, tcb, 0);
    case TIMER_TLP: return tlp_timeout(tcp, tcb);
    case TIMER_REO: return rack_timeout(tcp, tcb);
    case TIMER_RETRY:
    case TIMER_PACE: return tcp_ready(tcp, tcb);
    case TCP_TIMERS: return;
    }
}

void tcp_timer(struct tcp *tcp, struct tcb *tcb)
{
    ust_time earliest = UINT64_MAX;

    for (int s = 0; s < TCP_SLOTS; s++) {
        if (tcb->deadline[s] > tcp_now(tcp))
            continue;
        tcb->deadline[s] = UINT64_MAX;
        fire(tcp, tcb, tcb->timer[s]);
        if (tcb->state == UST_CLOSED || tcb->state == 0)
            return;
    }
    for (int s = 0; s < TCP_SLOTS; s++)
        if (tcb->deadline[s] < earliest)
            earliest = tcb->deadline[s];
    if (earliest != UINT64_MAX)
        wheel_set(&tcp->net.core.wheel, tcp->tcb_timers + tcb_index(tcp, tcb), earliest);
}
