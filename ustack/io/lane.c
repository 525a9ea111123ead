/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames in the slots of a lane; see lane.h. */
#include <string.h>

#include "lane.h"

/* A frame's metadata, as it crosses in two words. */
struct frame_meta {
    uint32_t len;
    uint32_t rss_hash;
    uint16_t csum_start, csum_offset;
    uint16_t gso_size;
    uint8_t flags;    /* enum mbuf_flag; on a wire MBUF_CSUM_PARTIAL or 0, else and its interface */
    uint8_t gso_type; /* enum mbuf_gso */
};

enum {
    AHEAD = 4,       /* slots prefetched before their turn */
    IFACE_SHIFT = 4, /* in flags; below: what holds of a frame wherever it is */
    KEPT = MBUF_CSUM_OK | MBUF_CSUM_PARTIAL | MBUF_LINK_MCAST,
};

static_assert(sizeof(struct frame_meta) == 2 * sizeof(uint64_t), "metadata is two words");

static unsigned count_frames(const struct rx_lane *lane, uint32_t tail, uint32_t head);
static uint8_t kept_flags(const struct mbuf *m);
static void copy_in(const struct tx_lane *lane, const struct mbuf_pool *pool, const struct mbuf *m);
static inline void prefetch_to_read(const struct slot *slot);
static inline void prefetch_to_write(const struct slot *slot);
static struct mbuf *receive(const struct rx_lane *lane, struct mbuf_pool *pool,
                            const struct frame_meta *meta);
static void set_offload(const struct rx_lane *lane, struct mbuf *m, const struct frame_meta *meta);
static void restore(struct mbuf *m, const struct frame_meta *meta);
static void store_meta(struct slot *slot, const struct frame_meta *meta);
static struct frame_meta load_meta(struct slot *slot);

void lane_adopt_tx(struct tx_lane *lane, const struct lane_place *place)
{
    struct ring_index *shared = place->index;
    uint32_t head = atomic_load(&shared->head);
    uint32_t tail = atomic_load(&shared->tail);

    if (head - tail > place->n_slots) {
        head = tail;
        atomic_store(&shared->head, head);
    }
    lane->ring = (struct ring_producer){
        .shared = shared, .size = place->n_slots, .head = head, .tail_seen = tail};
    lane->slots = place->slots;
    lane->published = head;
    lane->within = place->within;
    lane->deserted = false;
}

unsigned lane_adopt_rx(struct rx_lane *lane, const struct lane_place *place)
{
    struct ring_index *shared = place->index;
    uint32_t head = atomic_load(&shared->head);
    uint32_t tail = atomic_load(&shared->tail);
    unsigned skipped;

    lane->ring = (struct ring_consumer){
        .shared = shared, .size = place->n_slots, .tail = head, .head_seen = head};
    lane->slots = place->slots;
    lane->max_frame = place->max_frame;
    lane->caps = place->caps;
    lane->within = place->within;
    skipped = head - tail <= place->n_slots ? count_frames(lane, tail, head) : 0;
    ring_release(&lane->ring);
    return skipped;
}

bool lane_publish(struct tx_lane *lane)
{
    if (lane->ring.head == lane->published)
        return false;
    ring_publish(&lane->ring);
    lane->published = lane->ring.head;
    return true;
}

static unsigned count_frames(const struct rx_lane *lane, uint32_t tail, uint32_t head)
{
    unsigned n = 0;
    uint32_t need;

    for (; tail != head; tail += need, n++) {
        need = slots_of(load_meta(&lane->slots[tail & (lane->ring.size - 1)]).len);
        if (need == 0 || need > head - tail)
            need = head - tail;
    }
    return n;
}

bool lane_put(struct tx_lane *lane, const struct mbuf_pool *pool, const struct mbuf *m,
              uint32_t rss_hash)
{
    struct ring_producer *p = &lane->ring;
    uint32_t need = slots_of(m->frame_len);
    struct frame_meta meta = {
        .len = m->frame_len,
        .rss_hash = rss_hash,
        .csum_start = m->csum_start,
        .csum_offset = m->csum_offset,
        .gso_size = m->gso_size,
        .flags = lane->within ? kept_flags(m) : m->flags & MBUF_CSUM_PARTIAL,
        .gso_type = m->gso_type,
    };

    if (ring_room(p, need) < need)
        return false;
    prefetch_to_write(&lane->slots[(p->head + AHEAD) & (p->size - 1)]);
    store_meta(&lane->slots[p->head & (p->size - 1)], &meta);
    copy_in(lane, pool, m);
    p->head += need;
    return true;
}

unsigned lane_take(struct rx_lane *lane, struct ust_port_stats *st, struct mbuf_pool *pool,
                   struct mbuf **burst, unsigned max)
{
    struct ring_consumer *c = &lane->ring;
    uint32_t filled = ring_filled(c, max), before = c->tail, need;
    struct frame_meta meta;
    unsigned n = 0;

