/* SPDX-License-Identifier: BSD-3-Clause */
/* mbufs: the buffers that carry frames and socket data, and their pool.
 *
 * A pool belongs to one engine. It has three classes: small buffers (2 KiB),
 * large ones (64 KiB and headers, for super-segments), and references, which
 * have no buffer of their own and name a part of another mbuf's. All links are
 * 32-bit indices, never pointers, so a pool can be copied by memcpy.
 *
 *        buf                off            off + len          buffer size
 *         |     headroom     |    data      |     tailroom     |
 *
 *  B1  a free mbuf has refs 0; a used one refs >= 1
 *  B2  refs of a direct mbuf = 1 + references that name it (+ holders that
 *      took mbuf_hold); its buffer is recycled when refs reaches 0
 *  B3  frame_len of a frame's first mbuf is the sum of len over its chain
 *
 * Free lists are LIFO: the buffer used last is the one still in the cache.
 *
 * Not here: what the bytes mean.                                            */
#pragma once
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MBUF_NONE = 0xffffffff, /* no mbuf: end of a list */
    MBUF_HEADROOM = 192,    /* Ethernet + IPv6 + TCP with options, and to spare */
    MBUF_SMALL_SIZE = 2048,
    MBUF_SMALL_STRIDE = 2048 + 64, /* an odd number of lines: their starts fill all cache sets */
    MBUF_LARGE_SIZE = 66048,       /* headroom + 14 + 65535, rounded up */
};

enum mbuf_class { MBUF_SMALL, MBUF_LARGE, MBUF_REF, MBUF_CLASSES };

enum mbuf_flag {
    MBUF_CSUM_OK = 1,      /* rx: transport checksum known good */
    MBUF_CSUM_PARTIAL = 2, /* tx: csum_start/csum_offset say what to fill in;
                               the field holds the folded pseudo-header sum */
    MBUF_LINK_MCAST = 4,   /* rx: sent to a group or broadcast MAC */
    MBUF_HASHED = 8,       /* rx: seq is the hash of its flow, see tcp/ahead.c */
};

enum mbuf_gso { /* of virtio_net_hdr */
                MBUF_GSO_NONE = 0,
                MBUF_GSO_TCP4 = 1,
                MBUF_GSO_TCP6 = 4,
                MBUF_GSO_UDP = 5, /* many datagrams with one header, of either version */
};

/* The way of a frame between the engines of a stack; all 0: none yet. */
struct mbuf_hand {
    uint8_t to;    /* the engine that it waits to be handed to; 255: all others */
    uint8_t hops;  /* how often it has been handed on */
    uint8_t asked; /* engines in turn that were asked whether the flow is theirs */
    uint8_t note;  /* no frame, but word that the flow is with engine note - 1 */
};

struct mbuf {
    uint32_t next;  /* next mbuf of the same frame, or MBUF_NONE */
    uint32_t link;  /* next in a queue of frames, or in the free list */
    uint32_t owner; /* whose buffer holds the data: itself, if direct */
    uint16_t refs;
    uint8_t cls;                      /* enum mbuf_class */
    uint8_t flags;                    /* enum mbuf_flag */
    uint64_t buf;                     /* byte offset of the buffer from the pool's base */
    uint32_t off;                     /* data starts here, from buf */
    uint32_t len;                     /* bytes of data in this mbuf */
    uint32_t frame_len;               /* bytes of the frame (first mbuf only) */
    uint32_t seq;                     /* owner's use: sequence number of the first byte */
    uint16_t l3_off, l4_off;          /* from the start of the frame */
    uint16_t csum_start, csum_offset; /* as in virtio_net_hdr */
    uint16_t gso_size;                /* payload bytes per segment, 0: not a super-segment */
    uint8_t gso_type;                 /* enum mbuf_gso */
    uint8_t iface;
    uint32_t rss_hash;
    struct mbuf_hand hand;
    uint32_t pad; /* to 64 bytes: one cache line, and a shift to index */
};

/* Makes the nth allocation of an engine fail: see ust_engine_fail_alloc(). */
struct faults {
    uint64_t left;  /* allocations until the next failure; 0: never */
    uint64_t every; /* re-arm with this */
};

static inline bool fault_hits(struct faults *f)
{
    if (__builtin_expect(f->left == 0, 1) || --f->left != 0)
        return false;
    f->left = f->every;
    return true;
}

struct mbuf_pool {
    struct mbuf *meta; /* [0,small) [small,small+large) then references */
    uint8_t *base;     /* buffers: first the small, then the large ones */
    struct faults *faults;
    uint32_t n[MBUF_CLASSES]; /* how many there are */
    uint32_t n_free[MBUF_CLASSES];
    uint32_t head[MBUF_CLASSES];  /* free lists */
    uint32_t first[MBUF_CLASSES]; /* index of the first of a class */
};

/* Bytes of memory that pool_init() needs behind meta and base. */
size_t mbuf_pool_meta_size(uint32_t small, uint32_t large, uint32_t refs);
size_t mbuf_pool_data_size(uint32_t small, uint32_t large);
/* meta and data must be zeroed, 64-byte aligned memory of those sizes. */
void mbuf_pool_init(struct mbuf_pool *pool, void *meta, void *data, uint32_t small, uint32_t large,
                    uint32_t refs, struct faults *faults);

