/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes objects of small messages. Most protocols are done with one when
 * data_received() returns: then nobody but us refers to it, and the next
 * message of its length, or a little less, is written into it, which saves an
 * allocation and a deallocation.
 *
 * Always: spare has one reference, ours; so nobody can see it change. A bytes
 * object of one byte is never spare: Python has one of each.                */
#include "aio.h"

enum {
    CLASS = 16, /* lengths of one class take about the same memory (obmalloc.c) */
    LONGEST = 2048,
};

#ifdef Py_GIL_DISABLED /* others may hold references that we do not count */
#define IS_OURS_ALONE(object) false
#else
#define IS_OURS_ALONE(object) (Py_REFCNT(object) == 1)
#endif

static size_t class_of(size_t n)
{
    return (n + sizeof(PyBytesObject) - 1) / CLASS;
}

/* The hash, which is deprecated to be named: it lies before the bytes. */
static void forget_hash(PyObject *bytes)
{
    ((Py_hash_t *)PyBytes_AS_STRING(bytes))[-1] = -1;
}

PyObject *message_new(struct dispatcher *d, const char *p, Py_ssize_t n)
{
    PyObject *bytes = d->spare;

    /* Both allocators round differently: only what is no longer is sure to fit. */
    if (class_of(n) != d->spare_class || n < 2 || n > PyBytes_GET_SIZE(bytes))
        return PyBytes_FromStringAndSize(p, n);
    d->spare = NULL;
    d->spare_class = 0;
    Py_SET_SIZE(bytes, n);
    forget_hash(bytes);
    memcpy(PyBytes_AS_STRING(bytes), p, n);
    PyBytes_AS_STRING(bytes)[n] = 0;
    return bytes;
}

void message_done(struct dispatcher *d, PyObject *bytes)
{
    if (IS_OURS_ALONE(bytes) && PyBytes_GET_SIZE(bytes) > 1 && PyBytes_GET_SIZE(bytes) < LONGEST) {
        Py_XSETREF(d->spare, bytes);
        d->spare_class = class_of(PyBytes_GET_SIZE(bytes));
    } else {
        Py_DECREF(bytes);
    }
}
