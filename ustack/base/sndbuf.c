/* SPDX-License-Identifier: BSD-3-Clause */
#include "sndbuf.h"

#include <string.h>

enum {
    COPY_MAX = 256,   /* below this, copying beats a reference */
    LARGE_MIN = 4096, /* writes of this size go to large mbufs */
};

void sndbuf_init(struct sndbuf *sb, uint32_t start, uint32_t limit)
{
    *sb = (struct sndbuf){MBUF_NONE, MBUF_NONE, MBUF_NONE, start, 0, limit};
}

void sndbuf_clear(struct mbuf_pool *pool, struct sndbuf *sb)
{
    sndbuf_drop(pool, sb, sb->len);
}

/* A new tail mbuf with room for up to len bytes. */
static struct mbuf *append(struct mbuf_pool *pool, struct sndbuf *sb, uint32_t len,
                           uint32_t reserve)
{
    struct mbuf *m = len >= LARGE_MIN ? mbuf_alloc(pool, MBUF_LARGE) : NULL;
    uint32_t i;

    if (!m && pool->n_free[MBUF_SMALL] > reserve)
        m = mbuf_alloc(pool, MBUF_SMALL);
    if (!m)
        m = mbuf_alloc(pool, MBUF_LARGE); /* better than to take nothing */
    if (!m)
        return NULL;
    m->off = 0; /* no headers will ever stand in front */
    m->seq = sb->start + sb->len;
    i = mbuf_index(pool, m);
    m->link = MBUF_NONE;
    if (sb->tail == MBUF_NONE)
        sb->head = i;
    else
        pool->meta[sb->tail].link = i;
    sb->tail = i;
    return m;
}

uint32_t sndbuf_write(struct mbuf_pool *pool, struct sndbuf *sb, const void *data, uint32_t len,
                      uint32_t reserve, bool *no_mbuf)
{
    uint32_t done = 0, room = sndbuf_room(sb);
    struct mbuf *m = mbuf_at(pool, sb->tail);

    *no_mbuf = false;
    if (len > room)
        len = room;
    while (done < len) {
        uint32_t n = m ? mbuf_tailroom(m) : 0;

        if (n == 0) {
            m = append(pool, sb, len - done, reserve);
            if (!m) {
                *no_mbuf = true;
                break;
            }
            n = mbuf_tailroom(m);
        }
        n = n < len - done ? n : len - done;
        memcpy(mbuf_data(pool, m) + m->len, (const uint8_t *)data + done, n);
        m->len += n;
        done += n;
        sb->len += n;
    }
    return done;
}

void sndbuf_drop(struct mbuf_pool *pool, struct sndbuf *sb, uint32_t n)
{
    sb->start += n;
    sb->len -= n;
    while (n > 0) {
        struct mbuf *m = &pool->meta[sb->head];

        if (n < m->len) {
            m->off += n;
            m->len -= n;
            m->seq += n;
            return;
        }
        n -= m->len;
        if (sb->cursor == sb->head)
            sb->cursor = MBUF_NONE;
        sb->head = m->link;
        mbuf_free_one(pool, m);
    }
    if (sb->head == MBUF_NONE)
        sb->tail = MBUF_NONE;
}

/* The mbuf that holds byte seq. */
static struct mbuf *find(struct mbuf_pool *pool, struct sndbuf *sb, uint32_t seq)
{
    struct mbuf *m = mbuf_at(pool, sb->cursor);

    if (!m || (int32_t)(seq - m->seq) < 0)
        m = &pool->meta[sb->head];
    assert(m && seq - sb->start < sb->len);
    while (seq - m->seq >= m->len)
        m = &pool->meta[m->link];
    sb->cursor = mbuf_index(pool, m);
    return m;
}

/* From src on, where seq is. Seldom: not to burden who calls. */
static __attribute__((noinline)) bool attach(struct mbuf_pool *pool, struct mbuf *src,
                                             struct mbuf *m, uint32_t seq, uint32_t len)
{
    struct mbuf *last = m;
    bool copy = len <= COPY_MAX && len <= mbuf_tailroom(m);

    while (len > 0) {
        uint32_t skip = seq - src->seq;
        uint32_t n = src->len - skip < len ? src->len - skip : len;

        if (copy) {
            memcpy(mbuf_data(pool, m) + m->len, mbuf_data(pool, src) + skip, n);
            m->len += n;
        } else {
            struct mbuf *r = mbuf_ref(pool, src, skip, n);

            if (!r)
                return false;
            last->next = mbuf_index(pool, r);
            last = r;
        }
        m->frame_len += n;
        seq += n;
        len -= n;
        if (len > 0)
            src = &pool->meta[src->link];
    }
    return true;
}

bool sndbuf_attach(struct mbuf_pool *pool, struct sndbuf *sb, struct mbuf *m, uint32_t seq,
                   uint32_t len)
{
    struct mbuf *src = find(pool, sb, seq);

    if (len > COPY_MAX || len > mbuf_tailroom(m) || seq - src->seq + len > src->len)
        return attach(pool, src, m, seq, len);
    memcpy(mbuf_data(pool, m) + m->len, mbuf_data(pool, src) + (seq - src->seq), len);
    m->len += len;
    m->frame_len += len;
    return true;
}
