/* SPDX-License-Identifier: BSD-3-Clause */
/* A load over a stack of ustack's own: the calls of ustack.h as any C program
 * would make them, polling and never sleeping.                              */
#include <errno.h>

#include "load.h"

static int stack_connect(struct ust_load *l, struct load_conn *c)
{
    struct ust_addr to = load_nth_addr(l, &l->addr);
    ust_handle h = ust_socket(l->engine);
    int err;

    if (h < 0)
        return (int)h;
    c->id = h;
    ust_set_user(l->engine, h, (uint64_t)(c - l->conns));
    ust_setopt(l->engine, h, UST_OPT_NODELAY, 1);
    err = ust_connect(l->engine, h, &to, l->port);
    if (err == -EINPROGRESS)
        return 0;
    ust_close(l->engine, h);
    c->id = 0;
    return err;
}

static void stack_close(struct ust_load *l, struct load_conn *c)
{
    ust_close(l->engine, c->id);
}

static int64_t stack_send(struct ust_load *l, struct load_conn *c, const void *data, size_t len)
{
    return ust_send(l->engine, c->id, data, len, 0);
}

static int64_t stack_recv(struct ust_load *l, struct load_conn *c, void *buf, size_t size)
{
    return ust_recv(l->engine, c->id, buf, size, 0);
}

static void stack_begin(struct ust_load *l)
{
    ust_worker_lock(l->worker);
}

static void stack_end(struct ust_load *l)
{
    ust_worker_flush(l->worker);
    ust_worker_unlock(l->worker);
}

static void stack_turn(struct ust_load *l, ust_time until)
{
    struct ust_event ev[UST_MAX_BURST];
    unsigned n;

    (void)until;
    ust_worker_flush(l->worker);
    ust_worker_rx(l->worker);
    l->now = ust_worker_now();
    n = ust_engine_events(l->engine, ev, UST_MAX_BURST);
    for (unsigned i = 0; i < n; i++) {
        struct load_conn *c = &l->conns[ev[i].user];

        if (c->id != ev[i].handle)
            continue; /* the one before it */
        if (ev[i].events & (UST_ERROR | UST_HUP))
            load_event(l, c, ev[i].error ? -ev[i].error : -ECONNRESET);
        else if (ev[i].events & UST_CONNECTED)
            load_event(l, c, 0);
    }
}

static void stack_free(struct ust_load *l)
{
    ust_worker_lock(l->worker);
    for (unsigned i = 0; i < l->n_conns; i++)
        if (l->conns[i].id > 0)
            ust_abort(l->engine, l->conns[i].id);
    ust_worker_flush(l->worker);
    ust_worker_unlock(l->worker);
}

static const struct load_ops stack_ops = {
    .connect = stack_connect,
    .send = stack_send,
    .recv = stack_recv,
    .close = stack_close,
    .begin = stack_begin,
    .end = stack_end,
    .turn = stack_turn,
    .free = stack_free,
};

struct ust_load *ust_load_stack(struct ust_worker *w, struct ust_engine *eng, int kind,
                                unsigned n_conns, unsigned size, const struct ust_addr *addr,
                                uint16_t port)
{
    struct ust_load *l = load_new(&stack_ops, (enum ust_load_kind)kind, n_conns, size, addr, port);

    if (l) {
        l->worker = w;
        l->engine = eng;
    }
    return l;
}
