/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings with one producer and one consumer, in C11 atomics.
 *
 * A ring is two free-running 32-bit indices over a power-of-two number of
 * slots: head counts what was produced, tail what was consumed.
 *
 *         tail                head               tail + size
 *   free   |  filled, to read  |   free, to write  |
 *
 *  G1  head - tail <= size
 *  G2  only the producer writes head, only the consumer writes tail
 *
 * Each side works on private memory: its own index, and the other's as it was
 * last seen, which is read again only when it does not suffice. A burst costs
 * one release store. Because nothing is taken from the shared lines but the
 * other's index, and that is checked against G1, the other side need not be
 * trusted: an impossible index is counted in bad, and nothing else happens.
 *
 * What a slot is, the user of the indices decides: struct ring below holds
 * words; io/segment.h has frames in memory that two processes share.        */
#pragma once
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan" /* it knows the rest of our ordering */
#endif

enum { RING_LINE = 64 }; /* bytes that never hold what two sides write */

struct ring_index {
    alignas(RING_LINE) _Atomic uint32_t head;
    alignas(RING_LINE) _Atomic uint32_t tail;
};

struct ring_producer {
    struct ring_index *shared;
    uint32_t size;
    uint32_t head; /* next slot to write; published so far or later */
    uint32_t tail_seen;
    uint32_t bad; /* impossible values of tail */
};

struct ring_consumer {
    struct ring_index *shared;
    uint32_t size;
    uint32_t tail; /* next slot to read; released so far or later */
    uint32_t head_seen;
    uint32_t bad; /* impossible values of head */
};

/* How many slots may be written from p->head on; looks at the consumer's index
 * only if there seem to be fewer than want. The producer advances p->head as
 * it writes. */
static inline uint32_t ring_room(struct ring_producer *p, uint32_t want)
{
    uint32_t room = p->size - (p->head - p->tail_seen);
    uint32_t tail;

    if (__builtin_expect(room >= want, 1))
        return room;
    tail = atomic_load_explicit(&p->shared->tail, memory_order_acquire);
    if (p->head - tail > p->size) {
        p->bad++;
        return room;
    }
    p->tail_seen = tail;
    return p->size - (p->head - tail);
}

/* Gives the consumer everything before p->head. */
static inline void ring_publish(struct ring_producer *p)
{
    atomic_store_explicit(&p->shared->head, p->head, memory_order_release);
}

/* Gives the producer back everything before c->tail. */
static inline void ring_release(struct ring_consumer *c)
{
    atomic_store_explicit(&c->shared->tail, c->tail, memory_order_release);
}

/* How many slots may be read from c->tail on; looks at the producer's index
 * only if there seem to be fewer than want. The consumer advances c->tail as
 * it reads. After an impossible index the ring goes on, empty, from there. */
static inline uint32_t ring_filled(struct ring_consumer *c, uint32_t want)
{
    uint32_t filled = c->head_seen - c->tail;

    if (filled >= want)
        return filled;
    c->head_seen = atomic_load_explicit(&c->shared->head, memory_order_acquire);
    if (__builtin_expect(c->head_seen - c->tail > c->size, 0)) {
        c->bad++;
        c->tail = c->head_seen;
        ring_release(c);
    }
    return c->head_seen - c->tail;
}

/* A whole ring of words (indices or pointers) inside one process. */
struct ring {
    struct ring_index index;
    alignas(RING_LINE) struct ring_producer producer;
    alignas(RING_LINE) struct ring_consumer consumer;
    uintptr_t *slots; /* size of them, kept by the caller */
};

/* size: a power of two. */
static inline void ring_init(struct ring *r, uintptr_t *slots, uint32_t size)
{
    atomic_init(&r->index.head, 0);
    atomic_init(&r->index.tail, 0);
    r->producer = (struct ring_producer){.shared = &r->index, .size = size};
    r->consumer = (struct ring_consumer){.shared = &r->index, .size = size};
    r->slots = slots;
}

/* Puts in what fits from the front of words; how many. Producer only. */
static inline unsigned ring_enqueue(struct ring *r, const uintptr_t *words, unsigned n)
{
    struct ring_producer *p = &r->producer;
    uint32_t room = ring_room(p, n);
    unsigned i;

    n = n < room ? n : room;
    for (i = 0; i < n; i++)
        r->slots[p->head++ & (p->size - 1)] = words[i];
    if (n)
        ring_publish(p);
    return n;
}

/* Takes out up to max words; how many. Consumer only. */
static inline unsigned ring_dequeue(struct ring *r, uintptr_t *words, unsigned max)
{
    struct ring_consumer *c = &r->consumer;
    uint32_t n = ring_filled(c, max);
    unsigned i;

    n = n < max ? n : max;
    for (i = 0; i < n; i++)
        words[i] = r->slots[c->tail++ & (c->size - 1)];
    if (n)
        ring_release(c);
    return n;
}
