/* SPDX-License-Identifier: BSD-3-Clause */
/* A server in C on a stack of ustack's own: polling, never sleeping. A turn is
 * what a worker does: a burst in, what it brings for the connections, and out.
 *
 * A connection's user value is its struct, 0 is the listener.               */
#include <errno.h>

#include "../worker.h"
#include "serve.h"

static int64_t stack_send(struct ust_serve *s, struct serve_conn *c, const void *data, size_t len)
{
    return ust_send(s->engine, c->id, data, len, 0);
}

static int64_t stack_recv(struct ust_serve *s, struct serve_conn *c, void *buf, size_t size)
{
    return ust_recv(s->engine, c->id, buf, size, 0);
}

static void stack_close(struct ust_serve *s, struct serve_conn *c)
{
    ust_close(s->engine, c->id);
}

static void accept_all(struct ust_serve *s)
{
    ust_handle h;

    while ((h = ust_accept(s->engine, s->listener)) > 0) {
        struct serve_conn *c = serve_accept(s, h);

        if (!c) {
            ust_abort(s->engine, h);
            continue;
        }
        ust_setopt(s->engine, h, UST_OPT_NODELAY, 1);
        ust_set_user(s->engine, h, (uint64_t)(uintptr_t)c);
        serve_event(s, c, false); /* what came before it was accepted */
    }
}

static int64_t stack_turn(struct ust_serve *s, ust_time until)
{
    struct ust_event ev[UST_MAX_BURST];
    unsigned n;

    ust_worker_lock(s->worker);
    ust_worker_flush(s->worker);
    ust_worker_rx(s->worker);
    n = ust_engine_events(s->engine, ev, UST_MAX_BURST);
    for (unsigned i = 0; i < n; i++) {
        if (ev[i].user)
            serve_event(s, (struct serve_conn *)(uintptr_t)ev[i].user,
                        ev[i].events & (UST_ERROR | UST_HUP));
        else if (ev[i].handle == s->listener)
            accept_all(s);
    }
    ust_worker_flush(s->worker);
    ust_worker_unlock(s->worker);
    return n;
}

static void stack_free(struct ust_serve *s)
{
}

static const struct serve_ops stack_ops = {
    .send = stack_send,
    .recv = stack_recv,
    .close = stack_close,
    .turn = stack_turn,
    .free = stack_free,
};

struct ust_serve *ust_serve_stack(struct ust_worker *w, struct ust_engine *eng, ust_handle listener,
                                  int kind, const uint8_t *answer, unsigned len)
{
    struct ust_serve *s = serve_new(&stack_ops, (enum ust_serve_kind)kind, answer, len);

    if (s) {
        s->worker = w;
        s->engine = eng;
        s->listener = listener;
    }
    return s;
}
