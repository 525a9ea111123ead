/* SPDX-License-Identifier: BSD-3-Clause */
/* An engine and a port that are as simple as can be, to test the worker alone.
 *
 * A frame that arrives adds one readable byte to the socket whose number it
 * carries (mbuf.seq). Sending a byte puts one frame out, numbered in order.
 * What the worker's other calls need is at the end, and does nothing.        */
#pragma once
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../ustack/worker.h"

enum { FAKE_SOCKS = 16, FAKE_FRAMES = 256 };

struct ust_engine { /* under the worker's lock, as the real one */
    unsigned readable[FAKE_SOCKS];
    bool closed[FAKE_SOCKS];
    uint32_t sent, given; /* frames sent by sockets, and given to the port */
    unsigned n_ifaces;    /* frames leave by each in turn; 0 counts as 1 */
    uint8_t last_iface;   /* of the last frame that came in */
    ust_time deadline;    /* of the fake timer */
    unsigned fired;
    struct mbuf out[FAKE_FRAMES];
};

struct fake_port {
    struct ust_port port;
    pthread_mutex_t lock; /* inbox and armed: two sides use them */
    uint32_t inbox[FAKE_FRAMES];
    unsigned n_inbox;
    bool armed;
    int fd;
    struct mbuf in[UST_MAX_BURST]; /* in turn: a round may ask several times */
    unsigned n_in;
    unsigned tx_room; /* frames that tx_burst takes at most */
    uint32_t tx[4096];
    unsigned n_tx;
};

static unsigned fake_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max)
{
    struct fake_port *p = (struct fake_port *)port;
    unsigned n;

    (void)queue, (void)pool;
    pthread_mutex_lock(&p->lock);
    for (n = 0; n < max && p->n_inbox > 0; n++) {
        burst[n] = &p->in[p->n_in++ % UST_MAX_BURST];
        burst[n]->seq = p->inbox[--p->n_inbox];
        burst[n]->iface = 99; /* the worker says where a frame came in */
    }
    pthread_mutex_unlock(&p->lock);
    return n;
}

static unsigned fake_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n)
{
    struct fake_port *p = (struct fake_port *)port;
    unsigned taken = 0;

    (void)queue, (void)pool;
    while (taken < n && taken < p->tx_room)
        p->tx[p->n_tx++ % 4096] = burst[taken++]->seq;
    return taken;
}

static int fake_fd(struct ust_port *port, unsigned queue)
{
    (void)queue;
    return ((struct fake_port *)port)->fd;
}

static int fake_arm(struct ust_port *port, unsigned queue)
{
    struct fake_port *p = (struct fake_port *)port;
    int busy;

    (void)queue;
    pthread_mutex_lock(&p->lock);
    p->armed = true;
    busy = p->n_inbox > 0;
    pthread_mutex_unlock(&p->lock);
    return busy;
}

static void fake_disarm(struct ust_port *port, unsigned queue)
{
    struct fake_port *p = (struct fake_port *)port;
    uint64_t count;
    ssize_t n;

    (void)queue;
    pthread_mutex_lock(&p->lock);
    p->armed = false;
    n = read(p->fd, &count, sizeof count);
    (void)n;
    pthread_mutex_unlock(&p->lock);
}

static const struct port_ops fake_ops = {
    .name = "fake",
    .rx_burst = fake_rx,
    .tx_burst = fake_tx,
    .fd = fake_fd,
    .arm = fake_arm,
    .disarm = fake_disarm,
};

/* A frame for socket h comes in; as if from another process. */
static void fake_arrive(struct fake_port *p, ust_handle h)
{
    pthread_mutex_lock(&p->lock);
    p->inbox[p->n_inbox++] = (uint32_t)h;
    if (p->armed)
        worker_ring(p->fd);
    pthread_mutex_unlock(&p->lock);
}

static bool fake_inbox_empty(struct fake_port *p)
{
    bool empty;

    pthread_mutex_lock(&p->lock);
    empty = p->n_inbox == 0;
    pthread_mutex_unlock(&p->lock);
    return empty;
}

/* ------------------------------------------------------------ the engine */

struct mbuf_pool *ust_engine_pool(struct ust_engine *eng)
{
    (void)eng;
    return NULL;
}

void ust_engine_input(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned n)
{
    (void)now;
    for (unsigned i = 0; i < n; i++) {
        eng->readable[burst[i]->seq]++;
        eng->last_iface = burst[i]->iface;
    }
}

