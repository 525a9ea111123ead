/* SPDX-License-Identifier: BSD-3-Clause */
/* Loopback: packets to our own addresses, and the addresses that only we reach.
 *
 *   ip_output -> route -> loop_neigh() -> eth_output -> outq
 *                                                        | ust_engine_output()
 *   ipv4_input, ipv6_input <- loop_input() <- loopq <- loop_take()
 *                             ust_engine_tick()
 *
 * The loopback is an interface of its own, IFACE_LOOP, which no port serves; a
 * frame that says so has come from here, for others are refused by eth_input().
 * Routes to our own addresses lead to it, whichever interface they are of, and
 * its neighbour is always there. A frame comes in as it went out, super-segments
 * included, with its checksum taken as good: it has been through no wire.
 *
 * What shares its bytes with a send buffer is copied on its way in, as a port
 * would, so that a receive buffer is charged for what it holds.
 *
 *  L1  loopq holds at most QUEUE frames; those behind wait in outq, and UDP
 *      senders are held back by that. Nothing is lost but for want of mbufs.
 *  L2  one tick takes in at most BURST frames, and about BYTES, that were there
 *      before it: two ends that answer each other do not keep others waiting.  */
#include <errno.h>

#include "net.h"

enum {
    MTU = 65535, /* the most that an IPv4 packet can be */
    QUEUE = 256,
    BURST = 64,
    BYTES = 256 * 1024,
};

static const struct ust_addr v4_host = {{[10] = 0xff, 0xff, 127, [15] = 1}};
static const struct ust_addr v6_host = {{[15] = 1}};

void loop_init(struct net *net)
{
    mbuf_queue_init(&net->loopq);
    net->ifaces[IFACE_LOOP] =
        (struct iface){.mtu = MTU, .caps = UST_CAP_TX_CSUM | UST_CAP_TSO | UST_CAP_USO};
    for (int v4 = 0; v4 < 2; v4++)
        *loop_neigh(net, v4) = (struct neigh){.addr = v4 ? v4_host : v6_host,
                                              .state = NEIGH_PERMANENT,
                                              .iface = IFACE_LOOP,
                                              .kept = true};
}

int loop_enable(struct net *net)
{
    enum { V4_NET = 96 + 8, V6_NET = 128 };

    if (net_find_addr(net, &v4_host) || net_find_addr(net, &v6_host))
        return -EEXIST;
    if (net->n_addrs + 2 > UST_MAX_ADDRS)
        return -ENOSPC;
    net_new_addr(net, IFACE_LOOP, &v4_host, V4_NET);
    net_new_addr(net, IFACE_LOOP, &v6_host, V6_NET);
    return 0;
}

bool addr_is_loopback(const struct ust_addr *a)
{
    return addr_is_v4(a) ? v4_bytes(a)[0] == 127 : addr_same(a, &v6_host);
}

bool loop_escapes(const struct net *net, const struct ust_addr *src, const struct ust_addr *dst)
{
    return addr_is_loopback(src) && !net_own(net, dst) && !net_is_group(net, dst);
}

struct neigh *loop_neigh(struct net *net, bool v4)
{
    return &net->neighs[net->n_neighs + v4];
}

bool loop_take(struct net *net, struct mbuf *m)
{
    if (net->loopq.count >= QUEUE)
        return false;
    m = mbuf_dequeue(&net->core.pool, &net->outq);
    mbuf_enqueue(&net->core.pool, &net->loopq, m);
    return true;
}

/* Does nobody else hold any of m's bytes? */
static bool is_own(const struct mbuf *m)
{
    return m->next == MBUF_NONE && m->cls != MBUF_REF && m->refs == 1;
}

/* A frame of one's own with m's bytes; NULL without room. Owns m. */
static struct mbuf *copy(struct mbuf_pool *pool, struct mbuf *m)
{
    struct mbuf *own = mbuf_alloc_frame(pool, m->frame_len), *piece;
    size_t off = 0;

    for (piece = own; piece; piece = mbuf_at(pool, piece->next))
        off += mbuf_copy_out(pool, m, off, mbuf_data(pool, piece), piece->len);
    if (own) {
        own->csum_start = m->csum_start;
        own->csum_offset = m->csum_offset;
        own->gso_size = m->gso_size;
        own->gso_type = m->gso_type;
        own->iface = m->iface;
    }
    mbuf_free(pool, m);
    return own;
}

static void input(struct net *net, struct mbuf *m)
{
    const uint8_t *eth = mbuf_data(&net->core.pool, m);

    count(&net->core, C_LOOP_IN);
    m->flags = MBUF_CSUM_OK;
    m->l3_off = ETH_LEN;
    if (get16(eth + ETH_TYPE) == ETHERTYPE_IPV4)
        ipv4_input(net, m);
    else
        ipv6_input(net, m);
}

unsigned loop_input(struct net *net)
{
    struct mbuf_pool *pool = &net->core.pool;
    unsigned n, bytes = 0;
    struct mbuf *m;

    for (n = 0; n < BURST && bytes < BYTES && (m = mbuf_dequeue(pool, &net->loopq)); n++) {
        bytes += m->frame_len;
        if (!is_own(m))
            m = copy(pool, m);
        if (m)
            input(net, m);
        else
            count(&net->core, C_LOOP_DROP_NOMBUF);
    }
    return n;
}
