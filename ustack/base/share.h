/* SPDX-License-Identifier: BSD-3-Clause */
/* How sockets share the pool of buffers: dynamic thresholds (Choudhury and Hahne,
 * 1998). A socket may take another buffer while it holds less than a part, by
 * default half, of what is free above a floor: one that takes all it can ends
 * with a third of that, n of them with 1/(n+2) each, and the next one finds
 * something, too.
 * Nobody is counted, nobody has to give back, and far from the bound nobody
 * notices.
 *
 *   | in use ...           | free           | floor         | reserve |
 *                            held < free/2    held < least    control
 *
 * The floor (mbuf.share_floor) is kept for sockets that hold less than the least
 * (mbuf.share_least), so that whoever comes late gets on all the same. Even the
 * least shrinks, to a sixteenth of what is left, but not below one buffer. The
 * reserve (mbuf.reserve) is for segments without text.
 *
 * What a socket holds is counted for receiving and for sending apart.
 *
 * These are asked several times a segment, so the answer that is nearly always
 * right, that there is enough, is found by a product; the division comes after. */
#pragma once
#include "core.h"

enum { SHARE_LEAST_PART = 16 };

/* Bytes of free buffers of a class, but for the reserve. */
static inline uint64_t share_free(const struct core *core, enum mbuf_class cls)
{
    uint64_t free = core->pool.n_free[cls], reserve = (uint64_t)core->set.mbuf_reserve;

    if (cls == MBUF_LARGE)
        return free * MBUF_LARGE_SIZE;
    return free > reserve ? (free - reserve) * MBUF_SMALL_SIZE : 0;
}

/* Bytes that one socket may hold while so many are free and so many of them kept
 * for others, as far as enough: more is not told. */
static inline uint64_t share_of(const struct core *core, uint64_t free, uint64_t kept,
                                uint64_t enough)
{
    uint64_t above = free > kept ? free - kept : 0, part;
    uint64_t least = free / SHARE_LEAST_PART;

    if (above >= enough * (uint64_t)core->set.mbuf_share_part)
        return enough;
    part = above / (uint64_t)core->set.mbuf_share_part;
    if (least > (uint64_t)core->set.mbuf_share_least)
        least = (uint64_t)core->set.mbuf_share_least;
    least = part > least ? part : least;
    return least < enough ? least : enough;
}

static inline uint64_t share_kept_of(const struct core *core, uint64_t total)
{
    return total / 100 * (uint64_t)core->set.mbuf_share_floor;
}

/* The pool or a setting is new. */
static inline void share_settle(struct core *core)
{
    uint64_t small = core->pool.n[MBUF_SMALL] * (uint64_t)MBUF_SMALL_SIZE;
    uint64_t large = core->pool.n[MBUF_LARGE] * (uint64_t)MBUF_LARGE_SIZE;

    core->share_kept[0] = share_kept_of(core, small);
    core->share_kept[1] = share_kept_of(core, small + large);
}

static inline uint64_t share_kept(const struct core *core, enum mbuf_class cls)
{
    if (cls == MBUF_LARGE)
        return share_kept_of(core, core->pool.n[MBUF_LARGE] * (uint64_t)MBUF_LARGE_SIZE);
    return core->share_kept[0];
}

/* May a socket that holds so many bytes keep m, which is taken already? */
static inline bool share_allows(const struct core *core, const struct mbuf *m, uint64_t held)
{
    enum mbuf_class cls = m->cls == MBUF_LARGE ? MBUF_LARGE : MBUF_SMALL;

    return held == 0 ||
           held < share_of(core, share_free(core, cls), share_kept(core, cls), held + 1);
}

/* Bytes of small buffers that it may still take, if the others take as many; as
 * far as enough. */
static inline uint64_t share_room(const struct core *core, uint64_t held, uint64_t enough)
{
    uint64_t most =
        share_of(core, share_free(core, MBUF_SMALL), core->share_kept[0], held + enough);

    return held < most ? most - held : 0;
}

/* The same of small and large ones, for a socket that sends. */
static inline uint64_t share_send_room(const struct core *core, uint64_t held, uint64_t enough)
{
    uint64_t free = share_free(core, MBUF_SMALL) + share_free(core, MBUF_LARGE);
    uint64_t most = share_of(core, free, core->share_kept[1], held + enough);

    if (held == 0 && most < MBUF_SMALL_SIZE)
        most = MBUF_SMALL_SIZE < enough ? MBUF_SMALL_SIZE : enough;
    return held < most ? most - held : 0;
}
