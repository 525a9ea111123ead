/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket calls (RFC 9293 3.9.1 in POSIX dress), on handles. Each returns a
 * negative errno where Linux would set it. Calls happen at the engine's time:
 * the last `now` it was told. None of them sends; the next output does.     */
#include "sock.h"

#include <errno.h>

/* ------------------------------------------------------- open */

ust_handle ust_socket(struct ust_engine *eng)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = tcb_alloc(tcp);

    if (!tcb) {
        count(tcp_core(tcp), C_SOCK_NOTCB);
        return -ENOBUFS;
    }
    return sock_handle(tcp, tcb);
}

/* Does a socket bound to addr get what comes to some address that other gets? */
static bool overlaps(const struct ust_addr *addr, bool v6only, const struct tcb *other)
{
    const struct ust_addr *theirs = &other->key.local;

    if (addr_is_v4(addr) != addr_is_v4(theirs)) /* only :: takes both versions */
        return addr_is_v4(addr) ? addr_is_any(theirs) && !other->v6only
                                : addr_is_any(addr) && !v6only;
    return addr_is_any(addr) || addr_is_any(theirs) || addr_same(addr, theirs);
}

static bool port_conflicts(struct tcp *tcp, const struct tcb *tcb, const struct ust_addr *addr,
                           uint16_t port)
{
    const struct ust_addr any[2] = {{{0}}, {{[10] = 0xff, 0xff}}};
    uint32_t n_bound = 0;

    if (tcp->port_users[port] == 0)
        return false;
    for (uint32_t i = 0; i < tcp->net.n_addrs + 2; i++) {
        const struct tcb *other =
            tcp_bound(tcp, i < 2 ? &any[i] : &tcp->net.addrs[i - 2].addr, port);

        if (other && overlaps(addr, tcb->v6only, other))
            return true;
        n_bound += other != NULL;
    }
    return !tcb->reuseaddr && tcp->port_users[port] > n_bound; /* by old connections */
}

/* Any free port; the hash of nothing but our address says where to begin. */
static uint16_t free_port(struct tcp *tcp, const struct ust_addr *addr)
{
    struct flow_key key = {.local = *addr};
    struct tcb strict = {.reuseaddr = false};

    for (unsigned i = 0; i < N_PORTS; i++) {
        uint16_t port = tcp_pick_port(tcp, &key);

        if (port == 0 || !port_conflicts(tcp, &strict, addr, port))
            return port;
    }
    return 0;
}

int ust_bind(struct ust_engine *eng, ust_handle h, const struct ust_addr *addr, uint16_t port)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (handle_is_udp(h))
        return dgram_bind(tcp, h, addr, port);
    if (!tcb)
        return -EBADF;
    if (tcb->state != UST_CLOSED || tcb->bound)
        return -EINVAL;
    if (!addr_is_any(addr) && !net_own(&tcp->net, addr))
        return -EADDRNOTAVAIL;
    if (port == 0 && (port = free_port(tcp, addr)) == 0)
        return -EADDRINUSE;
    if (port_conflicts(tcp, tcb, addr, port))
        return -EADDRINUSE;
    tcb->key.local = *addr;
    tcb->key.lport = port;
    return tcp_bind_insert(tcp, tcb) < 0 ? -ENOBUFS : 0;
}

int ust_listen(struct ust_engine *eng, ust_handle h, int backlog)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);
    struct ust_addr any = {{[10] = 0xff, 0xff}};
    int err;

    if (handle_is_udp(h))
        return dgram_find(tcp, h) ? -EOPNOTSUPP : -EBADF;
    if (!tcb)
        return -EBADF;
    if (tcb->state != UST_LISTEN && tcb->state != UST_CLOSED)
        return -EINVAL;
    if (!tcb->bound && (err = ust_bind(eng, h, &any, 0)) < 0)
        return err;
    return tcp_listen(tcp, tcb, backlog);
}

ust_handle ust_accept(struct ust_engine *eng, ust_handle h)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h), *child;

    if (handle_is_udp(h))
        return dgram_find(tcp, h) ? -EOPNOTSUPP : -EBADF;
    if (!tcb)
        return -EBADF;
    if (tcb->state != UST_LISTEN)
        return -EINVAL;
    child = tcp_accept(tcp, tcb);
    if (!child)
        return -EAGAIN;
    if (sock_ready(tcp, child) & (UST_READABLE | UST_ERROR))
        tcp_changed(tcp, child);
    if (sock_ready(tcp, tcb))
        tcp_changed(tcp, tcb);
    return sock_handle(tcp, child);
}

