/* SPDX-License-Identifier: BSD-3-Clause */
/* What ACKs say about the records: SACK blocks (RFC 2018, RFC 6675), what is
 * acknowledged in order, duplicates that the peer reports (RFC 2883), and, for
 * peers without SACK, what duplicate ACKs let us guess.
 *
 * Work is bounded by tcp.max_sent records for each of at most four blocks, and
 * is little as a rule: a block seen in the last ACK is skipped as far as it is
 * the same, and looking up starts where the last look-up ended.
 *
 * Only whole segments count as sacked; a block that ends within one is taken to
 * end before it.                                                            */
#include "tcp.h"

/* ------------------------------------------------------- reordering */

/* The end of the highest sacked text, or snd_una. */
uint32_t scoreboard_fack(const struct tcb *tcb)
{
    return tcb->sack_ok && tcb_rec(tcb)->sacked ? tcb_rec(tcb)->fack : tcb->snd_una;
}

static void set_reordering(const struct tcp *tcp, struct tcb *tcb, uint32_t packets)
{
    uint32_t most = (uint32_t)tcp->net.core.set.tcp_max_reordering;

    tcb->reordering = (uint16_t)(packets < most ? packets : most);
}

static void note_reordering(struct tcp *tcp, struct tcb *tcb)
{
    struct extra *x = extra_have(tcp, tcb);

    if (x)
        x->reordered++;
}

/* Text from low on, sent once, has arrived behind text sent after it. */
void scoreboard_reordered(struct tcp *tcp, struct tcb *tcb, uint32_t low)
{
    uint32_t by = scoreboard_fack(tcb) - low, mss = tcb->snd_mss;

    if (!seq_lt(low, scoreboard_fack(tcb)))
        return;
    count(tcp_core(tcp), C_TCP_REORDERED);
    note_reordering(tcp, tcb);
    if (by > tcb->reordering * mss)
        set_reordering(tcp, tcb, (by + mss - 1) / mss);
}

/* ------------------------------------------------------- without SACK */

/* Something must be missing, or there would be no duplicate ACKs. */
static bool limit_guess(struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t holes = rec->lost ? rec->lost : 1, most;

    if (holes > rec->packets)
        holes = rec->packets;
    most = rec->packets - holes;
    if (rec->sacked <= most)
        return false;
    rec->sacked = most;
    return true;
}

static void guess(struct tcp *tcp, struct tcb *tcb, uint32_t sacked, uint32_t more)
{
    struct recovery *rec = tcb_own_rec(tcb);

    rec->sacked = sacked;
    if (limit_guess(tcb)) { /* more have arrived than seemed missing: reordered */
        count(tcp_core(tcp), C_TCP_REORDERED);
        set_reordering(tcp, tcb, rec->packets + more);
        note_reordering(tcp, tcb);
    }
    rec->sacked_bytes = rec->sacked * tcb->snd_mss;
}

void scoreboard_dupack(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t before = tcb_rec(tcb)->sacked;

    guess(tcp, tcb, before + 1, 0);
    if (tcb_rec(tcb)->sacked > before)
        tcb_own_traffic(tcb)->delivered += tcb_rec(tcb)->sacked - before;
}

void scoreboard_guess_none(struct tcb *tcb)
{
    tcb_own_rec(tcb)->sacked = tcb_own_rec(tcb)->sacked_bytes = 0;
}

/* So many packets have left the front: one was the hole, the others had earned
 * their duplicate ACKs. */
static void guess_fewer(struct tcp *tcp, struct tcb *tcb, uint32_t acked)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (acked > 0) {
        tcb_own_traffic(tcb)->delivered += acked > rec->sacked ? acked - rec->sacked : 1;
        rec->sacked = acked - 1 >= rec->sacked ? 0 : rec->sacked - (acked - 1);
    }
    guess(tcp, tcb, rec->sacked, acked);
}

/* ------------------------------------------------------- acknowledged in order */

/* Did this ACK leave the peer before the record was sent again? */
static bool acks_original(const struct tcp *tcp, const struct tcb *tcb, uint8_t flags, ust_time at,
                          const struct ack_news *news)
{
    return (flags & SENT_EVER) && news->ecr_ok &&
           seq_lt(news->ts_ecr, tcp_ts_at(at, tcb->ts_offset)) && tcp->net.core.now > at;
}

