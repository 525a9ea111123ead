/* SPDX-License-Identifier: BSD-3-Clause */
/* The mbuf pool and what can be done with chains; mbuf.h has the picture.
 *
 * Always: every allocation asks the pool's faults once, whichever classes it
 * tries, so that an injected failure is one that the caller sees.           */
#include "mbuf.h"

#include <string.h>

#include "checksum.h"

static_assert(sizeof(struct mbuf) == 64, "an mbuf is one cache line");

enum {
    PIECE_LEN = MBUF_SMALL_SIZE - MBUF_HEADROOM,
    CHAIN_MAX = 8, /* small buffers in place of a large one */
};

static void init_class(struct mbuf_pool *pool, enum mbuf_class cls, uint32_t first, uint32_t n);
static struct mbuf *take(struct mbuf_pool *pool, enum mbuf_class cls);
static inline void give(struct mbuf_pool *pool, struct mbuf *m);
static int check_class(const struct mbuf_pool *pool, enum mbuf_class cls);

size_t mbuf_pool_meta_size(uint32_t small, uint32_t large, uint32_t refs)
{
    return ((size_t)small + large + refs) * sizeof(struct mbuf);
}

size_t mbuf_pool_data_size(uint32_t small, uint32_t large)
{
    return (size_t)small * MBUF_SMALL_STRIDE + (size_t)large * MBUF_LARGE_SIZE;
}

void mbuf_pool_init(struct mbuf_pool *pool, void *meta, void *data, uint32_t small, uint32_t large,
                    uint32_t refs, struct faults *faults)
{
    *pool = (struct mbuf_pool){.meta = meta, .base = data, .faults = faults};
    init_class(pool, MBUF_SMALL, 0, small);
    init_class(pool, MBUF_LARGE, small, large);
    init_class(pool, MBUF_REF, small + large, refs);
}

static inline bool must_fail(struct mbuf_pool *pool)
{
    return pool->faults && fault_hits(pool->faults);
}

struct mbuf *mbuf_alloc(struct mbuf_pool *pool, enum mbuf_class cls)
{
    assert(cls == MBUF_SMALL || cls == MBUF_LARGE);
    return must_fail(pool) ? NULL : take(pool, cls);
}

struct mbuf *mbuf_alloc_for(struct mbuf_pool *pool, size_t data_len)
{
    struct mbuf *m = NULL;

    if (data_len > MBUF_LARGE_SIZE - MBUF_HEADROOM || must_fail(pool))
        return NULL;
    if (data_len <= MBUF_SMALL_SIZE - MBUF_HEADROOM)
        m = take(pool, MBUF_SMALL);
    return m ? m : take(pool, MBUF_LARGE);
}

static struct mbuf *alloc_chain(struct mbuf_pool *pool, uint32_t len)
{
    struct mbuf *first = NULL, *last = NULL, *m;

    for (; len; len -= m->len, last = m) {
        m = mbuf_alloc(pool, MBUF_SMALL);
        if (!m) {
            mbuf_free(pool, first);
            return NULL;
        }
        m->len = len < PIECE_LEN ? len : PIECE_LEN;
        if (last)
            last->next = mbuf_index(pool, m);
        else
            first = m;
    }
    return first;
}

struct mbuf *mbuf_alloc_frame(struct mbuf_pool *pool, uint32_t len)
{
    struct mbuf *m = NULL;

    if (len > PIECE_LEN && len <= CHAIN_MAX * PIECE_LEN)
        m = alloc_chain(pool, len);
    if (!m) {
        m = mbuf_alloc_for(pool, len);
        if (m)
            m->len = len;
    }
    if (!m && len > CHAIN_MAX * PIECE_LEN)
        m = alloc_chain(pool, len);
    if (m)
        m->frame_len = len;
    return m;
}

struct mbuf *mbuf_ref(struct mbuf_pool *pool, struct mbuf *m, uint32_t skip, uint32_t len)
{
    struct mbuf *owner = &pool->meta[m->owner], *ref;

