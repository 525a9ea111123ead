/* SPDX-License-Identifier: BSD-3-Clause */
/* Interfaces and addresses: small arrays, searched in order. */
#include "net.h"

#include <errno.h>

#include "spread.h"

enum { V4_PREFIX = 96 };

/* Prefix lengths inside count from the first of 16 bytes; -EINVAL. */
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
    net->epoch = net->mtu_epoch = 1;
    mbuf_queue_init(&net->outq);
    loop_init(net);
    mbuf_queue_init(&net->foreignq);
    spread_init(net);
    neigh_init(net);
    pmtu_init(net);
    fragment_init(net);
}

void net_timer(struct net *net, uint32_t id)
{
    if (id >= net->iface_timers)
        nd_iface_timer(net, (int)(id - net->iface_timers));
    else if (id >= net->addr_timers)
        nd_addr_timer(net, &net->addrs[id - net->addr_timers]);
    else if (id >= net->frag_timers)
        fragment_timer(net, id - net->frag_timers);
    else if (id >= net->pmtu_timers)
        pmtu_timer(net, id - net->pmtu_timers);
    else
        neigh_timer(net, id - net->neigh_timers);
}

int net_add_iface(struct net *net, const uint8_t mac[6], uint32_t mtu, uint32_t caps)
{
    struct iface *ifc = &net->ifaces[net->n_ifaces];

    if (net->n_ifaces == UST_MAX_IFACES)
        return -ENOSPC;
    if (mtu < 68 || mtu > 65535 || (mac[0] & 1))
        return -EINVAL;
    *ifc = (struct iface){.mtu = mtu, .caps = caps};
    memcpy(ifc->mac, mac, 6);
    net->caps = net->n_ifaces ? net->caps & caps : caps;
    return (int)net->n_ifaces++;
}

/* Of a loopback network every address is ours, of others the one; an entry that is
 * not IPv4 stands for 255.255.255.255, which never is. */
static void set_v4(struct ifaddr *ifa)
{
    bool v4 = addr_is_v4(&ifa->addr);
    int host_bits = v4 && ifa->iface == IFACE_LOOP ? 128 - ifa->prefix_len : 0;

    ifa->v4 = v4 ? get32(v4_bytes(&ifa->addr)) : UINT32_MAX;
    ifa->v4_mask = host_bits < 32 ? UINT32_MAX << host_bits : 0;
}

struct ifaddr *net_new_addr(struct net *net, int iface, const struct ust_addr *addr,
                            unsigned mapped_len)
{
    struct ifaddr *ifa = &net->addrs[net->n_addrs];

    if (net->n_addrs == UST_MAX_ADDRS)
        return NULL;
    *ifa = (struct ifaddr){.addr = *addr,
                           .prefix_len = (uint8_t)mapped_len,
                           .iface = (uint8_t)iface,
                           .broadcast =
                               iface == IFACE_LOOP ? 0 : directed_broadcast(addr, (int)mapped_len),
                           .on_link = true,
                           .preferred_until = UINT64_MAX,
                           .valid_until = UINT64_MAX};
    set_v4(ifa);
    net->n_addrs++;
    net->epoch++;
    return ifa;
}

int net_add_addr(struct net *net, int iface, const struct ust_addr *addr, unsigned prefix_len)
{
    int len = mapped_prefix(addr, prefix_len);
    struct ifaddr *ifa;

    if (iface < 0 || (uint32_t)iface >= net->n_ifaces || len < 0 || addr_is_any(addr) ||
        net_is_group(net, addr))
        return -EINVAL;
    if (!addr_is_v4(addr) && net->ifaces[iface].mtu < IPV6_MIN_MTU)
        return -EMSGSIZE; /* RFC 8200 5 */
    if (net_find_addr(net, addr))
        return -EEXIST;
    if (!addr_is_v4(addr))
        nd_enable(net, iface);
    ifa = net_new_addr(net, iface, addr, (unsigned)len);
    if (!ifa)
        return -ENOSPC;
    if (!addr_is_v4(addr))
        nd_probe_addr(net, ifa);
    else if (net->core.set.arp_announce)
        arp_announce(net, ifa);
    return 0;
}

/* The timers of addresses go by their place: the last one moves into the gap. */
void net_drop_addr(struct net *net, struct ifaddr *ifa)
{
    struct wheel *w = &net->core.wheel;
    uint32_t i = (uint32_t)(ifa - net->addrs), last = --net->n_addrs;
    ust_time moved = w->nodes[net->addr_timers + last].deadline;

    wheel_cancel(w, net->addr_timers + i);
    wheel_cancel(w, net->addr_timers + last);
    if (i != last) {
        *ifa = net->addrs[last];
        wheel_set(w, net->addr_timers + i, moved);
    }
    net->epoch++;
}

int net_del_addr(struct net *net, const struct ust_addr *addr)
{
    struct ifaddr *ifa = net_find_addr(net, addr);

    if (!ifa)
        return -EADDRNOTAVAIL;
    net_drop_addr(net, ifa);
    return 0;
}

