/* SPDX-License-Identifier: BSD-3-Clause */
/* HyStart++: see hystart.h. Names in capitals are RFC 9406's.               */
#include "hystart.h"

#include "seq.h"

enum {
    MIN_RTT_THRESH = 4000, /* us */
    MAX_RTT_THRESH = 16000,
    MIN_RTT_DIVISOR = 8,
    N_RTT_SAMPLE = 8,
    CSS_GROWTH_DIVISOR = 4,
    CSS_ROUNDS = 5,
};

void hystart_init(struct hystart *h)
{
    *h = (struct hystart){.last_min = UINT32_MAX, .this_min = UINT32_MAX, .baseline = UINT32_MAX};
}

static void new_round(struct hystart *h, const struct cc_ack *ack)
{
    h->round_end = ack->nxt;
    h->last_min = h->this_min;
    h->this_min = UINT32_MAX;
    h->samples = 0;
}

static uint32_t threshold(const struct hystart *h)
{
    uint32_t t = h->last_min / MIN_RTT_DIVISOR;

    return t < MIN_RTT_THRESH ? MIN_RTT_THRESH : t > MAX_RTT_THRESH ? MAX_RTT_THRESH : t;
}

/* RFC 9406 4.2: the delay has risen; or it was not that, and falls again. */
static void judge(struct hystart *h)
{
    if (h->samples < N_RTT_SAMPLE)
        return;
    if (h->baseline != UINT32_MAX) {
        if (h->this_min < h->baseline)
            h->baseline = UINT32_MAX;
    } else if (h->last_min != UINT32_MAX && h->this_min >= h->last_min + threshold(h)) {
        h->baseline = h->this_min;
        h->slow_rounds = 0;
    }
}

uint32_t hystart_acked(struct hystart *h, struct cc *cc, const struct cc_ack *ack)
{
    if (!h->begun || seq_geq(ack->una, h->round_end)) {
        if (h->begun && h->baseline != UINT32_MAX && ++h->slow_rounds >= CSS_ROUNDS) {
            cc->ssthresh = cc->cwnd;
            return 0;
        }
        h->begun = true;
        new_round(h, ack);
    }
    if (ack->rtt_us) {
        if (ack->rtt_us < h->this_min)
            h->this_min = ack->rtt_us;
        if (h->samples < UINT8_MAX)
            h->samples++;
    }
    judge(h);
    return h->baseline == UINT32_MAX ? ack->acked : ack->acked / CSS_GROWTH_DIVISOR;
}
