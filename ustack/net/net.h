/* SPDX-License-Identifier: BSD-3-Clause */
/* The network layer: interfaces, addresses, routes, neighbours, IPv4, ICMP.
 *
 *   in:  eth_input -> arp_input
 *                  -> ipv4_input -> icmp_input
 *                                -> upcalls->tcp_input
 *   out: ip_output -> route -> neighbour -> eth header -> outq
 *
 * Addresses are IPv4-mapped and prefix lengths count from the first of the 16
 * bytes, so IPv6 needs no second table.
 *
 * Always: every frame that enters is freed, queued or handed up exactly once;
 * input never sends, it queues on outq.                                     */
#pragma once
#include "../base/core.h"
#include "../base/flowtable.h"
#include "wire.h"

struct net;

struct iface {
    uint8_t mac[6];
    uint32_t mtu;
    uint32_t caps; /* enum ust_cap */
};

struct ifaddr {
    struct ust_addr addr;
    uint8_t prefix_len; /* 0..128 */
    uint8_t iface;
    uint32_t broadcast; /* last address of an IPv4 network, host order; 0: it has none */
    ust_time defended; /* last gratuitous ARP for a conflict; 0: never */
};

struct route {
    struct ust_addr dst, gateway;
    uint8_t prefix_len; /* 0..128 */
    uint8_t iface;
};

enum neigh_state {
    NEIGH_FREE,
    NEIGH_INCOMPLETE, /* asked, no answer yet; packets wait */
    NEIGH_REACHABLE,  /* until confirmed + arp.reachable_ms, then stale */
    NEIGH_PROBE,      /* was stale, used, asked again by unicast */
    NEIGH_FAILED,     /* no answer; refuses packets for a moment */
    NEIGH_PERMANENT,
};

struct neigh {
    struct ust_addr addr;
    uint8_t mac[6];
    uint8_t state; /* enum neigh_state */
    uint8_t iface;
    uint8_t probes;      /* requests sent since the last answer */
    uint32_t prev, next; /* least recently used first; next: free list, too */
    ust_time confirmed, used;
    struct mbuf_queue pending;
};

/* Where a flow's packets go, remembered between packets. Valid while epoch is
 * the layer's; start with epoch 0. */
struct ip_dst {
    uint32_t epoch;
    uint32_t neigh;
};

/* An IP packet that has passed validation. */
struct packet {
    struct ust_addr src, dst;
    uint8_t proto, tos, ttl;
    bool group;      /* sent to a broadcast or multicast address */
    uint16_t l4_off; /* of the transport header, from the frame's start */
    uint32_t l4_len;
};

/* What the layer above fills in; see engine.c. */
struct net_upcalls {
    /* Owns m. */
    void (*tcp_input)(struct net *net, struct mbuf *m, const struct packet *p);
    /* An ICMP error about a segment that src sent to dst. quoted: the first 8
     * bytes of its TCP header. True when it concerns a live flow. */
    bool (*tcp_error)(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                      const uint8_t *quoted, int type, int code, uint32_t mtu);
};

struct net {
    struct core core;
    const struct net_upcalls *up;
    struct iface ifaces[UST_MAX_IFACES];
    struct ifaddr addrs[UST_MAX_ADDRS];
    struct route routes[UST_MAX_ROUTES];
    uint32_t n_ifaces, n_addrs, n_routes;
    uint32_t caps;  /* what every interface can do */
    uint32_t epoch; /* changes when an ip_dst may be stale */
    struct neigh *neighs;
    uint32_t n_neighs, neighs_used;
    uint32_t neigh_free;
    uint32_t neigh_lru, neigh_mru;
    uint32_t neigh_timers; /* timer number of neighs[0] */
    struct flowtable neigh_table;
    struct mbuf_queue outq; /* finished frames */
    struct tokens icmp_errors, icmp_echoes;
    uint16_t ip_id;
};

