/* SPDX-License-Identifier: BSD-3-Clause */
/* The header that Linux puts before a frame (struct virtio_net_hdr, of virtio
 * 1.2, 5.1.6) and what it says in an mbuf's terms: checksums and the cutting of
 * super-segments that one side has left to the other.
 *
 * Not here: how header and frame move; that is tap.c.                       */
#pragma once
#include <assert.h>
#include "../base/mbuf.h"

enum { VNET_HDR_MAX = 12 }; /* 10 without num_buffers */

struct vnet_hdr { /* in native byte order */
    uint8_t flags;
    uint8_t gso_type; /* the numbers of enum mbuf_gso, and others */
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start, csum_offset;
    uint16_t num_buffers;
};

static_assert(sizeof(struct vnet_hdr) == VNET_HDR_MAX, "as the kernel's");

/* What hdr says of the frame m, which has come with it. */
void vnet_take(const struct vnet_hdr *hdr, struct mbuf *m);
/* What is to be said of m. */
void vnet_fill(struct vnet_hdr *hdr, const struct mbuf *m);
