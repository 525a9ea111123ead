/* SPDX-License-Identifier: BSD-3-Clause */
/* What a load does over its connections: opens them, keeps one request on each,
 * or fills or empties them; and counts.
 *
 * Not here: how bytes move (stack.c, kernel.c).                             */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_SIZE = 256 * 1024 };

static bool is_done(const struct ust_load *l, uint64_t requests);
static int open_more(struct ust_load *l);
static void start_all(struct ust_load *l);
static void serve(struct ust_load *l, struct load_conn *c);
static void exchange(struct ust_load *l, struct load_conn *c);
static void start_request(struct ust_load *l, struct load_conn *c);
static void push(struct ust_load *l, struct load_conn *c);
static void fill(struct ust_load *l, struct load_conn *c);
static void drain(struct ust_load *l, struct load_conn *c);
static void fail(struct ust_load *l, int64_t result);
static unsigned bucket_of(uint64_t ns);
static uint64_t bucket_end(unsigned i);
static uint64_t quantile(const struct ust_load *l, uint64_t n, unsigned permille);

/* ------------------------------------------------------- life */

struct ust_load *load_new(const struct load_ops *ops, enum ust_load_kind kind, unsigned n_conns,
                          unsigned size, const struct ust_addr *addr, uint16_t port)
{
    struct ust_load *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->ops = ops;
    l->kind = kind;
    l->n_conns = n_conns;
    l->size = size;
    l->addr = *addr;
    l->port = port;
    l->epoll = -1;
    l->conns = calloc(n_conns, sizeof *l->conns);
    l->buf_size = size > BUF_SIZE ? size : BUF_SIZE;
    l->buf = malloc(l->buf_size);
    if (!l->conns || !l->buf) {
        ust_load_free(l);
        return NULL;
    }
    memset(l->buf, 'u', l->buf_size);
    return l;
}

void ust_load_free(struct ust_load *l)
{
    if (!l)
        return;
    if (l->conns)
        l->ops->free(l);
    free(l->conns);
    free(l->buf);
    free(l);
}

/* ------------------------------------------------------- calls */

int ust_load_open(struct ust_load *l, uint64_t ns)
{
    ust_time end = ust_worker_now() + ns;

    l->ops->begin(l);
    l->now = ust_worker_now();
    while (l->n_open < l->n_conns && l->now < end) {
        if (l->error == 0)
            l->error = open_more(l);
        if (l->error)
            break;
        l->ops->turn(l, end);
    }
    l->ops->end(l);
    return l->error ? l->error : l->n_open == l->n_conns;
}

int ust_load_run(struct ust_load *l, uint64_t ns, uint64_t requests)
{
    ust_time start = ust_worker_now();

    l->ops->begin(l);
    l->now = start;
    if (!l->running)
        start_all(l);
    requests = requests ? l->requests + requests : UINT64_MAX;
    while (l->now - start < ns && !is_done(l, requests) && l->error == 0)
        l->ops->turn(l, start + ns);
    l->ops->end(l);
    l->ns += l->now - start;
    return l->error;
}

void ust_load_clear(struct ust_load *l)
{
    l->requests = l->bytes = l->ns = 0;
    memset(l->latencies, 0, sizeof l->latencies);
}

void ust_load_result(const struct ust_load *l, struct ust_load_result *r)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        n += l->latencies[i];
    *r = (struct ust_load_result){
        .requests = l->requests,
        .bytes = l->bytes,
        .ns = l->ns,
        .p50_ns = quantile(l, n, 500),
        .p99_ns = quantile(l, n, 990),
        .p999_ns = quantile(l, n, 999),
    };
}

static bool is_done(const struct ust_load *l, uint64_t requests)
{
    return l->requests >= requests;
}

static int open_more(struct ust_load *l)
{
    int err = 0;

    while (err == 0 && l->n_started < l->n_conns && l->n_started - l->n_open < LOAD_OPENING_MAX)
        err = l->ops->connect(l, &l->conns[l->n_started++]);
    return err;
}

