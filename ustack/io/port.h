/* SPDX-License-Identifier: BSD-3-Clause */
/* The port interface: what a backend implements.
 *
 * A port has n_queues pairs of an rx and a tx queue, each used by one worker
 * at a time. Bursts follow DPDK: rx_burst gives frames that are there, up to
 * max, and 0 only if there are none; tx_burst takes what fits from the front
 * and frees those mbufs to the pool; the rest stays with the caller. No call
 * here blocks.
 *
 * Sleeping. A worker that wants to sleep calls arm(), which returns 1 when
 * frames are already there (do not sleep), else 0: from then on fd() polls
 * readable when frames arrive, until disarm(). A queue that is not armed
 * costs its peer no doorbell.
 *
 * A backend starts its own struct with `struct ust_port`.                   */
#pragma once
#include <stdalign.h>
#include "../base/mbuf.h"
#include "../ustack.h"

struct port_ops {
    const char *name;
    unsigned (*rx_burst)(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                         struct mbuf **burst, unsigned max);
    unsigned (*tx_burst)(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                         struct mbuf **burst, unsigned n);
    int (*fd)(struct ust_port *port, unsigned queue);
    int (*arm)(struct ust_port *port, unsigned queue);
    void (*disarm)(struct ust_port *port, unsigned queue);
    void (*info)(const struct ust_port *port, struct ust_port_info *info);
    void (*close)(struct ust_port *port);
};

/* Statistics of one queue; only its worker writes them. */
struct port_queue_stats {
    alignas(64) struct ust_port_stats s;
};

struct ust_port {
    const struct port_ops *ops;
    unsigned n_queues;
    struct port_queue_stats *stats; /* n_queues of them */
    struct mbuf_pool *raw;          /* of send_raw and recv_raw, or NULL */
};

enum { PORT_MAX_QUEUES = 16, PORT_ETH_LEN = 14 };

/* Fills in the common part; 0 or -ENOMEM. port_free() undoes it and frees the
 * port itself, which must come from calloc or aligned_alloc. */
int port_init(struct ust_port *port, const struct port_ops *ops, unsigned n_queues);
void port_free(struct ust_port *port);

/* Writes the checksum that the sender of m left to the hardware into frame, a
 * copy of m's first len bytes. On receive such a frame is MBUF_CSUM_OK and
 * keeps its csum_start. */
void port_finish_checksum(const struct mbuf_pool *pool, const struct mbuf *m, uint8_t *frame,
                          size_t len);

/* Bytes into a frame that mbuf_alloc_frame() gave, from off on. */
void port_copy_in(const struct mbuf_pool *pool, struct mbuf *m, uint32_t off, const uint8_t *src,
                  uint32_t len);

/* Is csum_start/csum_offset within a frame of len bytes? */
static inline bool port_csum_fits(uint32_t start, uint32_t offset, uint32_t len)
{
    return start >= PORT_ETH_LEN && start + offset + 2 <= len;
}
