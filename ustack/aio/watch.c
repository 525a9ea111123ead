/* SPDX-License-Identifier: BSD-3-Clause */
/* A socket that an application keeps to itself and wants to hear of: what is
 * behind loop.add_reader(), loop.sock_recv() and their kin.
 *
 * Level-triggered, as epoll is: while something that is wanted is there, the
 * callback is called once a round. The engine's events are edges, so whoever
 * wants something new looks first (want()).
 *
 * Always: the socket is not closed here, whatever happens to the watch.
 * Not here: who is called back with what; see watching.py.                  */
#include "aio.h"

struct watch {
    struct endpoint ep;
    PyObject *callback;
    unsigned wanted; /* enum ust_ready; 0: nothing */
};

struct endpoint *watch_new(struct dispatcher *d, PyObject *callback)
{
    struct watch *w = (struct watch *)PyType_GenericAlloc(&watch_type, 0);

    if (!w)
        return NULL;
    endpoint_init(&w->ep, d, NULL);
    w->callback = Py_NewRef(callback);
    return &w->ep;
}

/* What there is of what is wanted; a socket that is gone has an error. */
static unsigned ready(const struct watch *w)
{
    int now = -EBADF;

    if (enter(w->ep.disp)) {
        now = ust_ready(w->ep.disp->engine, w->ep.handle);
        leave(w->ep.disp);
    }
    return now < 0 ? UST_ERROR : (unsigned)now & (w->wanted | UST_HUP | UST_ERROR);
}

int watch_event(struct endpoint *ep)
{
    struct watch *w = (struct watch *)ep;
    unsigned now = w->wanted ? ready(w) : 0;
    PyObject *mask, *result;

    if (!now || !(mask = PyLong_FromUnsignedLong(now)))
        return now ? -1 : 0;
    result = PyObject_CallOneArg(w->callback, mask);
    Py_DECREF(mask);
    if (!result)
        return callback_failed(ep->disp, NULL, "a socket's callback failed");
    Py_DECREF(result);
    if (ep->handle && w->wanted)
        endpoint_again(ep);
    return 0;
}

/* -------------------------------------------------------------- methods */

static PyObject *watch_want(struct watch *w, PyObject *arg)
{
    unsigned long wanted = PyLong_AsUnsignedLong(arg);

    if (wanted == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    w->wanted = (unsigned)wanted;
    if (w->wanted && w->ep.handle)
        endpoint_again(&w->ep);
    Py_RETURN_NONE;
}

void watch_end(struct endpoint *ep)
{
    if (!ep->handle)
        return;
    if (enter(ep->disp)) {
        endpoint_unregister(ep);
        leave(ep->disp);
    }
    endpoint_unlink(ep);
}

static PyObject *watch_close(struct watch *w, PyObject *Py_UNUSED(ignored))
{
    w->wanted = 0;
    watch_end(&w->ep);
    Py_RETURN_NONE;
}

/* ----------------------------------------------------------------- type */

static int watch_traverse(struct watch *w, visitproc visit, void *arg)
{
    Py_VISIT(w->callback);
    return endpoint_traverse(&w->ep, visit, arg);
}

static int watch_clear(struct watch *w)
{
    Py_CLEAR(w->callback);
    endpoint_clear(&w->ep);
    return 0;
}

static void watch_dealloc(struct watch *w)
{
    PyObject_GC_UnTrack(w);
    watch_clear(w);
    Py_TYPE(w)->tp_free((PyObject *)w);
}

static PyMethodDef watch_methods[] = {
    {"want", (PyCFunction)watch_want, METH_O,
     "want(ready): call back while any of these bits, HUP or ERROR is there; 0: no more."},
    {"close", (PyCFunction)watch_close, METH_NOARGS, "Stop watching; the socket stays open."},
    {0},
};

PyTypeObject watch_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "ustack._aio.Watch",
    .tp_doc = "Calls back while a socket is ready; Dispatcher.watch() makes it.",
    .tp_basicsize = sizeof(struct watch),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_dealloc = (destructor)watch_dealloc,
    .tp_traverse = (traverseproc)watch_traverse,
    .tp_clear = (inquiry)watch_clear,
    .tp_methods = watch_methods,
};
