/* SPDX-License-Identifier: BSD-3-Clause */
/* What the workers of one stack share, whether processes or threads: a lane of
 * frames from each to each other, a doorbell and a status block for each.
 *
 *   worker[N] | index pairs of the N x N lanes | slots of the lanes
 *
 * A frame that meets the engine of another flow's owner is copied into the
 * lane to its owner, and out of it there: nobody keeps what is another's, and
 * a worker that dies leaves nothing to reclaim. A full lane loses the frame,
 * counted: the path is for the few that a port steers elsewhere.
 *
 *  W1  a cache line is written by one worker, or by none: a lane's head and
 *      slots by its producer, its tail by its consumer, a worker's block by
 *      itself. Who rings a bell writes nothing: asleep counts the sleeps, odd
 *      within one, and a ringer remembers which it has rung for.
 *  W2  number i has one user at a time; a successor goes on where the indices
 *      are, and skips what was for its predecessor.
 *
 * To its worker it is a port whose queues are the workers' numbers: what is
 * sent on queue i goes to worker i. The memory is inherited by fork(), so that
 * it has no name and ends with its users.
 *
 * Not here: which frames are whose (net/), when they move (handover.c).      */
#pragma once
#include "lane.h"

enum {
    CREW_SLOTS = 256, /* of a lane: eight super-segments */
    CREW_FIELDS = sizeof(struct ust_crew_status) / sizeof(uint64_t),
};

struct crew_worker { /* written by this worker alone */
    alignas(RING_LINE) _Atomic uint32_t asleep;
    alignas(RING_LINE) _Atomic uint64_t status[CREW_FIELDS];
};

struct ust_crew {
    unsigned n;
    size_t size;
    struct crew_worker *workers; /* what is shared begins here */
    struct ring_index *lanes;    /* [from][to] */
    struct slot *slots;
    int bells[PORT_MAX_QUEUES];
};

/* Puts a copy of a frame into the lane to a worker, not yet visible to it; false,
 * counted, when there is no room. crew: from ust_crew_join(). */
bool crew_put(struct ust_port *crew, unsigned to, const struct mbuf_pool *pool,
              const struct mbuf *m);
/* Shows the others what has been put, and wakes who sleeps. */
void crew_flush(struct ust_port *crew);
/* Writes what the worker knows into its status block; what the port counts is
 * filled in here. */
void crew_report(struct ust_port *crew, struct ust_crew_status *status);
