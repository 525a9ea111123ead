/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv6 (RFC 8200): validation in, the chain of extension headers, header out.
 *
 * At most 8 extension headers, hop-by-hop options first or not at all, no
 * routing header with segments left (RFC 5095), no jumbograms. What an unknown
 * option asks for is done (4.2).
 *
 * Not here: forwarding (never).                                             */
#include "net.h"

enum {
    PAYLOAD_LEN = 4,
    HOP_LIMIT = 7,
    SRC = 8,
    DST = 24,
    MAX_HEADERS = 8,
    MAX_L4_HEADER = 64, /* an error with the first bytes of what is quoted; TCP: 60 */
    HOP_BY_HOP = 0,
    ROUTING = 43,
    FRAGMENT = 44,
    NO_NEXT = 59,
    DEST_OPTIONS = 60,
    OPT_PAD1 = 0,
    OPT_PADN = 1,
    OPT_ROUTER_ALERT = 5,
    PARAM_PROBLEM = 4,
    BAD_FIELD = 0,
    BAD_NEXT = 1,
    BAD_OPTION = 2,
    INCOMPLETE_CHAIN = 3, /* RFC 7112 */
};

/* RFC 4291 2.5, RFC 4038 4.2: what must not appear on a wire. */
static bool is_martian(const struct net *net, const struct packet *p)
{
    static const struct ust_addr any, loopback = {{[15] = 1}};

    return p->src.b[0] == 0xff || addr_is_v4(&p->src) || addr_is_v4(&p->dst) ||
           addr_same(&p->src, &loopback) || addr_same(&p->dst, &loopback) ||
           addr_same(&p->dst, &any) || net_own(net, &p->src);
}

/* All-nodes, and the solicited-node group of each address (RFC 4291 2.8). */
static bool group_is_ours(const struct net *net, const struct ust_addr *a)
{
    static const uint8_t all_nodes[16] = {0xff, 2, [15] = 1}, node_local[16] = {0xff, 1, [15] = 1};
    static const uint8_t solicited[13] = {0xff, 2, [11] = 1, 0xff};

    if (memcmp(a, all_nodes, 16) == 0 || memcmp(a, node_local, 16) == 0)
        return true;
    if (memcmp(a, solicited, 13) != 0)
        return false;
    for (uint32_t i = 0; i < net->n_addrs; i++)
        if (memcmp(a->b + 13, net->addrs[i].addr.b + 13, 3) == 0)
            return true;
    return false;
}

static bool dst_is_ours(const struct net *net, const struct ust_addr *dst)
{
    return dst->b[0] == 0xff ? group_is_ours(net, dst) : net_own(net, dst);
}

/* Walks the options of a hop-by-hop or destination header; false: drop, and if
 * the option says so answer (RFC 8200 4.2). base: where it is in the packet. */
static bool options_ok(struct net *net, struct mbuf *m, const struct packet *p, const uint8_t *opt,
                       unsigned len, unsigned base)
{
    unsigned i = 2;

    while (i < len) {
        if (opt[i] == OPT_PAD1) {
            i++;
            continue;
        }
        if (i + 2 > len || i + 2 + opt[i + 1] > len) {
            count(&net->core, C_IP6_DROP_EXTHDR);
            return false;
        }
        if (opt[i] != OPT_PADN && opt[i] != OPT_ROUTER_ALERT && opt[i] >> 6 != 0) {
            if (opt[i] >> 6 == 2 || (opt[i] >> 6 == 3 && p->dst.b[0] != 0xff))
                icmp6_error(net, m, p, PARAM_PROBLEM, BAD_OPTION, base + i);
            count(&net->core, C_IP6_DROP_OPTION);
            return false;
        }
        i += 2 + opt[i + 1];
    }
    return true;
}

/* RFC 7112: all headers together. */
static bool headers_together(const struct mbuf *m, const struct packet *p)
{
    return m->len >= p->l4_off + (p->l4_len < MAX_L4_HEADER ? p->l4_len : MAX_L4_HEADER);
}

static bool refuse(struct net *net, struct mbuf *m, enum counter why)
{
    net_drop(net, m, why);
    return false;
}

