/* SPDX-License-Identifier: BSD-3-Clause */
/* The only loop: clock + port queues + engine.
 *
 *   rx_burst -> engine_input -> engine_tick -> [apps] -> engine_output -> tx_burst
 *
 * Whoever waits drives a worker (wait.c), and an event loop drives it between
 * its own turns (sleep.c); when neither does, its guardian stands in
 * (guardian.c). One lock covers the engine and the ports' queues. The thread
 * that drives keeps it from round to round and gives way when another asks
 * (worker_give_way), since a mutex alone would let it win every time.
 *
 * Not here: socket calls (calls.c).                                         */
#define _GNU_SOURCE
#include "worker.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    /* A round takes in no more than this, in frames and, about, in bytes: its
     * answers leave while the next are worked on, and two sides that answer
     * each other need not take turns. */
    RX_BURST = 32,
    RX_BYTES = 64 * 1024,
    RX_STEP = 4,           /* frames between two looks at the bytes, if they are large */
    MAX_FLUSH_BURSTS = 16, /* then look at the input again */
    GIVE_WAY_YIELDS = 1000,
    TX_RETRY_NS = 1000 * 1000, /* a full port is tried again after this */
};

static int open_descriptors(struct ust_worker *w);
static void close_descriptors(struct ust_worker *w);
static int watch(int epoll, int fd);
static unsigned rx(struct ust_worker *w, ust_time now);
static bool has_backlog(const struct ust_worker *w);
static bool has_room(const struct ust_worker *w);
static unsigned send_backlogs(struct ust_worker *w);
static void queue_frame(struct ust_worker *w, struct mbuf *m);
static void drop_backlogs(struct ust_worker *w);

/* ------------------------------------------------- birth and death */

struct ust_worker *ust_worker_new(struct ust_engine *eng, struct ust_port *port, int iface,
                                  unsigned queue, uint64_t spin_ns)
{
    struct ust_worker *w = calloc(1, sizeof *w);
    int err;

    if (!w)
        return NULL;
    atomic_init(&w->refs, 1);
    w->eng = eng;
    w->pool = ust_engine_pool(eng);
    w->spin_ns = spin_ns;
    atomic_init(&w->attended_at, ust_worker_now());
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->gone, NULL);
    err = open_descriptors(w) != 0 ? -errno : ust_worker_add_port(w, port, iface, queue);
    if (err != 0) {
        ust_worker_free(w);
        errno = -err;
        return NULL;
    }
    return w;
}

struct ust_worker *ust_worker_new_virtual(struct ust_engine *eng, const ust_time *clock)
{
    struct ust_worker *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    atomic_init(&w->refs, 1);
    w->eng = eng;
    w->pool = ust_engine_pool(eng);
    w->clock = clock;
    w->bell = w->guardian.bell = w->app_bell = w->app_timer = w->app_fd = -1;
    w->ports_fd = -1;
    w->app_due = UINT64_MAX;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->gone, NULL);
    return w;
}

int ust_worker_add_port(struct ust_worker *w, struct ust_port *port, int iface, unsigned queue)
{
    int fd = port->ops->fd(port, queue), err = -EBADF;

    if (!worker_enter(w))
        return err;
    if (w->clock) {
        err = -EOPNOTSUPP;
    } else if (w->n_ports == UST_MAX_IFACES) {
        err = -ENOSPC;
    } else if (fd < 0 || (err = worker_watch(w, fd)) == 0) {
        w->ports[w->n_ports++] = (struct worker_port){
            .port = port, .iface = iface, .queue = queue, .rx_step = RX_STEP, .deaf = fd < 0};
        err = 0;
    }
    worker_leave(w);
    return err;
}

