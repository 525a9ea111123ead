/* SPDX-License-Identifier: BSD-3-Clause */
/* The guardian: a thread of the worker's own that stands in when nobody else
 * serves the ports, as when a handler keeps Python busy, so that the peers see
 * their ACKs, and timers and keep-alives go on. It never needs Python.
 *
 * Others say that they are there by worker_attend(), a store; nothing else
 * costs them anything while they are busy. It
 *
 *   naps     while somebody attended within the last patience_ns
 *   parks    while a driver (wait.c) runs or sleeps, which nothing holds up
 *   listens  to the ports while an event loop sleeps on app_fd: the loop may
 *            have been woken by something else, which now holds it up; when
 *            frames wake both, it leaves the lock to the loop for patience_ns
 *   serves   else: rounds while there is work, then a sleep on the ports
 *
 * While there are doorbells it has no patience: programs then wait in the
 * kernel for what the engine brings. It spins before it sleeps, as they would.
 *
 *  G1  the ports are armed by it only when no loop sleeps: arming takes away
 *      the sound that the loop's descriptor would be readable by
 *  G2  what its rounds bring is reported as what another thread's do: the
 *      waiters are signalled and a sleeping loop is rung
 *
 * Not here: simulations, which have no worker and so no guardian.           */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "worker.h"

enum {
    NAP_NS = 10 * 1000 * 1000, /* when a port's descriptor cannot wake us */
    MAX_NAPS = 4,              /* the longest nap: so often patience_ns */
};
static const ust_time FOR_EVER = UINT64_C(1) << 60; /* patience but for doorbells */

static void *guard(void *worker);
static void step(struct ust_worker *w);
static void park(struct ust_worker *w);
static void nap(struct ust_worker *w, ust_time until);
static void listen_for_loop(struct ust_worker *w);
static void serve(struct ust_worker *w, ust_time now);
static int sleep_on_ports(struct ust_worker *w, ust_time linger, ust_time until);
static ust_time patience(const struct ust_worker *w);
static bool loop_sleeps(const struct ust_worker *w);

int ust_worker_guard(struct ust_worker *w, uint64_t patience_ns)
{
    int err;

    if (!worker_enter(w))
        return -EBADF;
    err = guardian_start(w);
    w->guardian.patience_ns = patience_ns;
    if (err == 0)
        worker_ring(w->guardian.bell); /* it was another */
    worker_leave(w);
    return err;
}

int guardian_start(struct ust_worker *w)
{
    struct guardian *g = &w->guardian;
    sigset_t all, old;

    if (w->clock)
        return -EOPNOTSUPP;
    if (g->running)
        return 0;
    g->patience_ns = FOR_EVER;
    sigfillset(&all); /* signals are for Python's threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    g->running = pthread_create(&g->thread, NULL, guard, w) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!g->running)
        return -EAGAIN;
    pthread_setname_np(g->thread, "ustack-guardian");
    return 0;
}

void guardian_end(struct ust_worker *w)
{
    struct guardian *g = &w->guardian;

    if (!g->running)
        return;
    g->running = false;
    atomic_store(&g->ending, true);
    worker_ring(g->bell);
    pthread_mutex_unlock(&w->lock);
    pthread_join(g->thread, NULL);
    pthread_mutex_lock(&w->lock);
}

void guardian_unpark(struct ust_worker *w)
{
    if (w->guardian.parked)
        worker_ring(w->guardian.bell);
    w->guardian.parked = false;
}

void guardian_release(struct ust_worker *w)
{
    if (patience(w) == 0) /* it shall be there whoever else is */
        return;
    w->guardian.watching = false;
    w->guardian.until = 0;
    worker_ring(w->guardian.bell);
    worker_disarm_ports(w);
}

void guardian_hasten(struct ust_worker *w)
{
    if (w->app_awake) /* it is woken, too, or will be let go by ust_worker_disarm() */
        return;
    if (w->guardian.until != 0 && !w->stopped && ust_worker_deadline(w) < w->guardian.until) {
        w->guardian.until = 0;
        worker_ring(w->guardian.bell);
    }
}

