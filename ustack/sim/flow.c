/* SPDX-License-Identifier: BSD-3-Clause */
/* What applications do in a simulation: a client that sends requests and a server
 * that answers them. A bulk transfer is one request without an answer.
 *
 * Both ends know what to expect, so the bytes mean nothing: they are zeros. A
 * flow that fails aborts both its sockets and keeps the error.              */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { FIRST_LATENCIES = 64, MAX_LATENCIES = 1 << 20 };

static void set_due(struct ust_sim *sim, struct flow *fl, ust_time due)
{
    fl->due = due;
    sim->flow_due = UINT64_MAX;
    for (uint32_t i = 0; i < sim->n_flows; i++)
        if (sim->flows[i]->due < sim->flow_due)
            sim->flow_due = sim->flows[i]->due;
}

int ust_sim_add_flow(struct ust_sim *sim, const struct ust_sim_flow *cfg)
{
    struct flow *fl;
    uint64_t tag = SIM_TAG | (uint64_t)sim->n_flows << 2;

    if (sim->n_flows == SIM_FLOWS)
        return -ENOSPC;
    if (cfg->client < 0 || cfg->server < 0 || (uint32_t)cfg->client >= sim->n_nodes ||
        (uint32_t)cfg->server >= sim->n_nodes || cfg->request == 0 || cfg->count == 0 ||
        !sim->nodes[cfg->client].engine || !sim->nodes[cfg->server].engine)
        return -EINVAL;
    fl = calloc(1, sizeof *fl);
    if (!fl)
        return -ENOMEM;
    fl->cfg = *cfg;
    fl->stats.client = cfg->socket;
    (void)ust_set_user(sim->nodes[cfg->client].engine, cfg->socket, tag | ROLE_CLIENT);
    (void)ust_set_user(sim->nodes[cfg->server].engine, cfg->listener, tag | ROLE_LISTENER);
    sim->flows[sim->n_flows++] = fl;
    set_due(sim, fl, cfg->start);
    return (int)sim->n_flows - 1;
}

static uint64_t rexmts_of(const struct ust_sim *sim, int32_t host, ust_handle h)
{
    struct ust_tcp_info info;

    return h && ust_tcp_info(sim->nodes[host].engine, h, &info) == 0 ? info.total_retrans : 0;
}

int ust_sim_flow_stats(const struct ust_sim *sim, int flow, struct ust_sim_flow_stats *stats)
{
    const struct flow *fl;

    if (flow < 0 || (uint32_t)flow >= sim->n_flows)
        return -EINVAL;
    fl = sim->flows[flow];
    *stats = fl->stats;
    stats->rexmts += rexmts_of(sim, fl->cfg.client, fl->stats.client);
    stats->rexmts += rexmts_of(sim, fl->cfg.server, fl->stats.server);
    return 0;
}

uint64_t ust_sim_latencies(const struct ust_sim *sim, int flow, uint64_t *ns, uint64_t max)
{
    const struct flow *fl;
    uint64_t n;

    if (flow < 0 || (uint32_t)flow >= sim->n_flows)
        return 0;
    fl = sim->flows[flow];
    n = fl->stats.n_latencies < max ? fl->stats.n_latencies : max;
    if (n)
        memcpy(ns, fl->latencies, n * sizeof *ns);
    return n;
}

static void keep_latency(struct flow *fl, uint64_t ns)
{
    struct ust_sim_flow_stats *stats = &fl->stats;

    if (stats->n_latencies == fl->latencies_size) {
        uint64_t size = fl->latencies_size ? 2 * fl->latencies_size : FIRST_LATENCIES;
        uint64_t *more = size <= MAX_LATENCIES ? malloc(size * sizeof *more) : NULL;

        if (!more)
            return;
        if (fl->latencies)
            memcpy(more, fl->latencies, fl->latencies_size * sizeof *more);
        free(fl->latencies);
        fl->latencies = more;
        fl->latencies_size = size;
    }
    fl->latencies[stats->n_latencies++] = ns;
}

/* ------------------------------------------------------- ends */

