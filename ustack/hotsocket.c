/* SPDX-License-Identifier: BSD-3-Clause */
/* ustack._hotsocket: the type below ustack.socket.socket, with the methods that
 * move bytes: recv, recv_into, send, sendall.
 *
 * It is a subclass of the standard library's socket.socket, whose size is known
 * only at run time, so our part of an object lies behind that (part_of). An
 * object is the kernel's until _own() gives it a socket of a stack; until then
 * each method is the base's. Here are only plain calls, without flags; others
 * go to the methods _recv, _recv_into, _send and _sendall of the subclass.
 *
 * The GIL is released while the engine is called. A wait comes back every
 * SLICE_NS to run signal handlers. The subclass keeps the worker alive for as
 * long as the object lives.
 *
 * Not here: everything else that a socket can do (socket.py).               */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdbool.h>

#include "ustack.h"

enum {
    MOST_ARGUMENTS = 7,
    SLICE_NS = 50 * 1000 * 1000,
    SMALL = 16 * 1024,   /* bytes that recv() takes by way of the C stack */
    INTERRUPTED = -4096, /* a signal handler has raised; no errno is so large */
    N_METHODS = 4,
};

struct part {
    struct ust_worker *worker; /* NULL: a socket of the kernel */
    ust_handle handle;
    int64_t timeout_ns; /* -1: for ever */
    bool is_udp;
    bool slow; /* only the subclass knows what to do */
};

enum method { RECV, RECV_INTO, SEND, SENDALL };
static const char *const method_names[N_METHODS] = {"recv", "recv_into", "send", "sendall"};
static const char *const slow_names[N_METHODS] = {"_recv", "_recv_into", "_send", "_sendall"};
static PyObject *kernel_methods[N_METHODS], *slow_methods[N_METHODS];
static Py_ssize_t part_offset;

typedef int64_t (*transfer)(const struct part *p, uint8_t *buf, size_t len, uint64_t ns);

static struct part *part_of(PyObject *self);
static PyObject *pass_on(PyObject *self, enum method method, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames);
static ust_time deadline_of(const struct part *p);
static int64_t insist(const struct part *p, transfer call, uint8_t *buf, size_t len,
                      ust_time deadline);
static int64_t do_recv(const struct part *p, uint8_t *buf, size_t len, uint64_t ns);
static int64_t do_send(const struct part *p, uint8_t *buf, size_t len, uint64_t ns);
static PyObject *fail(const struct part *p, int64_t err);
static PyObject *not_writable(PyObject *object);

/* -------------------------------------------------------------- the methods */

static PyObject *hot_recv(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    const struct part *p = part_of(self);
    uint8_t small[SMALL];
    PyObject *bytes;
    Py_ssize_t size;
    int64_t n;

    if (!p->worker || p->slow || nargs != 1)
        return pass_on(self, RECV, args, nargs, NULL);
    size = PyNumber_AsSsize_t(args[0], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred())
        return NULL;
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    if (size <= SMALL) {
        n = insist(p, do_recv, small, (size_t)size, deadline_of(p));
        return n < 0 ? fail(p, n) : PyBytes_FromStringAndSize((char *)small, (Py_ssize_t)n);
    }
    if (!(bytes = PyBytes_FromStringAndSize(NULL, size)))
        return NULL;
    n = insist(p, do_recv, (uint8_t *)PyBytes_AS_STRING(bytes), (size_t)size, deadline_of(p));
    if (n < 0) {
        Py_DECREF(bytes);
        return fail(p, n);
    }
    if (n < size)
        _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    return bytes;
}

static PyObject *hot_recv_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames)
{
    const struct part *p = part_of(self);
    Py_buffer buf;
    int64_t n;

    if (!p->worker || p->slow || nargs != 1 || kwnames)
        return pass_on(self, RECV_INTO, args, nargs, kwnames);
    if (PyObject_GetBuffer(args[0], &buf, PyBUF_WRITABLE) < 0)
        return not_writable(args[0]);
    n = insist(p, do_recv, buf.buf, (size_t)buf.len, deadline_of(p));
    PyBuffer_Release(&buf);
    return n < 0 ? fail(p, n) : PyLong_FromLongLong(n);
}

