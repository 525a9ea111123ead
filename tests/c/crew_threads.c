/* SPDX-License-Identifier: BSD-3-Clause */
/* What workers share: who writes which line of it, frames between threads that
 * sleep and wake, and a worker's successor. Meant for ThreadSanitizer, too.
 * Sources: base/mbuf.c base/checksum.c base/rss.c io/port.c io/crew.c io/lane.c */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "check.h"
#include "io/crew.h"

enum { WORKERS = 3, FRAMES = 4000, BURST = 32, SMALL = 512, LARGE = 4 };

struct worker {
    struct ust_port *port;
    unsigned number;
    struct mbuf_pool pool;
    void *memory[2];
};

static void *zeroed(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) & ~(size_t)63);

    CHECK(memory != NULL);
    return memset(memory, 0, size);
}

static void join(struct worker *w, struct ust_crew *crew, unsigned number)
{
    int err;

    w->port = ust_crew_join(crew, number, &err);
    CHECK(w->port != NULL && err == 0);
    w->number = number;
    w->memory[0] = zeroed(mbuf_pool_meta_size(SMALL, LARGE, 0));
    w->memory[1] = zeroed(mbuf_pool_data_size(SMALL, LARGE));
    mbuf_pool_init(&w->pool, w->memory[0], w->memory[1], SMALL, LARGE, 0, NULL);
}

static void leave(struct worker *w)
{
    CHECK(w->pool.n_free[MBUF_SMALL] == SMALL && w->pool.n_free[MBUF_LARGE] == LARGE);
    ust_port_close(w->port);
    free(w->memory[0]);
    free(w->memory[1]);
}

static struct ust_crew *crew_of(unsigned n)
{
    int err;
    struct ust_crew *crew = ust_crew_new(n, &err);

    CHECK(crew != NULL && err == 0);
    return crew;
}

/* ----------------------------------------------------------- the layout */

/* Notes who writes [at, at + len): that line may have no other writer. */
static void written_by(int *writers, const struct ust_crew *crew, const volatile void *at,
                       size_t len, int who)
{
    size_t from = (size_t)((const volatile uint8_t *)at - (const uint8_t *)crew->workers);

    CHECK(from + len <= crew->size);
    for (size_t line = from / RING_LINE; line <= (from + len - 1) / RING_LINE; line++) {
        CHECK(writers[line] == 0 || writers[line] == who + 1);
        writers[line] = who + 1;
    }
}

static void test_no_line_is_written_by_two_workers(void)
{
    enum { N = PORT_MAX_QUEUES };
    struct ust_crew *crew = crew_of(N);
    int *writers = zeroed(crew->size / RING_LINE * sizeof *writers);

    CHECK((uintptr_t)crew->workers % RING_LINE == 0);
    for (int i = 0; i < N; i++) {
        written_by(writers, crew, &crew->workers[i], sizeof crew->workers[i], i);
        for (int to = 0; to < N; to++) {
            struct ring_index *lane = &crew->lanes[i * N + to];

            written_by(writers, crew, &lane->head, sizeof lane->head, i);
            written_by(writers, crew, &lane->tail, sizeof lane->tail, to);
            written_by(writers, crew, crew->slots + (size_t)(i * N + to) * CREW_SLOTS,
                       CREW_SLOTS * sizeof *crew->slots, i);
        }
    }
    free(writers);
    ust_crew_free(crew);
}

/* --------------------------------------------------------------- frames */

static struct mbuf *make_frame(struct mbuf_pool *pool, unsigned from, uint32_t number)
{
    uint32_t len = number % 997 ? 60 + number % 1500 : 65549;
    struct mbuf *m = mbuf_alloc_frame(pool, len);
    uint32_t head[3] = {from, number, len};

    if (!m)
        return NULL;
    port_copy_in(pool, m, 20, (const uint8_t *)head, sizeof head);
    m->flags = MBUF_CSUM_OK | MBUF_HASHED;
    m->hand = (struct mbuf_hand){.to = 2, .hops = 3, .asked = 4, .note = 5};
    m->iface = 3;
    m->rss_hash = number * 7;
    m->gso_size = 0;
    m->gso_type = MBUF_GSO_NONE;
    m->csum_start = 34;
    m->csum_offset = 16;
    return m;
}

static void check_frame(struct mbuf_pool *pool, const struct mbuf *m, uint32_t *next)
{
    uint32_t head[3];

    CHECK(mbuf_copy_out(pool, m, 20, head, sizeof head) == sizeof head);
    CHECK(head[0] < WORKERS && head[1] == next[head[0]]++ && head[2] == m->frame_len);
    CHECK(m->flags == MBUF_CSUM_OK && m->iface == 3 && m->rss_hash == head[1] * 7);
    CHECK(m->hand.to == 2 && m->hand.hops == 3 && m->hand.asked == 4 && m->hand.note == 5);
    CHECK(m->csum_start == 34 && m->csum_offset == 16 && m->gso_size == 0);
}

