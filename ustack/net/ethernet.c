/* SPDX-License-Identifier: BSD-3-Clause */
/* Ethernet II frames (RFC 894): who it is for, and which protocol it carries. */
#include "net.h"

void eth_input(struct net *net, struct mbuf *m)
{
    const uint8_t *p = mbuf_data(&net->core.pool, m);

    count(&net->core, C_ETH_IN);
    if (m->len < ETH_LEN)
        return net_drop(net, m, C_ETH_DROP_SHORT);
    if (m->iface >= net->n_ifaces)
        return net_drop(net, m, C_ETH_DROP_IFACE);
    if (p[ETH_SRC] & 1)
        return net_drop(net, m, C_ETH_DROP_MAC);
    if (p[ETH_DST] & 1)
        m->flags |= MBUF_LINK_MCAST;
    else if (memcmp(p + ETH_DST, net->ifaces[m->iface].mac, 6) != 0)
        return net_drop(net, m, C_ETH_DROP_MAC);
    m->l3_off = ETH_LEN;
    switch (get16(p + ETH_TYPE)) {
    case ETHERTYPE_IPV4: return ipv4_input(net, m);
    case ETHERTYPE_IPV6: return ipv6_input(net, m);
    case ETHERTYPE_ARP: return arp_input(net, m);
    default: return net_drop(net, m, C_ETH_DROP_TYPE);
    }
}

void eth_output(struct net *net, struct mbuf *m, int iface, const uint8_t dst[6], uint16_t type)
{
    eth_push(net, m, iface, dst, type);
}
