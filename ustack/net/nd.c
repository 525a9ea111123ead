/* SPDX-License-Identifier: BSD-3-Clause */
/* Neighbour discovery for IPv6 (RFC 4861) as a host: solicitations and
 * advertisements, duplicate address detection and stateless addresses (RFC
 * 4862), routers. The table behind it is neighbour.c, shared with ARP.
 *
 * Every message must have hop limit 255, code 0 and sound options (6.1, 7.1);
 * else it is dropped before it can teach us anything. Redirects are ignored.
 *
 * Not here: MLD.                                                            */
#include "../base/checksum.h"
#include "net.h"

enum {
    RS = 133,
    RA = 134,
    NS = 135,
    NA = 136,
    NS_LEN = 24,
    RA_LEN = 16,
    RS_LEN = 8,
    OPT_SOURCE_MAC = 1,
    OPT_TARGET_MAC = 2,
    OPT_PREFIX = 3,
    OPT_MTU = 5,
    MAC_OPT_LEN = 8,
    PREFIX_LEN = 32,
    FLAG_ROUTER = 0x80,
    FLAG_SOLICITED = 0x40,
    FLAG_OVERRIDE = 0x20,
    PREFIX_ON_LINK = 0x80,
    PREFIX_AUTO = 0x40,
    HOP_LIMIT = 255,
    RTR_SOLICITATIONS = 3,
    RTR_INTERVAL_S = 4,
    TWO_HOURS_S = 7200,
};

static const struct ust_addr unspecified;
static const struct ust_addr all_nodes = {{0xff, 2, [15] = 1}};
static const struct ust_addr all_routers = {{0xff, 2, [15] = 2}};

static struct ust_addr solicited_node(const struct ust_addr *a)
{
    return (struct ust_addr){
        {0xff, 2, [11] = 1, [12] = 0xff, [13] = a->b[13], [14] = a->b[14], [15] = a->b[15]}};
}

/* RFC 4291 appendix A */
static struct ust_addr with_eui64(const struct ust_addr *prefix, const uint8_t mac[6])
{
    struct ust_addr a = *prefix;
    const uint8_t id[8] = {
        (uint8_t)(mac[0] ^ 2), mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};

    memcpy(a.b + 8, id, 8);
    return a;
}

/* ------------------------------------------------------- messages out */

/* A message with a target address, and our MAC as an option unless opt is 0. */
static struct mbuf *message(struct net *net, int iface, uint8_t type, unsigned len, uint8_t opt)
{
    struct mbuf *m = mbuf_alloc_for(&net->core.pool, NS_LEN + MAC_OPT_LEN);
    uint8_t *p;

    if (!m) {
        count(&net->core, C_IP_DROP_NOMBUF);
        return NULL;
    }
    p = mbuf_data(&net->core.pool, m);
    memset(p, 0, NS_LEN + MAC_OPT_LEN);
    p[0] = type;
    if (opt) {
        p[len] = opt;
        p[len + 1] = 1;
        memcpy(p + len + 2, net->ifaces[iface].mac, 6);
        len += MAC_OPT_LEN;
    }
    m->len = m->frame_len = len;
    return m;
}

/* To a group, past route and neighbour: only the interface counts. */
static void send_group(struct net *net, int iface, struct mbuf *m, const struct ust_addr *src,
                       const struct ust_addr *dst)
{
    struct ip_out o = {.src = src, .dst = dst, .proto = IPPROTO_ICMPV6_, .ttl = HOP_LIMIT};
    uint8_t mac[6] = {0x33, 0x33, dst->b[12], dst->b[13], dst->b[14], dst->b[15]};
    uint64_t sum = ip_pseudo_sum(src, dst, IPPROTO_ICMPV6_, m->frame_len);
    uint16_t field = checksum_finish(mbuf_checksum(&net->core.pool, m, 0, m->frame_len, sum));

    memcpy(mbuf_data(&net->core.pool, m) + 2, &field, 2);
    ipv6_header(net, m, &o, iface);
    count(&net->core, C_IP_OUT);
    eth_output(net, m, iface, mac, ETHERTYPE_IPV6);
}

