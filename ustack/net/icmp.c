/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP for IPv4 (RFC 792, 1122 3.2.2), and what ICMPv6 shares with it: echo,
 * errors out, errors in. Echo replies go up, to whoever asked. Everything sent
 * is limited by a rate; nothing is sent in answer to a group, a later fragment,
 * an ICMP error or a source that is no host.
 *
 * Redirects, address masks and source quench (MUST-55) are dropped and counted. */
#include "../base/checksum.h"
#include "net.h"

#include <errno.h>

enum {
    ECHO_REPLY = 0,
    UNREACH = 3,
    ECHO_REQUEST = 8,
    TIME_EXCEEDED = 11,
    PARAM_PROBLEM = 12,
    FRAG_NEEDED = 4,
    REASSEMBLY = 1,
    PROTO_UNREACH = 2,
    PORT_UNREACH = 3,
    QUOTED_L4 = 8, /* bytes of the offending packet behind its IP header */
    MAX_CODE = 15,
};

/* Destination unreachable by code, as Linux tells its sockets. */
static const struct ip_error unreach[MAX_CODE + 1] = {
    {ENETUNREACH, false, 0},  {EHOSTUNREACH, false, 0}, {ENOPROTOOPT, true, 0},
    {ECONNREFUSED, true, 0},  {EMSGSIZE, false, 1},     {EOPNOTSUPP, false, 0},
    {ENETUNREACH, true, 0},   {EHOSTDOWN, true, 0},     {ENONET, true, 0},
    {ENETUNREACH, true, 0},   {EHOSTUNREACH, true, 0},  {ENETUNREACH, false, 0},
    {EHOSTUNREACH, false, 0}, {EHOSTUNREACH, true, 0},  {EHOSTUNREACH, true, 0},
    {EHOSTUNREACH, true, 0},
};

void icmp_checksum(struct net *net, struct mbuf *m, const struct ust_addr *src,
                   const struct ust_addr *dst)
{
    uint64_t pseudo = addr_is_v4(dst) ? 0 : ip_pseudo_sum(src, dst, IPPROTO_ICMPV6_, m->frame_len);
    uint8_t *p = mbuf_data(&net->core.pool, m);
    uint16_t sum;

    memset(p + 2, 0, 2);
    sum = checksum_finish(mbuf_checksum(&net->core.pool, m, 0, m->frame_len, pseudo));
    memcpy(p + 2, &sum, 2);
}

void icmp_output(struct net *net, struct mbuf *m, const struct ust_addr *src,
                 const struct ust_addr *dst, uint8_t tos, uint8_t ttl)
{
    struct ip_out o = {.src = src,
                       .dst = dst,
                       .proto = addr_is_v4(dst) ? IPPROTO_ICMP_ : IPPROTO_ICMPV6_,
                       .tos = tos,
                       .ttl = ttl,
                       .may_fragment = true};

    icmp_checksum(net, m, src, dst);
    ip_output(net, m, &o);
}

void icmp_echo(struct net *net, struct mbuf *m, const struct packet *p, uint8_t reply)
{
    struct core *core = &net->core;
    const struct ust_addr *src = p->group ? net_source(net, &p->src) : &p->dst;

    count(core, C_ICMP_IN_ECHO);
    if (is_copy_for_all(m))
        return net_drop(net, m, C_ICMP_DROP_GROUP);
    if (!src || !tokens_take(&net->icmp_echoes, core->set.icmp_echo_limit, core->now))
        return net_drop(net, m, C_ICMP_RATELIMITED);
    mbuf_trim_front(&core->pool, m, p->l4_off);
    m->l3_off = m->l4_off = 0;
    m->flags = 0;
    m->gso_size = 0;
    mbuf_data(&core->pool, m)[0] = reply;
    count(core, C_ICMP_OUT_ECHO);
    icmp_output(net, m, src, &p->src, p->tos, 0);
}

struct mbuf *icmp_quote(struct net *net, struct mbuf *m, const struct packet *p, int type, int code,
                        uint32_t most)
{
    uint32_t ip_len = (uint32_t)(p->l4_off - m->l3_off) + p->l4_len;
    uint32_t quote = ip_len < most ? ip_len : most;
    struct core *core = &net->core;
    struct mbuf *e;
    uint8_t *q;

    if (m->iface != IFACE_LOOP &&
        !tokens_take(&net->icmp_errors, core->set.icmp_ratelimit, core->now)) {
        count(core, C_ICMP_RATELIMITED);
        return NULL;
    }
    e = mbuf_alloc_for(&core->pool, ICMP_LEN + quote);
    if (!e) {
        count(core, C_IP_DROP_NOMBUF);
        return NULL;
    }
    q = mbuf_data(&core->pool, e);
    memset(q, 0, ICMP_LEN);
    q[0] = (uint8_t)type;
    q[1] = (uint8_t)code;
    mbuf_copy_out(&core->pool, m, m->l3_off, q + ICMP_LEN, quote);
    e->len = e->frame_len = ICMP_LEN + quote;
    return e;
}

static void send_error(struct net *net, struct mbuf *m, const struct packet *p, int type, int code,
                       enum counter sent)
{
    uint32_t quote = (uint32_t)(p->l4_off - m->l3_off) + QUOTED_L4;
    struct mbuf *e;

