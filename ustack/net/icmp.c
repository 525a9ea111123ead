/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP (RFC 792, 1122 3.2.2): echo, destination unreachable, and errors that
 * concern our TCP flows. Everything sent is limited by a rate; nothing is sent
 * in answer to a group, a fragment, an ICMP error or a source that is no host.
 *
 * Redirects, address masks and source quench are dropped and counted.       */
#include "../base/checksum.h"
#include "net.h"

enum {
    ECHO_REPLY = 0,
    UNREACH = 3,
    ECHO_REQUEST = 8,
    TIME_EXCEEDED = 11,
    PARAM_PROBLEM = 12,
    UNREACH_FRAG_NEEDED = 4,
    QUOTED_L4 = 8, /* bytes of the offending packet behind its IP header */
};

/* Sends m, whose data is an ICMP message without a checksum. */
static void icmp_output(struct net *net, struct mbuf *m, const struct ust_addr *src,
                        const struct ust_addr *dst, uint8_t tos)
{
    struct ip_out o = {
        .src = src, .dst = dst, .proto = IPPROTO_ICMP_, .tos = tos, .may_fragment = true};
    uint8_t *p = mbuf_data(&net->core.pool, m);
    uint16_t sum;

    memset(p + 2, 0, 2);
    sum = checksum_finish(mbuf_checksum(&net->core.pool, m, 0, m->frame_len, 0));
    memcpy(p + 2, &sum, 2);
    ip_output(net, m, &o);
}

/* The request becomes the reply, in its own mbuf. */
static void echo_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    struct core *core = &net->core;

    if (p->group) /* RFC 1122 3.2.2.6 lets us be silent; no amplifier */
        return net_drop(net, m, C_ICMP_DROP_GROUP);
    count(core, C_ICMP_IN_ECHO);
    if (!tokens_take(&net->icmp_echoes, core->set.icmp_echo_limit, core->now))
        return net_drop(net, m, C_ICMP_RATELIMITED);
    mbuf_trim_front(&core->pool, m, p->l4_off);
    m->l3_off = m->l4_off = 0;
    m->flags = 0;
    m->gso_size = 0;
    mbuf_data(&core->pool, m)[0] = ECHO_REPLY;
    count(core, C_ICMP_OUT_ECHO);
    icmp_output(net, m, &p->dst, &p->src, p->tos);
}

/* q: the quoted packet, len bytes of it. Only what is certainly there is read. */
static bool quoted_flow(struct net *net, const uint8_t *icmp, const uint8_t *q, uint32_t len)
{
    struct ust_addr src, dst;
    uint32_t ihl, mtu;

    if (len < IPV4_LEN || q[0] >> 4 != 4)
        return false;
    ihl = (q[0] & 15) * 4u;
    if (ihl < IPV4_LEN || len < ihl + QUOTED_L4 || q[9] != IPPROTO_TCP_)
        return false;
    src = addr_v4(q + 12);
    dst = addr_v4(q + 16);
    mtu = icmp[0] == UNREACH && icmp[1] == UNREACH_FRAG_NEEDED ? get16(icmp + 6) : 0;
    return net->up->tcp_error(net, &src, &dst, q + ihl, icmp[0], icmp[1], mtu);
}

static void error_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    const uint8_t *icmp = mbuf_data(&net->core.pool, m) + p->l4_off;

    if (!quoted_flow(net, icmp, icmp + ICMP_LEN, p->l4_len - ICMP_LEN))
        return net_drop(net, m, C_ICMP_DROP_QUOTE);
    count(&net->core, C_ICMP_IN_ERROR);
    mbuf_free(&net->core.pool, m);
}

void icmp_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    struct core *core = &net->core;

    if (p->l4_len < ICMP_LEN)
        return net_drop(net, m, C_ICMP_DROP_SHORT);
    if (checksum_finish(mbuf_checksum(&core->pool, m, p->l4_off, p->l4_len, 0)) != 0)
        return net_drop(net, m, C_ICMP_DROP_CHECKSUM);
    switch (mbuf_data(&core->pool, m)[p->l4_off]) {
    case ECHO_REQUEST: return echo_input(net, m, p);
    case UNREACH:
    case TIME_EXCEEDED:
    case PARAM_PROBLEM: return error_input(net, m, p);
    default: return net_drop(net, m, C_ICMP_DROP_TYPE);
    }
}

void icmp_unreachable(struct net *net, struct mbuf *m, const struct packet *p, int code)
{
    struct core *core = &net->core;
    uint32_t ip_len = (uint32_t)(p->l4_off - m->l3_off) + p->l4_len;
    uint32_t quote = (uint32_t)(p->l4_off - m->l3_off) + QUOTED_L4;
    struct mbuf *e;
    uint8_t *q;

    if (p->group)
        return;
    if (quote > ip_len)
        quote = ip_len;
    if (!tokens_take(&net->icmp_errors, core->set.icmp_ratelimit, core->now)) {
        count(core, C_ICMP_RATELIMITED);
        return;
    }
    e = mbuf_alloc_for(&core->pool, ICMP_LEN + quote);
    if (!e) {
        count(core, C_IP_DROP_NOMBUF);
        return;
    }
    q = mbuf_data(&core->pool, e);
    memset(q, 0, ICMP_LEN);
    q[0] = UNREACH;
    q[1] = (uint8_t)code;
    mbuf_copy_out(&core->pool, m, m->l3_off, q + ICMP_LEN, quote);
    e->len = e->frame_len = ICMP_LEN + quote;
    count(core, C_ICMP_OUT_UNREACH);
    icmp_output(net, e, &p->dst, &p->src, 0);
}
