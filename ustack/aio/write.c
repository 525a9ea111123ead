/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes out: straight from the object given to write() into the engine's send
 * buffer; what that has no room for waits in chunks, and the protocol is told
 * to pause.
 *
 * What a data_received() answers is staged, if it is small and the engine has
 * said that there is room: then it reaches the engine with all that the burst
 * causes (../staging.c), and nothing that can be asked here tells the
 * difference. stream_settle() comes before whatever would.
 *
 * Always: overflow_len is the sum of what the chunks still hold; while there
 * is a chunk nothing overtakes it, FIN included; and nothing is staged behind
 * it.                                                                       */
#include <errno.h>

#include "aio.h"

bool stream_stage(struct transport *t, const char *data, size_t len)
{
    struct dispatcher *d = t->ep.disp;
    struct staging *s;
    unsigned tail;

    if (!d || d->writer != t || len == 0 || len > d->write_left)
        return false;
    s = &d->staging;
    tail = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (tail == STAGED_MAX)
        return false;
    s->writes[tail].handle = t->ep.handle;
    s->writes[tail].at = s->used;
    s->writes[tail].len = (uint32_t)len;
    memcpy(s->bytes + s->used, data, len);
    s->used += (uint32_t)len;
    d->write_left -= len;
    atomic_store_explicit(&s->tail, tail + 1, memory_order_release);
    return true;
}

/* Bytes that the engine took; -1 after the connection was lost. */
static int64_t send_now(struct transport *t, const char *data, size_t len)
{
    int64_t n = -ECONNABORTED;

    if (enter(t->ep.disp)) {
        n = ust_send(t->ep.disp->engine, t->ep.handle, data, len, 0);
        leave(t->ep.disp);
    }
    if (n >= 0)
        return n;
    if (n == -EAGAIN)
        return 0;
    if (n == -ENOBUFS) { /* no event follows: try again next round */
        endpoint_again(&t->ep);
        return 0;
    }
    stream_lost(t, n);
    return -1;
}

static int append_chunk(struct transport *t, PyObject *bytes)
{
    struct chunk *chunk = PyMem_Malloc(sizeof *chunk);

    if (!chunk) {
        PyErr_NoMemory();
        return -1;
    }
    t->ep.disp->writer = NULL;
    chunk->next = NULL;
    chunk->bytes = Py_NewRef(bytes);
    if (t->first)
        t->last->next = chunk;
    else
        t->first = chunk;
    t->last = chunk;
    t->overflow_len += PyBytes_GET_SIZE(bytes);
    return 0;
}

static void drop_first_chunk(struct transport *t)
{
    struct chunk *chunk = t->first;

    t->first = chunk->next;
    t->first_sent = 0;
    Py_DECREF(chunk->bytes);
    PyMem_Free(chunk);
}

void stream_drop_overflow(struct transport *t)
{
    t->overflow_len = 0;
    while (t->first)
        drop_first_chunk(t);
}

static struct transport *find(const struct dispatcher *d, ust_handle h)
{
    struct endpoint *ep = d->live;

    while (ep && ep->handle != h)
        ep = ep->next;
    return (struct transport *)ep;
}

/* Keeps what the engine did not take of a write that was staged. Whether the protocol shall pause
 * is seen at its next turn. */
static void keep_staged(struct transport *t, const char *data, size_t len, int64_t result)
{
    size_t taken = result > 0 ? (size_t)result : 0;
    PyObject *rest;

    if (result < 0 && result != -EAGAIN && result != -ENOBUFS) {
        stream_lost(t, result);
        return;
    }
    rest = PyBytes_FromStringAndSize(data + taken, (Py_ssize_t)(len - taken));
    if (!rest || append_chunk(t, rest) < 0)
        stream_lost(t, -ENOMEM);
    else
        endpoint_again(&t->ep);
    Py_XDECREF(rest);
}