static void start_all(struct ust_load *l)
{
    l->running = true;
    for (unsigned i = 0; i < l->n_conns; i++) {
        if (l->kind == UST_LOAD_ECHO)
            start_request(l, &l->conns[i]);
        else
            serve(l, &l->conns[i]);
    }
}

void load_event(struct ust_load *l, struct load_conn *c, int err)
{
    if (err) {
        l->error = err;
        return;
    }
    if (!c->open) {
        c->open = true;
        l->n_open++;
    }
    if (l->running)
        serve(l, c);
}

/* ------------------------------------------------------- work */

static void serve(struct ust_load *l, struct load_conn *c)
{
    switch (l->kind) {
    case UST_LOAD_ECHO: exchange(l, c); break;
    case UST_LOAD_SEND: fill(l, c); break;
    case UST_LOAD_RECV: drain(l, c); break;
    }
}

/* The closed loop: the next request starts when the response is complete. */
static void exchange(struct ust_load *l, struct load_conn *c)
{
    int64_t n = 1;

    while (c->to_recv > 0 && (n = l->ops->recv(l, c, l->buf, c->to_recv)) > 0)
        c->to_recv -= (uint32_t)n;
    if (n <= 0)
        fail(l, n);
    if (c->to_send > 0)
        push(l, c);
    if (c->to_recv > 0)
        return;
    l->requests++;
    l->bytes += l->size;
    l->latencies[bucket_of(l->now - c->sent_at)]++;
    start_request(l, c);
}

static void start_request(struct ust_load *l, struct load_conn *c)
{
    c->to_send = c->to_recv = l->size;
    c->sent_at = l->now;
    push(l, c);
}

static void push(struct ust_load *l, struct load_conn *c)
{
    int64_t n = l->ops->send(l, c, l->buf, c->to_send);

    if (n > 0)
        c->to_send -= (uint32_t)n;
    else
        fail(l, n);
}

/* Until one write is not taken whole. */
static void fill(struct ust_load *l, struct load_conn *c)
{
    int64_t n;

    do {
        n = l->ops->send(l, c, l->buf, l->size);
        if (n <= 0)
            return fail(l, n);
        l->bytes += (uint64_t)n;
        l->requests = l->bytes / l->size;
    } while (n == l->size);
}

static void drain(struct ust_load *l, struct load_conn *c)
{
    int64_t n;

    while ((n = l->ops->recv(l, c, l->buf, l->buf_size)) > 0) {
        l->bytes += (uint64_t)n;
        l->requests = l->bytes / l->size;
    }
    fail(l, n);
}

/* A call took or gave nothing: later, or the connection is lost. */
static void fail(struct ust_load *l, int64_t result)
{
    if (result != -EAGAIN && result != -ENOBUFS)
        l->error = result == 0 ? -ECONNRESET : (int)result;
}

/* ------------------------------------------------------- latencies */

/* Values below 2^LATENCY_BITS have a bucket each; above, so has each octave's
 * share of its size. */
static unsigned bucket_of(uint64_t ns)
{
    unsigned shift;

    if (ns >> LATENCY_BITS == 0)
        return (unsigned)ns;
    shift = 63 - LATENCY_BITS - (unsigned)__builtin_clzll(ns);
    return ((shift + 1) << LATENCY_BITS) + (unsigned)((ns >> shift) & ((1 << LATENCY_BITS) - 1));
}

/* The first value that is above bucket i. */
static uint64_t bucket_end(unsigned i)
{
    unsigned octave = i >> LATENCY_BITS;
    uint64_t low = i & ((1 << LATENCY_BITS) - 1);

    if (octave == 0)
        return low + 1;
    return (low + (1 << LATENCY_BITS) + 1) << (octave - 1);
}

static uint64_t quantile(const struct ust_load *l, uint64_t n, unsigned permille)
{
    uint64_t seen = 0, wanted = (n * permille + 999) / 1000;

    for (unsigned i = 0; i < LATENCY_BUCKETS && n > 0; i++) {
        seen += l->latencies[i];
        if (seen >= wanted)
            return bucket_end(i);
    }
    return 0;
}
