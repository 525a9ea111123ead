/* SPDX-License-Identifier: BSD-3-Clause */
/* The dispatcher as Python sees it: drives one worker from an event loop's
 * thread, round by round, for as long as its turn lasts.
 *
 * Not here: what a round does (round.c); when to sleep (selector.py, uv.py). */
#include "aio.h"

/* --------------------------------------------------------------- rounds */

/* A loop whose queue is not to be seen: call_soon() was called since the last
 * poll(), by note_call(). */
static bool noted;

/* Tasks are waiting for the loop's own turn. */
static bool loop_is_wanted(struct dispatcher *d)
{
    return d->ready ? PyObject_Size(d->ready) != 0 : noted;
}

static PyObject *note_call(PyObject *call_soon, PyObject *const *args, Py_ssize_t n,
                           PyObject *keywords)
{
    noted = true;
    return PyObject_Vectorcall(call_soon, args, n, keywords);
}

static PyObject *dispatcher_noting(PyObject *Py_UNUSED(type), PyObject *call_soon)
{
    static PyMethodDef method = {"call_soon", (PyCFunction)(void (*)(void))note_call,
                                 METH_FASTCALL | METH_KEYWORDS, NULL};

    return PyCFunction_New(&method, call_soon);
}

/* Rounds until the turn is over, the loop is wanted, or nothing has come for
 * idle_ns; they go on without a look at anything else. */
static long run_rounds(struct dispatcher *d, uint64_t idle_ns, uint64_t turn_ns)
{
    ust_time now = ust_worker_now(), end = now + turn_ns, patience;
    long n = 0;

    do {
        patience = idle_ns < end - now ? now + idle_ns : end;
        if (d->at == d->n_batch)
            round_gather(d, idle_ns ? patience : 0);
        if (d->n_batch == 0)
            return n;
        n++;
        if (round_deliver(d) < 0)
            return -1;
        if (loop_is_wanted(d))
            return n;
        now = ust_worker_now();
    } while (now < end && d->worker);
    return n;
}

static void flush(struct dispatcher *d)
{
    Py_BEGIN_ALLOW_THREADS
    if (enter(d)) {
        ust_worker_flush(d->worker);
        leave(d);
    }
    Py_END_ALLOW_THREADS
    stream_settle(d);
}

/* -------------------------------------------------------------- methods */

bool is_detached(const struct dispatcher *d)
{
    if (!d->worker)
        PyErr_SetString(PyExc_RuntimeError, "the stack is detached");
    return !d->worker;
}

PyObject *raise_others(struct dispatcher *d)
{
    const struct dispatcher *other = NULL;
    PyObject *loop = Py_None;

    if (enter(d)) {
        other = is_others(d) ? d->worker->app_owner : NULL;
        leave(d);
    }
    if (other && other->loop) /* it lives: who frees it has the GIL */
        loop = other->loop;
    Py_INCREF(loop);
    PyErr_Format(PyExc_RuntimeError,
                 "another event loop has connections or servers on this stack: %R; close it, or "
                 "detach() the stack from it, or open a stack for each loop, on a queue of its own",
                 loop);
    Py_DECREF(loop);
    return NULL;
}

static PyObject *dispatcher_poll(struct dispatcher *d, PyObject *args)
{
    unsigned long long idle_ns, turn_ns;
    long n;

    if (!PyArg_ParseTuple(args, "KK:poll", &idle_ns, &turn_ns) || is_detached(d))
        return NULL;
    if (d->polling || d->worker->forked) {
        PyErr_SetString(PyExc_RuntimeError,
                        d->polling ? "poll() is not re-entrant"
                                   : "the loop's stack stays with the process that opened it; "
                                     "open a stack and a loop in the child of a fork");
        return NULL;
    }
    d->polling = true;
    d->asleep = false; /* when_called is not for round_gather(), which has no GIL */
    n = run_rounds(d, loop_is_wanted(d) ? 0 : idle_ns, turn_ns);
    flush(d);
    d->polling = noted = false;
    if (d->at == d->n_batch)
        endpoint_drop_gone(d);
    return n < 0 ? NULL : PyLong_FromLong(n);
}

void dispatcher_called(struct dispatcher *d)
{
    PyObject *result;

    d->asleep = false;
    if (!(result = PyObject_CallNoArgs(d->when_called)))
        PyErr_WriteUnraisable(d->when_called);
    Py_XDECREF(result);
}

static PyObject *dispatcher_when_called(struct dispatcher *d, PyObject *callable)
{
    d->asleep = false;
    Py_XSETREF(d->when_called, callable == Py_None ? NULL : Py_NewRef(callable));
    Py_RETURN_NONE;
}

