/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP headers, written (RFC 9293 3.1). Options stand in Linux's order:
 *   SYN:  mss, sackOK, TS, nop, wscale   (nop nop in place of sackOK, if none),
 *         Fast Open, nop nop
 *   else: nop nop TS, nop nop SACK
 * The checksum is left to the port where it offers that, else done here.    */
#include "../base/checksum.h"
#include "../net/plain.h"
#include "tcp.h"

enum {
    SPORT = 0, /* and the other port */
    SEQ = 4,
    ACK = 8,
    OFFSET = 12,   /* in words, flags, window */
    CHECKSUM = 16, /* and the urgent pointer */
};

static unsigned fastopen_len(const struct fastopen_option *fo)
{
    return fo && fo->present ? fo->len + (fo->experimental ? 4u : 2u) : 0;
}

unsigned tcp_options_len(const struct tcp_header *h)
{
    unsigned len = 0;

    if (h->mss)
        len += 4;
    if (h->sack_permitted || h->ts)
        len += h->ts ? 12 : 4;
    if (h->with_wscale)
        len += 4;
    if (h->n_ecn)
        len += h->n_ecn > 2 ? 12 : 8;
    if (h->n_sacks)
        len += 4 + 8 * h->n_sacks;
    return len + ((fastopen_len(h->fastopen) + 3) & ~3u);
}

/* As most headers: no options but timestamps. Only SYNs have an MSS. */
static bool is_usual(const struct tcp_header *h)
{
    return h->ts && !h->mss && !h->n_sacks && !h->n_ecn;
}

static uint8_t *put_timestamps(uint8_t *p, const struct tcp_header *h)
{
    put16(p, h->sack_permitted ? 0x0402 : 0x0101);
    put16(p + 2, 0x080a);
    put32(p + 4, h->ts_val);
    put32(p + 8, h->ts_ecr);
    return p + 12;
}

static uint8_t *put_sacks(uint8_t *p, const struct tcp_header *h)
{
    put32(p, 0x01010500 | (2 + 8 * h->n_sacks));
    p += 4;
    for (unsigned i = 0; i < h->n_sacks; i++, p += 8) {
        put32(p, h->sacks[i].lo);
        put32(p + 4, h->sacks[i].hi);
    }
    return p;
}

static void put_fastopen(uint8_t *p, const struct fastopen_option *fo)
{
    unsigned len = fastopen_len(fo);
    uint8_t *end = p + len;

    *p++ = fo->experimental ? 254 : 34;
    *p++ = (uint8_t)len;
    if (fo->experimental) {
        put16(p, 0xf989);
        p += 2;
    }
    memcpy(p, fo->cookie, fo->len);
    if (len & 3)
        put16(end, 0x0101);
}

/* Two fields are 8 bytes, three take a NOP. */
static uint8_t *put_accecn(uint8_t *p, const struct tcp_header *h)
{
    *p++ = 174;
    *p++ = (uint8_t)(2 + 3 * h->n_ecn);
    for (unsigned i = 0; i < h->n_ecn; i++) {
        *p++ = (uint8_t)(h->ecn_bytes[i] >> 16);
        put16(p, (uint16_t)h->ecn_bytes[i]);
        p += 2;
    }
    if (h->n_ecn > 2)
        *p++ = 1;
    return p;
}

/* AccECN stands where Linux puts it: after timestamps, before a lone sackOK. */
static void put_options(uint8_t *p, const struct tcp_header *h)
{
    if (h->mss) {
        put32(p, 0x02040000u | h->mss);
        p += 4;
    }
    if (h->ts)
        p = put_timestamps(p, h);
    if (h->n_ecn)
        p = put_accecn(p, h);
    if (!h->ts && h->sack_permitted) {
        put32(p, 0x01010402);
        p += 4;
    }
    if (h->with_wscale) {
        put32(p, 0x01030300u | h->wscale);
        p += 4;
    }
    if (h->n_sacks)
        p = put_sacks(p, h);
    if (h->fastopen && h->fastopen->present)
        put_fastopen(p, h->fastopen);
}

/* ip_pseudo_sum(), which most often is of IPv4. */
static inline uint64_t pseudo_sum(const struct flow_key *key, uint32_t len)
{
    uint32_t words[3];

    if (!addr_is_v4(&key->local))
        return ip_pseudo_sum(&key->local, &key->remote, IPPROTO_TCP_, len);
    memcpy(&words[0], v4_bytes(&key->local), 4);
    memcpy(&words[1], v4_bytes(&key->remote), 4);
    return (uint64_t)words[0] + words[1] + __builtin_bswap32(len) + __builtin_bswap32(IPPROTO_TCP_);
}

