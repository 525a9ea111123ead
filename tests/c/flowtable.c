/* SPDX-License-Identifier: BSD-3-Clause */
/* The flow table against a plain list, with hashes that collide.
 * Sources: base/flowtable.c */
#include "base/flowtable.h"

#include <string.h>

#include "base/rng.h"
#include "check.h"

enum { SLOTS = 64, LIMIT = SLOTS * 3 / 4, ROUNDS = 100000 };

struct model {
    struct flow_slot entries[LIMIT];
    uint32_t count;
};

/* Few home slots, close to the end of the array so that runs wrap, and several
 * hashes for each. */
static uint32_t any_hash(struct rng *rng)
{
    uint32_t home = SLOTS - 4 + rng_below(rng, 6);

    return rng_below(rng, 3) * 0x10000000u + (home & (SLOTS - 1));
}

/* Walking the table from a hash gives each value of the list with that hash
 * once, and nothing else. */
static void check_walk(const struct flowtable *ft, const struct model *m, uint32_t hash)
{
    uint64_t found = 0, wanted = 0;
    uint32_t value;

    for (uint32_t i = flowtable_first(ft, hash); i != FLOWTABLE_NONE;
         i = flowtable_next(ft, hash, i)) {
        value = ft->slots[i].value;
        CHECK(!(found >> value & 1));
        found |= 1ull << value;
    }
    for (uint32_t i = 0; i < m->count; i++)
        if (m->entries[i].hash == hash)
            wanted |= 1ull << m->entries[i].value;
    CHECK(found == wanted);
}

static bool in_use(const struct model *m, uint32_t value)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->entries[i].value == value)
            return true;
    return false;
}

static void insert(struct flowtable *ft, struct model *m, uint32_t hash, uint32_t value)
{
    if (in_use(m, value))
        return;
    if (m->count == LIMIT) {
        CHECK(flowtable_insert(ft, hash, value) == -1);
        return;
    }
    CHECK(flowtable_insert(ft, hash, value) == 0);
    m->entries[m->count++] = (struct flow_slot){hash, value};
}

static void remove_nth(struct flowtable *ft, struct model *m, uint32_t n)
{
    struct flow_slot gone = m->entries[n];

    CHECK(flowtable_remove(ft, gone.hash ^ 0x40000000, gone.value) == -1);
    CHECK(flowtable_remove(ft, gone.hash, gone.value) == 0);
    CHECK(flowtable_remove(ft, gone.hash, gone.value) == -1);
    m->entries[n] = m->entries[--m->count];
}

/* Another value takes the place of one, and of no other with its hash. */
static void replace_nth(struct flowtable *ft, struct model *m, uint32_t n, uint32_t by)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->entries[i].hash == m->entries[n].hash && m->entries[i].value == by)
            return;
    flowtable_replace(ft, m->entries[n].hash, m->entries[n].value, by);
    m->entries[n].value = by;
}

static void the_table_holds_what_a_list_would_hold(void)
{
    struct flow_slot slots[SLOTS];
    struct flowtable ft;
    struct model m = {.count = 0};
    struct rng rng = {1};

    flowtable_init(&ft, slots, SLOTS);
    for (int round = 0; round < ROUNDS; round++) {
        /* fills up for a while, then drains for a while */
        if (rng_below(&rng, 8) < (round / 500 % 2 ? 3u : 5u))
            insert(&ft, &m, any_hash(&rng), rng_below(&rng, 64));
        else if (m.count > 0)
            remove_nth(&ft, &m, rng_below(&rng, m.count));
        if (m.count > 0)
            replace_nth(&ft, &m, rng_below(&rng, m.count), rng_below(&rng, 64));
        CHECK(ft.count == m.count);
        CHECK(flowtable_check(&ft) == 0);
        check_walk(&ft, &m, any_hash(&rng));
    }
}

static void at_least_a_quarter_of_the_slots_stays_empty(void)
{
    CHECK(flowtable_slots(0) == 1);
    CHECK(flowtable_slots(1) == 2);
    CHECK(flowtable_slots(3) == 4);
    CHECK(flowtable_slots(4) == 8);
    CHECK(flowtable_slots(6) == 8);
    CHECK(flowtable_slots(7) == 16);
    CHECK(flowtable_slots(1u << 30) == 1u << 31);
}

static void a_table_for_no_values_refuses_one(void)
{
    struct flow_slot slot;
    struct flowtable ft;

    flowtable_init(&ft, &slot, flowtable_slots(0));
    CHECK(flowtable_insert(&ft, 1, 1) == -1);
    CHECK(flowtable_first(&ft, 1) == FLOWTABLE_NONE);
}

static void the_check_notices_a_hole_in_a_run(void)
{
    struct flow_slot slots[8];
    struct flowtable ft;

    flowtable_init(&ft, slots, 8);
    CHECK(flowtable_insert(&ft, 7, 1) == 0);
    CHECK(flowtable_insert(&ft, 7, 2) == 0);
    CHECK(slots[0].value == 2);
    slots[7].value = FLOWTABLE_NONE;
    CHECK(flowtable_check(&ft) == 2);
    slots[7].value = 1;
    ft.count = 3;
    CHECK(flowtable_check(&ft) == 1);
}

int main(void)
{
    RUN(the_table_holds_what_a_list_would_hold);
    RUN(at_least_a_quarter_of_the_slots_stays_empty);
    RUN(a_table_for_no_values_refuses_one);
    RUN(the_check_notices_a_hole_in_a_run);
    return 0;
}
