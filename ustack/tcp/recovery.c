/* SPDX-License-Identifier: BSD-3-Clause */
/* Loss recovery: what state the sender is in, and what an ACK or a timeout does
 * to it. After RFC 6675, RFC 8985, RFC 5682 and, without SACK, RFC 6582; where
 * those leave room, as Linux.
 *
 *   OPEN <-> DISORDER    something is sacked, or a retransmission is out
 *   any -- a loss --> RECOVERY -- ACK of recover --> OPEN
 *   any -- RTO --> LOSS -- ACK of recover, or undo --> OPEN
 *   OPEN, DISORDER -- congestion without a loss --> CWR -- recover --> OPEN
 *
 * recover is snd_nxt as it was when the episode began.
 *
 * Who does what: sent.c keeps the records, scoreboard.c marks what has arrived,
 * rack.c what is lost, this file decides what follows, prr.c lets segments out,
 * undo.c takes back what was needless, output.c sends. Congestion control says
 * how much; these files say which bytes.                                    */
#include "tcp.h"

static uint32_t window_flight(const struct tcb *tcb)
{
    uint32_t flight = tcb_flight(tcb);

    return flight < tcb->snd_wnd ? flight : tcb->snd_wnd;
}

void recovery_init(const struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb_rec(tcb)->nobody)
        tcb_own_rec(tcb)->recover = tcb->snd_una;
    tcb->reordering = (uint16_t)tcp->net.core.set.tcp_dupacks;
    tcb->reo_steps = 1;
}

/* ------------------------------------------------------- reducing the window */

/* cwnd stays: PRR brings it down to ssthresh, ACK by ACK. */
static void begin_reduction(struct tcp *tcp, struct tcb *tcb, enum cc_cause cause)
{
    struct recovery *rec = tcb_own_rec(tcb);

    rec->recover = tcb->snd_nxt;
    rec->tlp = false;
    rec->prr_delivered = rec->prr_out = 0;
    congestion_lost(tcp, tcb, cause, window_flight(tcb));
}

static void end_reduction(struct tcb *tcb)
{
    if (tcb->cc.ssthresh != CC_SSTHRESH_NONE && (tcb->ca_state == UST_CA_CWR || tcb_rec(tcb)->undo))
        tcb->cc.cwnd = tcb->cc.ssthresh;
}

static bool reducing(const struct tcb *tcb)
{
    return tcb->ca_state == UST_CA_CWR || tcb->ca_state == UST_CA_RECOVERY;
}

void recovery_enter(struct tcp *tcp, struct tcb *tcb)
{
    count(tcp_core(tcp), C_TCP_REXMT_FAST);
    tcb_own_rec(tcb)->restorable = !reducing(tcb);
    undo_begin(tcb);
    if (tcb_rec(tcb)->restorable)
        begin_reduction(tcp, tcb, CC_LOSS);
    tcb->ca_state = UST_CA_RECOVERY;
}

void recovery_cwr(struct tcp *tcp, struct tcb *tcb)
{
    tcb_own_rec(tcb)->restorable = false;
    if (tcb->ca_state >= UST_CA_CWR)
        return;
    tcb_own_rec(tcb)->undo = false;
    begin_reduction(tcp, tcb, CC_ECN);
    tcb->ca_state = UST_CA_CWR;
}

void recovery_reduce_once(struct tcp *tcp, struct tcb *tcb)
{
    begin_reduction(tcp, tcb, CC_LOSS);
    tcb->ca_state = UST_CA_CWR;
    end_reduction(tcb);
    undo_keep_open(tcp, tcb);
}

/* ------------------------------------------------------- losses */

/* RFC 6582: without SACK only the first segment can be known to be lost. */
static void mark_first_lost(struct tcp *tcp, struct tcb *tcb, bool advanced)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *head = sent_at(tcp, rec->head);
    bool enough = tcb->ca_state < UST_CA_RECOVERY && rec->sacked >= tcb->reordering;

    if (!enough && !(tcb->ca_state == UST_CA_RECOVERY && advanced))
        return;
    if (head->flags & SENT_LOST)
        return;
    if (head->segs > 1)
        sent_cut(tcp, tcb, head, head->seq + head->mss);
    if (tcb->ca_state == UST_CA_RECOVERY)
        count(tcp_core(tcp), C_TCP_REXMT_PARTIAL);
    sent_mark_lost(tcp, tcb, head);
}

static void find_losses(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    uint32_t again = tcb_rec(tcb)->again;

    if (tcb_rec(tcb)->packets == 0)
        return;
    if (!tcb->sack_ok)
        return mark_first_lost(tcp, tcb, news->advanced);
    if (!(tcp->net.core.set.tcp_recovery & RECOVERY_RACK))
        sack_mark_lost(tcp, tcb);
    else if (rack_mark_lost(tcp, tcb))
        news->rearm = false;
    if (tcb_rec(tcb)->again < again)
        news->lost_again = true;
}

