/* SPDX-License-Identifier: BSD-3-Clause */
/* The neighbour table: who has which MAC, and who is waiting to know.
 *
 *   (none) -- packet --> INCOMPLETE -- answer --> REACHABLE
 *                            |                     |    ^
 *                       no answer           old, used   | answer
 *                            v                     v    |
 *                         FAILED <-- no answer --  PROBE
 *
 * REACHABLE turns stale by the clock alone: an entry older than
 * arp.reachable_ms is used once more and asked again by unicast. An entry not
 * used for arp.stale_ms is forgotten.
 *
 *  N1  an entry is free, or in the hash and in the LRU list
 *  N2  only an INCOMPLETE entry has packets pending, at most arp.pending
 *  N3  requests for one neighbour are at least arp.retrans_ms apart
 *
 * When the table is full the least recently used entry goes, unless it is
 * permanent.                                                                */
#include <errno.h>

#include "net.h"

enum { NONE = 0xffffffff };

/* The LRU list is touched at most this often for one entry. */
static const ust_time lru_grain = 100 * NS_PER_MS;

static uint32_t neigh_hash(const struct net *net, int iface, const struct ust_addr *addr)
{
    return (uint32_t)siphash13(&net->core.key_flow, addr, sizeof *addr) + (uint32_t)iface;
}

static uint32_t neigh_index(const struct net *net, const struct neigh *n)
{
    return (uint32_t)(n - net->neighs);
}

void neigh_init(struct net *net)
{
    net->neigh_lru = net->neigh_mru = NONE;
    net->neigh_free = NONE;
    for (uint32_t i = net->n_neighs; i-- > 0;) {
        net->neighs[i].next = net->neigh_free;
        net->neigh_free = i;
    }
}

static void lru_unlink(struct net *net, struct neigh *n)
{
    if (n->prev == NONE)
        net->neigh_lru = n->next;
    else
        net->neighs[n->prev].next = n->next;
    if (n->next == NONE)
        net->neigh_mru = n->prev;
    else
        net->neighs[n->next].prev = n->prev;
}

static void lru_append(struct net *net, struct neigh *n)
{
    n->next = NONE;
    n->prev = net->neigh_mru;
    if (net->neigh_mru == NONE)
        net->neigh_lru = neigh_index(net, n);
    else
        net->neighs[net->neigh_mru].next = neigh_index(net, n);
    net->neigh_mru = neigh_index(net, n);
}

static void drop_pending(struct net *net, struct neigh *n)
{
    struct mbuf *m;

    while ((m = mbuf_dequeue(&net->core.pool, &n->pending)))
        net_drop(net, m, C_NEIGH_DROP_FAILED);
}

static void neigh_forget(struct net *net, struct neigh *n)
{
    uint32_t i = neigh_index(net, n);

    drop_pending(net, n);
    lru_unlink(net, n);
    flowtable_remove(&net->neigh_table, neigh_hash(net, n->iface, &n->addr), i);
    wheel_cancel(&net->core.wheel, net->neigh_timers + i);
    n->state = NEIGH_FREE;
    n->next = net->neigh_free;
    net->neigh_free = i;
    net->neighs_used--;
    net->epoch++;
}

struct neigh *neigh_find(struct net *net, int iface, const struct ust_addr *addr)
{
    uint32_t hash = neigh_hash(net, iface, addr);
    uint32_t i;

    for (i = flowtable_first(&net->neigh_table, hash); i != FLOWTABLE_NONE;
         i = flowtable_next(&net->neigh_table, hash, i)) {
        struct neigh *n = &net->neighs[net->neigh_table.slots[i].value];

        if (n->iface == iface && addr_same(&n->addr, addr))
            return n;
    }
    return NULL;
}

/* Makes room by forgetting the entry that was used longest ago. */
static bool evict(struct net *net)
{
    for (uint32_t i = net->neigh_lru; i != NONE; i = net->neighs[i].next) {
        if (net->neighs[i].state == NEIGH_PERMANENT)
            continue;
        count(&net->core, C_ARP_EVICTED);
        neigh_forget(net, &net->neighs[i]);
        return true;
    }
    count(&net->core, C_ARP_FULL);
    return false;
}

struct neigh *neigh_get(struct net *net, int iface, const struct ust_addr *addr)
{
    struct neigh *n = neigh_find(net, iface, addr);
    uint32_t i;

