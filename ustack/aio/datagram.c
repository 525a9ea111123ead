/* SPDX-License-Identifier: BSD-3-Clause */
/* A UDP socket as an asyncio.DatagramTransport.
 *
 * What the engine cannot take now is lost, as a network may lose it, and the
 * protocol hears of it by error_received(); nothing is ever buffered here.
 * Not here: who is asked for an endpoint; see loop.py.                      */
#include "aio.h"

#include <arpa/inet.h>

enum { BURST = 64, LARGEST = 65536 }; /* datagrams of one round; bytes of one */

static int call_received(struct datagrams *t, PyObject *data, PyObject *addr)
{
    PyObject *result = call_method(t->protocol, names.datagram_received, data, addr);

    return call_done(t->ep.disp, NULL, result, "protocol.datagram_received() failed");
}

static int error_received(struct datagrams *t, int64_t err)
{
    PyObject *exc, *result = NULL;

    if (!t->protocol) /* closed, or not started */
        return 0;
    if ((exc = os_error(err)))
        result = call_method(t->protocol, names.error_received, exc, NULL);
    Py_XDECREF(exc);
    return call_done(t->ep.disp, NULL, result, "protocol.error_received() failed");
}

/* Where it came from, as a socket of t's family has it: IPv4 as ::ffff:a.b.c.d on one of IPv6. */
static PyObject *source_tuple(const struct datagrams *t, const struct ust_datagram *info)
{
    static const struct ust_addr any; /* ::, which takes both */
    char text[INET6_ADDRSTRLEN];

    if (memcmp(&t->ends.local, &any, sizeof any) != 0)
        return address_tuple(&info->src, info->port);
    inet_ntop(AF_INET6, info->src.b, text, sizeof text);
    return Py_BuildValue("(siii)", text, (int)info->port, 0, 0);
}

/* One datagram: 1, 0 when there is none, -1 with an exception for the loop. */
static int receive_one(struct datagrams *t)
{
    static char buf[LARGEST]; /* the GIL is held */
    struct ust_datagram info;
    PyObject *data, *addr;
    int64_t n = -EAGAIN;
    int rc;

    if (enter(t->ep.disp)) {
        n = ust_recvfrom(t->ep.disp->engine, t->ep.handle, buf, sizeof buf, 0, &info);
        leave(t->ep.disp);
    }
    if (n == -EAGAIN)
        return 0;
    if (n < 0)
        return error_received(t, n) < 0 ? -1 : 1;
    data = PyBytes_FromStringAndSize(buf, n);
    addr = data ? source_tuple(t, &info) : NULL;
    rc = addr ? call_received(t, data, addr) : -1;
    Py_XDECREF(data);
    Py_XDECREF(addr);
    return rc < 0 ? -1 : 1;
}

int datagrams_event(struct datagrams *t)
{
    int rc = 1;

    for (int i = 0; rc > 0 && t->ep.handle && t->protocol; i++) {
        if (i == BURST) {
            endpoint_again(&t->ep);
            break;
        }
        rc = receive_one(t);
    }
    return rc < 0 ? -1 : 0;
}

void datagrams_end(struct datagrams *t, PyObject *exc)
{
    if (t->closing)
        return;
    t->closing = true;
    endpoint_forget(&t->ep, false);
    if (t->protocol)
        endpoint_schedule_lost(&t->ep, exc);
}

struct datagrams *datagrams_new(struct dispatcher *d)
{
    struct datagrams *t = (struct datagrams *)PyType_GenericAlloc(&datagrams_type, 0);

    if (t)
        endpoint_init(&t->ep, d, NULL);
    return t;
}

/* -------------------------------------------------------------- methods */

/* Where to: (host, port, …). -1 with an exception. */
static int parse_peer(PyObject *tuple, struct ust_addr *addr, uint16_t *port)
{
    const char *host;

    if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) < 2) {
        PyErr_Format(PyExc_TypeError, "an address is (host, port), got %R", tuple);
        return -1;
    }
    if (!(host = PyUnicode_AsUTF8(PyTuple_GET_ITEM(tuple, 0))) ||
        parse_port(PyTuple_GET_ITEM(tuple, 1), port) < 0)
        return -1;
    return parse_host(host, addr);
}

static void refuse_peer(const struct datagrams *t, PyObject *other)
{
    PyObject *peer = address_tuple(&t->ends.remote, t->ends.remote_port);

    if (peer)
        PyErr_Format(PyExc_ValueError, "Invalid address: one peer only, %R; not %R", peer, other);
    Py_XDECREF(peer);
}

static bool is_peer(const struct datagrams *t, const struct ust_addr *addr, uint16_t port)
{
    return port == t->ends.remote_port && memcmp(addr, &t->ends.remote, sizeof *addr) == 0;
}

/* Where to, if that may be. -1 with an exception; with a peer of our own, a
 * name is no other address than any other. */
static int check_peer(const struct datagrams *t, PyObject *peer, struct ust_addr *addr,
                      uint16_t *port)
{
    int err = parse_peer(peer, addr, port);

    if (!t->ends.remote_port || (err == 0 && is_peer(t, addr, *port)))
        return err;
    if (err < 0 && !PyErr_ExceptionMatches(PyExc_ValueError))
        return -1;
    PyErr_Clear();
    refuse_peer(t, peer);
    return -1;
}

