/* SPDX-License-Identifier: BSD-3-Clause */
/* The methods of a dispatcher that make endpoints: new sockets of its engine,
 * and those of an application, which are adopted or only watched.
 *
 * An adopted socket is the transport's from then on; the application's object
 * is kept, so that it can be asked things, and closed with the transport.
 *
 * Not here: how events reach them (dispatcher.c).                           */
#include "aio.h"

/* A socket bound to (bytes, port), or -errno; with the lock held. */
static ust_handle bound_socket(struct dispatcher *d, const struct ust_addr *addr, uint16_t port,
                               bool reuse)
{
    ust_handle h = ust_socket(d->engine);
    int err;

    if (h > 0)
        ust_setopt(d->engine, h, UST_OPT_REUSEADDR, reuse);
    if (h < 0 || (err = ust_bind(d->engine, h, addr, port)) == 0)
        return h;
    ust_close(d->engine, h);
    return err;
}

PyObject *dispatcher_bind(struct dispatcher *d, PyObject *args)
{
    PyObject *addr_bytes, *factory;
    struct ust_addr addr;
    uint16_t port;
    struct endpoint *ep;
    ust_handle h = -EBADF;

    if (!PyArg_ParseTuple(args, "SHO:bind", &addr_bytes, &port, &factory) ||
        parse_address(addr_bytes, &addr) < 0 || is_detached(d) ||
        !(ep = (struct endpoint *)PyType_GenericAlloc(&listener_type, 0)))
        return NULL;
    endpoint_init(ep, d, factory);
    if (enter(d)) {
        h = bound_socket(d, &addr, port, true);
        if (h > 0)
            endpoint_register(ep, h);
        leave(d);
    }
    if (h > 0)
        return (PyObject *)ep;
    Py_DECREF(ep);
    return raise_os_error(h);
}

static ust_handle start_connect(struct transport *t, const struct ust_addr *local, uint16_t port)
{
    struct ust_engine *eng = t->ep.disp->engine;
    ust_handle h;
    int err;

    h = local ? bound_socket(t->ep.disp, local, port, false) : ust_socket(eng);
    if (h < 0)
        return h;
    ust_setopt(eng, h, UST_OPT_NODELAY, 1);
    err = ust_connect(eng, h, &t->ends.remote, t->ends.remote_port);
    if (err && err != -EINPROGRESS) {
        ust_close(eng, h);
        return err;
    }
    endpoint_register(&t->ep, h);
    return h;
}

PyObject *dispatcher_connect(struct dispatcher *d, PyObject *args)
{
    PyObject *remote, *local = NULL, *factory, *waiter;
    struct ust_addr local_addr;
    struct transport *t;
    uint16_t remote_port, local_port = 0;
    ust_handle h = -EBADF;

    if (!PyArg_ParseTuple(args, "SHOO|SH:connect", &remote, &remote_port, &factory, &waiter, &local,
                          &local_port) ||
        (local && parse_address(local, &local_addr) < 0) || is_detached(d) ||
        !(t = stream_new(d, factory)))
        return NULL;
    t->waiter = Py_NewRef(waiter);
    t->ends.remote_port = remote_port;
    if (parse_address(remote, &t->ends.remote) < 0) {
        Py_DECREF(t);
        return NULL;
    }
    if (enter(d)) {
        h = start_connect(t, local ? &local_addr : NULL, local_port);
        leave(d);
    }
    if (h > 0)
        return (PyObject *)t;
    Py_DECREF(t);
    return raise_os_error(h);
}

/* A UDP socket, bound and connected where an address is given, or -errno. */
static ust_handle datagram_socket(struct dispatcher *d, const struct ust_addr *local,
                                  uint16_t local_port, const struct ust_addr *remote,
                                  uint16_t remote_port, const int *flags)
{
    ust_handle h = ust_udp_socket(d->engine);
    int err = 0;

    if (h < 0)
        return h;
    ust_setopt(d->engine, h, UST_OPT_INET6, flags[0]);
    ust_setopt(d->engine, h, UST_OPT_BROADCAST, flags[1]);
    if (local)
        err = ust_bind(d->engine, h, local, local_port);
    if (!err && remote)
        err = ust_connect(d->engine, h, remote, remote_port);
    if (err)
        ust_close(d->engine, h);
    return err ? err : h;
}

