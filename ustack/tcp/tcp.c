/* SPDX-License-Identifier: BSD-3-Clause */
/* TCBs, the flow table, the output list: the life cycle of a connection's
 * memory. What a TCB holds is given back in one place, tcb_free().          */
#include "tcp.h"

static const struct ust_addr any_v6;
static const struct ust_addr any_v4 = {{[10] = 0xff, 0xff}};

void tcp_init(struct tcp *tcp, const struct tcp_upcalls *up)
{
    tcp->up = up;
    tcp->ready_head = tcp->ready_tail = TCP_NONE;
    tcp->event_head = tcp->event_tail = TCP_NONE;
    tcp->report_head = tcp->report_tail = TCP_NONE;
    tcp->tw_oldest = tcp->tw_newest = TCP_NONE;
    tcp->orphan_oldest = tcp->orphan_newest = TCP_NONE;
    tcp->tcb_free = tcp->listener_free = tcp->request_free = TCP_NONE;
    tcp->timewait_free = tcp->reass_free = tcp->cc_state_free = tcp->sent_free = TCP_NONE;
    tcp->sents_fresh = tcp->n_flights;
    flight_init(tcp);
    extra_init(tcp);
    traffic_init(tcp);
#define FREE_LIST(array, count, head)                                                              \
    for (uint32_t i = (count); i-- > 0;) {                                                         \
        (array)[i].next = (head);                                                                  \
        (head) = i;                                                                                \
    }
    FREE_LIST(tcp->tcbs, tcp->n_tcbs, tcp->tcb_free)
    FREE_LIST(tcp->listeners, tcp->n_listeners, tcp->listener_free)
    FREE_LIST(tcp->requests, tcp->n_requests, tcp->request_free)
    FREE_LIST(tcp->timewaits, tcp->n_timewaits, tcp->timewait_free)
    FREE_LIST(tcp->reasses, tcp->n_reasses, tcp->reass_free)
    FREE_LIST(tcp->cc_states, tcp->n_cc_states, tcp->cc_state_free)
#undef FREE_LIST
    for (uint32_t i = 0; i < tcp->n_tcbs; i++) {
        tcp->tcbs[i].gen = 1;
        tcp->tcbs[i].state = 0;
    }
    for (uint32_t i = 0; i < tcp->n_requests; i++)
        tcp->requests[i].listener = TCP_NONE;
}

/* ------------------------------------------------------- flow table */

/* Of IPv4 flows only what differs between them is hashed. */
static inline uint32_t hash_of(const struct tcp *tcp, const struct flow_key *key)
{
    const struct siphash_key *secret = &tcp->net.core.key_flow;
    uint32_t local, remote;

    if (!addr_is_v4(&key->local) || !addr_is_v4(&key->remote))
        return (uint32_t)siphash13(secret, key, sizeof *key);
    memcpy(&local, v4_bytes(&key->local), 4);
    memcpy(&remote, v4_bytes(&key->remote), 4);
    return (uint32_t)siphash13_of_3(secret, local, remote, (uint32_t)key->rport << 16 | key->lport);
}

uint32_t flow_hash(const struct tcp *tcp, const struct flow_key *key)
{
    return hash_of(tcp, key);
}

/* Of a bound port, which has no peer. */
static uint32_t bind_hash(const struct tcp *tcp, const struct ust_addr *addr, uint16_t port)
{
    uint32_t w[4];

    memcpy(w, addr, sizeof w);
    return (uint32_t)siphash13_of_3(&tcp->net.core.key_flow, w[0] ^ w[3], w[1], w[2] ^ port);
}

static const struct flow_key *value_key(const struct tcp *tcp, uint32_t value)
{
    uint32_t i = value & FLOW_INDEX_MASK;

    switch (value >> FLOW_KIND_SHIFT) {
    case FLOW_REQUEST: return &tcp->requests[i].key;
    case FLOW_TIMEWAIT: return &tcp->timewaits[i].key;
    default: return &tcp->tcbs[i].key;
    }
}

uint32_t flow_find(const struct tcp *tcp, const struct flow_key *key)
{
    return flow_find_hashed(tcp, key, hash_of(tcp, key));
}

