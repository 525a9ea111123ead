/* SPDX-License-Identifier: BSD-3-Clause */
/* Timer wheel: filing, cascading, and finding the next slot by bitmap.
 *
 * A deadline's tick and the wheel's tick are compared byte by byte: a timer is
 * filed at the level of the highest byte in which they differ, in the slot of
 * its own byte there. So a level holds only slots ahead of the wheel's byte at
 * that level, every timer of a level is due before any of the next level, and
 * the first used slot of the lowest used level is what comes next, however far
 * away. Slot 0 of the last level can by this rule never be used; it takes the
 * deadlines that differ in higher bytes yet, and comes round when the wheel's
 * 32 low bits wrap.
 *
 * Only the slot that becomes the wheel's own is ever cascaded: when a slot is
 * entered, all lower levels are empty.                                      */
#include "wheel.h"

#include <assert.h>

enum {
    LEVEL_BITS = 8,
    SLOT_MASK = WHEEL_SLOTS - 1,
    HEAD = 0x80000000, /* in prev: the rest is a slot number */
};

static void file(struct wheel *w, uint32_t id);
static void unlink_node(struct wheel *w, uint32_t id);
static uint32_t find_due(struct wheel *w, uint64_t now);
static void move_to(struct wheel *w, uint64_t tick);
static void advance(struct wheel *w, uint64_t limit);
static int next_slot(const struct wheel *w, uint64_t *start);
static uint64_t earliest(const struct wheel *w, uint32_t slot);
static uint64_t look(const struct wheel *w);

void wheel_init(struct wheel *w, struct wheel_node *nodes, uint32_t n_nodes, uint64_t now)
{
    assert(n_nodes < HEAD);
    *w = (struct wheel){.nodes = nodes, .n_nodes = n_nodes};
    for (uint32_t i = 0; i < WHEEL_LEVELS * WHEEL_SLOTS; i++)
        w->slot[i] = WHEEL_NONE;
    for (uint32_t i = 0; i < n_nodes; i++)
        nodes[i] = (struct wheel_node){WHEEL_NONE, WHEEL_NONE, UINT64_MAX};
    move_to(w, now >> WHEEL_TICK_SHIFT);
}

void wheel_set(struct wheel *w, uint32_t id, uint64_t deadline)
{
    assert(id < w->n_nodes);
    if (w->nodes[id].deadline == deadline)
        return;
    wheel_cancel(w, id);
    if (deadline == UINT64_MAX)
        return;
    w->nodes[id].deadline = deadline;
    w->count++;
    w->next_known &= deadline >= w->next;
    file(w, id);
}

static bool in_first_level(const struct wheel *w, uint64_t deadline)
{
    return (deadline >> WHEEL_TICK_SHIFT ^ w->tick) < WHEEL_SLOTS;
}

void wheel_cancel(struct wheel *w, uint32_t id)
{
    assert(id < w->n_nodes);
    if (!wheel_armed(w, id))
        return;
    w->next_known &= w->nodes[id].deadline > w->next && in_first_level(w, w->next);
    unlink_node(w, id);
    w->nodes[id].deadline = UINT64_MAX;
    w->count--;
}

uint32_t wheel_pop(struct wheel *w, uint64_t now)
{
    uint64_t limit = now >> WHEEL_TICK_SHIFT;
    uint32_t id;

    if (w->next_known && now < w->next && limit == w->tick)
        return WHEEL_NONE;
    while ((id = find_due(w, now)) == WHEEL_NONE && w->tick < limit)
        advance(w, limit);
    if (id != WHEEL_NONE) {
        wheel_cancel(w, id);
    } else if (!w->next_known) {
        w->next = look(w);
        w->next_known = true;
    }
    return id;
}

uint64_t wheel_next(const struct wheel *w)
{
    return w->next_known ? w->next : look(w);
}

/* What wheel_next() says. */
static uint64_t look(const struct wheel *w)
{
    uint64_t own = w->tick << WHEEL_TICK_SHIFT, start, deadline;
    uint32_t slot = w->tick & SLOT_MASK;

    if (w->count == 0)
        return UINT64_MAX;
    if (w->slot[slot] != WHEEL_NONE) {
        deadline = earliest(w, slot);
        return deadline > own ? deadline : own;
    }
    slot = (uint32_t)next_slot(w, &start);
    return slot < WHEEL_SLOTS ? earliest(w, slot) : start << WHEEL_TICK_SHIFT;
}

int wheel_check(const struct wheel *w)
{
    uint32_t linked = 0, armed = 0, prev;
    bool seen = false;

    for (uint32_t slot = 0; slot < WHEEL_LEVELS * WHEEL_SLOTS; slot++) {
        prev = HEAD | slot;
        for (uint32_t id = w->slot[slot]; id != WHEEL_NONE; prev = id, id = w->nodes[id].next)
            if (w->nodes[id].prev != prev || !wheel_armed(w, id) || ++linked > w->n_nodes)
                return 1;
    }
    for (uint32_t id = 0; id < w->n_nodes; id++)
        armed += wheel_armed(w, id);
    if (armed != linked)
        return 1;
    if (w->count != linked)
        return 2;
    for (uint32_t id = w->slot[w->tick & SLOT_MASK]; id != WHEEL_NONE; id = w->nodes[id].next) {
        seen = seen || id == w->resume;
        if (!seen && w->nodes[id].deadline <= w->scanned)
            return 3;
    }
    if (w->next_known && w->next != look(w))
        return 4;
    return w->resume != WHEEL_NONE && !seen ? 3 : 0;
}