/* One header at p->l4_off of type p->proto. */
static bool skip_one(struct net *net, struct mbuf *m, struct packet *p)
{
    const uint8_t *h = mbuf_data(&net->core.pool, m) + p->l4_off;
    unsigned at = (unsigned)(p->l4_off - m->l3_off), len;

    if (p->l4_len < 8 || m->len < p->l4_off + 8u)
        return refuse(net, m, C_IP6_DROP_EXTHDR);
    len = (h[1] + 1u) * 8;
    if (len > p->l4_len || m->len < p->l4_off + len)
        return refuse(net, m, C_IP6_DROP_EXTHDR);
    if (p->proto == ROUTING) {
        if (h[3] != 0) {
            icmp6_error(net, m, p, PARAM_PROBLEM, BAD_FIELD, at + 2);
            return refuse(net, m, C_IP6_DROP_ROUTING);
        }
    } else if (!options_ok(net, m, p, h, len, at)) {
        mbuf_free(&net->core.pool, m);
        return false;
    }
    p->proto = h[0];
    p->next_off = (uint16_t)at;
    p->l4_off = (uint16_t)(p->l4_off + len);
    p->l4_len -= len;
    return true;
}

bool ipv6_skip_headers(struct net *net, struct mbuf *m, struct packet *p, bool reassembled)
{
    for (unsigned n = 0; n <= MAX_HEADERS; n++) {
        switch (p->proto) {
        case HOP_BY_HOP:
            if (n > 0 || reassembled) {
                icmp6_error(net, m, p, PARAM_PROBLEM, BAD_NEXT, p->next_off);
                return refuse(net, m, C_IP6_DROP_EXTHDR);
            }
            break;
        case ROUTING:
        case DEST_OPTIONS: break;
        case NO_NEXT: return refuse(net, m, C_IP6_DROP_PROTO);
        case FRAGMENT:
            if (reassembled) /* a fragment in a fragment */
                return refuse(net, m, C_IP6_DROP_EXTHDR);
            return true;
        default: return true;
        }
        if (!skip_one(net, m, p))
            return false;
    }
    return refuse(net, m, C_IP6_DROP_EXTHDR);
}

uint8_t ipv6_upper_layer(const struct net *net, const struct mbuf *m, const struct packet *p,
                         uint32_t *off)
{
    const uint8_t *data = mbuf_data(&net->core.pool, m);
    uint32_t end = p->l4_off + p->l4_len < m->len ? p->l4_off + p->l4_len : m->len, len;
    uint8_t proto = p->proto;

    *off = p->l4_off;
    for (unsigned n = 0; n <= MAX_HEADERS; n++) {
        if (proto != HOP_BY_HOP && proto != ROUTING && proto != DEST_OPTIONS)
            return proto;
        len = end - *off < 8 ? 8 : (data[*off + 1] + 1u) * 8;
        if (len > end - *off)
            break;
        proto = data[*off];
        *off += len;
    }
    return NO_NEXT;
}

/* RFC 7112: a first fragment holds all headers, the upper layer's included. */
static bool holds_all_headers(const struct net *net, const struct mbuf *m, const struct packet *p)
{
    uint32_t off, least;
    uint8_t proto = ipv6_upper_layer(net, m, p, &off);

    if (proto == NO_NEXT && p->proto != NO_NEXT)
        return false;
    least = proto == IPPROTO_TCP_ ? TCP_LEN : proto == IPPROTO_UDP_ ? UDP_LEN : 0;
    return off + least <= p->l4_off + p->l4_len;
}

