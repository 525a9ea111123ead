/* SPDX-License-Identifier: BSD-3-Clause */
/* A load over the kernel's TCP: non-blocking sockets under one epoll, as a
 * careful C client does it. IPv4 only.
 *
 * The congestion control is named, since some systems have one by default that
 * paces (BBR), which is not what is measured.                               */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

static const char congestion_control[] = "cubic";

static int forget(struct load_conn *c);
static int bind_to(int fd, const struct ust_addr *addr);

static int kernel_connect(struct ust_load *l, struct load_conn *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(l->port)};
    struct ust_addr addr = load_nth_addr(l, &l->addr);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    c->id = fd;
    if (addr.b[12] == 127 && l->n_addrs > 1 && bind_to(fd, &addr) != 0)
        return forget(c);
    memcpy(&to.sin_addr, (addr.b[12] == 127 ? &l->addr : &addr)->b + 12, 4);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion_control, sizeof congestion_control - 1);
    ev.data.ptr = c;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        return forget(c);
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) == 0 ? 0 : forget(c);
}

/* The descriptor of what could not be; its -errno. */
static int forget(struct load_conn *c)
{
    int err = -errno;

    close((int)c->id);
    c->id = 0;
    return err;
}

/* The port is found by connect(), which knows the whole flow. */
static int bind_to(int fd, const struct ust_addr *addr)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;

    memcpy(&from.sin_addr, addr->b + 12, 4);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    return bind(fd, (struct sockaddr *)&from, sizeof from);
}

static void kernel_close(struct ust_load *l, struct load_conn *c)
{
    close((int)c->id);
}

static int64_t kernel_send(struct ust_load *l, struct load_conn *c, const void *data, size_t len)
{
    ssize_t n = send((int)c->id, data, len, MSG_NOSIGNAL);

    (void)l;
    return n < 0 ? -errno : n;
}

static int64_t kernel_recv(struct ust_load *l, struct load_conn *c, void *buf, size_t size)
{
    ssize_t n = recv((int)c->id, buf, size, 0);

    (void)l;
    return n < 0 ? -errno : n;
}

static void kernel_nothing(struct ust_load *l)
{
    (void)l;
}

static int pending_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof err;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        return -errno;
    return err ? -err : -ECONNRESET;
}

static void kernel_turn(struct ust_load *l, ust_time until)
{
    struct epoll_event ev[UST_MAX_BURST];
    ust_time left = until > l->now ? until - l->now : 0;
    int n = epoll_wait(l->epoll, ev, UST_MAX_BURST, (int)(left / 1000000));

    l->now = ust_worker_now();
    for (int i = 0; i < n; i++) {
        struct load_conn *c = ev[i].data.ptr;
        bool lost = ev[i].events & (EPOLLERR | EPOLLHUP);

        if (lost || (ev[i].events & EPOLLOUT) || c->open)
            load_event(l, c, lost ? pending_error((int)c->id) : 0);
    }
}

static void kernel_free(struct ust_load *l)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    for (unsigned i = 0; i < l->n_conns; i++)
        if (l->conns[i].id > 0) {
            setsockopt((int)l->conns[i].id, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            close((int)l->conns[i].id);
        }
    if (l->epoll >= 0)
        close(l->epoll);
}

static const struct load_ops kernel_ops = {
    .connect = kernel_connect,
    .send = kernel_send,
    .recv = kernel_recv,
    .close = kernel_close,
    .begin = kernel_nothing,
    .end = kernel_nothing,
    .turn = kernel_turn,
    .free = kernel_free,
};

struct ust_load *ust_load_kernel(int kind, unsigned n_conns, unsigned size,
                                 const struct ust_addr *addr, uint16_t port)
{
    struct ust_load *l = load_new(&kernel_ops, (enum ust_load_kind)kind, n_conns, size, addr, port);

    if (!l)
        return NULL;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll >= 0)
        return l;
    ust_load_free(l);
    return NULL;
}
