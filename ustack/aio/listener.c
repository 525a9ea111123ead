/* SPDX-License-Identifier: BSD-3-Clause */
/* A listening socket: accepts in bursts and makes a transport and a protocol
 * of each connection.
 *
 * Not here: the asyncio.Server around it; see server.py.                    */
#include "aio.h"

enum { ACCEPT_MAX = 64 }; /* connections of one round */

/* Accepts one connection into *t: 0, or -errno. */
static int accept_one(struct endpoint *ep, struct transport *t)
{
    struct dispatcher *d = ep->disp;
    ust_handle h;

    if (!enter(d))
        return -EBADF;
    h = ust_accept(d->engine, ep->handle);
    if (h > 0) {
        ust_setopt(d->engine, h, UST_OPT_NODELAY, 1);
        endpoint_register(&t->ep, h);
    }
    leave(d);
    return h > 0 ? 0 : (int)h;
}

/* The server counts t from now on; transport_lost() says when no longer. */
static void attach(struct endpoint *ep, struct transport *t)
{
    PyObject *result;

    if (!ep->server)
        return;
    if (!(result = PyObject_CallMethodOneArg(ep->server, names.attach, (PyObject *)t)))
        PyErr_WriteUnraisable(ep->server);
    else
        t->ep.server = Py_NewRef(ep->server);
    Py_XDECREF(result);
}

/* A connection has what its server's callbacks have, and what it adds itself. */
static int give_context(struct endpoint *ep, struct transport *t)
{
    PyObject *copy = ep->context ? PyContext_Copy(ep->context) : NULL;

    if (!copy)
        return PyErr_Occurred() ? -1 : 0;
    Py_XSETREF(t->ep.context, copy);
    return 0;
}

static int begin(struct endpoint *ep, struct transport *t)
{
    if (stream_make_protocol(t) < 0)
        return callback_failed(ep->disp, NULL, "protocol_factory() failed");
    attach(ep, t);
    return stream_made(t);
}

int listener_event(struct endpoint *ep)
{
    struct transport *t;
    int rc = 0;

    for (int i = 0; rc == 0 && ep->handle && ep->factory; i++) {
        if (i == ACCEPT_MAX) {
            endpoint_again(ep);
            break;
        }
        if (!(t = stream_new(ep->disp, ep->factory)))
            return -1;
        if (accept_one(ep, t) < 0) {
            Py_DECREF(t);
            break;
        }
        rc = give_context(ep, t);
        if (rc == 0 && (rc = context_enter(t->ep.context)) == 0) {
            rc = begin(ep, t);
            context_exit(t->ep.context);
        }
        Py_DECREF(t);
    }
    return rc;
}

/* -------------------------------------------------------------- methods */

static PyObject *listener_listen(struct endpoint *ep, PyObject *arg)
{
    int err = -EBADF;
    long backlog = PyLong_AsLong(arg);

    if (backlog == -1 && PyErr_Occurred())
        return NULL;
    if (ep->handle && enter(ep->disp)) {
        err = ust_listen(ep->disp->engine, ep->handle, (int)backlog);
        leave(ep->disp);
    }
    if (err < 0)
        return raise_os_error(err);
    Py_RETURN_NONE;
}

static PyObject *listener_count_by(struct endpoint *ep, PyObject *server)
{
    Py_XSETREF(ep->server, Py_NewRef(server));
    Py_RETURN_NONE;
}

static PyObject *listener_close(struct endpoint *ep, PyObject *Py_UNUSED(ignored))
{
    endpoint_forget(ep, false);
    Py_RETURN_NONE;
}

static PyObject *listener_sockname(struct endpoint *ep, void *closure)
{
    struct ust_addr local, remote;
    uint16_t local_port, remote_port;
    int err = -EBADF;

    if (ep->handle && enter(ep->disp)) {
        err = ust_names(ep->disp->engine, ep->handle, &local, &local_port, &remote, &remote_port);
        leave(ep->disp);
    }
    return err < 0 ? raise_os_error(err) : address_tuple(&local, local_port);
}

/* ----------------------------------------------------------------- type */

static void listener_dealloc(struct endpoint *ep)
{
    PyObject_GC_UnTrack(ep);
    Py_CLEAR(ep->factory);
    Py_CLEAR(ep->server);
    Py_CLEAR(ep->sock);
    Py_CLEAR(ep->context);
    Py_CLEAR(ep->disp);
    Py_TYPE(ep)->tp_free((PyObject *)ep);
}

static int listener_clear(struct endpoint *ep)
{
    endpoint_clear(ep);
    return 0;
}

static PyMethodDef listener_methods[] = {
    {"listen", (PyCFunction)listener_listen, METH_O,
     "listen(backlog): accept connections from now on."},
    {"close", (PyCFunction)listener_close, METH_NOARGS,
     "Stop listening; connections that were accepted live on."},
    {"_getopt", (PyCFunction)endpoint_getopt, METH_O, NULL},
    {"_setopt", (PyCFunction)endpoint_setopt, METH_VARARGS, NULL},
    {"_count_by", (PyCFunction)listener_count_by, METH_O, NULL},
    {0},
};

static PyGetSetDef listener_getset[] = {
    {"sockname", (getter)listener_sockname, NULL, "Our address as getsockname() gives it.", NULL},
    {0},
};

PyTypeObject listener_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "ustack._aio.Listener",
    .tp_doc = "A bound socket; Dispatcher.bind() makes it.",
    .tp_basicsize = sizeof(struct endpoint),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = (destructor)listener_dealloc,
    .tp_traverse = (traverseproc)endpoint_traverse,
    .tp_clear = (inquiry)listener_clear,
    .tp_methods = listener_methods,
    .tp_getset = listener_getset,
};
