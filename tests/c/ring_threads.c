/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings between two threads: words in base/ring.h, frames over a ring pair.
 * Meant for ThreadSanitizer as much as for its own claims.
 * Sources: base/mbuf.c base/checksum.c base/rss.c io/port.c io/ring.c
 *          io/lane.c io/segment.c io/steer.c */
#include "base/ring.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/rng.h"
#include "check.h"
#include "io/port.h"

enum { WORDS = 200000, FRAMES = 20000, BURST = 32, SMALL = 256, LARGE = 4 };

/* ------------------------------------------------------------- words */

static uintptr_t slots[64];

static void test_a_burst_moves_what_fits_and_leaves_the_rest(void)
{
    const uintptr_t words[6] = {1, 2, 3, 4, 5, 6};
    uintptr_t out[6];
    struct ring r;

    ring_init(&r, slots, 4);
    CHECK(ring_enqueue(&r, words, 6) == 4);
    CHECK(ring_enqueue(&r, words + 4, 2) == 0);
    CHECK(ring_dequeue(&r, out, 3) == 3);
    CHECK(out[0] == 1 && out[1] == 2 && out[2] == 3);
    CHECK(ring_enqueue(&r, words + 4, 2) == 2);
    CHECK(ring_dequeue(&r, out, 6) == 3);
    CHECK(out[0] == 4 && out[1] == 5 && out[2] == 6);
    CHECK(ring_dequeue(&r, out, 6) == 0);
}

static void test_indices_survive_the_wrap_of_32_bits(void)
{
    uintptr_t word = 7, out;
    struct ring r;
    int i;

    ring_init(&r, slots, 4);
    atomic_store(&r.index.head, UINT32_MAX - 1);
    atomic_store(&r.index.tail, UINT32_MAX - 1);
    r.producer.head = r.producer.tail_seen = UINT32_MAX - 1;
    r.consumer.tail = r.consumer.head_seen = UINT32_MAX - 1;
    for (i = 0; i < 6; i++) {
        CHECK(ring_enqueue(&r, &word, 1) == 1);
        CHECK(ring_dequeue(&r, &out, 1) == 1 && out == 7);
    }
    for (i = 0; i < 4; i++)
        CHECK(ring_enqueue(&r, &word, 1) == 1);
    CHECK(ring_enqueue(&r, &word, 1) == 0);
}

static void test_an_impossible_index_is_counted_and_not_believed(void)
{
    uintptr_t words[4] = {1, 2, 3, 4}, out[4];
    struct ring r;

    ring_init(&r, slots, 4);
    CHECK(ring_enqueue(&r, words, 4) == 4);
    atomic_store(&r.index.tail, 1000);
    CHECK(ring_enqueue(&r, words, 1) == 0);
    CHECK(r.producer.bad == 1);
    atomic_store(&r.index.head, 0x80000000u);
    CHECK(ring_dequeue(&r, out, 4) == 0);
    CHECK(r.consumer.bad == 1);
    CHECK(atomic_load(&r.index.tail) == 0x80000000u);
}

static void *produce_words(void *arg)
{
    uintptr_t words[BURST], next = 0;
    struct rng rng = {1};
    unsigned n, done, i;

    while (next < WORDS) {
        n = 1 + rng_below(&rng, BURST);
        for (i = 0; i < n; i++)
            words[i] = next + i;
        for (done = 0; done < n; done += i) {
            i = ring_enqueue(arg, words + done, n - done);
            if (i == 0)
                sched_yield();
        }
        next += n;
    }
    return NULL;
}

static void test_words_cross_threads_whole_and_in_order(void)
{
    uintptr_t words[BURST], next = 0;
    struct rng rng = {2};
    pthread_t thread;
    struct ring r;
    unsigned n, i;

    ring_init(&r, slots, 64);
    CHECK(pthread_create(&thread, NULL, produce_words, &r) == 0);
    while (next < WORDS) {
        n = ring_dequeue(&r, words, 1 + rng_below(&rng, BURST));
        for (i = 0; i < n; i++)
            CHECK(words[i] == next++);
        if (n == 0)
            sched_yield();
    }
    CHECK(pthread_join(thread, NULL) == 0);
}

/* ------------------------------------------------------------ frames */

struct end {
    struct ust_port *port;
    struct mbuf_pool pool;
    void *memory[2];
    unsigned n_queues;
};

static void *zeroed(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) & ~(size_t)63);

    CHECK(memory);
    return memset(memory, 0, size);
}

static void init_end(struct end *e, struct ust_port *port, unsigned n_queues)
{
    e->port = port;
    e->n_queues = n_queues;
    e->memory[0] = zeroed(mbuf_pool_meta_size(SMALL, LARGE, 0));
    e->memory[1] = zeroed(mbuf_pool_data_size(SMALL, LARGE));
    mbuf_pool_init(&e->pool, e->memory[0], e->memory[1], SMALL, LARGE, 0, NULL);
}

static void close_end(struct end *e)
{
    CHECK(e->pool.n_free[MBUF_SMALL] == SMALL);
    CHECK(e->pool.n_free[MBUF_LARGE] == LARGE);
    ust_port_close(e->port);
    free(e->memory[0]);
    free(e->memory[1]);
}

