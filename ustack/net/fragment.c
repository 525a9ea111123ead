/* SPDX-License-Identifier: BSD-3-Clause */
/* Fragments of both versions (RFC 791 3.2, RFC 8200 4.5).
 *
 * Reassembly puts each fragment's bytes where they belong in one large mbuf,
 * and marks them in two maps of 8-byte units: covered, and where fragments
 * began. So a fragment costs the same however many there are; exact duplicates
 * are told from overlaps and ignored, while an overlap ends the datagram (RFC
 * 5722; for IPv4, too).
 *
 * Bounds: ip.frag_queues datagrams, ip.frag_per_source of one source (counted
 * by a keyed hash of the source), a deadline for each.                      */
#include <errno.h>

#include "../base/checksum.h"
#include "spread.h"

enum { NONE = 0xffffffff, MAX_PACKET = 65535, FRAGMENT_HEADER = 44, MORE_FRAGMENTS = 0x2000 };

struct frag_key { /* free of padding */
    struct ust_addr src, dst;
    uint32_t id, proto;
};

void fragment_init(struct net *net)
{
    net->frag_free = NONE;
    for (uint32_t i = net->n_frags; i-- > 0;) {
        net->frags[i].next = net->frag_free;
        net->frag_free = i;
    }
}

static uint32_t key_hash(const struct net *net, const struct frag_key *key)
{
    return (uint32_t)siphash13(&net->core.key_flow, key, sizeof *key);
}

/* IPv6 leaves the protocol out of the key (RFC 8200 4.5). */
static struct frag_key key_of(const struct packet *p, uint32_t id)
{
    return (struct frag_key){p->src, p->dst, id, addr_is_v4(&p->src) ? p->proto : 0};
}

static struct frag_key frag_key(const struct frag *q)
{
    return (struct frag_key){q->src, q->dst, q->id, addr_is_v4(&q->src) ? q->proto : 0};
}

static uint16_t *source_count(struct net *net, const struct ust_addr *src)
{
    return &net->frag_sources[siphash13(&net->core.key_flow, src, sizeof *src) & 255];
}

static struct frag *find(struct net *net, const struct frag_key *key, uint32_t hash)
{
    for (uint32_t i = flowtable_first(&net->frag_table, hash); i != FLOWTABLE_NONE;
         i = flowtable_next(&net->frag_table, hash, i)) {
        struct frag *q = &net->frags[net->frag_table.slots[i].value];
        struct frag_key k = frag_key(q);

        if (memcmp(&k, key, sizeof k) == 0)
            return q;
    }
    return NULL;
}

/* Takes q out of the tables; its mbuf is the caller's. */
static struct mbuf *release(struct net *net, struct frag *q)
{
    uint32_t i = (uint32_t)(q - net->frags);
    struct frag_key key = frag_key(q);

    flowtable_remove(&net->frag_table, key_hash(net, &key), i);
    wheel_cancel(&net->core.wheel, net->frag_timers + i);
    --*source_count(net, &q->src);
    q->used = false;
    q->next = net->frag_free;
    net->frag_free = i;
    net->frags_used--;
    return &net->core.pool.meta[q->buf];
}

static enum counter admit(struct net *net, const struct packet *p)
{
    if (net->frag_free == NONE)
        return C_FRAG_DROP_FULL;
    if (*source_count(net, &p->src) >= net->core.set.frag_per_source)
        return C_FRAG_DROP_SOURCE;
    return N_COUNTERS;
}

static struct frag *begin(struct net *net, const struct packet *p, const struct frag_key *key,
                          uint32_t hash, enum counter *why)
{
    const struct settings *set = &net->core.set;
    int64_t wait = addr_is_v4(&p->src) ? set->frag_timeout_ms : set->frag6_timeout_ms;
    struct mbuf *buf;
    struct frag *q;

    *why = admit(net, p);
    if (*why != N_COUNTERS)
        return NULL;
    *why = C_FRAG_DROP_NOMBUF;
    buf = mbuf_alloc(&net->core.pool, MBUF_LARGE);
    if (!buf)
        return NULL;
    q = &net->frags[net->frag_free];
    net->frag_free = q->next;
    net->frags_used++;
    *q = (struct frag){.src = p->src,
                       .dst = p->dst,
                       .id = key->id,
                       .proto = p->proto,
                       .used = true,
                       .buf = mbuf_index(&net->core.pool, buf)};
    flowtable_insert(&net->frag_table, hash, (uint32_t)(q - net->frags));
    ++*source_count(net, &p->src);
    wheel_set(&net->core.wheel, net->frag_timers + (uint32_t)(q - net->frags),
              net->core.now + ms(wait));
    return q;
}

