/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket calls on UDP handles, with Linux's errors. */
#include <errno.h>

#include "sock.h"

struct udp_sock *dgram_find(const struct tcp *tcp, ust_handle h)
{
    struct udp *udp = tcp->net.udp;
    uint32_t i = (uint32_t)h, gen = (uint32_t)((uint64_t)h >> 32) & UDP_GEN_MAX;

    if (!handle_is_udp(h) || i >= udp->n_socks || !udp->socks[i].used || udp->socks[i].gen != gen)
        return NULL;
    return &udp->socks[i];
}

ust_handle dgram_handle(const struct udp *udp, const struct udp_sock *s)
{
    return (ust_handle)((uint64_t)1 << HANDLE_KIND_SHIFT | (uint64_t)s->gen << 32 |
                        udp_index(udp, s));
}

unsigned dgram_ready(const struct udp_sock *s)
{
    unsigned r = UST_WRITABLE;

    if (s->rx.count > 0 || s->rcv_shut || s->error)
        r |= UST_READABLE;
    if (s->error)
        r |= UST_ERROR;
    if (s->connected)
        r |= UST_CONNECTED;
    return r;
}

ust_handle ust_udp_socket(struct ust_engine *eng)
{
    struct udp *udp = sock_tcp(eng)->net.udp;
    struct udp_sock *s = udp_alloc(udp);

    if (!s) {
        count(&udp->net->core, C_SOCK_NOTCB);
        return -ENOBUFS;
    }
    return dgram_handle(udp, s);
}

int dgram_bind(struct tcp *tcp, ust_handle h, const struct ust_addr *addr, uint16_t port)
{
    struct udp_sock *s = dgram_find(tcp, h);

    return s ? udp_bind(tcp->net.udp, s, addr, port) : -EBADF;
}

int dgram_connect(struct tcp *tcp, ust_handle h, const struct ust_addr *addr, uint16_t port)
{
    struct udp_sock *s = dgram_find(tcp, h);

    return s ? udp_connect(tcp->net.udp, s, addr, port) : -EBADF;
}

int64_t ust_sendto(struct ust_engine *eng, ust_handle h, const void *data, size_t len,
                   const struct ust_addr *addr, uint16_t port)
{
    struct tcp *tcp = sock_tcp(eng);
    struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return sock_find(tcp, h) ? -EOPNOTSUPP : -EBADF;
    return udp_send(tcp->net.udp, s, data, len, addr, port);
}

int64_t dgram_send(struct tcp *tcp, ust_handle h, const void *data, size_t len)
{
    struct udp_sock *s = dgram_find(tcp, h);

    return s ? udp_send(tcp->net.udp, s, data, len, NULL, 0) : -EBADF;
}

int64_t ust_recvfrom(struct ust_engine *eng, ust_handle h, void *buf, size_t size, int flags,
                     struct ust_datagram *info)
{
    struct tcp *tcp = sock_tcp(eng);
    struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return sock_find(tcp, h) ? -EOPNOTSUPP : -EBADF;
    return udp_recv(tcp->net.udp, s, buf, size, flags & UST_MSG_PEEK, info);
}

int64_t dgram_recv(struct tcp *tcp, ust_handle h, void *buf, size_t size, int flags)
{
    struct udp_sock *s = dgram_find(tcp, h);

    return s ? udp_recv(tcp->net.udp, s, buf, size, flags & UST_MSG_PEEK, NULL) : -EBADF;
}

int dgram_shutdown(struct tcp *tcp, ust_handle h, int how)
{
    struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return -EBADF;
    if (how < UST_SHUT_RD || how > UST_SHUT_RDWR)
        return -EINVAL;
    if (!s->connected)
        return -ENOTCONN;
    s->rcv_shut |= how != UST_SHUT_WR;
    s->snd_shut |= how != UST_SHUT_RD;
    udp_changed(tcp->net.udp, s);
    return 0;
}

int dgram_close(struct tcp *tcp, ust_handle h)
{
    struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return -EBADF;
    udp_free(tcp->net.udp, s);
    return 0;
}

int dgram_names(const struct tcp *tcp, ust_handle h, struct flow_key *key)
{
    const struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return -EBADF;
    *key = s->key;
    return 0;
}

