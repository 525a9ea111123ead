/* SPDX-License-Identifier: BSD-3-Clause */
/* The network layer: interfaces, addresses, routes, neighbours, IPv4, IPv6,
 * fragments, ICMP, path MTU.
 *
 *   in:  eth_input -> arp_input
 *                  -> ipv4_input | ipv6_input [-> fragment_input] -> ip_deliver
 *                       -> icmp_input | icmp6_input [-> nd_input]
 *                       -> upcalls: tcp_input, udp_input, error
 *   out: ip_output -> route -> neighbour -> eth header -> outq
 *                                    what is for ourselves -> loopq -> loop_input
 *
 * Addresses are 16 bytes, IPv4 mapped, and prefix lengths count from the first
 * of them, so both versions share every table.
 *
 * Always: every frame that enters is freed, queued or handed up exactly once;
 * input never sends, it queues on outq.                                     */
#pragma once
#include "../base/core.h"
#include "../base/flowtable.h"
#include "wire.h"

struct net;

enum { IFACE_LOOP = UST_LOOPBACK, ENGINE_ALL = 255 };

struct iface {
    uint8_t mac[6];
    uint32_t mtu;
    uint32_t caps;     /* enum ust_cap */
    bool ipv6;         /* has a link-local address, takes part in ND */
    uint8_t solicits;  /* router solicitations still to send */
    uint32_t ra_mtu;   /* from a router advertisement; 0: none */
    uint8_t hop_limit; /* the same */
};

struct ifaddr {
    struct ust_addr addr;
    uint8_t prefix_len; /* 0..128 */
    uint8_t iface;
    bool tentative;       /* IPv6: duplicate address detection is going on */
    bool automatic;       /* made from a router's advertisement */
    bool on_link;         /* the prefix is on the link (RFC 4861 6.3.4: its L bit) */
    uint8_t probes;       /* DAD solicitations sent */
    uint32_t v4, v4_mask; /* IPv4 addresses a with (a ^ v4) & v4_mask == 0 are ours, host order */
    uint32_t broadcast;   /* last address of an IPv4 network, host order; 0: it has none */
    ust_time defended;    /* last gratuitous ARP for a conflict; 0: never */
    ust_time preferred_until, valid_until; /* UINT64_MAX: for ever */
};

struct route {
    struct ust_addr dst, gateway;
    uint8_t prefix_len; /* 0..128 */
    uint8_t iface;
    bool learned;         /* from a router's advertisement */
    ust_time valid_until; /* UINT64_MAX: for ever */
};

enum neigh_state { /* RFC 4861 7.3.2, for ARP as well */
                   NEIGH_FREE,
                   NEIGH_INCOMPLETE, /* asked, no answer yet; packets wait */
                   NEIGH_REACHABLE,  /* until confirmed + neigh.reachable_ms, then as STALE */
                   NEIGH_STALE,
                   NEIGH_DELAY,  /* stale and in use: upper layers may still confirm it */
                   NEIGH_PROBE,  /* asked again by unicast */
                   NEIGH_FAILED, /* no answer; refuses packets for a moment */
                   NEIGH_PERMANENT,
};

struct neigh {
    struct ust_addr addr;
    uint8_t mac[6];
    uint8_t state; /* enum neigh_state */
    uint8_t iface;
    uint8_t probes; /* requests sent since the last answer */
    bool router;
    bool kept;           /* a connection of ours uses it, or it has answered us */
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

/* The same of a destination that was lately sent to, by whatever flow, until one
 * of the routes ends. */
struct way {
    struct ust_addr dst;
    struct ip_dst to;
    ust_time until;
};

enum { WAYS_BITS = 6, N_WAYS = 1 << WAYS_BITS };

/* An IP packet that has passed validation. */
struct packet {
    struct ust_addr src, dst;
    uint8_t proto, tos, ttl;
    bool group; /* sent to a broadcast or multicast address */
    bool reassembled;
    uint16_t l4_off;   /* of the transport header, from the frame's start */
    uint16_t next_off; /* IPv6: of the byte that names proto, from the IP header's start */
    uint32_t l4_len;
};

/* A flow of a transport protocol, or, with remote and rport 0, a bound port. */
struct flow_key {
    struct ust_addr local, remote;
    uint16_t lport, rport;
    uint32_t ping; /* 1: lport is an echo identifier; keeps the key free of padding */
};

static inline bool flow_key_same(const struct flow_key *a, const struct flow_key *b)
{
    uint64_t x[5], y[5];

    static_assert(sizeof *a == sizeof x, "a key has no padding");
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4])) == 0;
}

