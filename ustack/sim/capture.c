/* SPDX-License-Identifier: BSD-3-Clause */
/* A host's frames as the records of a pcap file with nanoseconds, in a buffer
 * that the caller empties.                                                  */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { RECORD = 16, FIRST_SIZE = 1 << 16 };

static bool make_room(struct sim_capture *c, uint64_t more)
{
    uint64_t size = c->size ? c->size : FIRST_SIZE;
    uint8_t *buf;

    while (size < c->len + more)
        size *= 2;
    if (size == c->size)
        return true;
    buf = malloc(size);
    if (!buf)
        return false;
    if (c->len)
        memcpy(buf, c->buf, c->len);
    free(c->buf);
    c->buf = buf;
    c->size = size;
    return true;
}

void sim_record(struct ust_sim *sim, struct sim_node *node, const uint8_t *frame, size_t len)
{
    struct sim_capture *c = &node->capture;
    uint32_t head[4] = {(uint32_t)(sim->now / 1000000000u), (uint32_t)(sim->now % 1000000000u),
                        (uint32_t)len, (uint32_t)len};

    if (!make_room(c, RECORD + len))
        return;
    memcpy(c->buf + c->len, head, RECORD);
    memcpy(c->buf + c->len + RECORD, frame, len);
    c->len += RECORD + len;
    if (c->len >= SIM_CAPTURE_LEN)
        sim->why = UST_SIM_CAPTURE;
}

int ust_sim_capture(struct ust_sim *sim, int host, int on)
{
    if (host < 0 || (uint32_t)host >= sim->n_nodes)
        return -EINVAL;
    sim->nodes[host].capture.on = on != 0;
    return 0;
}

uint64_t ust_sim_captured(struct ust_sim *sim, int host, uint8_t *buf, uint64_t size)
{
    struct sim_capture *c;
    uint64_t n;

    if (host < 0 || (uint32_t)host >= sim->n_nodes)
        return 0;
    c = &sim->nodes[host].capture;
    n = c->len < size ? c->len : size;
    if (n == 0)
        return 0;
    memcpy(buf, c->buf, n);
    memmove(c->buf, c->buf + n, c->len - n);
    c->len -= n;
    return n;
}
