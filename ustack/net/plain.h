/* SPDX-License-Identifier: BSD-3-Clause */
/* The short way of ip_output(): an IPv4 packet that fits, to a neighbour that is
 * known, needs nothing but two headers. They are written at once.
 *
 * Whatever else there is to do, ip_output() does.                           */
#pragma once
#include "../base/checksum.h"
#include "net.h"

enum { IPV4_DONT_FRAGMENT = 0x4000 };

/* The neighbour of such a packet, of len bytes without its IP header (0: of a
 * super-segment), whose flow remembers where its packets go; or NULL. */
static inline const struct neigh *ip_plain(const struct net *net, const struct ust_addr *dst,
                                           const struct ip_dst *cache, uint32_t len)
{
    const struct neigh *n = &net->neighs[cache->neigh];

    return cache->epoch == net->epoch && addr_is_v4(dst) && net->pmtus_used == 0 &&
                   neigh_is_ready(net, n) && len + IPV4_LEN <= net->ifaces[n->iface].mtu &&
                   net->core.set.engine_shortcuts
             ? n
             : NULL;
}

/* A header without options as five words, whose sum is taken before they are
 * stored: what has just been written in pieces is slow to load in others. */
static inline void ipv4_words(uint32_t words[5], const struct net *net, const struct ip_out *o,
                              uint32_t id_frag, uint32_t len)
{
    uint32_t ttl = o->ttl ? o->ttl : (uint8_t)net->core.set.ip_ttl;
    uint64_t sum;

    words[0] = __builtin_bswap32(0x45u << 24 | (uint32_t)o->tos << 16 | (len & 0xffff));
    words[1] = __builtin_bswap32(id_frag);
    words[2] = __builtin_bswap32(ttl << 24 | (uint32_t)o->proto << 16);
    memcpy(&words[3], v4_bytes(o->src), 4);
    memcpy(&words[4], v4_bytes(o->dst), 4);
    sum = (uint64_t)words[0] + words[1] + words[2] + words[3] + words[4];
    words[2] |= (uint32_t)checksum_finish(sum) << 16;
}

/* Sends m, which is such a packet but for its headers, to n. Owns m. */
static inline void ip_plain_output(struct net *net, struct mbuf *m, const struct neigh *n,
                                   const struct ip_out *o)
{
    uint8_t *p = mbuf_push(&net->core.pool, m, ETH_LEN + IPV4_LEN);
    uint32_t words[5];

    ipv4_words(words, net, o, IPV4_DONT_FRAGMENT, m->frame_len - ETH_LEN);
    memcpy(p + ETH_LEN, words, sizeof words);
    count(&net->core, C_IP_OUT);
    eth_finish(net, m, p, n->iface, n->mac, ETHERTYPE_IPV4, ETH_LEN + IPV4_LEN);
}