/* What an ICMP error says of a packet of ours, in Linux's terms. */
struct ip_error {
    int err;      /* positive errno */
    bool hard;    /* ends a connection attempt */
    uint32_t mtu; /* of the path, when the packet was too big; else 0 */
};

/* What the layers above fill in; see engine.c. The inputs own m. */
struct net_upcalls {
    void (*tcp_input)(struct net *net, struct mbuf *m, const struct packet *p);
    void (*udp_input)(struct net *net, struct mbuf *m, const struct packet *p);
    /* An error about a packet that src sent to dst; quoted: the first 8 bytes
     * of its transport header. False when it concerns no live flow. */
    bool (*tcp_error)(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                      const uint8_t *quoted, const struct ip_error *e);
    bool (*udp_error)(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                      const uint8_t *quoted, const struct ip_error *e);
    /* The same for echo, of either version's ICMP. */
    void (*ping_input)(struct net *net, struct mbuf *m, const struct packet *p);
    bool (*ping_error)(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                       const uint8_t *quoted, const struct ip_error *e);
};

/* A learnt path MTU. */
struct pmtu {
    struct ust_addr dst;
    uint32_t mtu;
    uint32_t prev, next; /* oldest first; next: free list, too */
};

enum { FRAG_UNITS = 65536 / 8, FRAG_WORDS = FRAG_UNITS / 64 };

/* A datagram that waits for fragments. Its bytes are put where they belong in
 * one large mbuf; the maps say, in units of 8 bytes, which are there and where
 * fragments began. */
struct frag {
    struct ust_addr src, dst;
    uint32_t id;
    uint8_t proto;
    bool used, have_first;
    bool group; /* one of its fragments was sent to a group */
    uint8_t tos, ttl;
    uint16_t l2_l3_len; /* headers of the first fragment, kept before the data */
    uint32_t buf;       /* the mbuf */
    uint32_t total;     /* length of the whole; 0: not known yet */
    uint32_t got;       /* bytes received */
    uint32_t furthest;  /* where the last of them ends */
    uint32_t next;      /* free list */
    uint64_t covered[FRAG_WORDS], starts[FRAG_WORDS];
};

struct net {
    struct core core;
    const struct net_upcalls *up;
    struct udp *udp;                         /* of the layer above, which alone looks into it */
    struct iface ifaces[UST_MAX_IFACES + 1]; /* the last is the loopback */
    struct ifaddr addrs[UST_MAX_ADDRS];
    struct route routes[UST_MAX_ROUTES];
    struct way ways[N_WAYS];
    uint32_t n_ifaces, n_addrs, n_routes;
    uint32_t caps;        /* what every interface can do */
    uint32_t epoch;       /* changes when an ip_dst may be stale */
    uint32_t mtu_epoch;   /* changes when a path MTU does */
    struct neigh *neighs; /* n_neighs, and two for the loopback; see loop.c */
    uint32_t n_neighs, neighs_used, neigh_pending;
    uint32_t neigh_free, neighs_passing;
    uint32_t neigh_lru[2], neigh_mru[2]; /* of those that pass by, of those that are kept */
    struct flowtable neigh_table;
    struct pmtu *pmtus;
    uint32_t n_pmtus, pmtus_used, pmtu_free, pmtu_oldest, pmtu_newest;
    struct flowtable pmtu_table;
    struct frag *frags;
    uint32_t n_frags, frags_used, frag_free;
    uint16_t frag_sources[256]; /* datagrams waiting, by a hash of their source */
    struct flowtable frag_table;
    /* Timer numbers: the first of each kind. */
    uint32_t neigh_timers, pmtu_timers, frag_timers, addr_timers, iface_timers, end_timers;
    struct mbuf_queue outq;     /* finished frames */
    struct mbuf_queue loopq;    /* those to ourselves, on their way in */
    struct mbuf_queue foreignq; /* those that came in for other engines; see handover.c */
    struct spread *spread;      /* which those are, see spread.h … */
    uint32_t engine;            /* our number */
    uint32_t n_engines;         /* … if this is more than 1 */
    struct tokens icmp_errors, icmp_echoes;
    uint32_t ip_id;
};

