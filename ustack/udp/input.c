/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams in: validation, the socket they are for, its bounded queue; and
 * ICMP errors about ours.                                                   */
#include <errno.h>

#include "../base/checksum.h"
#include "../base/rcvbuf.h"
#include "../base/share.h"
#include "udp.h"

enum {
    LENGTH = 4,
    CHECKSUM = 6,
    COMPACT_MAX = MBUF_LARGE_SIZE / 2, /* bytes worth a copy to spare a large mbuf */
    SMALL_ROOM = MBUF_SMALL_SIZE - MBUF_HEADROOM,
};

static bool checksum_ok(const struct net *net, const struct mbuf *m, const struct packet *p,
                        uint32_t len)
{
    const uint8_t *h = mbuf_data(&net->core.pool, m) + p->l4_off;
    uint64_t sum;

    if (get16(h + CHECKSUM) == 0) /* not computed: allowed by IPv4 only */
        return addr_is_v4(&p->src);
    if (m->flags & MBUF_CSUM_OK)
        return true;
    sum = ip_pseudo_sum(&p->src, &p->dst, IPPROTO_UDP_, len);
    return checksum_finish(mbuf_checksum(&net->core.pool, m, p->l4_off, len, sum)) == 0;
}

static enum counter validate(const struct net *net, const struct mbuf *m, const struct packet *p)
{
    uint32_t len;

    if (p->l4_len < UDP_LEN)
        return C_UDP_DROP_MALFORMED;
    len = get16(mbuf_data(&net->core.pool, m) + p->l4_off + LENGTH);
    if (len < UDP_LEN || len > p->l4_len)
        return C_UDP_DROP_MALFORMED;
    return checksum_ok(net, m, p, len) ? N_COUNTERS : C_UDP_DROP_CHECKSUM;
}

/* Datagrams put together lie in a large mbuf each. Those that do not fill half
 * of it move to small ones, so that few of them do not fill a receive queue; not
 * those whose headers need more than one. Owns m. */
static struct mbuf *compact(struct mbuf_pool *pool, struct mbuf *m)
{
    struct mbuf *first = NULL, *last = NULL, *piece;

    if (m->cls != MBUF_LARGE || m->frame_len > COMPACT_MAX || m->l4_off + UDP_LEN > SMALL_ROOM)
        return m;
    for (uint32_t at = 0; at < m->frame_len; at += piece->len) {
        piece = mbuf_alloc(pool, MBUF_SMALL);
        if (!piece) {
            if (first)
                mbuf_free(pool, first);
            return m;
        }
        piece->len =
            (uint32_t)mbuf_copy_out(pool, m, at, mbuf_data(pool, piece), mbuf_tailroom(piece));
        if (last)
            last->next = mbuf_index(pool, piece);
        else
            first = piece;
        last = piece;
    }
    assert(first); /* a frame with headers is never empty */
    first->frame_len = m->frame_len;
    first->l3_off = m->l3_off;
    first->l4_off = m->l4_off;
    first->iface = m->iface;
    mbuf_free(pool, m);
    return first;
}

void udp_enqueue(struct udp *udp, struct udp_sock *s, struct mbuf *m)
{
    struct core *core = &udp->net->core;
    uint32_t size;

    m = compact(&core->pool, m);
    size = mbuf_truesize(&core->pool, m);
    if (s->charged + size > s->rcv_limit)
        return net_drop(udp->net, m, s->ping ? C_ICMP_DROP_FULL : C_UDP_DROP_FULL);
    if (core->pool.n_free[MBUF_SMALL] < (uint64_t)core->set.mbuf_reserve)
        return net_drop(udp->net, m, s->ping ? C_ICMP_DROP_NOMBUF : C_UDP_DROP_NOMBUF);
    if (!share_allows(core, m, s->charged))
        return net_drop(udp->net, m, s->ping ? C_ICMP_DROP_NOMBUF : C_UDP_DROP_SHARE);
    count(core, s->ping ? C_ICMP_IN_REPLY : C_UDP_IN);
    s->charged += size;
    mbuf_enqueue(&core->pool, &s->rx, m);
    udp_changed(udp, s);
}

