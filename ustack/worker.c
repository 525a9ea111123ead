/* SPDX-License-Identifier: BSD-3-Clause */
/* The only loop: clock + port queue + engine.
 *
 *   rx_burst -> engine_input -> engine_tick -> [apps] -> engine_output -> tx_burst
 *
 * A worker has no thread of its own: whoever waits drives it (wait.c), and an
 * event loop drives it between its own turns. One lock covers the engine and
 * the port's queue. The thread that drives keeps it from round to round and
 * gives way when another asks (worker_give_way), since a mutex alone would let
 * it win every time.
 *
 * Not here: waiting and sleeping (wait.c), socket calls (calls.c).          */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    /* A round takes in no more than this, in frames and, about, in bytes: its
     * answers leave while the next are worked on, and two sides that answer
     * each other need not take turns. */
    RX_BURST = 32,
    RX_BYTES = 64 * 1024,
    RX_STEP = 4,           /* frames between two looks at the bytes */
    MAX_FLUSH_BURSTS = 16, /* then look at the input again */
    GIVE_WAY_YIELDS = 1000,
    TX_RETRY_NS = 1000 * 1000, /* a full port is tried again after this */
};

static int open_descriptors(struct ust_worker *w);
static int watch(int epoll, int fd);
static unsigned rx(struct ust_worker *w, ust_time now);
static void drop_backlog(struct ust_worker *w);

/* ------------------------------------------------- birth and death */

struct ust_worker *ust_worker_new(struct ust_engine *eng, struct ust_port *port, int iface,
                                  unsigned queue, uint64_t spin_ns)
{
    struct ust_worker *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->eng = eng;
    w->port = port;
    w->pool = ust_engine_pool(eng);
    w->iface = iface;
    w->queue = queue;
    w->spin_ns = spin_ns;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->gone, NULL);
    if (open_descriptors(w) != 0) {
        int err = errno;

        ust_worker_free(w);
        errno = err;
        return NULL;
    }
    return w;
}

void ust_worker_stop(struct ust_worker *w)
{
    if (!worker_enter(w))
        return;
    w->stopped = true;
    worker_ring(w->bell);
    worker_ring(w->app_bell);
    for (struct waiter *t = w->waiters; t; t = t->next)
        pthread_cond_signal(&t->moved);
    while (w->waiters)
        pthread_cond_wait(&w->gone, &w->lock);
    drop_backlog(w);
    if (w->app_armed)
        w->port->ops->disarm(w->port, w->queue);
    w->eng = NULL;
    w->port = NULL;
    pthread_mutex_unlock(&w->lock);
}

void ust_worker_free(struct ust_worker *w)
{
    if (!w)
        return;
    ust_worker_stop(w);
    close(w->app_fd);
    close(w->app_bell);
    close(w->bell);
    pthread_cond_destroy(&w->gone);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static int open_descriptors(struct ust_worker *w)
{
    int fd = w->port->ops->fd(w->port, w->queue);

    w->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->app_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->app_fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->bell < 0 || w->app_bell < 0 || w->app_fd < 0)
        return -1;
    if (watch(w->app_fd, w->app_bell) != 0)
        return -1;
    return fd < 0 ? 0 : watch(w->app_fd, fd);
}

static int watch(int epoll, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

static void drop_backlog(struct ust_worker *w)
{
    while (w->n_backlog > 0) {
        mbuf_free(w->pool, w->backlog[w->first++]);
        w->n_backlog--;
    }
}

/* ------------------------------------------------------------ the lock */

void ust_worker_lock(struct ust_worker *w)
{
    if (pthread_mutex_trylock(&w->lock) == 0)
        return;
    atomic_fetch_add(&w->wanting, 1);
    pthread_mutex_lock(&w->lock);
    atomic_fetch_sub(&w->wanting, 1);
}

void ust_worker_unlock(struct ust_worker *w)
{
    worker_notify(w, NULL);
    pthread_mutex_unlock(&w->lock);
}

bool worker_enter(struct ust_worker *w)
{
    ust_worker_lock(w);
    if (!w->stopped)
        return true;
    pthread_mutex_unlock(&w->lock);
    return false;
}

void worker_leave(struct ust_worker *w)
{
    if (!w->stopped)
        worker_flush(w, ust_worker_now());
    worker_ring_app(w);
    ust_worker_unlock(w);
}

void worker_give_way(struct ust_worker *w)
{
    if (atomic_load_explicit(&w->wanting, memory_order_relaxed) == 0)
        return;
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < GIVE_WAY_YIELDS && atomic_load(&w->wanting); i++)
        sched_yield();
    pthread_mutex_lock(&w->lock);
}