/* ------------------------------------------------------- an ACK */

/* The front of what is in flight is sacked, yet not acknowledged: the peer has
 * dropped it (RFC 2018 8). It is given a moment to prove otherwise. */
static void await_reneging(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    ust_time wait = tcb->srtt / 128 * 1000ull;

    wait = wait > 10 * NS_PER_MS ? wait : 10 * NS_PER_MS;
    tcp_arm_loss(tcp, tcb, TIMER_REXMT, tcp_now(tcp) + wait);
    news->rearm = false;
}

/* Does the ACK end the episode? True: there is nothing else to do. */
static bool ends(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (tcb->ca_state == UST_CA_OPEN) {
        rec->stamped = false;
    } else if (seq_geq(tcb->snd_una, rec->recover)) {
        if (tcb->ca_state == UST_CA_CWR && tcb->snd_una != rec->recover) {
            end_reduction(tcb);
            tcb->ca_state = UST_CA_OPEN;
        } else if (tcb->ca_state == UST_CA_RECOVERY) {
            if (!tcb->sack_ok)
                scoreboard_guess_none(tcb);
            if (undo_recovery(tcp, tcb, news))
                return true;
            end_reduction(tcb);
        }
    }
    return false;
}

/* F-RTO (RFC 5682 3.1): what the ACKs after a timeout say about it. True: the
 * question is settled, or new text will settle it. */
static bool frto(struct tcp *tcp, struct tcb *tcb, struct ack_news *news, bool recovered)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (news->orig_acked && undo_loss(tcp, tcb, news, true))
        return true; /* step 3b: text sent once has arrived */
    if (seq_gt(tcb->snd_nxt, rec->recover)) {
        if (news->sacked || news->dupack)
            rec->frto = false; /* 3a: the loss was real */
    } else if (news->advanced && !recovered) {
        rec->recover = tcb->snd_nxt;
        if (seq_lt(tcb->snd_nxt, snd_end(tcb)) &&
            seq_gt(tcb->snd_una + tcb->snd_wnd, tcb->snd_nxt)) {
            rec->new_first = true; /* 2b */
            return true;
        }
        rec->frto = false;
    }
    return false;
}

static void after_timeout(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);
    bool recovered = seq_geq(tcb->snd_una, rec->recover);

    if (news->advanced && undo_loss(tcp, tcb, news, false))
        return;
    if (rec->frto && frto(tcp, tcb, news, recovered))
        return;
    if (recovered) {
        undo_recovery(tcp, tcb, news);
        return;
    }
    if (!tcb->sack_ok) {
        if (seq_gt(tcb->snd_nxt, rec->recover) && news->dupack)
            scoreboard_dupack(tcp, tcb);
        else if (news->advanced)
            scoreboard_guess_none(tcb);
    }
    news->resend = true;
}

/* Under repair. True: losses have been looked for, and stay to be resent. */
static bool in_recovery(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    if (!news->advanced) {
        if (!tcb->sack_ok && news->dupack)
            scoreboard_dupack(tcp, tcb);
    } else if (undo_partial(tcp, tcb, news)) {
        return false;
    }
    if (undo_dsack(tcp, tcb))
        undo_try_open(tcp, tcb);
    find_losses(tcp, tcb, news);
    if (tcb->ca_state == UST_CA_RECOVERY)
        return true;
    if (tcb_rec(tcb)->lost == 0)
        return false;
    recovery_enter(tcp, tcb); /* undone, yet there is a loss */
    return true;
}

static bool not_in_recovery(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    if (!tcb->sack_ok) {
        if (news->advanced)
            scoreboard_guess_none(tcb);
        if (news->dupack)
            scoreboard_dupack(tcp, tcb);
    }
    if (tcb->ca_state <= UST_CA_DISORDER)
        undo_dsack(tcp, tcb);
    find_losses(tcp, tcb, news);
    if (tcb_rec(tcb)->lost == 0) {
        undo_try_open(tcp, tcb);
        return false;
    }
    recovery_enter(tcp, tcb);
    return true;
}

void recovery_ack(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    if (tcb_rec(tcb)->packets == 0 && !tcb->sack_ok)
        scoreboard_guess_none(tcb);
    if (news->reneging && news->advanced)
        return await_reneging(tcp, tcb, news);
    if (ends(tcp, tcb, news))
        return;
    if (tcb->ca_state == UST_CA_RECOVERY) {
        news->resend |= in_recovery(tcp, tcb, news);
        return;
    }
    if (tcb->ca_state == UST_CA_LOSS) {
        after_timeout(tcp, tcb, news);
        find_losses(tcp, tcb, news);
        if (tcb->ca_state != UST_CA_OPEN && !news->lost_again)
            return;
    }
    news->resend |= not_in_recovery(tcp, tcb, news);
}