static const struct ust_addr *link_local(const struct net *net, int iface)
{
    for (uint32_t i = 0; i < net->n_addrs; i++) {
        const struct ifaddr *ifa = &net->addrs[i];

        if (ifa->iface == iface && !ifa->tentative && addr_is_link_local(&ifa->addr))
            return &ifa->addr;
    }
    return NULL;
}

void nd_solicit(struct net *net, int iface, const struct ust_addr *target,
                const uint8_t *target_mac)
{
    const struct ust_addr *src = net_source(net, target);
    struct ust_addr group = solicited_node(target);
    struct mbuf *m;

    if (!src && !(src = link_local(net, iface)))
        return;
    m = message(net, iface, NS, NS_LEN, OPT_SOURCE_MAC);
    if (!m)
        return;
    memcpy(mbuf_data(&net->core.pool, m) + 8, target, 16);
    count(&net->core, C_ND_OUT_NS);
    if (target_mac)
        icmp_output(net, m, src, target, 0, HOP_LIMIT);
    else
        send_group(net, iface, m, src, &group);
}

static void advertise(struct net *net, const struct ifaddr *ifa, const struct ust_addr *to)
{
    bool solicited = !addr_is_any(to);
    struct mbuf *m = message(net, ifa->iface, NA, NS_LEN, OPT_TARGET_MAC);
    uint8_t *p;

    if (!m)
        return;
    p = mbuf_data(&net->core.pool, m);
    p[4] = (uint8_t)((solicited ? FLAG_SOLICITED : 0) | FLAG_OVERRIDE);
    memcpy(p + 8, &ifa->addr, 16);
    count(&net->core, C_ND_OUT_NA);
    if (solicited)
        icmp_output(net, m, &ifa->addr, to, 0, HOP_LIMIT);
    else
        send_group(net, ifa->iface, m, &ifa->addr, &all_nodes);
}

/* ------------------------------------------------------- our addresses */

void nd_enable(struct net *net, int iface)
{
    static const struct ust_addr prefix = {{0xfe, 0x80}};
    struct iface *ifc = &net->ifaces[iface];
    struct ust_addr a = with_eui64(&prefix, ifc->mac);
    struct ifaddr *ifa;

    if (ifc->ipv6)
        return;
    ifc->ipv6 = true;
    ifa = net_find_addr(net, &a) ? NULL : net_new_addr(net, iface, &a, 64);
    if (ifa)
        nd_probe_addr(net, ifa);
    if (net->core.set.ip6_accept_ra) {
        ifc->solicits = RTR_SOLICITATIONS;
        wheel_set(&net->core.wheel, net->iface_timers + (uint32_t)iface, net->core.now + NS_PER_S);
    }
}

static void set_addr_timer(struct net *net, const struct ifaddr *ifa, ust_time at)
{
    wheel_set(&net->core.wheel, net->addr_timers + (uint32_t)(ifa - net->addrs), at);
}

static void probe(struct net *net, struct ifaddr *ifa)
{
    struct ust_addr group = solicited_node(&ifa->addr);
    struct mbuf *m = message(net, ifa->iface, NS, NS_LEN, 0);

    ifa->probes++;
    set_addr_timer(net, ifa, net->core.now + ms(net->core.set.neigh_retrans_ms));
    if (!m)
        return;
    memcpy(mbuf_data(&net->core.pool, m) + 8, &ifa->addr, 16);
    count(&net->core, C_ND_OUT_NS);
    send_group(net, ifa->iface, m, &unspecified, &group);
}

static void now_ours(struct net *net, struct ifaddr *ifa)
{
    ifa->tentative = false;
    net->epoch++;
    set_addr_timer(net, ifa, ifa->valid_until);
}

