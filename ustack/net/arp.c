/* SPDX-License-Identifier: BSD-3-Clause */
/* ARP messages over Ethernet (RFC 826) with address conflict defence
 * (RFC 5227 2.4(b)).
 *
 * What is learned: the sender of a request for one of our addresses, for we are
 * about to answer it; and news about a neighbour that we already track. An
 * unasked reply makes no entry, so strangers cannot fill the table.         */
#include "net.h"

enum { HTYPE_ETHER = 1, SHA = 8, SPA = 14, THA = 18, TPA = 24 };

static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

/* op as in the header; target_mac is zero in a request. */
static void arp_output(struct net *net, int iface, int op, const struct ust_addr *sender,
                       const struct ust_addr *target, const uint8_t *target_mac,
                       const uint8_t dst[6])
{
    struct mbuf *m = mbuf_alloc_for(&net->core.pool, ARP_LEN);
    uint8_t *p;

    if (!m) {
        count(&net->core, C_IP_DROP_NOMBUF);
        return;
    }
    p = mbuf_data(&net->core.pool, m);
    m->len = m->frame_len = ARP_LEN;
    put16(p, HTYPE_ETHER);
    put16(p + 2, ETHERTYPE_IPV4);
    p[4] = 6;
    p[5] = 4;
    put16(p + 6, (uint32_t)op);
    memcpy(p + SHA, net->ifaces[iface].mac, 6);
    memcpy(p + SPA, v4_bytes(sender), 4);
    if (target_mac)
        memcpy(p + THA, target_mac, 6);
    else
        memset(p + THA, 0, 6);
    memcpy(p + TPA, v4_bytes(target), 4);
    eth_output(net, m, iface, dst, ETHERTYPE_ARP);
}

void arp_request(struct net *net, int iface, const struct ust_addr *target,
                 const uint8_t *target_mac)
{
    const struct ust_addr *sender = net_source(net, target);

    if (!sender)
        return;
    count(&net->core, C_ARP_OUT_REQUEST);
    arp_output(net, iface, ARP_REQUEST, sender, target, NULL, target_mac ? target_mac : broadcast);
}

void arp_announce(struct net *net, const struct ifaddr *ifa)
{
    count(&net->core, C_ARP_OUT_GRATUITOUS);
    arp_output(net, ifa->iface, ARP_REQUEST, &ifa->addr, &ifa->addr, NULL, broadcast);
}

/* Somebody else uses our address: say so once in arp.defend_ms, else let be. */
static void defend(struct net *net, struct ifaddr *ifa)
{
    struct core *core = &net->core;

    count(core, C_ARP_CONFLICT);
    if (ifa->defended && core->now - ifa->defended < ms(core->set.arp_defend_ms))
        return;
    ifa->defended = core->now ? core->now : 1;
    arp_announce(net, ifa);
}

static bool well_formed(const struct mbuf *m, const uint8_t *p)
{
    return m->len >= ETH_LEN + ARP_LEN && get16(p) == HTYPE_ETHER &&
           get16(p + 2) == ETHERTYPE_IPV4 && p[4] == 6 && p[5] == 4 &&
           (get16(p + 6) == ARP_REQUEST || get16(p + 6) == ARP_REPLY);
}

static void request_input(struct net *net, const struct mbuf *m, const uint8_t *p,
                          struct ifaddr *ours, const struct ust_addr *spa, struct neigh *n)
{
    int iface = m->iface;

    count(&net->core, C_ARP_IN_REQUEST);
    if (!n && !addr_is_any(spa)) /* a probe (RFC 5227 1.1) has no sender address */
        n = neigh_get(net, iface, spa);
    if (n)
        neigh_learn(net, n, p + SHA);
    if (is_copy_for_all(m))
        return;
    count(&net->core, C_ARP_OUT_REPLY);
    arp_output(net, iface, ARP_REPLY, &ours->addr, spa, p + SHA, p + SHA);
}

void arp_input(struct net *net, struct mbuf *m)
{
    const uint8_t *p = mbuf_data(&net->core.pool, m) + ETH_LEN;
    struct ust_addr spa, tpa;
    struct ifaddr *ours;
    struct neigh *n;

    if (!well_formed(m, p))
        return net_drop(net, m, C_ARP_DROP_MALFORMED);
    spa = addr_v4(p + SPA);
    tpa = addr_v4(p + TPA);
    if ((p[SHA] & 1) || net_is_group(net, &spa) || p[SPA] == 127)
        return net_drop(net, m, C_ARP_DROP_SENDER);
    ours = net_find_addr(net, &spa);
    if (ours) {
        if (memcmp(p + SHA, net->ifaces[m->iface].mac, 6) != 0 && !is_copy_for_all(m))
            defend(net, ours);
        return net_drop(net, m, C_ARP_DROP_SENDER);
    }
    n = addr_is_any(&spa) ? NULL : neigh_find(net, m->iface, &spa);
    ours = net_find_addr(net, &tpa);
    if (get16(p + 6) == ARP_REQUEST && ours) {
        request_input(net, m, p, ours, &spa, n);
        return mbuf_free(&net->core.pool, m);
    }
    if (!n)
        return net_drop(net, m, ours ? C_ARP_DROP_UNASKED : C_ARP_DROP_TARGET);
    if (ours && get16(p + 6) == ARP_REPLY) {
        count(&net->core, C_ARP_IN_REPLY);
        neigh_confirm(net, n, p + SHA);
    } else {
        neigh_learn(net, n, p + SHA);
    }
    mbuf_free(&net->core.pool, m);
}
