/* SPDX-License-Identifier: BSD-3-Clause */
/* Interfaces, addresses and routes: longest prefix wins, then the older entry.
 * Tables are small arrays, searched in order; what is asked per packet is
 * remembered in a struct ip_dst.                                            */
#include <errno.h>

#include "net.h"

enum { V4_PREFIX = 96 };

static bool prefix_match(const struct ust_addr *a, const struct ust_addr *b, unsigned len)
{
    unsigned bytes = len / 8, bits = len % 8;

    if (memcmp(a, b, bytes) != 0)
        return false;
    return bits == 0 || ((a->b[bytes] ^ b->b[bytes]) >> (8 - bits)) == 0;
}

static int mapped_prefix(const struct ust_addr *a, unsigned len)
{
    if (addr_is_v4(a))
        return len <= 32 ? (int)(len + V4_PREFIX) : -EINVAL;
    return len <= 128 ? (int)len : -EINVAL;
}

/* The last address of an IPv4 network; /31 and /32 have none (RFC 3021). */
static uint32_t directed_broadcast(const struct ust_addr *addr, int prefix_len)
{
    int host_bits = 128 - prefix_len;

    if (!addr_is_v4(addr) || host_bits < 2)
        return 0;
    return get32(v4_bytes(addr)) | (host_bits == 32 ? UINT32_MAX : (1u << host_bits) - 1);
}

void net_init(struct net *net, const struct net_upcalls *up)
{
    net->up = up;
    net->epoch = 1;
    mbuf_queue_init(&net->outq);
    neigh_init(net);
}

int net_add_iface(struct net *net, const uint8_t mac[6], uint32_t mtu, uint32_t caps)
{
    struct iface *ifc = &net->ifaces[net->n_ifaces];

    if (net->n_ifaces == UST_MAX_IFACES)
        return -ENOSPC;
    if (mtu < 68 || mtu > 65535 || (mac[0] & 1))
        return -EINVAL;
    memcpy(ifc->mac, mac, 6);
    ifc->mtu = mtu;
    ifc->caps = caps;
    net->caps = net->n_ifaces ? net->caps & caps : caps;
    return (int)net->n_ifaces++;
}

int net_add_addr(struct net *net, int iface, const struct ust_addr *addr, unsigned prefix_len)
{
    struct ifaddr *ifa = &net->addrs[net->n_addrs];
    int len = mapped_prefix(addr, prefix_len);

    if (iface < 0 || (uint32_t)iface >= net->n_ifaces || len < 0 || addr_is_any(addr))
        return -EINVAL;
    if (net_own(net, addr))
        return -EEXIST;
    if (net->n_addrs == UST_MAX_ADDRS)
        return -ENOSPC;
    *ifa = (struct ifaddr){.addr = *addr,
                           .prefix_len = (uint8_t)len,
                           .iface = (uint8_t)iface,
                           .broadcast = directed_broadcast(addr, len)};
    net->n_addrs++;
    net->epoch++;
    if (net->core.set.arp_announce && addr_is_v4(addr))
        arp_announce(net, ifa);
    return 0;
}

int net_add_route(struct net *net, int iface, const struct ust_addr *dst, unsigned prefix_len,
                  const struct ust_addr *gateway)
{
    int len = mapped_prefix(dst, prefix_len);

    if (iface < 0 || (uint32_t)iface >= net->n_ifaces || len < 0)
        return -EINVAL;
    if (net->n_routes == UST_MAX_ROUTES)
        return -ENOSPC;
    net->routes[net->n_routes++] = (struct route){
        .dst = *dst, .gateway = *gateway, .prefix_len = (uint8_t)len, .iface = (uint8_t)iface};
    net->epoch++;
    return 0;
}

struct ifaddr *net_own(struct net *net, const struct ust_addr *a)
{
    for (uint32_t i = 0; i < net->n_addrs; i++)
        if (addr_same(&net->addrs[i].addr, a))
            return &net->addrs[i];
    return NULL;
}

bool net_is_group(const struct net *net, const struct ust_addr *a)
{
    uint32_t v4 = get32(v4_bytes(a));

    if (!addr_is_v4(a))
        return a->b[0] == 0xff;
    if (v4 >> 28 == 0xe || v4 == UINT32_MAX)
        return true;
    for (uint32_t i = 0; i < net->n_addrs; i++)
        if (net->addrs[i].broadcast == v4 && v4 != 0)
            return true;
    return false;
}

bool net_route(const struct net *net, const struct ust_addr *dst, int *iface,
               struct ust_addr *next_hop)
{
    int best = -1;

    for (uint32_t i = 0; i < net->n_addrs; i++) {
        const struct ifaddr *ifa = &net->addrs[i];

        if (ifa->prefix_len > best && prefix_match(&ifa->addr, dst, ifa->prefix_len)) {
            best = ifa->prefix_len;
            *iface = ifa->iface;
            *next_hop = *dst;
        }
    }
    for (uint32_t i = 0; i < net->n_routes; i++) {
        const struct route *r = &net->routes[i];

        if (r->prefix_len > best && prefix_match(&r->dst, dst, r->prefix_len)) {
            best = r->prefix_len;
            *iface = r->iface;
            *next_hop = addr_is_any(&r->gateway) ? *dst : r->gateway;
        }
    }
    return best >= 0;
}

const struct ust_addr *net_source(const struct net *net, const struct ust_addr *dst)
{
    const struct ust_addr *any_on_iface = NULL;
    struct ust_addr next_hop;
    int iface;

    if (!net_route(net, dst, &iface, &next_hop))
        return NULL;
    for (uint32_t i = 0; i < net->n_addrs; i++) {
        const struct ifaddr *ifa = &net->addrs[i];

        if (ifa->iface != iface || addr_is_v4(&ifa->addr) != addr_is_v4(dst))
            continue;
        if (prefix_match(&ifa->addr, &next_hop, ifa->prefix_len))
            return &ifa->addr;
        if (!any_on_iface)
            any_on_iface = &ifa->addr;
    }
    return any_on_iface;
}

uint32_t net_mtu(const struct net *net, const struct ust_addr *dst)
{
    struct ust_addr next_hop;
    int iface;

    if (!net_route(net, dst, &iface, &next_hop))
        return 0;
    return net->ifaces[iface].mtu;
}