/* net.c: interfaces and addresses */
void net_init(struct net *net, const struct net_upcalls *up);
void net_timer(struct net *net, uint32_t id);
int net_add_iface(struct net *net, const uint8_t mac[6], uint32_t mtu, uint32_t caps);
int net_add_addr(struct net *net, int iface, const struct ust_addr *addr, unsigned prefix_len);
int net_del_addr(struct net *net, const struct ust_addr *addr);
/* The same with an internal prefix length and lifetimes; NULL when full. */
struct ifaddr *net_new_addr(struct net *net, int iface, const struct ust_addr *addr,
                            unsigned mapped_len);
void net_drop_addr(struct net *net, struct ifaddr *ifa);
/* The entry that is exactly a, tentative ones included; or NULL. */
struct ifaddr *net_find_addr(const struct net *net, const struct ust_addr *a);
/* Is a ours, and in use? */
bool net_own(const struct net *net, const struct ust_addr *a);
/* Is a a broadcast address of ours, or 255.255.255.255, or a group? */
bool net_is_group(const struct net *net, const struct ust_addr *a);
/* Both at once of an IPv4 address, host order. */
struct v4_kind {
    bool own, group;
};
static inline struct v4_kind net_v4_kind(const struct net *net, uint32_t a)
{
    struct v4_kind kind = {.group = a >> 28 == 0xe || a == UINT32_MAX};

    for (uint32_t i = 0; i < net->n_addrs; i++) {
        const struct ifaddr *ifa = &net->addrs[i];

        kind.own |= ((a ^ ifa->v4) & ifa->v4_mask) == 0;
        kind.group |= ifa->broadcast == a && a != 0;
    }
    return kind;
}

/* loop.c: packets to our own addresses */
void loop_init(struct net *net);
/* Owns 127.0.0.0/8 and ::1 from now on. 0, -EEXIST or -ENOSPC. */
int loop_enable(struct net *net);
/* Is it an address that must not leave a host (RFC 1122 3.2.1.3, RFC 4291 2.5.3)? */
bool addr_is_loopback(const struct ust_addr *a);
/* Would a packet from src to dst leave the host although src must not? */
bool loop_escapes(const struct net *net, const struct ust_addr *src, const struct ust_addr *dst);
/* What packets to ourselves go through, instead of a neighbour. */
struct neigh *loop_neigh(struct net *net, bool v4);
/* Takes a frame to ourselves out of outq; false when too many wait already. */
bool loop_take(struct net *net, struct mbuf *m);
/* One burst of them comes in: how many. */
unsigned loop_input(struct net *net);

/* route.c */
int net_add_route(struct net *net, int iface, const struct ust_addr *dst, unsigned prefix_len,
                  const struct ust_addr *gateway);
int net_del_route(struct net *net, const struct ust_addr *dst, unsigned prefix_len,
                  const struct ust_addr *gateway);
/* A default route by way of gateway until then, as an advertisement says;
 * already past: forget it. */
