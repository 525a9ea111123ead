/* SPDX-License-Identifier: BSD-3-Clause */
/* Flow table: insertion, and removal by shifting back. Look-ups are inline in
 * flowtable.h, where the invariants stand. */
#include "flowtable.h"

#include <assert.h>

static void close_gap(struct flowtable *ft, uint32_t gap);

static uint32_t limit(uint32_t slots)
{
    return (uint32_t)(slots * 3ull / 4);
}

uint32_t flowtable_slots(uint32_t n)
{
    uint32_t slots = 1;

    assert(n <= 1u << 30);
    while (limit(slots) < n)
        slots *= 2;
    return slots;
}

void flowtable_init(struct flowtable *ft, struct flow_slot *slots, uint32_t n_slots)
{
    assert(n_slots > 0 && (n_slots & (n_slots - 1)) == 0);
    *ft = (struct flowtable){.slots = slots, .mask = n_slots - 1};
    for (uint32_t i = 0; i < n_slots; i++)
        slots[i] = (struct flow_slot){0, FLOWTABLE_NONE};
}

int flowtable_insert(struct flowtable *ft, uint32_t hash, uint32_t value)
{
    uint32_t i = hash & ft->mask;

    assert(value != FLOWTABLE_NONE);
    if (ft->count >= limit(ft->mask + 1))
        return -1;
    while (ft->slots[i].value != FLOWTABLE_NONE)
        i = (i + 1) & ft->mask;
    ft->slots[i] = (struct flow_slot){hash, value};
    ft->count++;
    return 0;
}

static uint32_t find(const struct flowtable *ft, uint32_t hash, uint32_t value)
{
    uint32_t i = flowtable_first(ft, hash);

    while (i != FLOWTABLE_NONE && ft->slots[i].value != value)
        i = flowtable_next(ft, hash, i);
    return i;
}

void flowtable_replace(struct flowtable *ft, uint32_t hash, uint32_t value, uint32_t by)
{
    uint32_t i = find(ft, hash, value);

    assert(i != FLOWTABLE_NONE && by != FLOWTABLE_NONE);
    ft->slots[i].value = by;
}

int flowtable_remove(struct flowtable *ft, uint32_t hash, uint32_t value)
{
    uint32_t i = find(ft, hash, value);

    if (i == FLOWTABLE_NONE)
        return -1;
    close_gap(ft, i);
    ft->count--;
    return 0;
}

int flowtable_check(const struct flowtable *ft)
{
    uint32_t count = 0, home;

    for (uint32_t i = 0; i <= ft->mask; i++) {
        if (ft->slots[i].value == FLOWTABLE_NONE)
            continue;
        count++;
        home = ft->slots[i].hash & ft->mask;
        for (uint32_t j = home; j != i; j = (j + 1) & ft->mask)
            if (ft->slots[j].value == FLOWTABLE_NONE)
                return 2;
    }
    return count != ft->count || count > limit(ft->mask + 1) ? 1 : 0;
}

/* Empties slot gap. An entry further on may fill it if the gap lies between
 * the entry's home and its place; then the gap is where the entry was. */
static void close_gap(struct flowtable *ft, uint32_t gap)
{
    uint32_t i = gap, from_home, from_gap;

    for (;;) {
        i = (i + 1) & ft->mask;
        if (ft->slots[i].value == FLOWTABLE_NONE)
            break;
        from_home = (i - ft->slots[i].hash) & ft->mask;
        from_gap = (i - gap) & ft->mask;
        if (from_home >= from_gap) {
            ft->slots[gap] = ft->slots[i];
            gap = i;
        }
    }
    ft->slots[gap].value = FLOWTABLE_NONE;
}
