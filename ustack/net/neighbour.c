/* SPDX-License-Identifier: BSD-3-Clause */
/* The neighbour table of ARP and ND: who has which MAC, and who is waiting to
 * know. States and names are RFC 4861's (7.3.2), for both protocols.
 *
 *   (none) -- packet --> INCOMPLETE -- answer --> REACHABLE <------- answer
 *                            |                        |  (old)          |
 *                        no answer                  STALE -- use --> DELAY
 *                            v                                          | neigh.delay_ms
 *                         FAILED <------------ no answer ------------ PROBE
 *
 * REACHABLE turns stale by the clock alone. While a stale entry is in use its
 * MAC is used on; upper layers may confirm it (neigh_progress()), else it is
 * asked by unicast. An entry not used for neigh.stale_ms is forgotten.
 *
 *  N1  an entry is free, or in the hash and in one LRU list
 *  N2  only an INCOMPLETE entry has packets pending: at most neigh.pending, and
 *      neigh.pending_all in the whole table
 *  N3  requests for one neighbour are at least neigh.retrans_ms apart
 *
 * When the table is full the least recently used entry goes, unless it is
 * permanent. There are two lists of them: hosts that pass by, which is all that
 * a stranger can make of itself by speaking to us, and those that are kept:
 * they have answered us, or a connection of ours uses them. While a quarter of
 * the table passes by, none of the kept ones goes.                          */
#include <errno.h>

#include "net.h"

enum { NONE = 0xffffffff };

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
    for (int kept = 0; kept < 2; kept++)
        net->neigh_lru[kept] = net->neigh_mru[kept] = NONE;
    net->neigh_free = NONE;
    for (uint32_t i = net->n_neighs; i-- > 0;) {
        net->neighs[i].next = net->neigh_free;
        net->neigh_free = i;
    }
}

static void set_timer(struct net *net, struct neigh *n, ust_time deadline)
{
    wheel_set(&net->core.wheel, net->neigh_timers + neigh_index(net, n), deadline);
}

static void lru_unlink(struct net *net, struct neigh *n)
{
    if (n->prev == NONE)
        net->neigh_lru[n->kept] = n->next;
    else
        net->neighs[n->prev].next = n->next;
    if (n->next == NONE)
        net->neigh_mru[n->kept] = n->prev;
    else
        net->neighs[n->next].prev = n->prev;
    net->neighs_passing -= !n->kept;
}

static void lru_append(struct net *net, struct neigh *n)
{
    uint32_t *mru = &net->neigh_mru[n->kept];

    n->next = NONE;
    n->prev = *mru;
    if (*mru == NONE)
        net->neigh_lru[n->kept] = neigh_index(net, n);
    else
        net->neighs[*mru].next = neigh_index(net, n);
    *mru = neigh_index(net, n);
    net->neighs_passing += !n->kept;
}

void neigh_keep(struct net *net, struct neigh *n)
{
    if (n->kept)
        return;
    lru_unlink(net, n);
    n->kept = true;
    lru_append(net, n);
}

static struct mbuf *take_pending(struct net *net, struct neigh *n)
{
    struct mbuf *m = mbuf_dequeue(&net->core.pool, &n->pending);

    net->neigh_pending -= m != NULL;
    return m;
}

