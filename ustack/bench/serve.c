/* SPDX-License-Identifier: BSD-3-Clause */
/* What a server in C does with its connections: echoes, takes, gives, or gives
 * the one answer that it has.
 *
 * Not here: how bytes move (serve_stack.c, serve_kernel.c).                  */
#include "serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SERVE_BUF = 256 * 1024, TURNS = 8 /* between two looks at the clock */ };

static bool serve(struct ust_serve *s, struct serve_conn *c);
static bool echo(struct ust_serve *s, struct serve_conn *c);
static bool give(struct ust_serve *s, struct serve_conn *c);
static bool reply(struct ust_serve *s, struct serve_conn *c);
static bool send_or_keep(struct ust_serve *s, struct serve_conn *c, const uint8_t *data,
                         size_t len);
static bool send_rest(struct ust_serve *s, struct serve_conn *c);
static void end(struct ust_serve *s, struct serve_conn *c);

struct ust_serve *serve_new(const struct serve_ops *ops, enum ust_serve_kind kind,
                            const uint8_t *answer, unsigned len)
{
    struct ust_serve *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->ops = ops;
    s->kind = kind;
    s->epoll = -1;
    s->answer_len = len;
    s->answer = malloc(len + 1);
    s->buf = calloc(1, SERVE_BUF);
    if (!s->answer || !s->buf) {
        ust_serve_free(s);
        return NULL;
    }
    if (len)
        memcpy(s->answer, answer, len);
    return s;
}

void ust_serve_free(struct ust_serve *s)
{
    if (!s)
        return;
    s->ops->free(s);
    while (s->slabs) {
        struct serve_slab *slab = s->slabs;

        s->slabs = slab->next;
        for (unsigned i = 0; i < SERVE_SLAB; i++)
            if (slab->conns[i].id)
                free(slab->conns[i].rest);
        free(slab);
    }
    free(s->answer);
    free(s->buf);
    free(s);
}

int64_t ust_serve_run(struct ust_serve *s, uint64_t ns)
{
    ust_time end = ust_worker_now() + ns;
    int64_t n, events = 0;
    unsigned turns = 0;

    do {
        n = s->ops->turn(s, end);
        events += n;
    } while (n >= 0 && (++turns % TURNS || ust_worker_now() < end));
    return n < 0 ? n : events;
}

static bool add_slab(struct ust_serve *s)
{
    struct serve_slab *slab = calloc(1, sizeof *slab);

    if (!slab)
        return false;
    slab->next = s->slabs;
    s->slabs = slab;
    for (unsigned i = SERVE_SLAB; i-- > 0;) {
        slab->conns[i].next = s->free;
        s->free = &slab->conns[i];
    }
    return true;
}

struct serve_conn *serve_accept(struct ust_serve *s, int64_t id)
{
    struct serve_conn *c;

    if (!s->free && !add_slab(s))
        return NULL;
    c = s->free;
    s->free = c->next;
    *c = (struct serve_conn){.id = id};
    return c;
}

void serve_event(struct ust_serve *s, struct serve_conn *c, bool lost)
{
    if (lost || !send_rest(s, c) || !serve(s, c))
        end(s, c);
}

/* ------------------------------------------------------- work: false at the end */

static bool serve(struct ust_serve *s, struct serve_conn *c)
{
    switch (s->kind) {
    case UST_SERVE_SOURCE: return give(s, c);
    case UST_SERVE_ANSWER: return reply(s, c);
    default: return echo(s, c);
    }
}

/* Until there is nothing more, or what is there has to wait. A read that does
 * not fill the buffer has taken all. */
static bool echo(struct ust_serve *s, struct serve_conn *c)
{
    int64_t n = SERVE_BUF;

    while (c->n_rest == 0 && n == SERVE_BUF) {
        n = s->ops->recv(s, c, s->buf, SERVE_BUF);
        if (n == -EAGAIN)
            return true;
        if (n <= 0)
            return false;
        if (s->kind == UST_SERVE_ECHO && !send_or_keep(s, c, s->buf, (size_t)n))
            return false;
    }
    return true;
}

static bool give(struct ust_serve *s, struct serve_conn *c)
{
    int64_t n = s->ops->recv(s, c, s->buf, SERVE_BUF);

    if (n == 0 || (n < 0 && n != -EAGAIN))
        return false;
    do
        n = s->ops->send(s, c, s->buf, SERVE_BUF);
    while (n == SERVE_BUF);
    return n > 0 || n == -EAGAIN || n == -ENOBUFS;
}

static bool reply(struct ust_serve *s, struct serve_conn *c)
{
    int64_t n;

    if (c->n_rest > 0)
        return true;
    n = s->ops->recv(s, c, s->buf, SERVE_BUF);
    if (n == -EAGAIN)
        return true;
    if (n <= 0)
        return false;
    if (n < 4 || memcmp(s->buf + n - 4, "\r\n\r\n", 4) != 0)
        return true;
    return send_or_keep(s, c, s->answer, s->answer_len);
}

static bool send_or_keep(struct ust_serve *s, struct serve_conn *c, const uint8_t *data, size_t len)
{
    int64_t n = s->ops->send(s, c, data, len);

    if (n == -EAGAIN || n == -ENOBUFS)
        n = 0;
    if (n < 0 || (size_t)n == len)
        return n >= 0;
    len -= (size_t)n;
    if (c->size < len) {
        free(c->rest);
        c->rest = malloc(len);
        c->size = c->rest ? (uint32_t)len : 0;
    }
    if (!c->rest)
        return false;
    memcpy(c->rest, data + n, len);
    c->n_rest = (uint32_t)len;
    return true;
}

static bool send_rest(struct ust_serve *s, struct serve_conn *c)
{
    int64_t n;

    if (c->n_rest == 0)
        return true;
    n = s->ops->send(s, c, c->rest, c->n_rest);
    if (n == -EAGAIN || n == -ENOBUFS)
        return true;
    if (n < 0)
        return false;
    c->n_rest -= (uint32_t)n;
    memmove(c->rest, c->rest + n, c->n_rest);
    return true;
}

static void end(struct ust_serve *s, struct serve_conn *c)
{
    s->ops->close(s, c);
    free(c->rest);
    *c = (struct serve_conn){.next = s->free};
    s->free = c;
}
