/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine's view of itself: resources in use, counters, and every invariant
 * checked at once. For tools and tests; nothing here is on the data path.   */
#include "engine.h"

static uint32_t in_use(const struct mbuf_pool *pool, enum mbuf_class cls)
{
    return pool->n[cls] - pool->n_free[cls];
}

void ust_engine_usage(const struct ust_engine *eng, struct ust_usage *u)
{
    const struct tcp *tcp = &eng->tcp;
    const struct mbuf_pool *pool = &tcp->net.core.pool;

    *u = (struct ust_usage){.mbufs_small = in_use(pool, MBUF_SMALL),
                            .mbufs_small_max = pool->n[MBUF_SMALL],
                            .mbufs_large = in_use(pool, MBUF_LARGE),
                            .mbufs_large_max = pool->n[MBUF_LARGE],
                            .mbufs_ref = in_use(pool, MBUF_REF),
                            .mbufs_ref_max = pool->n[MBUF_REF],
                            .tcbs = tcp->tcbs_used,
                            .tcbs_max = tcp->n_tcbs,
                            .listeners = tcp->listeners_used,
                            .listeners_max = tcp->n_listeners,
                            .requests = tcp->requests_used,
                            .requests_max = tcp->n_requests,
                            .timewaits = tcp->timewaits_used,
                            .timewaits_max = tcp->n_timewaits,
                            .neighs = tcp->net.neighs_used,
                            .neighs_max = tcp->net.n_neighs,
                            .orphans = tcp->orphans,
                            .orphans_max = (uint32_t)tcp->net.core.set.tcp_max_orphans,
                            .reass = tcp->reasses_used,
                            .reass_max = tcp->n_reasses,
                            .cc_states = tcp->cc_states_used,
                            .cc_states_max = tcp->n_cc_states,
                            .extras = tcp->extras_used,
                            .extras_max = tcp->n_extras - 1,
                            .flights = tcp->flights_used,
                            .flights_max = tcp->n_flights - 1,
                            .sents = tcp->sents_used,
                            .sents_max = tcp->n_sents,
                            .udp_socks = eng->udp.socks_used,
                            .udp_socks_max = eng->udp.n_socks,
                            .frags = tcp->net.frags_used,
                            .frags_max = tcp->net.n_frags,
                            .pmtus = tcp->net.pmtus_used,
                            .pmtus_max = tcp->net.n_pmtus,
                            .timers = tcp->net.core.wheel.count,
                            .flows = tcp->flows.count,
                            .ready = tcp->n_ready,
                            .outq = tcp->net.outq.count,
                            .loopq = tcp->net.loopq.count,
                            .foreign = tcp->net.foreignq.count,
                            .bytes = eng->size};
}

static const char *const names[] = {
#define X(id, name, help) name,
    COUNTERS(X)
#undef X
};

static const char *const helps[] = {
#define X(id, name, help) help,
    COUNTERS(X)
#undef X
};

unsigned ust_counter_count(void)
{
    return N_COUNTERS;
}

const char *ust_counter_name(unsigned i)
{
    return i < N_COUNTERS ? names[i] : NULL;
}

const char *ust_counter_help(unsigned i)
{
    return i < N_COUNTERS ? helps[i] : NULL;
}

void ust_engine_counters(const struct ust_engine *eng, uint64_t *values)
{
    memcpy(values, eng->tcp.net.core.counters, sizeof eng->tcp.net.core.counters);
}

void ust_engine_fail_alloc(struct ust_engine *eng, uint64_t nth, int every)
{
    engine_core(eng)->faults = (struct faults){.left = nth, .every = every ? nth : 0};
}

uint64_t ust_engine_trace_hash(const struct ust_engine *eng)
{
    return eng->trace_hash;
}

int ust_seq_lt(uint32_t a, uint32_t b)
{
    return seq_lt(a, b);
}

int ust_seq_leq(uint32_t a, uint32_t b)
{
    return seq_leq(a, b);
}

int ust_seq_between(uint32_t lo, uint32_t x, uint32_t hi)
{
    return seq_between(lo, x, hi);
}

/* ------------------------------------------------------- invariants */

/* S2 and V1: lengths agree with the lists. */
static bool buffers_ok(const struct mbuf_pool *pool, const struct tcb *tcb)
{
    uint32_t at = tcb->sndbuf.start, len = 0;
    const struct mbuf *m;

    for (m = mbuf_at(pool, tcb->sndbuf.head); m; m = mbuf_at(pool, m->link)) {
        if (m->seq != at || m->len == 0)
            return false;
        at += m->len;
    }
    for (m = mbuf_at(pool, tcb->rcvbuf.q.head); m; m = mbuf_at(pool, m->link))
        len += m->frame_len;
    return at == snd_end(tcb) && len == tcb->rcvbuf.len;
}

/* I6 and R1: ranges are sorted, apart, inside the window, and hold what they
 * say. */
static bool reass_ok(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct reass *r = tcb->reass == TCP_NONE ? NULL : &tcp->reasses[tcb->reass];
    const struct mbuf *m = r ? mbuf_at(&tcp->net.core.pool, r->head) : NULL;
    uint32_t low = tcb->rcv_nxt, bytes = 0, charged = 0;

    for (uint32_t i = 0; r && i < r->n; i++) {
        uint32_t at = r->range[i].lo, last = MBUF_NONE;

        if (!seq_lt(low, r->range[i].lo) || seq_gt(r->range[i].hi, tcb->rcv_adv))
            return false;
        for (; m && seq_lt(at, r->range[i].hi); m = mbuf_at(&tcp->net.core.pool, m->link)) {
            if (m->seq != at)
                return false;
            at += m->frame_len;
            charged += mbuf_truesize(&tcp->net.core.pool, m);
            last = mbuf_index(&tcp->net.core.pool, m);
        }
        if (at != r->range[i].hi || last != r->tail[i])
            return false;
        bytes += at - r->range[i].lo;
        low = r->range[i].hi;
    }
    return !r || (!m && r->n > 0 && bytes == r->bytes && charged == r->charged);
}

