/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive buffer: in-order bytes that the application has not read, as a queue
 * of the very mbufs they arrived in (chained by link). A small payload is
 * copied behind the last one when there is room, so that tiny segments do not
 * each hold a buffer.
 *
 *  V1  len is the sum of the queue's frame_len
 *  V2  charged is the buffer memory the queue holds                         */
#pragma once
#include "mbuf.h"

struct rcvbuf {
    struct mbuf_queue q;
    uint32_t len;     /* bytes to read */
    uint32_t limit;   /* bytes offered as window */
    uint32_t charged; /* bytes of buffers held */
};

void rcvbuf_init(struct rcvbuf *rb, uint32_t limit);
void rcvbuf_clear(struct mbuf_pool *pool, struct rcvbuf *rb);
/* Appends m, trimmed to its payload. Owns m. */
void rcvbuf_append(struct mbuf_pool *pool, struct rcvbuf *rb, struct mbuf *m);
/* Copies up to size bytes out, unless dst is NULL, and removes them. */
uint32_t rcvbuf_read(struct mbuf_pool *pool, struct rcvbuf *rb, void *dst, uint32_t size);
/* The same behind the first skip bytes, and leaves them all there. */
uint32_t rcvbuf_peek(const struct mbuf_pool *pool, const struct rcvbuf *rb, uint32_t skip,
                     void *dst, uint32_t size);
/* Copies m's few bytes behind tail's, where there is room, and frees m; false: it
 * does not fit, and nothing has happened. */
bool mbuf_absorb(struct mbuf_pool *pool, struct mbuf *tail, struct mbuf *m);
/* The buffer memory that frame m holds. */
uint32_t mbuf_truesize(const struct mbuf_pool *pool, const struct mbuf *m);