/* The length and contents of a frame follow from its number, which is in it.
 * With several queues its flow does, too: UDP ports 0..15. */
static uint32_t length_of(uint32_t number)
{
    static const uint32_t lengths[] = {60, 61, 64, 1514, 2088, 2089, 9014, 65549};

    return number % 97 ? lengths[number % 4] : lengths[number % 8];
}

static struct mbuf *make_frame(struct mbuf_pool *pool, uint32_t number)
{
    uint32_t len = length_of(number);
    struct mbuf *m = mbuf_alloc_frame(pool, len);
    uint8_t head[60] = {[12] = 8, [14] = 0x45, [23] = 17};
    uint8_t last = (uint8_t)number;

    if (!m)
        return NULL;
    head[35] = number & 15;
    memcpy(head + 42, &number, sizeof number);
    port_copy_in(pool, m, 0, head, sizeof head);
    port_copy_in(pool, m, len - 1, &last, 1);
    return m;
}

static uint32_t check_frame(struct mbuf_pool *pool, const struct mbuf *m)
{
    uint32_t number;
    uint8_t last;

    CHECK(mbuf_copy_out(pool, m, 42, &number, 4) == 4);
    CHECK(m->frame_len == length_of(number));
    CHECK(mbuf_copy_out(pool, m, m->frame_len - 1, &last, 1) == 1);
    CHECK(last == (uint8_t)number);
    return number;
}

static void *send_frames(void *arg)
{
    struct end *e = arg;
    struct mbuf *burst[BURST];
    uint32_t next = 0;
    unsigned n = 0, sent, i;

    while (next < FRAMES || n > 0) {
        while (n < BURST && next < FRAMES && (burst[n] = make_frame(&e->pool, next)) != NULL) {
            n++;
            next++;
        }
        sent = e->port->ops->tx_burst(e->port, 0, &e->pool, burst, n);
        for (i = sent; i < n; i++)
            burst[i - sent] = burst[i];
        n -= sent;
        if (sent == 0)
            sched_yield();
    }
    return NULL;
}

/* Receives what there is on one queue, checking order within a flow. */
static unsigned receive_some(struct end *e, unsigned queue, uint32_t *next)
{
    struct mbuf *burst[BURST];
    unsigned n, i;

    n = e->port->ops->rx_burst(e->port, queue, &e->pool, burst, BURST);
    for (i = 0; i < n; i++) {
        uint32_t number = check_frame(&e->pool, burst[i]);

        CHECK(number == next[number & 15]);
        next[number & 15] = number + 16;
        mbuf_free(&e->pool, burst[i]);
    }
    return n;
}

/* Waits for frames on queue 0 as a worker would. */
static void sleep_for_frames(struct end *e)
{
    struct pollfd pfd = {e->port->ops->fd(e->port, 0), POLLIN, 0};

    if (e->port->ops->arm(e->port, 0))
        return;
    CHECK(poll(&pfd, 1, 10000) == 1); /* a doorbell that is lost fails here */
    e->port->ops->disarm(e->port, 0);
}

static void exchange(unsigned n_queues, bool sleeping)
{
    uint32_t next[16], got = 0;
    struct ust_port *ports[2];
    struct ust_port_stats stats;
    struct end ends[2];
    pthread_t thread;
    unsigned q, n;

    for (q = 0; q < 16; q++)
        next[q] = q;
    CHECK(ust_ring_pair(ports, n_queues, 1500, 128, UST_CAP_TSO) == 0);
    init_end(&ends[0], ports[0], n_queues);
    init_end(&ends[1], ports[1], n_queues);
    CHECK(pthread_create(&thread, NULL, send_frames, &ends[0]) == 0);
    while (got < FRAMES) {
        for (q = 0, n = 0; q < n_queues; q++)
            n += receive_some(&ends[1], q, next);
        got += n;
        if (n == 0 && sleeping && got < FRAMES)
            sleep_for_frames(&ends[1]);
        else if (n == 0)
            sched_yield();
    }
    CHECK(pthread_join(thread, NULL) == 0);
    ust_port_stats(ports[1], &stats);
    CHECK(stats.rx_frames == FRAMES && stats.rx_bad == 0 && stats.rx_no_mbuf == 0);
    close_end(&ends[0]);
    close_end(&ends[1]);
}

static void test_frames_cross_threads_whole_and_in_order(void)
{
    exchange(1, false);
}

static void test_a_flow_stays_in_order_over_several_queues(void)
{
    exchange(4, false);
}

static void test_no_doorbell_is_lost_on_a_sleeper(void)
{
    exchange(1, true);
}

int main(void)
{
    RUN(test_a_burst_moves_what_fits_and_leaves_the_rest);
    RUN(test_indices_survive_the_wrap_of_32_bits);
    RUN(test_an_impossible_index_is_counted_and_not_believed);
    RUN(test_words_cross_threads_whole_and_in_order);
    RUN(test_frames_cross_threads_whole_and_in_order);
    RUN(test_a_flow_stays_in_order_over_several_queues);
    RUN(test_no_doorbell_is_lost_on_a_sleeper);
    return 0;
}