/* NULL without an exception: None was given. */
static struct ust_addr *optional_address(PyObject *bytes, struct ust_addr *addr)
{
    return bytes == Py_None || parse_address(bytes, addr) < 0 ? NULL : addr;
}

PyObject *dispatcher_datagrams(struct dispatcher *d, PyObject *args)
{
    struct ust_addr addr[2], *local, *remote;
    PyObject *local_bytes, *remote_bytes;
    uint16_t local_port, remote_port;
    ust_handle h = -EBADF;
    int flags[2];

    if (!PyArg_ParseTuple(args, "OHOHpp:datagrams", &local_bytes, &local_port, &remote_bytes,
                          &remote_port, flags, flags + 1) ||
        is_detached(d))
        return NULL;
    local = optional_address(local_bytes, addr);
    remote = optional_address(remote_bytes, addr + 1);
    if (PyErr_Occurred())
        return NULL;
    if (enter(d)) {
        h = datagram_socket(d, local, local_port, remote, remote_port, flags);
        leave(d);
    }
    return h < 0 ? raise_os_error(h) : (PyObject *)datagrams_new(d, h);
}

/* ------------------------------------------- sockets of an application */

/* The engine tells ep, from now on, what happens to h. -1 with an exception. */
static int take_over(struct endpoint *ep, ust_handle h, PyObject *sock)
{
    int err = -EBADF;

    if (enter(ep->disp)) {
        if ((err = ust_ready(ep->disp->engine, h)) >= 0)
            endpoint_register(ep, h);
        leave(ep->disp);
    }
    if (err < 0) {
        raise_os_error(err);
        return -1;
    }
    ep->sock = Py_XNewRef(sock);
    return 0;
}

static PyObject *taken_over(struct endpoint *ep, ust_handle h, PyObject *sock)
{
    if (ep && take_over(ep, h, sock) < 0)
        Py_CLEAR(ep);
    return (PyObject *)ep;
}

PyObject *dispatcher_adopt(struct dispatcher *d, PyObject *args)
{
    long long h;
    PyObject *sock;

    if (!PyArg_ParseTuple(args, "LO:adopt", &h, &sock) || is_detached(d))
        return NULL;
    return taken_over((struct endpoint *)stream_new(d, NULL), h, sock);
}

PyObject *dispatcher_adopt_datagrams(struct dispatcher *d, PyObject *args)
{
    long long h;
    PyObject *sock;
    struct datagrams *t;

    if (!PyArg_ParseTuple(args, "LO:adopt_datagrams", &h, &sock) || is_detached(d))
        return NULL;
    if ((t = datagrams_new(d, h)))
        t->ep.sock = Py_NewRef(sock);
    return (PyObject *)t;
}

PyObject *dispatcher_adopt_listener(struct dispatcher *d, PyObject *args)
{
    long long h;
    PyObject *sock, *factory;
    struct endpoint *ep;

    if (!PyArg_ParseTuple(args, "LOO:adopt_listener", &h, &sock, &factory) || is_detached(d) ||
        !(ep = (struct endpoint *)PyType_GenericAlloc(&listener_type, 0)))
        return NULL;
    endpoint_init(ep, d, factory);
    return taken_over(ep, h, sock);
}

PyObject *dispatcher_watch(struct dispatcher *d, PyObject *args)
{
    long long h;
    PyObject *callback;

    if (!PyArg_ParseTuple(args, "LO:watch", &h, &callback) || is_detached(d))
        return NULL;
    return taken_over(watch_new(d, callback), h, NULL);
}
