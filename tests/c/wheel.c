/* SPDX-License-Identifier: BSD-3-Clause */
/* The timer wheel against a plain array of deadlines.
 * Sources: base/wheel.c */
#include "base/wheel.h"

#include <string.h>

#include "base/rng.h"
#include "check.h"

enum { TIMERS = 48, ROUNDS = 100000 };

static const uint64_t NEVER = UINT64_MAX;
static const uint64_t TICK = 1ull << WHEEL_TICK_SHIFT;
static const uint64_t HOUR = 3600ull * 1000 * 1000 * 1000;

struct world {
    struct wheel w;
    struct wheel_node nodes[TIMERS];
    uint64_t deadline[TIMERS]; /* the model */
    uint64_t now;
    struct rng rng;
};

static void init(struct world *s, uint64_t now, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    wheel_init(&s->w, s->nodes, TIMERS, now);
    memset(s->deadline, 0xff, sizeof s->deadline);
    s->now = now;
    s->rng.state = seed;
}

/* Of any magnitude, from nothing to about 300 days. */
static uint64_t any_span(struct rng *rng)
{
    uint32_t bits = rng_below(rng, 55);

    return rng_next(rng) & ((1ull << bits) - 1);
}

static uint64_t model_next(const struct world *s)
{
    uint64_t next = NEVER;

    for (int i = 0; i < TIMERS; i++)
        if (s->deadline[i] < next)
            next = s->deadline[i];
    return next;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void set(struct world *s)
{
    uint32_t id = rng_below(&s->rng, TIMERS);
    uint64_t span = any_span(&s->rng);
    bool past = rng_below(&s->rng, 10) == 0;

    s->deadline[id] = !past ? s->now + span : span < s->now ? s->now - span : 0;
    wheel_set(&s->w, id, s->deadline[id]);
}

static void cancel(struct world *s)
{
    uint32_t id = rng_below(&s->rng, TIMERS);

    if (rng_below(&s->rng, 2) == 0)
        wheel_cancel(&s->w, id);
    else
        wheel_set(&s->w, id, NEVER);
    s->deadline[id] = NEVER;
}

/* One timer, which must be due; whether there was any. */
static bool pop(struct world *s)
{
    uint32_t id = wheel_pop(&s->w, s->now);

    if (id == WHEEL_NONE) {
        CHECK(model_next(s) > s->now);
        return false;
    }
    CHECK(id < TIMERS);
    CHECK(s->deadline[id] <= s->now);
    s->deadline[id] = NEVER;
    return true;
}

static void check_same(const struct world *s)
{
    uint64_t own = s->w.tick << WHEEL_TICK_SHIFT, next = wheel_next(&s->w);
    uint64_t wanted = model_next(s);
    uint32_t count = 0;

    for (uint32_t i = 0; i < TIMERS; i++) {
        CHECK(wheel_armed(&s->w, i) == (s->deadline[i] != NEVER));
        count += s->deadline[i] != NEVER;
    }
    CHECK(s->w.count == count);
    CHECK(own <= s->now);
    CHECK(wheel_check(&s->w) == 0);
    if (wanted == NEVER) {
        CHECK(next == NEVER);
        return;
    }
    CHECK(next >= own);
    CHECK(next <= later(wanted, own));
    if ((wanted / TICK ^ s->w.tick) < WHEEL_SLOTS) /* in the first level */
        CHECK(next == later(wanted, own));
}

static void advance(struct world *s)
{
    if (rng_below(&s->rng, 3) > 0)
        s->now += any_span(&s->rng) >> rng_below(&s->rng, 30);
    else if (wheel_next(&s->w) != NEVER)
        s->now = later(s->now, wheel_next(&s->w));
}

static void the_wheel_fires_what_a_list_would_fire(void)
{
    static struct world s;

    for (uint64_t seed = 0; seed < 4; seed++) {
        init(&s, seed % 2 ? (1ull << 48) - 12345 : 0, seed);
        for (int round = 0; round < ROUNDS / 4; round++) {
            switch (rng_below(&s.rng, 8)) {
            case 0: advance(&s); break;
            case 1: cancel(&s); break;
            case 2: pop(&s); break;
            case 3:
                while (pop(&s))
                    ;
                break;
            default: set(&s);
            }
            check_same(&s);
        }
    }
}

static void slots_fire_in_order_of_time(void)
{
    static struct world s;
    uint64_t last, own;
    uint32_t id;

    for (uint64_t seed = 0; seed < 300; seed++) {
        init(&s, 77 * HOUR, seed);
        for (int i = 0; i < TIMERS; i++)
            set(&s);
        own = s.w.tick;
        last = 0;
        while ((id = wheel_pop(&s.w, NEVER - 1)) != WHEEL_NONE) {
            CHECK(later(s.deadline[id] / TICK, own) >= last);
            last = later(s.deadline[id] / TICK, own);
        }
        CHECK(s.w.count == 0);
    }
}

/* A driver that sleeps until wheel_next() fires every timer at its nanosecond,
 * and wakes at most once a level besides, or once more each 78 hours. */
static void sleeping_until_next_fires_on_the_nanosecond(void)
{
    static struct world s;
    uint64_t deadline, wakes;

    for (uint64_t seed = 0; seed < 3000; seed++) {
        init(&s, 0, seed);
        s.now = any_span(&s.rng);
        wheel_init(&s.w, s.nodes, TIMERS, s.now);
        deadline = s.now + any_span(&s.rng);
        wheel_set(&s.w, 5, deadline);
        for (wakes = 0; wheel_pop(&s.w, s.now) == WHEEL_NONE; wakes++) {
            CHECK(wheel_next(&s.w) > s.now);
            s.now = wheel_next(&s.w);
        }
        CHECK(s.now == deadline);
        CHECK(wakes <= WHEEL_LEVELS + 1 + (deadline >> 48));
        CHECK(wheel_next(&s.w) == NEVER);
    }
}

/* A wheel that went slot by slot would not come back from this. */
static void a_jump_over_centuries_ends(void)
{
    static struct world s;

    init(&s, 0, 1);
    for (int i = 0; i < 200; i++) {
        s.now += NEVER / 256;
        wheel_set(&s.w, 1, s.now - 1);
        wheel_set(&s.w, 2, s.now + 1);
        CHECK(wheel_pop(&s.w, s.now) == 1);
        CHECK(wheel_pop(&s.w, s.now) == WHEEL_NONE);
        CHECK(wheel_pop(&s.w, s.now + 1) == 2);
    }
}

static void a_timer_within_the_tick_waits_for_its_nanosecond(void)
{
    static struct world s;

    init(&s, 10 * TICK, 1);
    wheel_set(&s.w, 0, 10 * TICK + 100);
    wheel_set(&s.w, 1, 10 * TICK + 50);
    CHECK(wheel_next(&s.w) == 10 * TICK + 50);
    CHECK(wheel_pop(&s.w, 10 * TICK + 49) == WHEEL_NONE);
    CHECK(wheel_pop(&s.w, 10 * TICK + 50) == 1);
    CHECK(wheel_pop(&s.w, 10 * TICK + 99) == WHEEL_NONE);
    wheel_set(&s.w, 2, 10 * TICK + 99);
    CHECK(wheel_pop(&s.w, 10 * TICK + 99) == 2);
    CHECK(wheel_pop(&s.w, 10 * TICK + 100) == 0);
}

static void a_deadline_in_the_past_is_due_at_once(void)
{
    static struct world s;

    init(&s, HOUR, 1);
    wheel_set(&s.w, 7, 3);
    CHECK(wheel_next(&s.w) <= HOUR);
    CHECK(wheel_pop(&s.w, HOUR) == 7);
    wheel_set(&s.w, 7, 0);
    CHECK(wheel_pop(&s.w, HOUR) == 7);
    CHECK(wheel_pop(&s.w, HOUR) == WHEEL_NONE);
}

static void a_copy_made_by_memcpy_fires_alike(void)
{
    static struct world s, copy;
    uint32_t id;

    init(&s, HOUR, 9);
    for (int i = 0; i < 3 * TIMERS; i++)
        set(&s);
    memcpy(&copy, &s, sizeof s);
    copy.w.nodes = copy.nodes;
    do {
        s.now += any_span(&s.rng);
        id = wheel_pop(&s.w, s.now);
        CHECK(wheel_pop(&copy.w, s.now) == id);
        CHECK(wheel_next(&copy.w) == wheel_next(&s.w));
    } while (s.w.count > 0);
    CHECK(copy.w.count == 0);
}

static void set_a_timer_that_does_not_exist(void)
{
    static struct world s;

    init(&s, 0, 1);
    wheel_set(&s.w, TIMERS, 5);
}

static void a_timer_outside_the_array_is_the_callers_fault(void)
{
    CHECK(aborts(set_a_timer_that_does_not_exist));
}

int main(void)
{
    RUN(the_wheel_fires_what_a_list_would_fire);
    RUN(slots_fire_in_order_of_time);
    RUN(sleeping_until_next_fires_on_the_nanosecond);
    RUN(a_jump_over_centuries_ends);
    RUN(a_timer_within_the_tick_waits_for_its_nanosecond);
    RUN(a_deadline_in_the_past_is_due_at_once);
    RUN(a_copy_made_by_memcpy_fires_alike);
    RUN(a_timer_outside_the_array_is_the_callers_fault);
    return 0;
}