void net_router(struct net *net, int iface, const struct ust_addr *gateway, ust_time until);
/* The same for a prefix on the link. */
void net_on_link(struct net *net, int iface, const struct ust_addr *prefix, unsigned len,
                 ust_time until);
/* The interface and next hop for dst; false without a route. */
bool net_route(const struct net *net, const struct ust_addr *dst, int *iface,
               struct ust_addr *next_hop);
/* The neighbour that packets to dst were lately sent through, which is no group,
 * and still are; or NULL: who knows? */
const struct neigh *net_way(const struct net *net, const struct ust_addr *dst);
void net_way_found(struct net *net, const struct ust_addr *dst, const struct neigh *n);
/* The source address for dst (RFC 6724; RFC 1122 3.3.4.3); NULL without one. */
const struct ust_addr *net_source(const struct net *net, const struct ust_addr *dst);
bool prefix_match(const struct ust_addr *a, const struct ust_addr *b, unsigned len);

/* pmtu.c (RFC 1191, RFC 8201) */
void pmtu_init(struct net *net);
/* Bytes of an IP packet that the interface towards dst, or the whole path as
 * far as it is known, carries; 0 without a route. */
uint32_t net_link_mtu(const struct net *net, const struct ust_addr *dst);
uint32_t net_path_mtu(const struct net *net, const struct ust_addr *dst);
/* A router says that mtu is the most: remember it, within reason. True when
 * that lowered what was known. */
bool pmtu_learn(struct net *net, const struct ust_addr *dst, uint32_t mtu);
void pmtu_timer(struct net *net, uint32_t i);

/* spread.c: nobody here knows what m is about. If another engine of the stack may,
 * it is asked, m is taken, and this is true. m begins with its Ethernet header. */
bool net_ask_others(struct net *net, struct mbuf *m);
/* Are there other engines, whose flows may have come to us within so long? */
bool spread_is_new(const struct net *net, ust_time age);

/* ethernet.c */
void eth_input(struct net *net, struct mbuf *m);
/* Puts the Ethernet header in front of m and queues it. */
void eth_output(struct net *net, struct mbuf *m, int iface, const uint8_t dst[6], uint16_t type);

/* The same at p, where m has room for it and for l4_off bytes in front of the
 * transport's header. */
static inline void eth_finish(struct net *net, struct mbuf *m, uint8_t *p, int iface,
                              const uint8_t dst[6], uint16_t type, unsigned l4_off)
{
    memcpy(p + ETH_DST, dst, 6);
    memcpy(p + ETH_SRC, net->ifaces[iface].mac, 6);
    put16(p + ETH_TYPE, type);
    m->iface = (uint8_t)iface;
    m->l3_off = ETH_LEN;
    m->l4_off = m->csum_start = (uint16_t)l4_off;
    count(&net->core, C_ETH_OUT);
    mbuf_enqueue(&net->core.pool, &net->outq, m);
}

static inline void eth_push(struct net *net, struct mbuf *m, int iface, const uint8_t dst[6],
                            uint16_t type)
{
    uint8_t *p = mbuf_push(&net->core.pool, m, ETH_LEN);

    eth_finish(net, m, p, iface, dst, type, m->l4_off + ETH_LEN);
}

/* arp.c: ARP messages (RFC 826, 5227) */
void arp_input(struct net *net, struct mbuf *m);
/* target_mac NULL: to everybody. */
void arp_request(struct net *net, int iface, const struct ust_addr *target,
                 const uint8_t *target_mac);
void arp_announce(struct net *net, const struct ifaddr *ifa);

/* nd.c: neighbour discovery messages (RFC 4861), DAD and SLAAC (RFC 4862) */
void nd_input(struct net *net, struct mbuf *m, const struct packet *p);
void nd_solicit(struct net *net, int iface, const struct ust_addr *target,
                const uint8_t *target_mac);
