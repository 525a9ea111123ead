/* SPDX-License-Identifier: BSD-3-Clause */
/* UDP sockets: the table, binding, connecting. See input.c and output.c for
 * datagrams.                                                                */
#include "udp.h"

#include <errno.h>

#include "../net/spread.h"

static const struct ust_addr any_v6;
static const struct ust_addr any_v4 = {{[10] = 0xff, 0xff}};

uint32_t udp_index(const struct udp *udp, const struct udp_sock *s)
{
    return (uint32_t)(s - udp->socks);
}

void udp_init(struct udp *udp, struct net *net)
{
    udp->net = net;
    udp->event_head = udp->event_tail = udp->sock_free = UDP_NONE;
    for (uint32_t i = udp->n_socks; i-- > 0;) {
        udp->socks[i].gen = 1;
        udp->socks[i].next = udp->sock_free;
        udp->sock_free = i;
    }
}

struct udp_sock *udp_alloc(struct udp *udp)
{
    struct core *core = &udp->net->core;
    struct udp_sock *s;
    uint32_t gen;

    if (udp->sock_free == UDP_NONE || fault_hits(&core->faults))
        return NULL;
    s = &udp->socks[udp->sock_free];
    udp->sock_free = s->next;
    udp->socks_used++;
    gen = s->gen;
    *s = (struct udp_sock){.gen = gen,
                           .used = true,
                           .discover = UDP_PMTU_WANT,
                           .rcv_limit = (uint32_t)core->set.udp_rmem,
                           .next = UDP_NONE};
    mbuf_queue_init(&s->rx);
    return s;
}

/* ------------------------------------------------------- the table */

static uint32_t key_hash(const struct udp *udp, const struct flow_key *key)
{
    return (uint32_t)siphash13(&udp->net->core.key_flow, key, sizeof *key);
}

/* Of those that share a key (SO_REUSEADDR) the last to come, as Linux does. */
static struct udp_sock *find_key(const struct udp *udp, const struct flow_key *key)
{
    uint32_t hash = key_hash(udp, key);
    struct udp_sock *found = NULL;

    for (uint32_t i = flowtable_first(&udp->table, hash); i != FLOWTABLE_NONE;
         i = flowtable_next(&udp->table, hash, i)) {
        struct udp_sock *s = &udp->socks[udp->table.slots[i].value];

        if (memcmp(&s->key, key, sizeof *key) != 0)
            continue;
        if (!s->reuseaddr)
            return s;
        if (!found || (int32_t)(s->entered - found->entered) > 0)
            found = s;
    }
    return found;
}

/* Who is bound to this local address and the port of key. */
static struct udp_sock *find_bound(const struct udp *udp, const struct ust_addr *local,
                                   const struct flow_key *key)
{
    return find_key(udp,
                    &(struct flow_key){.local = *local, .lport = key->lport, .ping = key->ping});
}

struct udp_sock *udp_find(const struct udp *udp, const struct flow_key *key)
{
    struct udp_sock *s;

    if (udp->table.count == 0)
        return NULL;
    if ((s = find_key(udp, key)) || (s = find_bound(udp, &key->local, key)))
        return s;
    if (addr_is_v4(&key->local) && (s = find_bound(udp, &any_v4, key)))
        return s;
    s = find_bound(udp, &any_v6, key);
    return s && s->v6only && addr_is_v4(&key->local) ? NULL : s;
}

static int enter(struct udp *udp, struct udp_sock *s, const struct flow_key *key)
{
    uint32_t i = udp_index(udp, s);

    if (s->bound)
        flowtable_remove(&udp->table, key_hash(udp, &s->key), i);
    s->key = *key;
    s->entered = ++udp->entered;
    s->bound = flowtable_insert(&udp->table, key_hash(udp, key), i) == 0;
    return s->bound ? 0 : -ENOBUFS;
}

void udp_free(struct udp *udp, struct udp_sock *s)
{
    struct mbuf_pool *pool = &udp->net->core.pool;
    struct mbuf *m;

    udp_unevent(udp, s);
    if (s->bound)
        flowtable_remove(&udp->table, key_hash(udp, &s->key), udp_index(udp, s));
    while ((m = mbuf_dequeue(pool, &s->rx)))
        mbuf_free(pool, m);
    s->used = s->bound = false;
    s->gen = s->gen == UDP_GEN_MAX ? 1 : s->gen + 1;
    s->next = udp->sock_free;
    udp->sock_free = udp_index(udp, s);
    udp->socks_used--;
}

/* ------------------------------------------------------- bind, connect */

/* Could one datagram be for both? The unspecified IPv6 address stands for both
 * versions, unless its socket wants IPv6 only. */
static bool overlap(const struct ust_addr *a, bool a_v6only, const struct ust_addr *b,
                    bool b_v6only)
{
    bool a_v4 = addr_is_v4(a), b_v4 = addr_is_v4(b);

    if (a_v4 != b_v4)
        return a_v4 ? addr_is_any(b) && !b_v6only : addr_is_any(a) && !a_v6only;
    return addr_is_any(a) || addr_is_any(b) || addr_same(a, b);
}

