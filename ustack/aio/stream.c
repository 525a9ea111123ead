/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection's life: open, bytes in, end of stream, loss.
 *
 * Bytes are received straight into the bytes object that data_received gets.
 * The sequence of callbacks is asyncio's:
 *
 *   connection_made  (data_received*)  [eof_received]  connection_lost
 *
 * Always: connection_lost comes once, through loop.call_soon, and only after
 * connection_made.
 * Not here: bytes out (write.c); the methods that Python sees (transport.c). */
#include "aio.h"

enum {
    READ_MAX = 256 * 1024, /* bytes of one data_received */
    MESSAGE_MAX = 2048,
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

/* -------------------------------------------------------------- reading */

int stream_lost(struct transport *t, int64_t err)
{
    PyObject *exc = os_error(err);

    stream_abort(t, exc ? exc : Py_None);
    Py_XDECREF(exc);
    PyErr_Clear();
    return 0;
}

/* What there is, at most READ_MAX, into a new bytes object. */
static int64_t receive_all(struct transport *t, PyObject **data)
{
    struct ust_engine *eng = t->ep.disp->engine;
    int64_t inq = 0;
    char peek;

    ust_getopt(eng, t->ep.handle, UST_OPT_INQ, &inq);
    inq = inq > READ_MAX ? READ_MAX : inq;
    if (inq > 0 && (*data = PyBytes_FromStringAndSize(NULL, inq)))
        return ust_recv(eng, t->ep.handle, PyBytes_AS_STRING(*data), inq, 0);
    return ust_recv(eng, t->ep.handle, &peek, 1, UST_MSG_PEEK);
}

/* Receives into a new bytes object: bytes, 0 at the end of the stream, or
 * -errno. Sets *more when the socket stays readable. A message after a message
 * comes by way of the C stack, which is quicker than to ask for its length. */
static int64_t receive(struct transport *t, PyObject **data, bool *more)
{
    struct ust_engine *eng = t->ep.disp->engine;
    bool small = !t->bulk;
    char message[MESSAGE_MAX];
    int64_t n;

    *data = NULL;
    if (!enter(t->ep.disp))
        return -ECONNABORTED;
    n = small ? ust_recv(eng, t->ep.handle, message, sizeof message, 0) : receive_all(t, data);
    *more = n > 0 && ust_ready(eng, t->ep.handle) & UST_READABLE;
    leave(t->ep.disp);
    if (n <= 0)
        return n;
    t->bulk = n >= MESSAGE_MAX;
    if (small)
        *data = message_new(t->ep.disp, message, n);
    if (!*data || (PyBytes_GET_SIZE(*data) > n && _PyBytes_Resize(data, n) < 0)) /* no memory */
        return -ENOMEM;
    return n;
}

/* A function is called without the checks of PyObject_Vectorcall(), which ask whether it is one. */
static int call_data_received(struct transport *t, PyObject *data)
{
    PyObject *protocol = t->protocol, *callable = t->data_received, *result;
    PyObject *args[3] = {NULL, protocol, data};

    Py_INCREF(callable); /* the call may set another protocol */
    Py_INCREF(protocol);
    if (t->unbound)
        result = ((PyFunctionObject *)callable)
                     ->vectorcall(callable, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    else
        result = PyObject_Vectorcall(callable, args + 2, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(protocol);
    Py_DECREF(callable);
    return call_done(t->ep.disp, t, result, "protocol.data_received() failed");
}

static int end_of_stream(struct transport *t)
{
    PyObject *result;
    int keep_open;

    t->eof_received = true;
    result = call_method(t->protocol, names.eof_received, NULL, NULL);
    keep_open = result ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    if (keep_open < 0)
        return callback_failed(t->ep.disp, t, "protocol.eof_received() failed");
    if (!keep_open)
        stream_close(t);
    return 0;
}

static int read_bytes(struct transport *t)
{
    PyObject *data;
    bool more;
    int64_t n = receive(t, &data, &more);
    int rc;

    if (n <= 0) {
        Py_XDECREF(data);
        return n == 0 ? end_of_stream(t) : n == -EAGAIN ? 0 : stream_lost(t, n);
    }
    if (more)
        endpoint_again(&t->ep);
    rc = call_data_received(t, data);
    message_done(t->ep.disp, data);
    return rc;
}

/* As receive(), into the buffer of a BufferedProtocol. -1 with an exception:
 * what the protocol offered is no buffer. */
static int64_t receive_into(struct transport *t, bool *more)
{
    struct dispatcher *d = t->ep.disp;
    PyObject *object = NULL, *size = PyLong_FromLong(READ_MAX);
    Py_buffer buf;
    int64_t n;

    if (size)
        object = call_method(t->protocol, names.get_buffer, size, NULL);
    Py_XDECREF(size);
    if (!object)
        return -1;
    n = PyObject_GetBuffer(object, &buf, PyBUF_WRITABLE);
    Py_DECREF(object);
    if (n < 0)
        return -1;
    if (buf.len == 0) {
        PyBuffer_Release(&buf);
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        return -1;
    }
    n = -EAGAIN;
    if (t->ep.handle && !t->closing && !t->paused && enter(d)) { /* get_buffer() may do that */
        n = ust_recv(d->engine, t->ep.handle, buf.buf, buf.len, 0);
        *more = n > 0 && ust_ready(d->engine, t->ep.handle) & UST_READABLE;
        leave(d);
    }
    PyBuffer_Release(&buf);
    return n;
}

static int read_into_buffer(struct transport *t)
{
    PyObject *count;
    bool more = false;
    int64_t n = receive_into(t, &more);
    int rc;

    if (PyErr_Occurred())
        return callback_failed(t->ep.disp, t, "protocol.get_buffer() failed");
    if (n <= 0)
        return n == 0 ? end_of_stream(t) : n == -EAGAIN ? 0 : stream_lost(t, n);
    if (more)
        endpoint_again(&t->ep);
    if (!(count = PyLong_FromLongLong(n)))
        return -1;
    rc = call_protocol(t, names.buffer_updated, count, "protocol.buffer_updated() failed");
    Py_DECREF(count);
    return rc;
}

static int read_some(struct transport *t)
{
    if (!t->ep.handle || t->paused || t->closing || t->eof_received)
        return 0;
    return t->data_received ? read_bytes(t) : read_into_buffer(t);
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
    if (inq > 0 && !t->closing && !t->eof_received && !t->first) {
        if (!t->paused)
            endpoint_again(&t->ep);
        return 0;
    }
    return stream_lost(t, -error);
}

/* ------------------------------------------------------------------ end */

/* Gives the handle back; the protocol hears of it at the loop's next turn. */
static void end(struct transport *t, PyObject *exc, bool abort)
{
    t->closing = true;
    if (!t->ep.handle)
        return;
    endpoint_forget(&t->ep, abort);
    stream_drop_overflow(t);
    if (t->protocol)
        endpoint_schedule_lost(&t->ep, exc);
    else
        Py_CLEAR(t->waiter);
}

void stream_close(struct transport *t)
{
    t->closing = true;
    if (!t->first)
        end(t, Py_None, t->waiter != NULL);
}

/* As on the kernel, where abort() ends in close(2): what the engine has taken is still sent, and
 * anyio's aclose() counts on it. But a peer is not to take a cut stream for a whole one. */
void stream_force_close(struct transport *t, PyObject *exc)
{
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
    if (ev->events & UST_READABLE && read_some(t) < 0)
        return -1;
    if (t->first && ev->events & UST_WRITABLE && stream_drain(t) < 0)
        return -1;
    return error ? fail_with(t, error) : 0;
}
