/* SPDX-License-Identifier: BSD-3-Clause */
/* RACK: what was sent sufficiently before something that has arrived is lost
 * (RFC 8985 6). The reordering window is Linux's: a quarter of the least RTT
 * times reo_steps, at most SRTT; none at all while no reordering has been seen
 * and three packets are sacked or the loss is under repair. A D-SACK widens it
 * for 16 recoveries.                                                        */
#include "tcp.h"

enum { PERSIST = 16 };

/* Was (at, end) transmitted after (at2, end2)? */
static bool sent_after(ust_time at, uint32_t end, ust_time at2, uint32_t end2)
{
    return at > at2 || (at == at2 && seq_gt(end, end2));
}

void rack_advance(struct tcp *tcp, struct tcb *tcb, uint8_t flags, ust_time at, uint32_t end)
{
    struct recovery *rec = tcb_own_rec(tcb);
    ust_time rtt = tcp_now(tcp) > at ? tcp_now(tcp) - at : 0;

    /* Too soon for the retransmission: the original has arrived (6.2 step 2). */
    if ((flags & SENT_EVER) && rtt < tcb->min_rtt * 1000ull)
        return;
    rec->rack_moved = true;
    tcb_own_traffic(tcb)->rack_rtt = rtt < UINT32_MAX ? (uint32_t)rtt : UINT32_MAX;
    if (sent_after(at, end, rec->rack_at, rec->rack_end)) {
        rec->rack_at = at;
        rec->rack_end = end;
    }
}

static ust_time reo_window(const struct tcp *tcp, const struct tcb *tcb)
{
    bool dupthresh = !(tcp->net.core.set.tcp_recovery & RECOVERY_NO_DUPTHRESH);
    const struct recovery *rec = tcb_rec(tcb);
    uint64_t us, most = tcb->srtt / 8;

    if (!tcb_extra(tcb)->reordered &&
        (tcb->ca_state >= UST_CA_RECOVERY || (dupthresh && rec->sacked >= tcb->reordering)))
        return 0;
    if (tcb->min_rtt == UINT32_MAX)
        return 0;
    us = (uint64_t)(tcb->min_rtt / 4) * tcb->reo_steps;
    return (us < most ? us : most) * 1000;
}

/* How long the last transmission of s may still take, in ns; <= 0: too long. */
int64_t rack_left(const struct tcp *tcp, const struct tcb *tcb, const struct sent *s,
                  ust_time window)
{
    return (int64_t)(s->at + tcb_traffic(tcb)->rack_rtt + window - tcp_now(tcp));
}

/* 6.2 step 5. Returns the longest time that a record is still given, 0: none. */
static ust_time detect(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    ust_time window = reo_window(tcp, tcb), wait = 0;
    struct sent *s = sent_at(tcp, rec->oldest), *later;

    for (; s && sent_after(rec->rack_at, rec->rack_end, s->at, s->end); s = later) {
        int64_t left = rack_left(tcp, tcb, s, window);

        later = sent_at(tcp, s->later);
        if (left <= 0)
            sent_mark_lost(tcp, tcb, s);
        else if ((ust_time)left > wait)
            wait = (ust_time)left;
    }
    return wait;
}

bool rack_mark_lost(struct tcp *tcp, struct tcb *tcb)
{
    ust_time wait;

    if (!tcb_rec(tcb)->rack_moved)
        return false;
    tcb_own_rec(tcb)->rack_moved = false;
    wait = detect(tcp, tcb);
    if (wait)
        tcp_arm_loss(tcp, tcb, TIMER_REO, tcp_now(tcp) + wait + TIMEOUT_MIN);
    return wait != 0;
}

void rack_timeout(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t lost = rec->lost_total;

    if (rec->packets == 0)
        return;
    detect(tcp, tcb);
    tcp_rearm_rexmt(tcp, tcb, true);
    if (rec->lost_total != lost) {
        if (tcb->ca_state != UST_CA_RECOVERY) {
            recovery_enter(tcp, tcb);
            prr_ack(tcb, 1, rec->lost_total - lost, false);
        }
        tcb->rexmt_due = true;
        tcp_ready(tcp, tcb);
    }
}

void rack_adapt(const struct tcp *tcp, struct tcb *tcb, const struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (!news->delivery || (tcp->net.core.set.tcp_recovery & RECOVERY_STATIC))
        return;
    if (seq_lt(news->prior_delivered, rec->reo_delivered))
        rec->dsack_round = false; /* at most once a round trip */
    if (rec->dsack_round) {
        if (tcb->reo_steps < UINT8_MAX)
            tcb->reo_steps++;
        rec->dsack_round = false;
        rec->reo_delivered = tcb_traffic(tcb)->delivered;
        tcb->reo_persist = PERSIST;
    } else if (!tcb->reo_persist) {
        tcb->reo_steps = 1;
    }
}
