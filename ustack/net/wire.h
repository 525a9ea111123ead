/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers as they are on the wire: field offsets, and loads and stores in
 * network byte order at any alignment. Nothing here trusts a length.        */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../ustack.h"

enum {
    ETH_LEN = 14,
    ETH_DST = 0,
    ETH_SRC = 6,
    ETH_TYPE = 12,
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_ARP = 0x0806,
    ETHERTYPE_IPV6 = 0x86dd,

    ARP_LEN = 28,
    ARP_REQUEST = 1,
    ARP_REPLY = 2,

    IPV4_LEN = 20,
    IPV6_LEN = 40,
    IPV6_MIN_MTU = 1280,
    IPV6_FRAGMENT_LEN = 8,
    IPPROTO_ICMP_ = 1,
    IPPROTO_TCP_ = 6,
    IPPROTO_UDP_ = 17,
    IPPROTO_ICMPV6_ = 58,

    ICMP_LEN = 8,
    IPV6_NEXT = 6, /* offset of its next header field */
    TCP_LEN = 20,
    UDP_LEN = 8,
};

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static inline void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}

static inline bool addr_same(const struct ust_addr *a, const struct ust_addr *b)
{
    uint64_t x[2], y[2];

    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static inline bool addr_is_any(const struct ust_addr *a)
{
    static const uint8_t zero[16];
    static const uint8_t any4[16] = {[10] = 0xff, 0xff};

    return memcmp(a, zero, 16) == 0 || memcmp(a, any4, 16) == 0;
}

static inline bool addr_is_v4(const struct ust_addr *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

    return memcmp(a, mapped, 12) == 0;
}

static inline struct ust_addr addr_v4(const uint8_t *p)
{
    struct ust_addr a = {{[10] = 0xff, 0xff, p[0], p[1], p[2], p[3]}};

    return a;
}

static inline struct ust_addr addr_v6(const uint8_t *p)
{
    struct ust_addr a;

    memcpy(a.b, p, 16);
    return a;
}

static inline bool addr_is_link_local(const struct ust_addr *a)
{
    return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/* The four bytes of a mapped address. */
static inline const uint8_t *v4_bytes(const struct ust_addr *a)
{
    return a->b + 12;
}
