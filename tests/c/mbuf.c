/* SPDX-License-Identifier: BSD-3-Clause */
/* The mbuf pool, references and chains against plain byte strings.
 * Sources: base/mbuf.c base/checksum.c */
#include "base/mbuf.h"

#include <string.h>

#include "base/checksum.h"
#include "base/rng.h"
#include "check.h"

enum { SMALL = 12, LARGE = 3, REFS = 24, FRAMES = 16, ROUNDS = 100000 };

static struct mbuf_pool pool;
static struct faults faults;

static void *zeroed(size_t size)
{
    size = (size + 63) & ~(size_t)63;
    return memset(aligned_alloc(64, size), 0, size);
}

static void open_pool(uint32_t small, uint32_t large, uint32_t refs)
{
    faults = (struct faults){0, 0};
    mbuf_pool_init(&pool, zeroed(mbuf_pool_meta_size(small, large, refs)),
                   zeroed(mbuf_pool_data_size(small, large)), small, large, refs, &faults);
    CHECK(mbuf_pool_check(&pool) == 0);
}

static bool all_free(void)
{
    return mbuf_pool_check(&pool) == 0 && memcmp(pool.n, pool.n_free, sizeof pool.n) == 0;
}

/* Gives the memory back, when every mbuf is home. */
static void close_pool(void)
{
    CHECK(all_free());
    free(pool.meta);
    free(pool.base);
}

/* ------------------------------------------------ frames and their bytes */

struct frame {
    struct mbuf *m; /* NULL: no frame here */
    uint8_t *bytes; /* what it should hold */
    uint32_t len;
};

static void put(struct mbuf *m, const uint8_t *bytes, uint32_t len)
{
    CHECK(mbuf_tailroom(m) >= len);
    memcpy(mbuf_data(&pool, m) + m->len, bytes, len);
    m->len += len;
    m->frame_len += len;
}

static bool make(struct frame *f, struct rng *rng)
{
    uint32_t len = rng_below(rng, rng_below(rng, 4) ? 200 : 5000);

    f->m = mbuf_alloc_for(&pool, len);
    if (!f->m)
        return false;
    CHECK(f->m->len == 0 && f->m->frame_len == 0 && f->m->refs == 1);
    CHECK(f->m->off == MBUF_HEADROOM && f->m->next == MBUF_NONE);
    CHECK(f->m->flags == 0 && f->m->gso_size == 0 && f->m->rss_hash == 0);
    CHECK(f->m->csum_offset == 0 && f->m->seq == 0);
    f->bytes = malloc(len + 1);
    f->len = len;
    for (uint32_t i = 0; i < len; i++)
        f->bytes[i] = (uint8_t)rng_next(rng);
    put(f->m, f->bytes, len);
    return true;
}

static void drop(struct frame *f)
{
    f->m->flags = 0xff; /* the next owner must not find these */
    f->m->gso_size = f->m->csum_offset = 0xffff;
    f->m->rss_hash = f->m->seq = 0xffffffff;
    mbuf_free(&pool, f->m);
    free(f->bytes);
    *f = (struct frame){NULL, NULL, 0};
}

/* A reference to a part of a's first mbuf. */
static bool refer(struct frame *f, const struct frame *a, struct rng *rng)
{
    uint32_t skip = rng_below(rng, a->m->len + 1);
    uint32_t len = rng_below(rng, a->m->len - skip + 1);

    f->m = mbuf_ref(&pool, a->m, skip, len);
    if (!f->m)
        return false;
    CHECK(mbuf_tailroom(f->m) == 0);
    f->bytes = malloc(len + 1);
    f->len = len;
    memcpy(f->bytes, a->bytes + skip, len);
    return true;
}

/* Appends b to a; b is gone. */
static void chain(struct frame *a, struct frame *b)
{
    struct mbuf *last = a->m;

    while (last->next != MBUF_NONE)
        last = mbuf_at(&pool, last->next);
    last->next = mbuf_index(&pool, b->m);
    a->m->frame_len += b->len;
    a->bytes = realloc(a->bytes, a->len + b->len + 1);
    memcpy(a->bytes + a->len, b->bytes, b->len);
    a->len += b->len;
    free(b->bytes);
    *b = (struct frame){NULL, NULL, 0};
}