uint32_t flow_find_hashed(const struct tcp *tcp, const struct flow_key *key, uint32_t hash)
{
    uint32_t i;

    for (i = flowtable_first(&tcp->flows, hash); i != FLOWTABLE_NONE;
         i = flowtable_next(&tcp->flows, hash, i)) {
        uint32_t value = tcp->flows.slots[i].value;

        if (value >> FLOW_KIND_SHIFT != FLOW_BIND && flow_key_same(value_key(tcp, value), key))
            return value;
    }
    return TCP_NONE;
}

static uint32_t value_of(enum flow_kind kind, uint32_t i)
{
    return (uint32_t)kind << FLOW_KIND_SHIFT | i;
}

int flow_insert(struct tcp *tcp, uint16_t lport, uint32_t hash, enum flow_kind kind, uint32_t i)
{
    int err = flowtable_insert(&tcp->flows, hash, value_of(kind, i));

    if (err == 0)
        tcp->port_users[lport]++;
    return err;
}

void flow_remove(struct tcp *tcp, uint16_t lport, uint32_t hash, enum flow_kind kind, uint32_t i)
{
    if (flowtable_remove(&tcp->flows, hash, value_of(kind, i)) == 0)
        tcp->port_users[lport]--;
}

void flow_replace(struct tcp *tcp, uint32_t hash, enum flow_kind from, uint32_t i,
                  enum flow_kind to, uint32_t k)
{
    flowtable_replace(&tcp->flows, hash, value_of(from, i), value_of(to, k));
}

struct tcb *tcp_bound(const struct tcp *tcp, const struct ust_addr *addr, uint16_t port)
{
    uint32_t hash = bind_hash(tcp, addr, port), i;

    for (i = flowtable_first(&tcp->flows, hash); i != FLOWTABLE_NONE;
         i = flowtable_next(&tcp->flows, hash, i)) {
        uint32_t value = tcp->flows.slots[i].value;
        struct tcb *tcb = &tcp->tcbs[value & FLOW_INDEX_MASK];

        if (value >> FLOW_KIND_SHIFT == FLOW_BIND && tcb->key.lport == port &&
            addr_same(&tcb->key.local, addr))
            return tcb;
    }
    return NULL;
}

static struct tcb *listening_at(const struct tcp *tcp, const struct ust_addr *addr, uint16_t port)
{
    struct tcb *tcb = tcp_bound(tcp, addr, port);

    return tcb && tcb->state == UST_LISTEN ? tcb : NULL;
}

struct tcb *tcp_listener(const struct tcp *tcp, const struct ust_addr *addr, uint16_t port)
{
    struct tcb *tcb;

    if (tcp->port_users[port] == 0)
        return NULL;
    tcb = listening_at(tcp, addr, port);
    if (!tcb && addr_is_v4(addr))
        tcb = listening_at(tcp, &any_v4, port);
    if (tcb)
        return tcb;
    tcb = listening_at(tcp, &any_v6, port);
    return tcb && !(tcb->v6only && addr_is_v4(addr)) ? tcb : NULL;
}

int tcp_bind_insert(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t hash = bind_hash(tcp, &tcb->key.local, tcb->key.lport);

    if (flow_insert(tcp, tcb->key.lport, hash, FLOW_BIND, tcb_index(tcp, tcb)) < 0)
        return -1;
    tcb->bound = true;
    return 0;
}

void tcp_bind_remove(struct tcp *tcp, struct tcb *tcb)
{
    if (tcb->bound)
        flow_remove(tcp, tcb->key.lport, bind_hash(tcp, &tcb->key.local, tcb->key.lport), FLOW_BIND,
                    tcb_index(tcp, tcb));
    tcb->bound = false;
}

/* ------------------------------------------------------- lists */

void tcp_ready(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t i = tcb_index(tcp, tcb);

    if (tcb->ready)
        return;
    tcb->ready = true;
    tcb->ready_prev = tcp->ready_tail;
    tcb->ready_next = TCP_NONE;
    if (tcp->ready_tail == TCP_NONE)
        tcp->ready_head = i;
    else
        tcp->tcbs[tcp->ready_tail].ready_next = i;
    tcp->ready_tail = i;
    tcp->n_ready++;
}

