/* SPDX-License-Identifier: BSD-3-Clause */
/* Socket calls with the worker's lock taken and their output flushed, so that
 * each is one call from Python.
 *
 * Those that may block try first; when there is nothing, the engine gets its
 * turn (wait.c), and they try again until the deadline.
 *
 * Not here: what the calls mean (sock/), the control plane (admin.c).       */
#include <errno.h>

#include "worker.h"

enum { NO_MBUF_PAUSE_NS = 1000 * 1000 }; /* the pool was empty: try later */

/* A call that can be tried again; try returns -EAGAIN for "not yet". */
struct attempt {
    int64_t (*try)(struct ust_engine *eng, const struct attempt *call);
    ust_handle h;
    uint32_t wanted; /* enum ust_ready to wait for */
    const uint8_t *src;
    uint8_t *dst;
    size_t len;
    int flags;
    bool patient;                /* recv may wait for SO_RCVLOWAT */
    const struct ust_addr *addr; /* of a datagram: where to */
    uint16_t port;
    struct ust_datagram *info; /* where from */
};

static int64_t try_accept(struct ust_engine *eng, const struct attempt *call);
static int64_t try_send(struct ust_engine *eng, const struct attempt *call);
static int64_t try_recv(struct ust_engine *eng, const struct attempt *call);
static int64_t try_sendto(struct ust_engine *eng, const struct attempt *call);
static int64_t try_recvfrom(struct ust_engine *eng, const struct attempt *call);
static int64_t try_until(struct ust_worker *w, const struct attempt *call, uint64_t timeout_ns);
static int pause_for_mbufs(struct ust_worker *w, ust_time deadline);

/* ------------------------------------------------- calls that may block */

ust_handle ust_worker_accept(struct ust_worker *w, ust_handle h, struct ust_addr *remote,
                             uint16_t *remote_port, uint64_t timeout_ns)
{
    struct attempt call = {.try = try_accept, .h = h, .wanted = UST_READABLE};
    struct ust_addr local;
    uint16_t local_port;
    ust_handle conn;

    if (!worker_enter(w))
        return -EBADF;
    conn = try_until(w, &call, timeout_ns);
    if (conn > 0)
        ust_names(w->eng, conn, &local, &local_port, remote, remote_port);
    worker_leave(w);
    return conn;
}

int64_t ust_worker_send(struct ust_worker *w, ust_handle h, const uint8_t *data, size_t len,
                        int flags, uint64_t timeout_ns)
{
    struct attempt call = {
        .try = try_send, .h = h, .wanted = UST_WRITABLE, .src = data, .len = len, .flags = flags};
    int64_t n;

    if (!worker_enter(w))
        return -EBADF;
    n = try_until(w, &call, timeout_ns);
    worker_leave(w);
    return n;
}

int64_t ust_worker_recv(struct ust_worker *w, ust_handle h, uint8_t *buf, size_t size, int flags,
                        uint64_t timeout_ns)
{
    struct attempt call = {.try = try_recv,
                           .h = h,
                           .wanted = UST_READABLE,
                           .dst = buf,
                           .len = size,
                           .flags = flags,
                           .patient = timeout_ns > 0};
    int64_t n;

    if (!worker_enter(w))
        return -EBADF;
    n = try_until(w, &call, timeout_ns);
    worker_leave(w);
    return n;
}

int64_t ust_worker_sendto(struct ust_worker *w, ust_handle h, const uint8_t *data, size_t len,
                          const struct ust_addr *addr, uint16_t port, uint64_t timeout_ns)
{
    struct attempt call = {
        .try = try_sendto, .h = h, .src = data, .len = len, .addr = addr, .port = port};
    int64_t n;

    if (!worker_enter(w))
        return -EBADF;
    n = try_until(w, &call, timeout_ns);
    worker_leave(w);
    return n == -ENOBUFS ? -EAGAIN : n;
}

int64_t ust_worker_recvfrom(struct ust_worker *w, ust_handle h, uint8_t *buf, size_t size,
                            int flags, struct ust_datagram *info, uint64_t timeout_ns)
{
    struct attempt call = {.try = try_recvfrom,
                           .h = h,
                           .wanted = UST_READABLE,
                           .dst = buf,
                           .len = size,
                           .flags = flags,
                           .info = info};
    int64_t n;

    if (!worker_enter(w))
        return -EBADF;
    n = try_until(w, &call, timeout_ns);
    worker_leave(w);
    return n;
}

static int64_t try_accept(struct ust_engine *eng, const struct attempt *call)
{
    return ust_accept(eng, call->h);
}

static int64_t try_send(struct ust_engine *eng, const struct attempt *call)
{
    return ust_send(eng, call->h, call->src, call->len, call->flags);
}

/* SO_RCVLOWAT: there is something, but less than a blocking call waits for. */
static bool too_little(struct ust_engine *eng, ust_handle h)
{
    int64_t n = 0;

    return ust_getopt(eng, h, UST_OPT_INQ, &n) == 0 && n > 0 && !(ust_ready(eng, h) & UST_READABLE);
}

static int64_t try_recv(struct ust_engine *eng, const struct attempt *call)
{
    if (call->patient && too_little(eng, call->h))
        return -EAGAIN;
    return ust_recv(eng, call->h, call->dst, call->len, call->flags);
}

/* A UDP socket is always writable, so there is nothing to wait for but time. */
static int64_t try_sendto(struct ust_engine *eng, const struct attempt *call)
{
    int64_t n = ust_sendto(eng, call->h, call->src, call->len, call->addr, call->port);

    return n == -EAGAIN ? -ENOBUFS : n;
}

