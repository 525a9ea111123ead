/* SPDX-License-Identifier: BSD-3-Clause */
/* A round: flush what the apps wrote, take a burst in, collect events (all
 * without the GIL); then, with the GIL and without the lock, call back. As
 * the flush comes after the callbacks, answers carry the ACKs, and all that a
 * burst causes leaves as one burst.
 *
 * Always: batch[at..n_batch) is not yet delivered. A callback that raises
 * KeyboardInterrupt leaves it so, and the next poll() goes on there.
 * Not here: how many rounds (dispatcher.c); what an event means to a
 * connection (stream.c).                                                    */
#include "aio.h"

/* Endpoints that asked for another turn come first: events that need no
 * engine. Their references are those of the list live. */
static void gather_again(struct dispatcher *d)
{
    struct endpoint *ep;

    while (d->again_first && d->n_batch < UST_MAX_BURST) {
        ep = endpoint_pop_again(d);
        d->taken[d->n_batch].len = 0;
        if (ep->handle)
            d->batch[d->n_batch++] = (struct ust_event){
                .handle = ep->handle,
                .user = (uint64_t)(uintptr_t)ep,
                .events = UST_READABLE | UST_WRITABLE,
            };
        Py_DECREF(ep);
    }
}

void round_gather(struct dispatcher *d, ust_time end)
{
    endpoint_drop_gone(d);
    d->at = d->n_batch = d->inbox_used = 0;
    gather_again(d);
    Py_BEGIN_ALLOW_THREADS
    while (enter(d)) {
        if (is_others(d)) {
            leave(d);
            break;
        }
        staging_empty(&d->staging);
        ust_worker_flush(d->worker);
        ust_worker_rx(d->worker);
        d->n_batch +=
            ust_engine_events(d->engine, d->batch + d->n_batch, UST_MAX_BURST - d->n_batch);
        for (unsigned i = 0; i < d->n_batch; i++)
            stream_take(d, &d->batch[i], &d->taken[i]);
        d->may_stage = !d->worker->waiters && !d->worker->doorbells;
        leave(d);
        if (d->n_batch || !end || ust_worker_now() >= end)
            break;
    }
    Py_END_ALLOW_THREADS
    stream_settle(d);
}

static int dispatch(struct endpoint *ep, const struct ust_event *ev)
{
    if (Py_IS_TYPE(ep, &transport_type))
        return stream_event((struct transport *)ep, ev);
    if (Py_IS_TYPE(ep, &listener_type))
        return listener_event(ep);
    if (Py_IS_TYPE(ep, &datagrams_type))
        return datagrams_event((struct datagrams *)ep);
    return watch_event(ep);
}

/* The thread goes over to a context, or to the one it came from (NULL). That costs a tenth of
 * PyContext_Enter() and PyContext_Exit(), which would also check that nobody else is in it; but
 * nobody else has ep's. */
static void switch_context(PyThreadState *ts, PyObject *context)
{
    PyObject *before = ts->context;

    if (before == context)
        return;
    ts->context = Py_XNewRef(context);
    ts->context_ver++;
    Py_XDECREF(before);
}

static int deliver(struct dispatcher *d, const struct ust_event *ev, const struct taken *taken)
{
    struct endpoint *ep = (struct endpoint *)(uintptr_t)ev->user;
    int rc;

    if (!ep || ep->handle != ev->handle) /* closed earlier in this burst */
        return 0;
    switch_context(d->thread, ep->context ? ep->context : d->context);
    rc = taken->len ? stream_message((struct transport *)ep, ev, taken) : dispatch(ep, ev);
    if (rc < 0 && ep->handle) /* interrupted: the rest of it, next time */
        endpoint_again(ep);
    return rc;
}

int round_deliver(struct dispatcher *d)
{
    int rc = 0;

    d->thread = PyThreadState_Get();
    d->context = Py_XNewRef(d->thread->context);
    while (rc >= 0 && d->at < d->n_batch) {
        unsigned i = d->at++;

        rc = deliver(d, &d->batch[i], &d->taken[i]);
    }
    switch_context(d->thread, d->context);
    Py_CLEAR(d->context);
    return rc;
}
