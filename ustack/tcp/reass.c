/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that arrives out of order (SHLD-31), and the SACK blocks that tell of it
 * (RFC 2018 4). A connection takes a struct reass when it first needs one and
 * gives it back when the holes are filled.
 *
 * Bounds: tcp.max_ooo_ranges ranges; buffer memory, together with that of the
 * receive buffer, of twice its limit and one large buffer. Beyond them what is
 * nearest to RCV.NXT stays, for that is what will be delivered first: text with
 * higher numbers makes way or is not taken. The peer will send it again (RFC
 * 2018 8 allows it).
 *
 * Costs: a look-up is a binary search, a new range moves two short arrays, a
 * frame is linked in behind the last one of a range, and a walk frees as many
 * frames as it keeps: nothing here grows with what is held. Bytes that follow each other share a buffer while it has room. */
#include "tcp.h"

static struct reass *reass_of(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb->reass == TCP_NONE ? NULL : &tcp->reasses[tcb->reass];
}

static struct reass *reass_take(struct tcp *tcp, struct tcb *tcb)
{
    struct reass *r;

    if (tcb->reass != TCP_NONE)
        return &tcp->reasses[tcb->reass];
    if (tcp->reass_free == TCP_NONE || fault_hits(&tcp->net.core.faults))
        return NULL;
    tcb->reass = tcp->reass_free;
    r = &tcp->reasses[tcb->reass];
    tcp->reass_free = r->next;
    tcp->reasses_used++;
    r->n = r->bytes = r->charged = 0;
    r->head = MBUF_NONE;
    for (unsigned i = 0; i < 4; i++)
        r->recent[i] = tcb->rcv_nxt; /* in no range */
    return r;
}

static void reass_give_back(struct tcp *tcp, struct tcb *tcb)
{
    struct reass *r = &tcp->reasses[tcb->reass];

    r->next = tcp->reass_free;
    tcp->reass_free = tcb->reass;
    tcp->reasses_used--;
    tcb->reass = TCP_NONE;
}

/* ------------------------------------------------------- the list of frames */

/* Where the link to the first frame behind frame i stands. */
static uint32_t *link_behind(struct mbuf_pool *pool, struct reass *r, uint32_t i)
{
    return i == MBUF_NONE ? &r->head : &pool->meta[i].link;
}

/* The last frame before range i. */
static uint32_t last_before(const struct reass *r, unsigned i)
{
    return i == 0 ? (uint32_t)MBUF_NONE : r->tail[i - 1];
}

/* Takes the frame that follows frame prev out of the list. */
static struct mbuf *unlink_behind(struct mbuf_pool *pool, struct reass *r, uint32_t prev)
{
    uint32_t *link = link_behind(pool, r, prev);
    struct mbuf *m = mbuf_at(pool, *link);

    *link = m->link;
    m->link = MBUF_NONE;
    r->bytes -= m->frame_len;
    r->charged -= mbuf_truesize(pool, m);
    return m;
}

static void move_tails(struct reass *r, unsigned to, unsigned from, unsigned count)
{
    memmove(&r->tail[to], &r->tail[from], count * sizeof *r->tail);
}

void reass_free(struct tcp *tcp, struct tcb *tcb)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    struct reass *r = reass_of(tcp, tcb);

    if (!r)
        return;
    while (r->head != MBUF_NONE)
        mbuf_free(pool, unlink_behind(pool, r, MBUF_NONE));
    reass_give_back(tcp, tcb);
}

/* ------------------------------------------------------- adding */

/* The range that holds lo has just grown: it is reported first. */
static void remember(struct reass *r, uint32_t lo)
{
    const struct range *held = &r->range[ranges_find(r->range, r->n, lo)];
    unsigned i = 0;

    while (i < 3 && !seq_between(held->lo, r->recent[i], held->hi))
        i++;
    for (; i > 0; i--)
        r->recent[i] = r->recent[i - 1];
    r->recent[0] = held->lo;
}

/* Puts m, text [lo, hi) which overlaps no range, into the list and the ranges;
 * false when it would be one range too many. */
