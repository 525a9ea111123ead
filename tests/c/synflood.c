/* SPDX-License-Identifier: BSD-3-Clause */
/* A SYN flood and forged SYN cookies, as fast as C makes them. Not a test of
 * its own: see tests/tcp/test_syn_cookies.py, which asserts what it prints.
 *
 *   synflood 4|6 syns acks
 *
 * syns SYNs of random sources in ten virtual seconds; then one peer that means
 * it; then acks forged ACKs of random sources, as many that try one flow's
 * numbers one by one, and a genuine cookie with each of its bits turned over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "raw.h"

enum { PORT = 80, PEER_MSS = 1460, PEER_WSCALE = 9, TS_VAL = 777 };

struct seg { /* what a segment of the attacker says */
    struct ust_addr src;
    uint16_t port;
    uint32_t seq, ack, ts_ecr;
    uint8_t flags;
};

static struct rng rng = {11};
static struct ust_engine *eng;
static ust_time now = 1000000000;
static int version;
static struct ust_usage most;
static uint8_t last[2048]; /* the frame that left last */
static uint64_t frames_out;

static struct ust_addr anybody(void)
{
    struct ust_addr a = raw_addr(version, 0);

    for (unsigned i = version == 4 ? 13 : 2; i < 16; i++)
        a.b[i] = (uint8_t)rng_below(&rng, 256);
    a.b[version == 4 ? 12 : 1] = (uint8_t)(20 + rng_below(&rng, 80));
    return a;
}

static size_t build(uint8_t *f, const struct seg *s)
{
    unsigned len = s->flags & TH_SYN ? TCP_LEN + 20 : TCP_LEN + 12;
    uint8_t *th = raw_headers(f, version, &s->src, len), *opt;

    memset(th, 0, len);
    put16(th, s->port);
    put16(th + 2, PORT);
    put32(th + 4, s->seq);
    put32(th + 8, s->ack);
    th[12] = (uint8_t)(len / 4 << 4);
    th[13] = s->flags;
    put16(th + 14, 1000);
    opt = th + TCP_LEN;
    if (s->flags & TH_SYN) {
        put32(opt, 0x02040000 | PEER_MSS);
        put32(opt + 4, 0x01030300 | PEER_WSCALE);
        opt += 8;
    }
    put32(opt, s->flags & TH_SYN ? 0x0402080a : 0x0101080a);
    put32(opt + 4, TS_VAL);
    put32(opt + 8, s->ts_ecr);
    return (size_t)(th + len - f);
}

static void watch(void)
{
    struct ust_usage u;

    ust_engine_usage(eng, &u);
#define MOST(what) most.what = u.what > most.what ? u.what : most.what
    MOST(mbufs_small);
    MOST(tcbs);
    MOST(requests);
    MOST(timers);
    MOST(flows);
    MOST(neighs);
#undef MOST
}

static void input(const struct seg *s)
{
    uint8_t frame[128];
    size_t len = build(frame, s);

    ust_engine_inject(eng, now, 0, frame, len, UST_FRAME_CSUM_OK);
    watch();
    while (ust_engine_extract(eng, now, last, sizeof last) > 0)
        frames_out++;
}

static void flood(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct seg s = {.src = anybody(),
                        .port = (uint16_t)(1024 + rng_below(&rng, 60000)),
                        .seq = (uint32_t)rng_next(&rng),
                        .flags = TH_SYN};

        now += 10000000000u / n;
        ust_engine_tick(eng, now);
        input(&s);
    }
}

/* The ACK that answers the SYN-ACK in last. */
static struct seg answer_to_synack(const struct seg *syn)
{
    const uint8_t *th = raw_segment(last, version);

    return (struct seg){.src = syn->src,
                        .port = syn->port,
                        .seq = syn->seq + 1,
                        .ack = get32(th + 4) + 1,
                        .ts_ecr = get32(th + TCP_LEN + 4 + 4), /* behind the MSS: sackOK, TS */
                        .flags = TH_ACK};
}

static void handshake(const struct ust_addr *us)
{
    struct seg syn = {.src = anybody(), .port = 5555, .seq = 99, .flags = TH_SYN}, ack;
    struct ust_tcp_info info = {0};

    input(&syn);
    ack = answer_to_synack(&syn);
    now += 1000000;
    input(&ack);
    ust_flow_info(eng, us, PORT, &syn.src, syn.port, &info);
    printf("state %u mss %u wscale %u sack %u ts %u\n", info.state, info.snd_mss, info.snd_wscale,
           info.sack_ok, info.ts_ok);
}

static void forge_at_random(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        input(&(struct seg){.src = anybody(),
                            .port = (uint16_t)(1024 + rng_below(&rng, 60000)),
                            .seq = (uint32_t)rng_next(&rng),
                            .ack = (uint32_t)rng_next(&rng),
                            .ts_ecr = (uint32_t)rng_next(&rng),
                            .flags = TH_ACK});
}

/* The forger knows what the peer was sent, and tries its neighbours. */
static void forge_one_by_one(const struct seg *genuine, unsigned n)
{
    struct seg s = *genuine;

    for (unsigned bit = 0; bit < 64; bit++) {
        struct seg flipped = *genuine;

        *(bit < 32 ? &flipped.ack : &flipped.seq) ^= 1u << bit % 32;
        input(&flipped);
    }
    for (unsigned i = 0; i < n; i++) {
        s.ack++;
        input(&s);
    }
}

static void forge(unsigned n)
{
    struct seg syn = {.src = anybody(), .port = 6666, .seq = 99, .flags = TH_SYN}, genuine;
    unsigned long long bad = raw_counter(eng, "tcp.syncookies.bad"),
                       in = raw_counter(eng, "tcp.syncookies.in");

    input(&syn);
    genuine = answer_to_synack(&syn);
    forge_at_random(n);
    forge_one_by_one(&genuine, n);
    printf("forged %llu refused %llu\n", raw_counter(eng, "tcp.syncookies.in") - in,
           raw_counter(eng, "tcp.syncookies.bad") - bad);
    input(&genuine);
    printf("genuine %llu\n", raw_counter(eng, "tcp.syncookies.in") - in);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"mbuf.small",          "mbuf.large",         "tcp.max_tcbs",
                                        "tcp.max_syn_backlog", "tcp.max_tw_buckets", NULL};
    static const int64_t values[] = {1024, 8, 64, 512, 8};
    struct ust_addr us;
    const char *why = "";

    if (argc != 4)
        return 2;
    version = atoi(argv[1]);
    us = raw_addr(version, 2);
    eng = raw_engine(version, PORT, 4096, names, values);
    flood((unsigned)atoi(argv[2]));
    printf("out %llu cookies %llu\n", (unsigned long long)frames_out,
           raw_counter(eng, "tcp.syncookies.out"));
    handshake(&us);
    forge((unsigned)atoi(argv[3]));
    printf("mbufs %u tcbs %u requests %u timers %u flows %u neighs %u\n", most.mbufs_small,
           most.tcbs, most.requests, most.timers, most.flows, most.neighs);
    if (ust_engine_check(eng, &why)) {
        fprintf(stderr, "synflood: %s\n", why);
        return 1;
    }
    ust_engine_free(eng);
    return 0;
}
