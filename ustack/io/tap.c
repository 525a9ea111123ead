/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap port: frames to and from the kernel, a system call each.
 *
 * With vnet_hdr (struct virtio_net_hdr before each frame) checksums and the
 * cutting of super-segments are left to the kernel, both ways: a system call
 * then moves up to 64 KiB. The frames are read into a large mbuf, the only
 * kind that holds any frame; those that do not fill a good part of it are
 * copied into small ones, and it, still in the cache, takes the next frame.
 *
 * A frame is sent in place if it is linear and has headroom for the header;
 * else it is gathered, or, from GATHER_MAX bytes on, given in pieces.
 *
 * Not here: how the device is made; that is tap.py.                         */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "port.h"

enum {
    VNET_NEEDS_CSUM = 1,
    VNET_DATA_VALID = 2,
    VNET_GSO_ECN = 0x80,
    VNET_HDR_MAX = 12,
    FRAME_MAX = PORT_ETH_LEN + 65535,
    TCP_LEN = 20,
    UDP_LEN = 8,
    GATHER_MAX = 8192, /* bytes that are copied faster than listed */
    COPY_MAX = 8192,   /* bytes worth a copy to spare a large mbuf */
    PIECES_MAX = 64,
};

struct vnet_hdr { /* struct virtio_net_hdr, in native byte order */
    uint8_t flags;
    uint8_t gso_type; /* the numbers of enum mbuf_gso, and others */
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start, csum_offset;
    uint16_t num_buffers;
};

static_assert(sizeof(struct vnet_hdr) == VNET_HDR_MAX, "as the kernel's");

struct tap_queue {
    int fd;
    uint8_t *scratch; /* VNET_HDR_MAX + FRAME_MAX bytes */
};

struct tap_port {
    struct ust_port port;
    uint32_t mtu, caps;
    unsigned hdr_len;
    uint8_t mac[6];
    struct tap_queue queues[PORT_MAX_QUEUES];
};

static ssize_t read_frame(struct tap_port *t, unsigned queue, uint8_t *frame, struct vnet_hdr *hdr);
static struct mbuf *receive(struct mbuf_pool *pool, struct mbuf **stage, const uint8_t *frame,
                            uint32_t len);
static void set_offload(struct mbuf *m, const struct vnet_hdr *hdr);
static int send_frame(struct tap_port *t, unsigned queue, struct mbuf_pool *pool, struct mbuf *m);
static void fill_header(struct vnet_hdr *hdr, const struct mbuf *m);
static ssize_t write_pieces(struct tap_port *t, unsigned queue, const struct mbuf_pool *pool,
                            const struct mbuf *m, struct vnet_hdr *hdr);

static unsigned tap_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                       struct mbuf **burst, unsigned max);
static unsigned tap_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                       struct mbuf **burst, unsigned n);
static int tap_fd(struct ust_port *port, unsigned queue);
static int tap_arm(struct ust_port *port, unsigned queue);
static void tap_disarm(struct ust_port *port, unsigned queue);
static void tap_info(const struct ust_port *port, struct ust_port_info *info);
static void tap_close(struct ust_port *port);

static const struct port_ops tap_ops = {
    .name = "tap",
    .rx_burst = tap_rx,
    .tx_burst = tap_tx,
    .fd = tap_fd,
    .arm = tap_arm,
    .disarm = tap_disarm,
    .info = tap_info,
    .close = tap_close,
};

struct ust_port *ust_tap_open(const int *fds, unsigned n_queues, unsigned vnet_hdr_len,
                              unsigned mtu, unsigned caps, const uint8_t mac[6], int *err)
{
    struct tap_port *t;
    unsigned q;

    *err = -EINVAL;
    if (n_queues < 1 || n_queues > PORT_MAX_QUEUES || mtu < 68 || mtu > 65521 ||
        (vnet_hdr_len != 0 && vnet_hdr_len != 10 && vnet_hdr_len != VNET_HDR_MAX))
        return NULL;
    *err = -ENOMEM;
    t = calloc(1, sizeof *t);
    if (!t || port_init(&t->port, &tap_ops, n_queues) != 0) {
        free(t);
        return NULL;
    }
    t->mtu = mtu;
    t->caps = vnet_hdr_len ? caps : 0;
    t->hdr_len = vnet_hdr_len;
    memcpy(t->mac, mac, sizeof t->mac);
    for (q = 0; q < n_queues; q++) {
        t->queues[q].fd = -1; /* the caller's until all is well */
        t->queues[q].scratch = malloc(VNET_HDR_MAX + FRAME_MAX);
        if (!t->queues[q].scratch) {
            tap_close(&t->port);
            return NULL;
        }
    }
    for (q = 0; q < n_queues; q++)
        t->queues[q].fd = fds[q];
    *err = 0;
    return &t->port;
}