int dgram_set_user(struct tcp *tcp, ust_handle h, uint64_t user)
{
    struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return -EBADF;
    s->user = user;
    return 0;
}

/* ------------------------------------------------------- options */

static bool in(int64_t value, int64_t lo, int64_t hi)
{
    return lo <= value && value <= hi;
}

int dgram_setopt(struct tcp *tcp, ust_handle h, int opt, int64_t value)
{
    struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return -EBADF;
    switch (opt) {
    case UST_OPT_REUSEADDR: s->reuseaddr = value != 0; return 0;
    case UST_OPT_BROADCAST: s->broadcast = value != 0; return 0;
    case UST_OPT_INET6:
        if (s->ping)
            return -EINVAL;
        s->inet6 = value != 0;
        return 0;
    case UST_OPT_V6ONLY:
        if (s->bound || !s->inet6 || s->ping)
            return s->inet6 ? -EINVAL : -ENOPROTOOPT;
        s->v6only = value != 0;
        return 0;
    case UST_OPT_PING:
        if (s->bound || value != 1)
            return -EINVAL;
        s->ping = true;
        s->v6only = s->inet6;
        return 0;
    case UST_OPT_TOS: s->tos = (uint8_t)value; return 0;
    case UST_OPT_TTL:
        if (!in(value, 1, 255) && value != -1)
            return -EINVAL;
        s->ttl = value == -1 ? 0 : (uint8_t)value;
        return 0;
    case UST_OPT_MTU_DISCOVER:
        if (!in(value, UDP_PMTU_DONT, UDP_PMTU_PROBE))
            return -EINVAL;
        s->discover = (uint8_t)value;
        return 0;
    case UST_OPT_GSO_SIZE:
        if (s->ping)
            return -ENOPROTOOPT;
        if (!in(value, 0, UINT16_MAX))
            return -EINVAL;
        s->gso_size = (uint16_t)value;
        return 0;
    case UST_OPT_RCVBUF:
        if (value < 0)
            return -EINVAL;
        s->rcv_limit = value<2304 ? 2304 : value>(1 << 30) ? 1 << 30 : (uint32_t)value;
        return 0;
    case UST_OPT_SNDBUF: return value < 0 ? -EINVAL : 0; /* datagrams leave at once */
    default: return -ENOPROTOOPT;
    }
}

static int path_mtu(const struct tcp *tcp, const struct udp_sock *s, int64_t *value)
{
    if (!s->connected)
        return -ENOTCONN;
    *value = net_path_mtu(&tcp->net, &s->key.remote);
    return 0;
}

int dgram_getopt(const struct tcp *tcp, ust_handle h, int opt, int64_t *value)
{
    struct udp_sock *s = dgram_find(tcp, h);

    if (!s)
        return -EBADF;
    switch (opt) {
    case UST_OPT_REUSEADDR: *value = s->reuseaddr; return 0;
    case UST_OPT_BROADCAST: *value = s->broadcast; return 0;
    case UST_OPT_INET6: *value = s->inet6; return 0;
    case UST_OPT_V6ONLY: *value = s->v6only; return 0;
    case UST_OPT_PING: *value = s->ping; return 0;
    case UST_OPT_TOS: *value = s->tos; return 0;
    case UST_OPT_TTL: *value = s->ttl ? s->ttl : tcp->net.core.set.ip_ttl; return 0;
    case UST_OPT_MTU_DISCOVER: *value = s->discover; return 0;
    case UST_OPT_MTU: return path_mtu(tcp, s, value);
    case UST_OPT_GSO_SIZE: *value = s->gso_size; return 0;
    case UST_OPT_RCVBUF: *value = s->rcv_limit; return 0;
    case UST_OPT_SNDBUF: *value = tcp->net.core.set.udp_rmem; return 0;
    case UST_OPT_ERROR:
        *value = s->error;
        s->error = 0;
        return 0;
    case UST_OPT_ACCEPTCONN: *value = 0; return 0;
    case UST_OPT_INQ:
        *value = s->rx.count ? tcp->net.core.pool.meta[s->rx.head].frame_len : 0;
        return 0;
    case UST_OPT_OUTQ: *value = 0; return 0;
    default: return -ENOPROTOOPT;
    }
}
