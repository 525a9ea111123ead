/* SPDX-License-Identifier: BSD-3-Clause */
/* Congestion control: how much may be in flight. Recovery (recovery.c) decides
 * which bytes are sent again; congestion.c stands between the TCB and this.
 *
 * An algorithm is a const struct cc_ops. It owns the window, is fed numbers,
 * and never sees the TCB. What it must remember besides struct cc goes into a
 * state of its own, which a connection takes from a pool when it first needs
 * one and may lose while it is idle; init() makes a new one.
 *
 *  C1  mss <= cwnd <= CC_CWND_MAX once a connection is established           */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../ustack.h"

enum {
    CC_SSTHRESH_NONE = 0xffffffff,
    CC_CWND_MAX = 1 << 30,
    CC_STATE_SIZE = 128, /* bytes; two cache lines */
    CC_NO_STATE = 0xffffffff,
};

struct cc {
    uint32_t cwnd;     /* bytes */
    uint32_t ssthresh; /* bytes; CC_SSTHRESH_NONE: not set yet */
    uint32_t mss;
    uint32_t acked;                      /* bytes acknowledged since cwnd last grew (ABC) */
    uint32_t prior_cwnd, prior_ssthresh; /* before the last reduction: for undo */
    uint32_t state;                      /* index of its cc_state, or CC_NO_STATE */
    uint8_t algorithm;                   /* enum ust_cc */
    uint64_t pacing_rate;                /* bytes/s; 0: as cwnd and the RTT give it (pace.c) */
};

/* What one ACK tells. */
struct cc_ack {
    ust_time now;
    uint32_t acked;     /* bytes newly delivered, in order or not */
    uint32_t ce_bytes;  /* of them, with a congestion mark */
    uint32_t in_flight; /* bytes, before this ACK */
    uint32_t pipe;      /* bytes thought to be in the network after it */
    uint32_t lost;      /* packets newly thought lost */
    uint64_t rate;      /* bytes/s that the path has just delivered; 0: not measured (rate.c) … */
    bool app_limited;   /* … while the application had no more to send */
    uint32_t delivered; /* packets so far; wraps */
    uint32_t prior_delivered; /* the same when what rate was measured by was sent */
    uint8_t ca_state;         /* enum ust_ca_state */
    uint32_t una, nxt;        /* SND.UNA after it, SND.NXT: round trips end by these */
    uint32_t rtt_us;          /* measured by this ACK; 0: none */
    uint32_t srtt_us;         /* 0: none yet */
    uint32_t min_rtt_us;      /* UINT32_MAX: none yet */
    bool may_grow;            /* no reduction is under way */
    bool cwnd_limited;        /* and cwnd is what holds sending back */
};

enum cc_cause {
    CC_LOSS, /* recovery begins */
    CC_ECN,  /* the peer echoed a congestion mark: at most once in a round trip */
};

struct cc_ops {
    bool owns_window;  /* also in recovery, and when idle: nobody else reduces it */
    bool needs_ecn;    /* works by marks: asks for ECN, and wants each one echoed */
    bool only_limited; /* on_ack() does nothing unless cwnd_limited */
    size_t state_size; /* at most CC_STATE_SIZE; 0: needs none, and state is NULL */
    void (*init)(struct cc *cc, void *state);
    void (*on_ack)(struct cc *cc, void *state, const struct cc_ack *ack);
    /* Sets ssthresh; cwnd follows it when the reduction is complete. */
    void (*on_loss)(struct cc *cc, void *state, enum cc_cause cause, uint32_t in_flight);
    /* The loss was none; cwnd and ssthresh are as before already. */
    void (*on_undo)(struct cc *cc, void *state);
    /* Sends again after having had nothing in flight for so long. */
    void (*on_restart)(struct cc *cc, void *state, ust_time idle);
};

/* By enum ust_cc. */
extern const struct cc_ops *const cc_table[UST_CCS];
extern const char *const cc_names[UST_CCS + 1]; /* NULL at the end */

/* What a connection's "python" has to tell; it is the cc_state. See report.c. */
struct cc_report {
    uint64_t acked;
    ust_time idle;
    uint32_t news; /* enum ust_cc_news; 0: nothing, and it is in no list */
    uint32_t in_flight, rtt_us, n_acks, round_end;
    bool limited, per_round;
};

extern const struct cc_ops cc_newreno, cc_cubic, cc_dctcp, cc_bbr, cc_python;

static inline bool cc_in_slow_start(const struct cc *cc)
{
    return cc->cwnd < cc->ssthresh;
}

/* Slow start, up to ssthresh: what is left of acked is for congestion avoidance
 * (RFC 5681 3.1; no limit L of RFC 3465, as Linux). */
uint32_t cc_slow_start(struct cc *cc, uint32_t acked);
/* One segment more for each `need` bytes acknowledged (RFC 3465 2.1). */
void cc_grow(struct cc *cc, uint32_t need, uint32_t acked);
/* Whole segments of so many bytes, two at least (RFC 5681 equation 4). */
uint32_t cc_whole(const struct cc *cc, uint64_t bytes);