static unsigned tap_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                       struct mbuf **burst, unsigned max)
{
    struct tap_port *t = (struct tap_port *)port;
    struct ust_port_stats *st = &port->stats[queue].s;
    struct mbuf *stage = NULL;
    struct vnet_hdr hdr;
    unsigned n = 0, tries;

    for (tries = 0; tries < max; tries++) {
        uint8_t *frame = t->queues[queue].scratch + VNET_HDR_MAX;
        ssize_t len;

        if (!stage)
            stage = mbuf_alloc(pool, MBUF_LARGE);
        if (stage)
            frame = mbuf_data(pool, stage);
        st->syscalls++;
        len = read_frame(t, queue, frame, &hdr);
        if (len < 0)
            break;
        if (len < PORT_ETH_LEN) {
            st->rx_bad++;
            continue;
        }
        burst[n] = receive(pool, &stage, frame, (uint32_t)len);
        if (!burst[n]) {
            st->rx_no_mbuf++;
            continue;
        }
        set_offload(burst[n++], &hdr);
        st->rx_frames++;
        st->rx_bytes += (uint64_t)len;
    }
    if (stage)
        mbuf_free(pool, stage);
    return n;
}

static unsigned tap_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                       struct mbuf **burst, unsigned n)
{
    struct tap_port *t = (struct tap_port *)port;
    struct ust_port_stats *st = &port->stats[queue].s;
    unsigned i;

    for (i = 0; i < n; i++) {
        int err = send_frame(t, queue, pool, burst[i]);

        if (err == -EAGAIN) {
            st->tx_full++;
            break;
        }
        if (err) {
            st->tx_errors++;
        } else {
            st->tx_frames++;
            st->tx_bytes += burst[i]->frame_len;
        }
        mbuf_free(pool, burst[i]);
    }
    return i;
}

static int tap_fd(struct ust_port *port, unsigned queue)
{
    return ((struct tap_port *)port)->queues[queue].fd;
}

/* The descriptor is readable as long as there are frames. */
static int tap_arm(struct ust_port *port, unsigned queue)
{
    (void)port;
    (void)queue;
    return 0;
}

static void tap_disarm(struct ust_port *port, unsigned queue)
{
    (void)port;
    (void)queue;
}

static void tap_info(const struct ust_port *port, struct ust_port_info *info)
{
    const struct tap_port *t = (const struct tap_port *)port;

    memcpy(info->mac, t->mac, sizeof info->mac);
    info->n_queues = (uint16_t)port->n_queues;
    info->mtu = t->mtu;
    info->caps = t->caps;
    info->link_up = 1;
}

static void tap_close(struct ust_port *port)
{
    struct tap_port *t = (struct tap_port *)port;
    unsigned q;

    for (q = 0; q < port->n_queues; q++) {
        if (t->queues[q].scratch && t->queues[q].fd >= 0)
            close(t->queues[q].fd);
        free(t->queues[q].scratch);
    }
    port_free(port);
}

/* Reads a frame to where hdr_len bytes may be written before it; its length,
 * 0 for something shorter than a header, or -1 when there is none. */
static ssize_t read_frame(struct tap_port *t, unsigned queue, uint8_t *frame, struct vnet_hdr *hdr)
{
    uint8_t *start = frame - t->hdr_len;
    ssize_t len = read(t->queues[queue].fd, start, t->hdr_len + FRAME_MAX);

    if (len < 0)
        return -1;
    memset(hdr, 0, sizeof *hdr);
    if (len < (ssize_t)t->hdr_len)
        return 0;
    memcpy(hdr, start, t->hdr_len);
    return len - (ssize_t)t->hdr_len;
}

/* The frame as an mbuf: the staging mbuf itself, which is then used up, if the
 * frame fills a good part of it; else a copy. NULL when the pool is empty. */
