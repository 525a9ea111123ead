/* SPDX-License-Identifier: BSD-3-Clause */
/* A network of engines and links: the loop that jumps from event to event.
 *
 * Always: what happens at one moment happens in the order links, hosts, flows,
 * each by number, so the same calls give the same run.
 * Not here: what a link does (link.c), what the hosts' applications do (flow.c),
 * where a switch sends a frame (switch.c).                                  */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>

enum { STUCK_NS = 1000 }; /* an engine whose output waits for memory is asked again */

struct ust_sim *ust_sim_new(ust_time now)
{
    struct ust_sim *sim = calloc(1, sizeof *sim);

    if (!sim)
        return NULL;
    sim->now = now;
    sim->flow_due = UINT64_MAX;
    sim->why = -1;
    return sim;
}

void ust_sim_free(struct ust_sim *sim)
{
    if (!sim)
        return;
    for (uint32_t i = 0; i < sim->n_links; i++)
        ust_link_free(sim->cables[i].link);
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        free(sim->nodes[i].forward);
        free(sim->nodes[i].capture.buf);
    }
    for (uint32_t i = 0; i < sim->n_flows; i++) {
        free(sim->flows[i]->latencies);
        free(sim->flows[i]);
    }
    free(sim);
}

/* ------------------------------------------------------- set-up */

int ust_sim_add_host(struct ust_sim *sim, struct ust_engine *eng)
{
    uint32_t i = sim->n_nodes;

    if (i == SIM_NODES)
        return -ENOSPC;
    sim->nodes[i] = (struct sim_node){.engine = eng, .out = -1};
    sim->host_due[i] = UINT64_MAX;
    sim->n_nodes++;
    sim_touch(sim, (int32_t)i);
    return (int)i;
}

int ust_sim_add_switch(struct ust_sim *sim)
{
    uint32_t i = sim->n_nodes;
    int32_t *forward = i < SIM_NODES ? malloc(SIM_NODES * sizeof *forward) : NULL;

    if (!forward)
        return i < SIM_NODES ? -ENOMEM : -ENOSPC;
    for (uint32_t k = 0; k < SIM_NODES; k++)
        forward[k] = -1;
    sim->nodes[i] = (struct sim_node){.out = -1, .forward = forward};
    sim->host_due[i] = UINT64_MAX;
    sim->n_nodes++;
    return (int)i;
}

int ust_sim_add_link(struct ust_sim *sim, int from, int to, const struct ust_link_config *cfg,
                     uint64_t seed)
{
    uint32_t i = sim->n_links;
    int err;

    if (i == SIM_LINKS)
        return -ENOSPC;
    if (from < 0 || to < 0 || (uint32_t)from >= sim->n_nodes || (uint32_t)to >= sim->n_nodes)
        return -EINVAL;
    if (sim->nodes[from].engine && sim->nodes[from].out >= 0)
        return -EINVAL; /* N2 */
    sim->cables[i] =
        (struct sim_cable){.link = ust_link_new(cfg, seed, &err), .from = from, .to = to};
    if (!sim->cables[i].link)
        return err;
    if (sim->nodes[from].engine)
        sim->nodes[from].out = (int32_t)i;
    sim->link_due[i] = UINT64_MAX;
    sim->n_links++;
    return (int)i;
}

struct ust_link *ust_sim_link(struct ust_sim *sim, int link)
{
    return link >= 0 && (uint32_t)link < sim->n_links ? sim->cables[link].link : NULL;
}

int ust_sim_forward(struct ust_sim *sim, int node, int host, int link)
{
    if (node < 0 || host < 0 || link < 0 || (uint32_t)node >= sim->n_nodes ||
        (uint32_t)host >= sim->n_nodes || (uint32_t)link >= sim->n_links ||
        !sim->nodes[node].forward || sim->cables[link].from != node)
        return -EINVAL;
    sim->nodes[node].forward[host] = link;
    return 0;
}

int ust_sim_too_big(struct ust_sim *sim, int link, const struct ust_addr *router)
{
    if (link < 0 || (uint32_t)link >= sim->n_links)
        return -EINVAL;
    sim->cables[link].router = *router;
    sim->cables[link].answers = true;
    return 0;
}

ust_time ust_sim_now(const struct ust_sim *sim)
{
    return sim->now;
}

const ust_time *ust_sim_clock(const struct ust_sim *sim)
{
    return &sim->now;
}

static bool is_host(const struct ust_sim *sim, int host)
{
    return host >= 0 && (uint32_t)host < sim->n_nodes && sim->nodes[host].engine;
}

int ust_sim_leave_events(struct ust_sim *sim, int host, int on)
{
    if (!is_host(sim, host))
        return -EINVAL;
    sim->nodes[host].leave_events = on != 0;
    return 0;
}

int ust_sim_touch(struct ust_sim *sim, int host)
{
    if (!is_host(sim, host))
        return -EINVAL;
    sim_touch(sim, host);
    return 0;
}

unsigned ust_sim_events(struct ust_sim *sim, struct ust_sim_event *ev, unsigned max)
{
    unsigned n = sim->n_events < max ? sim->n_events : max;

    for (unsigned i = 0; i < n; i++)
        ev[i] = sim->events[i];
    for (unsigned i = n; i < sim->n_events; i++)
        sim->events[i - n] = sim->events[i];
    sim->n_events -= n;
    return n;
}

