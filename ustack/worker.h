/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker's inside, shared by worker.c (the loop), wait.c (threads that
 * wait), calls.c (socket calls with the lock taken), staging.c, doorbell.c and
 * guardian.c.
 *
 *  K1  everything here but wanting, woken and the descriptors is touched only
 *      under lock
 *  K2  driver is one of the waiters, or NULL; only the driver sleeps in ppoll
 *  K3  while sleeping the driver does not hold the lock, and the ports are armed
 *  K4  a port's backlog[0 .. n_backlog) left the engine and has not fitted the
 *      port; while every port has one, the engine is not asked for more
 *  K5  after stop: eng is NULL, n_ports is 0, and waiters is NULL
 *  K6  with a clock there is no port, no descriptor and no waiter
 *  K7  who sleeps on the ports has them armed: the driver (sleep_until), an
 *      event loop (app_armed) or the guardian (watching)
 *  K8  a port is watched by ports_fd before it is by app_fd: the kernel wakes
 *      the last watcher first, and the loop is who has something to do       */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "io/crew.h"
#include "ustack.h"

/* A thread in ust_worker_wait() and its kin; lives on that thread's stack. */
struct waiter {
    struct waiter *next, **link; /* in w->waiters; link points at us */
    const ust_handle *handles;
    const uint32_t *wanted; /* enum ust_ready, one a handle */
    unsigned n;
    const int *fd;        /* a descriptor that ends the wait when readable; or NULL */
    uint64_t work_seen;   /* n == 0: wait for w->work to move on */
    pthread_cond_t moved; /* something it waits for may have changed */
};

/* One queue of one port, behind one interface of the engine. */
struct worker_port {
    struct ust_port *port;
    int iface;
    unsigned queue;
    unsigned rx_step; /* frames asked for at once */
    bool deaf;        /* it has no fd, or a broken one: nap instead */
    struct mbuf *backlog[UST_MAX_BURST];
    unsigned n_backlog;
};

/* The thread that stands in when Python is elsewhere (guardian.c). */
struct guardian {
    pthread_t thread;
    bool running;
    atomic_bool ending;
    ust_time patience_ns; /* that it leaves the engine to others */
    ust_time asked_at;    /* when it saw work for an event loop that slept */
    ust_time until;       /* of its sleep; 0: awake, or not for the engine's sake */
    bool watching;        /* sleeps on the ports */
    bool parked;          /* sleeps until a driver has left */
    int bell;             /* eventfd: wakes it */
};

/* staging.c: a loop's small writes, not yet the engine's. */
enum { STAGED_MAX = 2 * UST_MAX_BURST, STAGED_BYTES = 32 * 1024 };
struct staged {
    ust_handle handle;
    uint32_t at, len; /* in bytes[] */
    int64_t result;   /* of ust_send() */
};
struct staging {
    atomic_uint tail, sent;
    atomic_bool failed; /* a result is not len */
    uint32_t used;      /* of bytes[] */
    struct staged writes[STAGED_MAX];
    uint8_t bytes[STAGED_BYTES];
};

struct ust_worker {
    atomic_uint refs; /* that hold it: the garbage collector ends things in any order */
    pthread_mutex_t lock;
    atomic_uint wanting; /* threads that found the lock taken */
    struct ust_engine *eng;
    struct mbuf_pool *pool;
    const ust_time *clock; /* virtual time; NULL: the system's */
    struct worker_port ports[UST_MAX_IFACES];
    unsigned n_ports;

    ust_time spin_ns;
    _Atomic ust_time attended_at; /* by anybody but the guardian */
    ust_time last_work;           /* when frames last moved */
    uint64_t work;                /* rounds in which anything happened */

    struct waiter *waiters, *driver;
    struct ust_doorbell *doorbells;
    pthread_cond_t gone;  /* the last waiter left */
    ust_time sleep_until; /* of the sleeping driver; 0: awake */
    bool stopped, forked;
    bool app_armed;          /* an event loop may sleep on app_fd */
    bool app_rung;           /* and has been woken already */
    bool app_awake;          /* the ports have woken it; it has yet to disarm them */
    atomic_bool woken;       /* ust_worker_wake() since the last wait */
    atomic_bool app_woken;   /* and since the event loop last woke */
    int bell;                /* eventfd: wakes the driver */
    int ports_fd;            /* epoll: the ports, for the driver and the guardian */
    int app_bell;            /* eventfd: wakes the event loop */
    int app_timer;           /* timerfd: the engine's next deadline, for the event loop */
    ust_time app_due;        /* what it is set to */
    int app_fd;              /* epoll: app_bell, app_timer and the ports */
    const void *app_owner;   /* the event loop's dispatcher that has endpoints; NULL: none has */
    struct staging *staging; /* of that loop; or NULL */

    struct ust_port *crew; /* the way to the other workers of the stack; NULL: there are none */
    unsigned number;       /* of this one */
    ust_time reported_at;
    uint64_t reported_work;

