/* SPDX-License-Identifier: BSD-3-Clause */
/* One direction of a link: what its parts know of each other.
 *
 *   ust_link_send ─▶ [is it up? does it fit?] ─▶ queue ─▶ transmitter ─▶ wire ─▶ ust_link_recv
 *                                                queue.c   link.c        wire.c
 *
 * A frame waits in the queue until the transmitter has sent those before it at
 * the link's rate, then spends delay and jitter on the wire, where chance
 * loses, doubles, damages or holds it back. Each chance has a generator of its
 * own, so that more jitter, say, leaves the losses where they were.
 *
 *  L1  the queue is a FIFO of n_frames frames of queued bytes in all
 *  L2  the wire is sorted by arrival; equals stay in the order of sending     */
#pragma once
#include <stdbool.h>

#include "../base/rng.h"
#include "../ustack.h"

#define SIM_MAX_RATE 1000000000000ull    /* bits per second */
#define SIM_MAX_TIME 3600000000000000ull /* ns, 1000 hours */

enum {
    SIM_SMALL = 1600, /* frames up to here come from a free list */
    SIM_CHUNK = 64,   /* frames that are allocated together */
    SIM_MAX_MTU = 65535,
    ETHERNET = 14,
};

struct sim_frame {
    struct sim_frame *next, *prev;
    ust_time at; /* of entering the queue, then of arriving */
    uint32_t len;
    uint8_t data[];
};

struct sim_chunk {
    struct sim_chunk *next;
};

struct fifo {
    struct sim_frame *head, *tail;
};

enum chance {
    CHANCE_STATE,
    CHANCE_LOSS,
    CHANCE_JITTER,
    CHANCE_REORDER,
    CHANCE_DOUBLE,
    CHANCE_DAMAGE,
    N_CHANCES
};

struct codel { /* RFC 8289 4.4's variables */
    ust_time first_above, drop_next;
    uint32_t count, last_count;
    bool dropping;
};

struct ust_link {
    struct ust_link_config cfg;
    struct ust_link_stats stats;
    struct fifo queue;
    struct codel codel;
    ust_time free_at;    /* the transmitter has sent what it was given */
    ust_time counted_to; /* stats.queue_byte_us is complete to here */
    uint64_t rest;       /* of it: byte-nanoseconds, below 1000 */
    struct fifo wire;
    ust_time last_arrival;
    bool bad; /* the Gilbert-Elliott model's state */
    struct rng chances[N_CHANCES];
    uint32_t held; /* frames in queue and wire */
    struct sim_frame *unused;
    struct sim_chunk *chunks;
};

/* link.c */
struct sim_frame *sim_frame_new(struct ust_link *l, uint32_t len);
void sim_frame_free(struct ust_link *l, struct sim_frame *f);
/* The next frame that has arrived by now, which the caller frees; or NULL. */
struct sim_frame *link_take(struct ust_link *l, ust_time now);

/* queue.c */
/* Takes the frame into the queue, or drops it. */
void queue_put(struct ust_link *l, ust_time now, struct sim_frame *f);
/* Brings the statistics up to now. */
void queue_count(struct ust_link *l, ust_time now);
/* The next frame to be sent, or NULL. */
struct sim_frame *queue_take(struct ust_link *l, ust_time now);

/* wire.c */
/* The frame leaves the transmitter at this time. */
void wire_put(struct ust_link *l, ust_time now, struct sim_frame *f);
