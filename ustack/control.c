/* SPDX-License-Identifier: BSD-3-Clause */
/* Interfaces, addresses, routes and neighbours of an engine: given, taken back
 * and listed while it runs.                                                 */
#include <errno.h>

#include "engine.h"

enum { V4_PREFIX = 96 };

int ust_engine_add_iface(struct ust_engine *eng, const uint8_t mac[6], uint32_t mtu, uint32_t caps)
{
    return net_add_iface(&eng->tcp.net, mac, mtu, caps);
}

int ust_engine_add_addr(struct ust_engine *eng, int iface, const struct ust_addr *addr,
                        unsigned prefix_len)
{
    return net_add_addr(&eng->tcp.net, iface, addr, prefix_len);
}

int ust_engine_add_route(struct ust_engine *eng, int iface, const struct ust_addr *dst,
                         unsigned prefix_len, const struct ust_addr *gateway)
{
    return net_add_route(&eng->tcp.net, iface, dst, prefix_len, gateway);
}

int ust_engine_add_neigh(struct ust_engine *eng, int iface, const struct ust_addr *addr,
                         const uint8_t mac[6])
{
    return neigh_add_permanent(&eng->tcp.net, iface, addr, mac);
}

int ust_engine_del_addr(struct ust_engine *eng, const struct ust_addr *addr)
{
    return net_del_addr(&eng->tcp.net, addr);
}

int ust_engine_del_route(struct ust_engine *eng, const struct ust_addr *dst, unsigned prefix_len,
                         const struct ust_addr *gateway)
{
    return net_del_route(&eng->tcp.net, dst, prefix_len, gateway);
}

int ust_engine_del_neigh(struct ust_engine *eng, int iface, const struct ust_addr *addr)
{
    return neigh_del(&eng->tcp.net, iface, addr);
}

int ust_engine_enable_ipv6(struct ust_engine *eng, int iface)
{
    struct net *net = &eng->tcp.net;

    if (iface < 0 || (uint32_t)iface >= net->n_ifaces)
        return -EINVAL;
    if (net->ifaces[iface].mtu < IPV6_MIN_MTU)
        return -EMSGSIZE;
    nd_enable(net, iface);
    return 0;
}

int ust_engine_enable_loopback(struct ust_engine *eng)
{
    return loop_enable(&eng->tcp.net);
}

int ust_engine_owns(const struct ust_engine *eng, const struct ust_addr *addr)
{
    return net_own(&eng->tcp.net, addr);
}

uint32_t ust_engine_path_mtu(const struct ust_engine *eng, const struct ust_addr *dst)
{
    return net_path_mtu(&eng->tcp.net, dst);
}

/* ------------------------------------------------------- lists */

static uint8_t shown_prefix(const struct ust_addr *a, uint8_t len)
{
    return addr_is_v4(a) ? (uint8_t)(len - V4_PREFIX) : len;
}

int ust_engine_addr(const struct ust_engine *eng, unsigned i, struct ust_addr_row *row)
{
    const struct net *net = &eng->tcp.net;
    const struct ifaddr *ifa = &net->addrs[i];

    if (i >= net->n_addrs)
        return -ENOENT;
    *row = (struct ust_addr_row){.addr = ifa->addr,
                                 .prefix_len = shown_prefix(&ifa->addr, ifa->prefix_len),
                                 .iface = ifa->iface,
                                 .valid_until = ifa->valid_until};
    if (ifa->tentative)
        row->flags |= UST_ADDR_TENTATIVE;
    if (ifa->automatic)
        row->flags |= UST_ADDR_AUTO;
    return 0;
}

int ust_engine_route(const struct ust_engine *eng, unsigned i, struct ust_route_row *row)
{
    const struct net *net = &eng->tcp.net;
    const struct route *r = &net->routes[i];

    if (i >= net->n_routes)
        return -ENOENT;
    *row = (struct ust_route_row){.dst = r->dst,
                                  .gateway = r->gateway,
                                  .prefix_len = shown_prefix(&r->dst, r->prefix_len),
                                  .iface = r->iface,
                                  .valid_until = r->valid_until};
    return 0;
}

int ust_engine_neigh(const struct ust_engine *eng, unsigned i, struct ust_neigh_row *row)
{
    const struct net *net = &eng->tcp.net;
    const struct neigh *n;
    bool passing = i < net->neighs_passing;
    uint32_t at = net->neigh_lru[!passing];

    if (i >= net->neighs_used)
        return -ENOENT;
    for (i -= passing ? 0 : net->neighs_passing; i > 0; i--)
        at = net->neighs[at].next;
    n = &net->neighs[at];
    *row = (struct ust_neigh_row){
        .addr = n->addr, .state = n->state, .iface = n->iface, .pending = n->pending.count};
    memcpy(row->mac, n->mac, 6);
    return 0;
}

const char *ust_neigh_state_name(unsigned state)
{
    static const char *const names[] = {"FREE",  "INCOMPLETE", "REACHABLE", "STALE",
                                        "DELAY", "PROBE",      "FAILED",    "PERMANENT"};

    return state < sizeof names / sizeof *names ? names[state] : NULL;
}