void nd_probe_addr(struct net *net, struct ifaddr *ifa)
{
    ifa->tentative = net->core.set.ip6_dad > 0;
    if (ifa->tentative)
        probe(net, ifa);
    else
        now_ours(net, ifa);
}

void nd_addr_timer(struct net *net, struct ifaddr *ifa)
{
    if (ifa->tentative && ifa->probes < net->core.set.ip6_dad)
        probe(net, ifa);
    else if (ifa->tentative)
        now_ours(net, ifa);
    else if (ifa->valid_until <= net->core.now)
        net_drop_addr(net, ifa);
    else
        set_addr_timer(net, ifa, ifa->valid_until);
}

/* Somebody else has it (RFC 4862 5.4.5): the address is given up. */
static void duplicate(struct net *net, struct ifaddr *ifa)
{
    count(&net->core, C_ND_DAD_FAILED);
    net_drop_addr(net, ifa);
}

void nd_iface_timer(struct net *net, int iface)
{
    struct iface *ifc = &net->ifaces[iface];
    const struct ust_addr *src = link_local(net, iface);
    struct mbuf *m;

    if (ifc->solicits == 0)
        return;
    ifc->solicits--;
    wheel_set(&net->core.wheel, net->iface_timers + (uint32_t)iface,
              net->core.now + RTR_INTERVAL_S * NS_PER_S);
    m = message(net, iface, RS, RS_LEN, src ? OPT_SOURCE_MAC : 0);
    if (!m)
        return;
    count(&net->core, C_ND_OUT_RS);
    send_group(net, iface, m, src ? src : &unspecified, &all_routers);
}

/* ------------------------------------------------------- messages in */

struct options {
    const uint8_t *source_mac, *target_mac;
    const uint8_t *prefixes[4];
    unsigned n_prefixes;
    uint32_t mtu;
};

/* False when an option has length 0 or does not fit (RFC 4861 4.6). */
static bool parse_options(const uint8_t *p, uint32_t len, struct options *opt)
{
    memset(opt, 0, sizeof *opt);
    for (uint32_t i = 0, n; i < len; i += n) {
        if (len - i < 8 || p[i + 1] == 0 || p[i + 1] * 8u > len - i)
            return false;
        n = p[i + 1] * 8u;
        if (p[i] == OPT_SOURCE_MAC)
            opt->source_mac = p + i + 2;
        else if (p[i] == OPT_TARGET_MAC)
            opt->target_mac = p + i + 2;
        else if (p[i] == OPT_MTU)
            opt->mtu = get32(p + i + 4);
        else if (p[i] == OPT_PREFIX && n == PREFIX_LEN && opt->n_prefixes < 4)
            opt->prefixes[opt->n_prefixes++] = p + i;
    }
    return !(opt->source_mac && (opt->source_mac[0] & 1)) &&
           !(opt->target_mac && (opt->target_mac[0] & 1));
}

/* What a target may be: one IPv6 address, and no IPv4 one in disguise. */
static bool is_unicast(const struct ust_addr *a)
{
    return a->b[0] != 0xff && !addr_is_v4(a) && !addr_is_any(a);
}

static struct ifaddr *find_own(const struct net *net, int iface, const struct ust_addr *a)
{
    struct ifaddr *ifa = net_find_addr(net, a);

    return ifa && ifa->iface == iface ? ifa : NULL;
}

static void learn(struct net *net, int iface, const struct ust_addr *addr, const uint8_t *mac)
{
    struct neigh *n = mac ? neigh_get(net, iface, addr) : NULL;

    if (n)
        neigh_learn(net, n, mac);
}

