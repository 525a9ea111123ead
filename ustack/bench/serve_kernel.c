/* SPDX-License-Identifier: BSD-3-Clause */
/* A server in C on the kernel's TCP: non-blocking sockets under one epoll, edge
 * triggered, as a careful C server does it.                                 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve.h"

static int64_t kernel_send(struct ust_serve *s, struct serve_conn *c, const void *data, size_t len)
{
    ssize_t n = send((int)c->id, data, len, MSG_NOSIGNAL);

    return n < 0 ? -errno : n;
}

static int64_t kernel_recv(struct ust_serve *s, struct serve_conn *c, void *buf, size_t size)
{
    ssize_t n = recv((int)c->id, buf, size, 0);

    return n < 0 ? -errno : n;
}

static void kernel_close(struct ust_serve *s, struct serve_conn *c)
{
    close((int)c->id);
}

static int watch(struct ust_serve *s, int fd, void *conn)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = conn};

    if (conn)
        ev.events |= EPOLLOUT | EPOLLRDHUP | EPOLLET;
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : -errno;
}

static void accept_all(struct ust_serve *s)
{
    int fd, one = 1;

    while ((fd = accept4((int)s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct serve_conn *c = serve_accept(s, fd);

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (!c)
            close(fd);
        else if (watch(s, fd, c) != 0)
            serve_event(s, c, true);
    }
}

static int64_t kernel_turn(struct ust_serve *s, ust_time until)
{
    struct epoll_event ev[UST_MAX_BURST];
    ust_time now = ust_worker_now(), left = until > now ? until - now : 0;
    int n = epoll_wait(s->epoll, ev, UST_MAX_BURST, (int)(left / 1000000));

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        if (ev[i].data.ptr)
            serve_event(s, ev[i].data.ptr, ev[i].events & (EPOLLERR | EPOLLHUP));
        else
            accept_all(s);
    }
    return n;
}

static void kernel_free(struct ust_serve *s)
{
    for (struct serve_slab *slab = s->slabs; slab; slab = slab->next)
        for (unsigned i = 0; i < SERVE_SLAB; i++)
            if (slab->conns[i].id)
                close((int)slab->conns[i].id);
    if (s->epoll >= 0)
        close(s->epoll);
}

static const struct serve_ops kernel_ops = {
    .send = kernel_send,
    .recv = kernel_recv,
    .close = kernel_close,
    .turn = kernel_turn,
    .free = kernel_free,
};

struct ust_serve *ust_serve_kernel(int listener, int kind, const uint8_t *answer, unsigned len)
{
    struct ust_serve *s = serve_new(&kernel_ops, (enum ust_serve_kind)kind, answer, len);

    if (!s)
        return NULL;
    s->listener = listener;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll >= 0 && watch(s, listener, NULL) == 0)
        return s;
    ust_serve_free(s);
    return NULL;
}