static bool store(struct tcp *tcp, struct reass *r, struct mbuf *m, uint32_t lo, uint32_t hi)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    unsigned absorbed, cap = (unsigned)tcp->net.core.set.tcp_max_ooo;
    int at = ranges_add(r->range, &r->n, cap, lo, hi, &absorbed);
    uint32_t prev, i = mbuf_index(pool, m), size = mbuf_truesize(pool, m), *link;
    bool left, right;

    if (at < 0)
        return false;
    left = seq_lt(r->range[at].lo, lo); /* m follows a range, is followed by one */
    right = seq_gt(r->range[at].hi, hi);
    prev = left ? r->tail[at] : last_before(r, (unsigned)at);
    m->seq = lo;
    r->bytes += hi - lo;
    if (left && mbuf_absorb(pool, &pool->meta[prev], m)) {
        i = prev;
    } else {
        link = link_behind(pool, r, prev);
        m->link = *link;
        *link = i;
        r->charged += size;
    }
    if (right)
        i = r->tail[at + (int)absorbed - 1];
    move_tails(r, (unsigned)at + 1, (unsigned)at + absorbed, r->n - (unsigned)at - 1);
    r->tail[at] = i;
    return true;
}

static void drop_range(struct mbuf_pool *pool, struct reass *r, unsigned i)
{
    uint32_t prev = last_before(r, i), end = pool->meta[r->tail[i]].link;

    while (*link_behind(pool, r, prev) != end)
        mbuf_free(pool, unlink_behind(pool, r, prev));
    r->n--;
    memmove(&r->range[i], &r->range[i + 1], (r->n - i) * sizeof *r->range);
    move_tails(r, i, i + 1, r->n - i);
}

/* Makes [*lo, *hi) a piece that overlaps no range: cuts off both ends what is
 * already held, and drops ranges that lie wholly inside, for it brings their
 * bytes again. */
static void cut_overlap(struct tcp *tcp, struct tcb *tcb, struct reass *r, uint32_t *lo,
                        uint32_t *hi)
{
    unsigned i = ranges_find(r->range, r->n, *lo);

    if (i < r->n && seq_leq(r->range[i].lo, *lo)) {
        dsack_set(tcp, tcb, *lo, seq_min(r->range[i].hi, *hi));
        *lo = seq_min(r->range[i++].hi, *hi);
    }
    while (i < r->n && seq_lt(*lo, *hi) && seq_leq(r->range[i].hi, *hi)) {
        dsack_extend(tcp, tcb, r->range[i].lo, r->range[i].hi);
        drop_range(&tcp->net.core.pool, r, i);
    }
    if (i < r->n && seq_lt(r->range[i].lo, *hi)) {
        dsack_extend(tcp, tcb, r->range[i].lo, *hi);
        *hi = r->range[i].lo;
    }
}

/* ------------------------------------------------------- making room */

/* Throws away the later half of the last range, so that a step of the walk pays
 * for a frame that goes. */
static void prune_last(struct tcp *tcp, struct reass *r)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    uint32_t prev = last_before(r, r->n - 1), i, n = 0;

    for (i = *link_behind(pool, r, prev); i != MBUF_NONE; i = pool->meta[i].link)
        n++;
    for (n /= 2; n > 0; n--)
        prev = *link_behind(pool, r, prev);
    ranges_cut_above(r->range, &r->n, pool->meta[*link_behind(pool, r, prev)].seq);
    while (*link_behind(pool, r, prev) != MBUF_NONE) {
        count(tcp_core(tcp), C_TCP_OOO_PRUNED);
        mbuf_free(pool, unlink_behind(pool, r, prev));
    }
    if (r->n > 0)
        r->tail[r->n - 1] = prev;
}

static bool last_is_behind(const struct reass *r, uint32_t seq)
{
    return r->n > 0 && seq_gt(r->range[r->n - 1].lo, seq);
}

void reass_prune(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t budget)
{
    struct reass *r = reass_of(tcp, tcb);

    while (r && r->charged > budget && last_is_behind(r, seq))
        prune_last(tcp, r);
    if (r && r->n == 0)
        reass_give_back(tcp, tcb);
}

