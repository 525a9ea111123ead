/* SPDX-License-Identifier: BSD-3-Clause */
/* Active opens of several engines of one stack, and a NIC that steers the answers
 * by the definition of the Toeplitz hash. Not a test of its own: see
 * tests/tcp/test_affinity.py, which asserts what it prints.
 *
 *   affinity open kind rules opens
 *   affinity crowd kind rules ports
 *
 * open: for each of so many random rules (key, table, fields, engines), so many
 * opens of random engines to random peers; each is answered, and the answer goes
 * where the NIC would put it. crowd: engines open flows to one peer, over a range
 * of so many ports, until none has a port left. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/rng.h"
#include "engine.h"
#include "raw.h"

enum { MAX_ENGINES = 16, MAX_SAMPLES = 1 << 20, PORTS = 65536 };

static struct rng rng = {5};
static struct ust_engine *engines[MAX_ENGINES];
static struct ust_rss rss;
static int version;
static ust_time now = 1000000000;
static uint32_t tries[MAX_SAMPLES], ns[MAX_SAMPLES];
static uint64_t n_samples, opens, steered, wrong, handed, failed, collisions;

/* Kinds of rules: random, symmetric by its key, symmetric by XOR, a key that is
 * used up before the ports' end, addresses alone. */
static void draw_rule(unsigned kind)
{
    unsigned n = 2 + rng_below(&rng, MAX_ENGINES - 1), n_reta = 16u << rng_below(&rng, 6);

    version = rng_below(&rng, 2) ? 4 : 6;
    rss = (struct ust_rss){.n_engines = (uint16_t)n, .n_reta = (uint16_t)n_reta};
    rss.fields = kind == 4 ? 0 : kind == 2 ? UST_RSS_TCP | UST_RSS_XOR : UST_RSS_TCP;
    rss.key_len = kind == 3 ? (version == 4 ? 11 : 35) + rng_below(&rng, 4) : 40;
    for (unsigned i = 0; i < rss.key_len; i++)
        rss.key[i] = kind == 1 && i >= 2 ? rss.key[i - 2] : (uint8_t)rng_next(&rng);
    for (unsigned i = 0; i < n_reta; i++) /* each has a bucket */
        rss.reta[i] = (uint8_t)(i < n ? i : rng_below(&rng, n));
}

static void make_engines(const char *const *names, const int64_t *values)
{
    uint8_t frame[2048];

    for (unsigned i = 0; i < rss.n_engines; i++) {
        engines[i] = raw_engine(version, 80, 8, names, values);
        rss.engine = (uint16_t)i;
        if (ust_engine_set_rss(engines[i], &rss) < 0)
            abort();
        ust_engine_tick(engines[i], now);
        engine_core(engines[i])->rng.state = rng_next(&rng);
        while (ust_engine_extract(engines[i], now, frame, sizeof frame) > 0)
            ; /* it announces its address */
    }
}

static void free_engines(void)
{
    for (unsigned i = 0; i < rss.n_engines; i++)
        ust_engine_free(engines[i]);
}

/* What the definition says of a frame of TCP. */
static unsigned nic(const uint8_t *frame)
{
    uint8_t tuple[36];
    size_t addrs = version == 4 ? 8 : 32, len = addrs;

    memcpy(tuple, frame + ETH_LEN + (version == 4 ? 12 : 8), addrs);
    if (rss.fields & UST_RSS_TCP) {
        memcpy(tuple + addrs, raw_segment(frame, version), 4);
        len += 4;
    }
    if (rss.fields & UST_RSS_XOR) {
        for (size_t i = 0; i < addrs / 2; i++)
            tuple[i] = tuple[i + addrs / 2] ^= tuple[i];
        tuple[addrs] = tuple[addrs + 2] ^= tuple[addrs];
        tuple[addrs + 1] = tuple[addrs + 3] ^= tuple[addrs + 1];
    }
    return rss.reta[ust_toeplitz(rss.key, rss.key_len, tuple, len) & (rss.n_reta - 1u)];
}

/* The SYN in frame becomes its SYN-ACK; its length. */
static unsigned answer(uint8_t *frame)
{
    uint8_t seg[TCP_LEN], *th;
    struct ust_addr src;
    const uint8_t *syn = raw_segment(frame, version);

    src = version == 4 ? addr_v4(frame + ETH_LEN + 16) : addr_v6(frame + ETH_LEN + 24);
    memcpy(seg, syn + 2, 2);
    memcpy(seg + 2, syn, 2);
    put32(seg + 4, 5000);
    put32(seg + 8, get32(syn + 4) + 1);
    th = raw_headers(frame, version, &src, TCP_LEN);
    memset(th, 0, TCP_LEN);
    memcpy(th, seg, 12);
    th[12] = 5 << 4;
    th[13] = TH_SYN | TH_ACK;
    put16(th + 14, 1000);
    return (unsigned)(th + TCP_LEN - frame);
}

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One choice of a port by itself, on the way. */
static void sample(struct ust_engine *eng, const struct ust_addr *peer)
{
    struct flow_key key = {.local = raw_addr(version, 2), .remote = *peer, .rport = 443};
    uint32_t before = eng->tcp.port_counter;
    uint64_t start;

    if (n_samples == MAX_SAMPLES)
        return;
    start = clock_ns();
    tcp_pick_port(&eng->tcp, &key);
    ns[n_samples] = (uint32_t)(clock_ns() - start);
    tries[n_samples++] = eng->tcp.port_counter - before;
}

