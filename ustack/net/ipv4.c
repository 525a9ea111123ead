/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv4 (RFC 791, 1122 3.2): validation in, header and route out.
 *
 * Input checks in this order: size, version, header length, total length,
 * checksum, addresses, options, fragment, protocol; each has its own counter.
 * A frame longer than the packet (Ethernet padding) is cut to it.
 *
 * Not here: fragments (dropped and counted), forwarding (never).            */
#include "../base/checksum.h"
#include "net.h"

enum {
    TOTAL_LEN = 2,
    ID = 4,
    FRAG = 6,
    TTL = 8,
    PROTO = 9,
    CHECKSUM = 10,
    SRC = 12,
    DST = 16,
    DONT_FRAGMENT = 0x4000,
    MORE_OR_OFFSET = 0x3fff,
    OPT_END = 0,
    OPT_NOP = 1,
    OPT_LSRR = 131,
    OPT_SSRR = 137,
};

/* Options are walked so that a lie about a length is caught, then ignored;
 * source routes are refused (RFC 7126 4.3, 4.4). */
static bool options_ok(const uint8_t *p, unsigned len)
{
    unsigned i = 0;

    while (i < len && p[i] != OPT_END) {
        if (p[i] == OPT_NOP) {
            i++;
            continue;
        }
        if (i + 1 >= len || p[i + 1] < 2 || p[i + 1] > len - i)
            return false;
        if (p[i] == OPT_LSRR || p[i] == OPT_SSRR)
            return false;
        i += p[i + 1];
    }
    return true;
}

/* A source that must not come off a wire (RFC 1122 3.2.1.3; MUST-63). */
static bool source_is_martian(const struct net *net, const struct ust_addr *src)
{
    const uint8_t *p = v4_bytes(src);

    return p[0] == 0 || p[0] == 127 || p[0] >= 0xe0 || net_is_group(net, src) ||
           net_own((struct net *)net, src);
}

static uint64_t header_sum(const uint8_t *ip, unsigned ihl)
{
    if (ihl == IPV4_LEN) /* a constant count unrolls */
        return checksum_add_words(ip, IPV4_LEN / 4, 0);
    return checksum_add(ip, ihl, 0);
}

static enum counter validate(const struct mbuf *m, const uint8_t *ip)
{
    unsigned left = m->len - ETH_LEN, ihl, total;

    if (left < IPV4_LEN)
        return C_IP_DROP_SHORT;
    if (ip[0] >> 4 != 4)
        return C_IP_DROP_VERSION;
    ihl = (ip[0] & 15) * 4u;
    if (ihl < IPV4_LEN || ihl > left)
        return C_IP_DROP_IHL;
    total = get16(ip + TOTAL_LEN);
    if (total < ihl || total > m->frame_len - ETH_LEN)
        return C_IP_DROP_LENGTH;
    if (checksum_finish(header_sum(ip, ihl)) != 0)
        return C_IP_DROP_CHECKSUM;
    if (ihl > IPV4_LEN && !options_ok(ip + IPV4_LEN, ihl - IPV4_LEN))
        return C_IP_DROP_OPTIONS;
    return N_COUNTERS;
}

static void deliver(struct net *net, struct mbuf *m, const struct packet *p)
{
    switch (p->proto) {
    case IPPROTO_TCP_: return net->up->tcp_input(net, m, p);
    case IPPROTO_ICMP_: return icmp_input(net, m, p);
    case IPPROTO_UDP_:
        if (p->l4_len < UDP_LEN)
            return net_drop(net, m, C_UDP_DROP_MALFORMED);
        icmp_unreachable(net, m, p, ICMP_UNREACH_PORT);
        return net_drop(net, m, C_UDP_DROP_NOPORT);
    default:
        icmp_unreachable(net, m, p, ICMP_UNREACH_PROTO);
        return net_drop(net, m, C_IP_DROP_PROTO);
    }
}

