/* SPDX-License-Identifier: BSD-3-Clause */
/* The records of transmissions (sent.h): taken, cut, put together, counted.
 *
 * Each struct flight has one record of its own, sents[its index], so that the
 * first is always to be had; the others come from a pool that all share. When there is
 * none, or a connection has tcp.max_sent of them, new text is added to the last
 * record and a cut is refused: precision is lost, never the text.
 *
 * In order, adding and taking off cost the same however much is in flight.
 *
 * Not here: what an ACK says about them (scoreboard.c, rack.c).             */
#include <assert.h>

#include "tcp.h"

/* Adds a record to the sums that its flags name, sign times. */
static void tally(struct recovery *rec, const struct sent *s, uint32_t sign)
{
    uint32_t segs = sign * s->segs, bytes = sign * (s->end - s->seq);

    rec->packets += segs;
    if (!(s->flags & (SENT_SACKED | SENT_LOST | SENT_AGAIN)))
        return;
    if (s->flags & SENT_SACKED) {
        rec->sacked += segs;
        rec->sacked_bytes += bytes;
    }
    if (s->flags & SENT_LOST) {
        rec->lost += segs;
        rec->lost_bytes += bytes;
    }
    if (s->flags & SENT_AGAIN) {
        rec->again += segs;
        rec->again_bytes += bytes;
    } else if (s->flags & SENT_LOST) {
        rec->waiting += segs;
    }
}

/* ------------------------------------------------------- the list by time */

static void time_insert(struct tcp *tcp, struct recovery *rec, struct sent *s, uint32_t after)
{
    uint32_t i = sent_index(tcp, s);
    uint32_t before = after == TCP_NONE ? rec->oldest : tcp->sents[after].later;

    s->flags |= SENT_TIMED;
    s->older = after;
    s->later = before;
    if (after == TCP_NONE)
        rec->oldest = i;
    else
        tcp->sents[after].later = i;
    if (before == TCP_NONE)
        rec->newest = i;
    else
        tcp->sents[before].older = i;
}

static void time_remove(struct tcp *tcp, struct recovery *rec, struct sent *s)
{
    if (!(s->flags & SENT_TIMED))
        return;
    s->flags &= (uint8_t)~SENT_TIMED;
    if (s->older == TCP_NONE)
        rec->oldest = s->later;
    else
        tcp->sents[s->older].later = s->later;
    if (s->later == TCP_NONE)
        rec->newest = s->older;
    else
        tcp->sents[s->later].older = s->older;
}

/* ------------------------------------------------------- the pool */

/* Is a record of the pool refused? */
static bool no_more(struct tcp *tcp, const struct recovery *rec)
{
    return rec->n_records >= (uint32_t)tcp->net.core.set.tcp_max_sent ||
           fault_hits(&tcp->net.core.faults) ||
           (tcp->sent_free == TCP_NONE && tcp->sents_fresh >= tcp->n_flights + tcp->n_sents);
}

static struct sent *take(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t i = flight_index(tcp, tcb);

    if (!rec->own_used) {
        rec->own_used = true;
    } else if (no_more(tcp, rec)) {
        return NULL;
    } else if (tcp->sent_free != TCP_NONE) {
        i = tcp->sent_free;
        tcp->sent_free = tcp->sents[i].next;
        tcp->sents_used++;
    } else {
        i = tcp->sents_fresh++;
        tcp->sents_used++;
    }
    rec->n_records++;
    return &tcp->sents[i];
}

static void give_back(struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    uint32_t i = sent_index(tcp, s);

    tcb_own_rec(tcb)->n_records--;
    if (i < tcp->n_flights) {
        tcb_own_rec(tcb)->own_used = false;
        return;
    }
    s->next = tcp->sent_free;
    tcp->sent_free = i;
    tcp->sents_used--;
}

/* ------------------------------------------------------- the list */

static void link_after(struct tcp *tcp, struct recovery *rec, struct sent *s, uint32_t prev)
{
    uint32_t i = sent_index(tcp, s);
    uint32_t next = prev == TCP_NONE ? rec->head : tcp->sents[prev].next;

    s->prev = prev;
    s->next = next;
    if (prev == TCP_NONE)
        rec->head = i;
    else
        tcp->sents[prev].next = i;
    if (next == TCP_NONE)
        rec->tail = i;
    else
        tcp->sents[next].prev = i;
}

