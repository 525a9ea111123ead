/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker among others of its stack: it brings frames that its engine has put
 * aside to the engines that own their flows, takes in what is brought to it, and
 * says how it is. The others' part of it is io/crew.h.
 *
 * Not here: whose a frame is (handover.c, net/spread.c).                     */
#include <errno.h>

#include "base/core.h"
#include "base/counters.h"
#include "worker.h"

enum {
    BURSTS = 8,                   /* of frames for others, between two looks at the ports */
    REPORT_NS = 20 * 1000 * 1000, /* a status is not older while there is work */
    EVERYBODY = 255,
};

static void give(struct ust_worker *w, const struct mbuf *m, unsigned owner);

int ust_worker_join(struct ust_worker *w, struct ust_port *crew, unsigned number)
{
    int err = -EBADF;

    if (!worker_enter(w))
        return err;
    err = worker_watch(w, crew->ops->fd(crew, number));
    if (err == 0) {
        w->crew = crew;
        w->number = number;
    }
    worker_leave(w);
    return err;
}

unsigned exchange_in(struct ust_worker *w, ust_time now)
{
    struct mbuf *burst[UST_MAX_BURST];
    unsigned n = w->crew->ops->rx_burst(w->crew, w->number, w->pool, burst, UST_MAX_BURST);

    if (n > 0)
        ust_engine_input_handed(w->eng, now, burst, n);
    return n;
}

void exchange_out(struct ust_worker *w)
{
    struct mbuf *burst[UST_MAX_BURST];
    uint8_t owner[UST_MAX_BURST];
    unsigned n = UST_MAX_BURST;

    for (unsigned turn = 0; turn < BURSTS && n == UST_MAX_BURST; turn++) {
        n = ust_engine_foreign(w->eng, burst, owner, UST_MAX_BURST);
        for (unsigned i = 0; i < n; i++) {
            give(w, burst[i], owner[i]);
            mbuf_free(w->pool, burst[i]);
        }
        if (n > 0)
            crew_flush(w->crew);
    }
}

static void give(struct ust_worker *w, const struct mbuf *m, unsigned owner)
{
    unsigned first = owner == EVERYBODY ? 0 : owner;
    unsigned end = owner == EVERYBODY ? w->crew->n_queues : owner + 1;

    for (unsigned i = first; i < end && i < w->crew->n_queues; i++)
        if (i != w->number)
            crew_put(w->crew, i, w->pool, m);
}

void exchange_report(struct ust_worker *w, ust_time now, bool sleeps)
{
    uint64_t counters[N_COUNTERS];
    struct ust_usage usage;

    if (sleeps ? w->reported_work == w->work : now < w->reported_at + REPORT_NS)
        return;
    w->reported_at = now;
    w->reported_work = w->work;
    ust_engine_usage(w->eng, &usage);
    ust_engine_counters(w->eng, counters);
    crew_report(w->crew, &(struct ust_crew_status){.connections = usage.tcbs,
                                                   .accepted = counters[C_TCP_OPENS_PASSIVE],
                                                   .rx_frames = w->stats.rx_frames,
                                                   .tx_frames = w->stats.tx_frames});
}