    if (n)
        return n;
    if (fault_hits(&net->core.faults) || (net->neigh_free == NONE && !evict(net)))
        return NULL;
    i = net->neigh_free;
    n = &net->neighs[i];
    net->neigh_free = n->next;
    net->neighs_used++;
    *n = (struct neigh){
        .addr = *addr, .iface = (uint8_t)iface, .state = NEIGH_INCOMPLETE, .used = net->core.now};
    mbuf_queue_init(&n->pending);
    lru_append(net, n);
    flowtable_insert(&net->neigh_table, neigh_hash(net, iface, addr), i);
    return n;
}

static void set_timer(struct net *net, struct neigh *n, ust_time deadline)
{
    wheel_set(&net->core.wheel, net->neigh_timers + neigh_index(net, n), deadline);
}

void neigh_confirm(struct net *net, struct neigh *n, const uint8_t mac[6])
{
    struct core *core = &net->core;
    struct mbuf *m;

    if (n->state == NEIGH_PERMANENT)
        return;
    memcpy(n->mac, mac, 6);
    n->state = NEIGH_REACHABLE;
    n->confirmed = n->used = core->now;
    n->probes = 0;
    set_timer(net, n, core->now + ms(core->set.arp_reachable_ms));
    while ((m = mbuf_dequeue(&core->pool, &n->pending)))
        eth_output(net, m, n->iface, n->mac, ETHERTYPE_IPV4);
}

int neigh_add_permanent(struct net *net, int iface, const struct ust_addr *addr,
                        const uint8_t mac[6])
{
    struct neigh *n;

    if (iface < 0 || (uint32_t)iface >= net->n_ifaces || (mac[0] & 1))
        return -EINVAL;
    n = neigh_get(net, iface, addr);
    if (!n)
        return -ENOSPC;
    neigh_confirm(net, n, mac);
    n->state = NEIGH_PERMANENT;
    wheel_cancel(&net->core.wheel, net->neigh_timers + neigh_index(net, n));
    return 0;
}

static void ask(struct net *net, struct neigh *n)
{
    n->probes++;
    arp_request(net, n->iface, &n->addr, n->state == NEIGH_PROBE ? n->mac : NULL);
    set_timer(net, n, net->core.now + ms(net->core.set.arp_retrans_ms));
}

static void park(struct net *net, struct neigh *n, struct mbuf *m)
{
    if (n->pending.count >= (uint64_t)net->core.set.arp_pending)
        net_drop(net, mbuf_dequeue(&net->core.pool, &n->pending), C_NEIGH_DROP_PENDING);
    mbuf_enqueue(&net->core.pool, &n->pending, m);
    if (n->probes == 0)
        ask(net, n);
}

static void touch(struct net *net, struct neigh *n)
{
    if (net->core.now - n->used < lru_grain)
        return;
    n->used = net->core.now;
    lru_unlink(net, n);
    lru_append(net, n);
}

void neigh_output(struct net *net, struct neigh *n, struct mbuf *m)
{
    struct core *core = &net->core;

    touch(net, n);
    switch (n->state) {
    case NEIGH_INCOMPLETE: return park(net, n, m);
    case NEIGH_FAILED: return net_drop(net, m, C_NEIGH_DROP_FAILED);
    case NEIGH_REACHABLE:
        if (core->now - n->confirmed < ms(core->set.arp_reachable_ms))
            break;
        n->state = NEIGH_PROBE;
        ask(net, n);
        break;
    }
    eth_output(net, m, n->iface, n->mac, ETHERTYPE_IPV4);
}

/* An asked neighbour has not answered for arp.retrans_ms. */
static void no_answer(struct net *net, struct neigh *n)
{
    struct core *core = &net->core;

    if (n->probes < core->set.arp_probes) {
        ask(net, n);
        return;
    }
    count(core, C_ARP_FAILED);
    drop_pending(net, n);
    n->state = NEIGH_FAILED;
    set_timer(net, n, core->now + ms(core->set.arp_retrans_ms));
}

void neigh_timer(struct net *net, uint32_t i)
{
    struct neigh *n = &net->neighs[i];
    ust_time forget_at = n->used + ms(net->core.set.arp_stale_ms);

    if (n->state == NEIGH_INCOMPLETE || n->state == NEIGH_PROBE)
        no_answer(net, n);
    else if (n->state == NEIGH_FAILED || forget_at <= net->core.now)
        neigh_forget(net, n);
    else
        set_timer(net, n, forget_at);
}