static struct mbuf *receive(struct mbuf_pool *pool, struct mbuf **stage, const uint8_t *frame,
                            uint32_t len)
{
    struct mbuf *m = NULL;

    if (!*stage || len <= COPY_MAX)
        m = mbuf_alloc_frame(pool, len);
    if (m) {
        port_copy_in(pool, m, 0, frame, len);
    } else {
        m = *stage;
        *stage = NULL;
        if (m)
            m->len = m->frame_len = len;
    }
    return m;
}

/* What the kernel left to its hardware is good, and must not be verified: the
 * field holds only the pseudo-header's sum. */
static void set_offload(struct mbuf *m, const struct vnet_hdr *hdr)
{
    uint8_t type = hdr->gso_type & (uint8_t)~VNET_GSO_ECN;

    m->flags = 0;
    m->csum_start = m->csum_offset = 0;
    m->gso_size = 0;
    m->gso_type = MBUF_GSO_NONE;
    m->rss_hash = 0;
    if (hdr->flags & (VNET_NEEDS_CSUM | VNET_DATA_VALID))
        m->flags = MBUF_CSUM_OK;
    if ((hdr->flags & VNET_NEEDS_CSUM) &&
        port_csum_fits(hdr->csum_start, hdr->csum_offset, m->frame_len)) {
        m->csum_start = hdr->csum_start;
        m->csum_offset = hdr->csum_offset;
    }
    if (type == MBUF_GSO_TCP4 || type == MBUF_GSO_TCP6 || type == MBUF_GSO_UDP) {
        m->gso_size = hdr->gso_size;
        m->gso_type = type;
    }
}

/* 0, -EAGAIN when the device takes no more, or the error of the write. */
static int send_frame(struct tap_port *t, unsigned queue, struct mbuf_pool *pool, struct mbuf *m)
{
    struct tap_queue *tq = &t->queues[queue];
    uint8_t *frame = tq->scratch + VNET_HDR_MAX;
    struct vnet_hdr hdr;
    ssize_t done;

    if (m->frame_len < PORT_ETH_LEN || m->frame_len > FRAME_MAX)
        return -EMSGSIZE;
    fill_header(&hdr, m);
    t->port.stats[queue].s.syscalls++;
    if (m->next == MBUF_NONE && m->cls != MBUF_REF && m->refs == 1 && m->off >= t->hdr_len)
        frame = mbuf_data(pool, m); /* nobody else looks at the headroom */
    else if (m->frame_len <= GATHER_MAX)
        mbuf_copy_out(pool, m, 0, frame, m->frame_len);
    else
        frame = NULL;
    if (frame) {
        memcpy(frame - t->hdr_len, &hdr, t->hdr_len);
        done = write(tq->fd, frame - t->hdr_len, t->hdr_len + m->frame_len);
    } else {
        done = write_pieces(t, queue, pool, m, &hdr);
    }
    return done < 0 ? -errno : 0;
}

static void fill_header(struct vnet_hdr *hdr, const struct mbuf *m)
{
    memset(hdr, 0, sizeof *hdr);
    if (m->flags & MBUF_CSUM_PARTIAL) {
        hdr->flags = VNET_NEEDS_CSUM;
        hdr->csum_start = m->csum_start;
        hdr->csum_offset = m->csum_offset;
    }
    if (m->gso_size) {
        hdr->gso_type = m->gso_type;
        hdr->gso_size = m->gso_size;
        hdr->hdr_len = /* a hint: the headers */
            m->csum_start + (m->gso_type == MBUF_GSO_UDP ? UDP_LEN : TCP_LEN);
    }
}

/* writev of header and chain; a chain of too many pieces is gathered. */
static ssize_t write_pieces(struct tap_port *t, unsigned queue, const struct mbuf_pool *pool,
                            const struct mbuf *m, struct vnet_hdr *hdr)
{
    struct iovec iov[PIECES_MAX] = {{hdr, t->hdr_len}};
    uint8_t *frame = t->queues[queue].scratch;
    const struct mbuf *piece;
    int n = 1;

    for (piece = m; piece && n < PIECES_MAX; piece = mbuf_at(pool, piece->next))
        iov[n++] = (struct iovec){mbuf_data(pool, piece), piece->len};
    if (piece) {
        mbuf_copy_out(pool, m, 0, frame, m->frame_len);
        iov[1] = (struct iovec){frame, m->frame_len};
        n = 2;
    }
    return writev(t->queues[queue].fd, iov, n);
}
