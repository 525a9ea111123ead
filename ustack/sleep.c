/* SPDX-License-Identifier: BSD-3-Clause */
/* How an event loop sleeps: on one descriptor, app_fd, an epoll of the ports, of
 * a timer for the engine and of a bell for what other threads change.
 *
 *   arm     the ports and the timer; refused when there is work already
 *   sleep   the loop's affair
 *   rx      what has come: first of all, before anything is disarmed
 *   disarm
 *
 * Not here: the sleep of threads that wait for a socket (wait.c).           */
#define _GNU_SOURCE
#include <sys/timerfd.h>

#include "worker.h"

enum { SHORTEST_SLEEP_NS = 20 * 1000 }; /* waking up takes as long */

static bool set_timer(struct ust_worker *w, ust_time due);

int ust_worker_fd(struct ust_worker *w)
{
    return w->app_fd;
}

int ust_worker_arm(struct ust_worker *w)
{
    if (!w->stopped && !w->app_rung && set_timer(w, ust_worker_deadline(w))) {
        w->app_armed = true;
        if (!worker_arm_ports(w))
            return 0;
    }
    ust_worker_disarm(w);
    return 1;
}

/* Lets app_fd poll readable from due on. False: that is now, or nearly. */
static bool set_timer(struct ust_worker *w, ust_time due)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(due / 1000000000u), .tv_nsec = (long)(due % 1000000000u)}};

    if (due < UINT64_MAX && due < ust_worker_now() + SHORTEST_SLEEP_NS)
        return false;
    if (due == w->app_due)
        return true;
    if (due == UINT64_MAX)
        at.it_value = (struct timespec){0}; /* never */
    w->app_due = due;
    return timerfd_settime(w->app_timer, TFD_TIMER_ABSTIME, &at, NULL) == 0;
}

void ust_worker_disarm(struct ust_worker *w)
{
    ust_time now = ust_worker_now();

    if (atomic_exchange(&w->app_woken, false) || w->app_rung)
        worker_drain(w->app_bell);
    if (w->app_due <= now) {
        worker_drain(w->app_timer);
        w->app_due = UINT64_MAX;
    }
    w->app_armed = w->app_rung = w->app_awake = false;
    if (!w->stopped) {
        worker_attend(w, now);
        worker_disarm_ports(w);
    }
}

int worker_arm_ports(struct ust_worker *w)
{
    int busy = 0;

    for (struct worker_port *p = w->ports; p < w->ports + w->n_ports; p++)
        busy |= p->port->ops->arm(p->port, p->queue);
    if (w->crew) {
        busy |= w->crew->ops->arm(w->crew, w->number);
        exchange_report(w, ust_worker_now(), true);
    }
    return busy;
}

void worker_disarm_ports(struct ust_worker *w)
{
    if (w->app_armed || w->sleep_until != 0 || w->guardian.watching)
        return;
    for (struct worker_port *p = w->ports; p < w->ports + w->n_ports; p++)
        p->port->ops->disarm(p->port, p->queue);
    if (w->crew)
        w->crew->ops->disarm(w->crew, w->number);
}

void worker_ring_app(struct ust_worker *w)
{
    if (!w->app_armed || w->app_rung)
        return;
    w->app_rung = true;
    worker_ring(w->app_bell);
}

/* A loop that the ports, or the timer, have just woken: to let the guardian go
 * costs a system call, which has time until the frames have been served. */
void worker_loop_attends(struct ust_worker *w, ust_time now)
{
    atomic_store_explicit(&w->attended_at, now, memory_order_relaxed);
    w->app_awake = true;
}
