/* SPDX-License-Identifier: BSD-3-Clause */
/* The ring port: a simulated NIC pair over shared memory (segment.h).
 *
 * As a NIC's DMA does, transmitting copies a frame into the receiver's slots,
 * and receiving copies it out into the receiver's own mbufs: nobody can change
 * a frame under a reader. The wire breaks no bits, so a checksum that was left
 * to the hardware arrives as good, and a super-segment arrives whole.
 *
 * When a lane is full, the burst stops there, as if the wire pushed back: a
 * receive queue that is not read stops those who send to it, nobody else. But
 * a queue beside others whose worker is gone loses what does not fit (tx_lost),
 * or else it would stop the traffic of its neighbours.
 *
 * Sleeping. arm() raises a flag in shared memory and looks once more; a sender
 * publishes and then looks at the flag. With a full fence between the two on
 * both sides, one of them sees the other. Whoever takes the flag down rings.
 *
 * Not here: who may use which side of a segment, and where a frame goes among
 * the receiver's queues (steer.h).                                          */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lane.h"
#include "steer.h"

struct rx_queue {
    alignas(RING_LINE) unsigned next; /* lane to serve first */
    bool armed;
};

struct ring_port {
    struct ust_port port;
    struct segment *seg;
    struct segment_share share;
    int side; /* share.side */
    uint32_t max_frame;
    uint32_t caps;
    uint8_t mac[6];
    struct tx_lane *tx; /* [n_queues][n_queues]: our tx queue, their rx */
    struct rx_lane *rx; /* [n_queues][n_queues]: our rx queue, their tx */
    struct rx_queue *queues;
};

static struct ust_port *port_new(struct segment *seg, const struct segment_share *share,
                                 const char *name);
static void set_mac(struct ring_port *r, const char *name);
static void adopt_lanes(struct ring_port *r);
static struct lane_place place(const struct segment *seg, uint32_t lane);
static struct tx_lane *tx_lane(struct ring_port *r, unsigned txq, unsigned rxq);
static struct rx_lane *rx_lane(struct ring_port *r, unsigned rxq, unsigned txq);
static bool deserted(const struct ring_port *r, struct tx_lane *lane, unsigned rxq);
static bool sendable(const struct ring_port *r, const struct mbuf *m);
static void publish(struct ring_port *r, unsigned txq);
static void ring_bell(struct ring_port *r, unsigned txq, unsigned rxq);
static unsigned ring_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max);
static unsigned ring_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n);
static int ring_fd(struct ust_port *port, unsigned queue);
static int ring_arm(struct ust_port *port, unsigned queue);
static void ring_disarm(struct ust_port *port, unsigned queue);
static void ring_info(const struct ust_port *port, struct ust_port_info *info);
static void ring_close(struct ust_port *port);

static const struct port_ops ring_ops = {
    .name = "ring",
    .rx_burst = ring_rx,
    .tx_burst = ring_tx,
    .fd = ring_fd,
    .arm = ring_arm,
    .disarm = ring_disarm,
    .info = ring_info,
    .close = ring_close,
};

struct ust_port *ust_ring_open(const char *name, int side, int queue, unsigned n_queues,
                               unsigned mtu, unsigned n_slots, unsigned caps, int *err)
{
    struct segment_params params = {n_queues, mtu, n_slots, caps};
    struct segment_share share = {side, queue};
    bool valid = side >= -1 && side <= 1 && queue >= UST_RING_KEEPER &&
                 queue < (int)PORT_MAX_QUEUES && (queue < 0 || (unsigned)queue < n_queues);
    struct ust_port *port;
    struct segment *seg;

    *err = valid ? segment_check_params(&params) : -EINVAL;
    if (*err)
        return NULL;
    seg = segment_join(name, &share, &params, err);
    if (!seg)
        return NULL;
    port = port_new(seg, &share, name);
    if (!port)
        *err = -ENOMEM;
    return port;
}

int ust_ring_pair(struct ust_port *ends[2], unsigned n_queues, unsigned mtu, unsigned n_slots,
                  unsigned caps)
{
    struct segment_params params = {n_queues, mtu, n_slots, caps};
    int err = segment_check_params(&params);
    struct segment *seg;

    if (err)
        return err;
    seg = segment_unnamed(&params, &err);
    if (!seg)
        return err;
    ends[0] = port_new(seg, &(struct segment_share){0, UST_RING_ALL}, "");
    ends[1] = port_new(seg, &(struct segment_share){1, UST_RING_ALL}, "");
    if (ends[0] && ends[1])
        return 0;
    ust_port_close(ends[0]);
    ust_port_close(ends[1]);
    return -ENOMEM;
}

