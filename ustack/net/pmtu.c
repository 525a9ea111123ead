/* SPDX-License-Identifier: BSD-3-Clause */
/* Path MTU (RFC 1191, RFC 8201): what routers said, by destination. An entry
 * lives ip.mtu_expires_ms, then the path is tried larger again. The table is
 * bounded; the oldest entry goes first.
 *
 * Whether a message may be believed is for the flow to say that it quotes;
 * here it is only kept within reason: never above the interface's MTU, never
 * below ip.min_pmtu; less than 1280 for IPv6 is not believed.                                      */
#include "net.h"

enum { NONE = 0xffffffff };

void pmtu_init(struct net *net)
{
    net->pmtu_free = net->pmtu_oldest = net->pmtu_newest = NONE;
    for (uint32_t i = net->n_pmtus; i-- > 0;) {
        net->pmtus[i].next = net->pmtu_free;
        net->pmtu_free = i;
    }
}

static uint32_t hash(const struct net *net, const struct ust_addr *dst)
{
    return (uint32_t)siphash13(&net->core.key_flow, dst, sizeof *dst);
}

static struct pmtu *find(const struct net *net, const struct ust_addr *dst)
{
    uint32_t h, i;

    if (net->pmtus_used == 0)
        return NULL;
    h = hash(net, dst);
    for (i = flowtable_first(&net->pmtu_table, h); i != FLOWTABLE_NONE;
         i = flowtable_next(&net->pmtu_table, h, i)) {
        struct pmtu *e = &net->pmtus[net->pmtu_table.slots[i].value];

        if (addr_same(&e->dst, dst))
            return e;
    }
    return NULL;
}

static void unlink_entry(struct net *net, struct pmtu *e)
{
    if (e->prev == NONE)
        net->pmtu_oldest = e->next;
    else
        net->pmtus[e->prev].next = e->next;
    if (e->next == NONE)
        net->pmtu_newest = e->prev;
    else
        net->pmtus[e->next].prev = e->prev;
}

static void append(struct net *net, struct pmtu *e)
{
    e->next = NONE;
    e->prev = net->pmtu_newest;
    if (net->pmtu_newest == NONE)
        net->pmtu_oldest = (uint32_t)(e - net->pmtus);
    else
        net->pmtus[net->pmtu_newest].next = (uint32_t)(e - net->pmtus);
    net->pmtu_newest = (uint32_t)(e - net->pmtus);
}

static void forget(struct net *net, struct pmtu *e)
{
    uint32_t i = (uint32_t)(e - net->pmtus);

    flowtable_remove(&net->pmtu_table, hash(net, &e->dst), i);
    wheel_cancel(&net->core.wheel, net->pmtu_timers + i);
    unlink_entry(net, e);
    e->next = net->pmtu_free;
    net->pmtu_free = i;
    net->pmtus_used--;
    net->mtu_epoch++;
}

static struct pmtu *make(struct net *net, const struct ust_addr *dst)
{
    struct pmtu *e;

    if (net->pmtu_free == NONE)
        forget(net, &net->pmtus[net->pmtu_oldest]);
    e = &net->pmtus[net->pmtu_free];
    net->pmtu_free = e->next;
    net->pmtus_used++;
    e->dst = *dst;
    append(net, e);
    flowtable_insert(&net->pmtu_table, hash(net, dst), (uint32_t)(e - net->pmtus));
    return e;
}

void pmtu_timer(struct net *net, uint32_t i)
{
    count(&net->core, C_PMTU_EXPIRED);
    forget(net, &net->pmtus[i]);
}

uint32_t net_link_mtu(const struct net *net, const struct ust_addr *dst)
{
    const struct neigh *n = net_way(net, dst);
    struct ust_addr next_hop;
    int iface;

    if (n)
        iface = n->iface;
    else if (!net_route(net, dst, &iface, &next_hop))
        return 0;
    return iface_mtu(&net->ifaces[iface], addr_is_v4(dst));
}

uint32_t net_path_mtu(const struct net *net, const struct ust_addr *dst)
{
    uint32_t link = net_link_mtu(net, dst);
    const struct pmtu *e = find(net, dst);

    return e && e->mtu < link ? e->mtu : link;
}

bool pmtu_learn(struct net *net, const struct ust_addr *dst, uint32_t mtu)
{
    uint32_t floor = (uint32_t)net->core.set.ip_min_pmtu;
    struct pmtu *e;

    if (!addr_is_v4(dst) && mtu < IPV6_MIN_MTU)
        return false; /* RFC 8201 4: no IPv6 link is so narrow */
    if (addr_is_v4(dst) && mtu < floor)
        mtu = floor;
    if (mtu >= net_path_mtu(net, dst))
        return false;
    e = find(net, dst);
    if (!e)
        e = make(net, dst);
    e->mtu = mtu;
    unlink_entry(net, e);
    append(net, e);
    wheel_set(&net->core.wheel, net->pmtu_timers + (uint32_t)(e - net->pmtus),
              net->core.now + ms(net->core.set.ip_pmtu_expires_ms));
    net->mtu_epoch++;
    count(&net->core, C_PMTU_LOWERED);
    return true;
}