static int check_tcb(const struct tcp *tcp, const struct tcb *tcb, const char **why)
{
#define INVARIANT(number, holds)                                                                   \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            *why = "I" #number ": " #holds;                                                        \
            return number;                                                                         \
        }                                                                                          \
    } while (0)
    bool live = tcb->state != UST_CLOSED && tcb->state != UST_LISTEN;
    uint32_t syn = tcb->snd_una == tcb->iss;

    INVARIANT(1, !live ||
                     (seq_leq(tcb->snd_una, tcb->snd_nxt) && seq_leq(tcb->snd_nxt, tcb->snd_max)));
    INVARIANT(2, !live || tcb->snd_una == tcb->snd_max ||
                     tcp_armed(tcb, TIMER_REXMT) + tcp_armed(tcb, TIMER_TLP) +
                             tcp_armed(tcb, TIMER_REO) ==
                         1);
    INVARIANT(3, !live || tcb->sndbuf.start == tcb->snd_una + syn ||
                     (tcb->fin_sent && snd_end(tcb) + 1 == tcb->snd_una));
    INVARIANT(4, !live || seq_leq(tcb->snd_max, snd_end(tcb) + tcb->fin_queued));
    INVARIANT(5, !live || seq_leq(tcb->rcv_nxt, tcb->rcv_adv));
    INVARIANT(6, reass_ok(tcp, tcb));
    INVARIANT(7, !tcb->ready || live);
    INVARIANT(8, tcb->in_table == (live && flow_find(tcp, &tcb->key) != TCP_NONE) &&
                     (!live || tcb->hash == flow_hash(tcp, &tcb->key)));
    INVARIANT(9, buffers_ok(&tcp->net.core.pool, tcb));
    INVARIANT(10, !live ||
                      wheel_armed(&tcp->net.core.wheel, tcp->tcb_timers + tcb_index(tcp, tcb)) ||
                      !tcp_armed(tcb, TIMER_REXMT));
    INVARIANT(11, !live || sent_check(tcp, tcb) == 0);
#undef INVARIANT
    return 0;
}

static int check_base(const struct ust_engine *eng, const char **why)
{
    const struct tcp *tcp = &eng->tcp;

    *why = "the mbuf pool (mbuf.h, B1 to B3)";
    if (mbuf_pool_check(&tcp->net.core.pool))
        return 20;
    *why = "the timer wheel (wheel.h, W1 to W4)";
    if (wheel_check(&tcp->net.core.wheel))
        return 21;
    *why = "the flow table (flowtable.h, F1 and F2)";
    if (flowtable_check(&tcp->flows) || flowtable_check(&tcp->net.neigh_table) ||
        flowtable_check(&tcp->net.pmtu_table) || flowtable_check(&tcp->net.frag_table) ||
        flowtable_check(&eng->udp.table))
        return 22;
    *why = "what stands for no flight (flight.c, L1)";
    if (!flight_check(tcp))
        return 23;
    *why = "what stands for no traffic (traffic.c, Y1)";
    if (!traffic_check(tcp))
        return 25;
    *why = "what stands for no extra (extra.c, X1)";
    if (!extra_check(tcp))
        return 24;
    *why = NULL;
    return 0;
}

/* I7: the ready list holds exactly the TCBs that say so. */
static int check_ready(const struct tcp *tcp, const char **why)
{
    uint32_t n = 0, i;

    for (i = tcp->ready_head; i != TCP_NONE && n <= tcp->n_tcbs; i = tcp->tcbs[i].ready_next, n++)
        if (!tcp->tcbs[i].ready)
            break;
    if (i == TCP_NONE && n == tcp->n_ready)
        return 0;
    *why = "I7: the ready list is not what the TCBs say";
    return 7;
}

/* O1 and O2 */
static int check_orphans(const struct tcp *tcp, const char **why)
{
    uint32_t orphans = 0, waiting = 0;

    for (uint32_t i = 0; i < tcp->n_tcbs; i++) {
        orphans += tcp->tcbs[i].state != 0 && tcp->tcbs[i].orphan;
        waiting += tcp->tcbs[i].state != 0 && tcp->tcbs[i].orphan_waits;
    }
    for (uint32_t i = tcp->orphan_oldest; i != TCP_NONE; i = tcp->tcbs[i].orphan_next)
        if (!tcp->tcbs[i].orphan_waits || waiting-- == 0)
            break;
    if (orphans == tcp->orphans && waiting == 0)
        return 0;
    *why = "O1, O2: the orphans are not those that are counted and listed";
    return 11;
}

int ust_engine_check(const struct ust_engine *eng, const char **why)
{
    const struct tcp *tcp = &eng->tcp;
    const char *none;
    int bad;

    if (!why)
        why = &none;
    *why = NULL;
    if ((bad = check_base(eng, why)) || (bad = check_ready(tcp, why)))
        return bad;
    for (uint32_t i = 0; i < tcp->n_tcbs; i++)
        if (tcp->tcbs[i].state != 0 && (bad = check_tcb(tcp, &tcp->tcbs[i], why)))
            return bad;
    return check_orphans(tcp, why);
}
