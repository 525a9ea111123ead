/* SPDX-License-Identifier: BSD-3-Clause */
/* Load generators: what the two ways to a server (stack.c, kernel.c) and the
 * work done over them (load.c) know of each other.
 *
 * A load is n connections to one server, driven by the thread that calls
 * ust_load_run(): one turn after the other, each of which takes what has come,
 * hands every connection with news to load_event(), and sends.
 *
 * Always: a connection that is open has nothing outstanding until the first
 * run, and to_recv > 0 as long as a request is. A connection is idle, opening or open, and n_idle + n_opening + n_open
 * is n_conns. Time is read once a turn, so that a latency is as exact as a turn is
 * short.                                                                    */
#pragma once
#include <stdbool.h>

#include "../ustack.h"

enum {
    LOAD_OPENING_MAX = 64, /* connections under way at once */
    /* Latencies: 2^LATENCY_BITS buckets an octave, so an error of 3 %. */
    LATENCY_BITS = 5,
    LATENCY_BUCKETS = (64 - LATENCY_BITS + 1) << LATENCY_BITS,
};

struct load_conn {
    int64_t id; /* ust_handle, or descriptor; 0: none */
    bool open;
    uint32_t to_send; /* bytes of the request that have not left */
    uint32_t to_recv; /* bytes of the response that have not come */
    ust_time sent_at; /* when the request began */
};

struct load_ops {
    int (*connect)(struct ust_load *l, struct load_conn *c); /* 0 or -errno */
    /* Bytes, 0 at the end of the stream (recv), -EAGAIN or another -errno. */
    int64_t (*send)(struct ust_load *l, struct load_conn *c, const void *data, size_t len);
    int64_t (*recv)(struct ust_load *l, struct load_conn *c, void *buf, size_t size);
    void (*close)(struct ust_load *l, struct load_conn *c); /* orderly */
    void (*begin)(struct ust_load *l);                      /* around the turns of one call */
    void (*end)(struct ust_load *l);
    void (*turn)(struct ust_load *l, ust_time until);
    void (*free)(struct ust_load *l); /* closes what is open */
};

struct load_counts {
    uint64_t requests, bytes, ns, no_port;
    uint64_t latencies[LATENCY_BUCKETS];
};

struct ust_load {
    const struct load_ops *ops;
    enum ust_load_kind kind;
    uint32_t n_conns;
    uint32_t size;   /* bytes of a request, or of a write */
    uint32_t answer; /* bytes of a response */
    struct load_conn *conns;
    uint32_t *idle; /* n_idle numbers of connections that are to be made */
    uint32_t n_idle, n_opening, n_open;
    uint32_t window; /* requests outstanding at most, on the connections in turn from next on */
    uint32_t next;
    uint32_t n_addrs;
    uint64_t n_made; /* connections, ever */
    int error;       /* negative errno that ends the load; 0: none */
    bool running;
    uint8_t *request; /* what is sent; buf_size bytes, as buf, what is received */
    uint8_t *buf;
    size_t buf_size;
    ust_time now;
    struct ust_addr addr;
    uint16_t port;
    struct load_counts slice, all, kept; /* not yet added to all; see ust_load_keep() */

    struct ust_worker *worker; /* stack.c */
    struct ust_engine *engine;
    int epoll; /* kernel.c */
};

/* A load without a way; NULL when there is no memory. */
struct ust_load *load_new(const struct load_ops *ops, enum ust_load_kind kind, unsigned n_conns,
                          unsigned size, const struct ust_addr *addr, uint16_t port);
/* Connection c has news; err: a negative errno, or 0. */
void load_event(struct ust_load *l, struct load_conn *c, int err);
/* The nth of the addresses that connections are spread over. */
struct ust_addr load_nth_addr(const struct ust_load *l, const struct ust_addr *first);
