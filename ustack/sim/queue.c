/* SPDX-License-Identifier: BSD-3-Clause */
/* What waits for a link's transmitter: drop-tail with limits in bytes and
 * frames, CE marks above a threshold (the "step" of DCTCP, RFC 8257 3.1), and
 * CoDel (RFC 8289), which looks at how long a frame has waited.
 *
 * The frame in the transmitter has left the queue. A frame that does not do ECN
 * is dropped where CoDel would mark it; a threshold leaves it alone.        */
#include <string.h>

#include "../base/checksum.h"
#include "link.h"

enum { ECN_MASK = 3, NOT_ECT = 0, CE = 3 };

/* Adds what has waited since the last change to the statistics. */
void queue_count(struct ust_link *l, ust_time now)
{
    if (now <= l->counted_to)
        return;
    l->rest += l->stats.queue_bytes * (now - l->counted_to);
    l->stats.queue_byte_us += l->rest / 1000;
    l->rest %= 1000;
    l->counted_to = now;
}

/* ------------------------------------------------------- ECN */

/* Sets CE, if the packet says that its sender can do with it. */
static bool mark(struct sim_frame *f)
{
    uint8_t *ip = f->data + ETHERNET;
    unsigned type = f->len > ETHERNET + 20 ? (unsigned)f->data[12] << 8 | f->data[13] : 0;
    uint16_t sum = 0;

    if (type == 0x0800 && (ip[1] & ECN_MASK) != NOT_ECT && (ip[0] & 15) >= 5 &&
        f->len >= ETHERNET + 4u * (ip[0] & 15)) {
        ip[1] |= CE;
        memcpy(ip + 10, &sum, 2);
        sum = checksum_finish(checksum_add_words(ip, ip[0] & 15, 0));
        memcpy(ip + 10, &sum, 2);
        return true;
    }
    if (type == 0x86dd && (ip[1] >> 4 & ECN_MASK) != NOT_ECT) {
        ip[1] |= CE << 4;
        return true;
    }
    return false;
}

/* ------------------------------------------------------- in and out */

static bool fits(const struct ust_link *l, uint32_t len)
{
    const struct ust_link_config *cfg = &l->cfg;

    if (!l->queue.head)
        return true;
    return (!cfg->queue_bytes || l->stats.queue_bytes + len <= cfg->queue_bytes) &&
           (!cfg->queue_frames || l->stats.queue_frames < cfg->queue_frames);
}

void queue_put(struct ust_link *l, ust_time now, struct sim_frame *f)
{
    struct ust_link_stats *stats = &l->stats;

    if (!fits(l, f->len)) {
        stats->drop_queue++;
        sim_frame_free(l, f);
        return;
    }
    if (l->cfg.mark_bytes && stats->queue_bytes + f->len > l->cfg.mark_bytes && mark(f))
        stats->marked++;
    queue_count(l, now);
    f->next = NULL;
    if (l->queue.head)
        l->queue.tail->next = f;
    else
        l->queue.head = f;
    l->queue.tail = f;
    stats->queue_frames++;
    stats->queue_bytes += f->len;
    if (stats->queue_bytes > stats->queue_bytes_max)
        stats->queue_bytes_max = stats->queue_bytes;
}

static struct sim_frame *pop(struct ust_link *l, ust_time now)
{
    struct sim_frame *f = l->queue.head;

    if (!f)
        return NULL;
    queue_count(l, now);
    l->queue.head = f->next;
    l->stats.queue_frames--;
    l->stats.queue_bytes -= f->len;
    return f;
}

/* ------------------------------------------------------- CoDel, RFC 8289 */

static uint64_t square_root(uint64_t x)
{
    uint64_t r = 0, bit = (uint64_t)1 << 62;

    while (bit > x)
        bit >>= 2;
    for (; bit; bit >>= 2) {
        if (x >= r + bit) {
            x -= r + bit;
            r = (r >> 1) + bit;
        } else {
            r >>= 1;
        }
    }
    return r;
}

/* 5.4: t + interval / sqrt(count). */
static ust_time control_law(const struct ust_link *l, ust_time t)
{
    uint64_t root = square_root((uint64_t)l->codel.count << 32); /* times 2^16 */

    return t + (l->cfg.codel_interval << 16) / root;
}

/* 5.6's dodequeue: the next frame, and whether its wait says that it may be
 * dropped. */
static struct sim_frame *codel_pop(struct ust_link *l, ust_time now, bool *may_drop)
{
    struct sim_frame *f = pop(l, now);
    uint32_t mtu = l->cfg.mtu ? l->cfg.mtu : 1500;

    *may_drop = false;
    if (!f || now - f->at < l->cfg.codel_target || l->stats.queue_bytes <= mtu) {
        l->codel.first_above = 0; /* went below; stay below for an interval */
    } else if (l->codel.first_above == 0) {
        l->codel.first_above = now + l->cfg.codel_interval;
    } else {
        *may_drop = now >= l->codel.first_above;
    }
    return f;
}

/* Marks a frame or drops it: whether it is still there. */
static bool codel_spares(struct ust_link *l, struct sim_frame *f)
{
    if (l->cfg.codel_ecn && mark(f)) {
        l->stats.marked++;
        return true;
    }
    l->stats.drop_codel++;
    sim_frame_free(l, f);
    return false;
}

static struct sim_frame *codel_dropping(struct ust_link *l, ust_time now, struct sim_frame *f,
                                        bool may_drop)
{
    struct codel *c = &l->codel;

    if (!may_drop)
        c->dropping = false;
    while (c->dropping && now >= c->drop_next) {
        bool spared = codel_spares(l, f);

        c->count++;
        if (!spared) {
            f = codel_pop(l, now, &may_drop);
            c->dropping = may_drop;
        }
        if (c->dropping)
            c->drop_next = control_law(l, c->drop_next);
        if (spared)
            break;
    }
    return f;
}

/* 5.5's deque(). */
static struct sim_frame *codel_take(struct ust_link *l, ust_time now)
{
    struct codel *c = &l->codel;
    bool may_drop;
    struct sim_frame *f = codel_pop(l, now, &may_drop);
    uint32_t delta;

    if (!f) {
        c->dropping = false;
        return NULL;
    }
    if (c->dropping)
        return codel_dropping(l, now, f, may_drop);
    if (!may_drop)
        return f;
    if (!codel_spares(l, f))
        f = codel_pop(l, now, &may_drop);
    c->dropping = true;
    delta = c->count - c->last_count; /* dropped often of late: go on at that pace */
    c->count = delta > 1 && now - c->drop_next < 16 * l->cfg.codel_interval ? delta : 1;
    c->drop_next = control_law(l, now);
    c->last_count = c->count;
    return f;
}

struct sim_frame *queue_take(struct ust_link *l, ust_time now)
{
    ust_time since;
    struct sim_frame *f = l->cfg.discipline == UST_QUEUE_CODEL ? codel_take(l, now) : pop(l, now);

    if (!f)
        return NULL;
    since = now - f->at;
    l->stats.waited_ns += since;
    if (since > l->stats.waited_ns_max)
        l->stats.waited_ns_max = since;
    return f;
}
