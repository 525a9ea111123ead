/* SPDX-License-Identifier: BSD-3-Clause */
/* UDP (RFC 768, 8200 8.1; RFC 8085's advice on path MTU): sockets with bounded
 * receive queues of whole datagrams, kept in the mbufs they came in, headers
 * and all.
 *
 * A ping socket is one whose datagrams are ICMP echo messages of one IP version,
 * header included, and whose port is their identifier: as Linux's SOCK_DGRAM
 * with IPPROTO_ICMP. Its keys are apart from UDP's (flow_key.ping).
 *
 *  D1  a socket is in the table if and only if bound; its key is then its own
 *  D2  charged is the buffer memory of its queue, at most rcv_limit          */
#pragma once
#include "../net/net.h"

enum {
    UDP_NONE = 0xffffffff,
    UDP_MAX_SEGMENTS = 128, /* of one call, as Linux */
    UDP_GEN_MAX = 0x3fffffff
};

enum udp_discover {                 /* IP_MTU_DISCOVER, Linux's numbers */
                    UDP_PMTU_DONT,  /* never set DF */
                    UDP_PMTU_WANT,  /* set DF, but fragment what is larger than the path */
                    UDP_PMTU_DO,    /* set DF; EMSGSIZE for what is larger */
                    UDP_PMTU_PROBE, /* set DF, whatever is known of the path */
};

struct udp_sock {
    struct flow_key key;
    uint32_t gen;     /* of the handle, 1..UDP_GEN_MAX */
    uint32_t entered; /* when it got its key, counted: the last of equals is preferred */
    bool used : 1, bound : 1, connected : 1;
    bool broadcast : 1, reuseaddr : 1, rcv_shut : 1, snd_shut : 1, event_queued : 1;
    bool inet6 : 1;                      /* an IPv6 socket: unbound, it takes both versions */
    bool v6only : 1;                     /* bound to every address, it takes no IPv4 */
    bool ping : 1;                       /* set while unbound; with inet6, v6only as well */
    bool addr_given : 1, port_given : 1; /* by bind: connect may not take them back */
    uint8_t tos, ttl;                    /* ttl 0: the default */
    uint8_t discover;                    /* enum udp_discover */
    uint16_t gso_size; /* cut what is sent into datagrams of so many bytes; 0: do not */
    int32_t error;     /* positive errno */
    struct mbuf_queue rx;
    uint32_t charged, rcv_limit;
    uint32_t event_prev, event_next, next;
    uint64_t user;
};

struct udp {
    struct net *net;
    struct udp_sock *socks;
    uint32_t n_socks, socks_used, sock_free, entered;
    uint32_t event_head, event_tail;
    struct flowtable table;
};

void udp_init(struct udp *udp, struct net *net);
struct udp_sock *udp_alloc(struct udp *udp);
void udp_free(struct udp *udp, struct udp_sock *s);
uint32_t udp_index(const struct udp *udp, const struct udp_sock *s);

/* Who takes a datagram of this flow: the one connected to it, else the one bound
 * to its local end, else to any address; NULL. */
struct udp_sock *udp_find(const struct udp *udp, const struct flow_key *key);

/* port 0: any free one. 0, -EINVAL, -EADDRINUSE, -EADDRNOTAVAIL. */
int udp_bind(struct udp *udp, struct udp_sock *s, const struct ust_addr *addr, uint16_t port);
/* To every address of a version, and any free port. */
int udp_bind_any(struct udp *udp, struct udp_sock *s, bool v4);
/* port 0 and the unspecified address: forget the peer. */
int udp_connect(struct udp *udp, struct udp_sock *s, const struct ust_addr *addr, uint16_t port);
/* addr NULL: to the connected peer. Bytes sent, or -EMSGSIZE, -EDESTADDRREQ … */
int64_t udp_send(struct udp *udp, struct udp_sock *s, const void *data, size_t len,
                 const struct ust_addr *addr, uint16_t port);
/* Copies the next datagram's bytes; what does not fit is lost, unless peek.
 * info may be NULL. Bytes copied, -EAGAIN, or the pending error. */
int64_t udp_recv(struct udp *udp, struct udp_sock *s, void *buf, size_t size, bool peek,
                 struct ust_datagram *info);

/* Upcalls of the network layer. */
void udp_input(struct net *net, struct mbuf *m, const struct packet *p);
bool udp_error(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
               const uint8_t *quoted, const struct ip_error *e);
void ping_input(struct net *net, struct mbuf *m, const struct packet *p);
bool ping_error(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                const uint8_t *quoted, const struct ip_error *e);

/* What ping.c shares with input.c: queues m, which is whole and whose l4_off is
 * set, or drops it; and gives the owner of key an error. */
void udp_enqueue(struct udp *udp, struct udp_sock *s, struct mbuf *m);
bool udp_tell(struct net *net, const struct flow_key *key, const struct ip_error *e);
/* And with output.c: is data, of at least len bytes, a message that s may send? */
int ping_check(const struct udp_sock *s, const uint8_t *data, size_t len);
/* The header of m becomes that of s' own request. */
void ping_header(struct net *net, struct mbuf *m, const struct flow_key *to);

/* The event list, read by the layer above. */
void udp_changed(struct udp *udp, struct udp_sock *s);
void udp_unevent(struct udp *udp, struct udp_sock *s);