static int64_t try_recvfrom(struct ust_engine *eng, const struct attempt *call)
{
    return ust_recvfrom(eng, call->h, call->dst, call->len, call->flags, call->info);
}

static int64_t try_until(struct ust_worker *w, const struct attempt *call, uint64_t timeout_ns)
{
    struct waiter self = {.handles = &call->h, .wanted = &call->wanted, .n = 1};
    int64_t r = call->try(w->eng, call);
    ust_time deadline;
    int waited = 1;

    if (r != -EAGAIN && r != -ENOBUFS)
        return r;
    deadline = worker_deadline_in(timeout_ns);
    while (waited > 0 && (r == -EAGAIN || r == -ENOBUFS)) {
        waited = r == -EAGAIN ? worker_wait(w, &self, deadline) : pause_for_mbufs(w, deadline);
        if (waited > 0)
            r = call->try(w->eng, call);
    }
    return waited < 0 ? waited : r;
}

static bool all_delivered(struct ust_engine *eng, ust_handle h)
{
    int64_t left = 0;

    return ust_getopt(eng, h, UST_OPT_OUTQ, &left) < 0 || left == 0;
}

int ust_worker_linger(struct ust_worker *w, ust_handle h, uint64_t timeout_ns)
{
    ust_time deadline = worker_deadline_in(timeout_ns);
    int waited = 1;
    bool done;

    if (!worker_enter(w))
        return -EBADF;
    ust_shutdown(w->eng, h, UST_SHUT_WR);
    while (!(done = all_delivered(w->eng, h)) && waited > 0) {
        struct waiter self = {.work_seen = w->work};

        waited = worker_wait(w, &self, deadline);
    }
    worker_leave(w);
    return done ? 0 : waited < 0 ? waited : -EAGAIN;
}

/* Drives the engine for a moment. 1 when there is time left to try again. */
static int pause_for_mbufs(struct ust_worker *w, ust_time deadline)
{
    struct waiter self = {.work_seen = UINT64_MAX};
    ust_time until = worker_deadline_in(NO_MBUF_PAUSE_NS);
    int r = worker_wait(w, &self, until < deadline ? until : deadline);

    return r < 0 ? r : until < deadline;
}

/* ---------------------------------------------------- calls that do not */

ust_handle ust_worker_socket(struct ust_worker *w)
{
    return worker_enter(w) ? worker_left(w, ust_socket(w->eng)) : -EBADF;
}

ust_handle ust_worker_udp_socket(struct ust_worker *w, int inet6)
{
    ust_handle h = -EBADF;

    if (worker_enter(w)) {
        h = ust_udp_socket(w->eng);
        if (h > 0 && inet6)
            ust_setopt(w->eng, h, UST_OPT_INET6, 1);
        worker_leave(w);
    }
    return h;
}

int ust_worker_bind(struct ust_worker *w, ust_handle h, const struct ust_addr *addr, uint16_t port)
{
    return worker_enter(w) ? worker_left(w, ust_bind(w->eng, h, addr, port)) : -EBADF;
}

int ust_worker_listen(struct ust_worker *w, ust_handle h, int backlog)
{
    return worker_enter(w) ? worker_left(w, ust_listen(w->eng, h, backlog)) : -EBADF;
}

int ust_worker_connect(struct ust_worker *w, ust_handle h, const struct ust_addr *addr,
                       uint16_t port)
{
    return worker_enter(w) ? worker_left(w, ust_connect(w->eng, h, addr, port)) : -EBADF;
}

int64_t ust_worker_fastopen(struct ust_worker *w, ust_handle h, const struct ust_addr *addr,
                            uint16_t port, const uint8_t *data, size_t len)
{
    return worker_enter(w) ? worker_left(w, ust_fastopen(w->eng, h, addr, port, data, len))
                           : -EBADF;
}

int ust_worker_shutdown(struct ust_worker *w, ust_handle h, int how)
{
    return worker_enter(w) ? worker_left(w, ust_shutdown(w->eng, h, how)) : -EBADF;
}

int ust_worker_close(struct ust_worker *w, ust_handle h)
{
    return worker_enter(w) ? worker_left(w, ust_close(w->eng, h)) : -EBADF;
}

int ust_worker_abort(struct ust_worker *w, ust_handle h)
{
    return worker_enter(w) ? worker_left(w, ust_abort(w->eng, h)) : -EBADF;
}

int ust_worker_setopt(struct ust_worker *w, ust_handle h, int opt, int64_t value)
{
    return worker_enter(w) ? worker_left(w, ust_setopt(w->eng, h, opt, value)) : -EBADF;
}

int ust_worker_getopt(struct ust_worker *w, ust_handle h, int opt, int64_t *value)
{
    return worker_enter(w) ? worker_left(w, ust_getopt(w->eng, h, opt, value)) : -EBADF;
}

int ust_worker_names(struct ust_worker *w, ust_handle h, struct ust_addr *local,
                     uint16_t *local_port, struct ust_addr *remote, uint16_t *remote_port)
{
    return worker_enter(w)
             ? worker_left(w, ust_names(w->eng, h, local, local_port, remote, remote_port))
             : -EBADF;
}

int ust_worker_tcp_info(struct ust_worker *w, ust_handle h, struct ust_tcp_info *info)
{
    return worker_enter(w) ? worker_left(w, ust_tcp_info(w->eng, h, info)) : -EBADF;
}