static PyObject *hot_send(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    const struct part *p = part_of(self);
    Py_buffer buf;
    int64_t n;

    if (!p->worker || p->slow || nargs != 1)
        return pass_on(self, SEND, args, nargs, NULL);
    if (PyObject_GetBuffer(args[0], &buf, PyBUF_SIMPLE) < 0)
        return NULL;
    n = insist(p, do_send, buf.buf, (size_t)buf.len, deadline_of(p));
    PyBuffer_Release(&buf);
    return n < 0 ? fail(p, n) : PyLong_FromLongLong(n);
}

static PyObject *hot_sendall(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    const struct part *p = part_of(self);
    ust_time deadline;
    Py_buffer buf;
    size_t done = 0;
    int64_t n;

    if (!p->worker || p->slow || nargs != 1)
        return pass_on(self, SENDALL, args, nargs, NULL);
    if (PyObject_GetBuffer(args[0], &buf, PyBUF_SIMPLE) < 0)
        return NULL;
    deadline = deadline_of(p);
    do {
        n = insist(p, do_send, (uint8_t *)buf.buf + done, (size_t)buf.len - done, deadline);
        done += n > 0 ? (size_t)n : 0;
    } while (n >= 0 && done < (size_t)buf.len);
    PyBuffer_Release(&buf);
    if (n < 0)
        return fail(p, n);
    Py_RETURN_NONE;
}

static PyObject *hot_own(PyObject *self, PyObject *args)
{
    struct part *p = part_of(self);
    unsigned long long worker;
    long long handle;
    int is_udp, slow;

    if (!PyArg_ParseTuple(args, "KLpp", &worker, &handle, &is_udp, &slow))
        return NULL;
    *p = (struct part){.worker = (struct ust_worker *)(uintptr_t)worker,
                       .handle = handle,
                       .timeout_ns = p->timeout_ns,
                       .is_udp = is_udp,
                       .slow = slow};
    Py_RETURN_NONE;
}

