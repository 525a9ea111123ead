/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranges against a bitmap, in a window that lies across the 2^32 wrap.
 * Sources: base/ranges.c */
#include "base/ranges.h"

#include <string.h>

#include "base/rng.h"
#include "check.h"

enum { WINDOW = 96, CAP = 6, ROUNDS = 200000 };

/* Byte i of the window is number start + i. */
static const uint32_t starts[] = {0, 0xffffffd0, 0x7fffffd0, 1000000};

struct model {
    uint32_t start;
    bool has[WINDOW];
};

static unsigned model_count(const struct model *m)
{
    unsigned n = 0;

    for (int i = 0; i < WINDOW; i++)
        n += m->has[i] && (i == 0 || !m->has[i - 1]);
    return n;
}

/* The ranges are the runs of the bitmap, in order. */
static void check_same(const struct model *m, const struct range *r, unsigned n)
{
    unsigned k = 0;
    int i = 0, end;

    for (; i < WINDOW; i = end + 1) {
        for (; i < WINDOW && !m->has[i]; i++)
            ;
        for (end = i; end < WINDOW && m->has[end]; end++)
            ;
        if (i == end)
            break;
        CHECK(k < n);
        CHECK(r[k].lo == m->start + (uint32_t)i);
        CHECK(r[k].hi == m->start + (uint32_t)end);
        k++;
    }
    CHECK(k == n);
}

static void add(struct model *m, struct range *r, unsigned *n, int lo, int hi)
{
    unsigned before = model_count(m), absorbed = 99;
    struct model wanted = *m;
    int at;

    memset(wanted.has + lo, true, (size_t)(hi - lo));
    at = ranges_add(r, n, CAP, m->start + (uint32_t)lo, m->start + (uint32_t)hi, &absorbed);
    if (model_count(&wanted) > CAP) {
        CHECK(at == -1);
        return;
    }
    *m = wanted;
    CHECK(at >= 0 && (unsigned)at < *n);
    CHECK(ranges_cover(&r[at], 1, m->start + (uint32_t)lo, m->start + (uint32_t)hi));
    CHECK(absorbed == before + 1 - model_count(m));
}

static void drop_below(struct model *m, struct range *r, unsigned *n, int lo)
{
    unsigned before = model_count(m);

    memset(m->has, false, (size_t)lo);
    CHECK(ranges_drop_below(r, n, m->start + (uint32_t)lo) == before - model_count(m));
}

static void cut_above(struct model *m, struct range *r, unsigned *n, int hi)
{
    unsigned before = model_count(m);

    memset(m->has + hi, false, (size_t)(WINDOW - hi));
    CHECK(ranges_cut_above(r, n, m->start + (uint32_t)hi) == before - model_count(m));
}

/* The first byte that is held behind lo, or lo itself, is in the range found. */
static void find(const struct model *m, const struct range *r, unsigned n, int lo)
{
    unsigned i = ranges_find(r, n, m->start + (uint32_t)lo);
    int at = lo;

    while (at < WINDOW && !m->has[at])
        at++;
    CHECK((i == n) == (at == WINDOW));
    if (i < n)
        CHECK(ranges_cover(&r[i], 1, m->start + (uint32_t)at, m->start + (uint32_t)at + 1));
}

static void ask(const struct model *m, const struct range *r, unsigned n, int lo, int hi)
{
    bool all = true;

    for (int i = lo; i < hi; i++)
        all = all && m->has[i];
    find(m, r, n, lo);
    CHECK(ranges_cover(r, n, m->start + (uint32_t)lo, m->start + (uint32_t)hi) == all);
}

static void ranges_are_the_runs_of_a_bitmap(void)
{
    for (size_t s = 0; s < sizeof starts / sizeof *starts; s++) {
        struct model m = {.start = starts[s]};
        struct range r[CAP + 1];
        struct rng rng = {s};
        unsigned n = 0;
        int lo, hi;

        memset(r, 0xee, sizeof r);
        for (int round = 0; round < ROUNDS; round++) {
            lo = (int)rng_below(&rng, WINDOW - 1);
            hi = lo + 1 + (int)rng_below(&rng, 12);
            hi = hi < WINDOW ? hi : WINDOW;
            switch (rng_below(&rng, 10)) {
            case 0: drop_below(&m, r, &n, lo); break;
            case 1: cut_above(&m, r, &n, hi); break;
            default: add(&m, r, &n, lo, hi);
            }
            check_same(&m, r, n);
            ask(&m, r, n, lo, hi);
            ask(&m, r, n, (int)rng_below(&rng, 48), 48);
        }
        CHECK(r[CAP].lo == 0xeeeeeeee); /* nothing behind cap is written */
    }
}

static void neighbours_become_one_across_the_wrap(void)
{
    struct range r[4];
    unsigned n = 0, absorbed;

    CHECK(ranges_add(r, &n, 4, 0xfffffff0, 0, &absorbed) == 0);
    CHECK(absorbed == 0);
    CHECK(ranges_add(r, &n, 4, 8, 16, &absorbed) == 1);
    CHECK(ranges_add(r, &n, 4, 0, 8, &absorbed) == 0);
    CHECK(absorbed == 2 && n == 1);
    CHECK(r[0].lo == 0xfffffff0 && r[0].hi == 16);
}

static void a_full_array_refuses_what_is_new_and_takes_what_touches(void)
{
    struct range r[2];
    unsigned n = 0, absorbed;

    CHECK(ranges_add(r, &n, 2, 10, 20, &absorbed) == 0);
    CHECK(ranges_add(r, &n, 2, 30, 40, &absorbed) == 1);
    CHECK(ranges_add(r, &n, 2, 50, 60, &absorbed) == -1);
    CHECK(n == 2 && r[1].hi == 40);
    CHECK(ranges_add(r, &n, 2, 40, 60, &absorbed) == 1);
    CHECK(absorbed == 1 && r[1].hi == 60);
}

static void add_nothing(void)
{
    struct range r[2];
    unsigned n = 0, absorbed;

    ranges_add(r, &n, 2, 5, 5, &absorbed);
}

static void an_empty_range_is_the_callers_fault(void)
{
    CHECK(aborts(add_nothing));
}

int main(void)
{
    RUN(ranges_are_the_runs_of_a_bitmap);
    RUN(neighbours_become_one_across_the_wrap);
    RUN(a_full_array_refuses_what_is_new_and_takes_what_touches);
    RUN(an_empty_range_is_the_callers_fault);
    return 0;
}
