/* SPDX-License-Identifier: BSD-3-Clause */
/* The shared memory of a ring port: its layout, and who may use which queue.
 *
 *   header | side 0 | side 1 | index pairs of all lanes | slots of all lanes
 *
 * A lane carries frames from one tx queue of one side to one rx queue of the
 * other, so that every lane has one producer and one consumer. A frame takes
 * as many consecutive slots as it needs; its metadata is in the first.
 *
 * A named segment is a file that its users lock byte by byte (open file
 * description locks, which die with their process):
 *   byte 0             held while somebody joins or leaves
 *   byte 1 + s         held by whoever has side s as a whole
 *   byte 3 + 16 s + q  held by the user of queue q of side s
 * One user has a side and all its queues; or else one keeps the side and uses
 * no queue, so that it stays theirs, and several use a queue each. The first to
 * come initializes the segment, the last to leave removes it. What was left,
 * orderly or not, may be taken again while all others go on: the newcomer picks
 * up the indices as they are, and skips what was addressed to its predecessor.
 *
 * Doorbells are FIFOs beside the file (eventfds in an unnamed segment), one
 * per side and queue, that every user holds open for reading and writing: so
 * a newcomer needs no descriptor from anybody.
 *
 * The other side is of the same user but is not trusted: what it wrote is
 * loaded once and checked. It could truncate the file; that is not survived. */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

#include "../base/ring.h"
#include "../base/rss.h"
#include "port.h"

enum {
    SEGMENT_RETA_MAX = 512,
    SEGMENT_SLOTS_DEFAULT = 1024,
    SEGMENT_SLOTS_MAX = 65536,
    SEGMENT_PATH_SIZE = 128,
    SLOT_SIZE = 2048 + 64, /* an odd number of lines: all cache sets */
    SLOT_HEAD = 24,
    SLOT_DATA = SLOT_SIZE - SLOT_HEAD,
};

struct slot {
    _Atomic uint64_t meta[SLOT_HEAD / 8]; /* of the frame, in its first slot */
    uint8_t data[SLOT_DATA];
};

/* How one side wants its frames spread; written by that side, live. */
struct segment_rss {
    _Atomic uint32_t key[RSS_KEY_LEN / 4];
    _Atomic uint32_t n_reta;
    _Atomic uint16_t reta[SEGMENT_RETA_MAX];
};

struct segment_queue {
    alignas(RING_LINE) _Atomic uint32_t armed; /* its worker sleeps */
    _Atomic uint32_t present;
};

struct segment_side {
    alignas(RING_LINE) struct segment_rss rss;
    struct segment_queue queue[PORT_MAX_QUEUES];
};

/* What one user has of a segment. */
struct segment_share {
    int side;  /* 0, 1, or -1: whichever is free */
    int queue; /* its number, or enum ust_ring_queue */
};

struct segment_params { /* both sides must agree on them */
    uint32_t n_queues;
    uint32_t mtu;
    uint32_t n_slots; /* of a receive queue, over all lanes that feed it */
    uint32_t caps;
};

struct segment_header {
    _Atomic uint64_t magic;
    struct segment_params params;
    struct segment_side side[2];
};

/* A mapped segment. The ends of a pair share one. */
struct segment {
    struct segment_params params;
    uint32_t lane_slots;
    size_t size;
    struct segment_header *header;
    struct ring_index *lanes;
    struct slot *slots;
    int bells[2][PORT_MAX_QUEUES];
    int fd;                       /* the locked file, -1 for an unnamed segment */
    pid_t pid;                    /* who joined: a forked child does not remove it */
    _Atomic unsigned n_users;     /* ends in this process */
    char path[SEGMENT_PATH_SIZE]; /* "" for an unnamed segment */
};

/* Normalizes params (n_slots 0: the default; capabilities that imply others)
 * and checks them: 0 or -EINVAL. */
int segment_check_params(struct segment_params *params);

/* Joins the named segment with this share (a side of -1 is then stored), or
 * creates it. NULL with *err set. */
struct segment *segment_join(const char *name, struct segment_share *share,
                             const struct segment_params *params, int *err);
/* An unnamed segment, both sides of which are here and must be left. */
struct segment *segment_unnamed(const struct segment_params *params, int *err);
/* Leaves its share; the last to leave removes the segment. */
void segment_leave(struct segment *seg, const struct segment_share *share);
/* Is anybody on the other side? */
bool segment_peer_present(const struct segment *seg, int side);
/* Has a queue of a side a user who lives? */
bool segment_queue_served(const struct segment *seg, int side, unsigned queue);

/* The queues of a share: the first, and the one behind the last. */
static inline unsigned share_first(const struct segment_share *share)
{
    return share->queue < 0 ? 0 : (unsigned)share->queue;
}

static inline unsigned share_end(const struct segment_share *share, unsigned n_queues)
{
    return share->queue == UST_RING_ALL    ? n_queues
         : share->queue == UST_RING_KEEPER ? 0
                                           : (unsigned)share->queue + 1;
}

/* The number of the lane from tx queue txq of a side to the other's rxq. */
static inline uint32_t segment_lane(const struct segment *seg, int side, unsigned txq, unsigned rxq)
{
    uint32_t n = seg->params.n_queues;

    return ((uint32_t)side * n + txq) * n + rxq;
}

/* The longest frame a segment carries. */
static inline uint32_t segment_max_frame(const struct segment *seg)
{
    return PORT_ETH_LEN +
           (seg->params.caps & (UST_CAP_TSO | UST_CAP_USO) ? 65535 : seg->params.mtu);
}

static inline uint32_t slots_of(uint32_t frame_len)
{
    return (frame_len + SLOT_DATA - 1) / SLOT_DATA;
}
