/* SPDX-License-Identifier: BSD-3-Clause */
/* The Transport type: asyncio.Transport as Python sees it.
 *
 * Every method is safe at any time: before the connection is made, while it
 * closes and after it is lost. What they do to the connection is in stream.c. */
#include "aio.h"

static PyObject *none_unless(int err)
{
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* -------------------------------------------------------------- writing */

static PyObject *transport_write(struct transport *t, PyObject *data)
{
    if (PyBytes_CheckExact(data) &&
        stream_stage(t, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)))
        Py_RETURN_NONE;
    return none_unless(stream_write(t, data));
}

static PyObject *transport_writelines(struct transport *t, PyObject *lines)
{
    PyObject *iter = PyObject_GetIter(lines), *line;
    int err = iter ? 0 : -1;

    while (err == 0 && (line = PyIter_Next(iter))) {
        err = stream_write(t, line);
        Py_DECREF(line);
    }
    Py_XDECREF(iter);
    return none_unless(PyErr_Occurred() ? -1 : err);
}

static PyObject *transport_write_eof(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    if (!t->closing && !t->eof_wanted)
        stream_shutdown(t);
    Py_RETURN_NONE;
}

static PyObject *transport_can_write_eof(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_TRUE;
}

static PyObject *transport_set_limits(struct transport *t, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"high", "low", NULL};
    PyObject *high = Py_None, *low = Py_None;
    Py_ssize_t h, l;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:set_write_buffer_limits", keywords, &high,
                                     &low))
        return NULL;
    l = low == Py_None ? -1 : PyLong_AsSsize_t(low);
    if (high != Py_None)
        h = PyLong_AsSsize_t(high);
    else
        h = low == Py_None ? 64 * 1024 : 4 * l;
    if (PyErr_Occurred())
        return NULL;
    l = low == Py_None ? h / 4 : l;
    if (h < l || l < 0)
        return PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", h, l);
    t->high = h;
    t->low = l;
    return none_unless(stream_flow(t));
}

static PyObject *transport_get_limits(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("(nn)", (Py_ssize_t)t->low, (Py_ssize_t)t->high);
}

static PyObject *transport_get_size(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    if (t->ep.handle)
        stream_settle(t->ep.disp);
    return PyLong_FromSize_t(t->overflow_len);
}

/* -------------------------------------------------------------- reading */

static PyObject *transport_pause_reading(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    if (!t->closing)
        t->paused = true;
    Py_RETURN_NONE;
}

static PyObject *transport_resume_reading(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    if (t->paused && !t->closing) {
        t->paused = false;
        endpoint_again(&t->ep); /* what came meanwhile raised its event */
    }
    Py_RETURN_NONE;
}

static PyObject *transport_is_reading(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(!t->closing && !t->paused && !t->eof_received);
}

/* -------------------------------------------------------------- closing */

static PyObject *transport_close(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    if (!t->closing)
        stream_close(t);
    Py_RETURN_NONE;
}

static PyObject *transport_abort(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    stream_force_close(t, Py_None);
    Py_RETURN_NONE;
}

/* What the SSL protocols of asyncio and uvloop call. */
static PyObject *transport_force_close(struct transport *t, PyObject *exc)
{
    stream_force_close(t, exc);
    Py_RETURN_NONE;
}

static PyObject *transport_is_closing(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(t->closing);
}

/* Its server counts it no longer. */
static void detach(struct transport *t)
{
    PyObject *server = t->ep.server, *result;

    t->ep.server = NULL;
    if (!server)
        return;
    if (!(result = PyObject_CallMethodOneArg(server, names.detach, (PyObject *)t)))
        PyErr_WriteUnraisable(server);
    Py_XDECREF(result);
    Py_DECREF(server);
}

static PyObject *transport_lost(struct transport *t, PyObject *exc)
{
    if (t->protocol) {
        Py_CLEAR(t->data_received);
        detach(t);
    }
    return endpoint_lost(&t->protocol, exc);
}

/* ------------------------------------------------------------ protocols */

static PyObject *transport_start(struct transport *t, PyObject *protocol)
{
    return none_unless(stream_start(t, protocol));
}

static PyObject *transport_hold(struct transport *t, PyObject *writes)
{
    if (t->ep.handle)
        t->ep.disp->writer = NULL;
    t->held = PyObject_IsTrue(writes) > 0;
    Py_RETURN_NONE;
}

static PyObject *transport_set_protocol(struct transport *t, PyObject *protocol)
{
    return none_unless(stream_set_protocol(t, protocol));
}

static PyObject *transport_get_protocol(struct transport *t, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(t->protocol ? t->protocol : Py_None);
}

/* ---------------------------------------------------------- information */

static PyObject *transport_get_extra_info(struct transport *t, PyObject *args, PyObject *kwargs)
{
    return endpoint_extra_info(&t->ep, &t->ends, &t->socket, "TransportSocket", args, kwargs);
}

