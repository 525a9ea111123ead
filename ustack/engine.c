/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine: memory, the tables of up-calls that join the layers, and the data
 * path of DESIGN: burst in, timers, burst out.
 *
 * A function of its arguments alone: no clock, no system call, no thread, no
 * global that changes, no allocation after ust_engine_new().                */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>

#include "base/checksum.h"
#include "base/share.h"
#include "config.h"
#include "handover.h"
#include "net/spread.h"
#include "sock/sock.h"

static const struct net_upcalls net_up = {
    .tcp_input = tcp_input,
    .udp_input = udp_input,
    .tcp_error = tcp_error_input,
    .udp_error = udp_error,
    .ping_input = ping_input,
    .ping_error = ping_error,
};

static const struct tcp_upcalls tcp_up = {
    .changed = sock_changed,
    .gone = sock_gone,
};

/* ------------------------------------------------------- memory */

/* Hands out the parts of the block in order; with no block, only measures. */
struct carver {
    char *block;
    size_t used;
};

static void *carve(struct carver *c, size_t n, size_t size)
{
    size_t at = c->used;

    c->used += (n * size + 63) & ~(size_t)63;
    return c->block ? c->block + at : NULL;
}

/* The layout of the block, in one place: pointers into it for the sizes in the
 * settings. The engine's own struct comes first. */
static size_t bind_memory(struct ust_engine *eng, const struct settings *set, char *block)
{
    struct tcp *tcp = &eng->tcp;
    struct net *net = &tcp->net;
    struct core *core = &net->core;
    struct carver c = {block, 0};
    uint32_t flows = flowtable_slots(2 * tcp->n_tcbs + tcp->n_requests + tcp->n_timewaits);
    uint32_t n_timers = tcp->timewait_timers + tcp->n_timewaits;

    carve(&c, 1, sizeof *eng);
    net->spread = carve(&c, 1, sizeof *net->spread);
    net->pmtus = carve(&c, net->n_pmtus, sizeof *net->pmtus);
    net->pmtu_table.slots = carve(&c, flowtable_slots(net->n_pmtus), sizeof *net->pmtu_table.slots);
    net->frags = carve(&c, net->n_frags, sizeof *net->frags);
    net->frag_table.slots = carve(&c, flowtable_slots(net->n_frags), sizeof *net->frag_table.slots);
    net->neighs = carve(&c, net->n_neighs + 2, sizeof *net->neighs);
    net->neigh_table.slots =
        carve(&c, flowtable_slots(net->n_neighs), sizeof *net->neigh_table.slots);
    eng->udp.socks = carve(&c, eng->udp.n_socks, sizeof *eng->udp.socks);
    eng->udp.table.slots =
        carve(&c, flowtable_slots(eng->udp.n_socks), sizeof *eng->udp.table.slots);
    net->udp = &eng->udp;
    eng->udp.net = net;
    tcp->tcbs = carve(&c, tcp->n_tcbs, sizeof *tcp->tcbs);
    tcp->listeners = carve(&c, tcp->n_listeners, sizeof *tcp->listeners);
    tcp->requests = carve(&c, tcp->n_requests, sizeof *tcp->requests);
    tcp->timewaits = carve(&c, tcp->n_timewaits, sizeof *tcp->timewaits);
    tcp->reasses = carve(&c, tcp->n_reasses, sizeof *tcp->reasses);
    tcp->cc_states = carve(&c, tcp->n_cc_states, sizeof *tcp->cc_states);
    tcp->traffics = carve(&c, (size_t)tcp->n_tcbs + 1, sizeof *tcp->traffics);
    tcp->extras = carve(&c, tcp->n_extras, sizeof *tcp->extras);
    tcp->flights = carve(&c, tcp->n_flights, sizeof *tcp->flights);
    tcp->sents = carve(&c, tcp->n_flights + tcp->n_sents, sizeof *tcp->sents);
    tcp->fo_peers = carve(&c, tcp->n_fo_peers, sizeof *tcp->fo_peers);
    tcp->port_users = carve(&c, N_PORTS, sizeof *tcp->port_users);
    tcp->flows.slots = carve(&c, flows, sizeof *tcp->flows.slots);
    core->wheel.nodes = carve(&c, n_timers, sizeof *core->wheel.nodes);
    core->pool.meta =
        carve(&c, 1,
              mbuf_pool_meta_size((uint32_t)set->mbuf_small, (uint32_t)set->mbuf_large,
                                  (uint32_t)set->mbuf_refs));
    core->pool.base =
        carve(&c, 1, mbuf_pool_data_size((uint32_t)set->mbuf_small, (uint32_t)set->mbuf_large));
    core->pool.faults = block ? &((struct ust_engine *)block)->tcp.net.core.faults : NULL;
    return c.used;
}