    assert(m->refs > 0 && owner->refs > 0);
    assert(skip <= m->len && len <= m->len - skip);
    if (owner->refs == UINT16_MAX || must_fail(pool) || !(ref = take(pool, MBUF_REF)))
        return NULL;
    owner->refs++;
    ref->owner = m->owner;
    ref->buf = m->buf;
    ref->off = m->off + skip;
    ref->len = ref->frame_len = len;
    return ref;
}

static inline void free_one(struct mbuf_pool *pool, struct mbuf *m)
{
    struct mbuf *owner = &pool->meta[m->owner];

    assert(m->refs > 0);
    if (--m->refs > 0)
        return;
    give(pool, m);
    if (owner == m)
        return;
    assert(owner->refs > 0);
    if (--owner->refs == 0)
        give(pool, owner);
}

void mbuf_free_one(struct mbuf_pool *pool, struct mbuf *m)
{
    free_one(pool, m);
}

void mbuf_free(struct mbuf_pool *pool, struct mbuf *m)
{
    struct mbuf *next;

    for (; m; m = next) {
        next = mbuf_at(pool, m->next);
        free_one(pool, m);
    }
}

size_t mbuf_copy_out(const struct mbuf_pool *pool, const struct mbuf *m, size_t off, void *dst,
                     size_t len)
{
    size_t done = 0, n;

    for (; m && done < len; m = mbuf_at(pool, m->next)) {
        if (off >= m->len) {
            off -= m->len;
            continue;
        }
        n = m->len - off < len - done ? m->len - off : len - done;
        memcpy((uint8_t *)dst + done, mbuf_data(pool, m) + off, n);
        done += n;
        off = 0;
    }
    return done;
}

uint64_t mbuf_checksum(const struct mbuf_pool *pool, const struct mbuf *m, size_t off, size_t len,
                       uint64_t sum)
{
    const uint8_t *data;
    size_t done = 0, n;

    for (; m && done < len; m = mbuf_at(pool, m->next)) {
        if (off >= m->len) {
            off -= m->len;
            continue;
        }
        n = m->len - off < len - done ? m->len - off : len - done;
        data = mbuf_data(pool, m) + off;
        sum = done & 1 ? checksum_add_odd(data, n, sum) : checksum_add(data, n, sum);
        done += n;
        off = 0;
    }
    return sum;
}

void mbuf_trim_front(struct mbuf_pool *pool, struct mbuf *m, uint32_t n)
{
    struct mbuf *piece = m, *next;
    uint32_t cut;

    assert(n <= m->frame_len);
    m->frame_len -= n;
    if (n <= m->len) {
        m->off += n;
        m->len -= n;
        return;
    }
    for (;;) {
        cut = n < piece->len ? n : piece->len;
        piece->off += cut;
        piece->len -= cut;
        n -= cut;
        next = mbuf_at(pool, piece->next);
        if (piece != m && piece->len == 0) {
            m->next = piece->next;
            mbuf_free_one(pool, piece);
        }
        if (n == 0 || !next)
            return;
        piece = next;
    }
}

void mbuf_trim_to(struct mbuf_pool *pool, struct mbuf *m, uint32_t len)
{
    if (len >= m->frame_len)
        return;
    m->frame_len = len;
    while (m->len < len) {
        len -= m->len;
        m = mbuf_at(pool, m->next);
    }
    m->len = len;
    mbuf_free(pool, mbuf_at(pool, m->next));
    m->next = MBUF_NONE;
}

struct mbuf_label mbuf_label(const struct mbuf *m)
{
    return (struct mbuf_label){.hand = m->hand,
                               .rss_hash = m->rss_hash,
                               .csum_start = m->csum_start,
                               .csum_offset = m->csum_offset,
                               .gso_size = m->gso_size,
                               .gso_type = m->gso_type,
                               .iface = m->iface,
                               .flags = m->flags & (MBUF_CSUM_OK | MBUF_CSUM_PARTIAL)};
}

void mbuf_set_label(struct mbuf *m, const struct mbuf_label *label)
{
    m->hand = label->hand;
    m->rss_hash = label->rss_hash;
    m->csum_start = label->csum_start;
    m->csum_offset = label->csum_offset;
    m->gso_size = label->gso_size;
    m->gso_type = label->gso_type;
    m->iface = label->iface;
    m->flags = label->flags;
}