/* ------------------------------------------------------- the maps */

static bool bit(const uint64_t *map, uint32_t i)
{
    return map[i / 64] >> (i % 64) & 1;
}

/* The bits [lo, hi) of word w. */
static uint64_t word_mask(uint32_t w, uint32_t lo, uint32_t hi)
{
    uint64_t mask = UINT64_MAX;

    if (lo > w * 64)
        mask &= UINT64_MAX << (lo - w * 64);
    if (hi < (w + 1) * 64)
        mask &= UINT64_MAX >> ((w + 1) * 64 - hi);
    return mask;
}

/* How many bits are set; the builtin would call a library where there is no
 * instruction for it. */
static uint32_t count_bits(uint64_t x)
{
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)(x * 0x0101010101010101u >> 56);
}

/* How many of the units [lo, hi) are marked. */
static uint32_t marked(const uint64_t *map, uint32_t lo, uint32_t hi)
{
    uint32_t n = 0;

    for (uint32_t w = lo / 64; w * 64 < hi; w++)
        n += count_bits(map[w] & word_mask(w, lo, hi));
    return n;
}

static void mark(uint64_t *map, uint32_t lo, uint32_t hi)
{
    for (uint32_t w = lo / 64; w * 64 < hi; w++)
        map[w] |= word_mask(w, lo, hi);
}

/* Was [lo, hi) received as exactly this fragment? */
static bool is_duplicate(const struct frag *q, uint32_t lo, uint32_t hi)
{
    bool ends = hi >= FRAG_UNITS || bit(q->starts, hi) || !bit(q->covered, hi);

    return bit(q->starts, lo) && ends && marked(q->covered, lo, hi) == hi - lo &&
           marked(q->starts, lo, hi) == 1;
}

/* ------------------------------------------------------- input */

static uint32_t smallest_header(uint8_t proto)
{
    return proto == IPPROTO_TCP_ ? TCP_LEN : 8;
}

static enum counter validate(const struct packet *p, const struct fragment *f)
{
    uint32_t header = addr_is_v4(&p->src) ? IPV4_LEN : 0;

    if (f->len == 0 || (f->more && f->len % 8 != 0) || f->offset + f->len + header > MAX_PACKET)
        return C_FRAG_DROP_BAD;
    if (f->offset == 0 && f->len < smallest_header(p->proto))
        return C_FRAG_DROP_TINY;
    return N_COUNTERS;
}

/* Does the end that f tells, or respects, contradict what is known? */
static bool end_contradicts(const struct frag *q, const struct fragment *f)
{
    uint32_t end = f->offset + f->len;

    if (f->more)
        return q->total && end > q->total;
    return (q->total && q->total != end) || q->furthest > end;
}

/* Makes a header that has lost its options, or stands before more than it did,
 * true again. frag: IPv4's flags and offset. */
static void fix_header(uint8_t *ip, uint8_t proto, uint32_t len, uint16_t frag)
{
    uint16_t sum;

    if (ip[0] >> 4 == 6) {
        put16(ip + 4, len);
        ip[IPV6_NEXT] = proto;
        return;
    }
    ip[0] = 0x45;
    put16(ip + 2, IPV4_LEN + len);
    put16(ip + 6, frag);
    put16(ip + 10, 0);
    sum = checksum_finish(checksum_add(ip, IPV4_LEN, 0));
    memcpy(ip + 10, &sum, 2);
}

