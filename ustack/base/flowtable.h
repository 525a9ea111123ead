/* SPDX-License-Identifier: BSD-3-Clause */
/* Flow table: open addressing with linear probing over (hash, value) pairs.
 *
 * The caller hashes the key with a secret (base/siphash.h) and compares keys
 * itself, walking the values that share a hash:
 *
 *     for (i = flowtable_first(ft, hash); i != FLOWTABLE_NONE;
 *          i = flowtable_next(ft, hash, i))
 *         if (same(ft->slots[i].value)) ...
 *
 *  F1  n_slots is a power of two and count <= n_slots * 3 / 4
 *  F2  no empty slot lies between a value's home slot and where it is
 *
 * Removal shifts later entries back, so there are no tombstones.            */
#pragma once
#include <stdint.h>

enum { FLOWTABLE_NONE = 0xffffffff };

struct flow_slot {
    uint32_t hash;
    uint32_t value; /* FLOWTABLE_NONE: empty */
};

struct flowtable {
    struct flow_slot *slots;
    uint32_t mask; /* n_slots - 1 */
    uint32_t count;
};

/* The number of slots for so many values: the next power of two of which it is three quarters at most. */
uint32_t flowtable_slots(uint32_t n);
void flowtable_init(struct flowtable *ft, struct flow_slot *slots, uint32_t n_slots);
/* 0, or -1 when the table is at its limit (three quarters of the slots). */
int flowtable_insert(struct flowtable *ft, uint32_t hash, uint32_t value);
/* Removes the entry with this hash and value; 0, or -1 if there is none. */
int flowtable_remove(struct flowtable *ft, uint32_t hash, uint32_t value);
/* The entry with this hash and value, which must be there, has another value. */
void flowtable_replace(struct flowtable *ft, uint32_t hash, uint32_t value, uint32_t by);
/* 0, or the number of the first invariant that does not hold. */
int flowtable_check(const struct flowtable *ft);

static inline uint32_t flowtable_probe(const struct flowtable *ft, uint32_t hash, uint32_t i)
{
    for (;; i = (i + 1) & ft->mask) {
        if (ft->slots[i].value == FLOWTABLE_NONE)
            return FLOWTABLE_NONE;
        if (ft->slots[i].hash == hash)
            return i;
    }
}

static inline uint32_t flowtable_first(const struct flowtable *ft, uint32_t hash)
{
    return flowtable_probe(ft, hash, hash & ft->mask);
}

static inline uint32_t flowtable_next(const struct flowtable *ft, uint32_t hash, uint32_t i)
{
    return flowtable_probe(ft, hash, (i + 1) & ft->mask);
}