void stream_settle_staged(struct dispatcher *d)
{
    struct staging *s = &d->staging;
    PyObject *raised;

    if (staging_waits(s) && enter(d)) /* which sends it */
        leave(d);
    if (!s->failed)
        return;
    raised = PyErr_Occurred() ? take_exception() : NULL;
    s->failed = false;
    for (unsigned i = 0; i < atomic_load(&s->sent); i++) {
        struct staged *one = &s->writes[i];
        int64_t result = one->result;
        struct transport *t = result == one->len ? NULL : find(d, one->handle);

        one->result = one->len;
        if (t)
            keep_staged(t, (const char *)s->bytes + one->at, one->len, result);
    }
    if (raised)
        PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
    Py_XDECREF(raised);
}

/* Keeps what is left of a write: bytes by reference, buffers by copy. */
static int keep_rest(struct transport *t, PyObject *data, const char *p, size_t len, size_t taken)
{
    PyObject *copy;
    int rc;

    if (PyBytes_CheckExact(data)) {
        rc = append_chunk(t, data);
        if (rc == 0 && t->first == t->last)
            t->first_sent = taken;
        if (rc == 0)
            t->overflow_len -= taken;
        return rc;
    }
    if (!(copy = PyBytes_FromStringAndSize(p + taken, len - taken)))
        return -1;
    rc = append_chunk(t, copy);
    Py_DECREF(copy);
    return rc;
}

static int write_buffer(struct transport *t, PyObject *data, const char *p, size_t len)
{
    int64_t taken = 0;

    if (stream_stage(t, p, len))
        return 0;
    if (t->eof_wanted) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot call write() after write_eof()");
        return -1;
    }
    if (t->held) {
        PyErr_SetString(PyExc_RuntimeError, "unable to write; sendfile is in progress");
        return -1;
    }
    if (len == 0 || !t->ep.handle) /* as asyncio: lost bytes are no error */
        return 0;
    stream_settle(t->ep.disp);
    if (!t->ep.handle)
        return 0;
    if (!t->first && (taken = send_now(t, p, len)) < 0)
        return 0;
    if ((size_t)taken == len)
        return 0;
    return keep_rest(t, data, p, len, taken) < 0 ? -1 : stream_flow(t);
}

int stream_write(struct transport *t, PyObject *data)
{
    Py_buffer buf;
    int rc;

    if (PyBytes_CheckExact(data))
        return write_buffer(t, data, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
    if (PyObject_GetBuffer(data, &buf, PyBUF_SIMPLE) < 0)
        return -1;
    rc = write_buffer(t, data, buf.buf, buf.len);
    PyBuffer_Release(&buf);
    return rc;
}

int stream_flow(struct transport *t)
{
    if (!t->writing_paused && t->overflow_len > t->high) {
        t->writing_paused = true;
        return call_protocol(t, names.pause_writing, NULL, "protocol.pause_writing() failed");
    }
    if (t->writing_paused && t->overflow_len <= t->low) {
        t->writing_paused = false;
        return call_protocol(t, names.resume_writing, NULL, "protocol.resume_writing() failed");
    }
    return 0;
}

void stream_shutdown(struct transport *t)
{
    int err;

    if (t->ep.handle) {
        stream_settle(t->ep.disp);
        t->ep.disp->writer = NULL;
    }
    t->eof_wanted = true;
    if (t->first || !t->ep.handle || !enter(t->ep.disp))
        return;
    err = ust_shutdown(t->ep.disp->engine, t->ep.handle, UST_SHUT_WR);
    leave(t->ep.disp);
    if (err < 0)
        stream_lost(t, err);
}

int stream_drain(struct transport *t)
{
    int64_t n, len;

    while (t->ep.handle && t->first) {
        len = PyBytes_GET_SIZE(t->first->bytes) - t->first_sent;
        n = send_now(t, PyBytes_AS_STRING(t->first->bytes) + t->first_sent, len);
        if (n < 0)
            return 0;
        t->overflow_len -= n;
        t->first_sent += n;
        if (n < len)
            break;
        drop_first_chunk(t);
    }
    if (stream_flow(t) < 0)
        return -1;
    if (!t->first && t->closing)
        stream_close(t);
    else if (!t->first && t->eof_wanted)
        stream_shutdown(t);
    return 0;
}