unsigned ust_engine_tick(struct ust_engine *eng, ust_time now)
{
    if (eng->deadline > now)
        return 0;
    eng->deadline = UINT64_MAX;
    eng->fired++;
    return 0;
}

unsigned ust_engine_output(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned max)
{
    unsigned n;

    (void)now;
    for (n = 0; n < max && eng->given != eng->sent; n++) {
        burst[n] = &eng->out[eng->given % FAKE_FRAMES];
        burst[n]->iface = (uint8_t)(eng->n_ifaces ? eng->given % eng->n_ifaces : 0);
        burst[n]->seq = eng->given++;
    }
    return n;
}

ust_time ust_engine_deadline(const struct ust_engine *eng)
{
    return eng->given != eng->sent ? 0 : eng->deadline;
}

int ust_ready(const struct ust_engine *eng, ust_handle h)
{
    if (h <= 0 || h >= FAKE_SOCKS || eng->closed[h])
        return -EBADF;
    return eng->readable[h] ? UST_READABLE : 0;
}

int64_t ust_recv(struct ust_engine *eng, ust_handle h, void *buf, size_t size, int flags)
{
    (void)buf, (void)size, (void)flags;
    if (eng->closed[h])
        return -EBADF;
    if (eng->readable[h] == 0)
        return -EAGAIN;
    eng->readable[h]--;
    return 1;
}

int64_t ust_send(struct ust_engine *eng, ust_handle h, const void *data, size_t len, int flags)
{
    (void)h, (void)data, (void)flags;
    eng->sent += (uint32_t)len;
    return (int64_t)len;
}

int ust_close(struct ust_engine *eng, ust_handle h)
{
    eng->closed[h] = true;
    return 0;
}

void mbuf_free(struct mbuf_pool *pool, struct mbuf *m)
{
    (void)pool, (void)m;
}

/* ------------------------------------- for the linker: nobody calls these */

#pragma GCC diagnostic ignored "-Wunused-parameter"
#define NOTHING(result, name, ...)                                                                 \
    result name(__VA_ARGS__)                                                                       \
    {                                                                                              \
        return (result)0;                                                                          \
    }
#define ENG struct ust_engine *eng
#define CONST_ENG const struct ust_engine *eng

NOTHING(ust_handle, ust_socket, ENG)
NOTHING(int, ust_bind, ENG, ust_handle h, const struct ust_addr *addr, uint16_t port)
NOTHING(int, ust_listen, ENG, ust_handle h, int backlog)
NOTHING(ust_handle, ust_accept, ENG, ust_handle h)
NOTHING(int, ust_connect, ENG, ust_handle h, const struct ust_addr *addr, uint16_t port)
NOTHING(int, ust_shutdown, ENG, ust_handle h, int how)
NOTHING(int, ust_abort, ENG, ust_handle h)
NOTHING(int, ust_setopt, ENG, ust_handle h, int opt, int64_t value)
NOTHING(int, ust_getopt, CONST_ENG, ust_handle h, int opt, int64_t *value)
NOTHING(int, ust_names, CONST_ENG, ust_handle h, struct ust_addr *local, uint16_t *local_port,
        struct ust_addr *remote, uint16_t *remote_port)
NOTHING(int, ust_tcp_info, CONST_ENG, ust_handle h, struct ust_tcp_info *info)
NOTHING(ust_handle, ust_udp_socket, ENG)
NOTHING(int64_t, ust_sendto, ENG, ust_handle h, const void *data, size_t len,
        const struct ust_addr *addr, uint16_t port)
NOTHING(int64_t, ust_fastopen, ENG, ust_handle h, const struct ust_addr *addr, uint16_t port,
        const void *data, size_t len)
NOTHING(int64_t, ust_recvfrom, ENG, ust_handle h, void *buf, size_t size, int flags,
        struct ust_datagram *info)
NOTHING(unsigned, ust_engine_foreign, ENG, struct mbuf **burst, uint8_t *owner, unsigned max)
NOTHING(bool, crew_put, struct ust_port *crew, unsigned to, const struct mbuf_pool *pool,
        const struct mbuf *m)
NOTHING(void, ust_engine_input_handed, ENG, ust_time now, struct mbuf **burst, unsigned n)
NOTHING(void, ust_engine_usage, CONST_ENG, struct ust_usage *usage)
NOTHING(void, ust_engine_counters, CONST_ENG, uint64_t *values)
NOTHING(void, crew_flush, struct ust_port *crew)
NOTHING(void, crew_report, struct ust_port *crew, struct ust_crew_status *status)
