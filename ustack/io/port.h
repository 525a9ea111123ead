/* SPDX-License-Identifier: BSD-3-Clause */
/* The port interface: what a backend implements.
 *
 * A port has n_queues pairs of an rx and a tx queue, each used by one worker
 * at a time. Bursts follow DPDK: rx_burst gives what is there, up to max;
 * tx_burst takes what fits from the front and frees those mbufs to the pool;
 * the rest stays with the caller. No call here blocks.
 *
 * Sleeping. A worker that wants to sleep calls arm(), which returns 1 when
 * frames are already there (do not sleep), else 0: from then on fd() polls
 * readable when frames arrive, until disarm(). A queue that is not armed
 * costs its peer no doorbell.
 *
 * A backend starts its own struct with `struct ust_port`.                   */
#pragma once
#include "../base/mbuf.h"
#include "../ustack.h"

struct port_ops {
    const char *name;
    unsigned (*rx_burst)(struct ust_port *port, unsigned queue,
                         struct mbuf_pool *pool, struct mbuf **burst,
                         unsigned max);
    unsigned (*tx_burst)(struct ust_port *port, unsigned queue,
                         struct mbuf_pool *pool, struct mbuf **burst,
                         unsigned n);
    int (*fd)(struct ust_port *port, unsigned queue);
    int (*arm)(struct ust_port *port, unsigned queue);
    void (*disarm)(struct ust_port *port, unsigned queue);
    void (*info)(const struct ust_port *port, struct ust_port_info *info);
    void (*close)(struct ust_port *port);
};

struct ust_port {
    const struct port_ops *ops;
    struct ust_port_stats stats;
};