static void unlink_record(struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t i = sent_index(tcp, s);

    if (rec->head == rec->tail) { /* the only one */
        rec->head = rec->tail = rec->oldest = rec->newest = TCP_NONE;
        rec->cursor = rec->resend = TCP_NONE;
        return give_back(tcp, tcb, s);
    }
    time_remove(tcp, rec, s);
    if (rec->cursor == i)
        rec->cursor = s->prev != TCP_NONE ? s->prev : s->next;
    if (rec->resend == i)
        rec->resend = s->next;
    if (s->prev == TCP_NONE)
        rec->head = s->next;
    else
        tcp->sents[s->prev].next = s->next;
    if (s->next == TCP_NONE)
        rec->tail = s->prev;
    else
        tcp->sents[s->next].prev = s->prev;
    give_back(tcp, tcb, s);
}

/* The time, or a nanosecond more than the last one: what left first must look
 * older, also when a burst leaves at one time. */
static ust_time stamp(const struct tcp *tcp, struct recovery *rec)
{
    rec->last_at = tcp_now(tcp) > rec->last_at ? tcp_now(tcp) : rec->last_at + 1;
    return rec->last_at;
}

/* Packets of [seq, end), of which a FIN takes no room. */
static uint16_t packets_of(uint32_t len, bool fin, uint32_t mss)
{
    uint32_t text = len - fin, n = text <= mss ? 1 : (text + mss - 1) / mss;

    return (uint16_t)(n < UINT16_MAX ? n : UINT16_MAX);
}

/* May text that leaves now go on at the end of record s? It must be of the same
 * burst; and only a record of full segments can go on, or the cuts would be in
 * the wrong places. */
static bool goes_on(const struct tcb *tcb, const struct sent *s)
{
    uint32_t len = s->end - s->seq;

    return tcb_rec(tcb)->burst && s->flags == SENT_TIMED && s->mss == tcb->snd_mss &&
           s->delivered == tcb_traffic(tcb)->delivered && len == (uint32_t)s->segs * s->mss &&
           s->segs < 32768;
}

/* No record is to be had: the last one becomes younger and longer, and what
 * was known of it is forgotten. */
static void stretch(struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    struct recovery *rec = tcb_own_rec(tcb);

    count(tcp_core(tcp), C_TCP_SENT_MERGED);
    tally(rec, s, -1u);
    s->flags &= SENT_EVER | SENT_TIMED;
    tally(rec, s, 1);
    time_remove(tcp, rec, s);
    time_insert(tcp, rec, s, rec->newest);
    s->at = stamp(tcp, rec);
    s->delivered = tcb_traffic(tcb)->delivered;
    rate_sent(tcp, tcb, s);
    sack_forget_blocks(rec);
}

static void lengthen(struct tcb *tcb, struct sent *s, uint32_t end, bool fin)
{
    uint32_t more = packets_of(end - s->end, fin, tcb->snd_mss);

    if (s->segs + more > UINT16_MAX)
        more = UINT16_MAX - s->segs;
    s->segs = (uint16_t)(s->segs + more);
    tcb_own_rec(tcb)->packets += more;
    s->end = end;
    s->flags |= fin ? SENT_FIN : 0;
}

static void fill(const struct tcp *tcp, struct tcb *tcb, struct sent *s, uint32_t seq, uint32_t end,
                 bool fin)
{
    struct recovery *rec = tcb_own_rec(tcb);

    s->seq = seq;
    s->end = end;
    s->at = stamp(tcp, rec);
    s->delivered = tcb_traffic(tcb)->delivered;
    rate_sent(tcp, tcb, s);
    s->mss = (uint16_t)tcb->snd_mss;
    s->segs = packets_of(end - seq, fin, tcb->snd_mss);
    s->flags = fin ? SENT_FIN : 0;
    rec->packets += s->segs;
}

/* Nothing is in flight yet: the connection's own record is all there is. */
static void add_first(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t end, bool fin)
{
    struct recovery *rec = tcb_own_rec(tcb);
    uint32_t i = flight_index(tcp, tcb);
    struct sent *s = &tcp->sents[i];

    assert(s && !rec->own_used && rec->n_records == 0);
    rec->own_used = true;
    rec->n_records = 1;
    rec->head = rec->tail = rec->oldest = rec->newest = i;
    fill(tcp, tcb, s, seq, end, fin);
    s->flags |= SENT_TIMED;
    s->next = s->prev = s->later = s->older = TCP_NONE;
}