static PyObject *dispatcher_sleep(struct dispatcher *d, PyObject *Py_UNUSED(ignored))
{
    bool armed = d->at == d->n_batch && !d->again_first;

    if (armed && enter(d)) { /* a closed stack has nothing to stay awake for */
        /* Others, the guardian among them, may have had a round since our last. */
        armed = is_others(d) || (!ust_engine_has_events(d->engine) && !ust_worker_arm(d->worker));
        leave(d);
    }
    d->asleep = armed && d->when_called;
    return PyBool_FromLong(armed);
}

static PyObject *dispatcher_wake(struct dispatcher *d, PyObject *Py_UNUSED(ignored))
{
    d->asleep = false;
    if (enter(d)) {
        if (!is_others(d))
            ust_worker_disarm(d->worker);
        leave(d);
    }
    Py_RETURN_NONE;
}

static PyObject *dispatcher_fileno(struct dispatcher *d, PyObject *Py_UNUSED(ignored))
{
    return is_detached(d) ? NULL : PyLong_FromLong(ust_worker_fd(d->worker));
}

static void let_go(struct dispatcher *d)
{
    if (d->worker)
        worker_unref(d->worker);
    d->worker = NULL;
    d->engine = NULL;
}

static PyObject *dispatcher_detach(struct dispatcher *d, PyObject *Py_UNUSED(ignored))
{
    if (!d->worker)
        Py_RETURN_NONE;
    while (d->live)
        endpoint_end(d->live);
    flush(d);
    let_go(d);
    if (!d->polling)
        endpoint_drop_gone(d);
    Py_RETURN_NONE;
}

static bool is_unclosed(const struct endpoint *ep)
{
    if (Py_IS_TYPE(ep, &transport_type)) {
        const struct transport *t = (const struct transport *)ep;
        return t->protocol && !t->closing;
    }
    return Py_IS_TYPE(ep, &datagrams_type);
}

/* As asyncio, where the transport is collected, and uvloop, where the loop is closed. */
static PyObject *dispatcher_complain(struct dispatcher *d, PyObject *Py_UNUSED(ignored))
{
    PyObject *found = PyList_New(0), *transport;

    for (struct endpoint *ep = d->live; found && ep; ep = ep->next)
        if (is_unclosed(ep) && PyList_Append(found, (PyObject *)ep) < 0)
            Py_CLEAR(found);
    if (!found)
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(found); i++) {
        transport = PyList_GET_ITEM(found, i);
        if (PyErr_ResourceWarning(transport, 1, "unclosed transport %R", transport) < 0)
            PyErr_WriteUnraisable(transport); /* warnings are errors */
    }
    Py_DECREF(found);
    Py_RETURN_NONE;
}

static PyObject *dispatcher_count(struct dispatcher *d, void *closure)
{
    long n = 0;

    for (struct endpoint *ep = d->live; ep; ep = ep->next)
        n++;
    return PyLong_FromLong(n);
}

static PyObject *dispatcher_spin(struct dispatcher *d, void *closure)
{
    return is_detached(d) ? NULL : PyLong_FromUnsignedLongLong(d->worker->spin_ns);
}

/* ----------------------------------------------------------------- type */

static PyObject *dispatcher_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    unsigned long long worker, engine;
    PyObject *loop, *owner;
    struct dispatcher *d;

    if (!PyArg_ParseTuple(args, "KKOO:Dispatcher", &worker, &engine, &loop, &owner))
        return NULL;
    if (!(d = (struct dispatcher *)type->tp_alloc(type, 0)))
        return NULL;
    d->worker = (struct ust_worker *)(uintptr_t)worker;
    d->engine = (struct ust_engine *)(uintptr_t)engine;
    ust_worker_hold(d->worker);
    d->loop = Py_NewRef(loop);
    d->owner = Py_NewRef(owner);
    if (!(d->call_soon = PyObject_GetAttr(loop, names.call_soon))) {
        Py_DECREF(d);
        return NULL;
    }
    if (!(d->ready = PyObject_GetAttr(loop, names.ready)))
        PyErr_Clear();
    return (PyObject *)d;
}

static int dispatcher_traverse(struct dispatcher *d, visitproc visit, void *arg)
{
    struct endpoint *ep;

    for (ep = d->live; ep; ep = ep->next)
        Py_VISIT(ep);
    for (ep = d->gone; ep; ep = ep->next)
        Py_VISIT(ep);
    for (ep = d->again_first; ep; ep = ep->again_next)
        Py_VISIT(ep);
    Py_VISIT(d->loop);
    Py_VISIT(d->owner);
    Py_VISIT(d->call_soon);
    Py_VISIT(d->when_called);
    Py_VISIT(d->ready);
    return 0;
}

