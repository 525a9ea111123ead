/* SPDX-License-Identifier: BSD-3-Clause */
/* One direction of a link: its memory, its transmitter, and how it is used.
 *
 * Always: nothing happens but in calls, each of which is told the time; the
 * same calls with the same seed give the same frames.
 * Not here: the queue's discipline (queue.c), chance (wire.c), who is at the
 * ends (sim.c).                                                             */
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_chance(double p)
{
    return p >= 0 && p <= 1;
}

static bool valid(const struct ust_link_config *cfg)
{
    return is_chance(cfg->loss) && is_chance(cfg->loss_bad) && is_chance(cfg->to_bad) &&
           is_chance(cfg->to_good) && is_chance(cfg->duplicate) && is_chance(cfg->reorder) &&
           is_chance(cfg->corrupt) && cfg->mtu <= SIM_MAX_MTU && cfg->rate <= SIM_MAX_RATE &&
           cfg->delay <= SIM_MAX_TIME && cfg->jitter <= SIM_MAX_TIME &&
           cfg->reorder_delay <= SIM_MAX_TIME && cfg->max_frames > 0 &&
           (cfg->discipline != UST_QUEUE_CODEL ||
            (cfg->codel_interval >= 1000000 && cfg->codel_interval <= SIM_MAX_TIME));
}

struct ust_link *ust_link_new(const struct ust_link_config *cfg, uint64_t seed, int *err)
{
    struct rng root = {seed};
    struct ust_link *l = valid(cfg) ? calloc(1, sizeof *l) : NULL;

    if (err)
        *err = l ? 0 : valid(cfg) ? -ENOMEM : -EINVAL;
    if (!l)
        return NULL;
    l->cfg = *cfg;
    for (unsigned i = 0; i < N_CHANCES; i++)
        l->chances[i].state = rng_next(&root);
    return l;
}

void ust_link_free(struct ust_link *l)
{
    if (!l)
        return;
    for (struct sim_frame *f; (f = link_take(l, UINT64_MAX));)
        sim_frame_free(l, f);
    for (struct sim_chunk *c = l->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(l);
}

int ust_link_set(struct ust_link *l, const struct ust_link_config *cfg)
{
    if (!valid(cfg))
        return -EINVAL;
    l->cfg = *cfg;
    return 0;
}

void ust_link_get(const struct ust_link *l, struct ust_link_config *cfg)
{
    *cfg = l->cfg;
}

/* ------------------------------------------------------- time */

static ust_time transmission(const struct ust_link *l, uint32_t len)
{
    return l->cfg.rate ? (uint64_t)len * 8 * 1000000000u / l->cfg.rate : 0;
}

/* Sends what the transmitter has had time for. */
static void transmit(struct ust_link *l, ust_time now)
{
    struct sim_frame *f;

    while (l->queue.head && l->free_at <= now) {
        ust_time start = l->free_at > l->queue.head->at ? l->free_at : l->queue.head->at;

        f = queue_take(l, start);
        if (!f)
            continue;
        l->free_at = start + transmission(l, f->len);
        wire_put(l, l->free_at, f);
    }
}

int ust_link_send(struct ust_link *l, ust_time now, const uint8_t *frame, size_t len)
{
    struct sim_frame *f;

    transmit(l, now);
    l->stats.frames_in++;
    l->stats.bytes_in += len;
    if (!l->cfg.up) {
        l->stats.drop_down++;
        return -ENETDOWN;
    }
    if (len > SIM_MAX_MTU + ETHERNET || (l->cfg.mtu && len > l->cfg.mtu + ETHERNET)) {
        l->stats.drop_mtu++;
        return -EMSGSIZE;
    }
    f = sim_frame_new(l, (uint32_t)len);
    if (!f)
        return -ENOBUFS;
    memcpy(f->data, frame, len);
    f->at = now;
    queue_put(l, now, f);
    transmit(l, now);
    return 0;
}

ust_time ust_link_deadline(const struct ust_link *l)
{
    ust_time sent = l->queue.head ? l->free_at : UINT64_MAX;
    ust_time arrival = l->wire.head ? l->wire.head->at : UINT64_MAX;

    return sent < arrival ? sent : arrival;
}

struct sim_frame *link_take(struct ust_link *l, ust_time now)
{
    struct sim_frame *f;

    transmit(l, now);
    f = l->wire.head;
    if (!f || f->at > now)
        return NULL;
    l->wire.head = f->next;
    if (f->next)
        f->next->prev = NULL;
    else
        l->wire.tail = NULL;
    l->stats.frames_out++;
    l->stats.bytes_out += f->len;
    return f;
}

int64_t ust_link_recv(struct ust_link *l, ust_time now, uint8_t *buf, size_t size)
{
    struct sim_frame *f = link_take(l, now);
    int64_t len;

    if (!f)
        return 0;
    len = f->len <= size ? (int64_t)f->len : -EMSGSIZE;
    if (len > 0)
        memcpy(buf, f->data, f->len);
    sim_frame_free(l, f);
    return len;
}

void ust_link_stats(struct ust_link *l, ust_time now, struct ust_link_stats *stats)
{
    transmit(l, now);
    queue_count(l, now);
    *stats = l->stats;
}

/* ------------------------------------------------------- memory */

static bool grow(struct ust_link *l)
{
    size_t each = (sizeof(struct sim_frame) + SIM_SMALL + 15) & ~(size_t)15;
    struct sim_chunk *c = malloc(sizeof *c + 16 + SIM_CHUNK * each);

    if (!c)
        return false;
    c->next = l->chunks;
    l->chunks = c;
    for (unsigned i = 0; i < SIM_CHUNK; i++) {
        struct sim_frame *f = (struct sim_frame *)((char *)c + 16 + i * each);

        f->next = l->unused;
        l->unused = f;
    }
    return true;
}

struct sim_frame *sim_frame_new(struct ust_link *l, uint32_t len)
{
    struct sim_frame *f = NULL;

    if (l->held < l->cfg.max_frames) {
        if (len > SIM_SMALL)
            f = malloc(sizeof *f + len);
        else if (l->unused || grow(l)) {
            f = l->unused;
            l->unused = f->next;
        }
    }
    if (!f) {
        l->stats.drop_memory++;
        return NULL;
    }
    l->held++;
    f->len = len;
    return f;
}

void sim_frame_free(struct ust_link *l, struct sim_frame *f)
{
    l->held--;
    if (f->len > SIM_SMALL) {
        free(f);
        return;
    }
    f->next = l->unused;
    l->unused = f;
}
