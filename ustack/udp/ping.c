/* SPDX-License-Identifier: BSD-3-Clause */
/* Ping sockets: ICMP echo (RFC 792, RFC 4443 4) as datagrams. The identifier is
 * the port; everything else a socket has is UDP's.
 *
 * Not here: requests that others send, which net/icmp.c answers.            */
#include <errno.h>

#include "udp.h"

enum { V4_REQUEST = 8, V6_REQUEST = 128, CODE = 1, IDENTIFIER = 4 };

/* Whatever passed the checks of ICMP. */
void ping_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    const uint8_t *icmp = mbuf_data(&net->core.pool, m) + p->l4_off;
    struct flow_key key = {
        .local = p->dst, .remote = p->src, .lport = get16(icmp + IDENTIFIER), .ping = 1};
    struct udp_sock *s;

    if (p->group)
        return net_drop(net, m, C_ICMP_DROP_GROUP);
    s = udp_find(net->udp, &key);
    if (!s) {
        if (!net_ask_others(net, m))
            net_drop(net, m, C_ICMP_DROP_REPLY);
        return;
    }
    m->l4_off = p->l4_off;
    udp_enqueue(net->udp, s, m);
}

bool ping_error(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                const uint8_t *quoted, const struct ip_error *e)
{
    struct flow_key key = {
        .local = *src, .remote = *dst, .lport = get16(quoted + IDENTIFIER), .ping = 1};

    if (quoted[0] != (addr_is_v4(dst) ? V4_REQUEST : V6_REQUEST))
        return false;
    return udp_tell(net, &key, e);
}

int ping_check(const struct udp_sock *s, const uint8_t *data, size_t len)
{
    if (len < ICMP_LEN || data[0] != (s->inet6 ? V6_REQUEST : V4_REQUEST) || data[CODE] != 0)
        return -EINVAL;
    return 0;
}

void ping_header(struct net *net, struct mbuf *m, const struct flow_key *to)
{
    put16(mbuf_data(&net->core.pool, m) + IDENTIFIER, to->lport);
    m->l4_off = 0;
    icmp_checksum(net, m, &to->local, &to->remote);
}