static void trim(struct frame *f, struct rng *rng)
{
    uint32_t n = rng_below(rng, f->len + 1);

    if (rng_below(rng, 2)) {
        mbuf_trim_front(&pool, f->m, n);
        memmove(f->bytes, f->bytes + n, f->len - n);
    } else {
        mbuf_trim_to(&pool, f->m, f->len - n);
    }
    f->len -= n;
}

/* Whole and in a part, copied out and summed. */
static void check_frame(const struct frame *f, struct rng *rng)
{
    uint8_t *copy = malloc(f->len + 1);
    uint32_t off = rng_below(rng, f->len + 1);
    uint32_t len = rng_below(rng, f->len - off + 1);

    CHECK(f->m->frame_len == f->len);
    CHECK(mbuf_copy_out(&pool, f->m, 0, copy, f->len + 1) == f->len);
    CHECK(memcmp(copy, f->bytes, f->len) == 0);
    CHECK(mbuf_copy_out(&pool, f->m, off, copy, len) == len);
    CHECK(memcmp(copy, f->bytes + off, len) == 0);
    CHECK(checksum_fold(mbuf_checksum(&pool, f->m, off, len, 0)) ==
          checksum_fold(checksum_add(f->bytes + off, len, 0)));
    free(copy);
}

static void step(struct frame *f, struct frame *g, struct rng *rng)
{
    if (!f->m) {
        if (!g->m || rng_below(rng, 2))
            make(f, rng);
        else
            refer(f, g, rng);
        return;
    }
    check_frame(f, rng);
    switch (rng_below(rng, 4)) {
    case 0: trim(f, rng); break;
    case 1: drop(f); break;
    case 2:
        if (g->m && g != f)
            chain(f, g);
        break;
    default: break;
    }
}

static void frames_keep_their_bytes_whatever_others_do(void)
{
    struct frame frames[FRAMES] = {{0}};
    struct rng rng = {1};

    open_pool(SMALL, LARGE, REFS);
    for (int round = 0; round < ROUNDS; round++) {
        step(&frames[rng_below(&rng, FRAMES)], &frames[rng_below(&rng, FRAMES)], &rng);
        CHECK(mbuf_pool_check(&pool) == 0);
    }
    for (int i = 0; i < FRAMES; i++)
        if (frames[i].m)
            drop(&frames[i]);
    close_pool();
}

/* ------------------------------------------------------------ the pool */

static void the_last_mbuf_freed_is_the_next_given_out(void)
{
    struct mbuf *a, *b;

    open_pool(4, 1, 1);
    a = mbuf_alloc(&pool, MBUF_SMALL);
    b = mbuf_alloc(&pool, MBUF_SMALL);
    CHECK(a != b);
    mbuf_free(&pool, a);
    CHECK(mbuf_alloc(&pool, MBUF_SMALL) == a);
    mbuf_free(&pool, a);
    mbuf_free(&pool, b);
    close_pool();
}

static void an_empty_class_gives_null_and_recovers(void)
{
    struct mbuf *m[4];

    open_pool(4, 0, 0);
    for (int i = 0; i < 4; i++)
        CHECK((m[i] = mbuf_alloc(&pool, MBUF_SMALL)) != NULL);
    CHECK(mbuf_alloc(&pool, MBUF_SMALL) == NULL);
    CHECK(mbuf_alloc(&pool, MBUF_LARGE) == NULL);
    CHECK(mbuf_ref(&pool, m[0], 0, 0) == NULL);
    CHECK(m[0]->refs == 1);
    for (int i = 0; i < 4; i++)
        mbuf_free(&pool, m[i]);
    close_pool();
}