/* Of a loop that was not closed, which would have detached in order: the engine is to know nobody
 * who is gone. */
static void forget_all(struct dispatcher *d)
{
    struct endpoint *ep;

    d->asleep = false;
    while ((ep = d->live)) {
        if (enter(d)) {
            endpoint_unregister(ep);
            if (!ep->sock && !Py_IS_TYPE(ep, &watch_type))
                ust_close(d->engine, ep->handle);
            leave(d);
        }
        endpoint_unlink(ep);
    }
}

static int dispatcher_clear(struct dispatcher *d)
{
    forget_all(d);
    let_go(d);
    while (d->again_first)
        Py_DECREF(endpoint_pop_again(d));
    endpoint_drop_gone(d);
    Py_CLEAR(d->loop);
    Py_CLEAR(d->owner);
    Py_CLEAR(d->call_soon);
    Py_CLEAR(d->when_called);
    Py_CLEAR(d->ready);
    Py_CLEAR(d->spare);
    return 0;
}

static void dispatcher_dealloc(struct dispatcher *d)
{
    PyObject_GC_UnTrack(d);
    dispatcher_clear(d);
    Py_TYPE(d)->tp_free((PyObject *)d);
}

static PyMethodDef dispatcher_methods[] = {
    {"poll", (PyCFunction)dispatcher_poll, METH_VARARGS,
     "poll(idle_ns, turn_ns): run rounds for turn_ns, or until the loop has work of its own or "
     "nothing has come for idle_ns; how many had events."},
    {"sleep", (PyCFunction)dispatcher_sleep, METH_NOARGS,
     "Arm the descriptor; False: do not sleep, there is work."},
    {"wake", (PyCFunction)dispatcher_wake, METH_NOARGS, "Disarm the descriptor."},
    {"when_called", (PyCFunction)dispatcher_when_called, METH_O,
     "when_called(callable): call it when a transport or a listener is used after sleep(), which "
     "what was asked of it must not outlast."},
    {"fileno", (PyCFunction)dispatcher_fileno, METH_NOARGS,
     "The descriptor that is readable, while asleep, when frames arrive or a timer is due."},
    {"connect", (PyCFunction)dispatcher_connect, METH_VARARGS,
     "connect(address, port, protocol_factory, waiter): "
     "a Transport; waiter gets (transport, protocol) or an OSError."},
    {"adopt", (PyCFunction)dispatcher_adopt, METH_VARARGS,
     "adopt(handle, sock): a Transport of an application's connection, to be started."},
    {"adopt_datagrams", (PyCFunction)dispatcher_adopt_datagrams, METH_VARARGS,
     "adopt_datagrams(handle, sock): the same of a UDP socket."},
    {"adopt_listener", (PyCFunction)dispatcher_adopt_listener, METH_VARARGS,
     "adopt_listener(handle, sock, protocol_factory): a Listener of an application's socket."},
    {"watch", (PyCFunction)dispatcher_watch, METH_VARARGS,
     "watch(handle, callback): a Watch, which calls back with enum ust_ready."},
    {"noting", (PyCFunction)dispatcher_noting, METH_O | METH_STATIC,
     "noting(call_soon): the same function, noting for poll() that the loop has work of its own; "
     "for a loop without a queue that can be seen."},
    {"detach", (PyCFunction)dispatcher_detach, METH_NOARGS,
     "Close every connection, as the kernel does those of a process that ends, and let go of the "
     "stack; protocols hear of it."},
    {"complain", (PyCFunction)dispatcher_complain, METH_NOARGS,
     "Warn of every transport that nobody has closed."},
    {0},
};

static PyGetSetDef dispatcher_getset[] = {
    {"endpoints", (getter)dispatcher_count, NULL, "Listeners and transports that the engine knows.",
     NULL},
    {"spin_ns", (getter)dispatcher_spin, NULL, "How long to poll without work before sleeping.",
     NULL},
    {0},
};

PyTypeObject dispatcher_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "ustack._aio.Dispatcher",
    .tp_doc = "Drives one worker from an event loop and calls protocols.",
    .tp_basicsize = sizeof(struct dispatcher),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = dispatcher_new,
    .tp_dealloc = (destructor)dispatcher_dealloc,
    .tp_traverse = (traverseproc)dispatcher_traverse,
    .tp_clear = (inquiry)dispatcher_clear,
    .tp_methods = dispatcher_methods,
    .tp_getset = dispatcher_getset,
};