/* Where a deadline belongs now: level * WHEEL_SLOTS + slot. */
static uint32_t slot_of(const struct wheel *w, uint64_t deadline)
{
    uint64_t tick = deadline >> WHEEL_TICK_SHIFT;
    uint32_t level;

    if (tick <= w->tick)
        return w->tick & SLOT_MASK;
    level = (63 - (uint32_t)__builtin_clzll(tick ^ w->tick)) / LEVEL_BITS;
    if (level >= WHEEL_LEVELS)
        return (WHEEL_LEVELS - 1) * WHEEL_SLOTS;
    return level * WHEEL_SLOTS + ((tick >> (level * LEVEL_BITS)) & SLOT_MASK);
}

static void file(struct wheel *w, uint32_t id)
{
    struct wheel_node *node = &w->nodes[id];
    uint32_t slot = slot_of(w, node->deadline), first = w->slot[slot];

    node->next = first;
    node->prev = HEAD | slot;
    if (first != WHEEL_NONE)
        w->nodes[first].prev = id;
    w->slot[slot] = id;
    w->used[slot / WHEEL_SLOTS][slot % WHEEL_SLOTS / 64] |= 1ull << slot % 64;
    if (slot == (w->tick & SLOT_MASK) && node->deadline <= w->scanned)
        w->resume = id;
}

static void unlink_node(struct wheel *w, uint32_t id)
{
    uint32_t next = w->nodes[id].next, prev = w->nodes[id].prev;
    uint32_t slot = prev & ~(uint32_t)HEAD;

    if (w->resume == id)
        w->resume = next;
    if (next != WHEEL_NONE)
        w->nodes[next].prev = prev;
    if (!(prev & HEAD)) {
        w->nodes[prev].next = next;
        return;
    }
    w->slot[slot] = next;
    if (next == WHEEL_NONE)
        w->used[slot / WHEEL_SLOTS][slot % WHEEL_SLOTS / 64] &= ~(1ull << slot % 64);
}

/* A timer of the wheel's own slot that is due, or WHEEL_NONE. Those that were
 * found not to be due at this time are not looked at again. */
static uint32_t find_due(struct wheel *w, uint64_t now)
{
    if (now != w->scanned) {
        w->scanned = now;
        w->resume = w->slot[w->tick & SLOT_MASK];
    }
    while (w->resume != WHEEL_NONE && w->nodes[w->resume].deadline > now)
        w->resume = w->nodes[w->resume].next;
    return w->resume;
}

static void move_to(struct wheel *w, uint64_t tick)
{
    w->tick = tick;
    w->next_known = false;
    w->scanned = 0;
    w->resume = w->slot[tick & SLOT_MASK];
}

/* Moves the wheel, whose own slot is empty, to the next used slot, but not
 * past limit; what lies there is filed again at its lower levels. */
static void advance(struct wheel *w, uint64_t limit)
{
    uint64_t start;
    int slot = next_slot(w, &start);
    uint32_t id, next;

    if (slot < 0 || start > limit) {
        move_to(w, limit);
        return;
    }
    move_to(w, start);
    if (slot < WHEEL_SLOTS)
        return;
    id = w->slot[slot];
    w->slot[slot] = WHEEL_NONE;
    w->used[slot / WHEEL_SLOTS][slot % WHEEL_SLOTS / 64] &= ~(1ull << slot % 64);
    for (; id != WHEEL_NONE; id = next) {
        next = w->nodes[id].next;
        file(w, id);
    }
}

/* The lowest used slot of a level that is >= from, or -1. */
static int used_from(const struct wheel *w, int level, uint32_t from)
{
    uint64_t bits;

    for (uint32_t i = from / 64; i < WHEEL_SLOTS / 64; i++) {
        bits = w->used[level][i];
        if (i == from / 64)
            bits &= ~0ull << from % 64;
        if (bits)
            return (int)(i * 64) + __builtin_ctzll(bits);
    }
    return -1;
}

/* The used slot that comes next after the wheel's own, and the tick at which
 * it begins; -1 if all are empty. */
static int next_slot(const struct wheel *w, uint64_t *start)
{
    enum { LAST = WHEEL_LEVELS - 1 };
    uint64_t at;
    int slot;

    for (int level = 0; level < WHEEL_LEVELS; level++) {
        at = w->tick >> (level * LEVEL_BITS);
        slot = used_from(w, level, (at & SLOT_MASK) + 1);
        if (slot < 0)
            continue;
        *start = ((at & ~(uint64_t)SLOT_MASK) | (uint64_t)slot) << (level * LEVEL_BITS);
        return level * WHEEL_SLOTS + slot;
    }
    if (w->slot[LAST * WHEEL_SLOTS] == WHEEL_NONE)
        return -1;
    *start = ((w->tick >> (WHEEL_LEVELS * LEVEL_BITS)) + 1) << (WHEEL_LEVELS * LEVEL_BITS);
    return LAST * WHEEL_SLOTS;
}

static uint64_t earliest(const struct wheel *w, uint32_t slot)
{
    uint64_t min = UINT64_MAX;

    for (uint32_t id = w->slot[slot]; id != WHEEL_NONE; id = w->nodes[id].next)
        if (w->nodes[id].deadline < min)
            min = w->nodes[id].deadline;
    return min;
}