/* The headers that errors will quote: Ethernet and IP without options. */
static void keep_headers(struct net *net, struct frag *q, const struct mbuf *m,
                         const struct packet *p, uint32_t len)
{
    struct mbuf *buf = &net->core.pool.meta[q->buf];
    uint8_t *data = net->core.pool.base + buf->buf + MBUF_HEADROOM;

    q->l2_l3_len = (uint16_t)(ETH_LEN + (addr_is_v4(&p->src) ? IPV4_LEN : IPV6_LEN));
    mbuf_copy_out(&net->core.pool, m, 0, data - q->l2_l3_len, q->l2_l3_len);
    fix_header(data - q->l2_l3_len + ETH_LEN, p->proto, len, MORE_FRAGMENTS);
    q->proto = p->proto;
    q->tos = p->tos;
    q->ttl = p->ttl;
    q->have_first = true;
    buf->iface = m->iface;
}

static void store(struct net *net, struct frag *q, struct mbuf *m, const struct packet *p,
                  const struct fragment *f)
{
    struct mbuf *buf = &net->core.pool.meta[q->buf];
    uint8_t *data = net->core.pool.base + buf->buf + MBUF_HEADROOM;
    uint32_t lo = f->offset / 8;

    mbuf_copy_out(&net->core.pool, m, p->l4_off, data + f->offset, f->len);
    mark(q->covered, lo, lo + (f->len + 7) / 8);
    mark(q->starts, lo, lo + 1);
    q->got += f->len;
    if (q->furthest < f->offset + f->len)
        q->furthest = f->offset + f->len;
    if (!f->more)
        q->total = f->offset + f->len;
    if (f->offset == 0)
        keep_headers(net, q, m, p, f->len);
}

/* The datagram as a frame of its own, with what is there of it. */
static struct mbuf *as_frame(struct mbuf *buf, const struct frag *q, struct packet *p)
{
    buf->off = MBUF_HEADROOM - q->l2_l3_len;
    buf->len = buf->frame_len = q->l2_l3_len + q->total;
    buf->l3_off = ETH_LEN;
    buf->l4_off = q->l2_l3_len;
    *p = (struct packet){.src = q->src,
                         .dst = q->dst,
                         .proto = q->proto,
                         .tos = q->tos,
                         .ttl = q->ttl,
                         .group = q->group,
                         .reassembled = true,
                         .l4_off = q->l2_l3_len,
                         .next_off = IPV6_NEXT,
                         .l4_len = q->total};
    return buf;
}

static void complete(struct net *net, struct frag *q)
{
    struct mbuf *m = release(net, q);
    struct packet p;

    as_frame(m, q, &p);
    fix_header(mbuf_data(&net->core.pool, m) + ETH_LEN, p.proto, p.l4_len, 0);
    count(&net->core, C_FRAG_OK);
    if (spread_is_foreign(net, m)) /* by its ports, which the fragments had not */
        return;
    if (addr_is_v4(&p.src) || ipv6_skip_headers(net, m, &p, true)) {
        m->l4_off = p.l4_off;
        ip_deliver(net, m, &p);
    }
}

/* Adds f's bytes to q; false when the datagram had to be dropped. */
static bool add(struct net *net, struct frag *q, struct mbuf *m, const struct packet *p,
                const struct fragment *f)
{
    uint32_t lo = f->offset / 8, hi = lo + (f->len + 7) / 8, end = f->offset + f->len;
    bool same_end = f->more ? !q->total || end < q->total : end == q->total;

    q->group |= p->group;
    if (is_duplicate(q, lo, hi) && same_end) {
        count(&net->core, C_FRAG_DUPLICATE);
        return true;
    }
    if (marked(q->covered, lo, hi) > 0 || end_contradicts(q, f)) {
        count(&net->core, C_FRAG_DROP_OVERLAP);
        mbuf_free(&net->core.pool, release(net, q));
        return false;
    }
    store(net, q, m, p, f);
    return true;
}