static PyObject *datagrams_sendto(struct datagrams *t, PyObject *args)
{
    PyObject *peer = Py_None;
    struct ust_addr addr;
    uint16_t port = 0;
    Py_buffer data;
    int64_t n = 0;

    if (!PyArg_ParseTuple(args, "y*|O:sendto", &data, &peer))
        return NULL;
    if (peer != Py_None && check_peer(t, peer, &addr, &port) < 0)
        goto error;
    if (!t->closing && t->ep.handle && enter(t->ep.disp)) {
        n = ust_sendto(t->ep.disp->engine, t->ep.handle, data.buf, data.len,
                       peer != Py_None && !t->ends.remote_port ? &addr : NULL, port);
        leave(t->ep.disp);
    }
    PyBuffer_Release(&data);
    if (n < 0 && error_received(t, n) < 0)
        return NULL;
    Py_RETURN_NONE;
error:
    PyBuffer_Release(&data);
    return NULL;
}

static PyObject *datagrams_start(struct datagrams *t, PyObject *protocol)
{
    Py_XSETREF(t->protocol, Py_NewRef(protocol));
    if (t->closing) /* by connection_made() */
        endpoint_schedule_lost(&t->ep, Py_None);
    else
        endpoint_again(&t->ep); /* what has come already raised its event */
    Py_RETURN_NONE;
}

static PyObject *datagrams_set_protocol(struct datagrams *t, PyObject *protocol)
{
    if (t->protocol)
        Py_SETREF(t->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *datagrams_get_protocol(struct datagrams *t, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(t->protocol ? t->protocol : Py_None);
}

static PyObject *datagrams_close(struct datagrams *t, PyObject *Py_UNUSED(ignored))
{
    datagrams_end(t, Py_None);
    Py_RETURN_NONE;
}

static PyObject *datagrams_is_closing(struct datagrams *t, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(t->closing || !t->ep.handle);
}

static PyObject *datagrams_lost(struct datagrams *t, PyObject *exc)
{
    return endpoint_lost(&t->protocol, exc);
}

static PyObject *datagrams_get_extra_info(struct datagrams *t, PyObject *args, PyObject *kwargs)
{
    return endpoint_extra_info(&t->ep, &t->ends, &t->socket, "DatagramSocket", args, kwargs);
}

static PyObject *datagrams_get_size(struct datagrams *t, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(0);
}

static PyObject *datagrams_repr(struct datagrams *t)
{
    PyObject *local = address_tuple(&t->ends.local, t->ends.local_port), *text;

    if (!local)
        return NULL;
    text = PyUnicode_FromFormat("<ustack.aio.DatagramTransport %s %R>",
                                t->closing ? "closed" : "open", local);
    Py_DECREF(local);
    return text;
}

/* ----------------------------------------------------------------- type */

static int datagrams_traverse(struct datagrams *t, visitproc visit, void *arg)
{
    Py_VISIT(t->protocol);
    Py_VISIT(t->socket);
    return endpoint_traverse(&t->ep, visit, arg);
}

static int datagrams_clear(struct datagrams *t)
{
    Py_CLEAR(t->protocol);
    Py_CLEAR(t->socket);
    endpoint_clear(&t->ep);
    return 0;
}

static void datagrams_dealloc(struct datagrams *t)
{
    PyObject_GC_UnTrack(t);
    if (t->ep.weakrefs)
        PyObject_ClearWeakRefs((PyObject *)t);
    datagrams_clear(t);
    Py_TYPE(t)->tp_free((PyObject *)t);
}

#define METHOD(name, flags, doc) {#name, (PyCFunction)(void (*)(void))datagrams_##name, flags, doc}

static PyMethodDef datagrams_methods[] = {
    METHOD(sendto, METH_VARARGS, "sendto(data, addr=None): send a datagram now, or lose it."),
    METHOD(close, METH_NOARGS, "Close the socket; connection_lost(None) follows."),
    {"abort", (PyCFunction)datagrams_close, METH_NOARGS, "Do as close(): nothing is buffered."},
    METHOD(is_closing, METH_NOARGS, "Whether it was closed."),
    METHOD(set_protocol, METH_O, "Give later callbacks to another protocol."),
    METHOD(get_protocol, METH_NOARGS, "The protocol, None after the end."),
    METHOD(get_extra_info, METH_VARARGS | METH_KEYWORDS,
           "peername, sockname or socket; else the default."),
    {"get_write_buffer_size", (PyCFunction)datagrams_get_size, METH_NOARGS, "Always 0."},
    {"_start", (PyCFunction)datagrams_start, METH_O, NULL},
    {"_connection_lost", (PyCFunction)datagrams_lost, METH_O, NULL},
    {"_readable", (PyCFunction)endpoint_readable, METH_NOARGS, NULL},
    {"_getopt", (PyCFunction)endpoint_getopt, METH_O, NULL},
    {"_setopt", (PyCFunction)endpoint_setopt, METH_VARARGS, NULL},
    {0},
};

static PyObject *datagrams_face(struct datagrams *t, void *closure)
{
    return Py_NewRef(datagram_face);
}

static PyGetSetDef datagrams_getset[] = {
    {"__class__", (getter)datagrams_face, NULL, NULL, NULL},
    {0},
};

PyTypeObject datagrams_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "ustack._aio.DatagramTransport",
    .tp_doc = "A UDP socket of the stack as an asyncio transport.",
    .tp_basicsize = sizeof(struct datagrams),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = (destructor)datagrams_dealloc,
    .tp_traverse = (traverseproc)datagrams_traverse,
    .tp_clear = (inquiry)datagrams_clear,
    .tp_weaklistoffset = offsetof(struct datagrams, ep.weakrefs),
    .tp_repr = (reprfunc)datagrams_repr,
    .tp_methods = datagrams_methods,
    .tp_getset = datagrams_getset,
};
