/* SPDX-License-Identifier: BSD-3-Clause */
/* The null port: an interface without an outside, for a stack that only talks to
 * itself. Whatever is sent is lost and counted in tx_errors; nothing comes.
 *
 * Not here: the loopback, which is the engine's (net/loop.c).               */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "port.h"

enum { MTU = 65535 };

struct null_port {
    struct ust_port port;
    int fd; /* never readable */
};

static unsigned null_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max);
static unsigned null_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n);
static int null_fd(struct ust_port *port, unsigned queue);
static int null_arm(struct ust_port *port, unsigned queue);
static void null_disarm(struct ust_port *port, unsigned queue);
static void null_info(const struct ust_port *port, struct ust_port_info *info);
static void null_close(struct ust_port *port);

static const struct port_ops null_ops = {
    .name = "null",
    .rx_burst = null_rx,
    .tx_burst = null_tx,
    .fd = null_fd,
    .arm = null_arm,
    .disarm = null_disarm,
    .info = null_info,
    .close = null_close,
};

struct ust_port *ust_null_open(int *err)
{
    struct null_port *p = calloc(1, sizeof *p);

    *err = -ENOMEM;
    if (!p)
        return NULL;
    p->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (p->fd < 0)
        *err = -errno;
    else if (port_init(&p->port, &null_ops, 1) == 0)
        *err = 0;
    if (*err == 0)
        return &p->port;
    if (p->fd >= 0)
        close(p->fd);
    free(p);
    return NULL;
}

static unsigned null_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max)
{
    return 0;
}

static unsigned null_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        mbuf_free(pool, burst[i]);
    port->stats[queue].s.tx_errors += n;
    return n;
}

static int null_fd(struct ust_port *port, unsigned queue)
{
    return ((struct null_port *)port)->fd;
}

static int null_arm(struct ust_port *port, unsigned queue)
{
    return 0;
}

static void null_disarm(struct ust_port *port, unsigned queue)
{
}

static void null_info(const struct ust_port *port, struct ust_port_info *info)
{
    static const uint8_t mac[6] = {2, [5] = 1};

    memcpy(info->mac, mac, sizeof mac);
    info->n_queues = 1;
    info->mtu = MTU;
    info->caps = UST_CAP_RX_CSUM | UST_CAP_TX_CSUM | UST_CAP_TSO | UST_CAP_LRO | UST_CAP_USO;
}

static void null_close(struct ust_port *port)
{
    close(((struct null_port *)port)->fd);
    port_free(port);
}