/* net.c */
void net_init(struct net *net, const struct net_upcalls *up);
int net_add_iface(struct net *net, const uint8_t mac[6], uint32_t mtu, uint32_t caps);
int net_add_addr(struct net *net, int iface, const struct ust_addr *addr, unsigned prefix_len);
int net_add_route(struct net *net, int iface, const struct ust_addr *dst, unsigned prefix_len,
                  const struct ust_addr *gateway);
/* The address entry that is exactly a, or NULL. */
struct ifaddr *net_own(struct net *net, const struct ust_addr *a);
/* Is a the broadcast address of one of our networks, or 255.255.255.255, or a
 * multicast group? */
bool net_is_group(const struct net *net, const struct ust_addr *a);
/* The interface and next hop for dst; false without a route. */
bool net_route(const struct net *net, const struct ust_addr *dst, int *iface,
               struct ust_addr *next_hop);
/* The source address for dst (RFC 1122 3.3.4.3); NULL without a route. */
const struct ust_addr *net_source(const struct net *net, const struct ust_addr *dst);
/* Bytes of an IP packet that the way to dst carries; 0 without a route. */
uint32_t net_mtu(const struct net *net, const struct ust_addr *dst);

/* ethernet.c */
void eth_input(struct net *net, struct mbuf *m);
/* Puts the Ethernet header in front of m and queues it. */
void eth_output(struct net *net, struct mbuf *m, int iface, const uint8_t dst[6], uint16_t type);

/* arp.c: ARP messages (RFC 826, 5227) */
void arp_input(struct net *net, struct mbuf *m);
/* target_mac NULL: to everybody. */
void arp_request(struct net *net, int iface, const struct ust_addr *target,
                 const uint8_t *target_mac);
void arp_announce(struct net *net, const struct ifaddr *ifa);

/* neighbour.c: the table, its states and its timers */
void neigh_init(struct net *net);
struct neigh *neigh_find(struct net *net, int iface, const struct ust_addr *addr);
/* The entry for addr, made when there is none; NULL when the table is full. */
struct neigh *neigh_get(struct net *net, int iface, const struct ust_addr *addr);
/* addr answered, or spoke to us, from mac. */
void neigh_confirm(struct net *net, struct neigh *n, const uint8_t mac[6]);
int neigh_add_permanent(struct net *net, int iface, const struct ust_addr *addr,
                        const uint8_t mac[6]);
/* Sends m (an IP packet) to n now or when it is resolved. Owns m. */
void neigh_output(struct net *net, struct neigh *n, struct mbuf *m);
void neigh_timer(struct net *net, uint32_t i);

/* ipv4.c */
void ipv4_input(struct net *net, struct mbuf *m);
struct ip_out {
    const struct ust_addr *src, *dst;
    uint8_t proto, tos;
    uint8_t ttl; /* 0: the default */
    bool may_fragment;
    struct ip_dst *cache; /* or NULL */
};
/* Sends m, whose data is a transport segment. Owns m. False when it was
 * dropped (no route). */
bool ip_output(struct net *net, struct mbuf *m, const struct ip_out *o);
/* Unfolded sum of the pseudo-header (RFC 9293 3.1). */
uint64_t ip_pseudo_sum(const struct ust_addr *src, const struct ust_addr *dst, uint8_t proto,
                       uint32_t len);

/* icmp.c */
void icmp_input(struct net *net, struct mbuf *m, const struct packet *p);
enum { ICMP_UNREACH_PROTO = 2, ICMP_UNREACH_PORT = 3 };
/* Answers the packet in m with destination unreachable, if it may be
 * answered (RFC 1122 3.2.2). m stays the caller's. */
void icmp_unreachable(struct net *net, struct mbuf *m, const struct packet *p, int code);

static inline void net_drop(struct net *net, struct mbuf *m, enum counter why)
{
    count(&net->core, why);
    mbuf_free(&net->core.pool, m);
}