static struct ust_addr random_peer(void)
{
    struct ust_addr a = raw_addr(version, 0);

    for (unsigned i = version == 4 ? 13 : 2; i < 16; i++)
        a.b[i] = (uint8_t)(1 + rng_below(&rng, 250));
    a.b[version == 4 ? 12 : 1] = (uint8_t)(20 + rng_below(&rng, 80));
    return a;
}

static void open_one(void)
{
    unsigned who = rng_below(&rng, rss.n_engines), to;
    struct ust_engine *eng = engines[who];
    struct ust_addr peer = random_peer();
    ust_handle h = ust_socket(eng);
    uint8_t frame[2048];
    unsigned len;

    sample(eng, &peer);
    if (ust_connect(eng, h, &peer, 443) != -EINPROGRESS ||
        ust_engine_extract(eng, now, frame, sizeof frame) <= 0)
        abort();
    len = answer(frame);
    to = nic(frame);
    opens++;
    for (unsigned i = 0; i < rss.n_engines; i++)
        wrong += (unsigned)ust_engine_owner(engines[i], frame, len) != who;
    steered += to == who;
    ust_engine_inject(engines[to], now, 0, frame, len, UST_FRAME_CSUM_OK);
    handed += ust_engine_exchange(engines, rss.n_engines, now);
    failed += !(ust_ready(eng, h) & UST_CONNECTED);
    ust_abort(eng, h);
    while (ust_engine_extract(eng, now, frame, sizeof frame) > 0)
        ;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t p99(uint32_t *values)
{
    qsort(values, n_samples, sizeof *values, compare);
    return n_samples ? values[n_samples * 99 / 100] : 0;
}

static void open_many(unsigned kind, unsigned rules, unsigned per_rule)
{
    const char *const names[] = {"mbuf.small", "mbuf.large", "mbuf.refs", "tcp.max_tcbs", NULL};
    const int64_t values[] = {64, 0, 64, 16};

    for (unsigned r = 0; r < rules; r++) {
        draw_rule(kind);
        make_engines(names, values);
        for (unsigned i = 0; i < per_rule; i++)
            open_one();
        free_engines();
    }
}

static void crowd(unsigned kind, unsigned rules, unsigned n_ports)
{
    const char *const names[] = {"mbuf.small",   "mbuf.large",   "mbuf.refs", "tcp.max_tcbs",
                                 "tcp.port_min", "tcp.port_max", NULL};
    const int64_t values[] = {64, 0, 64, n_ports + 1, 20001, 20000 + n_ports};
    static uint8_t taken[PORTS];
    uint8_t frame[2048];

    for (unsigned r = 0; r < rules; r++) {
        struct ust_addr peer;

        draw_rule(kind);
        make_engines(names, values);
        peer = random_peer();
        memset(taken, 0, sizeof taken);
        for (unsigned i = 0; i < rss.n_engines; i++)
            for (;;) {
                ust_handle h = ust_socket(engines[i]);

                if (ust_connect(engines[i], h, &peer, 443) == -EADDRNOTAVAIL)
                    break;
                if (ust_engine_extract(engines[i], now, frame, sizeof frame) <= 0)
                    abort();
                collisions += taken[get16(raw_segment(frame, version))]++;
                opens++;
            }
        free_engines();
    }
}

int main(int argc, char **argv)
{
    unsigned kind, rules, n;

    if (argc != 5)
        return 2;
    kind = (unsigned)atoi(argv[2]);
    rules = (unsigned)atoi(argv[3]);
    n = (unsigned)atoi(argv[4]);
    if (strcmp(argv[1], "open") == 0)
        open_many(kind, rules, n);
    else
        crowd(kind, rules, n);
    printf("opens %llu\nsteered %llu\nwrong %llu\nhanded %llu\nfailed %llu\ncollisions %llu\n",
           (unsigned long long)opens, (unsigned long long)steered, (unsigned long long)wrong,
           (unsigned long long)handed, (unsigned long long)failed, (unsigned long long)collisions);
    printf("tries %u\nns %u\n", p99(tries), p99(ns));
    return 0;
}