int worker_watch(struct ust_worker *w, int fd)
{
    /* Who comes last is woken first: a loop, not its guardian. */
    if (watch(w->ports_fd, fd) != 0 || watch(w->app_fd, fd) != 0)
        return -errno;
    worker_ring(w->bell); /* who sleeps does not listen to it yet */
    if (w->guardian.watching)
        guardian_release(w);
    return 0;
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
    guardian_end(w);
    while (w->waiters)
        pthread_cond_wait(&w->gone, &w->lock);
    drop_backlogs(w);
    if (w->app_armed) {
        w->app_armed = false;
        worker_disarm_ports(w);
    }
    worker_show_doorbells(w);
    w->eng = NULL;
    w->crew = NULL;
    w->n_ports = 0;
    pthread_mutex_unlock(&w->lock);
}

void ust_worker_free(struct ust_worker *w)
{
    if (!w)
        return;
    ust_worker_stop(w);
    worker_unref(w);
}

void ust_worker_hold(struct ust_worker *w)
{
    atomic_fetch_add(&w->refs, 1);
}

void worker_unref(struct ust_worker *w)
{
    if (atomic_fetch_sub(&w->refs, 1) > 1)
        return;
    close_descriptors(w);
    pthread_cond_destroy(&w->gone);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* The lock may have been taken by a thread that the child does not have. */
void ust_worker_forked(struct ust_worker *w)
{
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->gone, NULL);
    atomic_store(&w->wanting, 0);
    w->waiters = w->driver = NULL;
    w->guardian.running = false;
    w->stopped = w->forked = true;
}

static int open_descriptors(struct ust_worker *w)
{
    w->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->guardian.bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->app_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    w->app_timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    w->app_due = UINT64_MAX;
    w->ports_fd = epoll_create1(EPOLL_CLOEXEC);
    w->app_fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->bell < 0 || w->guardian.bell < 0 || w->app_bell < 0 || w->app_timer < 0 ||
        w->ports_fd < 0 || w->app_fd < 0)
        return -1;
    return watch(w->app_fd, w->app_bell) != 0 ? -1 : watch(w->app_fd, w->app_timer);
}

