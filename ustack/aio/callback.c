/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls of protocols. What one raises costs its own connection and is told to
 * the loop's exception handler; only KeyboardInterrupt and SystemExit end the
 * loop.                                                                     */
#include "aio.h"

static void tell_loop(struct dispatcher *d, struct transport *t, const char *what, PyObject *exc)
{
    PyObject *context, *result = NULL;

    context = Py_BuildValue("{sssOsOsO}", "message", what, "exception", exc, "transport",
                            t ? (PyObject *)t : Py_None, "protocol",
                            t && t->protocol ? t->protocol : Py_None);
    if (context)
        result = PyObject_CallMethodOneArg(d->loop, names.call_exception_handler, context);
    if (!result)
        PyErr_WriteUnraisable(d->loop);
    Py_XDECREF(context);
    Py_XDECREF(result);
}

int callback_failed(struct dispatcher *d, struct transport *t, const char *what)
{
    PyObject *exc;

    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
        return -1;
    if (!(exc = take_exception()))
        return 0;
    tell_loop(d, t, what, exc);
    if (t)
        stream_force_close(t, exc);
    Py_DECREF(exc);
    return 0;
}

PyObject *call_method(PyObject *protocol, PyObject *method, PyObject *a, PyObject *b)
{
    PyObject *args[3] = {protocol, a, b}, *result;

    Py_INCREF(protocol);
    result = PyObject_VectorcallMethod(method, args, 1 + !!a + !!b, NULL);
    Py_DECREF(protocol);
    return result;
}

int call_done(struct dispatcher *d, struct transport *t, PyObject *result, const char *what)
{
    if (!result)
        return callback_failed(d, t, what);
    Py_DECREF(result);
    return 0;
}