int ust_ring_side(const struct ust_port *port)
{
    return port->ops == &ring_ops ? ((const struct ring_port *)port)->side : -EOPNOTSUPP;
}

int ust_ring_rss(struct ust_port *port, const uint8_t key[40], const uint16_t *reta,
                 unsigned n_reta)
{
    struct ring_port *r = (struct ring_port *)port;

    if (port->ops != &ring_ops)
        return -EOPNOTSUPP;
    return steer_set(&r->seg->header->side[r->side].rss, port->n_queues, key, reta, n_reta);
}

static unsigned ring_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n)
{
    struct ring_port *r = (struct ring_port *)port;
    struct ust_port_stats *st = &port->stats[queue].s;
    struct steer steer;
    uint32_t hash = 0;
    unsigned i, rxq = 0;

    if (port->n_queues > 1)
        steer_load(&steer, &r->seg->header->side[!r->side].rss, port->n_queues);
    for (i = 0; i < n; i++) {
        if (sendable(r, burst[i])) {
            if (port->n_queues > 1)
                rxq = steer_queue(&steer, pool, burst[i], &hash);
            if (lane_put(tx_lane(r, queue, rxq), pool, burst[i], hash)) {
                st->tx_frames++;
                st->tx_bytes += burst[i]->frame_len;
            } else if (deserted(r, tx_lane(r, queue, rxq), rxq)) {
                st->tx_lost++;
            } else {
                st->tx_full++;
                break;
            }
        } else {
            st->tx_errors++;
        }
        mbuf_free(pool, burst[i]);
    }
    publish(r, queue);
    return i;
}

static unsigned ring_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max)
{
    struct ring_port *r = (struct ring_port *)port;
    struct ust_port_stats *st = &port->stats[queue].s;
    unsigned first = r->queues[queue].next, n = 0, i;

    assert(port->n_queues > 0);
    for (i = 0; i < port->n_queues && n < max; i++) {
        unsigned txq = (first + i) % port->n_queues;

        n += lane_take(rx_lane(r, queue, txq), st, pool, burst + n, max - n);
    }
    r->queues[queue].next = (first + 1) % port->n_queues;
    return n;
}

static int ring_fd(struct ust_port *port, unsigned queue)
{
    struct ring_port *r = (struct ring_port *)port;

    return r->seg->bells[r->side][queue];
}

static int ring_arm(struct ust_port *port, unsigned queue)
{
    struct ring_port *r = (struct ring_port *)port;
    unsigned txq;

    r->queues[queue].armed = true;
    atomic_store(&r->seg->header->side[r->side].queue[queue].armed, 1);
    atomic_thread_fence(memory_order_seq_cst);
    for (txq = 0; txq < port->n_queues; txq++)
        if (ring_filled(&rx_lane(r, queue, txq)->ring, 1)) {
            ring_disarm(port, queue);
            return 1;
        }
    return 0;
}

/* Takes the flag down and the bell's sound away. It may have been rung by now,
 * or still be; then the next sleep is short, no more. */
static void ring_disarm(struct ust_port *port, unsigned queue)
{
    struct ring_port *r = (struct ring_port *)port;
    uint64_t sound[8];

    if (!r->queues[queue].armed)
        return;
    r->queues[queue].armed = false;
    atomic_store(&r->seg->header->side[r->side].queue[queue].armed, 0);
    while (read(ring_fd(port, queue), sound, sizeof sound) == sizeof sound)
        ;
}

static void ring_info(const struct ust_port *port, struct ust_port_info *info)
{
    const struct ring_port *r = (const struct ring_port *)port;

    memcpy(info->mac, r->mac, sizeof info->mac);
    info->n_queues = (uint16_t)port->n_queues;
    info->mtu = r->seg->params.mtu;
    info->caps = r->caps;
    info->link_up = segment_peer_present(r->seg, r->side);
}

static void ring_close(struct ust_port *port)
{
    struct ring_port *r = (struct ring_port *)port;

    segment_leave(r->seg, &r->share);
    free(r->tx);
    free(r->rx);
    free(r->queues);
    port_free(port);
}

/* Takes the side over; leaves it if there is no memory. */
static struct ust_port *port_new(struct segment *seg, const struct segment_share *share,
                                 const char *name)
{
    unsigned n = seg->params.n_queues;
    struct ring_port *r = calloc(1, sizeof *r);

    if (!r || port_init(&r->port, &ring_ops, n) != 0) {
        free(r);
        segment_leave(seg, share);
        return NULL;
    }
    r->seg = seg;
    r->share = *share;
    r->side = share->side;
    r->max_frame = segment_max_frame(seg);
    r->caps = seg->params.caps;
    set_mac(r, name);
    r->tx = aligned_alloc(RING_LINE, n * n * sizeof *r->tx);
    r->rx = aligned_alloc(RING_LINE, n * n * sizeof *r->rx);
    r->queues = aligned_alloc(RING_LINE, n * sizeof *r->queues);
    if (!r->tx || !r->rx || !r->queues) {
        ring_close(&r->port);
        return NULL;
    }
    memset(r->queues, 0, n * sizeof *r->queues);
    adopt_lanes(r);
    return &r->port;
}

