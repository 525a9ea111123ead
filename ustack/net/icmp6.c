/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMPv6 (RFC 4443): checksum, echo, errors both ways; neighbour discovery goes
 * on to nd.c.                                                               */
#include "../base/checksum.h"
#include "net.h"

#include <errno.h>

enum {
    UNREACH = 1,
    TOO_BIG = 2,
    TIME_EXCEEDED = 3,
    PARAM_PROBLEM = 4,
    ECHO_REQUEST = 128,
    ECHO_REPLY = 129,
    ROUTER_SOLICIT = 133,
    REDIRECT = 137,
    BAD_OPTION = 2,
    QUOTED_L4 = 8,
};

/* Is the packet in m itself an ICMPv6 error? Those are never answered
 * (RFC 4443 2.4 (e.1)). */
static bool is_icmp_error(const struct net *net, const struct mbuf *m, const struct packet *p)
{
    uint32_t off;

    return ipv6_upper_layer(net, m, p, &off) == IPPROTO_ICMPV6_ && p->l4_off + p->l4_len > off &&
           m->len > off && mbuf_data(&net->core.pool, m)[off] < ECHO_REQUEST;
}

void icmp6_error(struct net *net, struct mbuf *m, const struct packet *p, int type, int code,
                 uint32_t param)
{
    const struct ust_addr *src = &p->dst;
    struct mbuf *e;

    /* RFC 4443 2.4 (e.3): a group may hear of a bad option only */
    if ((p->group && !(type == PARAM_PROBLEM && code == BAD_OPTION)) || addr_is_any(&p->src) ||
        is_copy_for_all(m) || is_icmp_error(net, m, p))
        return;
    if (p->group && !(src = net_source(net, &p->src)))
        return;
    e = icmp_quote(net, m, p, type, code, IPV6_MIN_MTU - IPV6_LEN - ICMP_LEN);
    if (!e)
        return;
    put32(mbuf_data(&net->core.pool, e) + 4, param);
    count(&net->core, type == UNREACH ? C_ICMP_OUT_UNREACH : C_ICMP_OUT_ERROR);
    icmp_output(net, e, src, &p->src, 0, 0);
}

/* Destination unreachable by code, as Linux tells its sockets. */
static struct ip_error meaning(const uint8_t *icmp)
{
    static const struct ip_error unreach[] = {
        {ENETUNREACH, false, 0},  {EACCES, true, 0},       {EHOSTUNREACH, false, 0},
        {EHOSTUNREACH, false, 0}, {ECONNREFUSED, true, 0}, {EACCES, true, 0},
        {EACCES, true, 0},
    };

    switch (icmp[0]) {
    case UNREACH: return icmp[1] < sizeof unreach / sizeof *unreach ? unreach[icmp[1]] : unreach[0];
    case TOO_BIG: return (struct ip_error){EMSGSIZE, false, get32(icmp + 4)};
    case PARAM_PROBLEM: return (struct ip_error){EPROTO, true, 0};
    default: return (struct ip_error){EHOSTUNREACH, false, 0};
    }
}

/* Quoted packets with extension headers are rare and not looked into. */
static void error_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    const uint8_t *icmp = mbuf_data(&net->core.pool, m) + p->l4_off, *q = icmp + ICMP_LEN;
    uint32_t len = p->l4_len - ICMP_LEN, off = IPV6_LEN;
    struct ust_addr src, dst;
    struct ip_error e = meaning(icmp);
    uint8_t proto;

    if (len < IPV6_LEN + QUOTED_L4 || q[0] >> 4 != 6)
        return net_drop(net, m, C_ICMP_DROP_QUOTE);
    proto = q[6];
    if (proto == 44 && len >= IPV6_LEN + IPV6_FRAGMENT_LEN + QUOTED_L4 &&
        (get16(q + IPV6_LEN + 2) & 0xfff8) == 0) { /* our own first fragment */
        proto = q[IPV6_LEN];
        off += IPV6_FRAGMENT_LEN;
    }
    src = addr_v6(q + 8);
    dst = addr_v6(q + 24);
    if (e.err == EMSGSIZE && e.mtu == 0)
        e.mtu = 1;
    icmp_report(net, m, proto, &src, &dst, q + off, &e);
}

void icmp6_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    struct core *core = &net->core;
    uint64_t sum = ip_pseudo_sum(&p->src, &p->dst, IPPROTO_ICMPV6_, p->l4_len);
    uint8_t type;

    if (p->l4_len < ICMP_LEN)
        return net_drop(net, m, C_ICMP_DROP_SHORT);
    if (checksum_finish(mbuf_checksum(&core->pool, m, p->l4_off, p->l4_len, sum)) != 0)
        return net_drop(net, m, C_ICMP_DROP_CHECKSUM);
    type = mbuf_data(&core->pool, m)[p->l4_off];
    if (type >= ROUTER_SOLICIT && type <= REDIRECT)
        return nd_input(net, m, p);
    if (addr_is_any(&p->src))
        return net_drop(net, m, C_IP6_DROP_MARTIAN);
    if (type == ECHO_REQUEST)
        return icmp_echo(net, m, p, ECHO_REPLY);
    if (type == ECHO_REPLY)
        return net->up->ping_input(net, m, p);
    if (type >= UNREACH && type <= PARAM_PROBLEM)
        return error_input(net, m, p);
    net_drop(net, m, C_ICMP_DROP_TYPE);
}
