/* SPDX-License-Identifier: BSD-3-Clause */
/* Congestion control: how much may be in flight. It owns its window and is fed
 * numbers, never the TCB; recovery (recovery.c) decides which bytes are sent.
 *
 * There is one so far, and its callers name it. The second brings the choice;
 * CONTRIBUTING.md says how.                                                 */
#pragma once
#include <stdint.h>

#include "../ustack.h"

enum { CC_SSTHRESH_NONE = 0xffffffff };

struct cc {
    uint32_t cwnd;     /* bytes */
    uint32_t ssthresh; /* bytes; CC_SSTHRESH_NONE: not set yet */
    uint32_t mss;
    uint32_t acked; /* bytes acknowledged since cwnd last grew (ABC) */
};

struct cc_ack {
    ust_time now;
    uint32_t acked;     /* bytes newly acknowledged */
    uint32_t in_flight; /* bytes, before this ACK */
    uint32_t srtt_us;
    int cwnd_limited; /* cwnd was what held sending back */
};

struct cc_ops {
    const char *name;
    void (*init)(struct cc *cc, uint32_t mss, uint32_t initial_window);
    void (*on_ack)(struct cc *cc, const struct cc_ack *ack);
    void (*on_loss)(struct cc *cc, uint32_t in_flight); /* entering recovery */
    void (*on_rto)(struct cc *cc, uint32_t in_flight, int first);
    void (*on_recovered)(struct cc *cc, uint32_t in_flight);
    void (*on_idle)(struct cc *cc, uint32_t initial_window); /* idle for an RTO */
};

extern const struct cc_ops cc_newreno;
