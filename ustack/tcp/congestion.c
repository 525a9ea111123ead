/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection and its congestion control: who controls it, what it is told,
 * where its state is, and whether the window is used at all.
 *
 * A window that nothing has tested lately says nothing about the path. As Linux
 * does, it grows only while it is what holds sending back, is halved for each
 * RTO without anything sent (RFC 5681 4.1, RFC 2861), and shrinks half-way to
 * what is used when the application keeps using less (RFC 7661's concern).
 *
 * When the pool of states is empty, one is taken from a connection that has had
 * nothing in flight for an RTO; when there is none, reno controls, which needs
 * no state.                                                                 */
#include <errno.h>

#include "tcp.h"

/* ------------------------------------------------------- states */

static void take_state(struct tcp *tcp, struct tcb *tcb, uint32_t i)
{
    tcb->cc.state = i;
    tcp->cc_states[i].owner = tcb_index(tcp, tcb);
    cc_table[tcb->cc.algorithm]->init(&tcb->cc, tcp->cc_states[i].words);
}

static bool is_idle(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb->snd_una == tcb->snd_max && tcb->snd_max == snd_end(tcb) &&
           tcp_now(tcp) - tcb->last_sent > tcb->rto_us * 1000ull;
}

/* A clock's hand goes round the states; a few steps a call. */
static uint32_t take_from_idle(struct tcp *tcp)
{
    enum { STEPS = 16 };

    for (int n = 0; n < STEPS; n++) {
        uint32_t i = tcp->cc_hand;
        struct tcb *owner = &tcp->tcbs[tcp->cc_states[i].owner];

        tcp->cc_hand = i + 1 < tcp->n_cc_states ? i + 1 : 0;
        if (is_idle(tcp, owner)) {
            count(tcp_core(tcp), C_TCP_CC_STATE_TAKEN);
            owner->cc.state = CC_NO_STATE;
            report_forget(tcp, i);
            return i;
        }
    }
    return CC_NO_STATE;
}

static bool have_state(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t i = tcp->cc_state_free;

    if (tcb->cc.state != CC_NO_STATE)
        return true;
    if (fault_hits(&tcp->net.core.faults))
        return false;
    if (i == TCP_NONE) {
        i = take_from_idle(tcp);
        if (i == CC_NO_STATE)
            return false;
    } else {
        tcp->cc_state_free = tcp->cc_states[i].next;
        tcp->cc_states_used++;
    }
    take_state(tcp, tcb, i);
    return true;
}

void congestion_release(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t i = tcb->cc.state;

    if (i == CC_NO_STATE)
        return;
    tcb->cc.state = CC_NO_STATE;
    report_forget(tcp, i);
    tcp->cc_states[i].owner = TCP_NONE;
    tcp->cc_states[i].next = tcp->cc_state_free;
    tcp->cc_state_free = i;
    tcp->cc_states_used--;
}

/* Who decides now, and by which state. */
static const struct cc_ops *controller(struct tcp *tcp, struct tcb *tcb, void **state)
{
    const struct cc_ops *ops = cc_table[tcb->cc.algorithm];

    *state = NULL;
    if (ops->state_size == 0)
        return ops;
    if (!have_state(tcp, tcb)) {
        count(tcp_core(tcp), C_TCP_CC_STATE_NONE);
        return &cc_newreno;
    }
    *state = tcp->cc_states[tcb->cc.state].words;
    return ops;
}

/* ------------------------------------------------------- who, and the start */

int congestion_choose(struct tcp *tcp, struct tcb *tcb, int64_t algorithm)
{
    if (algorithm < 0 || algorithm >= UST_CCS)
        return -ENOENT;
    if (tcb->cc.algorithm == algorithm)
        return 0;
    congestion_release(tcp, tcb);
    tcb->cc.algorithm = (uint8_t)algorithm; /* cwnd and ssthresh stay, as in Linux */
    tcb->cc.acked = 0;
    tcb->cc.pacing_rate = 0;
    return 0;
}

/* RFC 6928 */
static uint32_t initial_window(const struct tcp *tcp, const struct tcb *tcb)
{
    return (uint32_t)tcp->net.core.set.tcp_initial_window * tcb->snd_mss;
}

void congestion_start(struct tcp *tcp, struct tcb *tcb)
{
    struct cc *cc = &tcb->cc;

    cc->mss = tcb->snd_mss;
    cc->cwnd = tcb->retransmits ? cc->mss : initial_window(tcp, tcb); /* RFC 6928 2 */
    cc->ssthresh = CC_SSTHRESH_NONE;
    if (!tcb_traffic(tcb)->nobody) {
        tcb_own_traffic(tcb)->usage_seq = tcb->snd_una;
        tcb_own_traffic(tcb)->used_since = tcp_now(tcp);
    }
}

bool congestion_owns_window(const struct tcb *tcb)
{
    return cc_table[tcb->cc.algorithm]->owns_window && tcb->cc.state != CC_NO_STATE;
}

/* ------------------------------------------------------- is the window used? */

static uint32_t current_ssthresh(const struct cc *cc)
{
    uint32_t most = cc->cwnd - cc->cwnd / 4;

    return cc->ssthresh > most ? cc->ssthresh : most;
}

static bool is_limited(const struct tcb *tcb)
{
    const struct traffic *t = tcb_traffic(tcb);

    return t->limited || (cc_in_slow_start(&tcb->cc) && tcb->cc.cwnd < 2 * (uint64_t)t->max_flight);
}

/* The application has used less for an RTO: half-way down to that. */
static void shrink_to_use(const struct tcp *tcp, struct tcb *tcb)
{
    struct traffic *t = tcb_own_traffic(tcb);
    struct cc *cc = &tcb->cc;
    uint32_t used = t->used, least = initial_window(tcp, tcb);

    if (used < least)
        used = least;
    if (tcb->ca_state == UST_CA_OPEN && !tcb->want_write && used < cc->cwnd) {
        cc->ssthresh = current_ssthresh(cc);
        cc->cwnd = (uint32_t)(((uint64_t)cc->cwnd + used) / 2);
    }
    t->used = 0;
    t->used_since = tcp_now(tcp);
}

void congestion_used(struct tcp *tcp, struct tcb *tcb, bool limited)
{
    uint32_t flight = tcb_flight(tcb);
    struct traffic *t;

    if (tcb_traffic(tcb)->nobody)
        return;
    t = tcb_own_traffic(tcb);
    if (seq_geq(tcb->snd_una, t->usage_seq) || limited || (!t->limited && flight > t->max_flight)) {
        t->limited = limited;
        t->max_flight = flight;
        t->usage_seq = tcb->snd_nxt;
    }
    if (is_limited(tcb)) {
        t->used = 0;
        t->used_since = tcp_now(tcp);
        return;
    }
    if (flight > t->used)
        t->used = flight;
    if (tcp->net.core.set.tcp_idle_restart && !congestion_owns_window(tcb) &&
        tcp_now(tcp) - t->used_since >= tcb->rto_us * 1000ull)
        shrink_to_use(tcp, tcb);
}

/* RFC 5681 4.1, as Linux: half for each RTO, down to the initial window. */
static void decay(const struct tcp *tcp, struct tcb *tcb, ust_time idle)
{
    ust_time rto = tcb->rto_us * 1000ull;
    uint32_t least = initial_window(tcp, tcb);
    struct traffic *t = tcb_own_traffic(tcb);
    struct cc *cc = &tcb->cc;

    cc->ssthresh = current_ssthresh(cc);
    if (least > cc->cwnd)
        least = cc->cwnd;
    for (; idle > rto && cc->cwnd > least; idle -= rto)
        cc->cwnd /= 2;
    if (cc->cwnd < least)
        cc->cwnd = least;
    t->used = 0;
    t->used_since = tcp_now(tcp);
}

void congestion_restart(struct tcp *tcp, struct tcb *tcb)
{
    ust_time idle = tcp_now(tcp) - tcb->last_sent;
    const struct cc_ops *ops = cc_table[tcb->cc.algorithm];

    if (tcb->snd_una != tcb->snd_max || idle == 0)
        return;
    if (tcp->net.core.set.tcp_idle_restart && !congestion_owns_window(tcb) &&
        idle > tcb->rto_us * 1000ull)
        decay(tcp, tcb, idle);
    if (tcb->cc.state == CC_NO_STATE)
        return;
    if (ops->on_restart)
        ops->on_restart(&tcb->cc, tcp->cc_states[tcb->cc.state].words, idle);
    report_note(tcp, tcb, 0);
}

/* ------------------------------------------------------- what it is told */

void congestion_acked(struct tcp *tcp, struct tcb *tcb, struct cc_ack *ack)
{
    const struct cc_ops *ops = cc_table[tcb->cc.algorithm];
    void *state;

    ack->cwnd_limited = ack->may_grow && is_limited(tcb);
    if (ops->only_limited && !ack->cwnd_limited && tcb->cc.state != CC_NO_STATE)
        return;
    ops = controller(tcp, tcb, &state);
    ack->now = tcp_now(tcp);
    ack->una = tcb->snd_una;
    ack->nxt = tcb->snd_nxt;
    ack->srtt_us = tcb->srtt / 8;
    ack->min_rtt_us = tcb->min_rtt;
    ops->on_ack(&tcb->cc, state, ack);
    report_note(tcp, tcb, 0);
}

void congestion_lost(struct tcp *tcp, struct tcb *tcb, enum cc_cause cause, uint32_t in_flight)
{
    void *state;
    const struct cc_ops *ops = controller(tcp, tcb, &state);
    struct cc *cc = &tcb->cc;

    cc->prior_cwnd = cc->cwnd;
    cc->prior_ssthresh = cc->ssthresh;
    cc->acked = 0;
    if (tcb_extra(tcb)->ecn.mode == ECN_CLASSIC)
        ecn_of(tcb)->cwr_due = true;
    ops->on_loss(cc, state, cause, in_flight);
    report_note(tcp, tcb, 0);
}

void congestion_rto(struct tcp *tcp, struct tcb *tcb, uint32_t in_flight, bool again)
{
    if (!again)
        congestion_lost(tcp, tcb, CC_LOSS, in_flight);
    tcb->cc.cwnd = tcb->cc.mss;
    tcb->cc.acked = 0;
    report_note(tcp, tcb, UST_CC_TIMEOUT);
}

void congestion_undo(struct tcp *tcp, struct tcb *tcb)
{
    void *state;
    const struct cc_ops *ops = controller(tcp, tcb, &state);
    struct cc *cc = &tcb->cc;

    if (tcb_extra(tcb)->ecn.mode == ECN_CLASSIC)
        ecn_of(tcb)->cwr_due = false;
    if (cc->cwnd < cc->prior_cwnd)
        cc->cwnd = cc->prior_cwnd;
    if (cc->ssthresh < cc->prior_ssthresh)
        cc->ssthresh = cc->prior_ssthresh;
    if (ops->on_undo)
        ops->on_undo(cc, state);
    report_note(tcp, tcb, 0);
}
