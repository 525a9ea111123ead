/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets by hand, for the attackers among the C programs: a host at 10.0.0.x or
 * fd00::x, and one engine that is 2 there. */
#pragma once
#include <stdlib.h>
#include <string.h>

#include "net/wire.h"
#include "tcp/segment.h"
#include "ustack.h"

static inline struct ust_addr raw_addr(int version, unsigned host)
{
    struct ust_addr v4 = {{[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)host}};
    struct ust_addr v6 = {{0xfd, [15] = (uint8_t)host}};

    return version == 4 ? v4 : v6;
}

static inline uint16_t raw_header_sum(const uint8_t *p)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < IPV4_LEN; i += 2)
        sum += get16(p + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* Ethernet and IP headers for l4_len bytes of TCP to the engine; where those
 * begin. */
static inline uint8_t *raw_headers(uint8_t *f, int version, const struct ust_addr *src,
                                   unsigned l4_len)
{
    static const uint8_t macs[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
    struct ust_addr dst = raw_addr(version, 2);
    uint8_t *ip = f + ETH_LEN;

    memset(f, 0, ETH_LEN + IPV6_LEN);
    memcpy(f, macs, sizeof macs);
    put16(f + ETH_TYPE, version == 4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    if (version == 4) {
        ip[0] = 0x45;
        put16(ip + 2, IPV4_LEN + l4_len);
        ip[8] = 64;
        ip[9] = IPPROTO_TCP_;
        memcpy(ip + 12, v4_bytes(src), 4);
        memcpy(ip + 16, v4_bytes(&dst), 4);
        put16(ip + 10, raw_header_sum(ip));
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

/* The segment in a frame of the engine's. */
static inline const uint8_t *raw_segment(const uint8_t *f, int version)
{
    return f + ETH_LEN + (version == 4 ? IPV4_LEN : IPV6_LEN);
}

/* An engine with small tables, its router, and a listener at port. */
static inline struct ust_engine *raw_engine(int version, uint16_t port, unsigned backlog,
                                            const char *const *names, const int64_t *values)
{
    struct ust_config *cfg = ust_config_new("linux");
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 2}, router[6] = {2, 0, 0, 0, 0, 1}, secret[32] = {1};
    struct ust_addr us = raw_addr(version, 2), gateway = raw_addr(version, 1);
    struct ust_addr all =
        version == 4 ? (struct ust_addr){{[10] = 0xff, 0xff}} : (struct ust_addr){{0}};
    struct ust_engine *eng;
    ust_handle h;

    for (; *names; names++, values++)
        if (ust_config_set(cfg, *names, *values) < 0)
            abort();
    ust_config_set(cfg, "ip6.dad_transmits", 0);
    ust_config_entropy(cfg, 1, secret);
    eng = ust_engine_new(cfg, NULL);
    ust_config_free(cfg);
    ust_engine_add_iface(eng, mac, 1500, 0);
    ust_engine_add_addr(eng, 0, &us, version == 4 ? 24 : 64);
    ust_engine_add_route(eng, 0, &all, 0, &gateway);
    ust_engine_add_neigh(eng, 0, &gateway, router);
    h = ust_socket(eng);
    ust_bind(eng, h, &us, port);
    ust_listen(eng, h, (int)backlog);
    return eng;
}

static inline unsigned long long raw_counter(const struct ust_engine *eng, const char *name)
{
    static uint64_t values[1024];

    ust_engine_counters(eng, values);
    for (unsigned i = 0; i < ust_counter_count(); i++)
        if (strcmp(ust_counter_name(i), name) == 0)
            return values[i];
    abort();
}
