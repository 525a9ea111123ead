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

static int open_more(struct ust_load *l);
static void start_all(struct ust_load *l);
static void serve(struct ust_load *l, struct load_conn *c);
static void exchange(struct ust_load *l, struct load_conn *c);
static void end_request(struct ust_load *l, struct load_conn *c);
static struct load_conn *next_conn(struct ust_load *l);
static void start_request(struct ust_load *l, struct load_conn *c, ust_time since);
static void push(struct ust_load *l, struct load_conn *c);
static void fill(struct ust_load *l, struct load_conn *c);
static void drain(struct ust_load *l, struct load_conn *c);
static void fail(struct ust_load *l, int64_t result);
static void add_slice(struct load_counts *to, const struct load_counts *slice);
static unsigned bucket_of(uint64_t ns);
static uint64_t bucket_end(unsigned i);
static uint64_t quantile(const struct load_counts *c, uint64_t n, unsigned permille);

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
    l->size = l->answer = size;
    l->n_addrs = 1;
    l->window = n_conns;
    l->addr = *addr;
    l->port = port;
    l->epoll = -1;
    l->conns = calloc(n_conns, sizeof *l->conns);
    l->idle = calloc(n_conns, sizeof *l->idle);
    l->buf_size = size > BUF_SIZE ? size : BUF_SIZE;
    l->buf = malloc(l->buf_size);
    l->request = malloc(l->buf_size);
    if (!l->conns || !l->idle || !l->buf || !l->request) {
        ust_load_free(l);
        return NULL;
    }
    memset(l->request, 'u', l->buf_size);
    while (l->n_idle < n_conns) {
        l->idle[l->n_idle] = n_conns - 1 - l->n_idle;
        l->n_idle++;
    }
    return l;
}

int ust_load_ask(struct ust_load *l, const uint8_t *request, unsigned len, unsigned answer)
{
    uint8_t *copy = malloc(len > l->buf_size ? len : l->buf_size);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, request, len);
    free(l->request);
    l->request = copy;
    l->size = len;
    l->answer = answer;
    return 0;
}

void ust_load_spread(struct ust_load *l, unsigned n_addrs)
{
    l->n_addrs = n_addrs;
}

void ust_load_window(struct ust_load *l, unsigned n_requests)
{
    l->window = n_requests;
}

void ust_load_free(struct ust_load *l)
{
    if (!l)
        return;
    if (l->conns)
        l->ops->free(l);
    free(l->conns);
    free(l->idle);
    free(l->request);
    free(l->buf);
    free(l);
}

/* ------------------------------------------------------- calls */

int ust_load_open(struct ust_load *l, uint64_t ns)
{
    ust_time end = ust_worker_now() + ns;

    if (l->kind == UST_LOAD_CONN)
        return 1;
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
    requests = requests ? l->slice.requests + requests : UINT64_MAX;
    while (l->now - start < ns && l->slice.requests < requests && l->error == 0) {
        if (l->n_idle > 0)
            l->error = open_more(l);
        l->ops->turn(l, start + ns);
    }
    l->ops->end(l);
    l->slice.ns += l->now - start;
    return l->error;
}

void ust_load_clear(struct ust_load *l)
{
    memset(&l->slice, 0, sizeof l->slice);
    memset(&l->all, 0, sizeof l->all);
    memset(&l->kept, 0, sizeof l->kept);
}

void ust_load_keep(struct ust_load *l, int keep)
{
    add_slice(&l->all, &l->slice);
    if (keep)
        add_slice(&l->kept, &l->slice);
    memset(&l->slice, 0, sizeof l->slice);
}

void ust_load_result(const struct ust_load *l, int kept, struct ust_load_result *r)
{
    const struct load_counts *c = kept ? &l->kept : &l->all;
    uint64_t n = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        n += c->latencies[i];
    *r = (struct ust_load_result){
        .requests = c->requests,
        .bytes = c->bytes,
        .ns = c->ns,
        .p50_ns = quantile(c, n, 500),
        .p99_ns = quantile(c, n, 990),
        .p999_ns = quantile(c, n, 999),
        .no_port = c->no_port,
    };
}

static void add_slice(struct load_counts *to, const struct load_counts *slice)
{
    to->requests += slice->requests;
    to->bytes += slice->bytes;
    to->ns += slice->ns;
    to->no_port += slice->no_port;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        to->latencies[i] += slice->latencies[i];
}

