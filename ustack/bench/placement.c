/* SPDX-License-Identifier: BSD-3-Clause */
/* How far apart two cores are: the time in which a cache line goes from one to
 * the other and back.
 *
 * Two threads, each bound to its core, count one number up in turns. The result
 * is the median of many short batches, so that a thread which loses its core
 * for a while does not matter. Where others have the cores most of the time, it
 * gives up.                                              */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "../worker.h"

enum { BATCH = 256, MAX_BATCHES = 4096, PATIENCE = 5, SPINS = 4096 };

struct ping {
    _Alignas(64) atomic_uint line; /* even: the first thread's turn */
    _Alignas(64) atomic_bool over;
    ust_time ns;                   /* to play for */
    uint64_t batches[MAX_BATCHES]; /* ns each */
    unsigned n_batches;
};

/* Hand the line over and wait until it is back; false when that takes too long. */
static bool hand_over(struct ping *p, unsigned turn, ust_time end)
{
    atomic_store_explicit(&p->line, turn + 1, memory_order_release);
    for (unsigned i = 1; atomic_load_explicit(&p->line, memory_order_acquire) != turn + 2; i++)
        if (i % SPINS == 0 && ust_worker_now() > end)
            return false;
    return true;
}

static void *play_first(void *arg)
{
    struct ping *p = arg;
    ust_time start = ust_worker_now(), now = start, last = start + PATIENCE * p->ns;

    for (unsigned turn = 0; p->n_batches < MAX_BATCHES && now < start + p->ns;) {
        ust_time before = now;

        for (unsigned i = 0; i < BATCH; i++, turn += 2)
            if (!hand_over(p, turn, last))
                goto over;
        now = ust_worker_now();
        p->batches[p->n_batches++] = now - before;
    }
over:
    atomic_store(&p->over, true);
    return NULL;
}

static void *play_second(void *arg)
{
    struct ping *p = arg;

    for (unsigned turn = 1; !atomic_load_explicit(&p->over, memory_order_relaxed);) {
        if (atomic_load_explicit(&p->line, memory_order_acquire) != turn)
            continue;
        atomic_store_explicit(&p->line, turn + 1, memory_order_release);
        turn += 2;
    }
    return NULL;
}

static int start_on(int cpu, void *(*play)(void *), struct ping *p, pthread_t *thread)
{
    pthread_attr_t attr;
    cpu_set_t set;
    int err;

    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return -EINVAL;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    pthread_attr_init(&attr);
    err = pthread_attr_setaffinity_np(&attr, sizeof set, &set);
    if (err == 0)
        err = pthread_create(thread, &attr, play, p);
    pthread_attr_destroy(&attr);
    return -err;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int64_t median_ps(struct ping *p)
{
    qsort(p->batches, p->n_batches, sizeof p->batches[0], by_size);
    return (int64_t)(p->batches[p->n_batches / 2] * 1000 / BATCH);
}

int64_t ust_cache_ping(int cpu, int other, uint64_t ns)
{
    struct ping *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    pthread_t first = 0, second = 0;
    int64_t result;

    if (!p)
        return -ENOMEM;
    atomic_init(&p->line, 0);
    atomic_init(&p->over, false);
    p->n_batches = 0;
    p->ns = ns;
    result = start_on(other, play_second, p, &second);
    if (result == 0) {
        result = start_on(cpu, play_first, p, &first);
        if (result == 0)
            pthread_join(first, NULL);
        atomic_store(&p->over, true);
        pthread_join(second, NULL);
        if (result == 0)
            result = p->n_batches ? median_ps(p) : -EAGAIN;
    }
    free(p);
    return result;
}
