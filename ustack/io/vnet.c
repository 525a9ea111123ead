/* SPDX-License-Identifier: BSD-3-Clause */
/* struct virtio_net_hdr to mbuf and back. What the kernel wrote is checked
 * against the frame's length.                                               */
#include "vnet.h"

#include <string.h>

#include "port.h"

enum {
    VNET_NEEDS_CSUM = 1,
    VNET_DATA_VALID = 2,
    VNET_GSO_ECN = 0x80,
    TCP_LEN = 20,
    UDP_LEN = 8,
};

/* What the kernel left to its hardware is good, and must not be verified: the
 * field holds only the pseudo-header's sum. */
void vnet_take(const struct vnet_hdr *hdr, struct mbuf *m)
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

void vnet_fill(struct vnet_hdr *hdr, const struct mbuf *m)
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