/* Begins to use IPv6 on an interface: makes its link-local address. */
void nd_enable(struct net *net, int iface);
/* Begins duplicate address detection, or ends it at once where it is off. */
void nd_probe_addr(struct net *net, struct ifaddr *ifa);
void nd_addr_timer(struct net *net, struct ifaddr *ifa);
void nd_iface_timer(struct net *net, int iface);

/* neighbour.c: the table, its states and its timers */
void neigh_init(struct net *net);
struct neigh *neigh_find(struct net *net, int iface, const struct ust_addr *addr);
/* The entry for addr, made when there is none; NULL when the table is full. */
struct neigh *neigh_get(struct net *net, int iface, const struct ust_addr *addr);
/* addr answered our question from mac: REACHABLE. */
void neigh_confirm(struct net *net, struct neigh *n, const uint8_t mac[6]);
/* addr spoke to us from mac: known, but STALE if that is news (7.2.3). */
void neigh_learn(struct net *net, struct neigh *n, const uint8_t mac[6]);
/* A connection of ours sends to it: a flood of strangers shall not evict it. */
void neigh_keep(struct net *net, struct neigh *n);
/* An upper layer made progress with it (RFC 4861 7.3.1). */
void neigh_progress(struct net *net, const struct ip_dst *dst);
/* The opposite: nothing comes back from there; it is to be asked again. */
void neigh_doubt(struct net *net, const struct ip_dst *dst);
int neigh_add_permanent(struct net *net, int iface, const struct ust_addr *addr,
                        const uint8_t mac[6]);
int neigh_del(struct net *net, int iface, const struct ust_addr *addr);
/* The LRU lists are touched at most this often for one entry. */
#define NEIGH_LRU_GRAIN NS_PER_MS
/* Is it known, and was it used just now, so that there is nothing to note? */
static inline bool neigh_is_ready(const struct net *net, const struct neigh *n)
{
    ust_time now = net->core.now;

    return now - n->used < NEIGH_LRU_GRAIN &&
           (n->state == NEIGH_PERMANENT ||
            (n->state == NEIGH_REACHABLE &&
             now - n->confirmed < ms(net->core.set.neigh_reachable_ms)));
}
/* Sends m (an IP packet) to n now or when it is resolved. Owns m. */
void neigh_output(struct net *net, struct neigh *n, struct mbuf *m);
void neigh_timer(struct net *net, uint32_t i);

/* ipv4.c, ipv6.c: validation in, headers out */
struct fragment {
    uint32_t id, offset; /* bytes */
    uint32_t len;
    bool more;
};
struct ip_out {
    const struct ust_addr *src, *dst;
    uint8_t proto, tos;
    uint8_t ttl; /* 0: the default */
    bool may_fragment;
    bool probe;                  /* as large as the link carries, whatever is known of the path */
    const struct fragment *frag; /* this packet is one; or NULL */
    struct ip_dst *cache;        /* or NULL */
};
void ipv4_input(struct net *net, struct mbuf *m);
void ipv4_header(struct net *net, struct mbuf *m, const struct ip_out *o);
void ipv6_input(struct net *net, struct mbuf *m);
void ipv6_header(struct net *net, struct mbuf *m, const struct ip_out *o, int iface);
/* The protocol behind the extension headers at p->l4_off, and where it begins;
 * 59 (no next header) if they do not end within this packet. Only looks. */
uint8_t ipv6_upper_layer(const struct net *net, const struct mbuf *m, const struct packet *p,
                         uint32_t *off);
/* The chain of extension headers from *l4_off on: *proto becomes the upper
 * layer's, or 44 at a fragment header. Frees m and returns false when the
 * packet must be dropped. */
bool ipv6_skip_headers(struct net *net, struct mbuf *m, struct packet *p, bool reassembled);

/* ip.c: what both versions share */
/* Hands a whole packet to its protocol. Owns m. */
void ip_deliver(struct net *net, struct mbuf *m, const struct packet *p);
/* Sends m, whose data is a transport segment, in fragments if it must be. Owns
 * m. 0, -ENETUNREACH or -EMSGSIZE. */