/* Would (addr, port) be ambiguous? Two that both said SO_REUSEADDR may share. */
static bool conflicts(const struct udp *udp, const struct udp_sock *s, const struct ust_addr *addr,
                      uint16_t port)
{
    for (uint32_t i = 0; i < udp->n_socks; i++) {
        const struct udp_sock *o = &udp->socks[i];

        if (o == s || !o->used || !o->bound || o->key.lport != port || o->ping != s->ping)
            continue;
        if (o->reuseaddr && s->reuseaddr)
            continue;
        if (overlap(addr, s->v6only, &o->key.local, o->v6only))
            return true;
    }
    return false;
}

/* RFC 6056 3.3.1: a random place to begin, then the next free one, of those with
 * which the flow's answers come to this engine. */
static uint16_t free_port(struct udp *udp, const struct udp_sock *s, const struct ust_addr *addr,
                          const struct flow_key *flow)
{
    struct port_set ports = affinity_ports(udp->net, IPPROTO_UDP_, flow);
    uint32_t start = rng_below(&udp->net->core.rng, ports.n);

    for (uint32_t i = 0; i < ports.n; i++) {
        uint16_t port = affinity_port(&ports, (start + i) % ports.n);

        if (port && !conflicts(udp, s, addr, port))
            return port;
    }
    return 0;
}

int udp_bind_any(struct udp *udp, struct udp_sock *s, bool v4)
{
    int err = udp_bind(udp, s, v4 && !s->inet6 ? &any_v4 : &any_v6, 0);

    s->addr_given = s->port_given = false;
    return err;
}

int udp_bind(struct udp *udp, struct udp_sock *s, const struct ust_addr *addr, uint16_t port)
{
    struct flow_key key = {.local = *addr, .lport = port, .ping = s->ping};

    if (s->bound || (s->ping && addr_is_v4(addr) == s->inet6))
        return -EINVAL;
    s->addr_given = !addr_is_any(addr);
    s->port_given = port != 0;
    if (!addr_is_any(addr) && !net_own(udp->net, addr) && !net_is_group(udp->net, addr))
        return -EADDRNOTAVAIL;
    if (port == 0 && (key.lport = free_port(udp, s, addr, &key)) == 0)
        return -EADDRINUSE;
    if (conflicts(udp, s, addr, key.lport))
        return -EADDRINUSE;
    return enter(udp, s, &key);
}

/* The same for a flow that is about to be connected. */
static int bind_for(struct udp *udp, struct udp_sock *s, const struct flow_key *flow)
{
    const struct ust_addr *any = addr_is_v4(&flow->remote) && !s->inet6 ? &any_v4 : &any_v6;
    uint16_t port = free_port(udp, s, any, flow);
    int err = port ? udp_bind(udp, s, any, port) : -EADDRINUSE;

    s->addr_given = s->port_given = false;
    return err;
}

/* As Linux: what bind did not give is given back. */
static int disconnect(struct udp *udp, struct udp_sock *s)
{
    struct flow_key key = {.local = s->key.local, .lport = s->key.lport, .ping = s->ping};

    s->connected = false;
    if (!s->bound)
        return 0;
    if (!s->addr_given)
        key.local = addr_is_v4(&key.local) && !s->inet6 ? any_v4 : any_v6;
    if (s->port_given || s->addr_given)
        return enter(udp, s, &key);
    flowtable_remove(&udp->table, key_hash(udp, &s->key), udp_index(udp, s));
    s->bound = false;
    s->key = (struct flow_key){.local = key.local};
    return 0;
}

int udp_connect(struct udp *udp, struct udp_sock *s, const struct ust_addr *addr, uint16_t port)
{
    struct flow_key key = s->key;
    const struct ust_addr *src;
    int err;

    if (addr_is_any(addr) && (port == 0 || s->ping))
        return disconnect(udp, s);
    if (s->ping && addr_is_v4(addr) == s->inet6)
        return -EINVAL;
    if (net_is_group(udp->net, addr) && !s->broadcast && addr_is_v4(addr) &&
        (v4_bytes(addr)[0] & 0xf0) != 0xe0)
        return -EACCES;
    src = s->v6only && addr_is_v4(addr) ? NULL : net_source(udp->net, addr);
    if (!src)
        return -ENETUNREACH;
    if (loop_escapes(udp->net, &s->key.local, addr))
        return -EINVAL; /* as Linux */
    key = (struct flow_key){.local = *src, .remote = *addr, .rport = port};
    if (!s->bound && (err = bind_for(udp, s, &key)) < 0)
        return err;
    key = s->key;
    if (addr_is_any(&key.local))
        key.local = *src;
    key.remote = *addr;
    key.rport = s->ping ? 0 : port;
    s->connected = true;
    return enter(udp, s, &key);
}

/* ------------------------------------------------------- events */

void udp_changed(struct udp *udp, struct udp_sock *s)
{
    if (s->event_queued)
        return;
    s->event_queued = true;
    s->event_prev = udp->event_tail;
    s->event_next = UDP_NONE;
    if (udp->event_tail == UDP_NONE)
        udp->event_head = udp_index(udp, s);
    else
        udp->socks[udp->event_tail].event_next = udp_index(udp, s);
    udp->event_tail = udp_index(udp, s);
}

void udp_unevent(struct udp *udp, struct udp_sock *s)
{
    if (!s->event_queued)
        return;
    s->event_queued = false;
    if (s->event_prev == UDP_NONE)
        udp->event_head = s->event_next;
    else
        udp->socks[s->event_prev].event_next = s->event_next;
    if (s->event_next == UDP_NONE)
        udp->event_tail = s->event_prev;
    else
        udp->socks[s->event_next].event_prev = s->event_prev;
}
