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

/* One way to spread flows, with what follows from it. */
struct spread_rule {
    struct ust_rss rss;
    struct rss_table table;
};

struct spread {
    struct spread_rule now;
};

/* One engine, and nobody else. */
void spread_init(struct net *net);
/* 0 or -EINVAL. */
int spread_set(struct net *net, const struct ust_rss *rss);
/* frame: its first len bytes, which came in by that interface. */
enum frame_kind spread_classify(const struct net *net, unsigned iface, const uint8_t *frame,
                                size_t len, struct frame_flow *f);
/* The number of the engine that owns the flow. */
unsigned spread_owner(const struct spread_rule *rule, const struct frame_flow *f);