static void take_sizes(struct ust_engine *eng, const struct settings *set)
{
    struct tcp *tcp = &eng->tcp;

    struct net *net = &tcp->net;

    net->n_neighs = (uint32_t)set->neigh_entries;
    net->n_pmtus = (uint32_t)set->ip_pmtu_entries;
    net->n_frags = (uint32_t)set->frag_queues;
    net->pmtu_timers = net->n_neighs;
    net->frag_timers = net->pmtu_timers + net->n_pmtus;
    net->addr_timers = net->frag_timers + net->n_frags;
    net->iface_timers = net->addr_timers + UST_MAX_ADDRS;
    eng->udp.n_socks = (uint32_t)set->udp_max_socks;
    tcp->n_tcbs = (uint32_t)set->tcp_max_tcbs;
    tcp->n_listeners = (uint32_t)set->tcp_max_listeners;
    tcp->n_requests = (uint32_t)set->tcp_max_syn_backlog;
    tcp->n_timewaits = (uint32_t)set->tcp_max_tw_buckets;
    tcp->n_reasses = (uint32_t)set->tcp_max_reass;
    tcp->n_fo_peers = (uint32_t)set->tcp_fastopen_peers & ~3u; /* sets of four */
    tcp->n_cc_states = (uint32_t)set->tcp_max_cc_states;
    tcp->n_sents = (uint32_t)set->tcp_sents;
    tcp->n_extras = 1 + (uint32_t)(set->tcp_extras ? set->tcp_extras : set->tcp_max_tcbs);
    tcp->n_flights = 1 + (uint32_t)(set->tcp_flights ? set->tcp_flights : set->tcp_max_tcbs);
    tcp->tcb_timers = net->iface_timers + UST_MAX_IFACES;
    tcp->request_timers = tcp->tcb_timers + tcp->n_tcbs;
    tcp->timewait_timers = tcp->request_timers + tcp->n_requests;
}

static void init_keys(struct core *core, const struct ust_config *cfg)
{
    struct siphash_key root,
        *keys[] = {&core->key_flow, &core->key_isn, &core->key_port, &core->key_cookie};

    /* One key for each use, derived from the secret. */
    for (unsigned i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        uint8_t label[2] = {(uint8_t)i, 0};

        memcpy(&root, cfg->secret, sizeof root);
        keys[i]->k0 = siphash24(&root, label, 2);
        memcpy(&root, cfg->secret + sizeof root, sizeof root);
        label[1] = 1;
        keys[i]->k1 = siphash24(&root, label, 2);
    }
    core->rng.state = cfg->seed;
}

static void init_table(struct flowtable *ft, uint32_t n)
{
    flowtable_init(ft, ft->slots, flowtable_slots(n));
}

static void init_layers(struct ust_engine *eng, const struct ust_config *cfg)
{
    struct tcp *tcp = &eng->tcp;
    struct core *core = &tcp->net.core;

    core->set = cfg->set;
    init_keys(core, cfg);
    mbuf_pool_init(&core->pool, core->pool.meta, core->pool.base, (uint32_t)cfg->set.mbuf_small,
                   (uint32_t)cfg->set.mbuf_large, (uint32_t)cfg->set.mbuf_refs, &core->faults);
    share_settle(core);
    wheel_init(&core->wheel, core->wheel.nodes, tcp->timewait_timers + tcp->n_timewaits, 0);
    init_table(&tcp->net.neigh_table, tcp->net.n_neighs);
    init_table(&tcp->net.pmtu_table, tcp->net.n_pmtus);
    init_table(&tcp->net.frag_table, tcp->net.n_frags);
    init_table(&eng->udp.table, eng->udp.n_socks);
    init_table(&tcp->flows, 2 * tcp->n_tcbs + tcp->n_requests + tcp->n_timewaits);
    net_init(&tcp->net, &net_up);
    udp_init(&eng->udp, &tcp->net);
    tcp_init(tcp, &tcp_up);
}

enum { LINE = 64 };