/* A super-segment is many datagrams with one header: each gets a copy. */
static void split(struct udp *udp, struct udp_sock *s, struct mbuf *m, const struct packet *p)
{
    struct mbuf_pool *pool = &udp->net->core.pool;
    uint32_t head = p->l4_off + UDP_LEN, n;
    uint32_t text = get16(mbuf_data(pool, m) + p->l4_off + LENGTH) - UDP_LEN;

    for (uint32_t at = 0; at < text; at += n) {
        struct mbuf *one;

        n = text - at < m->gso_size ? text - at : m->gso_size;
        one = mbuf_alloc_for(pool, head + n);
        if (!one) {
            count(&udp->net->core, C_UDP_DROP_NOMBUF);
            break;
        }
        mbuf_copy_out(pool, m, 0, mbuf_data(pool, one), head);
        mbuf_copy_out(pool, m, head + at, mbuf_data(pool, one) + head, n);
        put16(mbuf_data(pool, one) + p->l4_off + LENGTH, UDP_LEN + n);
        one->len = one->frame_len = head + n;
        one->l3_off = m->l3_off;
        one->l4_off = p->l4_off;
        one->iface = m->iface;
        udp_enqueue(udp, s, one);
    }
    mbuf_free(pool, m);
}

void udp_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    enum counter bad = validate(net, m, p);
    const uint8_t *h = mbuf_data(&net->core.pool, m) + p->l4_off;
    struct flow_key key = {.local = p->dst, .remote = p->src};
    struct udp_sock *s;

    if (bad != N_COUNTERS)
        return net_drop(net, m, bad);
    key.lport = get16(h + 2);
    key.rport = get16(h);
    s = udp_find(net->udp, &key);
    if (!s) {
        if (net_ask_others(net, m))
            return;
        icmp_unreachable(net, m, p, UNREACH_PORT);
        return net_drop(net, m, C_UDP_DROP_NOPORT);
    }
    m->l4_off = p->l4_off;
    if (m->gso_type == MBUF_GSO_UDP)
        return split(net->udp, s, m, p);
    udp_enqueue(net->udp, s, m);
}

bool udp_error(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
               const uint8_t *quoted, const struct ip_error *e)
{
    struct flow_key key = {
        .local = *src, .remote = *dst, .lport = get16(quoted), .rport = get16(quoted + 2)};

    return udp_tell(net, &key, e);
}

/* As Linux: a connected socket hears hard errors; and that a packet was too
 * big, unless it lets routers fragment. */
bool udp_tell(struct net *net, const struct flow_key *key, const struct ip_error *e)
{
    struct udp_sock *s = udp_find(net->udp, key);

    if (!s || (s->connected && memcmp(&s->key, key, sizeof *key) != 0))
        return false;
    if (e->mtu)
        pmtu_learn(net, &key->remote, e->mtu);
    if (s->connected && (e->hard || (e->mtu && s->discover != UDP_PMTU_DONT))) {
        s->error = e->err;
        udp_changed(net->udp, s);
    }
    return true;
}

/* Where a queued frame came from, read from the headers it still has; and where
 * in it the text begins. */
static uint32_t describe(const struct mbuf_pool *pool, const struct mbuf *m, bool ping,
                         struct ust_datagram *info)
{
    const uint8_t *ip = mbuf_data(pool, m) + m->l3_off, *h = mbuf_data(pool, m) + m->l4_off;
    uint32_t header = ping ? 0 : UDP_LEN;
    bool v4 = ip[0] >> 4 == 4;

    info->src = v4 ? addr_v4(ip + 12) : addr_v6(ip + 8);
    info->dst = v4 ? addr_v4(ip + 16) : addr_v6(ip + 24);
    info->port = ping ? 0 : get16(h);
    info->tos = v4 ? ip[1] : (uint8_t)(get16(ip) >> 4);
    info->ttl = v4 ? ip[8] : ip[7];
    info->iface = m->iface;
    info->len = (ping ? m->frame_len - m->l4_off : get16(h + LENGTH)) - header;
    return m->l4_off + header;
}

int64_t udp_recv(struct udp *udp, struct udp_sock *s, void *buf, size_t size, bool peek,
                 struct ust_datagram *info)
{
    struct mbuf_pool *pool = &udp->net->core.pool;
    struct mbuf *m = mbuf_at(pool, s->rx.head);
    struct ust_datagram local;
    uint32_t text;
    size_t n;

    if (s->error) {
        int err = s->error;

        s->error = 0;
        return -err;
    }
    if (!m)
        return s->rcv_shut ? 0 : -EAGAIN;
    info = info ? info : &local;
    text = describe(pool, m, s->ping, info);
    n = info->len < size ? info->len : size;
    mbuf_copy_out(pool, m, text, buf, n);
    if (!peek) {
        mbuf_dequeue(pool, &s->rx);
        s->charged -= mbuf_truesize(pool, m);
        mbuf_free(pool, m);
    }
    return (int64_t)n;
}
