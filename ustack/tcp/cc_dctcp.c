/* SPDX-License-Identifier: BSD-3-Clause */
/* DCTCP (RFC 8257 3.3), for networks whose queues mark early: the window comes
 * down by half of the fraction of bytes that was marked, alpha, so that it
 * follows the queue and does not empty it.
 *
 *   alpha = (1 - g) * alpha + g * F,  F of one round trip,  g = 1/16
 *
 * It grows as Reno does, and a loss halves it. The receiver must tell of each
 * mark: see ecn.c, or AccECN.                                               */
#include "cc.h"
#include "seq.h"

enum { ALPHA_MAX = 1024, G_SHIFT = 4 };

struct dctcp {
    uint32_t alpha; /* 1024ths */
    uint32_t round_end;
    uint64_t acked, marked; /* bytes in this round trip */
    bool begun;
};

static void init(struct cc *cc, void *state)
{
    struct dctcp *d = state;

    (void)cc;
    *d = (struct dctcp){.alpha = ALPHA_MAX}; /* RFC 8257 4.2: careful at first */
}

static void end_round(struct dctcp *d, const struct cc_ack *ack)
{
    uint32_t least = d->alpha >> G_SHIFT;

    if (d->acked > 0) {
        d->alpha -= least ? least : d->alpha; /* the last steps would not be taken */
        d->alpha += (uint32_t)((d->marked << (10 - G_SHIFT)) / d->acked);
        if (d->alpha > ALPHA_MAX)
            d->alpha = ALPHA_MAX;
    }
    d->acked = d->marked = 0;
    d->round_end = ack->nxt;
}

static void on_ack(struct cc *cc, void *state, const struct cc_ack *ack)
{
    struct dctcp *d = state;

    if (!d->begun) {
        d->begun = true;
        d->round_end = ack->nxt;
    }
    d->acked += ack->acked;
    d->marked += ack->ce_bytes < ack->acked ? ack->ce_bytes : ack->acked;
    if (seq_geq(ack->una, d->round_end))
        end_round(d, ack);
    cc_newreno.on_ack(cc, NULL, ack);
}

static void on_loss(struct cc *cc, void *state, enum cc_cause cause, uint32_t in_flight)
{
    struct dctcp *d = state;
    uint64_t less = cause == CC_ECN ? d->alpha : ALPHA_MAX;

    (void)in_flight;
    cc->ssthresh = cc_whole(cc, cc->cwnd - cc->cwnd * less / (2 * ALPHA_MAX));
}

const struct cc_ops cc_dctcp = {
    .needs_ecn = true,
    .state_size = sizeof(struct dctcp),
    .init = init,
    .on_ack = on_ack,
    .on_loss = on_loss,
};