/* ----------------------------------------------------------- one round */

unsigned ust_worker_rx(struct ust_worker *w)
{
    return w->stopped ? 0 : rx(w, ust_worker_now());
}

unsigned ust_worker_flush(struct ust_worker *w)
{
    return w->stopped ? 0 : worker_flush(w, ust_worker_now());
}

unsigned ust_worker_poll(struct ust_worker *w)
{
    unsigned n;

    if (!worker_enter(w))
        return 0;
    n = rx(w, ust_worker_now());
    n += worker_flush(w, ust_worker_now());
    ust_worker_unlock(w);
    return n;
}

bool worker_round(struct ust_worker *w, ust_time now)
{
    uint64_t before = w->work;

    rx(w, now);
    worker_flush(w, now);
    return w->work != before;
}

/* Frames from the port, until there are enough of them or of their bytes. */
static unsigned receive(struct ust_worker *w, struct mbuf *burst[RX_BURST])
{
    unsigned n = 0, got;
    size_t bytes = 0;

    do {
        got = w->port->ops->rx_burst(w->port, w->queue, w->pool, burst + n, RX_STEP);
        for (unsigned end = n + got; n < end; n++) {
            burst[n]->iface = (uint8_t)w->iface;
            bytes += burst[n]->frame_len;
        }
    } while (got == RX_STEP && n + RX_STEP <= RX_BURST && bytes < RX_BYTES);
    return n;
}

static unsigned rx(struct ust_worker *w, ust_time now)
{
    struct mbuf *burst[RX_BURST];
    bool due = w->n_backlog == 0 && ust_engine_deadline(w->eng) <= now;
    unsigned n = receive(w, burst);

    if (n > 0)
        ust_engine_input(w->eng, now, burst, n);
    ust_engine_tick(w->eng, now);
    w->stats.rounds++;
    w->stats.rx_frames += n;
    if (n > 0)
        w->last_work = now;
    if (n > 0 || due) {
        w->stats.busy_rounds++;
        w->work++;
    }
    return n;
}

unsigned worker_flush(struct ust_worker *w, ust_time now)
{
    unsigned asked = 0, sent = 0, n;

    for (;;) {
        if (w->n_backlog == 0) {
            if (asked++ == MAX_FLUSH_BURSTS)
                break;
            w->first = 0;
            w->n_backlog = ust_engine_output(w->eng, now, w->backlog, UST_MAX_BURST);
            if (w->n_backlog == 0)
                break;
        }
        n = w->port->ops->tx_burst(w->port, w->queue, w->pool, w->backlog + w->first, w->n_backlog);
        w->first += n;
        w->n_backlog -= n;
        sent += n;
        if (w->n_backlog > 0)
            break;
    }
    if (sent > 0) {
        w->stats.tx_frames += sent;
        w->last_work = now;
        w->work++;
    }
    return sent;
}

/* ------------------------------------------- an event loop's own sleep */

int ust_worker_fd(struct ust_worker *w)
{
    return w->app_fd;
}

int ust_worker_arm(struct ust_worker *w)
{
    if (!w->stopped && !w->app_rung) {
        w->app_armed = true;
        if (!w->port->ops->arm(w->port, w->queue))
            return 0;
    }
    ust_worker_disarm(w);
    return 1;
}

void ust_worker_disarm(struct ust_worker *w)
{
    uint64_t count;
    ssize_t n = read(w->app_bell, &count, sizeof count);

    (void)n;
    w->app_armed = w->app_rung = false;
    if (!w->stopped && w->sleep_until == 0)
        w->port->ops->disarm(w->port, w->queue);
}

void worker_ring_app(struct ust_worker *w)
{
    if (!w->app_armed || w->app_rung)
        return;
    w->app_rung = true;
    worker_ring(w->app_bell);
}

ust_time ust_worker_deadline(struct ust_worker *w)
{
    if (w->stopped)
        return UINT64_MAX;
    if (w->n_backlog > 0)
        return ust_worker_now() + TX_RETRY_NS;
    return ust_engine_deadline(w->eng);
}

ust_time ust_worker_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (ust_time)ts.tv_sec * 1000000000u + (ust_time)ts.tv_nsec;
}

void worker_ring(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one); /* EAGAIN: rung already */

    (void)n;
}