int ust_connect(struct ust_engine *eng, ust_handle h, const struct ust_addr *addr, uint16_t port)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (handle_is_udp(h))
        return dgram_connect(tcp, h, addr, port);
    if (!tcb)
        return -EBADF;
    switch (tcb->state) {
    case UST_CLOSED:
        if (tcb->error || tcb->iss) /* this socket has had its connection */
            return tcb->error ? -tcb->error : -EISCONN;
        if (loop_escapes(&tcp->net, &tcb->key.local, addr))
            return -EINVAL; /* as Linux */
        return tcp_connect(tcp, tcb, addr, port);
    case UST_SYN_SENT:
    case UST_SYN_RECEIVED: return -EALREADY;
    default: return -EISCONN; /* a listener, too, as Linux */
    }
}

/* ------------------------------------------------------- data */

static int take_error(struct tcb *tcb)
{
    int err = tcb->error;

    tcb->error = 0;
    return -err;
}

/* Text for the SYN: as much as fits, and off it goes. */
static int64_t fastopen_write(struct tcp *tcp, struct tcb *tcb, const void *data, size_t len)
{
    struct core *core = tcp_core(tcp);
    uint32_t room = fastopen_space(tcp, tcb), n = len < room ? (uint32_t)len : room;
    struct extra *x;
    bool no_mbuf;

    if (fastopen_possible(tcp, &tcb->key.remote) && (x = extra_have(tcp, tcb)))
        x->syn_len = (uint16_t)sndbuf_write(&core->pool, &tcb->sndbuf, data, n,
                                            2 * (uint32_t)core->set.mbuf_reserve, &no_mbuf);
    else
        tcb->fastopen_fail = UST_FASTOPEN_NO_COOKIE;
    tcb->fo_waits = false;
    tcb->syn_due = true;
    tcp_ready(tcp, tcb);
    return tcb_extra(tcb)->syn_len ? (int64_t)tcb_extra(tcb)->syn_len : -EINPROGRESS;
}

int64_t ust_fastopen(struct ust_engine *eng, ust_handle h, const struct ust_addr *addr,
                     uint16_t port, const void *data, size_t len)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);
    int err;

    if (!tcb)
        return handle_is_udp(h) ? -EOPNOTSUPP : -EBADF;
    if (!fastopen_enabled(tcp))
        return -EOPNOTSUPP;
    err = ust_connect(eng, h, addr, port);
    if (err != -EINPROGRESS && err != 0)
        return err;
    fastopen_ask(tcp, tcb);
    return fastopen_write(tcp, tcb, data, len);
}

int64_t ust_send(struct ust_engine *eng, ust_handle h, const void *data, size_t len, int flags)
{
    struct tcp *tcp = sock_tcp(eng);
    struct core *core = tcp_core(tcp);
    struct tcb *tcb = sock_find(tcp, h);
    bool no_mbuf;
    uint32_t n;

    if (!tcb)
        return handle_is_udp(h) ? dgram_send(tcp, h, data, len) : -EBADF;
    if (tcb->error)
        return take_error(tcb);
    if (tcb->fo_waits)
        return fastopen_write(tcp, tcb, data, len);
    if ((tcb->state == UST_SYN_SENT || tcb->state == UST_SYN_RECEIVED) && !tcb->fo_pending)
        return -EAGAIN;
    if (!sock_may_send(tcb))
        return -EPIPE; /* also for a socket that never was connected, as Linux */
    n = sndspace_room(tcp, tcb);
    if (n < len && sndspace_tight(tcp, tcb, len))
        count(core, C_SOCK_SHARE);
    n = sndbuf_write(&core->pool, &tcb->sndbuf, data, len < n ? (uint32_t)len : n,
                     2 * (uint32_t)core->set.mbuf_reserve, &no_mbuf);
    if (n < len)
        tcb->want_write = true;

    if (no_mbuf)
        count(core, C_SOCK_NOMBUF);
    if (n > 0) {
        tcb->more = flags & UST_MSG_MORE;
        if ((flags & UST_MSG_OOB) && n == len)
            urgent_queue(tcp, tcb);
        tcp_ready(tcp, tcb);
    }
    return n > 0 || len == 0 ? (int64_t)n : no_mbuf ? -ENOBUFS : -EAGAIN;
}

/* ------------------------------------------------------- close */