void fragment_input(struct net *net, struct mbuf *m, const struct packet *p,
                    const struct fragment *f)
{
    struct frag_key key = key_of(p, f->id);
    enum counter why = validate(p, f);
    uint32_t hash = key_hash(net, &key);
    struct frag *q;
    enum { PARAM_PROBLEM = 4, PAYLOAD_LENGTH = 4, FRAGMENT_OFFSET = 6 };

    count(&net->core, C_FRAG_IN);
    if (why == C_FRAG_DROP_BAD && !addr_is_v4(&p->src)) /* RFC 8200 4.5 */
        icmp6_error(net, m, p, PARAM_PROBLEM, 0,
                    f->more && f->len % 8 ? PAYLOAD_LENGTH
                                          : (uint32_t)(p->l4_off - m->l3_off) - FRAGMENT_OFFSET);
    if (why != N_COUNTERS)
        return net_drop(net, m, why);
    q = find(net, &key, hash);
    if (!q)
        q = begin(net, p, &key, hash, &why);
    if (!q)
        return net_drop(net, m, why);
    if (add(net, q, m, p, f) && q->total && q->got == q->total)
        complete(net, q);
    mbuf_free(&net->core.pool, m);
}

/* RFC 1122 3.3.2, RFC 8200 4.5: if the first fragment came, its sender hears
 * of it. */
void fragment_timer(struct net *net, uint32_t i)
{
    struct frag *q = &net->frags[i];
    struct mbuf *m = release(net, q);
    struct packet p;

    count(&net->core, C_FRAG_TIMEOUT);
    if (q->have_first) {
        q->total = 8;
        as_frame(m, q, &p);
        icmp_time_exceeded(net, m, &p);
    }
    mbuf_free(&net->core.pool, m);
}

/* ------------------------------------------------------- output */

static struct mbuf *cut(struct net *net, const struct mbuf *m, uint32_t offset, uint32_t len)
{
    struct mbuf *piece = mbuf_alloc_for(&net->core.pool, len);

    if (!piece)
        return NULL;
    mbuf_copy_out(&net->core.pool, m, offset, mbuf_data(&net->core.pool, piece), len);
    piece->len = piece->frame_len = len;
    return piece;
}

static void put_fragment_header(struct net *net, struct mbuf *piece, uint8_t proto,
                                const struct fragment *f)
{
    uint8_t *h = mbuf_push(&net->core.pool, piece, IPV6_FRAGMENT_LEN);

    h[0] = proto;
    h[1] = 0;
    put16(h + 2, f->offset | f->more);
    put32(h + 4, f->id);
}

static void send_piece(struct net *net, struct mbuf *piece, const struct ip_out *o, struct neigh *n,
                       const struct fragment *f)
{
    struct ip_out out = *o;

    out.frag = f;
    count(&net->core, C_IP_OUT_FRAGMENTS);
    count(&net->core, C_IP_OUT);
    if (addr_is_v4(o->dst)) {
        ipv4_header(net, piece, &out);
    } else {
        put_fragment_header(net, piece, o->proto, f);
        out.proto = FRAGMENT_HEADER;
        ipv6_header(net, piece, &out, n->iface);
    }
    neigh_output(net, n, piece);
}

int fragment_output(struct net *net, struct mbuf *m, const struct ip_out *o, struct neigh *n,
                    uint32_t mtu)
{
    uint32_t header = addr_is_v4(o->dst) ? IPV4_LEN : IPV6_LEN + IPV6_FRAGMENT_LEN;
    uint32_t most = mtu > header + 8 ? (mtu - header) & ~7u : 8, total = m->frame_len;
    struct fragment f = {.id = ip_next_id(net, o->src, o->dst)};

    if (!o->may_fragment) {
        net_drop(net, m, C_IP_DROP_TOOBIG);
        return -EMSGSIZE;
    }
    for (; f.offset < total; f.offset += most) {
        struct mbuf *piece;

        f.len = total - f.offset < most ? total - f.offset : most;
        f.more = f.offset + f.len < total;
        piece = cut(net, m, f.offset, f.len);
        if (!piece) {
            net_drop(net, m, C_IP_DROP_NOMBUF);
            return -ENOBUFS;
        }
        send_piece(net, piece, o, n, &f);
    }
    mbuf_free(&net->core.pool, m);
    return 0;
}
