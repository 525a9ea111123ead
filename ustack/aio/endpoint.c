/* SPDX-License-Identifier: BSD-3-Clause */
/* What listeners and transports have in common: their socket's handle, the
 * references that keep them alive while the engine knows them, its options,
 * and the queue of those that want another turn (see "Ownership" in aio.h).
 *
 * Always: handle != 0 exactly while the endpoint is on its dispatcher's list
 * `live`; on_again exactly while it is in the queue.                        */
#include "aio.h"

void endpoint_init(struct endpoint *ep, struct dispatcher *d, PyObject *factory)
{
    ep->disp = (struct dispatcher *)Py_NewRef((PyObject *)d);
    ep->factory = Py_XNewRef(factory);
    if (!(ep->context = PyContext_CopyCurrent()))
        PyErr_Clear();
}

int context_enter(PyObject *context)
{
    return context ? PyContext_Enter(context) : 0;
}

void context_exit(PyObject *context)
{
    if (context && PyContext_Exit(context) < 0)
        PyErr_WriteUnraisable(context);
}

void endpoint_register(struct endpoint *ep, ust_handle h)
{
    struct dispatcher *d = ep->disp;

    ep->handle = h;
    d->worker->app_owner = d;
    d->worker->staging = &d->staging;
    ust_set_user(d->engine, h, (uint64_t)(uintptr_t)ep);
    Py_INCREF(ep);
    ep->prev = NULL;
    ep->next = d->live;
    if (d->live)
        d->live->prev = ep;
    d->live = ep;
}

void endpoint_unregister(struct endpoint *ep)
{
    struct dispatcher *d = ep->disp;

    ust_set_user(d->engine, ep->handle, 0);
    if (d->live == ep && !ep->next) {
        d->worker->app_owner = NULL;
        d->worker->staging = NULL;
    }
}

void endpoint_unlink(struct endpoint *ep)
{
    struct dispatcher *d = ep->disp;

    if (d->writer == (struct transport *)ep)
        d->writer = NULL;
    if (ep->prev)
        ep->prev->next = ep->next;
    else
        d->live = ep->next;
    if (ep->next)
        ep->next->prev = ep->prev;
    ep->prev = NULL;
    ep->next = d->gone;
    d->gone = ep;
    ep->handle = 0;
}

/* The application's object of a socket that is closed. */
static void close_adopted(struct endpoint *ep)
{
    PyObject *sock = ep->sock, *result;

    ep->sock = NULL;
    if (!sock)
        return;
    if (!(result = PyObject_CallMethod(sock, "close", NULL)))
        PyErr_WriteUnraisable(sock);
    Py_XDECREF(result);
    Py_DECREF(sock);
}

void endpoint_forget(struct endpoint *ep, bool abort)
{
    struct dispatcher *d = ep->disp;

    if (!ep->handle)
        return;
    if (enter(d)) {
        endpoint_unregister(ep);
        if (abort)
            ust_abort(d->engine, ep->handle);
        else if (!ep->sock) /* it may share the socket with others */
            ust_close(d->engine, ep->handle);
        leave(d);
    }
    endpoint_unlink(ep);
    close_adopted(ep);
}

void endpoint_end(struct endpoint *ep)
{
    if (Py_IS_TYPE(ep, &watch_type))
        watch_end(ep);
    else if (Py_IS_TYPE(ep, &transport_type))
        stream_end((struct transport *)ep);
    else if (Py_IS_TYPE(ep, &datagrams_type))
        datagrams_end((struct datagrams *)ep, Py_None);
    else
        endpoint_forget(ep, true);
}

void endpoint_again(struct endpoint *ep)
{
    struct dispatcher *d = ep->disp;

    if (ep->on_again)
        return;
    if (d->asleep)
        dispatcher_called(d);
    ep->on_again = true;
    ep->again_next = NULL;
    if (d->again_first)
        d->again_last->again_next = ep;
    else
        d->again_first = ep;
    d->again_last = ep;
    Py_INCREF(ep);
}

struct endpoint *endpoint_pop_again(struct dispatcher *d)
{
    struct endpoint *ep = d->again_first;

    d->again_first = ep->again_next;
    ep->on_again = false;
    return ep;
}

int endpoint_traverse(struct endpoint *ep, visitproc visit, void *arg)
{
    Py_VISIT(ep->disp);
    Py_VISIT(ep->factory);
    Py_VISIT(ep->server);
    Py_VISIT(ep->sock);
    Py_VISIT(ep->context);
    return 0;
}

