/* SPDX-License-Identifier: BSD-3-Clause */
/* Taking back what a needless recovery or timeout has done to cwnd and
 * ssthresh: when timestamps show that the original has arrived (Eifel, RFC 3522
 * and RFC 4015), when every retransmission has been reported as a duplicate
 * (RFC 3708), or when F-RTO says so (RFC 5682).                             */
#include "tcp.h"

void undo_begin(struct tcb *tcb)
{
    tcb_own_rec(tcb)->undo = true;
    tcb_own_rec(tcb)->undo_marker = tcb->snd_una;
    tcb_own_rec(tcb)->undo_retrans = tcb_rec(tcb)->again ? (int32_t)tcb_rec(tcb)->again : -1;
}

/* Was the ACK caused by a transmission before the first retransmission? */
static bool delayed(const struct tcb *tcb, const struct ack_news *news)
{
    if (!tcb_rec(tcb)->stamped) /* nothing was sent again, or hold_state() says so */
        return tcb->sack_ok || seq_lt(tcb->snd_una, tcb_rec(tcb)->recover);
    return news->ecr_ok && seq_lt(news->ts_ecr, tcb_rec(tcb)->retrans_ts);
}

static bool may_undo(const struct tcb *tcb, const struct ack_news *news)
{
    return tcb_rec(tcb)->undo && (tcb_rec(tcb)->undo_retrans == 0 || delayed(tcb, news));
}

/* Is a retransmission in flight, or the front of the flight one? */
static bool any_resent(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);

    return rec->again || (rec->head != TCP_NONE && (tcp->sents[rec->head].flags & SENT_EVER));
}

static void unmark_lost(struct tcp *tcp, struct tcb *tcb)
{
    for (struct sent *s = sent_at(tcp, tcb_rec(tcb)->head); s; s = sent_at(tcp, s->next))
        if (s->flags & SENT_LOST)
            sent_set(tcp, tcb, s, s->flags & (uint8_t)~SENT_LOST);
    tcb_own_rec(tcb)->resend = TCP_NONE;
}

static void restore(struct tcp *tcp, struct tcb *tcb, bool unmark)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (unmark)
        unmark_lost(tcp, tcb);
    if (rec->restorable)
        congestion_undo(tcp, tcb);
    rec->undo = false;
    rec->rack_moved = true; /* look again, now with what is known */
}

void undo_keep_open(struct tcp *tcp, struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);
    uint8_t state = rec->lost + rec->sacked || any_resent(tcp, tcb) ? UST_CA_DISORDER : UST_CA_OPEN;

    if (tcb->ca_state == state)
        return;
    tcb->ca_state = state;
    tcb_own_rec(tcb)->recover = tcb->snd_nxt;
}

/* Without SACK late duplicates would start a false recovery, so the state lasts
 * until something above recover is acknowledged (RFC 6582 4.1, as Linux). */
static bool hold_state(struct tcp *tcp, struct tcb *tcb)
{
    if (tcb->sack_ok || tcb->snd_una != tcb_rec(tcb)->recover)
        return false;
    if (!any_resent(tcp, tcb))
        tcb_own_rec(tcb)->stamped = false;
    return true;
}

bool undo_recovery(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (may_undo(tcb, news)) {
        count(tcp_core(tcp), tcb->ca_state == UST_CA_LOSS ? C_TCP_UNDO_RTO : C_TCP_UNDO_RECOVERY);
        restore(tcp, tcb, false);
    } else if (tcb->reo_persist > 0) {
        tcb->reo_persist--;
    }
    if (hold_state(tcp, tcb))
        return true;
    tcb->ca_state = UST_CA_OPEN;
    rec->renege = false;
    return false;
}

bool undo_dsack(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (!rec->undo || rec->undo_retrans != 0)
        return false;
    if (tcb->reo_persist < 16)
        tcb->reo_persist++;
    count(tcp_core(tcp), C_TCP_UNDO_DSACK);
    restore(tcp, tcb, false);
    return true;
}

bool undo_loss(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news, bool frto)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (!frto && !may_undo(tcb, news))
        return false;
    restore(tcp, tcb, true);
    count(tcp_core(tcp), C_TCP_UNDO_RTO);
    if (frto)
        count(tcp_core(tcp), C_TCP_SPURIOUS_RTO);
    tcb->retransmits = 0;
    if (hold_state(tcp, tcb))
        return true;
    if (frto || tcb->sack_ok) {
        tcb->ca_state = UST_CA_OPEN;
        rec->renege = false;
    }
    return true;
}

bool undo_partial(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (!rec->undo || !delayed(tcb, news))
        return false;
    scoreboard_reordered(tcp, tcb, news->prior_una); /* the hole was only late */
    if (rec->again)
        return true; /* wait for what is out; mark nothing more */
    if (!any_resent(tcp, tcb))
        rec->stamped = false;
    count(tcp_core(tcp), C_TCP_UNDO_RECOVERY);
    restore(tcp, tcb, true);
    undo_keep_open(tcp, tcb);
    return false;
}

void undo_try_open(struct tcp *tcp, struct tcb *tcb)
{
    if (!any_resent(tcp, tcb))
        tcb_own_rec(tcb)->stamped = false;
    if (tcb->ca_state != UST_CA_CWR)
        undo_keep_open(tcp, tcb);
}
