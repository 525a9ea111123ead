/* SPDX-License-Identifier: BSD-3-Clause */
/* What every layer of an engine stands on: settings, the time, randomness,
 * counters, buffers, timers.
 *
 * Each layer's struct begins with the one below it (core < net < tcp <
 * ust_engine), so a pointer to an engine is a pointer to each of its layers,
 * and nothing needs to be linked up again after a clone.                    */
#pragma once
#include "counters.h"
#include "mbuf.h"
#include "rng.h"
#include "settings.h"
#include "siphash.h"
#include "wheel.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

struct core {
    struct settings set;
    ust_time now; /* the last time the engine was told */
    struct rng rng;
    struct siphash_key key_flow;   /* flow table */
    struct siphash_key key_isn;    /* RFC 6528, and timestamp offsets */
    struct siphash_key key_port;   /* RFC 6056 */
    struct siphash_key key_cookie; /* SYN cookies */
    struct faults faults;
    struct mbuf_pool pool;
    uint64_t share_kept[2]; /* bytes of small, and of all buffers, that share.h keeps back */
    struct wheel wheel;
    uint64_t counters[N_COUNTERS];
};

static inline void count(struct core *core, enum counter c)
{
    core->counters[c]++;
}

static inline ust_time ms(int64_t n)
{
    return (ust_time)n * NS_PER_MS;
}

/* A limit of so many events a second, refilled continuously; a full bucket
 * holds one second's worth. */
struct tokens {
    ust_time at;    /* when it was last refilled */
    uint64_t level; /* in events * 1e9 */
};

/* Takes one event if per_second allows it. */
static inline bool tokens_take(struct tokens *t, int64_t per_second, ust_time now)
{
    uint64_t full = (uint64_t)per_second * NS_PER_S;
    ust_time since = now - t->at;

    if (t->at == 0 || since >= NS_PER_S)
        t->level = full;
    else
        t->level += since * (uint64_t)per_second;
    if (t->level > full)
        t->level = full;
    t->at = now;
    if (t->level < NS_PER_S)
        return false;
    t->level -= NS_PER_S;
    return true;
}