struct mbuf *mbuf_copy_from(struct mbuf_pool *pool, const struct mbuf_pool *from,
                            const struct mbuf *m)
{
    struct mbuf *own = mbuf_alloc_frame(pool, m->frame_len), *piece;
    struct mbuf_label label = mbuf_label(m);
    size_t off = 0;

    if (!own)
        return NULL;
    for (piece = own; piece; piece = mbuf_at(pool, piece->next))
        off += mbuf_copy_out(from, m, off, mbuf_data(pool, piece), piece->len);
    mbuf_set_label(own, &label);
    return own;
}

int mbuf_pool_check(const struct mbuf_pool *pool)
{
    uint32_t total = pool->n[MBUF_SMALL] + pool->n[MBUF_LARGE] + pool->n[MBUF_REF];
    const struct mbuf *m, *owner;
    int failed;

    for (int cls = 0; cls < MBUF_CLASSES; cls++)
        if ((failed = check_class(pool, (enum mbuf_class)cls)) != 0)
            return failed;
    for (uint32_t i = pool->first[MBUF_REF]; i < total; i++) {
        m = &pool->meta[i];
        owner = &pool->meta[m->owner];
        if (m->refs > 0 && (owner->cls == MBUF_REF || owner->refs == 0))
            return 2;
    }
    return 0;
}

/* Builds the free list so that the lowest index is given out first. */
static void init_class(struct mbuf_pool *pool, enum mbuf_class cls, uint32_t first, uint32_t n)
{
    uint64_t size = cls == MBUF_LARGE ? MBUF_LARGE_SIZE : MBUF_SMALL_STRIDE;
    uint64_t start = cls == MBUF_LARGE ? (uint64_t)first * MBUF_SMALL_STRIDE : 0;

    pool->n[cls] = pool->n_free[cls] = n;
    pool->first[cls] = first;
    pool->head[cls] = n ? first : (uint32_t)MBUF_NONE;
    for (uint32_t i = 0; i < n; i++)
        pool->meta[first + i] = (struct mbuf){
            .next = MBUF_NONE,
            .link = i + 1 < n ? first + i + 1 : (uint32_t)MBUF_NONE,
            .owner = first + i,
            .cls = (uint8_t)cls,
            .buf = cls == MBUF_REF ? 0 : start + i * size,
        };
}

/* The first of the free list, in the state that mbuf_alloc() promises. */
static inline struct mbuf *take(struct mbuf_pool *pool, enum mbuf_class cls)
{
    struct mbuf *m;

    if (pool->head[cls] == MBUF_NONE)
        return NULL;
    m = &pool->meta[pool->head[cls]];
    assert(m->refs == 0);
    pool->head[cls] = m->link;
    pool->n_free[cls]--;
    m->next = m->link = MBUF_NONE;
    m->refs = 1;
    m->flags = 0;
    m->off = MBUF_HEADROOM;
    m->len = m->frame_len = m->seq = 0;
    m->l3_off = m->l4_off = m->csum_start = m->csum_offset = 0;
    m->gso_size = 0;
    m->gso_type = m->iface = 0;
    m->rss_hash = 0;
    m->hand = (struct mbuf_hand){0};
    return m;
}

static inline void give(struct mbuf_pool *pool, struct mbuf *m)
{
    m->link = pool->head[m->cls];
    pool->head[m->cls] = mbuf_index(pool, m);
    pool->n_free[m->cls]++;
}

/* B1: the free list holds just those with refs 0, n_free of them. */
static int check_class(const struct mbuf_pool *pool, enum mbuf_class cls)
{
    uint32_t n = 0, first = pool->first[cls];

    for (uint32_t i = pool->head[cls]; i != MBUF_NONE; i = pool->meta[i].link)
        if (i - first >= pool->n[cls] || pool->meta[i].refs != 0 || ++n > pool->n_free[cls])
            return 1;
    if (n != pool->n_free[cls])
        return 1;
    for (uint32_t i = 0; i < pool->n[cls]; i++)
        n += pool->meta[first + i].refs != 0;
    return n == pool->n[cls] ? 0 : 1;
}
