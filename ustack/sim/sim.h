/* SPDX-License-Identifier: BSD-3-Clause */
/* A network on virtual time: what its parts know of each other.
 *
 *   flow.c ─▶ engine ─▶ link ─▶ [switch ─▶ link] ─▶ engine ─▶ flow.c
 *             └────────── sim.c: the loop ────────────┘
 *
 * Time jumps to the next of: a link's deadline, an engine's, a flow's.
 *
 *  N1  links 2k and 2k + 1 are the two directions of one cable
 *  N2  a host has one cable, a switch has several, and there is no loop
 *  N3  link_due and host_due hold each deadline, as of the last call to it
 *  N4  a node is in the list of touched ones exactly if it says so            */
#pragma once
#include <stdbool.h>

#include "../ustack.h"
#include "link.h"

enum {
    SIM_NODES = 512,
    SIM_LINKS = 1024,
    SIM_FLOWS = 1024,
    SIM_EVENTS = 256,
    SIM_BUF = 65536 + ETHERNET,
    SIM_CAPTURE_LEN = 1 << 22, /* a run returns when a capture is this long */
};

#define SIM_FOR_EVER UINT64_MAX
/* In ust_event.user of sockets that belong to a flow: flow * 4 + enum role. */
#define SIM_TAG ((uint64_t)1 << 63)

enum role { ROLE_CLIENT, ROLE_SERVER, ROLE_LISTENER };

struct sim_capture {
    uint8_t *buf;
    uint64_t len, size;
    bool on;
};

struct sim_node {
    struct ust_engine *engine; /* NULL: a switch */
    int32_t out;               /* a host's link; -1: none */
    bool touched;
    bool leave_events; /* in the engine */
    struct sim_capture capture;
    int32_t *forward; /* a switch's: link by host, -1: none */
};

struct sim_cable {
    struct ust_link *link;
    int32_t from, to;
    struct ust_addr router; /* that answers what is too large */
    bool answers;
};

struct flow {
    struct ust_sim_flow cfg;
    struct ust_sim_flow_stats stats;
    ust_time due;        /* when it must act of itself */
    ust_time request_at; /* the request under way began */
    bool started, active, stopped;
    uint64_t to_send, to_recv; /* the client's, of this request */
    uint64_t got;              /* by the server, of requests it has not answered */
    uint64_t owed;             /* by the server */
    bool server_eof;
    uint64_t *latencies, latencies_size;
};

struct ust_sim {
    ust_time now;
    uint32_t n_nodes, n_links, n_flows, n_touched, n_events;
    int32_t why; /* for the next return, -1: nothing */
    ust_time link_due[SIM_LINKS], host_due[SIM_NODES];
    ust_time flow_due; /* the least of flows' */
    struct sim_node nodes[SIM_NODES];
    struct sim_cable cables[SIM_LINKS];
    uint32_t touched[SIM_NODES];
    struct flow *flows[SIM_FLOWS];
    struct ust_sim_event events[SIM_EVENTS];
    uint8_t buf[SIM_BUF];   /* frames and what is read */
    uint8_t zeros[SIM_BUF]; /* what flows write */
};

/* sim.c */
void sim_touch(struct ust_sim *sim, int32_t node);
/* A frame has come to a node by a link, or -1. */
void sim_arrive(struct ust_sim *sim, int32_t node, int32_t link, const uint8_t *frame, size_t len);
void sim_send(struct ust_sim *sim, int32_t link, const uint8_t *frame, size_t len);

/* switch.c */
void sim_forward(struct ust_sim *sim, int32_t node, int32_t link, const uint8_t *frame, size_t len);
void sim_answer_too_big(struct ust_sim *sim, int32_t link, const uint8_t *frame, size_t len);

/* capture.c */
void sim_record(struct ust_sim *sim, struct sim_node *node, const uint8_t *frame, size_t len);

/* flow.c */
void flow_event(struct ust_sim *sim, int32_t host, const struct ust_event *event);
void flows_run(struct ust_sim *sim);