static void close_descriptors(struct ust_worker *w)
{
    const int fds[] = {w->app_fd,   w->ports_fd,      w->app_timer,
                       w->app_bell, w->guardian.bell, w->bell};

    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int watch(int epoll, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
}

static void drop_backlogs(struct ust_worker *w)
{
    for (struct worker_port *p = w->ports; p < w->ports + w->n_ports; p++)
        while (p->n_backlog > 0)
            mbuf_free(w->pool, p->backlog[--p->n_backlog]);
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
    if (!w->stopped) {
        worker_send_staged(w);
        return true;
    }
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

static ust_time now(const struct ust_worker *w)
{
    return w->clock ? *w->clock : ust_worker_now();
}

unsigned ust_worker_rx(struct ust_worker *w)
{
    ust_time at = now(w);

    if (w->stopped)
        return 0;
    if (w->app_armed && !w->app_rung && !atomic_load(&w->app_woken))
        worker_loop_attends(w, at);
    else
        worker_attend(w, at);
    return rx(w, at);
}

/* A look at the clock costs as much as some segments: who polls in vain asks for
 * no more of them than it needs. */
unsigned ust_worker_flush(struct ust_worker *w)
{
    if (w->stopped || (!has_backlog(w) && ust_engine_deadline(w->eng) > 0))
        return 0;
    return worker_flush(w, ust_worker_now());
}

unsigned ust_worker_poll(struct ust_worker *w)
{
    unsigned n;

    if (!worker_enter(w))
        return 0;
    worker_attend(w, now(w));
    n = rx(w, now(w));
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

/* Frames from a port, until there are enough of them or of their bytes. As long
 * as they are small, all are asked for at once. */
static unsigned receive(const struct ust_worker *w, struct worker_port *p,
                        struct mbuf *burst[RX_BURST])
{
    unsigned n = 0, got, step = p->rx_step;
    size_t bytes = 0;

    do {
        got = p->port->ops->rx_burst(p->port, p->queue, w->pool, burst + n, step);
        for (unsigned end = n + got; n < end; n++) {
            burst[n]->iface = (uint8_t)p->iface;
            bytes += burst[n]->frame_len;
        }
    } while (got == step && n + step <= RX_BURST && bytes < RX_BYTES);
    if (n > 0)
        p->rx_step = bytes * RX_BURST <= (size_t)n * RX_BYTES ? RX_BURST : RX_STEP;
    return n;
}

static unsigned rx(struct ust_worker *w, ust_time now)
{
    struct mbuf *burst[RX_BURST];
    bool due = has_room(w) && ust_engine_deadline(w->eng) <= now;
    unsigned n, sum = 0, looped;

    for (struct worker_port *p = w->ports; p < w->ports + w->n_ports; p++) {
        n = receive(w, p, burst);
        if (n > 0)
            ust_engine_input(w->eng, now, burst, n);
        sum += n;
    }
    if (w->crew)
        sum += exchange_in(w, now);
    looped = ust_engine_tick(w->eng, now);
    if (w->crew) {
        exchange_out(w);
        exchange_report(w, now, false);
    }
    w->stats.rounds++;
    w->stats.rx_frames += sum;
    if (sum + looped > 0)
        w->last_work = now;
    if (sum + looped > 0 || due) {
        w->stats.busy_rounds++;
        w->work++;
    }
    return sum + looped;
}

unsigned worker_flush(struct ust_worker *w, ust_time now)
{
    struct mbuf *burst[UST_MAX_BURST];
    unsigned sent = send_backlogs(w), n;

    worker_send_staged(w);
    if (w->crew)
        exchange_out(w);
    for (unsigned asked = 0; asked < MAX_FLUSH_BURSTS && has_room(w); asked++) {
        n = ust_engine_output(w->eng, now, burst, UST_MAX_BURST);
        if (n == 0)
            break;
        for (unsigned i = 0; i < n; i++)
            queue_frame(w, burst[i]);
        sent += send_backlogs(w);
    }
    if (sent > 0) {
        w->stats.tx_frames += sent;
        w->last_work = now;
        w->work++;
    }
    return sent;
}

static bool has_backlog(const struct ust_worker *w)
{
    for (unsigned i = 0; i < w->n_ports; i++)
        if (w->ports[i].n_backlog > 0)
            return true;
    return false;
}

/* Is there a port that took all it was given? */
static bool has_room(const struct ust_worker *w)
{
    for (unsigned i = 0; i < w->n_ports; i++)
        if (w->ports[i].n_backlog == 0)
            return true;
    return false;
}

static unsigned send_backlogs(struct ust_worker *w)
{
    unsigned sum = 0, n;

    for (struct worker_port *p = w->ports; p < w->ports + w->n_ports; p++) {
        if (p->n_backlog == 0)
            continue;
        n = p->port->ops->tx_burst(p->port, p->queue, w->pool, p->backlog, p->n_backlog);
        p->n_backlog -= n;
        for (unsigned i = 0; i < p->n_backlog; i++)
            p->backlog[i] = p->backlog[i + n];
        sum += n;
    }
    return sum;
}

/* A port that is stuck may not hold up the others: it loses frames. */
static void queue_frame(struct ust_worker *w, struct mbuf *m)
{
    struct worker_port *p = w->ports;

    while (p < w->ports + w->n_ports && p->iface != m->iface)
        p++;
    if (p < w->ports + w->n_ports && p->n_backlog < UST_MAX_BURST) {
        p->backlog[p->n_backlog++] = m;
    } else {
        mbuf_free(w->pool, m);
        w->stats.tx_dropped++;
    }
}

/* ------------------------------------------------------- times and bells */

ust_time ust_worker_deadline(struct ust_worker *w)
{
    ust_time due, retry;

    if (w->stopped)
        return UINT64_MAX;
    due = has_room(w) ? ust_engine_deadline(w->eng) : UINT64_MAX;
    retry = has_backlog(w) ? ust_worker_now() + TX_RETRY_NS : UINT64_MAX;
    return due < retry ? due : retry;
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
