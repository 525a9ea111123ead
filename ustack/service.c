/* SPDX-License-Identifier: BSD-3-Clause */
/* The service thread: drives the engine while doorbells exist and no thread of
 * the application waits in a call of ours. It has nothing to do with Python.
 *
 *  S1  it runs rounds only while there are doorbells and no waiters; else it
 *      sleeps on its bell alone
 *  S2  who makes S1 true, or disarms the ports while it sleeps on them, rings
 *      its bell (service_resume)
 *
 * It is started with the first doorbell, and ended by ust_worker_stop(). After
 * a fork there is none in the child.
 *
 * Not here: doorbells (doorbell.c), threads that wait (wait.c).             */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "worker.h"

enum { NAP_NS = 10 * 1000 * 1000 }; /* when a port's fd cannot wake us */

static int start(struct ust_worker *w);
static void *serve(void *worker);
static void turn(struct ust_worker *w);
static void sleep_on(struct ust_worker *w, bool ports, ust_time now, ust_time until);

int service_start(struct ust_worker *w)
{
    int err = 0;

    if (!worker_enter(w))
        return -EBADF;
    if (!w->service.started)
        err = start(w);
    ust_worker_unlock(w);
    return err;
}

void service_ring(struct ust_worker *w)
{
    if (w->service.started && w->doorbells && w->service.asleep && !w->service.rung) {
        w->service.rung = true;
        worker_ring(w->service.bell);
    }
}

void service_resume(struct ust_worker *w)
{
    if (!w->service.armed)
        service_ring(w);
}

/* Called with the lock, which it lets go meanwhile, and with stopped set. */
void service_stop(struct ust_worker *w)
{
    struct service *s = &w->service;

    if (!s->started)
        return;
    s->started = false;
    worker_ring(s->bell);
    if (s->pid == getpid()) {
        pthread_mutex_unlock(&w->lock);
        pthread_join(s->thread, NULL);
        pthread_mutex_lock(&w->lock);
    }
    close(s->bell);
}

static int start(struct ust_worker *w)
{
    struct service *s = &w->service;
    sigset_t all, before;
    int err;

    s->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->bell < 0)
        return -errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the application's */
    err = pthread_create(&s->thread, NULL, serve, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != 0) {
        close(s->bell);
        return -err;
    }
    s->pid = getpid();
    s->started = true;
    return 0;
}

static void *serve(void *worker)
{
    struct ust_worker *w = worker;

    ust_worker_lock(w);
    while (!w->stopped) {
        if (w->waiters || !w->doorbells)
            sleep_on(w, false, 0, UINT64_MAX); /* S1 */
        else
            turn(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void turn(struct ust_worker *w)
{
    ust_time now = ust_worker_now(), due;

    if (worker_round(w, now)) {
        worker_notify(w, NULL);
        worker_ring_app(w);
    }
    if (now - w->last_work < w->spin_ns) {
        worker_give_way(w);
        return;
    }
    due = ust_worker_deadline(w);
    if (due > now && !worker_arm_ports(w))
        sleep_on(w, true, now, due);
    if (!w->waiters && !w->app_armed)
        worker_disarm_ports(w);
}

/* Sleeps without the lock until the bell, the time, or a port says so. */
static void sleep_on(struct ust_worker *w, bool ports, ust_time now, ust_time until)
{
    struct pollfd fds[UST_MAX_IFACES + 1] = {{.fd = w->service.bell, .events = POLLIN}};
    unsigned n_ports = ports ? w->n_ports : 0;
    struct timespec ts;
    uint64_t count;

    for (unsigned i = 0; i < n_ports; i++) {
        const struct worker_port *p = &w->ports[i];

        fds[i + 1].fd = p->deaf ? -1 : p->port->ops->fd(p->port, p->queue);
        fds[i + 1].events = POLLIN;
        if (p->deaf && until > now + NAP_NS)
            until = now + NAP_NS;
    }
    ts = worker_timespec(until - now);
    w->service.until = until;
    w->service.armed = ports;
    w->service.asleep = true;
    pthread_mutex_unlock(&w->lock);
    ppoll(fds, n_ports + 1, until == UINT64_MAX ? NULL : &ts, NULL);
    if (fds[0].revents && read(w->service.bell, &count, sizeof count) < 0)
        count = 0;
    ust_worker_lock(w);
    w->service.asleep = w->service.rung = w->service.armed = false;
    for (unsigned i = 0; i < n_ports; i++)
        if (fds[i + 1].fd < 0 || (fds[i + 1].revents & (POLLERR | POLLNVAL | POLLHUP)))
            w->ports[i].deaf = true;
}