static void drop_pending(struct net *net, struct neigh *n)
{
    struct mbuf *m;

    while ((m = take_pending(net, n)))
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

/* The least recently used entry of a list, those for ever apart; or NONE. */
static uint32_t oldest(const struct net *net, bool kept)
{
    uint32_t i = net->neigh_lru[kept];

    while (i != NONE && net->neighs[i].state == NEIGH_PERMANENT)
        i = net->neighs[i].next;
    return i;
}

/* Makes room by forgetting an entry that was used long ago. */
static bool evict(struct net *net)
{
    bool kept = net->neighs_passing <= net->n_neighs / 4;
    uint32_t i = oldest(net, kept);

    if (i == NONE)
        i = oldest(net, !kept);
    if (i == NONE) {
        count(&net->core, C_NEIGH_FULL);
        return false;
    }
    count(&net->core, C_NEIGH_EVICTED);
    neigh_forget(net, &net->neighs[i]);
    return true;
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
    set_timer(net, n, net->core.now + ms(net->core.set.neigh_retrans_ms));
    return n;
}

static void send_to(struct net *net, struct neigh *n, struct mbuf *m)
{
    eth_output(net, m, n->iface, n->mac, addr_is_v4(&n->addr) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
}

/* The MAC is known now: those who wait may go. */
static void resolved(struct net *net, struct neigh *n, const uint8_t mac[6], enum neigh_state to)
{
    struct mbuf *m;

    memcpy(n->mac, mac, 6);
    n->state = (uint8_t)to;
    n->probes = 0;
    n->used = net->core.now;
    set_timer(net, n, net->core.now + ms(net->core.set.neigh_reachable_ms));
    while ((m = take_pending(net, n)))
        send_to(net, n, m);
}

void neigh_confirm(struct net *net, struct neigh *n, const uint8_t mac[6])
{
    if (n->state == NEIGH_PERMANENT)
        return;
    n->confirmed = net->core.now;
    neigh_keep(net, n);
    resolved(net, n, mac, NEIGH_REACHABLE);
}

void neigh_learn(struct net *net, struct neigh *n, const uint8_t mac[6])
{
    bool news =
        n->state == NEIGH_INCOMPLETE || n->state == NEIGH_FAILED || memcmp(n->mac, mac, 6) != 0;

    if (n->state != NEIGH_PERMANENT && news)
        resolved(net, n, mac, NEIGH_STALE);
}

void neigh_progress(struct net *net, const struct ip_dst *dst)
{
    struct neigh *n = &net->neighs[dst->neigh];

    if (dst->epoch != net->epoch || n->state == NEIGH_PERMANENT || n->state == NEIGH_INCOMPLETE ||
        n->state == NEIGH_FAILED)
        return;
    n->state = NEIGH_REACHABLE;
    n->confirmed = net->core.now;
    n->probes = 0;
}

void neigh_doubt(struct net *net, const struct ip_dst *dst)
{
    struct neigh *n = &net->neighs[dst->neigh];

    if (dst->epoch == net->epoch && n->state == NEIGH_REACHABLE)
        n->state = NEIGH_STALE;
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

int neigh_del(struct net *net, int iface, const struct ust_addr *addr)
{
    struct neigh *n = neigh_find(net, iface, addr);

    if (!n)
        return -ENOENT;
    neigh_forget(net, n);
    return 0;
}

static void ask(struct net *net, struct neigh *n)
{
    const uint8_t *mac = n->state == NEIGH_PROBE ? n->mac : NULL;

    n->probes++;
    if (addr_is_v4(&n->addr))
        arp_request(net, n->iface, &n->addr, mac);
    else
        nd_solicit(net, n->iface, &n->addr, mac);
    set_timer(net, n, net->core.now + ms(net->core.set.neigh_retrans_ms));
}

static void park(struct net *net, struct neigh *n, struct mbuf *m)
{
    const struct settings *set = &net->core.set;

    if (n->pending.count >= (uint64_t)set->neigh_pending)
        net_drop(net, take_pending(net, n), C_NEIGH_DROP_PENDING);
    if (net->neigh_pending >= (uint64_t)set->neigh_pending_all) {
        net_drop(net, m, C_NEIGH_DROP_PENDING);
    } else {
        mbuf_enqueue(&net->core.pool, &n->pending, m);
        net->neigh_pending++;
    }
    if (n->probes == 0)
        ask(net, n);
}

static void touch(struct net *net, struct neigh *n)
{
    if (net->core.now - n->used < NEIGH_LRU_GRAIN)
        return;
    n->used = net->core.now;
    lru_unlink(net, n);
    lru_append(net, n);
}

static bool confirmed_lately(const struct net *net, const struct neigh *n)
{
    return net->core.now - n->confirmed < ms(net->core.set.neigh_reachable_ms);
}

void neigh_output(struct net *net, struct neigh *n, struct mbuf *m)
{
    if (n->iface == IFACE_LOOP)
        return send_to(net, n, m);
    touch(net, n);
    switch (n->state) {
    case NEIGH_INCOMPLETE: return park(net, n, m);
    case NEIGH_FAILED: return net_drop(net, m, C_NEIGH_DROP_FAILED);
    case NEIGH_REACHABLE:
        if (confirmed_lately(net, n))
            break;
        /* fall through */
    case NEIGH_STALE:
        n->state = NEIGH_DELAY;
        set_timer(net, n, net->core.now + ms(net->core.set.neigh_delay_ms));
        break;
    }
    send_to(net, n, m);
}

/* Nobody is there for m, an IP packet of ours: whoever sent it hears what an
 * ICMP host unreachable would say, as in Linux. */
static void tell_sender(struct net *net, const struct mbuf *m)
{
    const uint8_t *ip = mbuf_data(&net->core.pool, m), *l4 = ip + m->l4_off;
    const struct ip_error e = {EHOSTUNREACH, true, 0};
    bool v4 = ip[0] >> 4 == 4;
    struct ust_addr src = v4 ? addr_v4(ip + 12) : addr_v6(ip + 8);
    struct ust_addr dst = v4 ? addr_v4(ip + 16) : addr_v6(ip + 24);
    uint8_t proto = v4 ? ip[9] : ip[6];

    if (m->len >= (uint32_t)m->l4_off + UDP_LEN)
        icmp_tell(net, proto, &src, &dst, l4, &e);
}

/* An asked neighbour has not answered for neigh.retrans_ms. */
static void no_answer(struct net *net, struct neigh *n)
{
    struct core *core = &net->core;
    struct mbuf *m;

    if (n->probes == 0) /* made for a packet that was not sent after all */
        return neigh_forget(net, n);
    if (n->probes < core->set.neigh_probes) {
        ask(net, n);
        return;
    }
    count(core, C_NEIGH_FAILED);
    while ((m = take_pending(net, n))) {
        tell_sender(net, m);
        net_drop(net, m, C_NEIGH_DROP_FAILED);
    }
    n->state = NEIGH_FAILED;
    set_timer(net, n, core->now + ms(core->set.neigh_retrans_ms));
}

void neigh_timer(struct net *net, uint32_t i)
{
    struct neigh *n = &net->neighs[i];
    ust_time forget_at = n->used + ms(net->core.set.neigh_stale_ms);

    switch (n->state) {
    case NEIGH_DELAY: n->state = NEIGH_PROBE; return ask(net, n);
    case NEIGH_INCOMPLETE:
    case NEIGH_PROBE: return no_answer(net, n);
    case NEIGH_FAILED: return neigh_forget(net, n);
    }
    if (forget_at <= net->core.now)
        neigh_forget(net, n);
    else
        set_timer(net, n, forget_at);
}