/* RFC 9293 3.10.4: the FIN goes behind what is buffered. */
static void queue_fin(struct tcp *tcp, struct tcb *tcb)
{
    if (tcb->fin_queued)
        return;
    tcb->fin_queued = true;
    if (tcb->state == UST_ESTABLISHED)
        tcb->state = UST_FIN_WAIT_1;
    else if (tcb->state == UST_CLOSE_WAIT)
        tcb->state = UST_LAST_ACK;
    tcp_ready(tcp, tcb);
    tcp_changed(tcp, tcb);
}

/* As Linux: with its receiving half goes all that a listener is; those who wait to be accepted are
 * reset, who waits in accept() learns it, and it may listen again. */
static int shut_listener(struct tcp *tcp, struct tcb *tcb, int how)
{
    if (how == UST_SHUT_WR)
        return 0;
    tcp_unlisten(tcp, tcb);
    tcb->state = UST_CLOSED;
    tcp_changed(tcp, tcb);
    return 0;
}

int ust_shutdown(struct ust_engine *eng, ust_handle h, int how)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (handle_is_udp(h))
        return dgram_shutdown(tcp, h, how);
    if (!tcb)
        return -EBADF;
    if (how < UST_SHUT_RD || how > UST_SHUT_RDWR)
        return -EINVAL;
    if (tcb->state == UST_LISTEN)
        return shut_listener(tcp, tcb, how);
    if (!tcb_synchronized(tcb) && !tcb->fo_pending)
        return -ENOTCONN;
    if (how != UST_SHUT_RD)
        queue_fin(tcp, tcb);
    if (how != UST_SHUT_WR) {
        tcb->rcv_shut = true;
        tcp_changed(tcp, tcb);
    }
    return 0;
}

/* Unread bytes are lost, and the peer is told by a RST (SHLD-3); so it is with
 * SO_LINGER of zero. */
static bool close_resets(const struct tcb *tcb)
{
    return (tcb->rcvbuf.len > 0 || tcb_extra(tcb)->linger1 == 1) &&
           !(tcb->fin_queued && tcb->fin_received);
}

int ust_close(struct ust_engine *eng, ust_handle h)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (handle_is_udp(h))
        return dgram_close(tcp, h);
    if (!tcb)
        return -EBADF;
    orphan_begin(tcp, tcb);
    if (!tcb_synchronized(tcb) && tcb->state != UST_SYN_RECEIVED) {
        tcb_free(tcp, tcb);
    } else if (close_resets(tcb)) {
        tcp_abort(tcp, tcb, 0);
    } else {
        rcvbuf_clear(&tcp->net.core.pool, &tcb->rcvbuf);
        tcp_disarm(tcb, TIMER_KEEPALIVE);
        queue_fin(tcp, tcb);
        if (tcb->state == UST_FIN_WAIT_2)
            orphan_fin_wait(tcp, tcb);
        orphan_limit(tcp, tcb);
    }
    return 0;
}

int ust_abort(struct ust_engine *eng, ust_handle h)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (handle_is_udp(h))
        return dgram_close(tcp, h);
    if (!tcb)
        return -EBADF;
    orphan_begin(tcp, tcb);
    if (tcb->state == UST_CLOSED || tcb->state == UST_LISTEN)
        tcb_free(tcp, tcb);
    else
        tcp_abort(tcp, tcb, 0);
    return 0;
}

/* ------------------------------------------------------- names */

int ust_names(const struct ust_engine *eng, ust_handle h, struct ust_addr *local,
              uint16_t *local_port, struct ust_addr *remote, uint16_t *remote_port)
{
    const struct tcp *tcp = sock_tcp_const(eng);
    const struct tcb *tcb = sock_find(tcp, h);
    struct flow_key key;

    if (tcb)
        key = tcb->key;
    else if (dgram_names(tcp, h, &key) < 0)
        return -EBADF;
    *local = key.local;
    *local_port = key.lport;
    *remote = key.remote;
    *remote_port = key.rport;
    return 0;
}

int ust_set_user(struct ust_engine *eng, ust_handle h, uint64_t user)
{
    struct tcb *tcb = sock_find(sock_tcp(eng), h);

    if (!tcb)
        return dgram_set_user(sock_tcp(eng), h, user);
    tcb->user = user;
    return 0;
}

int ust_ready(const struct ust_engine *eng, ust_handle h)
{
    const struct tcp *tcp = sock_tcp_const(eng);
    const struct udp_sock *s = dgram_find(tcp, h);
    const struct tcb *tcb = sock_find(tcp, h);

    if (s)
        return (int)dgram_ready(s);
    return tcb ? (int)sock_ready(tcp, tcb) : -EBADF;
}