static void drop_socket(struct ust_sim *sim, struct flow *fl, int32_t host, ust_handle *h,
                        int (*how)(struct ust_engine *, ust_handle))
{
    fl->stats.rexmts += rexmts_of(sim, host, *h);
    if (*h)
        (void)how(sim->nodes[host].engine, *h);
    *h = 0;
    sim_touch(sim, host);
}

static void fail(struct ust_sim *sim, struct flow *fl, int64_t error)
{
    fl->stats.error = (int32_t)error;
    fl->stats.finished = sim->now;
    drop_socket(sim, fl, fl->cfg.client, &fl->stats.client, ust_abort);
    drop_socket(sim, fl, fl->cfg.server, &fl->stats.server, ust_abort);
    set_due(sim, fl, UINT64_MAX);
    sim->why = UST_SIM_FLOW;
}

/* Writes up to *left bytes; false after a failure. */
static bool write_some(struct ust_sim *sim, struct flow *fl, int32_t host, ust_handle h,
                       uint64_t *left)
{
    while (*left > 0) {
        size_t n = *left < SIM_BUF ? (size_t)*left : SIM_BUF;
        int64_t taken = ust_send(sim->nodes[host].engine, h, sim->zeros, n, 0);

        if (taken == -EAGAIN || taken == -ENOBUFS || taken == -ENOTCONN)
            return true;
        if (taken < 0) {
            fail(sim, fl, taken);
            return false;
        }
        if (*left != SIM_FOR_EVER)
            *left -= (uint64_t)taken;
    }
    return true;
}

/* Reads what there is: bytes, and whether that was the end; false after a
 * failure. */
static bool read_all(struct ust_sim *sim, struct flow *fl, int32_t host, ust_handle h,
                     uint64_t *got, bool *eof)
{
    *got = 0;
    for (;;) {
        int64_t n = ust_recv(sim->nodes[host].engine, h, sim->buf, SIM_BUF, 0);

        if (n == -EAGAIN || n == -ENOTCONN)
            return true;
        if (n < 0) {
            fail(sim, fl, n);
            return false;
        }
        *got += (uint64_t)n;
        if (n == 0) {
            *eof = true;
            return true;
        }
    }
}

/* ------------------------------------------------------- the client */

static void begin_request(struct ust_sim *sim, struct flow *fl)
{
    fl->active = true;
    fl->request_at = sim->now;
    fl->to_send = fl->cfg.request;
    fl->to_recv = fl->cfg.response;
}

static void end_sending(struct ust_sim *sim, struct flow *fl)
{
    fl->stopped = true;
    fl->active = false;
    set_due(sim, fl, UINT64_MAX);
    (void)ust_shutdown(sim->nodes[fl->cfg.client].engine, fl->stats.client, UST_SHUT_WR);
    sim_touch(sim, fl->cfg.client);
}

/* The request is over: when does the next begin? False: not now. */
static bool next_request(struct ust_sim *sim, struct flow *fl)
{
    const struct ust_sim_flow *cfg = &fl->cfg;
    ust_time next = fl->request_at + cfg->period;

    fl->active = false;
    fl->stats.done++;
    if (cfg->response)
        keep_latency(fl, sim->now - fl->request_at);
    if (fl->stats.done >= cfg->count || sim->now >= cfg->stop) {
        end_sending(sim, fl);
        return false;
    }
    if (next > sim->now) {
        set_due(sim, fl, next < cfg->stop ? next : cfg->stop);
        return false;
    }
    begin_request(sim, fl);
    return true;
}

static void work_client(struct ust_sim *sim, struct flow *fl)
{
    uint64_t got;
    bool eof = false;

    if (!read_all(sim, fl, fl->cfg.client, fl->stats.client, &got, &eof))
        return;
    fl->stats.to_client += got;
    if (fl->to_recv != SIM_FOR_EVER)
        fl->to_recv -= got < fl->to_recv ? got : fl->to_recv;
    if (eof) {
        drop_socket(sim, fl, fl->cfg.client, &fl->stats.client, ust_close);
        return;
    }
    while (fl->active) {
        if (!write_some(sim, fl, fl->cfg.client, fl->stats.client, &fl->to_send) ||
            fl->to_send > 0 || fl->to_recv > 0 || !next_request(sim, fl))
            return;
    }
}