void tcp_unready(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->ready)
        return;
    tcb->ready = false;
    if (tcb->ready_prev == TCP_NONE)
        tcp->ready_head = tcb->ready_next;
    else
        tcp->tcbs[tcb->ready_prev].ready_next = tcb->ready_next;
    if (tcb->ready_next == TCP_NONE)
        tcp->ready_tail = tcb->ready_prev;
    else
        tcp->tcbs[tcb->ready_next].ready_prev = tcb->ready_prev;
    tcp->n_ready--;
}

void tcp_changed(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->embryo && !tcb->orphan)
        tcp->up->changed(tcp, tcb);
}

/* ------------------------------------------------------- life cycle */

static void set_defaults(const struct tcp *tcp, struct tcb *tcb)
{
    const struct settings *set = &tcp->net.core.set;

    tcb->state = UST_CLOSED;
    tcb->listener = tcb->parent = tcb->reass = tcb->next = TCP_NONE;
    tcb->min_rtt = UINT32_MAX;
    tcb->cc = (struct cc){.state = CC_NO_STATE, .algorithm = (uint8_t)set->tcp_congestion};
    flight_none(tcp, tcb);
    extra_none(tcp, tcb);
    traffic_none(tcp, tcb);
    tcb->mtu_discover = MTU_DISCOVER_WANT;
    for (int t = 0; t < TCP_SLOTS; t++)
        tcb->deadline[t] = UINT64_MAX;
    sndbuf_init(&tcb->sndbuf, 0, (uint32_t)set->tcp_wmem);
    rcvbuf_init(&tcb->rcvbuf, (uint32_t)set->tcp_rmem / 2);
}

struct tcb *tcb_alloc(struct tcp *tcp)
{
    struct tcb *tcb;
    uint32_t gen;

    if (tcp->tcb_free == TCP_NONE || fault_hits(&tcp->net.core.faults))
        return NULL;
    tcb = &tcp->tcbs[tcp->tcb_free];
    tcp->tcb_free = tcb->next;
    tcp->tcbs_used++;
    gen = tcb->gen;
    memset(tcb, 0, sizeof *tcb);
    tcb->gen = gen;
    set_defaults(tcp, tcb);
    return tcb;
}

/* Everything but the receive buffer, which may still be read. */
static void release(struct tcp *tcp, struct tcb *tcb)
{
    fastopen_settled(tcp, tcb);
    if (tcb->in_table)
        flow_remove(tcp, tcb->key.lport, tcb->hash, FLOW_TCB, tcb_index(tcp, tcb));
    tcb->in_table = false;
    tcp_unready(tcp, tcb);
    sndbuf_clear(&tcp->net.core.pool, &tcb->sndbuf);
    reass_free(tcp, tcb);
    congestion_release(tcp, tcb);
    flight_release(tcp, tcb);
    for (int t = 0; t < TCP_SLOTS; t++)
        tcb->deadline[t] = UINT64_MAX;
    wheel_cancel(&tcp->net.core.wheel, tcp->tcb_timers + tcb_index(tcp, tcb));
    tcb->state = UST_CLOSED;
}

void tcb_free(struct tcp *tcp, struct tcb *tcb)
{
    tcp->up->gone(tcp, tcb);
    tcp_unlisten(tcp, tcb);
    tcp_unqueue(tcp, tcb);
    orphan_end(tcp, tcb);
    release(tcp, tcb);
    tcp_bind_remove(tcp, tcb);
    rcvbuf_clear(&tcp->net.core.pool, &tcb->rcvbuf);
    extra_release(tcp, tcb);
    traffic_release(tcp, tcb);
    tcb->gen = tcb->gen == TCB_GEN_MAX ? 1 : tcb->gen + 1;
    tcb->state = 0;
    tcb->next = tcp->tcb_free;
    tcp->tcb_free = tcb_index(tcp, tcb);
    tcp->tcbs_used--;
}

void tcp_done(struct tcp *tcp, struct tcb *tcb, int err)
{
    release(tcp, tcb);
    if (err)
        tcb->error = err;
    if (tcb->orphan)
        tcb_free(tcp, tcb);
    else
        tcp_changed(tcp, tcb);
}

void tcp_abort(struct tcp *tcp, struct tcb *tcb, int err)
{
    if (tcb_synchronized(tcb) || tcb->state == UST_SYN_RECEIVED)
        tcp_send_rst(tcp, tcb);
    tcp_done(tcp, tcb, err);
}