static void alloc_for_takes_the_smallest_class_that_has_one(void)
{
    struct mbuf *small, *large, *instead;

    open_pool(1, 2, 0);
    small = mbuf_alloc_for(&pool, MBUF_SMALL_SIZE - MBUF_HEADROOM);
    large = mbuf_alloc_for(&pool, MBUF_SMALL_SIZE - MBUF_HEADROOM + 1);
    instead = mbuf_alloc_for(&pool, 1);
    CHECK(small->cls == MBUF_SMALL);
    CHECK(large->cls == MBUF_LARGE && instead->cls == MBUF_LARGE);
    CHECK(mbuf_alloc_for(&pool, 1) == NULL);
    mbuf_free(&pool, large);
    CHECK(mbuf_alloc_for(&pool, MBUF_LARGE_SIZE - MBUF_HEADROOM + 1) == NULL);
    mbuf_free(&pool, small);
    mbuf_free(&pool, instead);
    close_pool();
}

static void a_buffer_outlives_its_mbuf_as_long_as_it_is_named(void)
{
    struct mbuf *m, *ref, *of_ref;

    open_pool(1, 0, 2);
    m = mbuf_alloc(&pool, MBUF_SMALL);
    put(m, (const uint8_t *)"0123456789", 10);
    ref = mbuf_ref(&pool, m, 2, 6);
    of_ref = mbuf_ref(&pool, ref, 1, 3);
    CHECK(m->refs == 3);
    mbuf_free(&pool, m);
    mbuf_free(&pool, ref);
    CHECK(mbuf_alloc(&pool, MBUF_SMALL) == NULL);
    CHECK(memcmp(mbuf_data(&pool, of_ref), "345", 3) == 0);
    mbuf_free(&pool, of_ref);
    close_pool();
}

static void more_references_than_refs_can_count_are_refused(void)
{
    enum { MANY = UINT16_MAX };
    static struct mbuf *refs[MANY];
    struct mbuf *m;

    open_pool(1, 0, MANY);
    m = mbuf_alloc(&pool, MBUF_SMALL);
    for (int i = 0; i < MANY - 1; i++)
        CHECK((refs[i] = mbuf_ref(&pool, m, 0, 0)) != NULL);
    CHECK(mbuf_ref(&pool, m, 0, 0) == NULL);
    for (int i = 0; i < MANY - 1; i++)
        mbuf_free(&pool, refs[i]);
    mbuf_free(&pool, m);
    close_pool();
}

static void buffers_do_not_overlap(void)
{
    struct mbuf *m[6];

    open_pool(3, 3, 0);
    for (int i = 0; i < 6; i++) {
        m[i] = mbuf_alloc(&pool, i < 3 ? MBUF_SMALL : MBUF_LARGE);
        mbuf_push(&pool, m[i], MBUF_HEADROOM);
        m[i]->len = mbuf_size(m[i]);
        memset(mbuf_data(&pool, m[i]), i, m[i]->len);
    }
    for (int i = 0; i < 6; i++) {
        for (uint32_t at = 0; at < m[i]->len; at++)
            CHECK(mbuf_data(&pool, m[i])[at] == i);
        mbuf_free(&pool, m[i]);
    }
    close_pool();
}

static void a_queue_gives_frames_in_their_order(void)
{
    struct mbuf *m[3];
    struct mbuf_queue q;

    open_pool(3, 0, 0);
    mbuf_queue_init(&q);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++)
            mbuf_enqueue(&pool, &q, m[i] = mbuf_alloc(&pool, MBUF_SMALL));
        CHECK(q.count == 3);
        for (int i = 0; i < 3; i++) {
            CHECK(mbuf_dequeue(&pool, &q) == m[i]);
            mbuf_free(&pool, m[i]);
        }
        CHECK(mbuf_dequeue(&pool, &q) == NULL);
    }
    close_pool();
}

/* -------------------------------------------------------------- faults */