int ip_output(struct net *net, struct mbuf *m, const struct ip_out *o);
/* Unfolded sum of the pseudo-header (RFC 9293 3.1, RFC 8200 8.1). */
uint64_t ip_pseudo_sum(const struct ust_addr *src, const struct ust_addr *dst, uint8_t proto,
                       uint32_t len);
/* An identification for fragments: a secret walk for each pair (RFC 7739). */
uint32_t ip_next_id(struct net *net, const struct ust_addr *src, const struct ust_addr *dst);

/* fragment.c: reassembly and fragmentation of both versions */
void fragment_init(struct net *net);
/* A fragment whose payload begins at p->l4_off. Owns m. */
void fragment_input(struct net *net, struct mbuf *m, const struct packet *p,
                    const struct fragment *f);
/* Cuts m, a transport segment, into packets of at most mtu bytes. Owns m. */
int fragment_output(struct net *net, struct mbuf *m, const struct ip_out *o, struct neigh *n,
                    uint32_t mtu);
void fragment_timer(struct net *net, uint32_t i);

/* icmp.c, icmp6.c */
void icmp_input(struct net *net, struct mbuf *m, const struct packet *p);
void icmp6_input(struct net *net, struct mbuf *m, const struct packet *p);
enum net_unreach { UNREACH_PROTO, UNREACH_PORT };
/* Answers the packet in m with destination unreachable, if it may be answered
 * (RFC 1122 3.2.2, RFC 4443 2.4). m stays the caller's. */
void icmp_unreachable(struct net *net, struct mbuf *m, const struct packet *p,
                      enum net_unreach what);
/* Tells the sender of m's first fragment that the rest did not come. */
void icmp_time_exceeded(struct net *net, struct mbuf *m, const struct packet *p);
void icmp6_error(struct net *net, struct mbuf *m, const struct packet *p, int type, int code,
                 uint32_t param);
/* Sends m, an ICMP message of either version without a checksum. */
void icmp_output(struct net *net, struct mbuf *m, const struct ust_addr *src,
                 const struct ust_addr *dst, uint8_t tos, uint8_t ttl);
/* The message that an error needs: 8 bytes with type and code, then up to
 * quote bytes of m from its IP header; NULL when the rate or memory forbids. */
struct mbuf *icmp_quote(struct net *net, struct mbuf *m, const struct packet *p, int type, int code,
                        uint32_t most);
/* The request in m becomes the reply, in its own mbuf. Owns m. */
void icmp_echo(struct net *net, struct mbuf *m, const struct packet *p, uint8_t reply);
/* Hands an error about a quoted transport header up. Owns m. */
void icmp_report(struct net *net, struct mbuf *m, uint8_t proto, const struct ust_addr *src,
                 const struct ust_addr *dst, const uint8_t *quoted, const struct ip_error *e);
/* The same without a message; false when it concerns nobody. */
bool icmp_tell(struct net *net, uint8_t proto, const struct ust_addr *src,
               const struct ust_addr *dst, const uint8_t *quoted, const struct ip_error *e);
/* Fills in the checksum of m, which is an ICMP message from its first byte. */
void icmp_checksum(struct net *net, struct mbuf *m, const struct ust_addr *src,
                   const struct ust_addr *dst);

/* Is it a copy of a frame that concerns every engine, so that another one answers? */
static inline bool is_copy_for_all(const struct mbuf *m)
{
    return m->hand.to == ENGINE_ALL;
}

/* What one packet may measure on an interface. */
static inline uint32_t iface_mtu(const struct iface *ifc, bool v4)
{
    return !v4 && ifc->ra_mtu ? ifc->ra_mtu : ifc->mtu;
}

static inline void net_drop(struct net *net, struct mbuf *m, enum counter why)
{
    count(&net->core, why);
    mbuf_free(&net->core.pool, m);
}
