/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames in the slots of a lane: copied in by its producer, out by its
 * consumer. What the producer wrote is checked before it is used.
 *
 * A lane is between the two sides of a wire, or within a stack: then the frame
 * arrives as the sender's engine knew it, with what was found out about it.
 *
 * Not here: which lane, and when the other side learns of it.               */
#pragma once
#include "segment.h"

/* Where a lane is, and what it carries. */
struct lane_place {
    struct ring_index *index;
    struct slot *slots;
    uint32_t n_slots;
    uint32_t max_frame;
    uint32_t caps;
    bool within; /* a stack */
};

struct tx_lane { /* to one rx queue of the other side; private */
    alignas(RING_LINE) struct ring_producer ring;
    struct slot *slots;
    uint32_t published; /* ring.head as the other side knows it */
    uint32_t deserted_at;
    bool within;
    bool deserted; /* the tail stood at deserted_at, and nobody was there */
};

struct rx_lane { /* from one tx queue of the other side; private */
    alignas(RING_LINE) struct ring_consumer ring;
    struct slot *slots;
    uint32_t max_frame;
    uint32_t caps;
    bool within;
};

/* Take over either end of a lane. They go on where the indices are:
 * what we write follows what a predecessor wrote, what it did not read is
 * skipped: so many frames. An impossible pair of indices is made an empty one. */
void lane_adopt_tx(struct tx_lane *lane, const struct lane_place *place);
unsigned lane_adopt_rx(struct rx_lane *lane, const struct lane_place *place);

/* Writes a frame behind what is there, not yet published; false when it does
 * not fit. */
bool lane_put(struct tx_lane *lane, const struct mbuf_pool *pool, const struct mbuf *m,
              uint32_t rss_hash);
/* Shows the consumer what was put since the last time: was there any? */
bool lane_publish(struct tx_lane *lane);
/* Receives up to max frames, and counts them. */
unsigned lane_take(struct rx_lane *lane, struct ust_port_stats *st, struct mbuf_pool *pool,
                   struct mbuf **burst, unsigned max);
