/* SPDX-License-Identifier: BSD-3-Clause */
/* The pcap port: a wrapper around any port that writes the frames of both ways
 * to a file in pcapng (draft-ietf-opsawg-pcapng), times in nanoseconds.
 *
 * Frames are recorded as the wire would carry them: a checksum that is left to
 * the hardware is filled in in the copy. Super-segments stay whole.
 *
 * Records collect in a buffer, which is written out, in whole blocks, when it
 * is full and at the end. On transmit a frame must be recorded before the
 * inner port takes it; what was not taken is removed from the buffer again.
 * When the disk is full the capture ends; the frames go on.
 *
 * All queues share the file, one at a time.                                 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "port.h"

enum {
    BUFFER_SIZE = 1 << 18,
    BLOCK_SHB = 0x0a0d0d0a, /* section header */
    BLOCK_IDB = 1,          /* interface description */
    BLOCK_EPB = 6,          /* enhanced packet */
    EPB_OVERHEAD = 32 + 12, /* without the frame; options are 12 bytes */
    RECORD_MAX = EPB_OVERHEAD + PORT_ETH_LEN + 65535 + 3,
    LINKTYPE_ETHERNET = 1,
    OPT_END = 0,
    OPT_SHB_USERAPPL = 4,
    OPT_IF_TSRESOL = 9,
    OPT_EPB_FLAGS = 2,
    INBOUND = 1,
    OUTBOUND = 2,
};

struct pcap_port {
    struct ust_port port;
    struct ust_port *inner;
    int fd;               /* -1 once the capture has ended */
    pid_t pid;            /* that writes it; a forked child does not */
    uint64_t frames_left; /* UINT64_MAX: no limit */
    uint32_t snaplen;
    pthread_mutex_t lock; /* of all above, and of the buffer */
    uint8_t *buf;
    size_t used;
};

struct mark { /* where the buffer goes back to */
    size_t used;
    uint64_t frames_left;
};

static int start(struct pcap_port *p, const char *path);
static int flush(struct pcap_port *p);
static void end(struct pcap_port *p);
static unsigned record_some(struct pcap_port *p, const struct mbuf_pool *pool, struct mbuf **burst,
                            unsigned n, struct mark *mark);
static void record(struct pcap_port *p, const struct mbuf_pool *pool, const struct mbuf *m,
                   uint64_t now, uint32_t direction);
static uint64_t wall_clock(void);
static size_t begin_block(struct pcap_port *p, uint32_t type);
static void end_block(struct pcap_port *p, size_t block);
static void put32(struct pcap_port *p, uint32_t value);
static void put16(struct pcap_port *p, uint16_t first, uint16_t second);
static void put(struct pcap_port *p, const void *data, size_t len);
static void pad(struct pcap_port *p);

static unsigned pcap_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max);
static unsigned pcap_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n);
static int pcap_fd(struct ust_port *port, unsigned queue);
static int pcap_arm(struct ust_port *port, unsigned queue);
static void pcap_disarm(struct ust_port *port, unsigned queue);
static void pcap_info(const struct ust_port *port, struct ust_port_info *info);
static void pcap_close(struct ust_port *port);

static const struct port_ops pcap_ops = {
    .name = "pcap",
    .rx_burst = pcap_rx,
    .tx_burst = pcap_tx,
    .fd = pcap_fd,
    .arm = pcap_arm,
    .disarm = pcap_disarm,
    .info = pcap_info,
    .close = pcap_close,
};

struct ust_port *ust_pcap_open(struct ust_port *inner, const char *path, uint64_t max_frames,
                               uint32_t snaplen, int *err)
{
    struct pcap_port *p = calloc(1, sizeof *p);

    *err = -ENOMEM;
    if (!p)
        return NULL;
    p->port = (struct ust_port){&pcap_ops, inner->n_queues, inner->stats, NULL};
    p->inner = inner;
    p->pid = getpid();
    p->frames_left = max_frames ? max_frames : UINT64_MAX;
    p->snaplen = snaplen ? snaplen : UINT32_MAX;
    p->buf = malloc(BUFFER_SIZE);
    if (p->buf)
        *err = start(p, path);
    if (*err) {
        free(p->buf);
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    return &p->port;
}

static unsigned pcap_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max)
{
    struct pcap_port *p = (struct pcap_port *)port;
    unsigned n = p->inner->ops->rx_burst(p->inner, queue, pool, burst, max), i;
    uint64_t now;

    if (n == 0)
        return 0;
    pthread_mutex_lock(&p->lock);
    now = wall_clock();
    for (i = 0; i < n && p->fd >= 0; i++) {
        if (p->used + RECORD_MAX > BUFFER_SIZE)
            flush(p);
        record(p, pool, burst[i], now, INBOUND);
    }
    if (p->frames_left == 0)
        end(p);
    pthread_mutex_unlock(&p->lock);
    return n;
}

static unsigned pcap_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n)
{
    struct pcap_port *p = (struct pcap_port *)port;
    unsigned done = 0, part, sent;

    pthread_mutex_lock(&p->lock);
    do {
        struct mark mark[UST_MAX_BURST];

        part = record_some(p, pool, burst + done, n - done, mark);
        sent = p->inner->ops->tx_burst(p->inner, queue, pool, burst + done, part);
        if (sent < part && p->fd >= 0) {
            p->used = mark[sent].used;
            p->frames_left = mark[sent].frames_left;
        }
        done += sent;
    } while (sent == part && done < n);
    if (p->frames_left == 0)
        end(p);
    pthread_mutex_unlock(&p->lock);
    return done;
}

