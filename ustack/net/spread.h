/* SPDX-License-Identifier: BSD-3-Clause */
/* How the flows of a stack are spread over its engines.
 *
 * A NIC hashes each frame of a flow, and an indirection table (RETA) says by the
 * low bits of the hash which queue gets it (Microsoft's RSS). Each engine serves
 * one queue, so the same rule says which engine owns a flow; it is a function of
 * the flow and of the rule alone, which all engines share. What the NIC really
 * does matters for speed only: what comes by the wrong queue is handed over.
 *
 * A flow is that of the transport's ports, whatever is between IP's header and
 * the transport's; fragments are of no flow but of their addresses until they
 * are put together; an ICMP error is of the flow of the packet that it quotes.
 *
 * The local port of an active open is chosen so that the answers come to the
 * engine that opens (affinity.c). The hash is linear over XOR: among the flows that
 * differ in the local port alone, that port moves the bucket by an XOR that is a
 * linear function of it. So the buckets fall into classes, and a port leads from
 * any bucket to each other one of its class and to no other. Where not every engine
 * has a bucket in the class of a flow, as when the port is not hashed at all, and
 * where the ephemeral range has not a port for each step, ports of that range name
 * the engine by themselves, by remainder: then the NIC goes wrong, but all engines
 * agree, and no two open the same flow.
 *
 * Not here: how frames get from engine to engine (handover.c).               */
#pragma once
#include "../base/rss.h"
#include "net.h"

enum frame_kind {
    FRAME_OF_NOBODY, /* nobody takes it, or each engine alike */
    FRAME_OF_FLOW,
    FRAME_OF_ALL,
};

/* A flow as our side sees it. proto: TCP and UDP with both ports, else with
 * neither, hashed over the addresses alone. */
struct frame_flow {
    struct flow_key key;
    uint8_t proto;
};

enum { RETA_BITS = 9, PORT_BITS = 16 };

/* What local ports do to the bucket of a flow of one IP version.
 *
 *  A1  image[b] is 0 or has b as its highest bit; ports made_by[b] lead there
 *  A2  kernel: independent ports that lead nowhere; with the image's they are 16
 *  A3  a class is named by its bucket that has no highest bit of the image set */
struct port_map {
    uint16_t image[RETA_BITS], made_by[RETA_BITS];
    uint16_t kernel[PORT_BITS];
    uint32_t n_kernel;
    bool uneven[UST_MAX_RETA];    /* class: not every engine has ports in it */
    bool any_uneven;              /* one of them is */
    uint16_t first[UST_MAX_RETA]; /* class: where in mine its buckets begin … */
    uint16_t count[UST_MAX_RETA]; /* … and how many there are */
    uint16_t mine[UST_MAX_RETA];  /* this engine's buckets, by class */
};

/* One way to spread flows, with what follows from it. */
struct spread_rule {
    struct ust_rss rss;
    struct rss_table table;
    struct port_map v4, v6;
    uint8_t parts[UST_MAX_ENGINES]; /* the engines that have buckets, … */
    uint32_t n_parts;               /* … how many they are, … */
    int32_t part;                   /* … and which of them we are; -1: none */
};

struct spread {
    struct spread_rule now;
    ust_time since;     /* when that was given; 0: before the engine knew the time */
    struct tokens asks; /* see foreign.ask_limit */
};

/* Ports that an open may use, by number. */
struct port_set {
    uint32_t n;                 /* how many numbers there are */
    uint32_t lo, hi, step;      /* lo, lo + step … */
    const struct port_map *map; /* or, if not NULL, by this, in steps through all of n */
    uint32_t bucket, cls;       /* of the flow with local port 0 */
};

/* One engine, and nobody else. */
void spread_init(struct net *net);
/* 0 or -EINVAL. */
int spread_set(struct net *net, const struct ust_rss *rss);
/* The range of ephemeral ports is another one. */
void spread_settle(struct net *net);
/* frame: its first len bytes, which came in by that interface. */
enum frame_kind spread_classify(const struct net *net, unsigned iface, const uint8_t *frame,
                                size_t len, struct frame_flow *f);
/* The number of the engine that owns the flow. */
unsigned spread_owner(const struct net *net, const struct spread_rule *rule,
                      const struct frame_flow *f);
/* The bits of its hash that choose a bucket. Are its ports among what is hashed? */
uint32_t spread_bucket(const struct spread_rule *rule, const struct frame_flow *f);
bool spread_has_ports(const struct spread_rule *rule, uint8_t proto);

/* m waits for the worker, which brings it to that engine, or all others; or is dropped,
 * for too many wait. */
void spread_put_aside(struct net *net, struct mbuf *m, unsigned engine, enum counter why);
/* If m is of another engine's flow, puts it aside and says so. */
bool spread_is_foreign(struct net *net, struct mbuf *m);

/* affinity.c */
void affinity_init(struct spread_rule *rule, const struct settings *set);
/* The bucket that names the class of this one. port: if not NULL, what leads from
 * the one to the other is added to it. */
uint32_t affinity_class(const struct port_map *map, uint32_t bucket, uint16_t *port);
/* The ports of the ephemeral range that this engine may open the flow with: those
 * with which the answers come to it. proto: TCP or UDP; remote any: not yet known. */
struct port_set affinity_ports(const struct net *net, uint8_t proto, const struct flow_key *key);
/* Number i of them; 0 if that one is outside the ephemeral range. */
uint16_t affinity_port(const struct port_set *set, uint32_t i);
/* Is this a port that names its engine by itself? */
bool affinity_is_named(const struct net *net, uint16_t port);

static inline const struct port_map *affinity_map(const struct spread_rule *rule, bool v4)
{
    return v4 ? &rule->v4 : &rule->v6;
}