void sent_add(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t end, bool fin)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *tail = sent_at(tcp, rec->tail), *s;

    if (!tail) {
        rec->burst = true;
        return add_first(tcp, tcb, seq, end, fin);
    }
    if (goes_on(tcb, tail))
        return lengthen(tcb, tail, end, fin);
    rec->burst = true;
    s = take(tcp, tcb);
    if (!s) {
        stretch(tcp, tcb, tail);
        return lengthen(tcb, tail, end, fin);
    }
    fill(tcp, tcb, s, seq, end, fin);
    link_after(tcp, rec, s, rec->tail);
    time_insert(tcp, rec, s, rec->newest);
}

struct sent *sent_cut(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint32_t seq)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *right = take(tcp, tcb);

    if (!right) {
        count(tcp_core(tcp), C_TCP_SENT_UNCUT);
        return NULL;
    }
    tally(rec, s, -1u);
    *right = *s;
    right->seq = s->end = seq;
    s->flags &= (uint8_t)~SENT_FIN;
    s->segs = packets_of(s->end - s->seq, false, s->mss);
    right->segs = packets_of(right->end - seq, right->flags & SENT_FIN, right->mss);
    tally(rec, s, 1);
    tally(rec, right, 1);
    link_after(tcp, rec, right, sent_index(tcp, s));
    if (s->flags & SENT_TIMED)
        time_insert(tcp, rec, right, sent_index(tcp, s));
    return right;
}

struct sent *sent_join(struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    struct sent *next = sent_at(tcp, s->next);

    if (s->segs + next->segs > UINT16_MAX)
        return next;
    tally(tcb_own_rec(tcb), next, -1u);
    tally(tcb_own_rec(tcb), s, -1u);
    s->end = next->end;
    s->segs = (uint16_t)(s->segs + next->segs);
    s->flags |= next->flags & (SENT_EVER | SENT_FIN);
    tally(tcb_own_rec(tcb), s, 1);
    unlink_record(tcp, tcb, next);
    return s;
}

/* Files s by its time, which is seldom the newest: an episode was undone. */
static void file_by_time(struct tcp *tcp, struct recovery *rec, struct sent *s)
{
    uint32_t after = rec->newest;

    while (after != TCP_NONE && tcp->sents[after].at > s->at)
        after = tcp->sents[after].older;
    time_insert(tcp, rec, s, after);
}

void sent_set(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint8_t flags)
{
    struct recovery *rec = tcb_own_rec(tcb);
    bool timed = !(flags & SENT_SACKED) && (flags & (SENT_LOST | SENT_AGAIN)) != SENT_LOST;

    if (!timed)
        time_remove(tcp, rec, s);
    tally(rec, s, -1u);
    s->flags = (uint8_t)((flags & ~SENT_TIMED) | (s->flags & SENT_TIMED));
    tally(rec, s, 1);
    if (timed && !(s->flags & SENT_TIMED))
        file_by_time(tcp, rec, s);
    if ((flags & (SENT_LOST | SENT_AGAIN)) == SENT_LOST && rec->resend != TCP_NONE &&
        seq_lt(s->seq, tcp->sents[rec->resend].seq))
        rec->resend = sent_index(tcp, s);
}

void sent_mark_lost(struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    uint8_t flags = s->flags;

    if (flags & SENT_SACKED)
        return;
    if (!(flags & SENT_LOST))
        flags |= SENT_LOST;
    else if (flags & SENT_AGAIN)
        count(tcp_core(tcp), C_TCP_REXMT_LOST);
    else
        return;
    tcb_own_rec(tcb)->lost_total += s->segs;
    sent_set(tcp, tcb, s, flags & (uint8_t)~SENT_AGAIN);
}

void sent_resize(struct tcb *tcb, struct sent *s, uint32_t mss)
{
    tally(tcb_own_rec(tcb), s, -1u);
    s->mss = (uint16_t)mss;
    s->segs = packets_of(s->end - s->seq, s->flags & SENT_FIN, mss);
    tally(tcb_own_rec(tcb), s, 1);
}

void sent_resent(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint8_t flags)
{
    struct recovery *rec = tcb_own_rec(tcb);

    time_remove(tcp, rec, s);
    s->at = stamp(tcp, rec);
    s->delivered = tcb_traffic(tcb)->delivered;
    rate_sent(tcp, tcb, s);
    sent_set(tcp, tcb, s, s->flags | flags);
}

