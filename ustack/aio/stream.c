/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection's life: open, events, loss.
 *
 * The sequence of callbacks is asyncio's:
 *
 *   connection_made  (data_received*)  [eof_received]  connection_lost
 *
 * Always: connection_lost comes once, through loop.call_soon, and only after
 * connection_made.
 * Not here: bytes in (read.c) and out (write.c); the methods that Python sees (transport.c). */
#include "aio.h"

enum {
    HIGH_WATER = 64 * 1024,
    LOW_WATER = HIGH_WATER / 4,
};

int call_protocol(struct transport *t, PyObject *method, PyObject *arg, const char *what)
{
    if (!t->protocol)
        return 0;
    return call_done(t->ep.disp, t, call_method(t->protocol, method, arg, NULL), what);
}

/* ---------------------------------------------------------------- start */

struct transport *stream_new(struct dispatcher *d, PyObject *factory)
{
    struct transport *t;

    t = (struct transport *)PyType_GenericAlloc(&transport_type, 0);
    if (!t)
        return NULL;
    endpoint_init(&t->ep, d, factory);
    t->high = HIGH_WATER;
    t->low = LOW_WATER;
    return t;
}

/* asyncio's rule, wide enough for protocols that inherit from nothing. */
static bool is_buffered(PyObject *protocol)
{
    return PyObject_HasAttr(protocol, names.get_buffer) &&
           PyObject_IsInstance(protocol, protocol_class) == 0;
}

/* A bound method of protocol is kept as its function: no object for each connection. */
static bool unbind(PyObject **callable, const PyObject *protocol)
{
    PyObject *bound = *callable;

    if (!bound || !PyMethod_Check(bound) || PyMethod_GET_SELF(bound) != protocol ||
        !PyFunction_Check(PyMethod_GET_FUNCTION(bound)))
        return false;
    *callable = Py_NewRef(PyMethod_GET_FUNCTION(bound));
    Py_DECREF(bound);
    return true;
}

int stream_set_protocol(struct transport *t, PyObject *protocol)
{
    PyObject *callable = NULL;

    if (!is_buffered(protocol) && !(callable = PyObject_GetAttr(protocol, names.data_received)))
        return -1;
    t->unbound = unbind(&callable, protocol);
    Py_XSETREF(t->data_received, callable);
    Py_INCREF(protocol);
    Py_XSETREF(t->protocol, protocol);
    return 0;
}

int stream_make_protocol(struct transport *t)
{
    struct dispatcher *d = t->ep.disp;
    PyObject *protocol;
    int err = -1;

    if (enter(d)) {
        endpoint_names(&t->ep, &t->ends);
        if (ust_ready(d->engine, t->ep.handle) & UST_READABLE)
            endpoint_again(&t->ep); /* it came before the engine knew t */
        leave(d);
    }
    if ((protocol = PyObject_CallNoArgs(t->ep.factory)))
        err = stream_set_protocol(t, protocol);
    Py_XDECREF(protocol);
    Py_CLEAR(t->ep.factory);
    if (err == 0)
        return 0;
    t->closing = true;
    endpoint_forget(&t->ep, true);
    return -1;
}

int stream_start(struct transport *t, PyObject *protocol)
{
    struct dispatcher *d = t->ep.disp;

    if (t->ep.handle && enter(d)) {
        endpoint_names(&t->ep, &t->ends);
        ust_setopt(d->engine, t->ep.handle, UST_OPT_NODELAY, 1);
        leave(d);
    }
    t->paused = true;
    return stream_set_protocol(t, protocol);
}

int stream_made(struct transport *t)
{
    return call_protocol(t, names.connection_made, (PyObject *)t,
                         "protocol.connection_made() failed");
}

static bool is_done(PyObject *future)
{
    PyObject *result = PyObject_CallMethodNoArgs(future, names.done);
    bool done = !result || PyObject_IsTrue(result);

    Py_XDECREF(result);
    return done;
}

/* Ends the wait for an active open with a result or an exception. */
static int settle(struct transport *t, PyObject *method, PyObject *value)
{
    PyObject *waiter = t->waiter, *result = NULL;

    t->waiter = NULL;
    if (value && waiter && !is_done(waiter))
        result = PyObject_CallMethodOneArg(waiter, method, value);
    Py_XDECREF(waiter);
    Py_XDECREF(value);
    Py_XDECREF(result);
    return PyErr_Occurred() ? callback_failed(t->ep.disp, t, "connect") : 0;
}

