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
#include "net/wire.h"
#include "tcp/segment.h"
#include "ustack.h"

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

static struct ust_addr addr(unsigned host)
{
    struct ust_addr v4 = {{[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)host}};
    struct ust_addr v6 = {{0xfd, [15] = (uint8_t)host}};

    return version == 4 ? v4 : v6;
}

static struct ust_addr anybody(void)
{
    struct ust_addr a = addr(0);

    for (unsigned i = version == 4 ? 13 : 2; i < 16; i++)
        a.b[i] = (uint8_t)rng_below(&rng, 256);
    a.b[version == 4 ? 12 : 1] = (uint8_t)(20 + rng_below(&rng, 80));
    return a;
}

static struct ust_engine *make(void)
{
    struct ust_config *cfg = ust_config_new("linux");
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 2}, router[6] = {2, 0, 0, 0, 0, 1}, secret[32] = {1};
    struct ust_addr us = addr(2), gateway = addr(1), all = addr(0);
    struct ust_engine *e;

    memset(all.b + (version == 4 ? 12 : 0), 0, version == 4 ? 4 : 16);
    ust_config_set(cfg, "mbuf.small", 1024);
    ust_config_set(cfg, "mbuf.large", 8);
    ust_config_set(cfg, "tcp.max_tcbs", 64);
    ust_config_set(cfg, "tcp.max_syn_backlog", 512);
    ust_config_set(cfg, "tcp.max_tw_buckets", 8);
    ust_config_set(cfg, "ip6.dad_transmits", 0);
    ust_config_entropy(cfg, 1, secret);
    e = ust_engine_new(cfg, NULL);
    ust_config_free(cfg);
    ust_engine_add_iface(e, mac, 1500, 0);
    ust_engine_add_addr(e, 0, &us, version == 4 ? 24 : 64);
    ust_engine_add_route(e, 0, &all, 0, &gateway);
    ust_engine_add_neigh(e, 0, &gateway, router);
    return e;
}

static uint16_t header_sum(const uint8_t *p)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < IPV4_LEN; i += 2)
        sum += get16(p + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static uint8_t *put_ip(uint8_t *ip, const struct ust_addr *src, unsigned l4_len)
{
    struct ust_addr dst = addr(2);

    if (version == 4) {
        ip[0] = 0x45;
        put16(ip + 2, IPV4_LEN + l4_len);
        ip[8] = 64;
        ip[9] = IPPROTO_TCP_;
        memcpy(ip + 12, v4_bytes(src), 4);
        memcpy(ip + 16, v4_bytes(&dst), 4);
        put16(ip + 10, header_sum(ip));
        return ip + IPV4_LEN;
    }
    ip[0] = 0x60;
    put16(ip + 4, l4_len);
    ip[6] = IPPROTO_TCP_;
    ip[7] = 64;
    memcpy(ip + 8, src, 16);
    memcpy(ip + 24, &dst, 16);
    return ip + IPV6_LEN;
}

static size_t build(uint8_t *f, const struct seg *s)
{
    static const uint8_t macs[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
    unsigned len = s->flags & TH_SYN ? TCP_LEN + 20 : TCP_LEN + 12;
    uint8_t *th, *opt;

    memset(f, 0, 128);
    memcpy(f, macs, 12);
    put16(f + ETH_TYPE, version == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    th = put_ip(f + ETH_LEN, &s->src, len);
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
    const uint8_t *th = last + ETH_LEN + (version == 4 ? IPV4_LEN : IPV6_LEN);

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

static uint64_t counter(const char *name)
{
    static uint64_t values[1024];

    ust_engine_counters(eng, values);
    for (unsigned i = 0; i < ust_counter_count(); i++)
        if (strcmp(ust_counter_name(i), name) == 0)
            return values[i];
    return 0;
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
    uint64_t bad = counter("tcp.syncookies.bad"), in = counter("tcp.syncookies.in");

    input(&syn);
    genuine = answer_to_synack(&syn);
    forge_at_random(n);
    forge_one_by_one(&genuine, n);
    printf("forged %llu refused %llu\n", (unsigned long long)(counter("tcp.syncookies.in") - in),
           (unsigned long long)(counter("tcp.syncookies.bad") - bad));
    input(&genuine);
    printf("genuine %llu\n", (unsigned long long)(counter("tcp.syncookies.in") - in));
}

int main(int argc, char **argv)
{
    struct ust_addr us;
    const char *why = "";
    ust_handle h;

    if (argc != 4)
        return 2;
    version = atoi(argv[1]);
    us = addr(2);
    eng = make();
    h = ust_socket(eng);
    ust_bind(eng, h, &us, PORT);
    ust_listen(eng, h, 4096);
    flood((unsigned)atoi(argv[2]));
    printf("out %llu cookies %llu\n", (unsigned long long)frames_out,
           (unsigned long long)counter("tcp.syncookies.out"));
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
