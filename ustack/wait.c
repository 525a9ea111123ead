/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that wait for sockets: leader and followers.
 *
 * The first thread to wait becomes the driver: it runs rounds, spins for
 * spin_ns after the last work, then arms the port and sleeps in ppoll without
 * the lock. Later ones sleep on conditions of their own, which the driver
 * signals when their sockets have something. A driver that leaves hands over
 * to any that remains.
 *
 *  W1  nobody sleeps past a change: whoever changes the engine's state calls
 *      worker_notify() before letting the lock go
 *  W2  while there are waiters, one is the driver or has been signalled
 *
 * Not here: what a round does (worker.c).                                   */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "worker.h"

enum {
    TIMED_OUT = 2,
    NAP_NS = 10 * 1000 * 1000, /* when the port's fd cannot wake us */
};

static void join(struct ust_worker *w, struct waiter *self);
static void leave(struct ust_worker *w, struct waiter *self);
static int settled(const struct ust_worker *w, const struct waiter *self);
static bool is_ready(const struct ust_worker *w, const struct waiter *self);
static int follow(struct ust_worker *w, struct waiter *self, ust_time deadline);
static bool is_readable(int fd);
static int drive(struct ust_worker *w, struct waiter *self, ust_time deadline);
static int turn(struct ust_worker *w, struct waiter *self, ust_time deadline);
static int doze(struct ust_worker *w, ust_time now, ust_time until);
static void find_deaf_ports(struct ust_worker *w);

/* -------------------------------------------------------- what one calls */

int ust_worker_wait(struct ust_worker *w, ust_handle h, unsigned wanted, uint64_t timeout_ns)
{
    uint32_t mask = wanted | UST_HUP | UST_ERROR;
    struct waiter self = {.handles = &h, .wanted = &mask, .n = 1};
    int r;

    if (!worker_enter(w))
        return -EBADF;
    r = worker_wait(w, &self, worker_deadline_in(timeout_ns));
    if (r == 1) {
        r = ust_ready(w->eng, h);
        r = r < 0 ? r : r & (int)mask;
    }
    ust_worker_unlock(w);
    return r;
}

int ust_worker_wait_many(struct ust_worker *w, const ust_handle *handles, const uint32_t *wanted,
                         int32_t *ready, unsigned n, int fd, uint64_t timeout_ns)
{
    struct waiter self = {.handles = handles, .wanted = wanted, .n = n, .fd = fd < 0 ? NULL : &fd};
    int r, found = 0;

    if (!worker_enter(w))
        return -EBADF;
    if (n == 0)
        self.work_seen = UINT64_MAX; /* nothing will come but the deadline */
    r = worker_wait(w, &self, worker_deadline_in(timeout_ns));
    for (unsigned i = 0; r == 1 && i < n; i++) {
        ready[i] = ust_ready(w->eng, handles[i]);
        if (ready[i] > 0)
            ready[i] &= (int32_t)(wanted[i] | UST_HUP | UST_ERROR);
        found += ready[i] != 0;
    }
    ust_worker_unlock(w);
    return r == 1 ? found : r;
}

int ust_worker_idle(struct ust_worker *w, uint64_t timeout_ns)
{
    struct waiter self = {.n = 0};
    int r;

    if (!worker_enter(w))
        return -EBADF;
    self.work_seen = w->work;
    r = worker_wait(w, &self, worker_deadline_in(timeout_ns));
    ust_worker_unlock(w);
    return r;
}

void ust_worker_wake(struct ust_worker *w)
{
    atomic_store(&w->woken, true);
    atomic_store(&w->app_woken, true);
    worker_ring(w->bell);
    worker_ring(w->app_bell);
}

ust_time worker_deadline_in(uint64_t timeout_ns)
{
    ust_time now = ust_worker_now();

    return timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
}

/* ------------------------------------------------- leader and followers */

int worker_wait(struct ust_worker *w, struct waiter *self, ust_time deadline)
{
    int r;

    if (w->clock) /* K6: nobody here moves virtual time */
        return (r = settled(w, self)) != 0 ? r : ust_worker_now() < deadline ? -EDEADLK : 0;
    join(w, self);
    while ((r = settled(w, self)) == 0) {
        r = w->driver ? follow(w, self, deadline) : drive(w, self, deadline);
        if (r != 0)
            break;
    }
    leave(w, self);
    return r == TIMED_OUT ? 0 : r;
}

static void join(struct ust_worker *w, struct waiter *self)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&self->moved, &attr);
    pthread_condattr_destroy(&attr);
    self->next = w->waiters;
    self->link = &w->waiters;
    if (self->next)
        self->next->link = &self->next;
    w->waiters = self;
}

/* W2: somebody else drives now. */
static void leave(struct ust_worker *w, struct waiter *self)
{
    *self->link = self->next;
    if (self->next)
        self->next->link = self->link;
    pthread_cond_destroy(&self->moved);
    if (!w->driver && w->waiters)
        pthread_cond_signal(&w->waiters->moved);
    if (w->stopped && !w->waiters)
        pthread_cond_broadcast(&w->gone);
}

/* 1: has what it waits for; -EBADF: stopped; 0: neither. */
static int settled(const struct ust_worker *w, const struct waiter *self)
{
    return w->stopped ? -EBADF : is_ready(w, self);
}

static bool is_ready(const struct ust_worker *w, const struct waiter *self)
{
    if (self->n == 0)
        return self->work_seen < w->work;
    for (unsigned i = 0; i < self->n; i++) {
        int ready = ust_ready(w->eng, self->handles[i]);

        if (ready < 0 || ((unsigned)ready & (self->wanted[i] | UST_HUP | UST_ERROR)) != 0)
            return true;
    }
    return false;
}