/* Zeroed pages come lazily from calloc, so tables cost memory only when used. */
static struct ust_engine *new_block(size_t size, bool zeroed)
{
    void *p = zeroed ? calloc(1, size + LINE) : malloc(size + LINE);
    struct ust_engine *eng;

    if (!p)
        return NULL;
    eng = (struct ust_engine *)(((uintptr_t)p + LINE - 1) & ~(uintptr_t)(LINE - 1));
    eng->allocation = p;
    return eng;
}

struct ust_engine *ust_engine_new(const struct ust_config *cfg, int *err)
{
    struct ust_engine sizes = {0}, *eng;
    size_t size;

    take_sizes(&sizes, &cfg->set);
    size = bind_memory(&sizes, &cfg->set, NULL);
    eng = new_block(size, true);
    if (!eng) {
        if (err)
            *err = -ENOMEM;
        return NULL;
    }
    take_sizes(eng, &cfg->set);
    bind_memory(eng, &cfg->set, (char *)eng);
    eng->size = size;
    init_layers(eng, cfg);
    if (err)
        *err = 0;
    return eng;
}

void ust_engine_free(struct ust_engine *eng)
{
    if (eng)
        free(eng->allocation);
}

struct ust_engine *ust_engine_clone(const struct ust_engine *eng)
{
    struct ust_engine *copy = new_block(eng->size, false);
    void *allocation;

    if (!copy)
        return NULL;
    allocation = copy->allocation;
    memcpy(copy, eng, eng->size);
    copy->allocation = allocation;
    bind_memory(copy, &engine_core(copy)->set, (char *)copy);
    return copy;
}

int ust_engine_set(struct ust_engine *eng, const char *name, int64_t value)
{
    struct settings *set = &engine_core(eng)->set;
    int64_t lo = set->tcp_port_min, hi = set->tcp_port_max;
    int err = settings_set(set, name, value, true);

    share_settle(engine_core(eng));
    if (set->tcp_port_min != lo || set->tcp_port_max != hi)
        spread_settle(&eng->tcp.net);
    return err;
}

int ust_engine_get(const struct ust_engine *eng, const char *name, int64_t *value)
{
    return settings_get(&eng->tcp.net.core.set, name, value);
}

struct mbuf_pool *ust_engine_pool(struct ust_engine *eng)
{
    return &engine_core(eng)->pool;
}

/* ------------------------------------------------------- data path */

static void trace_mix(struct ust_engine *eng, uint64_t v)
{
    eng->trace_hash = (eng->trace_hash ^ v) * 0x9e3779b97f4a7c15u;
    eng->trace_hash ^= eng->trace_hash >> 29;
}

/* Any split of a frame into mbufs hashes the same. */
static void trace(struct ust_engine *eng, const struct mbuf *m, bool out)
{
    const struct mbuf_pool *pool = &engine_core(eng)->pool;

    trace_mix(eng, engine_core(eng)->now << 1 | out);
    trace_mix(eng, m->frame_len);
    for (; m; m = mbuf_at(pool, m->next))
        for (uint32_t i = 0; i < m->len; i++)
            trace_mix(eng, mbuf_data(pool, m)[i]);
}

/* Time never runs backwards: a now before the last one counts as the last. */
static void advance(struct core *core, ust_time now)
{
    if (now > core->now)
        core->now = now;
}

enum { AHEAD = 4 }; /* frames between a TCB's being asked for and its turn */

static void input(struct ust_engine *eng, struct mbuf **burst, unsigned n)
{
    struct core *core = engine_core(eng);

    ahead_look_up(&eng->tcp, burst, n);
    for (unsigned i = 0; i < n; i++) {
        if (i + 1 < n)
            __builtin_prefetch(mbuf_data(&core->pool, burst[i + 1]));
        if (i + AHEAD < n && (burst[i + AHEAD]->flags & MBUF_HASHED))
            ahead_fetch_tcb(&eng->tcp, burst[i + AHEAD]);
        if (i + 1 < n && (burst[i + 1]->flags & MBUF_HASHED))
            ahead_fetch_flight(&eng->tcp, burst[i + 1]);
        if (core->set.engine_trace)
            trace(eng, burst[i], false);
        eth_input(&eng->tcp.net, burst[i]);
    }
}

void ust_engine_input(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned n)
{
    advance(engine_core(eng), now);
    if (eng->tcp.net.n_engines > 1)
        n = handover_sort(eng, burst, n, false);
    input(eng, burst, n);
}

