/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames in the slots of a lane; see lane.h. */
#include <string.h>

#include "lane.h"

enum {
    AHEAD = 4, /* slots prefetched before their turn */
    WORDS = SLOT_HEAD / sizeof(uint64_t),
};

/* A frame's metadata, as it crosses in three words. Over a wire its label says
 * what the sender's hardware would be told, within a stack all that is known. */
struct frame_meta {
    uint32_t len;
    struct mbuf_label label;
};

static_assert(sizeof(struct frame_meta) == WORDS * sizeof(uint64_t), "metadata is whole words");

static unsigned count_frames(const struct rx_lane *lane, uint32_t tail, uint32_t head);
static struct mbuf_label wire_label(const struct mbuf *m, uint32_t rss_hash);
static void copy_in(const struct tx_lane *lane, const struct mbuf_pool *pool, const struct mbuf *m);
static inline void prefetch_to_read(const struct slot *slot);
static inline void prefetch_to_write(const struct slot *slot);
static struct mbuf *receive(const struct rx_lane *lane, struct mbuf_pool *pool,
                            const struct frame_meta *meta);
static void set_offload(const struct rx_lane *lane, struct mbuf *m, const struct frame_meta *meta);
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
        .label = lane->within ? mbuf_label(m) : wire_label(m, rss_hash),
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
    if (lane->within)
        mbuf_set_label(m, &meta->label);
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
    const struct mbuf_label *said = &meta->label;

    m->rss_hash = said->rss_hash;
    m->flags = 0;
    m->csum_start = m->csum_offset = 0;
    m->gso_size = 0;
    m->gso_type = MBUF_GSO_NONE;
    if ((said->flags & MBUF_CSUM_PARTIAL) && (lane->caps & UST_CAP_RX_CSUM) &&
        port_csum_fits(said->csum_start, said->csum_offset, meta->len)) {
        m->flags = MBUF_CSUM_OK;
        m->csum_start = said->csum_start;
        m->csum_offset = said->csum_offset;
    }
    if (said->gso_size && believable(lane->caps, said->gso_type)) {
        m->gso_size = said->gso_size;
        m->gso_type = said->gso_type;
    }
}

static struct mbuf_label wire_label(const struct mbuf *m, uint32_t rss_hash)
{
    return (struct mbuf_label){
        .rss_hash = rss_hash,
        .csum_start = m->csum_start,
        .csum_offset = m->csum_offset,
        .gso_size = m->gso_size,
        .gso_type = m->gso_type,
        .flags = m->flags & MBUF_CSUM_PARTIAL,
    };
}

static void store_meta(struct slot *slot, const struct frame_meta *meta)
{
    uint64_t w[WORDS];

    memcpy(w, meta, sizeof w);
    for (unsigned i = 0; i < WORDS; i++)
        atomic_store_explicit(&slot->meta[i], w[i], memory_order_relaxed);
}

/* Loads each word once: what is checked is what is used. */
static struct frame_meta load_meta(struct slot *slot)
{
    struct frame_meta meta;
    uint64_t w[WORDS];

    for (unsigned i = 0; i < WORDS; i++)
        w[i] = atomic_load_explicit(&slot->meta[i], memory_order_relaxed);
    memcpy(&meta, w, sizeof meta);
    return meta;
}
