/* SPDX-License-Identifier: BSD-3-Clause */
/* FragmentSmack (CVE-2018-5391): 2,000 fragments a second for so many virtual
 * seconds, of 8 bytes, at random offsets of many datagrams of few sources,
 * never the first or the last of one. Not a test of its own: see
 * tests/net/test_floods.py, which runs it under callgrind.
 *
 *   smack 4|6 warm-up-seconds seconds identifications
 *
 * The warm-up and the measured part are attack() and measured(); callgrind
 * counts what is done inside measured(). Prints the most large mbufs, datagrams
 * and timers that were ever held, then the counters of the fragments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "net/wire.h"
#include "ustack.h"

enum { RATE = 2000, DATA = 8, N_SOURCES = 8 };

static struct rng rng = {7};
static struct ust_engine *eng;
static ust_time now = 1000000000;
static int version;
static uint32_t n_ids;
static uint32_t most_large, most_frags, most_timers;

static struct ust_addr addr(unsigned host)
{
    struct ust_addr v4 = {{[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)host}};
    struct ust_addr v6 = {{0xfd, [15] = (uint8_t)host}};

    return version == 4 ? v4 : v6;
}

static struct ust_engine *make(void)
{
    struct ust_config *cfg = ust_config_new("linux");
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 2}, secret[32] = {1};
    struct ust_addr a = addr(2);
    struct ust_engine *e;

    ust_config_set(cfg, "mbuf.small", 1024);
    ust_config_set(cfg, "mbuf.large", 128);
    ust_config_set(cfg, "tcp.max_tcbs", 8);
    ust_config_set(cfg, "tcp.max_syn_backlog", 8);
    ust_config_set(cfg, "tcp.max_tw_buckets", 8);
    ust_config_set(cfg, "ip6.dad_transmits", 0);
    ust_config_entropy(cfg, 1, secret);
    e = ust_engine_new(cfg, NULL);
    ust_config_free(cfg);
    ust_engine_add_iface(e, mac, 1500, 0);
    ust_engine_add_addr(e, 0, &a, version == 4 ? 24 : 64);
    return e;
}

static uint16_t header_sum(const uint8_t *p)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < 20; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* A middle fragment; its length. */
static size_t build(uint8_t *f)
{
    struct ust_addr src = addr(10 + rng_below(&rng, N_SOURCES)), dst = addr(2);
    uint32_t offset = 8 * (1 + rng_below(&rng, 8000)), id = rng_below(&rng, n_ids);
    static const uint8_t macs[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
    uint8_t *ip = f + ETH_LEN;

    memset(f, 0, ETH_LEN + IPV6_LEN + 8 + DATA);
    memcpy(f, macs, 12);
    if (version == 4) {
        put16(f + ETH_TYPE, ETHERTYPE_IPV4);
        ip[0] = 0x45;
        put16(ip + 2, IPV4_LEN + DATA);
        put16(ip + 4, id);
        put16(ip + 6, 0x2000 | offset / 8);
        ip[8] = 64;
        ip[9] = IPPROTO_UDP_;
        memcpy(ip + 12, v4_bytes(&src), 4);
        memcpy(ip + 16, v4_bytes(&dst), 4);
        put16(ip + 10, header_sum(ip));
        return ETH_LEN + IPV4_LEN + DATA;
    }
    put16(f + ETH_TYPE, ETHERTYPE_IPV6);
    ip[0] = 0x60;
    put16(ip + 4, 8 + DATA);
    ip[6] = 44;
    ip[7] = 64;
    memcpy(ip + 8, &src, 16);
    memcpy(ip + 24, &dst, 16);
    ip[40] = IPPROTO_UDP_;
    put16(ip + 42, offset | 1);
    put32(ip + 44, id);
    return ETH_LEN + IPV6_LEN + 8 + DATA;
}

static void watch(void)
{
    struct ust_usage u;

    ust_engine_usage(eng, &u);
    most_large = u.mbufs_large > most_large ? u.mbufs_large : most_large;
    most_frags = u.frags > most_frags ? u.frags : most_frags;
    most_timers = u.timers > most_timers ? u.timers : most_timers;
}

__attribute__((noinline)) void input_one(const uint8_t *frame, size_t len);
void input_one(const uint8_t *frame, size_t len)
{
    ust_engine_inject(eng, now, 0, frame, len, 0);
}

static void attack(unsigned seconds, void (*input)(const uint8_t *, size_t))
{
    uint8_t frame[128], out[2048];

    for (unsigned n = 0; n < seconds * RATE; n++) {
        size_t len = build(frame);

        now += 1000000000 / RATE;
        ust_engine_tick(eng, now);
        input(frame, len);
        while (ust_engine_extract(eng, now, out, sizeof out) > 0)
            ;
        if (n % RATE == 0)
            watch();
    }
}

/* What callgrind counts: named apart from the warm-up. */
__attribute__((noinline)) void measured(const uint8_t *frame, size_t len);
void measured(const uint8_t *frame, size_t len)
{
    ust_engine_inject(eng, now, 0, frame, len, 0);
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

int main(int argc, char **argv)
{
    const char *why = "";

    if (argc != 5)
        return 2;
    version = atoi(argv[1]);
    n_ids = (uint32_t)atoi(argv[4]);
    eng = make();
    attack((unsigned)atoi(argv[2]), input_one);
    attack((unsigned)atoi(argv[3]), measured);
    watch();
    if (ust_engine_check(eng, &why)) {
        fprintf(stderr, "smack: %s\n", why);
        return 1;
    }
    printf("large %u frags %u timers %u in %llu full %llu source %llu timeout %llu\n", most_large,
           most_frags, most_timers, (unsigned long long)counter("frag.in"),
           (unsigned long long)counter("frag.drop.full"),
           (unsigned long long)counter("frag.drop.source"),
           (unsigned long long)counter("frag.timeout"));
    ust_engine_free(eng);
    return 0;
}
