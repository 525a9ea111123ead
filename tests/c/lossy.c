/* SPDX-License-Identifier: BSD-3-Clause */
/* A seeded transfer between two engines over a link that loses, repeats and
 * delays frames. Prints the engines' trace hashes: they must be the same for
 * every compiler and every run. Not a test of its own: tests/test_determinism.py
 * compiles it with the whole engine, several ways. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "ustack.h"

enum { TOTAL = 300000, MAX_FRAME = 2048, MAX_FLIGHT = 4096, PORT = 80 };

struct flight { /* a frame on its way */
    ust_time at;
    unsigned len, to;
    uint8_t bytes[MAX_FRAME];
};

static struct flight *link_frames;
static unsigned n_flight;
static struct rng rng = {2026};
static const ust_time delay = 5000000;

static struct ust_addr addr(unsigned host)
{
    return (struct ust_addr){{[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)(1 + host)}};
}

static struct ust_engine *make(unsigned host)
{
    struct ust_config *cfg = ust_config_new("linux");
    uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)(1 + host)}, secret[32] = {(uint8_t)host};
    struct ust_addr a = addr(host);
    struct ust_engine *eng;

    ust_config_set(cfg, "mbuf.small", 2048);
    ust_config_set(cfg, "mbuf.large", 16);
    ust_config_set(cfg, "tcp.max_tcbs", 8);
    ust_config_set(cfg, "tcp.max_syn_backlog", 8);
    ust_config_set(cfg, "tcp.max_tw_buckets", 8);
    ust_config_set(cfg, "engine.trace", 1);
    ust_config_entropy(cfg, 1 + host, secret);
    eng = ust_engine_new(cfg, NULL);
    ust_config_free(cfg);
    ust_engine_add_iface(eng, mac, 1500, 0);
    ust_engine_add_addr(eng, 0, &a, 24);
    return eng;
}

static void put_on_link(ust_time now, unsigned to, const uint8_t *frame, unsigned len)
{
    unsigned copies = rng_below(&rng, 100) < 5 ? 0 : rng_below(&rng, 100) < 2 ? 2 : 1;

    while (copies-- > 0 && n_flight < MAX_FLIGHT) {
        struct flight *f = &link_frames[n_flight++];

        f->at = now + delay + rng_below(&rng, 100) * 20000ull;
        f->len = len;
        f->to = to;
        memcpy(f->bytes, frame, len);
    }
}

/* The frame that arrives first; of equals, the one sent first. */
static unsigned earliest(void)
{
    unsigned best = 0;

    for (unsigned i = 1; i < n_flight; i++)
        if (link_frames[i].at < link_frames[best].at)
            best = i;
    return best;
}

static void collect(struct ust_engine *engines[2], ust_time now)
{
    uint8_t frame[MAX_FRAME];

    for (unsigned host = 0; host < 2; host++) {
        int64_t len;

        while ((len = ust_engine_extract(engines[host], now, frame, sizeof frame)) > 0)
            put_on_link(now, !host, frame, (unsigned)len);
    }
}

static ust_time next_event(struct ust_engine *engines[2])
{
    ust_time next = n_flight ? link_frames[earliest()].at : UINT64_MAX;

    for (unsigned host = 0; host < 2; host++) {
        ust_time t = ust_engine_deadline(engines[host]);

        next = t < next ? t : next;
    }
    return next;
}

static void deliver(struct ust_engine *engines[2], ust_time now)
{
    while (n_flight && link_frames[earliest()].at <= now) {
        unsigned i = earliest();
        struct flight f = link_frames[i];

        memmove(&link_frames[i], &link_frames[i + 1], (n_flight - i - 1) * sizeof f);
        n_flight--;
        ust_engine_inject(engines[f.to], now, 0, f.bytes, f.len, 0);
    }
}

static uint8_t byte_at(unsigned i)
{
    return (uint8_t)(i * 31 + (i >> 8));
}

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "lossy: %s\n", what);
        exit(1);
    }
}

static unsigned feed(struct ust_engine *eng, ust_handle h, unsigned sent)
{
    uint8_t chunk[5000];
    unsigned n = TOTAL - sent < sizeof chunk ? TOTAL - sent : (unsigned)sizeof chunk;
    int64_t took;

    for (unsigned i = 0; i < n; i++)
        chunk[i] = byte_at(sent + i);
    took = n ? ust_send(eng, h, chunk, n, 0) : 0;
    return sent + (took > 0 ? (unsigned)took : 0);
}

static unsigned drain(struct ust_engine *eng, ust_handle h, unsigned got)
{
    uint8_t chunk[4000];
    int64_t n;

    while ((n = ust_recv(eng, h, chunk, sizeof chunk, 0)) > 0)
        for (int64_t i = 0; i < n; i++)
            check(chunk[i] == byte_at(got++), "a byte is wrong");
    return got;
}

int main(void)
{
    struct ust_engine *engines[2] = {make(0), make(1)};
    struct ust_addr server = addr(1);
    ust_handle listener = ust_socket(engines[1]), client = ust_socket(engines[0]), peer = -1;
    unsigned sent = 0, got = 0;
    ust_time now = 1;

    link_frames = calloc(MAX_FLIGHT, sizeof *link_frames);
    check(ust_bind(engines[1], listener, &server, PORT) == 0, "bind");
    check(ust_listen(engines[1], listener, 1) == 0, "listen");
    ust_connect(engines[0], client, &server, PORT);
    while (got < TOTAL) {
        deliver(engines, now);
        ust_engine_tick(engines[0], now);
        ust_engine_tick(engines[1], now);
        if (peer < 0)
            peer = ust_accept(engines[1], listener);
        else
            got = drain(engines[1], peer, got);
        sent = feed(engines[0], client, sent);
        collect(engines, now);
        now = next_event(engines) > now ? next_event(engines) : now + 1;
        check(now < 600000000000ull, "it takes too long");
    }
    check(ust_engine_check(engines[0], NULL) == 0, "client invariants");
    check(ust_engine_check(engines[1], NULL) == 0, "server invariants");
    printf("%016llx %016llx\n", (unsigned long long)ust_engine_trace_hash(engines[0]),
           (unsigned long long)ust_engine_trace_hash(engines[1]));
    ust_engine_free(engines[0]);
    ust_engine_free(engines[1]);
    free(link_frames);
    return 0;
}