uint32_t sent_trim(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint32_t ack)
{
    uint32_t segs = s->segs;

    tally(tcb_own_rec(tcb), s, -1u);
    if (seq_geq(ack, s->end)) {
        unlink_record(tcp, tcb, s);
        return segs;
    }
    s->seq = ack;
    s->segs = packets_of(s->end - ack, s->flags & SENT_FIN, s->mss);
    if (s->segs > segs)
        s->segs = (uint16_t)segs;
    tally(tcb_own_rec(tcb), s, 1);
    return segs - s->segs;
}

struct sent *sent_find(struct tcp *tcp, struct tcb *tcb, uint32_t seq)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *s = sent_at(tcp, rec->cursor != TCP_NONE ? rec->cursor : rec->head);

    while (s && seq_lt(seq, s->seq) && s->prev != TCP_NONE)
        s = &tcp->sents[s->prev];
    while (s && seq_geq(seq, s->end))
        s = sent_at(tcp, s->next);
    if (s)
        rec->cursor = sent_index(tcp, s);
    return s;
}

struct sent *sent_waiting(struct tcp *tcp, struct tcb *tcb)
{
    struct recovery *rec = tcb_own_rec(tcb);
    struct sent *s;

    if (rec->waiting == 0)
        return NULL;
    s = sent_at(tcp, rec->resend != TCP_NONE ? rec->resend : rec->head);
    while (s && (s->flags & (SENT_LOST | SENT_AGAIN)) != SENT_LOST)
        s = sent_at(tcp, s->next);
    assert(s);
    rec->resend = sent_index(tcp, s);
    return s;
}

void sent_clear(struct tcp *tcp, struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);

    while (rec->head != TCP_NONE)
        sent_trim(tcp, tcb, &tcp->sents[rec->head], tcp->sents[rec->head].end);
}

/* ------------------------------------------------------- invariants */

/* T1 and what the flags say of the place in the list by time. */
static bool order_ok(const struct tcp *tcp, const struct tcb *tcb, struct recovery *sums)
{
    const struct recovery *rec = tcb_rec(tcb);
    uint32_t at = tcb->snd_una + (tcb->snd_una == tcb->iss), prev = TCP_NONE;

    for (uint32_t i = rec->head; i != TCP_NONE; prev = i, i = tcp->sents[i].next) {
        const struct sent *s = &tcp->sents[i];
        bool timed =
            !(s->flags & SENT_SACKED) && (s->flags & (SENT_LOST | SENT_AGAIN)) != SENT_LOST;

        if (s->seq != at || !seq_lt(s->seq, s->end) || s->prev != prev || s->segs == 0 ||
            timed != !!(s->flags & SENT_TIMED) || sums->n_records++ > rec->n_records)
            return false;
        if (sums->waiting == 0 && rec->resend == i) /* T4: none has come before */
            sums->resend = i;
        tally(sums, s, 1);
        at = s->end;
    }
    return rec->tail == prev && (rec->head == TCP_NONE || at == tcb->snd_max);
}

static bool time_ok(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);
    uint32_t n = 0, timed = 0, older = TCP_NONE;

    for (uint32_t i = rec->head; i != TCP_NONE; i = tcp->sents[i].next)
        timed += !!(tcp->sents[i].flags & SENT_TIMED);
    for (uint32_t i = rec->oldest; i != TCP_NONE && n <= timed; older = i, i = tcp->sents[i].later)
        if (n++ > timed || tcp->sents[i].older != older ||
            (older != TCP_NONE && tcp->sents[i].at < tcp->sents[older].at))
            return false;
    return n == timed && rec->newest == older;
}

int sent_check(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);
    struct recovery sums = {.resend = TCP_NONE};

    if (!order_ok(tcp, tcb, &sums) || sums.n_records != rec->n_records)
        return 1;
    if (sums.packets != rec->packets || sums.lost != rec->lost || sums.again != rec->again ||
        sums.waiting != rec->waiting || sums.lost_bytes != rec->lost_bytes ||
        sums.again_bytes != rec->again_bytes)
        return 2;
    if (tcb->sack_ok ? sums.sacked != rec->sacked || sums.sacked_bytes != rec->sacked_bytes
                     : sums.sacked || rec->sacked > rec->packets)
        return 2;
    if (!time_ok(tcp, tcb))
        return 3;
    return rec->resend == TCP_NONE || sums.resend == rec->resend ? 0 : 4;
}
