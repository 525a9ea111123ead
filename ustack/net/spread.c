/* SPDX-License-Identifier: BSD-3-Clause */
/* Whose frame is it? See spread.h.
 *
 * Frames are looked at as they come off the wire: nothing of them is known to be
 * true, and only what lies in the first mbuf is read. What cannot be made out
 * belongs to nobody, and the engine that got it drops it under its name.     */
#include "spread.h"

#include <errno.h>

enum {
    HOP_BY_HOP = 0,
    ROUTING = 43,
    FRAGMENT = 44,
    DEST_OPTIONS = 60,
    MAX_HEADERS = 8,
    V4_FRAGMENT = 0x3fff, /* more to come, or an offset */
    V4_LATER = 0x1fff,    /* an offset */
    V6_FRAGMENT = 0xfff9, /* the same of IPv6's fragment header */
    V6_LATER = 0xfff8,
};

/* ------------------------------------------------------- the rule */

static bool is_valid(const struct ust_rss *rss)
{
    if (rss->n_engines < 1 || rss->n_engines > UST_MAX_ENGINES || rss->engine >= rss->n_engines)
        return false;
    if (rss->n_reta == 0 || rss->n_reta > UST_MAX_RETA || (rss->n_reta & (rss->n_reta - 1)) != 0)
        return false;
    if (rss->key_len > UST_MAX_RSS_KEY)
        return false;
    for (unsigned i = 0; i < rss->n_reta; i++)
        if (rss->reta[i] >= rss->n_engines)
            return false;
    return true;
}

void spread_init(struct net *net)
{
    struct ust_rss rss = {
        .n_engines = 1, .n_reta = 1, .key_len = RSS_KEY_LEN, .fields = UST_RSS_TCP | UST_RSS_UDP};

    memcpy(rss.key, rss_default_key, RSS_KEY_LEN);
    spread_set(net, &rss);
}

int spread_set(struct net *net, const struct ust_rss *rss)
{
    struct spread_rule *now = &net->spread->now;

    if (!is_valid(rss))
        return -EINVAL;
    now->rss = *rss;
    rss_table_init(&now->table, rss->key, rss->key_len);
    affinity_init(now, &net->core.set);
    net->engine = rss->engine;
    net->n_engines = rss->n_engines;
    net->spread->since = net->core.now;
    return 0;
}

void spread_settle(struct net *net)
{
    affinity_init(&net->spread->now, &net->core.set);
}

/* ------------------------------------------------------- the owner */

static bool has_ports(uint8_t proto)
{
    return proto == IPPROTO_TCP_ || proto == IPPROTO_UDP_;
}

static size_t put_pair(uint8_t *tuple, const uint8_t *src, const uint8_t *dst, size_t len,
                       bool combine)
{
    memcpy(tuple, src, len);
    memcpy(tuple + len, dst, len);
    for (size_t i = 0; combine && i < len; i++)
        tuple[i] = tuple[len + i] = src[i] ^ dst[i];
    return 2 * len;
}

bool spread_has_ports(const struct spread_rule *rule, uint8_t proto)
{
    uint32_t field = proto == IPPROTO_TCP_ ? UST_RSS_TCP : proto == IPPROTO_UDP_ ? UST_RSS_UDP : 0;

    return rule->rss.fields & field;
}

/* What a NIC hashes of an incoming frame of the flow; its length. */
static size_t tuple_of(const struct spread_rule *rule, const struct frame_flow *f, uint8_t *tuple)
{
    bool v4 = addr_is_v4(&f->key.remote), combine = rule->rss.fields & UST_RSS_XOR;
    uint8_t ports[4];
    size_t len;

    if (v4)
        len = put_pair(tuple, v4_bytes(&f->key.remote), v4_bytes(&f->key.local), 4, combine);
    else
        len = put_pair(tuple, f->key.remote.b, f->key.local.b, 16, combine);
    if (!spread_has_ports(rule, f->proto))
        return len;
    put16(ports, f->key.rport);
    put16(ports + 2, f->key.lport);
    return len + put_pair(tuple + len, ports, ports + 2, 2, combine);
}

uint32_t spread_bucket(const struct spread_rule *rule, const struct frame_flow *f)
{
    uint8_t tuple[RSS_TUPLE_MAX];
    size_t len = tuple_of(rule, f, tuple);

    return rss_table_hash(&rule->table, tuple, len) & (rule->rss.n_reta - 1u);
}

