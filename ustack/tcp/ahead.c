/* SPDX-License-Identifier: BSD-3-Clause */
/* What a burst is about to need, fetched before its turn: with thousands of
 * connections the slot of the flow table, the TCB and what belongs to it are
 * not in the cache, and each would be waited for in turn.
 *
 * The hash of a flow that is computed here is kept in the mbuf (MBUF_HASHED),
 * so nothing is done twice. Nothing else changes: what is found here is looked
 * up again when the frame's turn comes, for those before it may have changed it.
 *
 * Only looks at plain IPv4; everything else goes its way without.            */
#include "tcp.h"

enum {
    LINE = 64,
    IP = ETH_LEN,
    L4 = ETH_LEN + IPV4_LEN,
    FRAGMENT = 0x3fff, /* more to come, or an offset */
    FEW = 256,         /* connections that fit into the cache anyway */
};

static bool is_plain(const struct mbuf *m, const uint8_t *p)
{
    return m->len >= L4 + TCP_LEN && get16(p + ETH_TYPE) == ETHERTYPE_IPV4 && p[IP] == 0x45 &&
           p[IP + 9] == IPPROTO_TCP_ && !(get16(p + IP + 6) & FRAGMENT);
}

static uint32_t hash_of(const struct tcp *tcp, const uint8_t *p)
{
    uint32_t local, remote;

    memcpy(&remote, p + IP + 12, 4);
    memcpy(&local, p + IP + 16, 4);
    return (uint32_t)siphash13_of_3(&tcp->net.core.key_flow, local, remote,
                                    (uint32_t)get16(p + L4) << 16 | get16(p + L4 + 2));
}

void ahead_look_up(struct tcp *tcp, struct mbuf **burst, unsigned n)
{
    const struct mbuf_pool *pool = &tcp->net.core.pool;

    if (tcp->tcbs_used < FEW || !tcp->net.core.set.engine_shortcuts)
        return;
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *p = mbuf_data(pool, burst[i]);

        if (!is_plain(burst[i], p))
            continue;
        burst[i]->seq = hash_of(tcp, p);
        burst[i]->flags |= MBUF_HASHED;
        __builtin_prefetch(&tcp->flows.slots[burst[i]->seq & tcp->flows.mask]);
    }
}

static struct tcb *likely(const struct tcp *tcp, const struct mbuf *m)
{
    uint32_t i = m->flags & MBUF_HASHED ? flowtable_first(&tcp->flows, m->seq) : FLOWTABLE_NONE;
    uint32_t value = i == FLOWTABLE_NONE ? FLOWTABLE_NONE : tcp->flows.slots[i].value;

    return value >> FLOW_KIND_SHIFT == FLOW_TCB ? &tcp->tcbs[value & FLOW_INDEX_MASK] : NULL;
}

static void fetch(const void *start, size_t size)
{
    for (size_t at = 0; at < size; at += LINE)
        __builtin_prefetch((const char *)start + at, 1);
}

void ahead_fetch_tcb(const struct tcp *tcp, const struct mbuf *m)
{
    const struct tcb *tcb = likely(tcp, m);

    if (tcb)
        fetch(tcb, sizeof *tcb);
}

void ahead_fetch_flight(const struct tcp *tcp, const struct mbuf *m)
{
    const struct tcb *tcb = likely(tcp, m);

    if (!tcb)
        return;
    fetch(tcb_rec(tcb), 2 * LINE);
    fetch(tcb_traffic(tcb), sizeof(struct traffic));
    fetch(&tcp->sents[flight_index(tcp, tcb)], sizeof *tcp->sents);
    __builtin_prefetch(&tcp->net.core.wheel.nodes[tcp->tcb_timers + tcb_index(tcp, tcb)]);
    if (tcb->sndbuf.head != MBUF_NONE)
        __builtin_prefetch(&tcp->net.core.pool.meta[tcb->sndbuf.head], 1);
}