static int pcap_fd(struct ust_port *port, unsigned queue)
{
    struct ust_port *inner = ((struct pcap_port *)port)->inner;

    return inner->ops->fd(inner, queue);
}

static int pcap_arm(struct ust_port *port, unsigned queue)
{
    struct ust_port *inner = ((struct pcap_port *)port)->inner;

    return inner->ops->arm(inner, queue);
}

static void pcap_disarm(struct ust_port *port, unsigned queue)
{
    struct ust_port *inner = ((struct pcap_port *)port)->inner;

    inner->ops->disarm(inner, queue);
}

static void pcap_info(const struct ust_port *port, struct ust_port_info *info)
{
    const struct ust_port *inner = ((const struct pcap_port *)port)->inner;

    inner->ops->info(inner, info);
}

static void pcap_close(struct ust_port *port)
{
    struct pcap_port *p = (struct pcap_port *)port;

    if (p->pid != getpid())
        p->used = 0;
    end(p);
    ust_port_close(p->inner);
    pthread_mutex_destroy(&p->lock);
    free(p->buf);
    port->stats = NULL; /* they were inner's */
    port_free(port);
}

/* Creates the file with its two header blocks. */
static int start(struct pcap_port *p, const char *path)
{
    static const char name[8] = "ustack";
    const uint8_t nanoseconds = 9;
    const int64_t section_len = -1; /* not known */
    size_t block;

    p->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (p->fd < 0)
        return -errno;
    block = begin_block(p, BLOCK_SHB);
    put32(p, 0x1a2b3c4d); /* byte order */
    put16(p, 1, 0);       /* version */
    put(p, &section_len, sizeof section_len);
    put16(p, OPT_SHB_USERAPPL, 6);
    put(p, name, 8);
    put16(p, OPT_END, 0);
    end_block(p, block);
    block = begin_block(p, BLOCK_IDB);
    put16(p, LINKTYPE_ETHERNET, 0);
    put32(p, p->snaplen == UINT32_MAX ? 0 : p->snaplen);
    put16(p, OPT_IF_TSRESOL, 1);
    put(p, &nanoseconds, 1);
    put16(p, OPT_END, 0);
    end_block(p, block);
    return flush(p);
}

/* Writes the buffer out; 0 or -errno, and then the capture has ended. */
static int flush(struct pcap_port *p)
{
    size_t done = 0;
    ssize_t n;
    int err;

    for (; p->fd >= 0 && done < p->used; done += (size_t)n) {
        n = write(p->fd, p->buf + done, p->used - done);
        if (n < 0 && errno == EINTR)
            n = 0;
        if (n < 0) {
            err = -errno;
            close(p->fd);
            p->fd = -1;
            return err;
        }
    }
    p->used = 0;
    return 0;
}

static void end(struct pcap_port *p)
{
    flush(p);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* Records outgoing frames, with a mark before each, as long as they fit the
 * buffer without writing it out; how many, at least one. */
static unsigned record_some(struct pcap_port *p, const struct mbuf_pool *pool, struct mbuf **burst,
                            unsigned n, struct mark *mark)
{
    uint64_t now = p->fd >= 0 ? wall_clock() : 0;
    unsigned i;

    if (p->fd < 0)
        return n;
    if (p->used + RECORD_MAX > BUFFER_SIZE)
        flush(p);
    for (i = 0; i < n && i < UST_MAX_BURST; i++) {
        if (p->used + RECORD_MAX > BUFFER_SIZE)
            break;
        mark[i] = (struct mark){p->used, p->frames_left};
        record(p, pool, burst[i], now, OUTBOUND);
    }
    return i;
}

/* One enhanced packet block; the caller knows there is room. */
static void record(struct pcap_port *p, const struct mbuf_pool *pool, const struct mbuf *m,
                   uint64_t now, uint32_t direction)
{
    uint32_t len = m->frame_len;
    uint32_t kept = len < p->snaplen ? len : p->snaplen;
    size_t block;

    if (p->frames_left == 0 || len > PORT_ETH_LEN + 65535)
        return;
    p->frames_left--;
    block = begin_block(p, BLOCK_EPB);
    put32(p, 0); /* interface */
    put32(p, (uint32_t)(now >> 32));
    put32(p, (uint32_t)now);
    put32(p, kept);
    put32(p, len);
    mbuf_copy_out(pool, m, 0, p->buf + p->used, kept);
    port_finish_checksum(pool, m, p->buf + p->used, kept);
    p->used += kept;
    pad(p);
    put16(p, OPT_EPB_FLAGS, 4);
    put32(p, direction);
    put16(p, OPT_END, 0);
    end_block(p, block);
}

static uint64_t wall_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* A block begins with its type and its length, and ends with its length. */
static size_t begin_block(struct pcap_port *p, uint32_t type)
{
    size_t block = p->used;

    put32(p, type);
    put32(p, 0);
    return block;
}

static void end_block(struct pcap_port *p, size_t block)
{
    uint32_t len = (uint32_t)(p->used - block) + 4;

    put32(p, len);
    memcpy(p->buf + block + 4, &len, sizeof len);
}

static void put32(struct pcap_port *p, uint32_t value)
{
    put(p, &value, sizeof value);
}

static void put16(struct pcap_port *p, uint16_t first, uint16_t second)
{
    const uint16_t both[2] = {first, second};

    put(p, both, sizeof both);
}

static void put(struct pcap_port *p, const void *data, size_t len)
{
    memcpy(p->buf + p->used, data, len);
    p->used += len;
    pad(p);
}

/* Zeros up to the next 32 bits. */
static void pad(struct pcap_port *p)
{
    while (p->used % 4)
        p->buf[p->used++] = 0;
}
