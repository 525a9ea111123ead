/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames that came to an engine whose they are not (net/spread.h says whose they
 * are): put aside for the worker, which brings them to the right engine.
 *
 *   port -> ust_engine_input() -> ours? -> eth_input()
 *                                   | no
 *                                foreignq -> ust_engine_foreign() -> worker
 *                                                                      | ring
 *            eth_input() <- ust_engine_input_handed() of the other <---'
 *
 *  H1  who has a connection takes its frames, whoever owns the flow by now
 *  H2  a frame that concerns all is offered to the others by the engine that the
 *      port gave it to, and by no other
 *  H3  a frame is handed on at most MAX_HOPS times; then it is taken where it is
 *  H4  what its owner knows nothing of, each other engine is asked about in turn,
 *      for a bind can make a connection where its flow does not belong, and one
 *      stays when its bucket goes; the last of them answers to it
 *  H5  foreignq holds at most foreign.queue frames; what does not fit is dropped
 *      and counted                                                           */
#include "handover.h"

#include "net/spread.h"

enum { MAX_HOPS = 4 };

static bool is_here(const struct ust_engine *eng, const struct frame_flow *f)
{
    const struct udp_sock *s;

    if (f->proto == IPPROTO_TCP_)
        return flow_find(&eng->tcp, &f->key) != TCP_NONE;
    if (f->proto != IPPROTO_UDP_)
        return false;
    s = udp_find(&eng->udp, &f->key);
    return s && s->connected;
}

static void offer_to_all(struct net *net, const struct mbuf *m)
{
    struct mbuf *copy = mbuf_copy_from(&net->core.pool, &net->core.pool, m);

    if (copy)
        spread_put_aside(net, copy, ENGINE_ALL, C_FOREIGN_ALL);
    else
        count(&net->core, C_FOREIGN_DROP_NOMBUF);
}

/* Does this engine take m? If not, it is put aside. */
static bool takes(struct ust_engine *eng, struct mbuf *m)
{
    struct net *net = &eng->tcp.net;
    struct frame_flow f;
    unsigned owner;

    if (m->hand.asked > 0)
        return true;
    switch (spread_classify(net, m->iface, mbuf_data(&net->core.pool, m), m->len, &f)) {
    case FRAME_OF_NOBODY: return true;
    case FRAME_OF_ALL:
        if (m->hand.hops == 0)
            offer_to_all(net, m);
        return true;
    default: break;
    }
    owner = spread_owner(net, &net->spread->now, &f);
    if (owner == net->spread->now.rss.engine)
        return true;
    if (is_here(eng, &f) || m->hand.hops >= MAX_HOPS) {
        count(&net->core, C_FOREIGN_KEPT);
        return true;
    }
    spread_put_aside(net, m, owner, C_FOREIGN_OUT);
    return false;
}

unsigned handover_sort(struct ust_engine *eng, struct mbuf **burst, unsigned n, bool handed)
{
    struct net *net = &eng->tcp.net;
    unsigned kept = 0;

    if (net->spread->since == 0)
        net->spread->since = net->core.now;
    if (handed)
        engine_core(eng)->counters[C_FOREIGN_IN] += n;
    for (unsigned i = 0; i < n; i++) {
        if (handed && burst[i]->hand.hops == 0)
            burst[i]->hand.hops = 1; /* who brought it did not say */
        if (takes(eng, burst[i]))
            burst[kept++] = burst[i];
    }
    return kept;
}

unsigned ust_engine_foreign(struct ust_engine *eng, struct mbuf **burst, uint8_t *owner,
                            unsigned max)
{
    struct net *net = &eng->tcp.net;
    unsigned n = 0;

    while (n < max && net->foreignq.count > 0) {
        burst[n] = mbuf_dequeue(&net->core.pool, &net->foreignq);
        owner[n] = burst[n]->hand.to;
        n++;
    }
    return n;
}

/* ------------------------------------------------------- the rule */

int ust_engine_set_rss(struct ust_engine *eng, const struct ust_rss *rss)
{
    return spread_set(&eng->tcp.net, rss);
}

void ust_engine_rss(const struct ust_engine *eng, struct ust_rss *rss)
{
    *rss = eng->tcp.net.spread->now.rss;
}

int ust_engine_owner(const struct ust_engine *eng, const uint8_t *frame, size_t len)
{
    const struct net *net = &eng->tcp.net;
    const struct spread_rule *rule = &net->spread->now;
    struct frame_flow f;

    switch (spread_classify(net, 0, frame, len, &f)) {
    case FRAME_OF_NOBODY: return rule->rss.engine;
    case FRAME_OF_ALL: return ENGINE_ALL;
    default: return (int)spread_owner(net, rule, &f);
    }
}

/* ------------------------------------------------------- in one process */

static uint64_t bring(struct ust_engine *to, const struct mbuf_pool *from, const struct mbuf *m,
                      ust_time now)
{
    struct mbuf *copy;

    if (!to)
        return 0;
    copy = mbuf_copy_from(&engine_core(to)->pool, from, m);
    if (!copy) {
        count(engine_core(to), C_FOREIGN_DROP_NOMBUF);
        return 0;
    }
    ust_engine_input_handed(to, now, &copy, 1);
    return 1;
}

static uint64_t bring_all(struct ust_engine **engines, unsigned n, unsigned i, ust_time now)
{
    struct mbuf_pool *pool = &engine_core(engines[i])->pool;
    uint64_t done = 0;
    struct mbuf *m;
    uint8_t owner;

    while (ust_engine_foreign(engines[i], &m, &owner, 1) > 0) {
        for (unsigned to = 0; to < n; to++)
            if (to == owner || (owner == ENGINE_ALL && to != i))
                done += bring(engines[to], pool, m, now);
        mbuf_free(pool, m);
    }
    return done;
}

uint64_t ust_engine_exchange(struct ust_engine **engines, unsigned n, ust_time now)
{
    uint64_t done = 0, before;

    do {
        before = done;
        for (unsigned i = 0; i < n; i++)
            if (engines[i])
                done += bring_all(engines, n, i, now);
    } while (done > before);
    return done;
}