/* A connection for which there is no port now is tried again at the next turn. */
static int open_more(struct ust_load *l)
{
    while (l->n_idle > 0 && l->n_opening < LOAD_OPENING_MAX) {
        struct load_conn *c = &l->conns[l->idle[l->n_idle - 1]];
        int err;

        c->sent_at = l->now;
        err = l->ops->connect(l, c);
        if (err == -EADDRNOTAVAIL && l->kind == UST_LOAD_CONN) {
            l->slice.no_port++;
            return 0;
        }
        if (err)
            return err;
        l->n_made++;
        l->n_idle--;
        l->n_opening++;
    }
    return 0;
}

struct ust_addr load_nth_addr(const struct ust_load *l, const struct ust_addr *first)
{
    struct ust_addr addr = *first;

    addr.b[15] = (uint8_t)(addr.b[15] + l->n_made % l->n_addrs);
    return addr;
}

static void start_all(struct ust_load *l)
{
    l->running = true;
    if (l->kind == UST_LOAD_CONN)
        return; /* they open as they run */
    for (unsigned i = 0; i < l->n_conns; i++) {
        if (l->kind == UST_LOAD_ECHO && i < l->window)
            start_request(l, next_conn(l), l->now);
        else if (l->kind == UST_LOAD_ECHO)
            break;
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
        l->n_opening--;
        if (l->kind == UST_LOAD_CONN)
            return start_request(l, c, c->sent_at);
    }
    if (l->running)
        serve(l, c);
}

/* ------------------------------------------------------- work */

static void serve(struct ust_load *l, struct load_conn *c)
{
    switch (l->kind) {
    case UST_LOAD_ECHO:
    case UST_LOAD_CONN: exchange(l, c); break;
    case UST_LOAD_SEND: fill(l, c); break;
    case UST_LOAD_RECV: drain(l, c); break;
    }
}

/* The closed loop: the next request starts when the response is complete. */
static void exchange(struct ust_load *l, struct load_conn *c)
{
    int64_t n = 1;

    if (c->to_recv == 0)
        return; /* it is not its turn */
    while (c->to_recv > 0) {
        n = l->ops->recv(l, c, l->buf, c->to_recv < l->buf_size ? c->to_recv : l->buf_size);
        if (n <= 0)
            break;
        c->to_recv -= (uint32_t)n;
    }
    if (n <= 0)
        fail(l, n);
    if (c->to_send > 0)
        push(l, c);
    if (c->to_recv == 0)
        end_request(l, c);
}

static void end_request(struct ust_load *l, struct load_conn *c)
{
    l->slice.requests++;
    l->slice.bytes += l->answer;
    l->slice.latencies[bucket_of(l->now - c->sent_at)]++;
    if (l->kind != UST_LOAD_CONN)
        return start_request(l, l->window < l->n_conns ? next_conn(l) : c, l->now);
    l->ops->close(l, c);
    *c = (struct load_conn){0};
    l->n_open--;
    l->idle[l->n_idle++] = (uint32_t)(c - l->conns);
}

/* The connection whose turn it is: those that still wait for an answer are passed over. */
static struct load_conn *next_conn(struct ust_load *l)
{
    struct load_conn *c;

    do {
        c = &l->conns[l->next];
        l->next = l->next + 1 < l->n_conns ? l->next + 1 : 0;
    } while (c->to_recv > 0);
    return c;
}

static void start_request(struct ust_load *l, struct load_conn *c, ust_time since)
{
    c->to_send = l->size;
    c->to_recv = l->answer;
    c->sent_at = since;
    push(l, c);
}

static void push(struct ust_load *l, struct load_conn *c)
{
    int64_t n = l->ops->send(l, c, l->request + (l->size - c->to_send), c->to_send);

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
        n = l->ops->send(l, c, l->request, l->size);
        if (n <= 0)
            return fail(l, n);
        l->slice.bytes += (uint64_t)n;
        l->slice.requests = l->slice.bytes / l->size;
    } while (n == l->size);
}

static void drain(struct ust_load *l, struct load_conn *c)
{
    int64_t n;

    while ((n = l->ops->recv(l, c, l->buf, l->buf_size)) > 0) {
        l->slice.bytes += (uint64_t)n;
        l->slice.requests = l->slice.bytes / l->size;
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

static uint64_t quantile(const struct load_counts *c, uint64_t n, unsigned permille)
{
    uint64_t seen = 0, wanted = (n * permille + 999) / 1000;

    for (unsigned i = 0; i < LATENCY_BUCKETS && n > 0; i++) {
        seen += c->latencies[i];
        if (seen >= wanted)
            return bucket_end(i);
    }
    return 0;
}