static void note_delivery(struct tcb *tcb, struct ack_news *news, const struct sent *s)
{
    rate_delivered(tcb, s, news);
    if (!news->delivery || seq_gt(s->delivered, news->prior_delivered))
        news->prior_delivered = s->delivered;
    news->delivery = true;
}

/* A record, or its first n packets, is acknowledged; s says what it was. */
static void take_acked(struct tcp *tcp, struct tcb *tcb, const struct sent *s, uint32_t n,
                       struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (s->flags & SENT_EVER) {
        news->resent_acked = true;
    } else if (!(s->flags & SENT_SACKED)) {
        news->last_acked = s->at;
        if (!news->first_acked)
            news->first_acked = s->at;
        news->reord = seq_min(news->reord, s->seq);
        if (seq_leq(s->end, rec->recover))
            news->orig_acked = true;
    }
    if (!tcb->sack_ok)
        rate_delivered(tcb, s, news);
    if (!(s->flags & SENT_SACKED) && tcb->sack_ok) {
        tcb_own_traffic(tcb)->delivered += n;
        note_delivery(tcb, news, s);
        if (!acks_original(tcp, tcb, s->flags, s->at, news))
            rack_advance(tcp, tcb, s->flags, s->at, seq_min(s->end, tcb->snd_una));
    }
    news->packets += n;
}

void scoreboard_acked(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *s = sent_at(tcp, rec->head);

    news->reord = tcb->snd_una;
    while (s && seq_lt(s->seq, tcb->snd_una)) {
        struct sent was = *s;
        uint32_t n = sent_trim(tcp, tcb, s, tcb->snd_una);

        if (n > 0)
            take_acked(tcp, tcb, &was, n, news);
        if (seq_gt(was.end, tcb->snd_una))
            break;
        s = sent_at(tcp, rec->head);
    }
    if (!tcb->sack_ok) {
        guess_fewer(tcp, tcb, news->packets);
        if (news->resent_acked) /* nobody says which transmission it was */
            news->orig_acked = false;
    } else if (seq_lt(news->reord, news->prior_fack)) {
        scoreboard_reordered(tcp, tcb, news->reord);
    }
    s = sent_at(tcp, rec->head);
    news->reneging = s && (s->flags & SENT_SACKED);
}

/* ------------------------------------------------------- D-SACK (RFC 2883) */

/* Does the first block report text that the peer has had before? */
static bool is_dsack(const struct segment *seg)
{
    const struct range *b = seg->opt.sacks;

    return seq_lt(b[0].lo, seg->ack) ||
           (seg->opt.n_sacks > 1 && seq_leq(b[0].hi, b[1].hi) && seq_geq(b[0].lo, b[1].lo));
}

/* RFC 2883 4; a duplicate that no transmission of ours explains is a lie. */
static bool take_dsack(struct tcp *tcp, struct tcb *tcb, const struct range *b,
                       struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t len = b->hi - b->lo, n;

    if (!seq_lt(b->lo, b->hi) || len > tcb->max_wnd)
        return false;
    n = len > tcb->snd_mss ? (len + tcb->snd_mss - 1) / tcb->snd_mss : 1;
    if (rec->tlp && rec->tlp_end == b->hi)
        news->dsack_tlp = true;
    if (tcb_extra(tcb)->dsack_dups + n > tcb_extra(tcb)->total_retrans)
        return false;
    tcb_own_extra(tcb)->dsack_dups += n; /* something was sent again: it has one */
    count(tcp_core(tcp), C_TCP_DSACKS_IN);
    /* Only if reordering is about, and no timer sent the probe, does a needless
     * retransmission speak for a wider window. */
    if (tcb_extra(tcb)->reordered && !news->dsack_tlp)
        rec->dsack_round = true;
    news->dsack = true;
    tcb_own_traffic(tcb)->delivered += n;
    if (rec->undo && rec->undo_retrans > 0 && seq_leq(b->hi, news->prior_una) &&
        seq_gt(b->hi, rec->undo_marker))
        rec->undo_retrans = rec->undo_retrans > (int32_t)n ? rec->undo_retrans - (int32_t)n : 0;
    return true;
}

