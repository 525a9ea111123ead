/* SPDX-License-Identifier: BSD-3-Clause */
/* The tap port: frames to and from the kernel, by read and write or io_uring.
 *
 * With a vnet_hdr before each frame (vnet.h) checksums and the
 * cutting of super-segments are left to the kernel, both ways: a system call
 * then moves up to 64 KiB. The frames are read into a large mbuf, the only
 * kind that holds any frame; those that do not fill a good part of it are
 * copied into small ones, and it, still in the cache, takes the next frame.
 *
 * A frame is sent in place if it is linear and has headroom for the header;
 * else it is gathered, or, from GATHER_MAX bytes on, given in pieces.
 *
 * Where io_uring is to be had, one system call moves a run of small frames. A
 * read in vain costs a third of a frame, so a run asks for what the last look
 * got and one more, or for twice that if it did not see the end; and unless the
 * load is steady the first frame is read singly, in case there is none. What is
 * left after a run is there at the next look. Frames that come in a run are
 * copied from a slot each; nothing is under way between two looks.
 *
 * Not here: how the device is made; that is tap.py.                         */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "port.h"
#include "uring.h"
#include "vnet.h"

enum {
    FRAME_MAX = PORT_ETH_LEN + 65535,
    GATHER_MAX = 8192, /* bytes that are copied faster than listed */
    COPY_MAX = 8192,   /* bytes worth a copy to spare a large mbuf */
    PIECES_MAX = 64,
    RUN_MAX = 32,     /* frames in one system call */
    READS_LEAST = 4,  /* below, a call each is cheaper; see docs/idle.md */
    WRITES_LEAST = 2, /* to send */
    STREAK = 4,       /* looks not in vain, after which the next is not expected to be */
    RUN_BYTES = 2048, /* a frame, on average: a larger one is worth a call */
};

/* What one frame needs on its way. */
struct slot {
    struct vnet_hdr hdr;
    struct iovec iov[PIECES_MAX];
    uint8_t room[VNET_HDR_MAX + FRAME_MAX];
};

struct tap_queue {
    int fd;
    unsigned streak;    /* looks since the last in vain */
    unsigned likely;    /* frames of the next run */
    bool drained;       /* the last look saw the end of the queue */
    bool large;         /* frames worth a call each came last */
    struct slot *slots; /* RUN_MAX of them if there is a ring, else one */
    struct uring ring;  /* depth 0: none */
    int32_t results[RUN_MAX];
};

struct tap_port {
    struct ust_port port;
    uint32_t mtu, caps;
    unsigned hdr_len;
    uint8_t mac[6];
    struct tap_queue queues[PORT_MAX_QUEUES];
};

static bool set_up_queue(struct tap_queue *tq, bool uring);
static bool runs(const struct tap_queue *tq, unsigned n, unsigned least_n);
static unsigned least(unsigned a, unsigned b);
static unsigned read_singly(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                            struct mbuf **burst, unsigned max);
static unsigned read_one(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                         struct mbuf **stage, struct mbuf **to);
static unsigned read_run(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                         struct mbuf **burst, unsigned n);
static bool can_run(struct tap_queue *tq);
static struct mbuf *accept_frame(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                                 struct mbuf **stage, const uint8_t *start, uint32_t len);
static struct mbuf *receive(struct mbuf_pool *pool, struct mbuf **stage, const uint8_t *frame,
                            uint32_t len);
static unsigned write_one(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                          struct mbuf *m);
static unsigned write_run(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                          struct mbuf **burst, unsigned *n);
static bool is_frame(const struct mbuf *m);
static bool is_sent(struct ust_port_stats *st, struct mbuf_pool *pool, struct mbuf *m, int result);
static unsigned lay_out(const struct tap_port *t, struct mbuf_pool *pool, struct mbuf *m,
                        struct slot *slot);
static unsigned list_pieces(const struct tap_port *t, const struct mbuf_pool *pool,
                            const struct mbuf *m, struct slot *slot);

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
                              unsigned mtu, unsigned caps, int uring, const uint8_t mac[6],
                              int *err)
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
    for (q = 0; q < n_queues; q++)
        t->queues[q].fd = t->queues[q].ring.fd = -1; /* the caller's until all is well */
    for (q = 0; q < n_queues; q++)
        if (!set_up_queue(&t->queues[q], uring)) {
            tap_close(&t->port);
            return NULL;
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
    struct tap_queue *tq = &t->queues[queue];
    uint64_t bytes = port->stats[queue].s.rx_bytes;
    unsigned n = 0, run = least(least(tq->likely, RUN_MAX), max);
    bool sure = tq->streak >= STREAK || (tq->streak > 0 && !tq->drained);

    if (!runs(tq, run, READS_LEAST))
        n = read_singly(t, queue, pool, burst, max);
    else if (sure)
        n = read_run(t, queue, pool, burst, run);
    else if ((n = read_singly(t, queue, pool, burst, 1)) > 0)
        n += read_run(t, queue, pool, burst + n, least(run, max - n));
    bytes = port->stats[queue].s.rx_bytes - bytes;
    if (n > 0)
        tq->likely = bytes > (uint64_t)n * RUN_BYTES ? 1 : tq->drained ? n + 1 : 2 * n;
    tq->streak = n > 0 ? tq->streak + 1 : 0;
    return n;
}