static void client_event(struct ust_sim *sim, struct flow *fl, const struct ust_event *ev)
{
    if (ev->error) {
        fail(sim, fl, -ev->error);
        return;
    }
    if (!fl->stats.connected && (ev->events & UST_CONNECTED)) {
        fl->stats.connected = sim->now;
        begin_request(sim, fl);
        if (fl->cfg.stop != UINT64_MAX)
            set_due(sim, fl, fl->cfg.stop);
    }
    if (fl->stats.connected)
        work_client(sim, fl);
}

/* ------------------------------------------------------- the server */

static void work_server(struct ust_sim *sim, struct flow *fl)
{
    uint64_t got;

    if (!fl->server_eof) {
        if (!read_all(sim, fl, fl->cfg.server, fl->stats.server, &got, &fl->server_eof))
            return;
        fl->stats.to_server += got;
        fl->got += got;
        while (fl->got >= fl->cfg.request) {
            fl->got -= fl->cfg.request;
            fl->owed =
                fl->cfg.response == SIM_FOR_EVER ? SIM_FOR_EVER : fl->owed + fl->cfg.response;
        }
        if (fl->server_eof && fl->owed == SIM_FOR_EVER)
            fl->owed = 0;
    }
    if (!write_some(sim, fl, fl->cfg.server, fl->stats.server, &fl->owed))
        return;
    if (fl->server_eof && fl->owed == 0) {
        drop_socket(sim, fl, fl->cfg.server, &fl->stats.server, ust_close);
        fl->stats.finished = sim->now;
        sim->why = UST_SIM_FLOW;
    }
}

static void accept_one(struct ust_sim *sim, struct flow *fl, uint64_t user)
{
    struct ust_engine *eng = sim->nodes[fl->cfg.server].engine;
    ust_handle h = ust_accept(eng, fl->cfg.listener);

    if (h < 0 || fl->stats.server)
        return;
    fl->stats.server = h;
    (void)ust_set_user(eng, h, (user & ~(uint64_t)3) | ROLE_SERVER);
    work_server(sim, fl);
}

/* ------------------------------------------------------- turns */

void flow_event(struct ust_sim *sim, int32_t host, const struct ust_event *ev)
{
    struct flow *fl = sim->flows[(ev->user & ~SIM_TAG) >> 2];

    switch ((enum role)(ev->user & 3)) {
    case ROLE_LISTENER: accept_one(sim, fl, ev->user); return;
    case ROLE_CLIENT:
        if (ev->handle == fl->stats.client)
            client_event(sim, fl, ev);
        return;
    case ROLE_SERVER:
        if (ev->handle == fl->stats.server)
            work_server(sim, fl);
    }
}

static void start(struct ust_sim *sim, struct flow *fl)
{
    const struct ust_sim_flow *cfg = &fl->cfg;
    int result;

    fl->started = true;
    set_due(sim, fl, UINT64_MAX);
    /* The engine learns the time by a tick. */
    ust_engine_tick(sim->nodes[cfg->client].engine, sim->now);
    result = ust_connect(sim->nodes[cfg->client].engine, cfg->socket, &cfg->addr, cfg->port);
    sim_touch(sim, cfg->client);
    if (result != -EINPROGRESS)
        fail(sim, fl, result);
}

static void stop(struct ust_sim *sim, struct flow *fl)
{
    fl->to_send = fl->to_recv = 0;
    if (fl->owed == SIM_FOR_EVER)
        fl->owed = 0;
    end_sending(sim, fl);
}

void flows_run(struct ust_sim *sim)
{
    for (uint32_t i = 0; i < sim->n_flows; i++) {
        struct flow *fl = sim->flows[i];

        if (fl->due > sim->now)
            continue;
        if (!fl->started) {
            start(sim, fl);
        } else if (sim->now >= fl->cfg.stop) {
            stop(sim, fl);
        } else {
            set_due(sim, fl, fl->cfg.stop);
            begin_request(sim, fl);
            sim_touch(sim, fl->cfg.client);
            work_client(sim, fl);
        }
    }
}
