/* SPDX-License-Identifier: BSD-3-Clause */
/* What befalls a frame between transmitter and receiver: loss, independent or
 * in bursts (Gilbert's and Elliott's two states), damage, delay and jitter,
 * being held back behind later frames, and arriving twice.                  */
#include <string.h>

#include "link.h"

static double draw(struct ust_link *l, enum chance which)
{
    return (double)(rng_next(&l->chances[which]) >> 11) * 0x1p-53;
}

static bool happens(struct ust_link *l, enum chance which, double p)
{
    return p > 0 && draw(l, which) < p;
}

static bool is_lost(struct ust_link *l)
{
    if (l->cfg.to_bad > 0 && happens(l, CHANCE_STATE, l->bad ? l->cfg.to_good : l->cfg.to_bad))
        l->bad = !l->bad;
    if (l->cfg.to_bad <= 0)
        l->bad = false;
    return happens(l, CHANCE_LOSS, l->bad ? l->cfg.loss_bad : l->cfg.loss);
}

static void damage(struct ust_link *l, struct sim_frame *f)
{
    uint32_t bit = rng_below(&l->chances[CHANCE_DAMAGE], 8 * f->len);

    f->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    l->stats.corrupted++;
}

static ust_time arrival(struct ust_link *l, ust_time now)
{
    ust_time at = now + l->cfg.delay;

    if (l->cfg.jitter)
        at += (ust_time)(draw(l, CHANCE_JITTER) * (double)l->cfg.jitter);
    if (l->cfg.keep_order && at < l->last_arrival)
        at = l->last_arrival;
    if (at > l->last_arrival)
        l->last_arrival = at;
    if (happens(l, CHANCE_REORDER, l->cfg.reorder)) {
        at += l->cfg.reorder_delay;
        l->stats.held_back++;
    }
    return at;
}

/* L2: in its place among those under way, most often the last. */
static void insert(struct ust_link *l, struct sim_frame *f, ust_time at)
{
    struct sim_frame *before = l->wire.tail;

    f->at = at;
    while (before && before->at > at)
        before = before->prev;
    f->prev = before;
    f->next = before ? before->next : l->wire.head;
    if (f->next)
        f->next->prev = f;
    else
        l->wire.tail = f;
    if (before)
        before->next = f;
    else
        l->wire.head = f;
}

void wire_put(struct ust_link *l, ust_time now, struct sim_frame *f)
{
    ust_time at;
    struct sim_frame *twin = NULL;

    if (is_lost(l)) {
        l->stats.drop_loss++;
        sim_frame_free(l, f);
        return;
    }
    if (happens(l, CHANCE_DAMAGE, l->cfg.corrupt))
        damage(l, f);
    at = arrival(l, now);
    if (happens(l, CHANCE_DOUBLE, l->cfg.duplicate) && (twin = sim_frame_new(l, f->len))) {
        memcpy(twin->data, f->data, f->len);
        l->stats.duplicated++;
    }
    insert(l, f, at);
    if (twin)
        insert(l, twin, at);
}