void ust_engine_input_handed(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned n)
{
    advance(engine_core(eng), now);
    if (eng->tcp.net.n_engines > 1)
        n = handover_sort(eng, burst, n, true);
    input(eng, burst, n);
}

static void fire(struct tcp *tcp, uint32_t id)
{
    if (id < tcp->tcb_timers)
        net_timer(&tcp->net, id);
    else if (id < tcp->request_timers)
        tcp_timer(tcp, &tcp->tcbs[id - tcp->tcb_timers]);
    else if (id < tcp->timewait_timers)
        tcp_request_timer(tcp, &tcp->requests[id - tcp->request_timers]);
    else
        tcp_timewait_timer(tcp, &tcp->timewaits[id - tcp->timewait_timers]);
}

unsigned ust_engine_tick(struct ust_engine *eng, ust_time now)
{
    struct core *core = engine_core(eng);
    unsigned looped;
    uint32_t id;

    advance(core, now);
    looped = loop_input(&eng->tcp.net);
    while ((id = wheel_pop(&core->wheel, core->now)) != WHEEL_NONE)
        fire(&eng->tcp, id);
    return looped;
}

/* Frames of outq: those to ourselves go round, the others into the burst. Stops
 * in front of one to ourselves for which there is no room. */
static unsigned drain(struct ust_engine *eng, struct mbuf **burst, unsigned max)
{
    struct net *net = &eng->tcp.net;
    struct mbuf *m;
    unsigned n = 0;

    while (n < max && (m = mbuf_at(&net->core.pool, net->outq.head))) {
        if (m->iface != IFACE_LOOP)
            burst[n++] = mbuf_dequeue(&net->core.pool, &net->outq);
        else if (!loop_take(net, m))
            break;
        if (net->core.set.engine_trace)
            trace(eng, m, true);
    }
    return n;
}

unsigned ust_engine_output(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned max)
{
    struct tcp *tcp = &eng->tcp;
    unsigned n = 0;

    advance(engine_core(eng), now);
    do {
        if (tcp->net.outq.count < max)
            tcp_transmit(tcp, max);
        n += drain(eng, burst + n, max - n);
    } while (n < max && tcp->n_ready > 0 && tcp->net.outq.count == 0);
    return n;
}

ust_time ust_engine_deadline(const struct ust_engine *eng)
{
    const struct net *net = &eng->tcp.net;

    if (net->outq.count > 0 || net->loopq.count > 0 || net->foreignq.count > 0 ||
        eng->tcp.n_ready > 0)
        return 0;
    return wheel_next(&net->core.wheel);
}

/* ------------------------------------------------------- frames by value */

int ust_engine_inject(struct ust_engine *eng, ust_time now, int iface, const uint8_t *frame,
                      size_t len, unsigned flags)
{
    struct mbuf_pool *pool = &engine_core(eng)->pool;
    struct mbuf *m;

    if (len > MBUF_LARGE_SIZE - MBUF_HEADROOM)
        return -EMSGSIZE;
    m = mbuf_alloc_for(pool, len);
    if (!m)
        return -ENOBUFS;
    memcpy(mbuf_data(pool, m), frame, len);
    m->len = m->frame_len = (uint32_t)len;
    m->iface = (uint8_t)iface;
    if (flags & UST_FRAME_CSUM_OK)
        m->flags |= MBUF_CSUM_OK;
    ust_engine_input(eng, now, &m, 1);
    return 0;
}

/* What a port without offloads would have found in the frame. */
static void complete_checksum(const struct mbuf *m, uint8_t *frame, size_t len)
{
    uint16_t field;

    if (!(m->flags & MBUF_CSUM_PARTIAL) || (size_t)m->csum_start + m->csum_offset + 2 > len)
        return;
    field = checksum_finish(checksum_add(frame + m->csum_start, len - m->csum_start, 0));
    memcpy(frame + m->csum_start + m->csum_offset, &field, 2);
}

int64_t ust_engine_extract(struct ust_engine *eng, ust_time now, uint8_t *buf, size_t size)
{
    struct mbuf_pool *pool = &engine_core(eng)->pool;
    struct mbuf *m;
    int64_t len;

    if (ust_engine_output(eng, now, &m, 1) == 0)
        return 0;
    len = m->frame_len <= size ? (int64_t)mbuf_copy_out(pool, m, 0, buf, m->frame_len) : -EMSGSIZE;
    if (len > 0)
        complete_checksum(m, buf, (size_t)len);
    mbuf_free(pool, m);
    return len;
}
