/* SPDX-License-Identifier: BSD-3-Clause */
/* What both versions of IP share: handing packets up, and the way out: route,
 * header, fragments if need be, neighbour.                                  */
#include "plain.h"

#include <errno.h>

#include "../base/checksum.h"

void ip_deliver(struct net *net, struct mbuf *m, const struct packet *p)
{
    bool v4 = addr_is_v4(&p->src);

    if (!v4 && addr_is_any(&p->src) && p->proto != IPPROTO_ICMPV6_)
        return net_drop(net, m, C_IP6_DROP_MARTIAN); /* ND may, see icmp6_input() */
    switch (p->proto) {
    case IPPROTO_TCP_: return net->up->tcp_input(net, m, p);
    case IPPROTO_UDP_: return net->up->udp_input(net, m, p);
    case IPPROTO_ICMP_:
        if (v4)
            return icmp_input(net, m, p);
        break;
    case IPPROTO_ICMPV6_:
        if (!v4)
            return icmp6_input(net, m, p);
        break;
    }
    icmp_unreachable(net, m, p, UNREACH_PROTO);
    net_drop(net, m, v4 ? C_IP_DROP_PROTO : C_IP6_DROP_PROTO);
}

static void cache(struct net *net, const struct ip_out *o, struct neigh *n)
{
    if (!o->cache)
        return;
    neigh_keep(net, n);
    *o->cache = (struct ip_dst){net->epoch, (uint32_t)(n - net->neighs)};
}

/* The neighbour that is remembered, by the flow or of the destination, and is
 * still good; or NULL. There never is one for a broadcast or a group. */
static struct neigh *known(struct net *net, const struct ip_out *o)
{
    struct neigh *n;

    if (o->cache && o->cache->epoch == net->epoch)
        return &net->neighs[o->cache->neigh];
    n = (struct neigh *)net_way(net, o->dst);
    if (!n || loop_escapes(net, o->src, o->dst))
        return NULL;
    cache(net, o, n);
    return n;
}

/* The neighbour to send dst's packets through; NULL without a route or without
 * room for the neighbour. */
static struct neigh *resolve(struct net *net, const struct ip_out *o, enum counter *why)
{
    struct ust_addr next_hop;
    struct neigh *n;
    int iface;

    *why = C_IP_DROP_NOROUTE;
    if (!net_route(net, o->dst, &iface, &next_hop))
        return NULL;
    *why = C_IP_DROP_MARTIAN;
    if (loop_escapes(net, o->src, o->dst))
        return NULL;
    *why = C_NEIGH_DROP_PENDING;
    n = iface == IFACE_LOOP ? loop_neigh(net, addr_is_v4(o->dst))
                            : neigh_get(net, iface, &next_hop);
    if (n) {
        net_way_found(net, o->dst, n);
        cache(net, o, n);
    }
    return n;
}

static void group_mac(const struct ust_addr *dst, uint8_t mac[6])
{
    memset(mac, 0xff, 6);
    if (!addr_is_v4(dst)) { /* RFC 2464 7 */
        mac[0] = mac[1] = 0x33;
        memcpy(mac + 2, dst->b + 12, 4);
    } else if ((v4_bytes(dst)[0] & 0xf0) == 0xe0) { /* RFC 1112 6.4 */
        mac[0] = 0x01;
        mac[1] = 0x00;
        mac[2] = 0x5e;
        mac[3] = v4_bytes(dst)[1] & 0x7f;
        memcpy(mac + 4, v4_bytes(dst) + 2, 2);
    }
}

static void add_header(struct net *net, struct mbuf *m, const struct ip_out *o, int iface)
{
    if (addr_is_v4(o->dst))
        ipv4_header(net, m, o);
    else
        ipv6_header(net, m, o, iface);
    count(&net->core, C_IP_OUT);
}

/* Broadcasts and groups need no neighbour. */
static int output_group(struct net *net, struct mbuf *m, const struct ip_out *o)
{
    const struct ifaddr *from = net_find_addr(net, o->src);
    int iface = addr_is_loopback(o->src) ? IFACE_LOOP : from ? from->iface : 0;
    uint8_t mac[6];

    group_mac(o->dst, mac);
    add_header(net, m, o, iface);
    eth_output(net, m, iface, mac, addr_is_v4(o->dst) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    return 0;
}

int ip_output(struct net *net, struct mbuf *m, const struct ip_out *o)
{
    unsigned header = addr_is_v4(o->dst) ? IPV4_LEN : IPV6_LEN;
    enum counter why = C_IP_DROP_NOROUTE;
    const struct neigh *plain;
    struct neigh *n;
    uint32_t mtu;

    if (o->cache && !o->may_fragment &&
        (plain = ip_plain(net, o->dst, o->cache, m->gso_size ? 0 : m->frame_len))) {
        ip_plain_output(net, m, plain, o);
        return 0;
    }
    n = known(net, o);
    if (!n && net->n_ifaces > 0 && net_is_group(net, o->dst))
        return output_group(net, m, o);
    if (!n)
        n = resolve(net, o, &why);
    if (!n) {
        net_drop(net, m, why);
        return -ENETUNREACH;
    }
    mtu = iface_mtu(&net->ifaces[n->iface], addr_is_v4(o->dst));
    if (!m->gso_size && (m->frame_len + header > mtu || net->pmtus_used > 0)) {
        uint32_t path = o->probe ? mtu : net_path_mtu(net, o->dst);

        if (m->frame_len + header > path)
            return fragment_output(net, m, o, n, path);
    }
    add_header(net, m, o, n->iface);
    if (neigh_is_ready(net, n))
        eth_push(net, m, n->iface, n->mac, addr_is_v4(o->dst) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    else
        neigh_output(net, n, m);
    return 0;
}

uint64_t ip_pseudo_sum(const struct ust_addr *src, const struct ust_addr *dst, uint8_t proto,
                       uint32_t len)
{
    uint8_t tail[8] = {(uint8_t)(len >> 24),
                       (uint8_t)(len >> 16),
                       (uint8_t)(len >> 8),
                       (uint8_t)len,
                       0,
                       0,
                       0,
                       proto};
    uint64_t sum = checksum_add_words(tail, 2, 0);

    if (addr_is_v4(src)) {
        sum = checksum_add_words(v4_bytes(src), 1, sum);
        return checksum_add_words(v4_bytes(dst), 1, sum);
    }
    sum = checksum_add_words(src->b, 4, sum);
    return checksum_add_words(dst->b, 4, sum);
}

uint32_t ip_next_id(struct net *net, const struct ust_addr *src, const struct ust_addr *dst)
{
    struct {
        struct ust_addr src, dst;
    } pair = {*src, *dst};

    net->ip_id++; /* of several engines each counts its own share */
    if (net->n_engines > 1)
        return (uint32_t)siphash24(&net->core.key_port, &pair, sizeof pair) +
               net->ip_id * net->n_engines + net->engine;
    return (uint32_t)siphash24(&net->core.key_port, &pair, sizeof pair) + net->ip_id;
}