/* ------------------------------------------------------- frames */

void sim_touch(struct ust_sim *sim, int32_t node)
{
    if (sim->nodes[node].touched)
        return;
    sim->nodes[node].touched = true;
    sim->touched[sim->n_touched++] = (uint32_t)node;
}

void sim_send(struct ust_sim *sim, int32_t link, const uint8_t *frame, size_t len)
{
    struct sim_cable *c = &sim->cables[link];

    if (ust_link_send(c->link, sim->now, frame, len) == -EMSGSIZE && c->answers)
        sim_answer_too_big(sim, link, frame, len);
    sim->link_due[link] = ust_link_deadline(c->link);
}

void sim_arrive(struct ust_sim *sim, int32_t node, int32_t link, const uint8_t *frame, size_t len)
{
    struct sim_node *n = &sim->nodes[node];

    if (!n->engine) {
        sim_forward(sim, node, link, frame, len);
        return;
    }
    if (n->capture.on)
        sim_record(sim, n, frame, len);
    (void)ust_engine_inject(n->engine, sim->now, 0, frame, len, 0);
    sim_touch(sim, node);
}

static void deliver(struct ust_sim *sim, int32_t link)
{
    struct sim_cable *c = &sim->cables[link];

    for (struct sim_frame *f; (f = link_take(c->link, sim->now));) {
        sim_arrive(sim, c->to, link, f->data, f->len);
        sim_frame_free(c->link, f);
    }
    sim->link_due[link] = ust_link_deadline(c->link);
}

/* ------------------------------------------------------- hosts */

/* News for flows go to them, other news to the caller of ust_sim_run(). */
static void hand_out_events(struct ust_sim *sim, int32_t host)
{
    struct ust_event ev[16];
    unsigned n, room;

    do {
        room = SIM_EVENTS - sim->n_events < 16 ? SIM_EVENTS - sim->n_events : 16;
        n = room ? ust_engine_events(sim->nodes[host].engine, ev, room) : 0;
        for (unsigned i = 0; i < n; i++) {
            if (ev[i].user & SIM_TAG) {
                flow_event(sim, host, &ev[i]);
            } else {
                sim->events[sim->n_events++] = (struct ust_sim_event){host, ev[i]};
                sim->why = UST_SIM_EVENTS;
            }
        }
    } while (n > 0);
}

static void put_out_frames(struct ust_sim *sim, struct sim_node *n)
{
    int64_t len;

    while ((len = ust_engine_extract(n->engine, sim->now, sim->buf, SIM_BUF)) != 0) {
        if (len < 0)
            continue;
        if (n->capture.on)
            sim_record(sim, n, sim->buf, (size_t)len);
        if (n->out >= 0)
            sim_send(sim, n->out, sim->buf, (size_t)len);
    }
}

static bool has_left_events(const struct sim_node *n)
{
    return n->leave_events && ust_engine_has_events(n->engine);
}

/* answered: applications have had their turn, and hosts need not wait for the
 * answers that might carry their ACKs. */
static void settle(struct ust_sim *sim, bool answered)
{
    while (sim->n_touched > 0) {
        uint32_t i = sim->touched[--sim->n_touched];
        struct sim_node *n = &sim->nodes[i];

        n->touched = false;
        if (!n->engine)
            continue;
        if (!n->leave_events)
            hand_out_events(sim, (int32_t)i);
        if (answered || !has_left_events(n))
            put_out_frames(sim, n);
        if (has_left_events(n))
            sim->why = UST_SIM_EVENTS;
        if (ust_cc_pending(n->engine))
            sim->why = UST_SIM_CC;
        sim->host_due[i] = ust_engine_deadline(n->engine);
        if (sim->host_due[i] <= sim->now)
            sim->host_due[i] = sim->now + STUCK_NS;
    }
}

/* ------------------------------------------------------- the loop */

static ust_time earliest(const struct ust_sim *sim)
{
    ust_time t = sim->flow_due;

    for (uint32_t i = 0; i < sim->n_links; i++)
        t = sim->link_due[i] < t ? sim->link_due[i] : t;
    for (uint32_t i = 0; i < sim->n_nodes; i++)
        t = sim->host_due[i] < t ? sim->host_due[i] : t;
    return t;
}

static void step(struct ust_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_links; i++)
        if (sim->link_due[i] <= sim->now)
            deliver(sim, (int32_t)i);
    for (uint32_t i = 0; i < sim->n_nodes; i++) {
        if (sim->host_due[i] > sim->now)
            continue;
        ust_engine_tick(sim->nodes[i].engine, sim->now);
        sim_touch(sim, (int32_t)i);
    }
    if (sim->flow_due <= sim->now)
        flows_run(sim);
    settle(sim, false);
}

int ust_sim_run(struct ust_sim *sim, ust_time until)
{
    settle(sim, true);
    for (;;) {
        ust_time next = earliest(sim);
        int why = sim->why;

        sim->why = -1;
        if (why >= 0)
            return why;
        if (next == UINT64_MAX && until == UINT64_MAX)
            return UST_SIM_NOTHING;
        if (next > until) {
            sim->now = sim->now > until ? sim->now : until;
            return UST_SIM_TIME;
        }
        if (next > sim->now)
            sim->now = next;
        step(sim);
    }
}