static enum counter ns_input(struct net *net, const struct mbuf *m, const struct packet *p,
                             const uint8_t *icmp)
{
    struct ust_addr target = addr_v6(icmp + 8), group = solicited_node(&target);
    bool dad = addr_is_any(&p->src);
    struct options opt;
    struct ifaddr *ifa;

    if (!is_unicast(&target) || !parse_options(icmp + NS_LEN, p->l4_len - NS_LEN, &opt) ||
        (dad && (opt.source_mac || !addr_same(&p->dst, &group))))
        return C_ND_DROP_MALFORMED;
    ifa = find_own(net, m->iface, &target);
    if (!ifa || (ifa->tentative && !dad))
        return C_ND_DROP_TARGET;
    if (ifa->tentative) { /* another host is probing for it, too */
        duplicate(net, ifa);
        return N_COUNTERS;
    }
    count(&net->core, C_ND_IN_NS);
    if (!dad)
        learn(net, m->iface, &p->src, opt.source_mac);
    if (!is_copy_for_all(m))
        advertise(net, ifa, &p->src);
    return N_COUNTERS;
}

/* RFC 4861 7.2.5 */
static void heard(struct net *net, struct neigh *n, uint8_t flags, const uint8_t *mac)
{
    bool solicited = flags & FLAG_SOLICITED;
    bool known = n->state != NEIGH_INCOMPLETE && n->state != NEIGH_FAILED;
    bool same = known && (!mac || memcmp(mac, n->mac, 6) == 0);

    if (!known && !mac)
        return;
    if (known && !same && !(flags & FLAG_OVERRIDE)) {
        if (n->state == NEIGH_REACHABLE)
            n->state = NEIGH_STALE;
        return;
    }
    if (solicited)
        neigh_confirm(net, n, mac ? mac : n->mac);
    else if (!same)
        neigh_learn(net, n, mac);
    if (n->router && !(flags & FLAG_ROUTER)) /* it routes no more */
        net_router(net, n->iface, &n->addr, 0);
    n->router = flags & FLAG_ROUTER;
}

static enum counter na_input(struct net *net, const struct mbuf *m, const struct packet *p,
                             const uint8_t *icmp)
{
    struct ust_addr target = addr_v6(icmp + 8);
    struct options opt;
    struct ifaddr *ifa;
    struct neigh *n;

    if (!is_unicast(&target) || !parse_options(icmp + NS_LEN, p->l4_len - NS_LEN, &opt) ||
        (p->dst.b[0] == 0xff && (icmp[4] & FLAG_SOLICITED)))
        return C_ND_DROP_MALFORMED;
    ifa = find_own(net, m->iface, &target);
    if (ifa && ifa->tentative) {
        duplicate(net, ifa);
        return N_COUNTERS;
    }
    if (ifa) {
        count(&net->core, C_ARP_CONFLICT);
        return C_ND_DROP_TARGET;
    }
    n = neigh_find(net, m->iface, &target);
    if (!n || n->state == NEIGH_PERMANENT)
        return C_ND_DROP_UNASKED;
    count(&net->core, C_ND_IN_NA);
    heard(net, n, icmp[4], opt.target_mac);
    return N_COUNTERS;
}

static ust_time lifetime(const struct net *net, uint32_t seconds)
{
    return seconds == UINT32_MAX ? UINT64_MAX : net->core.now + seconds * NS_PER_S;
}

/* RFC 4862 5.5.3 (e): an advertisement may not shorten a lifetime to less than
 * two hours, or a forger could take our address away. */
static void refresh(struct net *net, struct ifaddr *ifa, uint32_t valid, uint32_t preferred)
{
    ust_time until = lifetime(net, valid), floor = net->core.now + TWO_HOURS_S * NS_PER_S;

    ifa->preferred_until = lifetime(net, preferred);
    if (until > floor || until > ifa->valid_until)
        ifa->valid_until = until;
    else if (ifa->valid_until > floor)
        ifa->valid_until = floor;
    if (!ifa->tentative)
        set_addr_timer(net, ifa, ifa->valid_until);
}

/* Advertisements leave half of the table to those who configure by hand. */
static bool may_make_another(const struct net *net)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < net->n_addrs; i++)
        n += net->addrs[i].automatic;
    return n < UST_MAX_ADDRS / 2;
}

