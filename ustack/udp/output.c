/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams out: they go to the output queue at once, in fragments where the
 * path is too narrow and the socket allows it.                              */
#include <errno.h>

#include "../base/checksum.h"
#include "udp.h"

enum { CSUM_OFFSET = 6, MAX_QUEUED = 4096 };

/* Where to, and may we? */
static int destination(struct udp *udp, struct udp_sock *s, const struct ust_addr *addr,
                       uint16_t port, struct flow_key *to)
{
    struct net *net = udp->net;
    const struct ust_addr *src;

    if (!addr && !s->connected)
        return -EDESTADDRREQ;
    *to = s->key;
    if (addr) {
        to->remote = *addr;
        to->rport = s->ping ? 0 : port;
    }
    if (s->ping ? addr_is_v4(&to->remote) == s->inet6 : to->rport == 0)
        return -EINVAL;
    if (addr_is_v4(&to->remote) && net_is_group(net, &to->remote) && !s->broadcast &&
        (v4_bytes(&to->remote)[0] & 0xf0) != 0xe0)
        return -EACCES;
    src = s->v6only && addr_is_v4(&to->remote) ? NULL : net_source(net, &to->remote);
    if (!src)
        return -ENETUNREACH;
    if (addr_is_any(&to->local) || net_is_group(net, &to->local))
        to->local = *src;
    if (loop_escapes(net, &to->local, &to->remote))
        return -EINVAL; /* as Linux */
    return addr_is_v4(&to->local) == addr_is_v4(&to->remote) ? 0 : -ENETUNREACH;
}

static void put_header(const struct net *net, struct mbuf *m, const struct flow_key *to,
                       bool offload)
{
    uint8_t *h = mbuf_push(&net->core.pool, m, UDP_LEN);
    uint64_t sum = ip_pseudo_sum(&to->local, &to->remote, IPPROTO_UDP_, m->frame_len);
    uint16_t field;

    put16(h, to->lport);
    put16(h + 2, to->rport);
    put16(h + 4, m->frame_len);
    put16(h + CSUM_OFFSET, 0);
    m->l4_off = 0;
    if (offload) {
        m->flags |= MBUF_CSUM_PARTIAL;
        m->csum_offset = CSUM_OFFSET;
        field = checksum_fold(sum);
    } else {
        field = checksum_finish(mbuf_checksum(&net->core.pool, m, 0, m->frame_len, sum));
        field = field ? field : 0xffff; /* RFC 768: zero means none */
    }
    memcpy(h + CSUM_OFFSET, &field, 2);
}

/* Is this much known to pass in one packet? */
static bool fits_path(const struct net *net, const struct udp_sock *s, const struct flow_key *to,
                      uint32_t len)
{
    uint32_t header = (addr_is_v4(&to->remote) ? IPV4_LEN : IPV6_LEN) + (s->ping ? 0 : UDP_LEN);
    uint32_t mtu = s->discover == UDP_PMTU_PROBE ? net_link_mtu(net, &to->remote)
                                                 : net_path_mtu(net, &to->remote);

    return len + header <= mtu || net_is_group(net, &to->remote);
}

/* gso_size: the port cuts it into datagrams of so many bytes; 0: it is one. */
static int send_one(struct udp *udp, const struct udp_sock *s, const void *data, uint32_t len,
                    const struct flow_key *to, uint16_t gso_size)
{
    struct net *net = udp->net;
    bool fits = gso_size || fits_path(net, s, to, len);
    struct mbuf *m;

    if (!fits && s->discover >= UDP_PMTU_DO)
        return -EMSGSIZE;
    if (net->core.pool.n_free[MBUF_SMALL] < (uint64_t)net->core.set.mbuf_reserve)
        return -ENOBUFS;
    m = mbuf_alloc_for(&net->core.pool, len);
    if (!m)
        return -ENOBUFS;
    memcpy(mbuf_data(&net->core.pool, m), data, len);
    m->len = m->frame_len = len;
    if (s->ping)
        ping_header(net, m, to);
    else
        put_header(net, m, to, fits && (net->caps & UST_CAP_TX_CSUM));
    m->gso_size = gso_size;
    m->gso_type = gso_size ? MBUF_GSO_UDP : MBUF_GSO_NONE;
    net->core.counters[s->ping ? C_ICMP_OUT_REQUEST : C_UDP_OUT] +=
        gso_size ? (len + gso_size - 1) / gso_size : 1;
    return ip_output(net, m,
                     &(struct ip_out){.src = &to->local,
                                      .dst = &to->remote,
                                      .proto = !s->ping ? IPPROTO_UDP_
                                             : s->inet6 ? IPPROTO_ICMPV6_
                                                        : IPPROTO_ICMP_,
                                      .tos = s->tos,
                                      .ttl = s->ttl,
                                      .probe = s->discover == UDP_PMTU_PROBE,
                                      .may_fragment = !fits || s->discover == UDP_PMTU_DONT});
}

/* UDP_SEGMENT: one call, many datagrams of gso_size bytes; the port cuts them
 * if it can. None may need fragments, as Linux has it. */
static int send_segments(struct udp *udp, const struct udp_sock *s, const uint8_t *data, size_t len,
                         const struct flow_key *to)
{
    size_t step = s->gso_size;
    uint32_t caps = udp->net->caps;

    if (len > step * UDP_MAX_SEGMENTS || !fits_path(udp->net, s, to, (uint32_t)step))
        return -EINVAL;
    if ((caps & UST_CAP_USO) && (caps & UST_CAP_TX_CSUM))
        return send_one(udp, s, data, (uint32_t)len, to, s->gso_size);
    for (size_t at = 0; at < len; at += step) {
        size_t n = len - at < step ? len - at : step;
        int err = send_one(udp, s, data + at, (uint32_t)n, to, 0);

        if (err < 0)
            return err;
    }
    return 0;
}

int64_t udp_send(struct udp *udp, struct udp_sock *s, const void *data, size_t len,
                 const struct ust_addr *addr, uint16_t port)
{
    uint32_t header = s->ping ? 0 : UDP_LEN;
    struct flow_key to;
    int err;

    if (s->error) {
        err = s->error;
        s->error = 0;
        return -err;
    }
    if (s->snd_shut)
        return -EPIPE;
    if (len > UINT16_MAX - header)
        return -EMSGSIZE;
    if (s->ping && (err = ping_check(s, data, len)) < 0)
        return err;
    if (!s->bound && (err = udp_bind_any(udp, s, !addr || addr_is_v4(addr))) < 0)
        return err;
    if ((err = destination(udp, s, addr, port, &to)) < 0)
        return err;
    if (addr_is_v4(&to.remote) && len > UINT16_MAX - header - IPV4_LEN)
        return -EMSGSIZE;
    if (udp->net->outq.count >= MAX_QUEUED)
        return -EAGAIN;
    if (s->gso_size && len > s->gso_size)
        err = send_segments(udp, s, data, len, &to);
    else
        err = send_one(udp, s, data, (uint32_t)len, &to, 0);
    return err < 0 ? err : (int64_t)len;
}
