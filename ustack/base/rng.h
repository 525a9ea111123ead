/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine's pseudo-random generator (splitmix64): seeded from outside, so
 * that a run can be repeated. Not for secrets; those are keys of siphash. */
#pragma once
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in 0..n-1, n > 0 (Lemire's multiplication, bias below 2^-32). */
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)(((rng_next(r) >> 32) * n) >> 32);
}