struct ifaddr *net_find_addr(const struct net *net, const struct ust_addr *a)
{
    for (uint32_t i = 0; i < net->n_addrs; i++)
        if (addr_same(&net->addrs[i].addr, a))
            return (struct ifaddr *)&net->addrs[i];
    return NULL;
}

/* As in Linux, all of a loopback address's network is ours. */
bool net_own(const struct net *net, const struct ust_addr *a)
{
    for (uint32_t i = 0; i < net->n_addrs; i++) {
        const struct ifaddr *ifa = &net->addrs[i];

        if (addr_same(&ifa->addr, a))
            return !ifa->tentative;
        if (ifa->iface == IFACE_LOOP && prefix_match(&ifa->addr, a, ifa->prefix_len))
            return true;
    }
    return false;
}

bool net_is_group(const struct net *net, const struct ust_addr *a)
{
    return addr_is_v4(a) ? net_v4_kind(net, get32(v4_bytes(a))).group : a->b[0] == 0xff;
}

/* ------------------------------------------------------- the list of routes */

static void drop_route(struct net *net, struct route *r)
{
    *r = net->routes[--net->n_routes];
    net->epoch++;
}

static int add_route(struct net *net, const struct route *new)
{
    if (net->n_routes == UST_MAX_ROUTES)
        return -ENOSPC;
    net->routes[net->n_routes++] = *new;
    net->epoch++;
    return 0;
}

static struct route *find_route(struct net *net, const struct ust_addr *dst, unsigned mapped_len,
                                const struct ust_addr *gateway)
{
    for (uint32_t i = 0; i < net->n_routes; i++) {
        struct route *r = &net->routes[i];

        if (r->prefix_len == mapped_len && prefix_match(&r->dst, dst, mapped_len) &&
            (addr_is_any(gateway) || addr_same(&r->gateway, gateway)))
            return r;
    }
    return NULL;
}

int net_add_route(struct net *net, int iface, const struct ust_addr *dst, unsigned prefix_len,
                  const struct ust_addr *gateway)
{
    int len = mapped_prefix(dst, prefix_len);

    if (iface < 0 || (uint32_t)iface >= net->n_ifaces || len < 0)
        return -EINVAL;
    return add_route(net, &(struct route){.dst = *dst,
                                          .gateway = *gateway,
                                          .prefix_len = (uint8_t)len,
                                          .iface = (uint8_t)iface,
                                          .valid_until = UINT64_MAX});
}

int net_del_route(struct net *net, const struct ust_addr *dst, unsigned prefix_len,
                  const struct ust_addr *gateway)
{
    int len = mapped_prefix(dst, prefix_len);
    struct route *r = len < 0 ? NULL : find_route(net, dst, (unsigned)len, gateway);

    if (len < 0)
        return len;
    if (!r)
        return -ESRCH;
    drop_route(net, r);
    return 0;
}

/* Routes from advertisements live apart from those that were configured, and
 * leave them half of the table. Old ones are forgotten here. */
static struct route *find_learned(struct net *net, const struct route *like)
{
    struct route *found = NULL;

    for (uint32_t i = net->n_routes; i-- > 0;)
        if (net->routes[i].valid_until <= net->core.now)
            drop_route(net, &net->routes[i]);
    for (uint32_t i = 0; i < net->n_routes; i++) {
        struct route *r = &net->routes[i];

        if (r->learned && r->iface == like->iface && r->prefix_len == like->prefix_len &&
            addr_same(&r->dst, &like->dst) && addr_same(&r->gateway, &like->gateway))
            found = r;
    }
    return found;
}

static uint32_t count_learned(const struct net *net)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < net->n_routes; i++)
        n += net->routes[i].learned;
    return n;
}

static void set_route(struct net *net, int iface, const struct ust_addr *dst, unsigned len,
                      const struct ust_addr *gateway, ust_time until)
{
    struct route new = {.dst = *dst,
                        .gateway = *gateway,
                        .prefix_len = (uint8_t)len,
                        .iface = (uint8_t)iface,
                        .learned = true,
                        .valid_until = until};
    struct route *r = find_learned(net, &new);

    if (r && until <= net->core.now)
        drop_route(net, r);
    else if (r) {
        net->epoch += until < r->valid_until; /* what was remembered lasts too long */
        r->valid_until = until;
    } else if (until > net->core.now && count_learned(net) < UST_MAX_ROUTES / 2)
        add_route(net, &new);
}

void net_router(struct net *net, int iface, const struct ust_addr *gateway, ust_time until)
{
    static const struct ust_addr any;

    set_route(net, iface, &any, 0, gateway, until);
}

void net_on_link(struct net *net, int iface, const struct ust_addr *prefix, unsigned len,
                 ust_time until)
{
    static const struct ust_addr none;

    set_route(net, iface, prefix, len, &none, until);
}
