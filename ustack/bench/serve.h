/* SPDX-License-Identifier: BSD-3-Clause */
/* Servers in C: what the two ways to a client (serve_stack.c, serve_kernel.c)
 * and the work that is done (serve.c) know of each other.
 *
 * Always: a connection whose answer has not gone out whole (n_rest > 0) is not
 * read from.                                                                */
#pragma once
#include <stdbool.h>

#include "../ustack.h"

enum { SERVE_SLAB = 1024 };

struct serve_conn {
    int64_t id; /* ust_handle, or descriptor; 0: free */
    union {
        uint8_t *rest;           /* of an answer; size bytes of memory */
        struct serve_conn *next; /* free list */
    };
    uint32_t n_rest; /* bytes that have not left */
    uint32_t size;
};

struct serve_slab {
    struct serve_slab *next;
    struct serve_conn conns[SERVE_SLAB];
};

struct serve_ops {
    /* Bytes, 0 at the end of the stream (recv), -EAGAIN or another -errno. */
    int64_t (*send)(struct ust_serve *s, struct serve_conn *c, const void *data, size_t len);
    int64_t (*recv)(struct ust_serve *s, struct serve_conn *c, void *buf, size_t size);
    void (*close)(struct ust_serve *s, struct serve_conn *c);
    int64_t (*turn)(struct ust_serve *s, ust_time until); /* events, or -errno */
    void (*free)(struct ust_serve *s);
};

struct ust_serve {
    const struct serve_ops *ops;
    enum ust_serve_kind kind;
    uint8_t *answer;
    size_t answer_len;
    uint8_t *buf;
    struct serve_slab *slabs;
    struct serve_conn *free; /* of them */

    struct ust_worker *worker; /* serve_stack.c */
    struct ust_engine *engine;
    int64_t listener; /* ust_handle, or descriptor */
    int epoll;        /* serve_kernel.c */
};

struct ust_serve *serve_new(const struct serve_ops *ops, enum ust_serve_kind kind,
                            const uint8_t *answer, unsigned len);
/* A connection that was accepted; NULL when there is no memory for it. */
struct serve_conn *serve_accept(struct ust_serve *s, int64_t id);
/* Connection c can be read or written, or is over. */
void serve_event(struct ust_serve *s, struct serve_conn *c, bool lost);