/* m's data is the segment; its checksum field is zero. */
static inline void checksum(struct tcp *tcp, struct mbuf *m, const struct flow_key *key)
{
    struct core *core = tcp_core(tcp);
    uint64_t sum = pseudo_sum(key, m->frame_len);
    uint8_t *p = mbuf_data(&core->pool, m);
    uint16_t field;

    if (m->gso_size || (tcp->net.caps & UST_CAP_TX_CSUM)) {
        m->flags |= MBUF_CSUM_PARTIAL;
        m->csum_offset = CHECKSUM;
        field = checksum_fold(sum);
    } else {
        field = checksum_finish(mbuf_checksum(&core->pool, m, 0, m->frame_len, sum));
    }
    memcpy(p + CHECKSUM, &field, 2);
}

void tcp_send_header(struct tcp *tcp, struct mbuf *m, const struct tcp_header *h)
{
    bool usual = is_usual(h);
    unsigned len = TCP_LEN + (usual ? TCP_TS_LEN : tcp_options_len(h));
    uint8_t *p = mbuf_push(&tcp->net.core.pool, m, len);
    struct ip_out out = {.src = &h->key->local,
                         .dst = &h->key->remote,
                         .proto = IPPROTO_TCP_,
                         .tos = h->tos,
                         .ttl = h->ttl,
                         .may_fragment = h->may_fragment,
                         .probe = h->ignore_path,
                         .cache = h->dst};

    put32(p + SPORT, (uint32_t)h->key->lport << 16 | h->key->rport);
    put32(p + SEQ, h->seq);
    put32(p + ACK, h->flags & TH_ACK ? h->ack : 0);
    put32(p + OFFSET, len << 26 | (uint32_t)h->ae << 24 | (uint32_t)h->flags << 16 | h->wnd);
    put32(p + CHECKSUM, h->urg);
    if (usual)
        put_timestamps(p + TCP_LEN, h);
    else
        put_options(p + TCP_LEN, h);
    m->flags = 0;
    m->l4_off = 0;
    m->gso_size = (uint16_t)h->gso_mss;
    m->gso_type = !h->gso_mss                 ? MBUF_GSO_NONE
                : addr_is_v4(&h->key->remote) ? MBUF_GSO_TCP4
                                              : MBUF_GSO_TCP6;
    checksum(tcp, m, h->key);
    count(tcp_core(tcp), C_TCP_OUT);
    ip_output(&tcp->net, m, &out);
}

void tcp_send_plain(struct tcp *tcp, struct tcb *tcb, struct mbuf *m, uint8_t flags, uint32_t wnd)
{
    struct net *net = &tcp->net;
    const struct flow_key *key = &tcb->key;
    unsigned len = tcb->ts_ok ? TCP_LEN + TCP_TS_LEN : TCP_LEN;
    uint8_t *p = mbuf_push(&net->core.pool, m, len);
    const struct ip_out out = {.src = &key->local,
                               .dst = &key->remote,
                               .proto = IPPROTO_TCP_,
                               .tos = tcb->tos,
                               .ttl = tcb->ttl,
                               .cache = &tcb->dst};
    const struct neigh *n = ip_plain(net, &key->remote, &tcb->dst, m->frame_len);

    put32(p + SPORT, (uint32_t)key->lport << 16 | key->rport);
    put32(p + SEQ, tcb->snd_nxt);
    put32(p + ACK, tcb->rcv_nxt);
    put32(p + OFFSET, len << 26 | (uint32_t)flags << 16 | wnd >> tcb->rcv_wscale);
    put32(p + CHECKSUM, 0);
    if (tcb->ts_ok) {
        put32(p + TCP_LEN, 0x0101080a);
        put32(p + TCP_LEN + 4, tcp_ts_at(tcp_now(tcp), tcb->ts_offset));
        put32(p + TCP_LEN + 8, tcb->ts_recent);
    }
    checksum(tcp, m, key);
    count(tcp_core(tcp), C_TCP_OUT);
    if (n)
        ip_plain_output(net, m, n, &out);
    else
        ip_output(net, m, &out);
}

bool tcp_send_bare(struct tcp *tcp, const struct tcp_header *h)
{
    struct mbuf *m = mbuf_alloc_for(&tcp->net.core.pool, 0);

    if (!m) {
        count(tcp_core(tcp), C_TCP_OUT_NOMBUF);
        return false;
    }
    tcp_send_header(tcp, m, h);
    return true;
}