    struct guardian guardian;
    struct ust_worker_stats stats;
};

/* What ust_worker_free() does but for stopping it. */
void worker_unref(struct ust_worker *w);

/* Sends writes[sent .. tail), with the lock held. */
void staging_send(struct ust_worker *w);
/* Room again, if all is sent and was taken. */
void staging_empty(struct staging *s);
static inline bool staging_waits(const struct staging *s)
{
    return atomic_load_explicit(&s->sent, memory_order_relaxed) !=
           atomic_load_explicit(&s->tail, memory_order_relaxed);
}
static inline void worker_send_staged(struct ust_worker *w)
{
    if (w->staging && staging_waits(w->staging))
        staging_send(w);
}

/* Whoever sleeps for the ports wakes for this descriptor as well. 0 or -errno. */
int worker_watch(struct ust_worker *w, int fd);

/* exchange.c, of a worker that has a crew: takes in what others have brought, how
 * much; brings away what is theirs; and says how it is, to those who look. */
unsigned exchange_in(struct ust_worker *w, ust_time now);
void exchange_out(struct ust_worker *w);
void exchange_report(struct ust_worker *w, ust_time now, bool sleeps);

/* Take the lock for one call: false, and not taken, after stop. */
bool worker_enter(struct ust_worker *w);
/* Flush, tell the waiters, give the lock back. */
void worker_leave(struct ust_worker *w);
/* The same at the end of `worker_enter(w) ? worker_left(w, call) : -EBADF`: the call's result. */
static inline int64_t worker_left(struct ust_worker *w, int64_t result)
{
    worker_leave(w);
    return result;
}
/* rx, tick and flush; true when anything happened. */
bool worker_round(struct ust_worker *w, ust_time now);
unsigned worker_flush(struct ust_worker *w, ust_time now);
/* Arm every port: 1 when one of them has frames already. */
int worker_arm_ports(struct ust_worker *w);
/* Unless somebody still sleeps on them (K6). */
void worker_disarm_ports(struct ust_worker *w);
/* Does the port's descriptor not wake us? Then nobody may sleep long. */
bool worker_is_deaf(const struct ust_worker *w);
/* Wake every waiter (but self) that has what it waits for, and the sleeping
 * driver if the engine now needs it earlier. */
void worker_tell(struct ust_worker *w, const struct waiter *self);
static inline void worker_notify(struct ust_worker *w, const struct waiter *self)
{
    if (w->waiters || w->doorbells || w->guardian.until != 0)
        worker_tell(w, self);
}
/* Tell an event loop that sleeps on app_fd that the engine has changed. */
void worker_ring_app(struct ust_worker *w);
/* The loop that slept has its turn; it has yet to disarm. */
void worker_loop_attends(struct ust_worker *w, ust_time now);
/* Let a thread that waits for the lock have it. */
void worker_give_way(struct ust_worker *w);

/* Wait, under the lock, until what self wants is there. 1: it is, 0: deadline
 * or ust_worker_wake(), -EINTR: a signal, -EBADF: stopped. */
int worker_wait(struct ust_worker *w, struct waiter *self, ust_time deadline);
/* now + timeout_ns, without overflow. */
ust_time worker_deadline_in(uint64_t timeout_ns);
struct timespec worker_timespec(ust_time t);
void worker_ring(int fd);
void worker_drain(int fd);
/* Sleep in ppoll(), without the lock, which is held before and after. 0: it was
 * the time; else enum worker_woken, or -EINTR after a signal. */
enum worker_woken { WOKEN_BY_BELL = 1, WOKEN_BY_PORT = 2, WOKEN_BY_FD = 3 };
struct worker_bed {
    int bell;
    const int *fd;   /* or NULL */
    bool on_ports;   /* and on the ports */
    ust_time linger; /* ns without the lock when they have woken it, or until the bell */
    ust_time until;
};
int worker_sleep(struct ust_worker *w, const struct worker_bed *bed);

/* guardian.c. There shall be one, if only for doorbells; under the lock. 0 or
 * -errno. */
int guardian_start(struct ust_worker *w);
/* A driver has left: it stands in from now on. */
void guardian_unpark(struct ust_worker *w);
/* Somebody else serves the ports: it need not watch them. */
void guardian_release(struct ust_worker *w);
/* The engine wants its turn earlier than it will wake. */
void guardian_hasten(struct ust_worker *w);
/* Ends it, with stopped set; lets the lock go meanwhile. */
void guardian_end(struct ust_worker *w);

/* A thread other than the guardian gives the engine its turn. Under the lock. */
static inline void worker_attend(struct ust_worker *w, ust_time now)
{
    atomic_store_explicit(&w->attended_at, now, memory_order_relaxed);
    if (w->guardian.watching)
        guardian_release(w);
}

/* doorbell.c: make every doorbell poll as its socket is. */
void worker_show_doorbells(struct ust_worker *w);
