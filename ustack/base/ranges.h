/* SPDX-License-Identifier: BSD-3-Clause */
/* A sorted array of disjoint, non-adjacent ranges [lo, hi) of a 32-bit space
 * that wraps (sequence numbers, fragment offsets). All live within 2^31 of
 * each other; order is that of (int32_t)(a - b).
 *
 *  R1  r[i].lo < r[i].hi < r[i+1].lo, in that order                         */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct range {
    uint32_t lo, hi;
};

/* Adds [lo, hi), merging what touches or overlaps. Returns the index of the
 * range that now holds it and stores in *absorbed how many existing ranges
 * went into it (0: a new one); -1, with nothing changed, when the array of cap
 * entries is full. */
int ranges_add(struct range *r, unsigned *n, unsigned cap, uint32_t lo, uint32_t hi,
               unsigned *absorbed);
/* Removes everything before lo, or from hi on. Returns how many ranges
 * vanished. */
unsigned ranges_drop_below(struct range *r, unsigned *n, uint32_t lo);
unsigned ranges_cut_above(struct range *r, unsigned *n, uint32_t hi);
/* The index of the first range that ends behind x; n if none does. */
unsigned ranges_find(const struct range *r, unsigned n, uint32_t x);
/* Is [lo, hi) wholly inside one range? */
bool ranges_cover(const struct range *r, unsigned n, uint32_t lo, uint32_t hi);
