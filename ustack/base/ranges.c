/* SPDX-License-Identifier: BSD-3-Clause */
/* Ranges of a 32-bit space that wraps: see ranges.h for what always holds.
 */
#include "ranges.h"

#include <assert.h>
#include <string.h>

/* Is a before b, in the order of a space that wraps? */
static inline bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

/* Makes the entries [i, j) one entry. */
static void squeeze(struct range *r, unsigned *n, unsigned i, unsigned j)
{
    memmove(&r[i + 1], &r[j], (*n - j) * sizeof *r);
    *n -= j - i - 1;
}

/* The first range that ends at or after x; n if none does. */
static unsigned ends_from(const struct range *r, unsigned n, uint32_t x)
{
    unsigned lo = 0, hi = n;

    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;

        if (before(r[mid].hi, x))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

unsigned ranges_find(const struct range *r, unsigned n, uint32_t x)
{
    return ends_from(r, n, x + 1);
}

int ranges_add(struct range *r, unsigned *n, unsigned cap, uint32_t lo, uint32_t hi,
               unsigned *absorbed)
{
    unsigned i = ends_from(r, *n, lo), j = i;

    assert(before(lo, hi));
    while (j < *n && !before(hi, r[j].lo))
        j++;
    *absorbed = j - i; /* [i, j) touch or overlap [lo, hi) */
    if (i == j) {
        if (*n >= cap)
            return -1;
        memmove(&r[i + 1], &r[i], (*n - i) * sizeof *r);
        r[i] = (struct range){lo, hi};
        ++*n;
        return (int)i;
    }
    if (before(r[i].lo, lo))
        lo = r[i].lo;
    if (before(hi, r[j - 1].hi))
        hi = r[j - 1].hi;
    squeeze(r, n, i, j);
    r[i] = (struct range){lo, hi};
    return (int)i;
}

unsigned ranges_drop_below(struct range *r, unsigned *n, uint32_t lo)
{
    unsigned gone = 0;

    while (gone < *n && !before(lo, r[gone].hi))
        gone++;
    *n -= gone;
    if (gone > 0)
        memmove(&r[0], &r[gone], *n * sizeof *r);
    if (*n > 0 && before(r[0].lo, lo))
        r[0].lo = lo;
    return gone;
}

unsigned ranges_cut_above(struct range *r, unsigned *n, uint32_t hi)
{
    unsigned was = *n;

    while (*n > 0 && !before(r[*n - 1].lo, hi))
        --*n;
    if (*n > 0 && before(hi, r[*n - 1].hi))
        r[*n - 1].hi = hi;
    return was - *n;
}

bool ranges_cover(const struct range *r, unsigned n, uint32_t lo, uint32_t hi)
{
    unsigned i = ranges_find(r, n, lo);

    return i < n && !before(lo, r[i].lo) && !before(r[i].hi, hi);
}
