/* SPDX-License-Identifier: BSD-3-Clause */
/* Load generators: what the two ways to a server (stack.c, kernel.c) and the
 * work done over them (load.c) know of each other.
 *
 * A load is n connections to one server, driven by the thread that calls
 * ust_load_run(): one turn after the other, each of which takes what has come,
 * hands every connection with news to load_event(), and sends.
 *
 * Always: a connection that is open has nothing outstanding until the first
 * run. Time is read once a turn, so that a latency is as exact as a turn is
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
    int64_t id; /* ust_handle, or descriptor; 0: none yet */
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
    void (*begin)(struct ust_load *l); /* around the turns of one call */
    void (*end)(struct ust_load *l);
    void (*turn)(struct ust_load *l, ust_time until);
    void (*free)(struct ust_load *l); /* closes what is open */
};

struct ust_load {
    const struct load_ops *ops;
    enum ust_load_kind kind;
    uint32_t n_conns, size;
    struct load_conn *conns;
    uint32_t n_started, n_open;
    int error; /* negative errno that ends the load; 0: none */
    bool running;
    uint8_t *buf;
    size_t buf_size;
    ust_time now;
    struct ust_addr addr;
    uint16_t port;
    uint64_t requests, bytes, ns;
    uint64_t latencies[LATENCY_BUCKETS];

    struct ust_worker *worker; /* stack.c */
    struct ust_engine *engine;
    int epoll; /* kernel.c */
};

/* A load without a way; NULL when there is no memory. */
struct ust_load *load_new(const struct load_ops *ops, enum ust_load_kind kind, unsigned n_conns,
                          unsigned size, const struct ust_addr *addr, uint16_t port);
/* Connection c has news; err: a negative errno, or 0. */
void load_event(struct ust_load *l, struct load_conn *c, int err);