static PyObject *transport_repr(struct transport *t)
{
    PyObject *peer = address_tuple(&t->ends.remote, t->ends.remote_port), *text;
    const char *state = t->waiter     ? "connecting"
                      : !t->ep.handle ? "closed"
                      : t->closing    ? "closing"
                      : t->paused     ? "paused"
                                      : "open";

    if (!peer)
        return NULL;
    text = PyUnicode_FromFormat("<ustack.aio.Transport %s peer=%R buffered=%zu>", state, peer,
                                t->overflow_len);
    Py_DECREF(peer);
    return text;
}

/* ----------------------------------------------------------------- type */

static int transport_traverse(struct transport *t, visitproc visit, void *arg)
{
    Py_VISIT(t->protocol);
    Py_VISIT(t->data_received);
    Py_VISIT(t->waiter);
    Py_VISIT(t->socket);
    return endpoint_traverse(&t->ep, visit, arg);
}

static int transport_clear(struct transport *t)
{
    Py_CLEAR(t->protocol);
    Py_CLEAR(t->data_received);
    Py_CLEAR(t->waiter);
    Py_CLEAR(t->socket);
    Py_CLEAR(t->unread);
    endpoint_clear(&t->ep);
    return 0;
}

static void transport_dealloc(struct transport *t)
{
    PyObject_GC_UnTrack(t);
    if (t->ep.weakrefs)
        PyObject_ClearWeakRefs((PyObject *)t);
    stream_drop_overflow(t);
    transport_clear(t);
    Py_TYPE(t)->tp_free((PyObject *)t);
}

#define METHOD(name, flags, doc) {#name, (PyCFunction)(void (*)(void))transport_##name, flags, doc}

static PyMethodDef transport_methods[] = {
    METHOD(write, METH_O, "Send bytes or a contiguous buffer, now or later."),
    METHOD(writelines, METH_O, "Send each of an iterable of buffers."),
    METHOD(write_eof, METH_NOARGS, "Send FIN after what was written."),
    METHOD(can_write_eof, METH_NOARGS, "True: TCP has a half close."),
    METHOD(pause_reading, METH_NOARGS, "Stop data_received; idempotent."),
    METHOD(resume_reading, METH_NOARGS, "Resume data_received."),
    METHOD(is_reading, METH_NOARGS, "Whether data_received may be called."),
    METHOD(close, METH_NOARGS, "Send what is buffered, then FIN."),
    METHOD(abort, METH_NOARGS,
           "Close now: what the stack has taken is still sent, the rest lost (then with RST)."),
    METHOD(is_closing, METH_NOARGS, "Whether close or abort has begun."),
    METHOD(set_protocol, METH_O, "Give later callbacks to another protocol."),
    METHOD(get_protocol, METH_NOARGS, "The protocol, None after the end."),
    METHOD(get_extra_info, METH_VARARGS | METH_KEYWORDS,
           "peername, sockname or socket; else the default."),
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))transport_set_limits,
     METH_VARARGS | METH_KEYWORDS, "set_write_buffer_limits(high=None, low=None), in bytes."},
    {"get_write_buffer_limits", (PyCFunction)transport_get_limits, METH_NOARGS,
     "(low, high) in bytes."},
    {"get_write_buffer_size", (PyCFunction)transport_get_size, METH_NOARGS,
     "Bytes that the stack's send buffer had no room for."},
    {"_force_close", (PyCFunction)transport_force_close, METH_O, NULL},
    {"_connection_lost", (PyCFunction)transport_lost, METH_O, NULL},
    {"_start", (PyCFunction)transport_start, METH_O, NULL},
    {"_hold", (PyCFunction)transport_hold, METH_O, NULL},
    {"_readable", (PyCFunction)endpoint_readable, METH_NOARGS, NULL},
    {"_getopt", (PyCFunction)endpoint_getopt, METH_O, NULL},
    {"_setopt", (PyCFunction)endpoint_setopt, METH_VARARGS, NULL},
    {0},
};

static PyObject *transport_tls_compatible(struct transport *t, void *closure)
{
    Py_RETURN_TRUE;
}

static PyObject *transport_is_paused(struct transport *t, void *closure)
{
    return PyBool_FromLong(t->writing_paused);
}

static PyObject *transport_face(struct transport *t, void *closure)
{
    return Py_NewRef(stream_face);
}

static PyGetSetDef transport_getset[] = {
    {"__class__", (getter)transport_face, NULL, NULL, NULL},
    {"_protocol_paused", (getter)transport_is_paused, NULL, NULL, NULL},
    {"_start_tls_compatible", (getter)transport_tls_compatible, NULL, NULL, NULL},
    {0},
};

PyTypeObject transport_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "ustack._aio.Transport",
    .tp_doc = "A TCP connection of the stack as an asyncio transport.",
    .tp_basicsize = sizeof(struct transport),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = (destructor)transport_dealloc,
    .tp_traverse = (traverseproc)transport_traverse,
    .tp_clear = (inquiry)transport_clear,
    .tp_weaklistoffset = offsetof(struct transport, ep.weakrefs),
    .tp_repr = (reprfunc)transport_repr,
    .tp_methods = transport_methods,
    .tp_getset = transport_getset,
};