static void the_nth_allocation_fails_and_no_other(void)
{
    struct mbuf *m[4];

    open_pool(4, 4, 4);
    faults.left = 3;
    m[0] = mbuf_alloc(&pool, MBUF_SMALL);
    m[1] = mbuf_ref(&pool, m[0], 0, 0);
    CHECK(m[0] && m[1]);
    CHECK(mbuf_alloc_for(&pool, 1) == NULL);
    m[2] = mbuf_alloc(&pool, MBUF_LARGE);
    CHECK(m[2]);
    for (int i = 0; i < 3; i++)
        mbuf_free(&pool, m[i]);
    close_pool();
}

static void each_nth_allocation_fails_when_told_to(void)
{
    struct mbuf *m;

    open_pool(4, 4, 4);
    faults = (struct faults){.left = 2, .every = 2};
    for (int i = 0; i < 10; i++) {
        m = mbuf_alloc(&pool, MBUF_SMALL);
        CHECK((m == NULL) == (i % 2 == 1));
        mbuf_free(&pool, m);
    }
    close_pool();
}

/* -------------------------------------------------- what debug builds catch */

static void free_twice(void)
{
    struct mbuf *m = mbuf_alloc(&pool, MBUF_SMALL);

    mbuf_free(&pool, m);
    mbuf_free(&pool, m);
}

static void free_a_reference_twice(void)
{
    struct mbuf *m = mbuf_alloc(&pool, MBUF_SMALL);
    struct mbuf *ref = mbuf_ref(&pool, m, 0, 0);

    mbuf_free(&pool, ref);
    mbuf_free(&pool, ref);
}

static void free_the_owner_for_its_reference(void)
{
    struct mbuf *m = mbuf_alloc(&pool, MBUF_SMALL);
    struct mbuf *ref = mbuf_ref(&pool, m, 0, 0);

    mbuf_free(&pool, m);
    mbuf_free(&pool, m);
    mbuf_free(&pool, ref);
}

static void refer_to_a_free_mbuf(void)
{
    struct mbuf *m = mbuf_alloc(&pool, MBUF_SMALL);

    mbuf_free(&pool, m);
    mbuf_ref(&pool, m, 0, 0);
}

static void refer_past_the_end(void)
{
    mbuf_ref(&pool, mbuf_alloc(&pool, MBUF_SMALL), 0, 1);
}

static void allocate_a_reference(void)
{
    mbuf_alloc(&pool, MBUF_REF);
}

static void misuse_aborts(void)
{
    open_pool(2, 2, 2);
    CHECK(aborts(free_twice));
    CHECK(aborts(free_a_reference_twice));
    CHECK(aborts(free_the_owner_for_its_reference));
    CHECK(aborts(refer_to_a_free_mbuf));
    CHECK(aborts(refer_past_the_end));
    CHECK(aborts(allocate_a_reference));
    close_pool();
}

static void the_check_notices_a_leak_and_a_broken_list(void)
{
    struct mbuf *m, *ref;

    open_pool(2, 0, 1);
    m = mbuf_alloc(&pool, MBUF_SMALL);
    CHECK(!all_free());
    m->refs = 0; /* dropped without going home */
    CHECK(mbuf_pool_check(&pool) == 1);
    m->refs = 1;
    ref = mbuf_ref(&pool, m, 0, 0);
    m->refs = 1;
    mbuf_free(&pool, m); /* home too soon */
    CHECK(mbuf_pool_check(&pool) == 2);
    ref->refs = 0;
    free(pool.meta);
    free(pool.base);
}

int main(void)
{
    RUN(frames_keep_their_bytes_whatever_others_do);
    RUN(the_last_mbuf_freed_is_the_next_given_out);
    RUN(an_empty_class_gives_null_and_recovers);
    RUN(alloc_for_takes_the_smallest_class_that_has_one);
    RUN(a_buffer_outlives_its_mbuf_as_long_as_it_is_named);
    RUN(more_references_than_refs_can_count_are_refused);
    RUN(buffers_do_not_overlap);
    RUN(a_queue_gives_frames_in_their_order);
    RUN(the_nth_allocation_fails_and_no_other);
    RUN(each_nth_allocation_fails_when_told_to);
    RUN(misuse_aborts);
    RUN(the_check_notices_a_leak_and_a_broken_list);
    return 0;
}