/* ------------------------------------------------------- SACK blocks */

/* RFC 2018 5, as Linux: inside what is in flight; a D-SACK may lie below it,
 * as far back as an episode that may be undone. */
static bool block_ok(const struct tcb *tcb, const struct range *b, bool dsack)
{
    const struct recovery *rec = tcb_rec(tcb);

    if (seq_gt(b->hi, tcb->snd_max) || !seq_lt(b->lo, b->hi) || !seq_lt(b->lo, tcb->snd_max))
        return false;
    if (seq_gt(b->lo, tcb->snd_una))
        return true;
    if (!dsack || !rec->undo || seq_gt(b->hi, tcb->snd_una))
        return false;
    if (seq_geq(b->lo, rec->undo_marker))
        return true;
    return seq_gt(b->hi, rec->undo_marker) && seq_geq(b->lo, b->hi - tcb->max_wnd);
}

/* Record s, all of it, is held by the peer. */
static void tag(struct tcp *tcp, struct tcb *tcb, struct sent *s, struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint8_t flags = s->flags | SENT_SACKED;

    rack_advance(tcp, tcb, s->flags, s->at, s->end);
    if (!(flags & SENT_EVER)) {
        if (rec->sacked && seq_lt(s->seq, rec->fack))
            news->sack_reord = seq_min(news->sack_reord, s->seq);
        if (seq_leq(s->end, rec->recover))
            news->orig_acked = true;
        if (!news->first_sacked)
            news->first_sacked = s->at;
        news->last_sacked = s->at;
    }
    /* A retransmission of what was not thought lost stays in flight. */
    if (!(flags & SENT_AGAIN))
        flags &= (uint8_t)~SENT_LOST;
    else if (flags & SENT_LOST)
        flags &= (uint8_t)~(SENT_LOST | SENT_AGAIN);
    rec->fack = rec->sacked ? seq_max(rec->fack, s->end) : s->end;
    sent_set(tcp, tcb, s, flags);
    note_delivery(tcb, news, s);
    tcb_own_traffic(tcb)->delivered += s->segs;
    news->sacked = true;
}

/* The part of record s that consists of whole segments inside [lo, hi), cut
 * out; NULL when there is none, or no record to cut it with. */
static struct sent *inside(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint32_t lo,
                           uint32_t hi)
{
    uint32_t from = s->seq, to = s->end;

    if (seq_lt(from, lo))
        from += (lo - from + s->mss - 1) / s->mss * s->mss;
    if (seq_lt(hi, to))
        to = s->seq + (hi - s->seq) / s->mss * s->mss;
    if (!seq_lt(from, to))
        return NULL;
    if (from != s->seq)
        s = sent_cut(tcp, tcb, s, from);
    if (s && to != s->end && !sent_cut(tcp, tcb, s, to))
        return NULL;
    return s;
}

static bool plainly_sacked(const struct sent *s)
{
    return s && (s->flags & (SENT_SACKED | SENT_AGAIN)) == SENT_SACKED;
}

/* Marks what [lo, hi) holds; everything before `from` is known. */
static void tag_block(struct tcp *tcp, struct tcb *tcb, uint32_t lo, uint32_t hi, uint32_t from,
                      struct ack_news *news)
{
    struct sent *s = sent_find(tcp, tcb, from), *part, *prev;

    for (; s && seq_lt(s->seq, hi); s = sent_at(tcp, s->next)) {
        if (!(s->flags & SENT_SACKED)) {
            part = inside(tcp, tcb, s, lo, hi);
            if (!part)
                continue;
            s = part;
            tag(tcp, tcb, s, news);
        }
        prev = sent_at(tcp, s->prev);
        if (plainly_sacked(prev) && plainly_sacked(s))
            s = sent_join(tcp, tcb, prev);
        part = sent_at(tcp, s->next);
        if (plainly_sacked(part) && plainly_sacked(s))
            sent_join(tcp, tcb, s);
        tcb_own_rec(tcb)->cursor = sent_index(tcp, s);
    }
}

