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
    d->at = d->n_batch = 0;
    gather_again(d);
    Py_BEGIN_ALLOW_THREADS
    while (enter(d)) {
        if (is_others(d)) {
            leave(d);
            break;
        }
        ust_worker_flush(d->worker);
        ust_worker_rx(d->worker);
        d->n_batch +=
            ust_engine_events(d->engine, d->batch + d->n_batch, UST_MAX_BURST - d->n_batch);
        leave(d);
        if (d->n_batch || !end || ust_worker_now() >= end)
            break;
    }
    Py_END_ALLOW_THREADS
}

static int dispatch(struct endpoint *ep, const struct ust_event *ev)
{
    if (Py_IS_TYPE(ep, &listener_type))
        return listener_event(ep);
    if (Py_IS_TYPE(ep, &datagrams_type))
        return datagrams_event((struct datagrams *)ep);
    if (Py_IS_TYPE(ep, &watch_type))
        return watch_event(ep);
    return stream_event((struct transport *)ep, ev);
}

static int deliver(const struct ust_event *ev)
{
    struct endpoint *ep = (struct endpoint *)(uintptr_t)ev->user;
    PyObject *context;
    int rc;

    if (!ep || ep->handle != ev->handle) /* closed earlier in this burst */
        return 0;
    context = Py_XNewRef(ep->context);
    if ((rc = context_enter(context)) == 0) {
        rc = dispatch(ep, ev);
        context_exit(context);
    }
    Py_XDECREF(context);
    if (rc < 0 && ep->handle) /* interrupted: the rest of it, next time */
        endpoint_again(ep);
    return rc;
}

int round_deliver(struct dispatcher *d)
{
    while (d->at < d->n_batch)
        if (deliver(&d->batch[d->at++]) < 0)
            return -1;
    return 0;
}