    if (p->group || addr_is_any(&p->src))
        return;
    e = icmp_quote(net, m, p, type, code, quote);
    if (!e)
        return;
    count(&net->core, sent);
    icmp_output(net, e, &p->dst, &p->src, 0, 0);
}

void icmp_unreachable(struct net *net, struct mbuf *m, const struct packet *p,
                      enum net_unreach what)
{
    enum { V6_UNREACH = 1, V6_PORT = 4, V6_PARAM_PROBLEM = 4, V6_BAD_NEXT = 1 };

    if (addr_is_v4(&p->src))
        send_error(net, m, p, UNREACH, what == UNREACH_PORT ? PORT_UNREACH : PROTO_UNREACH,
                   C_ICMP_OUT_UNREACH);
    else if (what == UNREACH_PORT)
        icmp6_error(net, m, p, V6_UNREACH, V6_PORT, 0);
    else
        icmp6_error(net, m, p, V6_PARAM_PROBLEM, V6_BAD_NEXT, p->next_off);
}

void icmp_time_exceeded(struct net *net, struct mbuf *m, const struct packet *p)
{
    enum { V6_TIME_EXCEEDED = 3 };

    if (addr_is_v4(&p->src))
        send_error(net, m, p, TIME_EXCEEDED, REASSEMBLY, C_ICMP_OUT_ERROR);
    else
        icmp6_error(net, m, p, V6_TIME_EXCEEDED, REASSEMBLY, 0);
}

bool icmp_tell(struct net *net, uint8_t proto, const struct ust_addr *src,
               const struct ust_addr *dst, const uint8_t *quoted, const struct ip_error *e)
{
    switch (proto) {
    case IPPROTO_TCP_: return net->up->tcp_error(net, src, dst, quoted, e);
    case IPPROTO_UDP_: return net->up->udp_error(net, src, dst, quoted, e);
    case IPPROTO_ICMP_:
    case IPPROTO_ICMPV6_:
        return (proto == IPPROTO_ICMP_) == addr_is_v4(dst) &&
               net->up->ping_error(net, src, dst, quoted, e);
    default: return false;
    }
}

void icmp_report(struct net *net, struct mbuf *m, uint8_t proto, const struct ust_addr *src,
                 const struct ust_addr *dst, const uint8_t *quoted, const struct ip_error *e)
{
    if (!icmp_tell(net, proto, src, dst, quoted, e)) {
        if (!net_ask_others(net, m))
            net_drop(net, m, C_ICMP_DROP_QUOTE);
        return;
    }
    count(&net->core, C_ICMP_IN_ERROR);
    mbuf_free(&net->core.pool, m);
}

static struct ip_error meaning(const uint8_t *icmp)
{
    struct ip_error e = {EHOSTUNREACH, false, 0};

    if (icmp[0] == PARAM_PROBLEM)
        e = (struct ip_error){EPROTO, true, 0};
    else if (icmp[0] == UNREACH && icmp[1] <= MAX_CODE)
        e = unreach[icmp[1]];
    if (e.mtu) /* some routers do not say (RFC 1191 5) */
        e.mtu = get16(icmp + 6) ? get16(icmp + 6) : 1;
    return e;
}

/* Only what is certainly there is read of the quoted packet. */
static void error_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    const uint8_t *icmp = mbuf_data(&net->core.pool, m) + p->l4_off, *q = icmp + ICMP_LEN;
    uint32_t len = p->l4_len - ICMP_LEN, ihl;
    struct ust_addr src, dst;
    struct ip_error e = meaning(icmp);

    if (len < IPV4_LEN || q[0] >> 4 != 4)
        return net_drop(net, m, C_ICMP_DROP_QUOTE);
    ihl = (q[0] & 15) * 4u;
    if (ihl < IPV4_LEN || len < ihl + QUOTED_L4 || (get16(q + 6) & 0x1fff))
        return net_drop(net, m, C_ICMP_DROP_QUOTE);
    src = addr_v4(q + 12);
    dst = addr_v4(q + 16);
    icmp_report(net, m, q[9], &src, &dst, q + ihl, &e);
}

void icmp_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    struct core *core = &net->core;

    if (p->l4_len < ICMP_LEN)
        return net_drop(net, m, C_ICMP_DROP_SHORT);
    if (checksum_finish(mbuf_checksum(&core->pool, m, p->l4_off, p->l4_len, 0)) != 0)
        return net_drop(net, m, C_ICMP_DROP_CHECKSUM);
    switch (mbuf_data(&core->pool, m)[p->l4_off]) {
    case ECHO_REPLY: return net->up->ping_input(net, m, p);
    case ECHO_REQUEST:
        if (p->group) /* RFC 1122 3.2.2.6 lets us be silent; no amplifier */
            return net_drop(net, m, C_ICMP_DROP_GROUP);
        return icmp_echo(net, m, p, ECHO_REPLY);
    case UNREACH:
    case TIME_EXCEEDED:
    case PARAM_PROBLEM: return error_input(net, m, p);
    default: return net_drop(net, m, C_ICMP_DROP_TYPE);
    }
}