/* p->l4_off is at a fragment header. */
static void fragmented(struct net *net, struct mbuf *m, struct packet *p)
{
    const uint8_t *h = mbuf_data(&net->core.pool, m) + p->l4_off;
    struct fragment f;

    if (p->l4_len < IPV6_FRAGMENT_LEN)
        return net_drop(net, m, C_IP6_DROP_EXTHDR);
    p->proto = h[0];
    p->next_off = (uint16_t)(p->l4_off - m->l3_off);
    p->l4_off = (uint16_t)(p->l4_off + IPV6_FRAGMENT_LEN);
    p->l4_len -= IPV6_FRAGMENT_LEN;
    f = (struct fragment){
        .id = get32(h + 4), .offset = get16(h + 2) & 0xfff8, .len = p->l4_len, .more = h[3] & 1};
    m->l4_off = p->l4_off;
    if (f.offset == 0 && !f.more) { /* an atomic fragment is whole (RFC 6946) */
        if (!ipv6_skip_headers(net, m, p, true))
            return;
        if (!headers_together(m, p))
            return net_drop(net, m, C_IP6_DROP_EXTHDR);
        m->l4_off = p->l4_off;
        return ip_deliver(net, m, p);
    }
    if (f.offset == 0 && f.len % 8 == 0 && !holds_all_headers(net, m, p)) {
        icmp6_error(net, m, p, PARAM_PROBLEM, INCOMPLETE_CHAIN, 0);
        return net_drop(net, m, C_FRAG_DROP_TINY);
    }
    fragment_input(net, m, p, &f);
}

static enum counter validate(const struct mbuf *m, const uint8_t *ip)
{
    unsigned len;

    if (m->len < ETH_LEN + IPV6_LEN)
        return C_IP6_DROP_SHORT;
    if (ip[0] >> 4 != 6)
        return C_IP6_DROP_VERSION;
    len = get16(ip + PAYLOAD_LEN);
    if ((len == 0 && ip[IPV6_NEXT] == HOP_BY_HOP) || len > m->frame_len - ETH_LEN - IPV6_LEN)
        return C_IP6_DROP_LENGTH;
    return N_COUNTERS;
}

void ipv6_input(struct net *net, struct mbuf *m)
{
    const uint8_t *ip = mbuf_data(&net->core.pool, m) + ETH_LEN;
    enum counter bad = validate(m, ip);
    struct packet p;

    count(&net->core, C_IP_IN);
    if (bad != N_COUNTERS)
        return net_drop(net, m, bad);
    p.src = addr_v6(ip + SRC);
    p.dst = addr_v6(ip + DST);
    p.group = p.dst.b[0] == 0xff || (m->flags & MBUF_LINK_MCAST);
    if (m->iface != IFACE_LOOP && is_martian(net, &p))
        return net_drop(net, m, C_IP6_DROP_MARTIAN);
    if (!dst_is_ours(net, &p.dst))
        return net_drop(net, m, C_IP6_DROP_DST);
    p.reassembled = false;
    p.proto = ip[IPV6_NEXT];
    p.next_off = IPV6_NEXT;
    p.tos = (uint8_t)(get16(ip) >> 4);
    p.ttl = ip[HOP_LIMIT];
    p.l4_off = ETH_LEN + IPV6_LEN;
    p.l4_len = get16(ip + PAYLOAD_LEN);
    if (m->frame_len > p.l4_off + p.l4_len)
        mbuf_trim_to(&net->core.pool, m, p.l4_off + p.l4_len);
    if (!ipv6_skip_headers(net, m, &p, false))
        return;
    if (!headers_together(m, &p))
        return net_drop(net, m, C_IP6_DROP_EXTHDR);
    if (p.proto == FRAGMENT)
        return fragmented(net, m, &p);
    m->l4_off = p.l4_off;
    ip_deliver(net, m, &p);
}

void ipv6_header(struct net *net, struct mbuf *m, const struct ip_out *o, int iface)
{
    uint32_t len = m->frame_len;
    uint8_t *ip = mbuf_push(&net->core.pool, m, IPV6_LEN);
    uint8_t advertised = net->ifaces[iface].hop_limit;

    put32(ip, 6u << 28 | (uint32_t)o->tos << 20);
    put16(ip + PAYLOAD_LEN, len);
    ip[IPV6_NEXT] = o->proto;
    ip[HOP_LIMIT] = o->ttl     ? o->ttl
                  : advertised ? advertised
                               : (uint8_t)net->core.set.ip6_hop_limit;
    memcpy(ip + SRC, o->src, 16);
    memcpy(ip + DST, o->dst, 16);
    m->l4_off = IPV6_LEN;
}