static int connect_refused(struct transport *t, int error)
{
    endpoint_forget(&t->ep, true);
    t->closing = true;
    return settle(t, names.set_exception, os_error(-error));
}

/* As asyncio, a client's connection outlives an exception here: whoever asked
 * for it gets it all the same. */
static int introduce(struct transport *t)
{
    PyObject *protocol = Py_NewRef(t->protocol), *result;

    result = PyObject_CallMethodOneArg(protocol, names.connection_made, (PyObject *)t);
    Py_DECREF(protocol);
    if (!result)
        return callback_failed(t->ep.disp, NULL, "protocol.connection_made() failed");
    Py_DECREF(result);
    return 0;
}

static int connected(struct transport *t)
{
    if (is_done(t->waiter)) { /* cancelled: nobody wants it */
        stream_close(t);
        return 0;
    }
    if (stream_make_protocol(t) < 0)
        return settle(t, names.set_exception, take_exception());
    if (introduce(t) < 0)
        return -1;
    return settle(t, names.set_result, Py_BuildValue("(OO)", t, t->protocol));
}

/* ---------------------------------------------------------------- loss */

int stream_lost(struct transport *t, int64_t err)
{
    PyObject *exc = os_error(err);

    stream_abort(t, exc ? exc : Py_None);
    Py_XDECREF(exc);
    PyErr_Clear();
    return 0;
}

/* A pending error: bytes that came before it are still to be read, unless
 * nobody wants them or nothing else would ever notice. */
static int fail_with(struct transport *t, int error)
{
    int64_t inq = 0;

    if (!t->ep.handle || !enter(t->ep.disp))
        return 0;
    ust_getopt(t->ep.disp->engine, t->ep.handle, UST_OPT_INQ, &inq);
    leave(t->ep.disp);
    if ((inq > 0 || t->unread) && !t->closing && !t->eof_received && !t->first) {
        if (!t->paused)
            endpoint_again(&t->ep);
        return 0;
    }
    return stream_lost(t, -error);
}

/* ------------------------------------------------------------------ end */

/* Gives the handle back; the protocol hears of it at the loop's next turn. The peer hears by a RST
 * of what it sent and nobody has read, be it with us already. */
static void end(struct transport *t, PyObject *exc, bool abort)
{
    t->closing = true;
    if (!t->ep.handle)
        return;
    endpoint_forget(&t->ep, abort || ((t->taken || t->unread) && !t->ep.sock));
    stream_drop_overflow(t);
    if (t->protocol)
        endpoint_schedule_lost(&t->ep, exc);
    else
        Py_CLEAR(t->waiter);
}

void stream_close(struct transport *t)
{
    if (t->ep.handle)
        stream_settle(t->ep.disp);
    t->closing = true;
    if (!t->first)
        end(t, Py_None, t->waiter != NULL);
}

/* As on the kernel, where abort() ends in close(2): what the engine has taken is still sent, and
 * anyio's aclose() counts on it. But a peer is not to take a cut stream for a whole one. */
void stream_force_close(struct transport *t, PyObject *exc)
{
    if (t->ep.handle)
        stream_settle(t->ep.disp);
    end(t, exc, t->first || t->waiter);
}

void stream_abort(struct transport *t, PyObject *exc)
{
    end(t, exc, true);
}

void stream_end(struct transport *t)
{
    PyObject *exc;

    if (t->waiter) {
        connect_refused(t, ECONNABORTED);
        return;
    }
    exc = os_error(-ECONNABORTED);
    end(t, exc ? exc : Py_None, false);
    Py_XDECREF(exc);
    PyErr_Clear();
}

int stream_event(struct transport *t, const struct ust_event *ev)
{
    int error = ev->events & UST_ERROR ? ev->error : 0;

    if (t->waiter) {
        if (error)
            return connect_refused(t, error);
        if (!(ev->events & UST_CONNECTED))
            return 0;
        if (connected(t) < 0)
            return -1;
    }
    if (ev->events & UST_READABLE && stream_read(t, ev) < 0)
        return -1;
    if (t->first && ev->events & UST_WRITABLE && stream_drain(t) < 0)
        return -1;
    return error ? fail_with(t, error) : 0;
}
