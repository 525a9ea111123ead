/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that arrives out of order (SHLD-31), and the SACK blocks that tell of it
 * (RFC 2018 4). A connection takes a struct reass when it first needs one and
 * gives it back when the holes are filled.
 *
 * Bounds: tcp.max_ooo_ranges ranges, and buffer memory of at most twice the
 * receive limit. Beyond them the newest text is dropped; the peer will send it
 * again.                                                                    */
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

void reass_free(struct tcp *tcp, struct tcb *tcb)
{
    struct reass *r = reass_of(tcp, tcb);
    struct mbuf *m;

    if (!r)
        return;
    for (uint32_t i = 0; i < r->n; i++)
        while ((m = mbuf_dequeue(&tcp->net.core.pool, &r->frames[i])))
            mbuf_free(&tcp->net.core.pool, m);
    reass_give_back(tcp, tcb);
}

/* The index of the first range that ends at or after seq. */
static uint32_t lower_bound(const struct reass *r, uint32_t seq)
{
    uint32_t i = 0;

    while (i < r->n && seq_lt(r->range[i].hi, seq))
        i++;
    return i;
}

static void move_down(struct reass *r, uint32_t i, uint32_t by)
{
    for (; i + by < r->n; i++) {
        r->range[i] = r->range[i + by];
        r->frames[i] = r->frames[i + by];
    }
    r->n -= by;
}

static bool open_range(const struct tcp *tcp, struct reass *r, uint32_t i)
{
    if (r->n >= (uint32_t)tcp->net.core.set.tcp_max_ooo)
        return false;
    for (uint32_t k = r->n; k > i; k--) {
        r->range[k] = r->range[k - 1];
        r->frames[k] = r->frames[k - 1];
    }
    mbuf_queue_init(&r->frames[i]);
    r->n++;
    return true;
}

/* Puts m into range i, which its text [lo, hi) touches at either end. */
static void extend(struct mbuf_pool *pool, struct reass *r, uint32_t i, struct mbuf *m, uint32_t lo,
                   uint32_t hi)
{
    struct mbuf_queue *q = &r->frames[i];

    if (q->count == 0 || lo == r->range[i].hi) {
        mbuf_enqueue(pool, q, m);
        if (q->count == 1)
            r->range[i].lo = lo;
        r->range[i].hi = hi;
    } else {
        m->link = q->head;
        q->head = mbuf_index(pool, m);
        q->count++;
        r->range[i].lo = lo;
    }
}

/* Range i now ends where range i + 1 begins: make them one. */
static void join_next(struct mbuf_pool *pool, struct reass *r, uint32_t i)
{
    struct mbuf_queue *a = &r->frames[i], *b = &r->frames[i + 1];

    pool->meta[a->tail].link = b->head;
    a->tail = b->tail;
    a->count += b->count;
    r->range[i].hi = r->range[i + 1].hi;
    move_down(r, i + 1, 1);
}

/* Range held has just grown: it is reported first. */
static void remember(struct reass *r, const struct range *held)
{
    unsigned i = 0;

    while (i < 3 && !seq_between(held->lo, r->recent[i], held->hi))
        i++;
    for (; i > 0; i--)
        r->recent[i] = r->recent[i - 1];
    r->recent[0] = held->lo;
}

/* Stores the part of m's text that is new; [lo, hi) does not overlap range i
 * but may touch it, and ends at or before range i + 1. */
static bool store(struct tcp *tcp, struct reass *r, struct mbuf *m, uint32_t lo, uint32_t hi)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    uint32_t i = lower_bound(r, lo);

    if ((i == r->n || (r->range[i].hi != lo && r->range[i].lo != hi)) && !open_range(tcp, r, i))
        return false;
    m->seq = lo;
    r->bytes += hi - lo;
    r->charged += mbuf_truesize(pool, m);
    extend(pool, r, i, m, lo, hi);
    if (i + 1 < r->n && r->range[i].hi == r->range[i + 1].lo)
        join_next(pool, r, i);
    remember(r, &r->range[i]);
    return true;
}