/* Does the local port of such a flow name the engine, and not the hash? */
static bool port_decides(const struct spread_rule *rule, const struct frame_flow *f,
                         uint32_t bucket)
{
    const struct port_map *map = affinity_map(rule, addr_is_v4(&f->key.remote));

    if (!has_ports(f->proto) || rule->n_parts == 1)
        return false;
    if (!spread_has_ports(rule, f->proto))
        return true;
    return map->any_uneven && map->uneven[affinity_class(map, bucket, NULL)];
}

unsigned spread_owner(const struct net *net, const struct spread_rule *rule,
                      const struct frame_flow *f)
{
    uint32_t bucket = spread_bucket(rule, f);

    if (port_decides(rule, f, bucket) && affinity_is_named(net, f->key.lport))
        return rule->parts[f->key.lport % rule->n_parts];
    return rule->rss.reta[bucket];
}

/* ------------------------------------------------------- frames */

/* Bytes that may be read. */
struct view {
    const uint8_t *p;
    uint32_t len;
};

static struct view from(struct view v, uint32_t off)
{
    return off < v.len ? (struct view){v.p + off, v.len - off} : (struct view){v.p, 0};
}

/* The ports at l4 of a packet to us, or, outgoing, from us. Without them the
 * packet is one of its addresses. */
static void take_ports(struct frame_flow *f, uint8_t proto, struct view l4, bool outgoing)
{
    uint16_t src, dst;

    f->proto = 0;
    if (!has_ports(proto) || l4.len < 4)
        return;
    f->proto = proto;
    src = get16(l4.p);
    dst = get16(l4.p + 2);
    f->key.lport = outgoing ? src : dst;
    f->key.rport = outgoing ? dst : src;
}

static void take_addrs(struct frame_flow *f, struct view ip, bool v4, bool outgoing)
{
    struct ust_addr src = v4 ? addr_v4(ip.p + 12) : addr_v6(ip.p + 8);
    struct ust_addr dst = v4 ? addr_v4(ip.p + 16) : addr_v6(ip.p + 24);

    *f =
        (struct frame_flow){.key = {.local = outgoing ? src : dst, .remote = outgoing ? dst : src}};
}

/* The upper layer's protocol, and what of it can be read; a fragment, which has
 * none, says 44. later: of fragments only those that do not begin the packet. */
static uint8_t v6_upper(struct view ip, struct view *l4, uint16_t fragments)
{
    uint8_t proto = ip.p[IPV6_NEXT];
    uint32_t off = IPV6_LEN;

    for (unsigned n = 0; n < MAX_HEADERS && off + 8 <= ip.len; n++) {
        const uint8_t *h = ip.p + off;

        if (proto == FRAGMENT && (get16(h + 2) & fragments))
            break;
        if (proto != HOP_BY_HOP && proto != ROUTING && proto != DEST_OPTIONS && proto != FRAGMENT)
            break;
        off += proto == FRAGMENT ? IPV6_FRAGMENT_LEN : (h[1] + 1u) * 8;
        proto = h[0];
    }
    *l4 = from(ip, off);
    return proto;
}

static uint8_t v4_upper(struct view ip, struct view *l4, uint16_t fragments)
{
    *l4 = from(ip, (ip.p[0] & 15) * 4u);
    return get16(ip.p + 6) & fragments ? FRAGMENT : ip.p[9];
}

/* The flow of a packet of ours that an ICMP error quotes. */
static void take_quoted(struct frame_flow *f, struct view icmp, bool v4)
{
    struct view ip = from(icmp, ICMP_LEN), l4;
    uint8_t proto;

    if (ip.len < (v4 ? IPV4_LEN : IPV6_LEN) || ip.p[0] >> 4 != (v4 ? 4 : 6))
        return;
    take_addrs(f, ip, v4, true);
    proto = v4 ? v4_upper(ip, &l4, V4_LATER) : v6_upper(ip, &l4, V6_LATER);
    take_ports(f, proto, l4, true);
}

static bool v4_is_error(uint8_t type)
{
    return type == 3 || type == 11 || type == 12;
}

static enum frame_kind classify_v4(struct view ip, struct frame_flow *f)
{
    struct view l4;
    uint8_t proto;

    if (ip.len < IPV4_LEN)
        return FRAME_OF_NOBODY;
    if (ip.p[16] >= 0xe0)
        return FRAME_OF_ALL;
    take_addrs(f, ip, true, false);
    proto = v4_upper(ip, &l4, V4_FRAGMENT);
    if (proto == IPPROTO_ICMP_ && l4.len > 0 && v4_is_error(l4.p[0]))
        take_quoted(f, l4, true);
    else
        take_ports(f, proto, l4, false);
    return FRAME_OF_FLOW;
}

