/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive-side scaling: which queue of the other side a frame goes to.
 *
 * Frames of a TCP or UDP flow are hashed over addresses and ports, other IP
 * packets and fragments over addresses; what has no flow goes to queue 0.   */
#pragma once
#include "segment.h"

/* A receiver's RSS settings, as one burst uses them. */
struct steer {
    uint8_t key[RSS_KEY_LEN];
    const struct segment_rss *rss;
    uint32_t n_reta; /* checked */
    uint32_t n_queues;
};

void steer_init(struct segment_rss *rss, unsigned n_queues);
/* Stores what is not NULL; 0 or -EINVAL. */
int steer_set(struct segment_rss *rss, unsigned n_queues, const uint8_t *key, const uint16_t *reta,
              unsigned n_reta);
void steer_load(struct steer *s, const struct segment_rss *rss, unsigned n_queues);
/* The queue for a frame; its hash goes into *hash, 0 if it has no flow. */
unsigned steer_queue(const struct steer *s, const struct mbuf_pool *pool, const struct mbuf *m,
                     uint32_t *hash);