static void autoconfigure(struct net *net, int iface, const struct ust_addr *prefix, bool on_link,
                          uint32_t valid, uint32_t preferred)
{
    struct ust_addr a = with_eui64(prefix, net->ifaces[iface].mac);
    struct ifaddr *ifa = net_find_addr(net, &a);

    if (ifa) {
        if (ifa->automatic)
            refresh(net, ifa, valid, preferred);
        return;
    }
    ifa = valid && may_make_another(net) ? net_new_addr(net, iface, &a, 64) : NULL;
    if (!ifa)
        return;
    ifa->automatic = true;
    ifa->on_link = on_link;
    ifa->valid_until = lifetime(net, valid);
    ifa->preferred_until = lifetime(net, preferred);
    nd_probe_addr(net, ifa);
}

static void prefix_input(struct net *net, int iface, const uint8_t *opt)
{
    struct ust_addr prefix = addr_v6(opt + 16);
    uint32_t valid = get32(opt + 4), preferred = get32(opt + 8);
    bool on_link = opt[3] & PREFIX_ON_LINK, automatic = opt[3] & PREFIX_AUTO;

    if (addr_is_link_local(&prefix) || !is_unicast(&prefix) || preferred > valid || opt[2] > 128)
        return;
    if (automatic && opt[2] == 64)
        autoconfigure(net, iface, &prefix, on_link, valid, preferred);
    else if (on_link)
        net_on_link(net, iface, &prefix, opt[2], lifetime(net, valid));
}

static enum counter ra_input(struct net *net, const struct mbuf *m, const struct packet *p,
                             const uint8_t *icmp)
{
    struct iface *ifc = &net->ifaces[m->iface];
    struct options opt;
    struct neigh *n;

    if (!net->core.set.ip6_accept_ra || !addr_is_link_local(&p->src))
        return C_ND_DROP_RA;
    if (!parse_options(icmp + RA_LEN, p->l4_len - RA_LEN, &opt))
        return C_ND_DROP_MALFORMED;
    count(&net->core, C_ND_IN_RA);
    ifc->solicits = 0;
    if (icmp[4])
        ifc->hop_limit = icmp[4];
    if (opt.mtu >= IPV6_MIN_MTU && opt.mtu <= ifc->mtu && opt.mtu != ifc->ra_mtu) {
        ifc->ra_mtu = opt.mtu;
        net->mtu_epoch++;
    }
    learn(net, m->iface, &p->src, opt.source_mac);
    net_router(net, m->iface, &p->src, net->core.now + get16(icmp + 6) * NS_PER_S);
    n = neigh_find(net, m->iface, &p->src);
    if (n)
        n->router = true;
    for (unsigned i = 0; i < opt.n_prefixes; i++)
        prefix_input(net, m->iface, opt.prefixes[i]);
    return N_COUNTERS;
}

void nd_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    const uint8_t *icmp = mbuf_data(&net->core.pool, m) + p->l4_off;
    enum counter bad;

    if (p->ttl != HOP_LIMIT)
        return net_drop(net, m, C_ND_DROP_HOPLIMIT);
    if (p->reassembled /* RFC 6980 */ || icmp[1] != 0 || m->len < p->l4_off + p->l4_len ||
        p->l4_len < (icmp[0] == RA   ? RA_LEN
                     : icmp[0] == RS ? RS_LEN
                                     : NS_LEN))
        return net_drop(net, m, C_ND_DROP_MALFORMED);
    switch (icmp[0]) {
    case NS: bad = ns_input(net, m, p, icmp); break;
    case NA: bad = na_input(net, m, p, icmp); break;
    case RA: bad = ra_input(net, m, p, icmp); break;
    default: bad = C_ICMP_DROP_TYPE;
    }
    if (bad != N_COUNTERS)
        return net_drop(net, m, bad);
    mbuf_free(&net->core.pool, m);
}