void ipv4_input(struct net *net, struct mbuf *m)
{
    const uint8_t *ip = mbuf_data(&net->core.pool, m) + ETH_LEN;
    enum counter bad = validate(m, ip);
    struct packet p;

    count(&net->core, C_IP_IN);
    if (bad != N_COUNTERS)
        return net_drop(net, m, bad);
    p.src = addr_v4(ip + SRC);
    p.dst = addr_v4(ip + DST);
    if (source_is_martian(net, &p.src) || ip[DST] == 127 || ip[DST] == 0)
        return net_drop(net, m, C_IP_DROP_MARTIAN);
    p.group = net_is_group(net, &p.dst);
    if (!p.group && !net_own(net, &p.dst))
        return net_drop(net, m, C_IP_DROP_DST);
    if (get16(ip + FRAG) & MORE_OR_OFFSET)
        return net_drop(net, m, C_IP_DROP_FRAGMENT);
    p.group = p.group || (m->flags & MBUF_LINK_MCAST);
    p.proto = ip[PROTO];
    p.tos = ip[1];
    p.ttl = ip[TTL];
    p.l4_off = (uint16_t)(ETH_LEN + (ip[0] & 15) * 4);
    p.l4_len = get16(ip + TOTAL_LEN) - (ip[0] & 15) * 4u;
    m->l4_off = p.l4_off;
    if (m->frame_len > p.l4_off + p.l4_len)
        mbuf_trim_to(&net->core.pool, m, p.l4_off + p.l4_len);
    deliver(net, m, &p);
}

/* The neighbour to send dst's packets through, from the cache when it is still
 * good; NULL without a route or without room for the neighbour. */
static struct neigh *resolve(struct net *net, const struct ip_out *o, enum counter *why)
{
    struct ust_addr next_hop;
    struct neigh *n;
    int iface;

    if (o->cache && o->cache->epoch == net->epoch)
        return &net->neighs[o->cache->neigh];
    if (!net_route(net, o->dst, &iface, &next_hop))
        return NULL;
    *why = C_NEIGH_DROP_PENDING;
    n = neigh_get(net, iface, &next_hop);
    if (n && o->cache)
        *o->cache = (struct ip_dst){net->epoch, (uint32_t)(n - net->neighs)};
    return n;
}

bool ip_output(struct net *net, struct mbuf *m, const struct ip_out *o)
{
    enum counter why = C_IP_DROP_NOROUTE;
    struct neigh *n = resolve(net, o, &why);
    uint8_t *ip;

    if (!n) {
        net_drop(net, m, why);
        return false;
    }
    ip = mbuf_push(&net->core.pool, m, IPV4_LEN);
    ip[0] = 0x45;
    ip[1] = o->tos;
    put16(ip + TOTAL_LEN, m->frame_len);
    put16(ip + ID, o->may_fragment ? net->ip_id++ : 0); /* RFC 6864 4.1: atomic datagrams */
    put16(ip + FRAG, o->may_fragment ? 0 : DONT_FRAGMENT);
    ip[TTL] = o->ttl ? o->ttl : (uint8_t)net->core.set.ip_ttl;
    ip[PROTO] = o->proto;
    memset(ip + CHECKSUM, 0, 2);
    memcpy(ip + SRC, v4_bytes(o->src), 4);
    memcpy(ip + DST, v4_bytes(o->dst), 4);
    memcpy(ip + CHECKSUM, &(uint16_t){checksum_finish(header_sum(ip, IPV4_LEN))}, 2);
    m->l4_off = IPV4_LEN;
    count(&net->core, C_IP_OUT);
    neigh_output(net, n, m);
    return true;
}

uint64_t ip_pseudo_sum(const struct ust_addr *src, const struct ust_addr *dst, uint8_t proto,
                       uint32_t len)
{
    uint8_t tail[8] = {0, 0, (uint8_t)(len >> 8), (uint8_t)len, 0, 0, 0, proto};
    uint64_t sum = checksum_add_words(tail, 2, 0);

    if (addr_is_v4(src)) {
        sum = checksum_add_words(v4_bytes(src), 1, sum);
        return checksum_add_words(v4_bytes(dst), 1, sum);
    }
    sum = checksum_add_words(src->b, 4, sum);
    return checksum_add_words(dst->b, 4, sum);
}