/* A direct mbuf of this class with len 0 and off MBUF_HEADROOM; NULL when the
 * class is empty. */
struct mbuf *mbuf_alloc(struct mbuf_pool *pool, enum mbuf_class cls);
/* A direct mbuf with room for data_len bytes behind the headroom, of the
 * smallest class that fits and has one; NULL if none. */
struct mbuf *mbuf_alloc_for(struct mbuf_pool *pool, size_t data_len);
/* An mbuf or a chain for a frame of len bytes, which is set. Frames that are not
 * small lie in several small buffers as long as that is no waste, so that a
 * large one is not spent on two kilobytes; if one kind has run out, the other
 * serves. NULL: neither does. */
struct mbuf *mbuf_alloc_frame(struct mbuf_pool *pool, uint32_t len);
/* A new mbuf that names len bytes at offset skip of m's data, without a copy. */
struct mbuf *mbuf_ref(struct mbuf_pool *pool, struct mbuf *m, uint32_t skip, uint32_t len);
/* Gives one mbuf, or a frame with its whole chain, back. Double frees are
 * caught by assert. */
void mbuf_free_one(struct mbuf_pool *pool, struct mbuf *m);
void mbuf_free(struct mbuf_pool *pool, struct mbuf *m);

/* Copies the bytes [off, off+len) of a frame out; how many there were. */
size_t mbuf_copy_out(const struct mbuf_pool *pool, const struct mbuf *m, size_t off, void *dst,
                     size_t len);
/* Drops n bytes from the front of a frame. The first mbuf stays, however
 * empty; frame_len follows. */
void mbuf_trim_front(struct mbuf_pool *pool, struct mbuf *m, uint32_t n);
/* Cuts a frame to len bytes in all. */
void mbuf_trim_to(struct mbuf_pool *pool, struct mbuf *m, uint32_t len);
/* Internet checksum (unfolded) over [off, off+len) of a frame. */
uint64_t mbuf_checksum(const struct mbuf_pool *pool, const struct mbuf *m, size_t off, size_t len,
                       uint64_t sum);
/* What an engine has to know of a frame that another one hands to it, beside its
 * bytes: who copies the bytes from pool to pool carries this along, however far. */
struct mbuf_label {
    struct mbuf_hand hand;
    uint32_t rss_hash;
    uint16_t csum_start, csum_offset, gso_size;
    uint8_t gso_type, iface, flags;
};
struct mbuf_label mbuf_label(const struct mbuf *m);
void mbuf_set_label(struct mbuf *m, const struct mbuf_label *label);
/* A frame of this pool with the bytes and the label of m, which lies in another;
 * NULL without room. */
struct mbuf *mbuf_copy_from(struct mbuf_pool *pool, const struct mbuf_pool *from,
                            const struct mbuf *m);
/* Walks the pool: 0, or the number of the first invariant that does not hold,
 * of which B3 is not looked at. */
int mbuf_pool_check(const struct mbuf_pool *pool);

static inline struct mbuf *mbuf_at(const struct mbuf_pool *pool, uint32_t i)
{
    return i == MBUF_NONE ? NULL : &pool->meta[i];
}

static inline uint32_t mbuf_index(const struct mbuf_pool *pool, const struct mbuf *m)
{
    return m ? (uint32_t)(m - pool->meta) : (uint32_t)MBUF_NONE;
}

static inline uint8_t *mbuf_data(const struct mbuf_pool *pool, const struct mbuf *m)
{
    return pool->base + m->buf + m->off;
}

static inline uint32_t mbuf_size(const struct mbuf *m)
{
    return m->cls == MBUF_SMALL ? MBUF_SMALL_SIZE
         : m->cls == MBUF_LARGE ? MBUF_LARGE_SIZE
                                : m->off + m->len;
}

static inline uint32_t mbuf_tailroom(const struct mbuf *m)
{
    return mbuf_size(m) - m->off - m->len;
}

/* Moves the start of data n bytes to the front; the caller knows there is
 * headroom. */
static inline uint8_t *mbuf_push(const struct mbuf_pool *pool, struct mbuf *m, uint32_t n)
{
    assert(m->off >= n);
    m->off -= n;
    m->len += n;
    m->frame_len += n;
    return mbuf_data(pool, m);
}

/* A FIFO of frames, chained by link. */
struct mbuf_queue {
    uint32_t head, tail, count;
};

static inline void mbuf_queue_init(struct mbuf_queue *q)
{
    q->head = q->tail = MBUF_NONE;
    q->count = 0;
}

static inline void mbuf_enqueue(struct mbuf_pool *pool, struct mbuf_queue *q, struct mbuf *m)
{
    uint32_t i = mbuf_index(pool, m);

    m->link = MBUF_NONE;
    if (q->tail == MBUF_NONE)
        q->head = i;
    else
        pool->meta[q->tail].link = i;
    q->tail = i;
    q->count++;
}

static inline struct mbuf *mbuf_dequeue(struct mbuf_pool *pool, struct mbuf_queue *q)
{
    struct mbuf *m = mbuf_at(pool, q->head);

    if (!m)
        return NULL;
    q->head = m->link;
    if (q->head == MBUF_NONE)
        q->tail = MBUF_NONE;
    q->count--;
    m->link = MBUF_NONE;
    return m;
}