    st->rx_bad += c->bad;
    c->bad = 0;
    for (; n < max && filled > 0; c->tail += need, filled -= need) {
        if (filled > AHEAD)
            prefetch_to_read(&lane->slots[(c->tail + AHEAD) & (c->size - 1)]);
        meta = load_meta(&lane->slots[c->tail & (c->size - 1)]);
        need = slots_of(meta.len);
        if (meta.len < PORT_ETH_LEN || meta.len > lane->max_frame || need > filled) {
            st->rx_bad++;
            need = filled; /* where the next frame starts, nobody knows */
            continue;
        }
        burst[n] = receive(lane, pool, &meta);
        if (!burst[n]) {
            st->rx_no_mbuf++;
            continue;
        }
        st->rx_frames++;
        st->rx_bytes += meta.len;
        n++;
    }
    if (c->tail != before)
        ring_release(c);
    return n;
}

static void copy_in(const struct tx_lane *lane, const struct mbuf_pool *pool, const struct mbuf *m)
{
    uint32_t at = lane->ring.head, mask = lane->ring.size - 1;
    uint32_t room = SLOT_DATA, n;
    uint8_t *dst = lane->slots[at & mask].data;

    for (; m; m = mbuf_at(pool, m->next)) {
        const uint8_t *src = mbuf_data(pool, m);
        uint32_t left = m->len;

        for (; left; left -= n, src += n, dst += n, room -= n) {
            if (room == 0) {
                dst = lane->slots[++at & mask].data;
                room = SLOT_DATA;
            }
            n = left < room ? left : room;
            memcpy(dst, src, n);
        }
    }
}

/* The lines of a small frame, which are in the other side's cache. */
static inline void prefetch_to_read(const struct slot *slot)
{
    for (int i = 0; i < 3; i++)
        __builtin_prefetch((const char *)slot + i * RING_LINE, 0);
}

static inline void prefetch_to_write(const struct slot *slot)
{
    for (int i = 0; i < 3; i++)
        __builtin_prefetch((const char *)slot + i * RING_LINE, 1);
}

/* The frame at the lane's tail as an mbuf; NULL when the pool is empty. */
static struct mbuf *receive(const struct rx_lane *lane, struct mbuf_pool *pool,
                            const struct frame_meta *meta)
{
    struct mbuf *m = mbuf_alloc_frame(pool, meta->len);
    uint32_t at = lane->ring.tail, mask = lane->ring.size - 1, off, n;

    if (!m)
        return NULL;
    for (off = 0; off < meta->len; off += n) {
        n = meta->len - off < SLOT_DATA ? meta->len - off : SLOT_DATA;
        port_copy_in(pool, m, off, lane->slots[at++ & mask].data, n);
    }
    m->rss_hash = meta->rss_hash;
    if (lane->within)
        restore(m, meta);
    else
        set_offload(lane, m, meta);
    return m;
}

static bool believable(uint32_t caps, uint8_t gso_type)
{
    switch (gso_type) {
    case MBUF_GSO_TCP4:
    case MBUF_GSO_TCP6: return caps & UST_CAP_LRO;
    case MBUF_GSO_UDP: return caps & UST_CAP_USO;
    default: return false;
    }
}

/* Believes the metadata as far as the port's capabilities and the frame's
 * length go. */
static void set_offload(const struct rx_lane *lane, struct mbuf *m, const struct frame_meta *meta)
{
    m->flags = 0;
    m->csum_start = m->csum_offset = 0;
    m->gso_size = 0;
    m->gso_type = MBUF_GSO_NONE;
    if ((meta->flags & MBUF_CSUM_PARTIAL) && (lane->caps & UST_CAP_RX_CSUM) &&
        port_csum_fits(meta->csum_start, meta->csum_offset, meta->len)) {
        m->flags = MBUF_CSUM_OK;
        m->csum_start = meta->csum_start;
        m->csum_offset = meta->csum_offset;
    }
    if (meta->gso_size && believable(lane->caps, meta->gso_type)) {
        m->gso_size = meta->gso_size;
        m->gso_type = meta->gso_type;
    }
}

static uint8_t kept_flags(const struct mbuf *m)
{
    return (uint8_t)((m->flags & KEPT) | m->iface << IFACE_SHIFT);
}

static void restore(struct mbuf *m, const struct frame_meta *meta)
{
    m->flags = meta->flags & KEPT;
    m->iface = meta->flags >> IFACE_SHIFT;
    m->csum_start = meta->csum_start;
    m->csum_offset = meta->csum_offset;
    m->gso_size = meta->gso_size;
    m->gso_type = meta->gso_type;
}

static void store_meta(struct slot *slot, const struct frame_meta *meta)
{
    uint64_t w[2];

    memcpy(w, meta, sizeof w);
    atomic_store_explicit(&slot->meta[0], w[0], memory_order_relaxed);
    atomic_store_explicit(&slot->meta[1], w[1], memory_order_relaxed);
}

/* Loads each word once: what is checked is what is used. */
static struct frame_meta load_meta(struct slot *slot)
{
    struct frame_meta meta;
    uint64_t w[2];

    w[0] = atomic_load_explicit(&slot->meta[0], memory_order_relaxed);
    w[1] = atomic_load_explicit(&slot->meta[1], memory_order_relaxed);
    memcpy(&meta, w, sizeof meta);
    return meta;
}
