/* SPDX-License-Identifier: BSD-3-Clause */
/* Timer wheel: four levels of 256 slots, ticks of 2^16 ns (65.5 us).
 *
 * A timer is a number; its node lives in an array that the owner provides, so
 * a wheel can be copied by memcpy. Deadlines are exact: a slot may hold timers
 * that are not due yet, and wheel_pop() gives only those that are.
 *
 *  W1  a node is linked in exactly one slot, or its deadline is UST_NEVER
 *  W2  count is the number of linked nodes
 *  W3  what stands before resume in the slot of tick is due after scanned
 *  W4  while next_known, next is what wheel_next() would find by looking
 *
 * Deadlines beyond the last level (about 78 hours) wait in its farthest slot
 * and are filed again when it comes round.
 *
 * Not here: what a timer means.                                             */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    WHEEL_NONE = 0xffffffff,
    WHEEL_LEVELS = 4,
    WHEEL_SLOTS = 256,
    WHEEL_TICK_SHIFT = 16,
};

struct wheel_node {
    uint32_t next, prev; /* prev of a slot's first: 0x80000000 | slot number */
    uint64_t deadline;   /* ns; UINT64_MAX: not armed */
};

struct wheel {
    struct wheel_node *nodes;
    uint32_t n_nodes;
    uint32_t count;   /* armed timers */
    uint32_t resume;  /* where wheel_pop() goes on looking, or NONE */
    uint64_t tick;    /* every slot before this tick has been emptied */
    uint64_t scanned; /* ns: the now of the last look at this tick's slot */
    uint64_t next;    /* see W4: most looks find that nothing is due yet */
    bool next_known;
    uint32_t slot[WHEEL_LEVELS * WHEEL_SLOTS];     /* first node or NONE */
    uint64_t used[WHEEL_LEVELS][WHEEL_SLOTS / 64]; /* non-empty slots */
};

/* nodes: n_nodes entries, kept by the caller. now starts the wheel's time. */
void wheel_init(struct wheel *w, struct wheel_node *nodes, uint32_t n_nodes, uint64_t now);
/* Arms timer id, or moves it; a deadline in the past is due at once. */
void wheel_set(struct wheel *w, uint32_t id, uint64_t deadline);
/* Disarms timer id; harmless if it is not armed. */
void wheel_cancel(struct wheel *w, uint32_t id);
/* Takes one timer that is due at now, or WHEEL_NONE. It is then disarmed. Of
 * timers in one slot the order is unspecified but deterministic. */
uint32_t wheel_pop(struct wheel *w, uint64_t now);
/* A time no later than the next deadline and never before the wheel's own
 * time: when wheel_pop() is worth calling again. UINT64_MAX: nothing armed.
 * Exact when the next deadline lies in the first level. */
uint64_t wheel_next(const struct wheel *w);
/* 0, or the number of the first invariant that does not hold. */
int wheel_check(const struct wheel *w);

static inline bool wheel_armed(const struct wheel *w, uint32_t id)
{
    return w->nodes[id].deadline != UINT64_MAX;
}