static PyObject *hot_set_timeout(PyObject *self, PyObject *ns)
{
    long long value = PyLong_AsLongLong(ns);

    if (value == -1 && PyErr_Occurred())
        return NULL;
    part_of(self)->timeout_ns = value;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ helpers */

/* As the base says it. */
static PyObject *not_writable(PyObject *object)
{
    if (PyErr_ExceptionMatches(PyExc_BufferError))
        PyErr_Format(PyExc_TypeError,
                     "recv_into() argument 1 must be read-write bytes-like object, not %.50s",
                     Py_TYPE(object)->tp_name);
    return NULL;
}

static struct part *part_of(PyObject *self)
{
    return (struct part *)((char *)self + part_offset);
}

/* The same call on the base, or on the subclass. */
static PyObject *pass_on(PyObject *self, enum method method, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames)
{
    bool kernel = part_of(self)->worker == NULL;
    Py_ssize_t n = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject *all[1 + MOST_ARGUMENTS] = {self};

    if (n > MOST_ARGUMENTS) {
        PyErr_Format(PyExc_TypeError, "%s() takes fewer arguments", method_names[method]);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++)
        all[1 + i] = args[i];
    if (kernel)
        return PyObject_Vectorcall(kernel_methods[method], all, (size_t)nargs + 1, kwnames);
    return PyObject_VectorcallMethod(slow_methods[method], all, (size_t)nargs + 1, kwnames);
}

static ust_time deadline_of(const struct part *p)
{
    return p->timeout_ns <= 0 ? UINT64_MAX : ust_worker_now() + (uint64_t)p->timeout_ns;
}

/* Tries until it is done, time is up (-EAGAIN), or a signal handler raises. */
static int64_t insist(const struct part *p, transfer call, uint8_t *buf, size_t len,
                      ust_time deadline)
{
    const struct part fixed = *p; /* the socket may be closed meanwhile */
    uint64_t slice = fixed.timeout_ns == 0 ? 0 : SLICE_NS;
    int64_t r;

    for (;;) {
        if (deadline != UINT64_MAX) {
            ust_time now = ust_worker_now();

            slice = now >= deadline ? 0 : deadline - now < SLICE_NS ? deadline - now : SLICE_NS;
        }
        Py_BEGIN_ALLOW_THREADS;
        r = call(&fixed, buf, len, slice);
        Py_END_ALLOW_THREADS;
        if (r != -EAGAIN && r != -EINTR && r != -ENOBUFS)
            return r;
        if (PyErr_CheckSignals() < 0)
            return INTERRUPTED;
        if (slice == 0)
            return r;
    }
}

static int64_t do_recv(const struct part *p, uint8_t *buf, size_t len, uint64_t ns)
{
    struct ust_datagram info;

    if (p->is_udp)
        return ust_worker_recvfrom(p->worker, p->handle, buf, len, 0, &info, ns);
    return ust_worker_recv(p->worker, p->handle, buf, len, 0, ns);
}

static int64_t do_send(const struct part *p, uint8_t *buf, size_t len, uint64_t ns)
{
    if (p->is_udp)
        return ust_worker_sendto(p->worker, p->handle, buf, len, NULL, 0, ns);
    return ust_worker_send(p->worker, p->handle, buf, len, 0, ns);
}

static PyObject *fail(const struct part *p, int64_t err)
{
    if (err == INTERRUPTED)
        return NULL;
    if (p->timeout_ns > 0 && (err == -EAGAIN || err == -EINTR)) {
        PyErr_SetString(PyExc_TimeoutError, "timed out");
        return NULL;
    }
    errno = err == -EINTR ? EAGAIN : (int)-err;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* --------------------------------------------------------------- the module */

#define FAST(f) (PyCFunction)(void (*)(void))(f)

static PyMethodDef methods[] = {
    {"recv", FAST(hot_recv), METH_FASTCALL,
     "recv(bufsize[, flags]): at most so many bytes, as soon as there are any."},
    {"recv_into", FAST(hot_recv_into), METH_FASTCALL | METH_KEYWORDS,
     "recv_into(buffer[, nbytes[, flags]]): fill a buffer; the number of bytes."},
    {"send", FAST(hot_send), METH_FASTCALL,
     "send(data[, flags]): send bytes; how many were taken."},
    {"sendall", FAST(hot_sendall), METH_FASTCALL, "sendall(data[, flags]): send all bytes."},
    {"_own", hot_own, METH_VARARGS, "_own(worker, handle, is_udp, slow); worker 0: none."},
    {"_set_timeout_ns", hot_set_timeout, METH_O, "Nanoseconds that a call may last; -1: any."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What ustack.socket.socket extends; see there."},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ustack._hotsocket",
    .m_doc = "The methods of sockets that move bytes, in C.",
    .m_size = -1,
};

static int look_up_methods(PyTypeObject *base)
{
    for (int i = 0; i < N_METHODS; i++) {
        kernel_methods[i] = PyObject_GetAttrString((PyObject *)base, method_names[i]);
        slow_methods[i] = PyUnicode_InternFromString(slow_names[i]);
        if (!kernel_methods[i] || !slow_methods[i])
            return -1;
    }
    return 0;
}

/* The type, whose objects are those of the base with a struct part behind. */
static PyObject *make_type(PyTypeObject *base)
{
    const Py_ssize_t align = (Py_ssize_t) _Alignof(struct part);
    PyType_Spec spec = {
        .name = "ustack._hotsocket.HotSocket",
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = slots,
    };

    part_offset = (base->tp_basicsize + align - 1) / align * align;
    spec.basicsize = (int)(part_offset + (Py_ssize_t)sizeof(struct part));
    return PyType_FromSpecWithBases(&spec, (PyObject *)base);
}

PyMODINIT_FUNC PyInit__hotsocket(void)
{
    PyObject *m, *stdlib = PyImport_ImportModule("socket"), *base, *type = NULL;

    base = stdlib ? PyObject_GetAttrString(stdlib, "socket") : NULL;
    Py_XDECREF(stdlib);
    if (base && look_up_methods((PyTypeObject *)base) == 0)
        type = make_type((PyTypeObject *)base);
    Py_XDECREF(base);
    m = type ? PyModule_Create(&module) : NULL;
    if (m && PyModule_AddType(m, (PyTypeObject *)type) < 0)
        Py_CLEAR(m);
    Py_XDECREF(type);
    return m;
}
