/* SPDX-License-Identifier: BSD-3-Clause */
/* The methods of a dispatcher that make endpoints: new sockets of its engine,
 * and those of an application, which are adopted or only watched.
 *
 * An adopted socket is the transport's from then on; the application's object
 * is kept, so that it can be asked things, and closed with the transport.
 *
 * Not here: how events reach them (dispatcher.c).                           */
#include "aio.h"

enum { OTHERS = -EBUSY }; /* no errno of the engine's */

static PyObject *raise_error(struct dispatcher *d, int64_t err)
{
    return err == OTHERS ? raise_others(d) : raise_os_error(err);
}

static ust_handle start_connect(struct transport *t)
{
    struct ust_engine *eng = t->ep.disp->engine;
    ust_handle h = is_others(t->ep.disp) ? OTHERS : ust_socket(eng);
    int err;

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
    PyObject *remote, *factory, *waiter;
    struct transport *t;
    uint16_t remote_port;
    ust_handle h = -EBADF;

    if (!PyArg_ParseTuple(args, "SHOO:connect", &remote, &remote_port, &factory, &waiter) ||
        is_detached(d) || !(t = stream_new(d, factory)))
        return NULL;
    t->waiter = Py_NewRef(waiter);
    t->ends.remote_port = remote_port;
    if (parse_address(remote, &t->ends.remote) < 0) {
        Py_DECREF(t);
        return NULL;
    }
    if (enter(d)) {
        h = start_connect(t);
        leave(d);
    }
    if (h > 0)
        return (PyObject *)t;
    Py_DECREF(t);
    return raise_error(d, h);
}

/* ------------------------------------------- sockets of an application */

/* The engine tells ep, from now on, what happens to h. -1 with an exception. */
static int take_over(struct endpoint *ep, ust_handle h, PyObject *sock)
{
    int err = -EBADF;

    if (enter(ep->disp)) {
        err = is_others(ep->disp) ? OTHERS : ust_ready(ep->disp->engine, h);
        if (err >= 0)
            endpoint_register(ep, h);
        leave(ep->disp);
    }
    if (err < 0) {
        raise_error(ep->disp, err);
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
    t = (struct datagrams *)taken_over((struct endpoint *)datagrams_new(d), h, sock);
    if (t && enter(d)) {
        endpoint_names(&t->ep, &t->ends);
        leave(d);
    }
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