/* Neighbour discovery and multicast listener discovery (RFC 4861, 2710, 3810). */
static bool v6_is_for_all(uint8_t type)
{
    return (type >= 130 && type <= 137) || type == 143;
}

static enum frame_kind classify_v6(struct view ip, struct frame_flow *f)
{
    struct view l4;
    uint8_t proto;

    if (ip.len < IPV6_LEN)
        return FRAME_OF_NOBODY;
    if (ip.p[24] == 0xff)
        return FRAME_OF_ALL;
    take_addrs(f, ip, false, false);
    proto = v6_upper(ip, &l4, V6_FRAGMENT);
    if (proto != IPPROTO_ICMPV6_ || l4.len == 0) {
        take_ports(f, proto, l4, false);
        return FRAME_OF_FLOW;
    }
    if (v6_is_for_all(l4.p[0]))
        return FRAME_OF_ALL;
    if (l4.p[0] >= 1 && l4.p[0] <= 4)
        take_quoted(f, l4, false);
    return FRAME_OF_FLOW;
}

/* A frame that is not for our MAC is nobody's, and goes no further than here. */
enum frame_kind spread_classify(const struct net *net, unsigned iface, const uint8_t *frame,
                                size_t len, struct frame_flow *f)
{
    struct view eth = {frame, (uint32_t)len};
    uint16_t type;

    if (eth.len < ETH_LEN || iface >= net->n_ifaces)
        return FRAME_OF_NOBODY;
    if (!(eth.p[ETH_DST] & 1) && memcmp(eth.p + ETH_DST, net->ifaces[iface].mac, 6) != 0)
        return FRAME_OF_NOBODY;
    type = get16(eth.p + ETH_TYPE);
    if (type == ETHERTYPE_ARP)
        return FRAME_OF_ALL;
    if (type != ETHERTYPE_IPV4 && type != ETHERTYPE_IPV6)
        return FRAME_OF_NOBODY;
    if (eth.p[ETH_DST] & 1)
        return FRAME_OF_ALL;
    return type == ETHERTYPE_IPV4 ? classify_v4(from(eth, ETH_LEN), f)
                                  : classify_v6(from(eth, ETH_LEN), f);
}

/* ------------------------------------------------------- putting aside */

void spread_put_aside(struct net *net, struct mbuf *m, unsigned engine, enum counter why)
{
    if (net->foreignq.count >= (uint64_t)net->core.set.foreign_queue)
        return net_drop(net, m, C_FOREIGN_DROP_FULL);
    m->hand.to = (uint8_t)engine;
    if (m->hand.hops < UINT8_MAX)
        m->hand.hops++;
    count(&net->core, why);
    mbuf_enqueue(&net->core.pool, &net->foreignq, m);
}

bool spread_is_foreign(struct net *net, struct mbuf *m)
{
    const struct spread_rule *rule = &net->spread->now;
    struct frame_flow f;
    unsigned owner;

    if (net->n_engines <= 1 || m->iface == IFACE_LOOP ||
        spread_classify(net, m->iface, mbuf_data(&net->core.pool, m), m->len, &f) != FRAME_OF_FLOW)
        return false;
    owner = spread_owner(net, rule, &f);
    if (owner == rule->rss.engine)
        return false;
    spread_put_aside(net, m, owner, C_FOREIGN_OUT);
    return true;
}

bool net_ask_others(struct net *net, struct mbuf *m)
{
    const struct ust_rss *rss = &net->spread->now.rss;

    if (net->n_engines <= 1 || m->iface == IFACE_LOOP || is_copy_for_all(m) ||
        (m->flags & MBUF_LINK_MCAST) || m->hand.asked + 1u >= net->n_engines)
        return false;
    if (!tokens_take(&net->spread->asks, net->core.set.foreign_ask_limit, net->core.now)) {
        net_drop(net, m, C_FOREIGN_DROP_ASKED);
        return true;
    }
    m->hand.asked++;
    spread_put_aside(net, m, (rss->engine + 1u) % rss->n_engines, C_FOREIGN_ASKED);
    return true;
}

bool spread_is_new(const struct net *net, ust_time age)
{
    return net->n_engines > 1 && net->core.now - net->spread->since < age;
}
