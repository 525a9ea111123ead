/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers that a stranger must not guess: initial sequence numbers (RFC 6528),
 * timestamp offsets (RFC 7323 7.1), ephemeral ports (RFC 6056 3.3.4). Each is a
 * keyed hash of the flow; the keys are injected.                            */
#include "../net/spread.h"
#include "tcp.h"

enum { ISN_TICK_SHIFT = 12, PORT_STEPS = 8 }; /* 4.096 us a tick (MUST-8) */

/* Each is one half of the hash. */
struct flow_numbers tcp_numbers(const struct tcp *tcp, const struct flow_key *key)
{
    uint32_t clock = (uint32_t)(tcp_now(tcp) >> ISN_TICK_SHIFT);
    uint64_t hash = siphash24(&tcp->net.core.key_isn, key, sizeof *key);

    return (struct flow_numbers){clock + (uint32_t)hash, (uint32_t)(hash >> 32)};
}

uint32_t tcp_ts_now(const struct tcp *tcp, uint32_t offset)
{
    return (uint32_t)(tcp_now(tcp) / NS_PER_MS) + offset;
}

/* Is the flow free, and is nobody listening on or bound to its port? */
static bool port_free(const struct tcp *tcp, const struct flow_key *key)
{
    if (tcp->port_users[key->lport] == 0)
        return true;
    return tcp_flow_free(tcp, key, flow_hash(tcp, key)) &&
           !tcp_bound(tcp, &key->local, key->lport) && !tcp_listener(tcp, &key->local, key->lport);
}

/* Of the ports that the answers come to this engine with, in the order of a
 * double-hash selection: the hash of the peer says where to begin, a counter
 * moves on by random steps, so that ports are neither shared between peers'
 * sequences nor reused soon. */
uint16_t tcp_pick_port(struct tcp *tcp, const struct flow_key *key)
{
    struct port_set ports = affinity_ports(&tcp->net, IPPROTO_TCP_, key);
    struct flow_key k = *key;
    uint32_t offset;

    k.lport = 0;
    offset = (uint32_t)siphash24(&tcp->net.core.key_port, &k, sizeof k);
    tcp->port_counter += 1 + rng_below(&tcp->net.core.rng, PORT_STEPS);
    for (uint32_t i = 0; i < ports.n; i++, tcp->port_counter++) {
        k.lport = affinity_port(&ports, (offset + tcp->port_counter) % ports.n);
        if (k.lport && port_free(tcp, &k))
            return k.lport;
    }
    return 0;
}
