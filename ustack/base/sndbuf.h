/* SPDX-License-Identifier: BSD-3-Clause */
/* Send buffer: the bytes from the oldest unacknowledged one to the last that
 * the application wrote, as a list of mbufs chained by link. m->seq is the
 * sequence number of an mbuf's first byte.
 *
 *       head                    cursor            tail
 *   | mbuf ... | mbuf ... | mbuf ... | mbuf ... | ...room |
 *   start                                       start + len
 *
 *  S1  bytes are stored once and never move; outgoing frames refer to them
 *  S2  the list holds exactly len bytes, contiguous from start
 *
 * The cursor remembers where the last look-up ended, so that sending in order
 * does not search.                                                          */
#pragma once
#include "mbuf.h"

struct sndbuf {
    uint32_t head, tail; /* mbufs, or MBUF_NONE */
    uint32_t cursor;     /* an mbuf of the list, or MBUF_NONE */
    uint32_t start;      /* sequence number of the first byte */
    uint32_t len;        /* bytes held */
    uint32_t limit;      /* bytes that may be held */
};

void sndbuf_init(struct sndbuf *sb, uint32_t start, uint32_t limit);
void sndbuf_clear(struct mbuf_pool *pool, struct sndbuf *sb);
/* Copies bytes in: as many as the limit and the pool allow, leaving reserve
 * small mbufs. *no_mbuf says that the pool was the reason. */
uint32_t sndbuf_write(struct mbuf_pool *pool, struct sndbuf *sb, const void *data, uint32_t len,
                      uint32_t reserve, bool *no_mbuf);
/* Forgets n bytes from the front (acknowledged). */
void sndbuf_drop(struct mbuf_pool *pool, struct sndbuf *sb, uint32_t n);
/* Appends bytes [seq, seq + len), which are held, to frame m: copied when they
 * are few and fit, else by reference. False when mbufs run out: m then lacks
 * them, and the caller frees it. */
bool sndbuf_attach(struct mbuf_pool *pool, struct sndbuf *sb, struct mbuf *m, uint32_t seq,
                   uint32_t len);

static inline uint32_t sndbuf_room(const struct sndbuf *sb)
{
    return sb->len < sb->limit ? sb->limit - sb->len : 0;
}