static void drop_range(struct mbuf_pool *pool, struct reass *r, uint32_t i)
{
    struct mbuf *m;

    while ((m = mbuf_dequeue(pool, &r->frames[i]))) {
        r->bytes -= m->frame_len;
        r->charged -= mbuf_truesize(pool, m);
        mbuf_free(pool, m);
    }
    move_down(r, i, 1);
}

/* Makes [*lo, *hi) a piece that overlaps no range: cuts off both ends what is
 * already held, and drops ranges that lie wholly inside, for it brings their
 * bytes again. */
static void cut_overlap(struct mbuf_pool *pool, struct reass *r, uint32_t *lo, uint32_t *hi)
{
    uint32_t i = lower_bound(r, *lo + 1);

    if (i < r->n && seq_leq(r->range[i].lo, *lo))
        *lo = seq_min(r->range[i++].hi, *hi);
    while (i < r->n && seq_lt(*lo, *hi) && seq_leq(r->range[i].hi, *hi))
        drop_range(pool, r, i);
    if (i < r->n && seq_lt(r->range[i].lo, *hi))
        *hi = r->range[i].lo;
}

void reass_add(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    uint32_t lo = seg->seq, hi = seg->seq + seg->text_len;
    struct reass *r = reass_take(tcp, tcb);
    struct mbuf *m = seg->m;

    if (!r)
        return seg_drop(tcp, seg, C_TCP_DROP_OOO);
    cut_overlap(pool, r, &lo, &hi);
    if (!seq_lt(lo, hi)) {
        remember(r, &r->range[lower_bound(r, seg->seq + 1)]);
        return seg_drop(tcp, seg, C_TCP_DROP_DUP);
    }
    mbuf_trim_front(pool, m, seg->text_off + (lo - seg->seq));
    mbuf_trim_to(pool, m, hi - lo);
    if (r->charged + mbuf_truesize(pool, m) > 2 * (uint64_t)tcb->rcvbuf.limit + MBUF_LARGE_SIZE ||
        !store(tcp, r, m, lo, hi)) {
        if (r->n == 0)
            reass_give_back(tcp, tcb);
        return seg_drop(tcp, seg, C_TCP_DROP_OOO);
    }
    seg->m = NULL;
    count(tcp_core(tcp), C_TCP_OOO_IN);
}

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
    tcb->bytes_received += m->frame_len;
    rcvbuf_append(pool, &tcb->rcvbuf, m);
}

void reass_drain(struct tcp *tcp, struct tcb *tcb)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    struct reass *r = reass_of(tcp, tcb);
    struct mbuf *m;

    while (r && r->n > 0 && seq_leq(r->range[0].lo, tcb->rcv_nxt)) {
        while ((m = mbuf_dequeue(pool, &r->frames[0]))) {
            r->bytes -= m->frame_len;
            r->charged -= mbuf_truesize(pool, m);
            deliver(tcp, tcb, m);
        }
        move_down(r, 0, 1);
    }
    if (r && r->n == 0)
        reass_give_back(tcp, tcb);
}

unsigned reass_sacks(const struct tcp *tcp, const struct tcb *tcb, struct range *out, unsigned max)
{
    const struct reass *r = reass_of(tcp, tcb);
    unsigned n = 0;

    if (!r)
        return 0;
    for (unsigned k = 0; k < 4 && n < max; k++) {
        uint32_t i = lower_bound(r, r->recent[k] + 1);
        bool again = false;

        if (i == r->n || seq_lt(r->recent[k], r->range[i].lo))
            continue;
        for (unsigned j = 0; j < n; j++)
            again |= out[j].lo == r->range[i].lo;
        if (!again)
            out[n++] = r->range[i];
    }
    return n;
}