/* Is there room for a buffer of size bytes whose text begins at seq? */
static bool make_room(struct tcp *tcp, const struct tcb *tcb, struct reass *r, uint32_t seq,
                      uint32_t size)
{
    uint64_t limit = 2 * (uint64_t)tcb->rcvbuf.limit + MBUF_LARGE_SIZE;
    uint64_t used = (uint64_t)tcb->rcvbuf.charged + size;

    while (used + r->charged > limit && last_is_behind(r, seq))
        prune_last(tcp, r);
    return used + r->charged <= limit;
}

/* The same, with a place for one more range. */
static bool store_nearer(struct tcp *tcp, struct reass *r, struct mbuf *m, uint32_t lo, uint32_t hi)
{
    unsigned n = r->n;

    while (r->n == n && last_is_behind(r, lo))
        prune_last(tcp, r);
    return r->n < n && store(tcp, r, m, lo, hi);
}

void reass_add(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    uint32_t lo = seg->seq, hi = seg->seq + seg->text_len;
    struct reass *r = reass_take(tcp, tcb);
    struct mbuf *m = seg->m;

    if (!r)
        return seg_drop(tcp, seg, C_TCP_DROP_OOO);
    if (ranges_cover(r->range, r->n, lo, hi)) {
        remember(r, lo);
        dsack_set(tcp, tcb, lo, hi);
        return seg_drop(tcp, seg, C_TCP_DROP_DUP);
    }
    cut_overlap(tcp, tcb, r, &lo, &hi);
    mbuf_trim_front(pool, m, seg->text_off + (lo - seg->seq));
    mbuf_trim_to(pool, m, hi - lo);
    if (!make_room(tcp, tcb, r, lo, mbuf_truesize(pool, m)) ||
        (!store(tcp, r, m, lo, hi) && !store_nearer(tcp, r, m, lo, hi))) {
        if (r->n == 0)
            reass_give_back(tcp, tcb);
        return seg_drop(tcp, seg, C_TCP_DROP_OOO);
    }
    remember(r, lo);
    seg->m = NULL;
    count(tcp_core(tcp), C_TCP_OOO_IN);
}

/* ------------------------------------------------------- taking out */

/* Appends the part of m behind rcv_nxt to the receive buffer. */
static void deliver(struct tcp *tcp, struct tcb *tcb, struct mbuf *m)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    uint32_t old = tcb->rcv_nxt - m->seq;

    if (old >= m->frame_len) {
        mbuf_free(pool, m);
        return;
    }
    if (old > 0)
        mbuf_trim_front(pool, m, old);
    tcb->rcv_nxt += m->frame_len;
    tcb_own_traffic(tcb)->bytes_received += m->frame_len;
    rcvbuf_append(pool, &tcb->rcvbuf, m);
}

void reass_drain(struct tcp *tcp, struct tcb *tcb)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    struct reass *r = reass_of(tcp, tcb);
    unsigned gone;

    if (!r)
        return;
    for (unsigned i = 0; i < r->n && seq_lt(r->range[i].lo, tcb->rcv_nxt); i++)
        dsack_extend(tcp, tcb, r->range[i].lo, seq_min(r->range[i].hi, tcb->rcv_nxt));
    while (r->head != MBUF_NONE && seq_leq(pool->meta[r->head].seq, tcb->rcv_nxt))
        deliver(tcp, tcb, unlink_behind(pool, r, MBUF_NONE));
    gone = ranges_drop_below(r->range, &r->n, tcb->rcv_nxt);
    move_tails(r, 0, gone, r->n);
    if (r->n == 0)
        reass_give_back(tcp, tcb);
}

/* The block of a recent range, unless it is among the n that are out already. */
static bool sack_block(const struct reass *r, uint32_t recent, const struct range *out, unsigned n,
                       struct range *block)
{
    unsigned i = ranges_find(r->range, r->n, recent);

    if (i == r->n || seq_lt(recent, r->range[i].lo))
        return false;
    *block = r->range[i];
    for (unsigned j = 0; j < n; j++)
        if (out[j].lo == block->lo)
            return false;
    return true;
}

unsigned reass_sacks(const struct tcp *tcp, const struct tcb *tcb, struct range *out, unsigned max)
{
    const struct reass *r = reass_of(tcp, tcb);
    unsigned n = 0;

    for (unsigned k = 0; r && k < 4 && n < max; k++)
        n += sack_block(r, r->recent[k], out, n, &out[n]);
    return n;
}
