/* SPDX-License-Identifier: BSD-3-Clause */
#include "rcvbuf.h"

#include <string.h>

enum { COPYBREAK = 1024 };

void rcvbuf_init(struct rcvbuf *rb, uint32_t limit)
{
    mbuf_queue_init(&rb->q);
    rb->len = rb->charged = 0;
    rb->limit = limit;
}

uint32_t mbuf_truesize(const struct mbuf_pool *pool, const struct mbuf *m)
{
    uint32_t size = 0;

    for (; m; m = mbuf_at(pool, m->next))
        size += mbuf_size(m);
    return size;
}

void rcvbuf_clear(struct mbuf_pool *pool, struct rcvbuf *rb)
{
    struct mbuf *m;

    while ((m = mbuf_dequeue(pool, &rb->q)))
        mbuf_free(pool, m);
    rb->len = rb->charged = 0;
}

/* May m's payload be copied behind tail's? Only tail's sole owner may write. */
static bool fits_behind(const struct mbuf *tail, const struct mbuf *m)
{
    return tail && m->next == MBUF_NONE && m->len <= COPYBREAK && tail->next == MBUF_NONE &&
           tail->cls != MBUF_REF && tail->refs == 1 && m->len <= mbuf_tailroom(tail);
}

bool mbuf_absorb(struct mbuf_pool *pool, struct mbuf *tail, struct mbuf *m)
{
    if (!fits_behind(tail, m))
        return false;
    memcpy(mbuf_data(pool, tail) + tail->len, mbuf_data(pool, m), m->len);
    tail->len += m->len;
    tail->frame_len += m->len;
    mbuf_free_one(pool, m);
    return true;
}

void rcvbuf_append(struct mbuf_pool *pool, struct rcvbuf *rb, struct mbuf *m)
{
    struct mbuf *tail = mbuf_at(pool, rb->q.tail);

    rb->len += m->frame_len;
    if (mbuf_absorb(pool, tail, m))
        return;
    rb->charged += mbuf_truesize(pool, m);
    mbuf_enqueue(pool, &rb->q, m);
}

uint32_t rcvbuf_peek(const struct mbuf_pool *pool, const struct rcvbuf *rb, uint32_t skip,
                     void *dst, uint32_t size)
{
    uint32_t done = 0, left = rb->len > skip ? rb->len - skip : 0;
    const struct mbuf *m;

    if (!dst)
        return left < size ? left : size;
    for (m = mbuf_at(pool, rb->q.head); m && done < size; m = mbuf_at(pool, m->link)) {
        if (skip >= m->frame_len) {
            skip -= m->frame_len;
            continue;
        }
        done += (uint32_t)mbuf_copy_out(pool, m, skip, (uint8_t *)dst + done, size - done);
        skip = 0;
    }
    return done;
}

/* m is all there is. */
static uint32_t read_last(struct mbuf_pool *pool, struct rcvbuf *rb, struct mbuf *m, void *dst)
{
    uint32_t n = m->len;

    memcpy(dst, mbuf_data(pool, m), n);
    mbuf_queue_init(&rb->q);
    rb->len = rb->charged = 0;
    mbuf_free_one(pool, m);
    return n;
}

uint32_t rcvbuf_read(struct mbuf_pool *pool, struct rcvbuf *rb, void *dst, uint32_t size)
{
    struct mbuf *first = mbuf_at(pool, rb->q.head);
    uint32_t done = 0;

    if (rb->q.count == 1 && first->next == MBUF_NONE && first->len <= size && dst)
        return read_last(pool, rb, first, dst);
    while (done < size && rb->q.count > 0) {
        struct mbuf *m = &pool->meta[rb->q.head];
        uint32_t n = m->frame_len < size - done ? m->frame_len : size - done;

        if (dst && n <= m->len)
            memcpy((uint8_t *)dst + done, mbuf_data(pool, m), n);
        else if (dst)
            mbuf_copy_out(pool, m, 0, (uint8_t *)dst + done, n);
        done += n;
        if (n < m->frame_len) {
            mbuf_trim_front(pool, m, n);
            break;
        }
        rb->charged -= mbuf_truesize(pool, m);
        mbuf_dequeue(pool, &rb->q);
        mbuf_free(pool, m);
    }
    rb->len -= done;
    return done;
}