static int follow(struct ust_worker *w, struct waiter *self, ust_time deadline)
{
    ust_time now = ust_worker_now();
    struct timespec ts;

    if (now >= deadline)
        return TIMED_OUT;
    if (self->fd && deadline - now > NAP_NS)
        deadline = now + NAP_NS; /* nobody sleeps on it for us */
    ts = worker_timespec(deadline);
    if (deadline == UINT64_MAX)
        pthread_cond_wait(&self->moved, &w->lock);
    else
        pthread_cond_timedwait(&self->moved, &w->lock, &ts);
    return self->fd && is_readable(*self->fd) ? TIMED_OUT : 0;
}

static bool is_readable(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};

    return poll(&pfd, 1, 0) > 0;
}

static int drive(struct ust_worker *w, struct waiter *self, ust_time deadline)
{
    int r;

    w->driver = self;
    do
        r = turn(w, self, deadline);
    while (r == 0 && (r = settled(w, self)) == 0);
    w->driver = NULL;
    guardian_unpark(w);
    return r;
}

/* One round; a sleep when there has been nothing to do for a while. */
static int turn(struct ust_worker *w, struct waiter *self, ust_time deadline)
{
    ust_time now = ust_worker_now();
    bool busy;

    worker_attend(w, now);
    busy = worker_round(w, now);
    if (busy) {
        worker_notify(w, self);
        worker_ring_app(w);
        if (settled(w, self))
            return 0;
    }
    if (atomic_load_explicit(&w->woken, memory_order_relaxed) && atomic_exchange(&w->woken, false))
        return TIMED_OUT;
    if (now >= deadline)
        return TIMED_OUT;
    if (!busy && now - w->last_work >= w->spin_ns)
        return doze(w, now, deadline);
    worker_give_way(w);
    return 0;
}

void worker_tell(struct ust_worker *w, const struct waiter *self)
{
    bool ring = w->sleep_until != 0 && !w->stopped && ust_worker_deadline(w) < w->sleep_until;

    for (struct waiter *t = w->waiters; t; t = t->next) {
        if (t == self || !settled(w, t))
            continue;
        if (t == w->driver)
            ring = true;
        else
            pthread_cond_signal(&t->moved);
    }
    if (ring)
        worker_ring(w->bell);
    guardian_hasten(w);
    if (w->doorbells)
        worker_show_doorbells(w);
}

/* --------------------------------------------------------------- sleeping */

static int doze(struct ust_worker *w, ust_time now, ust_time until)
{
    ust_time due = ust_worker_deadline(w);
    int r;

    if (due < until)
        until = due;
    if (worker_is_deaf(w) && until > now + NAP_NS)
        until = now + NAP_NS;
    if (until <= now)
        return 0;
    w->sleep_until = until;
    if (worker_arm_ports(w))
        r = 0;
    else
        r = worker_sleep(
            w, &(struct worker_bed){
                   .bell = w->bell, .fd = w->driver->fd, .on_ports = true, .until = until});
    w->sleep_until = 0;
    worker_disarm_ports(w);
    return r < 0 ? r : r == WOKEN_BY_FD ? TIMED_OUT : 0;
}

bool worker_is_deaf(const struct ust_worker *w)
{
    for (unsigned i = 0; i < w->n_ports; i++)
        if (w->ports[i].deaf)
            return true;
    return false;
}

int worker_sleep(struct ust_worker *w, const struct worker_bed *bed)
{
    ust_time now = ust_worker_now();
    struct timespec ts = worker_timespec(bed->until > now ? bed->until - now : 0);
    struct pollfd fds[] = {
        {.fd = bed->bell, .events = POLLIN},
        {.fd = bed->on_ports ? w->ports_fd : -1, .events = POLLIN},
        {.fd = bed->fd ? *bed->fd : -1, .events = POLLIN},
    };
    int n, err;

    w->stats.sleeps++;
    pthread_mutex_unlock(&w->lock);
    n = ppoll(fds, 3, bed->until == UINT64_MAX ? NULL : &ts, NULL);
    err = errno;
    if (fds[1].revents && !fds[0].revents && bed->linger) {
        ts = worker_timespec(bed->linger);
        ppoll(fds, 1, &ts, NULL);
    }
    ust_worker_lock(w);
    if (n <= 0)
        return n < 0 && err == EINTR ? -EINTR : 0;
    if (fds[0].revents)
        worker_drain(bed->bell);
    if (fds[1].revents)
        find_deaf_ports(w);
    if (fds[2].revents)
        return WOKEN_BY_FD;
    return fds[0].revents && (n == 1 || bed->linger) ? WOKEN_BY_BELL : WOKEN_BY_PORT;
}

/* A broken descriptor would wake us for ever. */
static void find_deaf_ports(struct ust_worker *w)
{
    struct epoll_event events[UST_MAX_IFACES + 1]; /* and the crew's bell */
    int n = epoll_wait(w->ports_fd, events, UST_MAX_IFACES + 1, 0);

    for (int i = 0; i < n; i++) {
        if ((events[i].events & (EPOLLERR | EPOLLHUP)) == 0)
            continue;
        epoll_ctl(w->ports_fd, EPOLL_CTL_DEL, events[i].data.fd, NULL);
        for (struct worker_port *p = w->ports; p < w->ports + w->n_ports; p++)
            if (p->port->ops->fd(p->port, p->queue) == events[i].data.fd)
                p->deaf = true;
    }
}

void worker_drain(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);

    (void)n;
}

struct timespec worker_timespec(ust_time t)
{
    return (struct timespec){.tv_sec = (time_t)(t / 1000000000u),
                             .tv_nsec = (long)(t % 1000000000u)};
}