/* Bytes that this ACK says were delivered, in order or not. */
uint32_t recovery_delivered(const struct tcb *tcb, const struct ack_news *news)
{
    const struct recovery *rec = tcb_rec(tcb);

    if (!tcb->sack_ok)
        return (tcb_traffic(tcb)->delivered - news->delivered) * tcb->snd_mss;
    return tcb->snd_una - news->prior_una + rec->sacked_bytes - news->sacked_bytes;
}

/* How much may be sent after this ACK. */
void recovery_window(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news)
{
    const struct recovery *rec = tcb_rec(tcb);
    bool forward = tcb->reordering > tcp->net.core.set.tcp_dupacks ? news->advanced || news->sacked
                                                                   : news->advanced;
    struct cc_ack ack = {.acked = recovery_delivered(tcb, news),
                         .ce_bytes = news->ce_bytes,
                         .in_flight = news->prior_flight,
                         .pipe = tcb_pipe(tcb),
                         .ca_state = tcb->ca_state,
                         .rtt_us = news->rtt_us,
                         .may_grow = forward && !reducing(tcb)};

    rate_sample(tcp, tcb, news, &ack);
    congestion_acked(tcp, tcb, &ack);
    if (reducing(tcb) && !congestion_owns_window(tcb))
        prr_ack(tcb, tcb_traffic(tcb)->delivered - news->delivered, rec->lost_total - news->lost,
                news->advanced);
}

/* ------------------------------------------------------- a timeout */

/* All is lost that is not sacked or too young; when the peer has reneged, what
 * it has sacked is lost, too. */
static void mark_all_lost(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *head = sent_at(tcp, rec->head), *s;
    bool reneged = head && (head->flags & SENT_SACKED);

    if (reneged) {
        count(tcp_core(tcp), C_TCP_SACK_RENEGED);
        rec->renege = true;
        sack_forget_blocks(rec);
    } else if (!tcb->sack_ok) {
        scoreboard_guess_none(tcb);
    }
    for (s = head; s; s = sent_at(tcp, s->next)) {
        if (reneged)
            sent_set(tcp, tcb, s, s->flags & (uint8_t)~SENT_SACKED);
        else if (s != head && rack_left(tcp, tcb, s, 0) > 0)
            continue;
        sent_mark_lost(tcp, tcb, s);
    }
    rec->resend = TCP_NONE;
}

void recovery_rto(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    const struct settings *set = &tcp->net.core.set;
    bool fresh = tcb->ca_state < UST_CA_RECOVERY, first;
    uint32_t sacked = rec->sacked;

    count(tcp_core(tcp), C_TCP_REXMT_RTO);
    mark_all_lost(tcp, tcb);
    first = tcb->ca_state <= UST_CA_DISORDER || seq_leq(rec->recover, tcb->snd_una) ||
            (tcb->ca_state == UST_CA_LOSS && tcb->retransmits == 0);
    if (first) { /* RFC 5681 3.1: ssthresh is held on a repeated timeout */
        rec->restorable = true;
        undo_begin(tcb);
    }
    congestion_rto(tcp, tcb, window_flight(tcb), !first);
    tcb->cc.cwnd = tcb_pipe(tcb) + tcb->snd_mss;
    if (tcb->ca_state <= UST_CA_DISORDER && sacked >= (uint32_t)set->tcp_dupacks &&
        tcb->reordering > set->tcp_dupacks)
        tcb->reordering = (uint16_t)set->tcp_dupacks; /* it was taken for too much */
    tcb->ca_state = UST_CA_LOSS;
    rec->recover = tcb->snd_nxt;
    rec->tlp = rec->tlp_due = rec->new_first = false;
    rec->frto = set->tcp_frto && (fresh || tcb->retransmits > 0);
    tcb->rexmt_due = true;
}

/* ------------------------------------------------------- path MTU */

/* RFC 1191 6.4: what is in flight in pieces too large for the path is lost, but
 * not to congestion: cwnd stays. */
void recovery_narrowed(struct tcp *tcp, struct tcb *tcb, uint32_t from)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t lost = rec->lost_total;
    struct sent *s = sent_find(tcp, tcb, from);

    if (s && seq_lt(s->seq, from) && !(s->flags & SENT_SACKED))
        s = sent_cut(tcp, tcb, s, from);
    for (; s; s = sent_at(tcp, s->next)) {
        uint32_t full = (s->segs - 1u) * s->mss, len = s->end - s->seq;

        if ((s->flags & SENT_SACKED) || s->mss <= tcb->snd_mss || len <= tcb->snd_mss)
            continue;
        if (full > 0 && full < len && len - full <= tcb->snd_mss)
            sent_cut(tcp, tcb, s, s->seq + full); /* the last one still fits */
        sent_mark_lost(tcp, tcb, s);
    }
    if (rec->lost_total == lost)
        return;
    if (tcb->ca_state != UST_CA_LOSS) {
        rec->recover = tcb->snd_nxt;
        rec->restorable = false;
        rec->undo = false;
        tcb->ca_state = UST_CA_LOSS;
    }
    tcb->rexmt_due = true;
    tcp_ready(tcp, tcb);
}