/* ------------------------------------------------------------ the thread */

static void *guard(void *worker)
{
    struct ust_worker *w = worker;

    ust_worker_lock(w);
    while (!atomic_load(&w->guardian.ending))
        step(w);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void step(struct ust_worker *w)
{
    const struct guardian *g = &w->guardian;
    ust_time now = ust_worker_now();
    ust_time attended = atomic_load_explicit(&w->attended_at, memory_order_relaxed);
    ust_time since = attended > g->asked_at ? attended : g->asked_at;

    if (w->driver)
        park(w);
    else if (now < since + patience(w))
        nap(w, since + patience(w));
    else if (loop_sleeps(w) && g->asked_at <= attended)
        listen_for_loop(w);
    else
        serve(w, now);
}

static ust_time patience(const struct ust_worker *w)
{
    return w->doorbells ? 0 : w->guardian.patience_ns;
}

static bool loop_sleeps(const struct ust_worker *w)
{
    return w->app_armed && !w->app_rung;
}

static void park(struct ust_worker *w)
{
    w->guardian.parked = true;
    worker_sleep(w, &(struct worker_bed){.bell = w->guardian.bell, .until = UINT64_MAX});
    w->guardian.parked = false;
}

/* Goes on, without the lock, for as long as others attend; ever longer, since
 * who has been there for long will be, and each look costs a system call. */
static void nap(struct ust_worker *w, ust_time until)
{
    struct guardian *g = &w->guardian;
    struct pollfd bell = {.fd = g->bell, .events = POLLIN};
    ust_time step = patience(w), length = step, now = ust_worker_now();

    pthread_mutex_unlock(&w->lock);
    while (now < until) {
        struct timespec ts = worker_timespec(until - now);

        if (ppoll(&bell, 1, &ts, NULL) > 0) {
            worker_drain(g->bell);
            break;
        }
        now = ust_worker_now();
        if (length < MAX_NAPS * step)
            length += step;
        until = atomic_load_explicit(&w->attended_at, memory_order_relaxed) + step;
        if (until > now && until < now + length)
            until = now + length;
    }
    ust_worker_lock(w);
}

/* Both are woken by the same frames: it stays out of the loop's way. */
static void listen_for_loop(struct ust_worker *w)
{
    ust_time due = ust_worker_deadline(w);
    int r;

    if (due < UINT64_MAX - FOR_EVER)
        due += patience(w);
    r = sleep_on_ports(w, patience(w), due);
    if (r != WOKEN_BY_BELL)
        w->guardian.asked_at = ust_worker_now() - (r == WOKEN_BY_PORT ? patience(w) : 0);
}

/* One round; a sleep when it had nothing to do. */
static void serve(struct ust_worker *w, ust_time now)
{
    w->guardian.asked_at = 0;
    worker_ring_app(w);
    w->stats.guardian_rounds++;
    if (worker_round(w, now)) {
        worker_notify(w, NULL);
        worker_give_way(w);
    } else if (w->doorbells && now - w->last_work < w->spin_ns) {
        worker_give_way(w);
    } else {
        if (!worker_arm_ports(w))
            sleep_on_ports(w, 0, ust_worker_deadline(w));
        worker_disarm_ports(w);
    }
}

static int sleep_on_ports(struct ust_worker *w, ust_time linger, ust_time until)
{
    struct guardian *g = &w->guardian;
    ust_time nap_end = ust_worker_now() + NAP_NS;
    int r;

    if (worker_is_deaf(w) && until > nap_end)
        until = nap_end;
    g->watching = true;
    g->until = until;
    r = worker_sleep(w, &(struct worker_bed){
                            .bell = g->bell, .on_ports = true, .linger = linger, .until = until});
    g->watching = false;
    g->until = 0;
    return r;
}