void endpoint_clear(struct endpoint *ep)
{
    Py_CLEAR(ep->factory);
    Py_CLEAR(ep->server);
    Py_CLEAR(ep->sock);
    Py_CLEAR(ep->context);
    /* The engine still holds our address: only a dying dispatcher, which
     * clears the handles, can get here with one. */
    if (!ep->handle)
        Py_CLEAR(ep->disp);
}

void endpoint_drop_gone(struct dispatcher *d)
{
    struct endpoint *ep;

    while ((ep = d->gone)) {
        d->gone = ep->next;
        ep->next = NULL;
        Py_DECREF(ep);
    }
}

void endpoint_schedule_lost(struct endpoint *ep, PyObject *exc)
{
    PyObject *method, *result = NULL;

    method = PyObject_GetAttr((PyObject *)ep, names.lost);
    if (method && ep->disp->call_soon)
        result = PyObject_CallFunctionObjArgs(ep->disp->call_soon, method, exc, NULL);
    if (!result)
        PyErr_WriteUnraisable((PyObject *)ep); /* the loop is closed */
    Py_XDECREF(method);
    Py_XDECREF(result);
}

PyObject *endpoint_lost(PyObject **protocol, PyObject *exc)
{
    PyObject *taken = *protocol, *result;

    if (!taken)
        Py_RETURN_NONE;
    *protocol = NULL;
    result = PyObject_CallMethodOneArg(taken, names.connection_lost, exc);
    Py_DECREF(taken);
    return result;
}

/* ---------------------------------------------------------- its socket */

/* ustack.aio.sock.KIND(ep), made once and kept in *kept. */
static PyObject *socket_of(struct endpoint *ep, PyObject **kept, const char *kind)
{
    PyObject *module, *result = NULL;

    if (*kept)
        return Py_NewRef(*kept);
    if ((module = PyImport_ImportModule("ustack.aio.sock")))
        result = PyObject_CallMethod(module, kind, "O", ep);
    Py_XDECREF(module);
    *kept = Py_XNewRef(result);
    return result;
}

void endpoint_names(struct endpoint *ep, struct ends *ends)
{
    ust_names(ep->disp->engine, ep->handle, &ends->local, &ends->local_port, &ends->remote,
              &ends->remote_port);
}

PyObject *endpoint_extra_info(struct endpoint *ep, const struct ends *ends, PyObject **kept,
                              const char *kind, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "default", NULL};
    PyObject *fallback = Py_None;
    const char *name;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "s|O:get_extra_info", keywords, &name,
                                     &fallback))
        return NULL;
    if (strcmp(name, "peername") == 0 && ends->remote_port)
        return address_tuple(&ends->remote, ends->remote_port);
    if (strcmp(name, "sockname") == 0)
        return address_tuple(&ends->local, ends->local_port);
    if (strcmp(name, "socket") == 0)
        return socket_of(ep, kept, kind);
    return Py_NewRef(fallback);
}

PyObject *endpoint_readable(struct endpoint *ep, PyObject *Py_UNUSED(ignored))
{
    int ready = -EBADF;

    if (ep->handle && enter(ep->disp)) {
        ready = ust_ready(ep->disp->engine, ep->handle);
        leave(ep->disp);
    }
    if (Py_IS_TYPE(ep, &transport_type) && ((struct transport *)ep)->unread)
        Py_RETURN_TRUE;
    return PyBool_FromLong(ready < 0 || ready & (UST_READABLE | UST_HUP | UST_ERROR));
}

PyObject *endpoint_getopt(struct endpoint *ep, PyObject *arg)
{
    int64_t value = 0;
    int opt = (int)PyLong_AsLong(arg), err = -EBADF;

    if (opt == -1 && PyErr_Occurred())
        return NULL;
    if (ep->handle && enter(ep->disp)) {
        err = ust_getopt(ep->disp->engine, ep->handle, opt, &value);
        leave(ep->disp);
    }
    return err < 0 ? raise_os_error(err) : PyLong_FromLongLong(value);
}

PyObject *endpoint_setopt(struct endpoint *ep, PyObject *args)
{
    long long value;
    int opt, err = -EBADF;

    if (!PyArg_ParseTuple(args, "iL:_setopt", &opt, &value))
        return NULL;
    if (ep->handle && enter(ep->disp)) {
        err = ust_setopt(ep->disp->engine, ep->handle, opt, value);
        leave(ep->disp);
    }
    if (err < 0)
        return raise_os_error(err);
    Py_RETURN_NONE;
}