static unsigned tap_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                       struct mbuf **burst, unsigned n)
{
    struct tap_port *t = (struct tap_port *)port;
    unsigned i = 0, ran, sent;

    while (i < n) {
        ran = least(n - i, RUN_MAX);
        if (runs(&t->queues[queue], ran, WRITES_LEAST))
            sent = write_run(t, queue, pool, burst + i, &ran);
        else
            sent = write_one(t, queue, pool, burst[i]), ran = 1;
        i += sent;
        if (sent < ran) {
            port->stats[queue].s.tx_full++;
            break;
        }
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
    info->runs = runs(&t->queues[0], RUN_MAX, 0);
}

static void tap_close(struct ust_port *port)
{
    struct tap_port *t = (struct tap_port *)port;
    unsigned q;

    for (q = 0; q < port->n_queues; q++) {
        uring_close(&t->queues[q].ring);
        if (t->queues[q].fd >= 0)
            close(t->queues[q].fd);
        free(t->queues[q].slots);
    }
    port_free(port);
}

/* Without io_uring, which many systems refuse, all goes on as with it. */
static bool set_up_queue(struct tap_queue *tq, bool uring)
{
    bool ring = uring && uring_open(&tq->ring, RUN_MAX) == 0;

    tq->slots = malloc((ring ? RUN_MAX : 1) * sizeof *tq->slots);
    return tq->slots;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Is this a case for one system call for n frames? */
static bool runs(const struct tap_queue *tq, unsigned n, unsigned least_n)
{
    return n >= least_n && tq->ring.fd >= 0 && !tq->ring.broken;
}

/* -------------------------------------------------------------- receive */

/* Reads frames with a system call each, up to max or to the end of the queue;
 * how many. */
static unsigned read_singly(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                            struct mbuf **burst, unsigned max)
{
    struct tap_queue *tq = &t->queues[queue];
    struct mbuf *stage = NULL;
    unsigned n = 0, tried = 0;

    for (tq->drained = false; !tq->drained && tried < max; tried++)
        n += read_one(t, queue, pool, &stage, burst + n);
    if (stage)
        mbuf_free(pool, stage);
    return n;
}

/* Reads a frame into *to; how many there are now. */
static unsigned read_one(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                         struct mbuf **stage, struct mbuf **to)
{
    struct tap_queue *tq = &t->queues[queue];
    uint8_t *start = tq->slots->room + VNET_HDR_MAX;
    ssize_t len;

    if (!*stage)
        *stage = mbuf_alloc(pool, MBUF_LARGE);
    if (*stage)
        start = mbuf_data(pool, *stage);
    start -= t->hdr_len;
    t->port.stats[queue].s.syscalls++;
    len = read(tq->fd, start, t->hdr_len + FRAME_MAX);
    tq->drained = len < 0;
    return len >= 0 && (*to = accept_frame(t, queue, pool, stage, start, (uint32_t)len));
}

/* Reads up to n frames in one system call, or, where that is refused, none. */
static unsigned read_run(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                         struct mbuf **burst, unsigned n)
{
    struct tap_queue *tq = &t->queues[queue];
    uint64_t enters = tq->ring.n_enters;
    struct mbuf *no_stage = NULL;
    unsigned i, ran, read = 0, got = 0;
    int done;

    for (i = 0; i < n; i++)
        uring_put_read(&tq->ring, tq->fd, tq->slots[i].room, t->hdr_len + FRAME_MAX);
    done = uring_run(&tq->ring, tq->results);
    t->port.stats[queue].s.syscalls += tq->ring.n_enters - enters;
    t->port.stats[queue].s.runs++;
    ran = done > 0 && can_run(tq) ? (unsigned)done : 0;
    for (i = 0; i < ran; i++) {
        if (tq->results[i] < 0)
            continue;
        read++;
        burst[got] =
            accept_frame(t, queue, pool, &no_stage, tq->slots[i].room, (uint32_t)tq->results[i]);
        got += burst[got] != NULL;
    }
    tq->drained = read < ran;
    return got;
}

/* False when the device knows no way but to wait: then nothing was done. */
static bool can_run(struct tap_queue *tq)
{
    tq->ring.broken |= tq->results[0] == -EOPNOTSUPP;
    return !tq->ring.broken;
}

/* The frame that was read to start, len bytes with its header; NULL when it
 * was dropped, and counted. */
static struct mbuf *accept_frame(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                                 struct mbuf **stage, const uint8_t *start, uint32_t len)
{
    struct ust_port_stats *st = &t->port.stats[queue].s;
    struct vnet_hdr hdr = {0};
    struct mbuf *m;

    if (len < t->hdr_len + PORT_ETH_LEN) {
        st->rx_bad++;
        return NULL;
    }
    len -= t->hdr_len;
    memcpy(&hdr, start, t->hdr_len);
    m = receive(pool, stage, start + t->hdr_len, len);
    if (!m) {
        st->rx_no_mbuf++;
        return NULL;
    }
    vnet_take(&hdr, m);
    st->rx_frames++;
    st->rx_bytes += len;
    return m;
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

/* ----------------------------------------------------------------- send */

/* 1 when the frame has gone, or was dropped; 0 when the device takes no more. */
static unsigned write_one(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                          struct mbuf *m)
{
    struct tap_queue *tq = &t->queues[queue];
    struct ust_port_stats *st = &t->port.stats[queue].s;
    struct iovec *iov = tq->slots->iov;
    ssize_t done;
    unsigned n;

    if (!is_frame(m))
        return is_sent(st, pool, m, -EMSGSIZE);
    st->syscalls++;
    n = lay_out(t, pool, m, tq->slots);
    done = n == 1 ? write(tq->fd, iov->iov_base, iov->iov_len) : writev(tq->fd, iov, (int)n);
    return is_sent(st, pool, m, done < 0 ? -errno : 0);
}

/* As many of the *n frames as one system call can carry, which *n becomes; how
 * many have gone, or were dropped: the rest is at the end of the burst. */
static unsigned write_run(struct tap_port *t, unsigned queue, struct mbuf_pool *pool,
                          struct mbuf **burst, unsigned *n)
{
    struct tap_queue *tq = &t->queues[queue];
    struct ust_port_stats *st = &t->port.stats[queue].s;
    uint64_t enters = tq->ring.n_enters;
    struct mbuf *kept[RUN_MAX];
    int i, done, put = 0, n_kept = 0;

    for (; put < (int)*n && is_frame(burst[put]); put++)
        uring_put_write(&tq->ring, tq->fd, tq->slots[put].iov,
                        lay_out(t, pool, burst[put], &tq->slots[put]));
    done = put ? uring_run(&tq->ring, tq->results) : 0;
    st->syscalls += tq->ring.n_enters - enters;
    st->runs += put > 0;
    if (done <= 0 || !can_run(tq)) {
        *n = 1;
        return write_one(t, queue, pool, burst[0]);
    }
    for (i = 0; i < done; i++)
        if (!is_sent(st, pool, burst[i], tq->results[i]))
            kept[n_kept++] = burst[i];
    *n = (unsigned)done;
    for (i = 0; i < n_kept; i++)
        burst[done - n_kept + i] = kept[i];
    return (unsigned)(done - n_kept);
}

static bool is_frame(const struct mbuf *m)
{
    return m->frame_len >= PORT_ETH_LEN && m->frame_len <= FRAME_MAX;
}

/* Counts and frees a frame by the result of its write, but for -EAGAIN. */
static bool is_sent(struct ust_port_stats *st, struct mbuf_pool *pool, struct mbuf *m, int result)
{
    if (result == -EAGAIN)
        return false;
    if (result < 0) {
        st->tx_errors++;
    } else {
        st->tx_frames++;
        st->tx_bytes += m->frame_len;
    }
    mbuf_free(pool, m);
    return true;
}

/* Writes the header, and lists in slot->iov what is to be written; in how many
 * pieces. */
static unsigned lay_out(const struct tap_port *t, struct mbuf_pool *pool, struct mbuf *m,
                        struct slot *slot)
{
    uint8_t *frame = slot->room + VNET_HDR_MAX;

    vnet_fill(&slot->hdr, m);
    if (m->next == MBUF_NONE && m->cls != MBUF_REF && m->refs == 1 && m->off >= t->hdr_len)
        frame = mbuf_data(pool, m); /* nobody else looks at the headroom */
    else if (m->frame_len <= GATHER_MAX)
        mbuf_copy_out(pool, m, 0, frame, m->frame_len);
    else
        return list_pieces(t, pool, m, slot);
    memcpy(frame - t->hdr_len, &slot->hdr, t->hdr_len);
    slot->iov[0] = (struct iovec){frame - t->hdr_len, t->hdr_len + m->frame_len};
    return 1;
}

/* Header and chain; a chain of too many pieces is gathered. */
static unsigned list_pieces(const struct tap_port *t, const struct mbuf_pool *pool,
                            const struct mbuf *m, struct slot *slot)
{
    const struct mbuf *piece;
    unsigned n = 1;

    slot->iov[0] = (struct iovec){&slot->hdr, t->hdr_len};
    for (piece = m; piece && n < PIECES_MAX; piece = mbuf_at(pool, piece->next))
        slot->iov[n++] = (struct iovec){mbuf_data(pool, piece), piece->len};
    if (piece) {
        mbuf_copy_out(pool, m, 0, slot->room, m->frame_len);
        slot->iov[1] = (struct iovec){slot->room, m->frame_len};
        n = 2;
    }
    return n;
}
