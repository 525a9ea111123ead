/* SPDX-License-Identifier: BSD-3-Clause */
/* Which way, and from which address: longest prefix wins, then the older entry
 * (RFC 1812 5.2.4.3); source addresses by RFC 6724's rules that apply here.
 * What is asked per packet is remembered in a struct ip_dst.                */
#include "net.h"

bool prefix_match(const struct ust_addr *a, const struct ust_addr *b, unsigned len)
{
    unsigned bytes = len / 8, bits = len % 8;

    if (memcmp(a, b, bytes) != 0)
        return false;
    return bits == 0 || ((a->b[bytes] ^ b->b[bytes]) >> (8 - bits)) == 0;
}

static unsigned common_prefix(const struct ust_addr *a, const struct ust_addr *b)
{
    unsigned n = 0;

    while (n < 128 && prefix_match(a, b, n + 1))
        n++;
    return n;
}

bool net_route(const struct net *net, const struct ust_addr *dst, int *iface,
               struct ust_addr *next_hop)
{
    int best = -1;

    if (net_own(net, dst) || addr_is_loopback(dst)) {
        *iface = IFACE_LOOP;
        *next_hop = *dst;
        return net_own(net, dst); /* who has no loopback does not ask a router for it */
    }
    for (uint32_t i = 0; i < net->n_addrs; i++) {
        const struct ifaddr *ifa = &net->addrs[i];

        if (ifa->on_link && ifa->prefix_len > best && addr_is_v4(&ifa->addr) == addr_is_v4(dst) &&
            prefix_match(&ifa->addr, dst, ifa->prefix_len)) {
            best = ifa->prefix_len;
            *iface = ifa->iface;
            *next_hop = *dst;
        }
    }
    for (uint32_t i = 0; i < net->n_routes; i++) {
        const struct route *r = &net->routes[i];

        if (r->prefix_len > best && r->valid_until > net->core.now &&
            addr_is_v4(&r->dst) == addr_is_v4(dst) && prefix_match(&r->dst, dst, r->prefix_len)) {
            best = r->prefix_len;
            *iface = r->iface;
            *next_hop = addr_is_any(&r->gateway) ? *dst : r->gateway;
        }
    }
    if (best < 0 && net->n_ifaces > 0 && net_is_group(net, dst)) {
        *iface = 0; /* groups and broadcasts need no route */
        *next_hop = *dst;
        return true;
    }
    return best >= 0;
}

static uint32_t way_of(const struct ust_addr *dst)
{
    uint32_t last;

    memcpy(&last, dst->b + 12, sizeof last);
    return last * 0x9e3779b1u >> (32 - WAYS_BITS);
}

const struct neigh *net_way(const struct net *net, const struct ust_addr *dst)
{
    const struct way *w = &net->ways[way_of(dst)];

    if (w->to.epoch != net->epoch || !addr_same(&w->dst, dst) || net->core.now >= w->until)
        return NULL;
    return &net->neighs[w->to.neigh];
}

void net_way_found(struct net *net, const struct ust_addr *dst, const struct neigh *n)
{
    struct way *w = &net->ways[way_of(dst)];

    *w = (struct way){*dst, {net->epoch, (uint32_t)(n - net->neighs)}, UINT64_MAX};
    for (uint32_t i = 0; i < net->n_routes; i++)
        if (net->routes[i].valid_until > net->core.now && net->routes[i].valid_until < w->until)
            w->until = net->routes[i].valid_until;
}

/* Is a a better source than b for dst? RFC 6724 5, rules 2, 3 and 8. */
static bool better_source(const struct net *net, const struct ifaddr *a, const struct ifaddr *b,
                          const struct ust_addr *dst)
{
    bool local = addr_is_link_local(dst) || (dst->b[0] == 0xff && (dst->b[1] & 15) == 2);
    bool a_scope = addr_is_link_local(&a->addr) == local;
    bool b_scope = addr_is_link_local(&b->addr) == local;
    bool a_old = a->preferred_until <= net->core.now, b_old = b->preferred_until <= net->core.now;

    if (a_scope != b_scope)
        return a_scope;
    if (a_old != b_old)
        return b_old;
    return common_prefix(&a->addr, dst) > common_prefix(&b->addr, dst);
}

const struct ust_addr *net_source(const struct net *net, const struct ust_addr *dst)
{
    const struct ifaddr *best = NULL;
    struct ust_addr next_hop;
    int iface;

    if (!net_route(net, dst, &iface, &next_hop))
        return NULL;
    for (uint32_t i = 0; i < net->n_addrs; i++) {
        const struct ifaddr *ifa = &net->addrs[i];

        if (addr_same(&ifa->addr, dst))
            return &ifa->addr; /* RFC 6724 5, rule 1 */
        if (ifa->tentative || addr_is_v4(&ifa->addr) != addr_is_v4(dst) || ifa->iface != iface)
            continue;
        if (addr_is_v4(dst) && prefix_match(&ifa->addr, &next_hop, ifa->prefix_len))
            return &ifa->addr; /* RFC 1122 3.3.4.3: on the next hop's network */
        if (!best || (!addr_is_v4(dst) && better_source(net, ifa, best, dst)))
            best = ifa;
    }
    return best ? &best->addr : NULL;
}
