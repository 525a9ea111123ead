/* SPDX-License-Identifier: BSD-3-Clause */
/* IPv4 (RFC 791, 1122 3.2): validation in, header out.
 *
 * Input checks in this order: size, version, header length, total length,
 * checksum, options, addresses; each has its own counter. A frame longer than
 * the packet (Ethernet padding) is cut to it.
 *
 * Not here: forwarding (never).                                             */
#include "../base/checksum.h"
#include "plain.h"

enum {
    TOTAL_LEN = 2,
    ID = 4,
    FRAG = 6,
    TTL = 8,
    PROTO = 9,
    SRC = 12,
    DST = 16,
    MORE_FRAGMENTS = 0x2000,
    OFFSET_MASK = 0x1fff,
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
static bool source_is_martian(const struct net *net, uint32_t src)
{
    unsigned first = src >> 24;
    struct v4_kind kind;

    if (first == 0 || first == 127 || first >= 0xe0)
        return true;
    kind = net_v4_kind(net, src);
    return kind.own || kind.group;
}

static uint64_t header_sum(const uint8_t *ip, unsigned ihl)
{
    return ihl == IPV4_LEN ? checksum_add_ipv4(ip) : checksum_add(ip, ihl, 0);
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

static void parse(struct packet *p, const struct mbuf *m, const uint8_t *ip, bool group)
{
    unsigned ihl = (ip[0] & 15) * 4u;

    p->group = group || (m->flags & MBUF_LINK_MCAST);
    p->reassembled = false;
    p->proto = ip[PROTO];
    p->tos = ip[1];
    p->ttl = ip[TTL];
    p->l4_off = (uint16_t)(ETH_LEN + ihl);
    p->l4_len = get16(ip + TOTAL_LEN) - ihl;
}

void ipv4_input(struct net *net, struct mbuf *m)
{
    const uint8_t *ip = mbuf_data(&net->core.pool, m) + ETH_LEN;
    enum counter bad = validate(m, ip);
    struct packet p;
    struct v4_kind to;
    uint16_t frag;

    count(&net->core, C_IP_IN);
    if (bad != N_COUNTERS)
        return net_drop(net, m, bad);
    p.src = addr_v4(ip + SRC);
    p.dst = addr_v4(ip + DST);
    if (m->iface != IFACE_LOOP &&
        (source_is_martian(net, get32(ip + SRC)) || ip[DST] == 127 || ip[DST] == 0))
        return net_drop(net, m, C_IP_DROP_MARTIAN);
    to = net_v4_kind(net, get32(ip + DST));
    if (!to.group && !to.own)
        return net_drop(net, m, C_IP_DROP_DST);
    parse(&p, m, ip, to.group);
    m->l4_off = p.l4_off;
    if (m->frame_len > p.l4_off + p.l4_len)
        mbuf_trim_to(&net->core.pool, m, p.l4_off + p.l4_len);
    frag = get16(ip + FRAG);
    if (!(frag & (MORE_FRAGMENTS | OFFSET_MASK)))
        return ip_deliver(net, m, &p);
    fragment_input(net, m, &p,
                   &(struct fragment){.id = get16(ip + ID),
                                      .offset = (frag & OFFSET_MASK) * 8u,
                                      .len = p.l4_len,
                                      .more = frag & MORE_FRAGMENTS});
}

void ipv4_header(struct net *net, struct mbuf *m, const struct ip_out *o)
{
    uint8_t *ip = mbuf_push(&net->core.pool, m, IPV4_LEN);
    uint32_t frag = o->may_fragment ? 0 : IPV4_DONT_FRAGMENT, id = 0, words[5];

    if (o->frag) {
        id = o->frag->id & 0xffff;
        frag = o->frag->offset / 8 | (o->frag->more ? MORE_FRAGMENTS : 0);
    } else if (o->may_fragment) { /* RFC 6864 4.1: an atomic datagram needs none */
        id = ip_next_id(net, o->src, o->dst) & 0xffff;
    }
    ipv4_words(words, net, o, id << 16 | frag, m->frame_len);
    memcpy(ip, words, sizeof words);
    m->l4_off = IPV4_LEN;
}