/* Sends what it can, spread over the others, and then waits as a worker would. */
static void *work(void *arg)
{
    struct worker *w = arg;
    const struct port_ops *ops = w->port->ops;
    uint32_t sent[WORKERS] = {0}, next[WORKERS] = {0}, got = 0;
    struct mbuf *burst[BURST], *m;
    bool all_sent = false;
    unsigned n;

    while (got < (WORKERS - 1) * FRAMES || !all_sent) {
        all_sent = true;
        for (unsigned to = 0; to < WORKERS; to++) {
            if (to == w->number || sent[to] == FRAMES)
                continue;
            all_sent = false;
            m = make_frame(&w->pool, w->number, sent[to]);
            if (m && crew_put(w->port, to, &w->pool, m))
                sent[to]++;
            if (m)
                mbuf_free(&w->pool, m);
        }
        crew_flush(w->port);
        n = ops->rx_burst(w->port, w->number, &w->pool, burst, BURST);
        for (unsigned i = 0; i < n; i++) {
            check_frame(&w->pool, burst[i], next);
            mbuf_free(&w->pool, burst[i]);
        }
        got += n;
        if (n == 0 && !all_sent)
            sched_yield();
        if (n == 0 && all_sent && got < (WORKERS - 1) * FRAMES && !ops->arm(w->port, 0)) {
            struct pollfd bell = {ops->fd(w->port, 0), POLLIN, 0};

            CHECK(poll(&bell, 1, 20000) == 1); /* a bell that is lost fails here */
            if (got % 2)                       /* or sleeps on without having got up */
                ops->disarm(w->port, 0);
        }
    }
    ops->disarm(w->port, 0);
    return NULL;
}

static void test_frames_between_threads_arrive_whole_in_order_with_what_is_known(void)
{
    struct ust_crew *crew = crew_of(WORKERS);
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS];

    for (unsigned i = 0; i < WORKERS; i++)
        join(&workers[i], crew, i);
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (unsigned i = 0; i < WORKERS; i++)
        leave(&workers[i]);
    ust_crew_free(crew);
}

static void test_a_full_lane_loses_and_counts_and_the_others_go_on(void)
{
    struct ust_crew *crew = crew_of(WORKERS);
    struct worker w[WORKERS];
    struct mbuf *m, *burst[BURST];

    for (unsigned i = 0; i < WORKERS; i++)
        join(&w[i], crew, i);
    m = make_frame(&w[0].pool, 0, 0); /* it takes 32 slots */
    for (unsigned i = 0; i < 12; i++)
        CHECK(crew_put(w[0].port, 1, &w[0].pool, m) == (i < 8));
    CHECK(crew_put(w[0].port, 2, &w[0].pool, m));
    mbuf_free(&w[0].pool, m);
    crew_flush(w[0].port);
    CHECK(w[0].port->stats[1].s.tx_full == 4 && w[0].port->stats[2].s.tx_full == 0);
    CHECK(w[2].port->ops->rx_burst(w[2].port, 2, &w[2].pool, burst, BURST) == 1);
    mbuf_free(&w[2].pool, burst[0]);
    for (unsigned i = 0; i < WORKERS; i++)
        leave(&w[i]);
    ust_crew_free(crew);
}

static void test_a_successor_skips_what_was_for_its_predecessor(void)
{
    struct ust_crew *crew = crew_of(2);
    struct worker first, second, next;
    struct mbuf *m, *burst[BURST];

    join(&first, crew, 0);
    join(&second, crew, 1);
    second.port->ops->arm(second.port, 0); /* and then it is killed */
    for (unsigned i = 0; i < 5; i++) {
        m = make_frame(&first.pool, 0, 1 + i);
        CHECK(crew_put(first.port, 1, &first.pool, m));
        mbuf_free(&first.pool, m);
    }
    crew_flush(first.port);
    join(&next, crew, 1);
    CHECK(next.port->stats[0].s.rx_stale == 5);
    CHECK(next.port->ops->rx_burst(next.port, 1, &next.pool, burst, BURST) == 0);
    CHECK(next.port->ops->arm(next.port, 0) == 0);
    m = make_frame(&first.pool, 0, 9);
    CHECK(crew_put(first.port, 1, &first.pool, m));
    mbuf_free(&first.pool, m);
    crew_flush(first.port);
    CHECK(first.port->stats[1].s.wakes == 2);
    CHECK(next.port->ops->rx_burst(next.port, 1, &next.pool, burst, BURST) == 1);
    mbuf_free(&next.pool, burst[0]);
    leave(&first);
    leave(&second);
    leave(&next);
    ust_crew_free(crew);
}

static void test_a_status_is_read_as_it_was_written(void)
{
    struct ust_crew *crew = crew_of(2);
    struct ust_crew_status s = {.state = 99, .connections = 3, .accepted = 70, .rx_frames = 5};
    struct worker w;

    join(&w, crew, 1);
    CHECK(ust_crew_enter(w.port, UST_CREW_SERVING, 0) == 0);
    crew_report(w.port, &s);
    memset(&s, 0xff, sizeof s);
    CHECK(ust_crew_status(crew, 1, &s) == 0);
    CHECK(s.state == UST_CREW_SERVING && s.pid == (uint64_t)getpid() && s.core == 1);
    CHECK(s.connections == 3 && s.accepted == 70 && s.rx_frames == 5 && s.handed_in == 0);
    CHECK(ust_crew_status(crew, 0, &s) == 0 && s.state == UST_CREW_ABSENT);
    CHECK(ust_crew_status(crew, 2, &s) != 0);
    leave(&w);
    join(&w, crew, 1); /* a successor has done nothing yet */
    CHECK(ust_crew_status(crew, 1, &s) == 0 && s.state == UST_CREW_ABSENT && s.accepted == 0);
    leave(&w);
    ust_crew_free(crew);
}

int main(void)
{
    RUN(test_no_line_is_written_by_two_workers);
    RUN(test_frames_between_threads_arrive_whole_in_order_with_what_is_known);
    RUN(test_a_full_lane_loses_and_counts_and_the_others_go_on);
    RUN(test_a_successor_skips_what_was_for_its_predecessor);
    RUN(test_a_status_is_read_as_it_was_written);
    return 0;
}
