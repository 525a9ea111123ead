/* SPDX-License-Identifier: BSD-3-Clause */
/* What all ports share: opening and closing, statistics, raw frames.
 *
 * Not here: how frames move; that is each backend's.                        */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/checksum.h"
#include "port.h"

enum {
    RAW_SMALL = 8, /* buffers of the raw pool */
    RAW_LARGE = 2,
};

static struct mbuf_pool *raw_pool(struct ust_port *port);
static size_t lines(size_t size);

int port_init(struct ust_port *port, const struct port_ops *ops, unsigned n_queues)
{
    size_t size = n_queues * sizeof *port->stats;

    port->ops = ops;
    port->n_queues = n_queues;
    port->raw = NULL;
    port->stats = aligned_alloc(alignof(struct port_queue_stats), size);
    if (!port->stats)
        return -ENOMEM;
    memset(port->stats, 0, size);
    return 0;
}

void port_free(struct ust_port *port)
{
    free(port->raw);
    free(port->stats);
    free(port);
}

void ust_port_close(struct ust_port *port)
{
    if (port)
        port->ops->close(port);
}

void ust_port_info(const struct ust_port *port, struct ust_port_info *info)
{
    memset(info, 0, sizeof *info);
    port->ops->info(port, info);
}

void ust_port_stats(const struct ust_port *port, struct ust_port_stats *stats)
{
    unsigned q;

    memset(stats, 0, sizeof *stats);
    for (q = 0; q < port->n_queues; q++) {
        const struct ust_port_stats *s = &port->stats[q].s;

        stats->rx_frames += s->rx_frames;
        stats->rx_bytes += s->rx_bytes;
        stats->tx_frames += s->tx_frames;
        stats->tx_bytes += s->tx_bytes;
        stats->rx_no_mbuf += s->rx_no_mbuf;
        stats->rx_bad += s->rx_bad;
        stats->tx_full += s->tx_full;
        stats->tx_errors += s->tx_errors;
        stats->tx_lost += s->tx_lost;
        stats->rx_stale += s->rx_stale;
        stats->wakes += s->wakes;
        stats->syscalls += s->syscalls;
        stats->runs += s->runs;
    }
}

int ust_port_send_raw(struct ust_port *port, unsigned queue, const uint8_t *frame, size_t len)
{
    struct mbuf_pool *pool = raw_pool(port);
    struct mbuf *m;

    if (queue >= port->n_queues)
        return -EINVAL;
    if (!pool)
        return -ENOMEM;
    m = len <= UINT32_MAX ? mbuf_alloc_for(pool, len) : NULL;
    if (!m)
        return -EMSGSIZE;
    m->len = m->frame_len = (uint32_t)len;
    memcpy(mbuf_data(pool, m), frame, len);
    if (port->ops->tx_burst(port, queue, pool, &m, 1) == 1)
        return 0;
    mbuf_free(pool, m);
    return -EAGAIN;
}

int64_t ust_port_recv_raw(struct ust_port *port, unsigned queue, uint8_t *buf, size_t size)
{
    struct mbuf_pool *pool = raw_pool(port);
    struct mbuf *m;
    int64_t len;

    if (queue >= port->n_queues)
        return -EINVAL;
    if (!pool)
        return -ENOMEM;
    if (port->ops->rx_burst(port, queue, pool, &m, 1) == 0)
        return -EAGAIN;
    len = m->frame_len <= size ? (int64_t)m->frame_len : -EMSGSIZE;
    if (len > 0) {
        mbuf_copy_out(pool, m, 0, buf, m->frame_len);
        port_finish_checksum(pool, m, buf, m->frame_len);
    }
    mbuf_free(pool, m);
    return len;
}

void port_finish_checksum(const struct mbuf_pool *pool, const struct mbuf *m, uint8_t *frame,
                          size_t len)
{
    size_t field = (size_t)m->csum_start + m->csum_offset;
    uint16_t sum;

    if (!(m->flags & (MBUF_CSUM_PARTIAL | MBUF_CSUM_OK)) || field + 2 > len ||
        !port_csum_fits(m->csum_start, m->csum_offset, m->frame_len))
        return;
    sum = checksum_finish(mbuf_checksum(pool, m, m->csum_start, m->frame_len - m->csum_start, 0));
    memcpy(frame + field, &sum, sizeof sum);
}

void port_copy_in(const struct mbuf_pool *pool, struct mbuf *m, uint32_t off, const uint8_t *src,
                  uint32_t len)
{
    uint32_t n;

    for (; len; m = mbuf_at(pool, m->next)) {
        if (off >= m->len) {
            off -= m->len;
            continue;
        }
        n = m->len - off < len ? m->len - off : len;
        memcpy(mbuf_data(pool, m) + off, src, n);
        src += n;
        len -= n;
        off = 0;
    }
}

static struct mbuf_pool *raw_pool(struct ust_port *port)
{
    size_t head = lines(sizeof(struct mbuf_pool));
    size_t meta = lines(mbuf_pool_meta_size(RAW_SMALL, RAW_LARGE, 0));
    size_t data = lines(mbuf_pool_data_size(RAW_SMALL, RAW_LARGE));
    struct mbuf_pool *raw;

    if (port->raw)
        return port->raw;
    raw = aligned_alloc(64, head + meta + data);
    if (!raw)
        return NULL;
    memset(raw, 0, head + meta + data);
    mbuf_pool_init(raw, (uint8_t *)raw + head, (uint8_t *)raw + head + meta, RAW_SMALL, RAW_LARGE,
                   0, NULL);
    return port->raw = raw;
}

static size_t lines(size_t size)
{
    return (size + 63) & ~(size_t)63;
}
