/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes in: from the engine's receive buffer to data_received(), or into the
 * buffer of a BufferedProtocol.
 *
 * The messages of a burst are taken together, by round_gather(), without the
 * GIL and under one lock; each waits in the dispatcher's inbox for its turn.
 * What is longer, and what a BufferedProtocol gets, is received when it is.
 *
 *  R1  taken: there is one message of t in the inbox
 *  R2  unread: t was paused, or got another protocol, between the two; it
 *      comes before anything that the engine has
 *
 * Not here: what an event means (stream.c); the bytes objects (message.c).  */
#include <errno.h>

#include "aio.h"

enum {
    READ_MAX = 256 * 1024, /* bytes of one data_received */
    MESSAGE_MAX = 2048,
    WRITE_MAX = 2048, /* bytes that wait for the end of the burst, of one callback */
};

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
    *more = n > 0 && ust_readable(eng, t->ep.handle);
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

/* Calls back, and takes data. */
static int give(struct transport *t, PyObject *data)
{
    struct dispatcher *d = t->ep.disp;
    int rc = call_data_received(t, data);

    message_done(d, data);
    return rc;
}

static int read_unread(struct transport *t)
{
    PyObject *data = t->unread;

    t->unread = NULL;
    endpoint_again(&t->ep); /* there may be more */
    return give(t, data);
}

static int read_bytes(struct transport *t)
{
    PyObject *data;
    bool more;
    int64_t n = receive(t, &data, &more);

    if (n <= 0) {
        Py_XDECREF(data);
        return n == 0 ? end_of_stream(t) : n == -EAGAIN ? 0 : stream_lost(t, n);
    }
    if (more)
        endpoint_again(&t->ep);
    return give(t, data);
}

/* What is unread, or as much of it as fits. */
static int64_t copy_unread(struct transport *t, char *buf, Py_ssize_t size)
{
    PyObject *data = t->unread;
    Py_ssize_t n = PyBytes_GET_SIZE(data) < size ? PyBytes_GET_SIZE(data) : size;

    t->unread = NULL;
    memcpy(buf, PyBytes_AS_STRING(data), n);
    if (n < PyBytes_GET_SIZE(data)) {
        t->unread =
            PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + n, PyBytes_GET_SIZE(data) - n);
        if (!t->unread) {
            PyErr_Clear();
            n = -ENOMEM;
        }
    }
    Py_DECREF(data);
    return n;
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
    if (!t->ep.handle || t->closing || t->paused) /* get_buffer() may do that */
        ;
    else if (t->unread) {
        n = copy_unread(t, buf.buf, buf.len);
        *more = true;
    } else if (enter(d)) {
        n = ust_recv(d->engine, t->ep.handle, buf.buf, buf.len, 0);
        *more = n > 0 && ust_readable(d->engine, t->ep.handle);
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
    if (!t->data_received)
        return read_into_buffer(t);
    return t->unread ? read_unread(t) : read_bytes(t);
}

/* Until the callback is over what it writes is staged, if it is as it mostly is. */
static void begin_writes(struct transport *t, const struct ust_event *ev)
{
    struct dispatcher *d = t->ep.disp;

    if (d->may_stage && ev->events & UST_WRITABLE && !t->first &&
        d->staging.used <= STAGED_BYTES - WRITE_MAX) {
        d->writer = t;
        d->write_left = WRITE_MAX;
    }
}

int stream_read(struct transport *t, const struct ust_event *ev)
{
    int rc;

    if (!t->eof_wanted && !t->held)
        begin_writes(t, ev);
    rc = read_some(t);
    t->ep.disp->writer = NULL;
    return rc;
}

/* Something has changed since the message was taken: it may have to be kept. */
static int message_to_special(struct transport *t, PyObject *data)
{
    if (!t->paused && !t->closing && t->data_received)
        return give(t, data);
    t->unread = data;
    if (!t->paused && !t->closing)
        endpoint_again(&t->ep);
    return 0;
}

int stream_message(struct transport *t, const struct ust_event *ev, const struct taken *taken)
{
    struct dispatcher *d = t->ep.disp;
    PyObject *data = message_new(d, d->inbox + taken->at, taken->len);
    int rc;

    t->taken = false;
    if (!data)
        return stream_lost(t, -ENOMEM);
    if (taken->more)
        endpoint_again(&t->ep);
    if (t->special || !t->data_received) {
        rc = message_to_special(t, data);
    } else {
        begin_writes(t, ev);
        rc = give(t, data);
        d->writer = NULL;
    }
    return rc == 0 && t->first && ev->events & UST_WRITABLE ? stream_drain(t) : rc;
}

void stream_take(struct dispatcher *d, const struct ust_event *ev, struct taken *taken)
{
    struct transport *t = (struct transport *)(uintptr_t)ev->user;
    int64_t n;

    taken->len = 0;
    if (!t || !Py_IS_TYPE(t, &transport_type) || t->special || t->unread || !t->data_received ||
        (ev->events & (UST_READABLE | UST_ERROR)) != UST_READABLE ||
        d->inbox_used > sizeof d->inbox - MESSAGE_MAX)
        return;
    n = ust_recv(d->engine, ev->handle, d->inbox + d->inbox_used, MESSAGE_MAX, 0);
    if (n <= 0) /* to be found again when it is its turn */
        return;
    taken->at = d->inbox_used;
    taken->len = (uint16_t)n;
    taken->more = ust_readable(d->engine, ev->handle);
    d->inbox_used += (uint32_t)n;
    t->taken = true;
    t->bulk = n == MESSAGE_MAX;
}