/* A duplicate above snd_una: its retransmissions are at the peer, too. */
static void tag_duplicate(struct tcp *tcp, struct tcb *tcb, const struct range *b)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *s = sent_find(tcp, tcb, b->lo);

    for (; s && seq_lt(s->seq, b->hi); s = sent_at(tcp, s->next)) {
        if (!(s->flags & SENT_EVER))
            continue;
        if (rec->undo && rec->undo_retrans > 0 && seq_gt(s->end, rec->undo_marker))
            rec->undo_retrans =
                rec->undo_retrans > (int32_t)s->segs ? rec->undo_retrans - (int32_t)s->segs : 0;
        if ((s->flags & (SENT_SACKED | SENT_AGAIN)) == (SENT_SACKED | SENT_AGAIN))
            sent_set(tcp, tcb, s, s->flags & (uint8_t)~SENT_AGAIN);
    }
}

void sack_forget_blocks(struct recovery *rec)
{
    memset(rec->seen, 0, sizeof rec->seen);
}

/* Marks one block but for what the last ACK's blocks have covered. */
static void tag_news(struct tcp *tcp, struct tcb *tcb, const struct range *b, struct ack_news *news)
{
    uint32_t from = b->lo, lo = b->lo, hi = b->hi;

    for (unsigned i = 0; i < 4; i++) {
        const struct range *old = &tcb_rec(tcb)->seen[i];

        if (old->lo == old->hi || seq_lt(lo, old->lo) || seq_geq(from, old->hi))
            continue;
        if (seq_leq(hi, old->hi))
            return;
        from = old->hi - 1; /* in the record where the old block ended */
    }
    tag_block(tcp, tcb, lo, hi, seq_max(from, tcb->snd_una), news);
}

/* Copies what counts of the blocks, sorted; how many. */
static unsigned sort_blocks(struct tcp *tcp, const struct tcb *tcb, const struct segment *seg,
                            bool dsack, const struct ack_news *news, struct range *out)
{
    unsigned n = 0, k;

    for (unsigned i = 0; i < seg->opt.n_sacks; i++) {
        const struct range *b = &seg->opt.sacks[i];

        if (!block_ok(tcb, b, dsack && i == 0)) {
            if (!(dsack && i == 0) && seq_gt(b->hi, tcb->snd_una))
                count(tcp_core(tcp), C_TCP_SACK_BAD);
            continue;
        }
        if (!seq_gt(b->hi, news->prior_una) || (dsack && i == 0))
            continue;
        for (k = n++; k > 0 && seq_gt(out[k - 1].lo, b->lo); k--)
            out[k] = out[k - 1];
        out[k] = *b;
    }
    return n;
}

void sack_input(struct tcp *tcp, struct tcb *tcb, const struct segment *seg, struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct range blocks[TCP_MAX_SACKS];
    bool dsack = is_dsack(seg);
    unsigned n;

    count(tcp_core(tcp), C_TCP_SACKS_IN);
    if (dsack)
        take_dsack(tcp, tcb, &seg->opt.sacks[0], news);
    if (rec->packets == 0)
        return;
    if (rec->sacked == 0)
        sack_forget_blocks(rec);
    news->sack_reord = tcb->snd_max;
    if (dsack && seq_gt(seg->opt.sacks[0].lo, tcb->snd_una) &&
        block_ok(tcb, &seg->opt.sacks[0], true))
        tag_duplicate(tcp, tcb, &seg->opt.sacks[0]);
    n = sort_blocks(tcp, tcb, seg, dsack, news, blocks);
    for (unsigned i = 0; i < n; i++)
        tag_news(tcp, tcb, &blocks[i], news);
    sack_forget_blocks(rec);
    memcpy(rec->seen, blocks, n * sizeof *blocks);
    if (news->sacked && (tcb->ca_state != UST_CA_LOSS || rec->undo))
        scoreboard_reordered(tcp, tcb, news->sack_reord);
}

/* ------------------------------------------------------- RFC 6675 alone */

/* IsLost() of RFC 6675 4, for when RACK is off: enough has been sacked above. */
void sack_mark_lost(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t above = 0;

    for (struct sent *s = sent_at(tcp, rec->tail); s; s = sent_at(tcp, s->prev)) {
        if (s->flags & SENT_SACKED)
            above += s->segs;
        else if (above >= tcb->reordering && !(s->flags & SENT_LOST))
            sent_mark_lost(tcp, tcb, s);
    }
}
