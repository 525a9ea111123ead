/* SPDX-License-Identifier: BSD-3-Clause */
/* HyStart++ (RFC 9406): leave slow start when round trips grow longer, before
 * the queue overflows. Instead of leaving at once it grows more slowly for some
 * rounds (conservative slow start), and returns if the delay was a jitter.
 *
 * Only for the first slow start of a connection. Limit L is unlimited, as
 * segments are paced (RFC 9406 4.3).                                        */
#pragma once
#include "cc.h"

struct hystart {
    uint32_t round_end;           /* a round trip ends when this is acknowledged */
    uint32_t last_min, this_min;  /* least RTT of the rounds, us; UINT32_MAX: none */
    uint32_t baseline;            /* of conservative slow start; UINT32_MAX: not in it */
    uint8_t samples, slow_rounds; /* in this round; of conservative slow start */
    bool begun;
};

void hystart_init(struct hystart *h);
/* An ACK in slow start: how many of its bytes count for growth. Sets ssthresh
 * to cwnd when slow start is over. */
uint32_t hystart_acked(struct hystart *h, struct cc *cc, const struct cc_ack *ack);