/* Locally administered, the same for every user of a side (FNV-1a). */
static void set_mac(struct ring_port *r, const char *name)
{
    uint32_t h = 2166136261u;
    int i;

    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    r->mac[0] = 0x02;
    for (i = 1; i < 5; i++, h >>= 8)
        r->mac[i] = (uint8_t)h;
    r->mac[5] = (uint8_t)(r->side + 1);
}

static void adopt_lanes(struct ring_port *r)
{
    unsigned n = r->port.n_queues, mine, theirs;
    unsigned first = share_first(&r->share), end = share_end(&r->share, n);
    struct lane_place out, in;

    for (mine = first; mine < end; mine++) {
        atomic_store(&r->seg->header->side[r->side].queue[mine].armed, 0);
        for (theirs = 0; theirs < n; theirs++) {
            out = place(r->seg, segment_lane(r->seg, r->side, mine, theirs));
            in = place(r->seg, segment_lane(r->seg, !r->side, theirs, mine));
            lane_adopt_tx(tx_lane(r, mine, theirs), &out);
            r->port.stats[mine].s.rx_stale += lane_adopt_rx(rx_lane(r, mine, theirs), &in);
        }
    }
}

static struct lane_place place(const struct segment *seg, uint32_t lane)
{
    return (struct lane_place){
        .index = &seg->lanes[lane],
        .slots = seg->slots + (size_t)lane * seg->lane_slots,
        .n_slots = seg->lane_slots,
        .max_frame = segment_max_frame(seg),
        .caps = seg->params.caps,
    };
}

static struct tx_lane *tx_lane(struct ring_port *r, unsigned txq, unsigned rxq)
{
    return &r->tx[txq * r->port.n_queues + rxq];
}

static struct rx_lane *rx_lane(struct ring_port *r, unsigned rxq, unsigned txq)
{
    return &r->rx[rxq * r->port.n_queues + txq];
}

static bool deserted(const struct ring_port *r, struct tx_lane *lane, unsigned rxq);
/* Is the full lane's reader gone, whose neighbours are not to wait? Asks the
 * system once for every position that a reader has left it at. */
static bool deserted(const struct ring_port *r, struct tx_lane *lane, unsigned rxq)
{
    uint32_t tail = atomic_load_explicit(&lane->ring.shared->tail, memory_order_relaxed);

    if (r->port.n_queues == 1 || (lane->deserted && tail == lane->deserted_at))
        return r->port.n_queues > 1;
    lane->deserted = !segment_queue_served(r->seg, !r->side, rxq);
    lane->deserted_at = tail;
    return lane->deserted;
}

static bool sendable(const struct ring_port *r, const struct mbuf *m)
{
    return m->frame_len >= PORT_ETH_LEN && m->frame_len <= r->max_frame &&
           (m->gso_size == 0 ||
            (r->caps & (m->gso_type == MBUF_GSO_UDP ? UST_CAP_USO : UST_CAP_TSO))) &&
           (!(m->flags & MBUF_CSUM_PARTIAL) || (r->caps & UST_CAP_TX_CSUM));
}

/* Shows the other side what a burst has written, and wakes who sleeps. */
static void publish(struct ring_port *r, unsigned txq)
{
    struct ust_port_stats *st = &r->port.stats[txq].s;
    uint32_t changed = 0;
    unsigned q;

    for (q = 0; q < r->port.n_queues; q++) {
        struct tx_lane *lane = tx_lane(r, txq, q);

        st->rx_bad += lane->ring.bad;
        lane->ring.bad = 0;
        if (lane_publish(lane))
            changed |= 1u << q;
    }
    if (!changed)
        return;
    atomic_thread_fence(memory_order_seq_cst);
    for (q = 0; changed >> q; q++)
        if (changed >> q & 1)
            ring_bell(r, txq, q);
}

static void ring_bell(struct ring_port *r, unsigned txq, unsigned rxq)
{
    _Atomic uint32_t *flag = &r->seg->header->side[!r->side].queue[rxq].armed;
    const uint64_t one = 1;

    if (atomic_load_explicit(flag, memory_order_relaxed) == 0 || atomic_exchange(flag, 0) == 0)
        return;
    r->port.stats[txq].s.wakes++;
    if (write(r->seg->bells[!r->side][rxq], &one, sizeof one) < 0)
        return; /* full of earlier sounds: it rings already */
}
