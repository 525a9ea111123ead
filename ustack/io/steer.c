/* SPDX-License-Identifier: BSD-3-Clause */
/* Receive-side scaling of the ring port; see steer.h.
 *
 * The settings lie in shared memory and may change at any time: they are read
 * word by word with atomics, and a frame that is hashed with half of a new key
 * merely goes to a queue that was not meant for it.                          */
#include <errno.h>
#include <string.h>

#include "steer.h"

enum {
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_IPV6 = 0x86dd,
    PROTO_TCP = 6,
    PROTO_UDP = 17,
    HEAD_LEN = PORT_ETH_LEN + 60 + 4, /* longest IPv4 header, and the ports */
    TUPLE_MAX = 36,
    RETA_DEFAULT = 128,
};

static size_t flow_tuple(const uint8_t *head, size_t len, uint8_t *tuple);
static size_t tuple_ipv4(const uint8_t *ip, size_t len, uint8_t *tuple);
static size_t tuple_ipv6(const uint8_t *ip, size_t len, uint8_t *tuple);
static bool power_of_two(uint32_t n);

void steer_init(struct segment_rss *rss, unsigned n_queues)
{
    uint16_t reta[RETA_DEFAULT];
    unsigned i;

    for (i = 0; i < RETA_DEFAULT; i++)
        reta[i] = (uint16_t)(i % n_queues);
    steer_set(rss, n_queues, rss_default_key, reta, RETA_DEFAULT);
}

int steer_set(struct segment_rss *rss, unsigned n_queues, const uint8_t *key, const uint16_t *reta,
              unsigned n_reta)
{
    uint32_t word;
    unsigned i;

    if (reta && (!power_of_two(n_reta) || n_reta > SEGMENT_RETA_MAX))
        return -EINVAL;
    for (i = 0; reta && i < n_reta; i++)
        if (reta[i] >= n_queues)
            return -EINVAL;
    for (i = 0; key && i < RSS_KEY_LEN / 4; i++) {
        memcpy(&word, key + 4 * i, 4);
        atomic_store_explicit(&rss->key[i], word, memory_order_relaxed);
    }
    if (!reta)
        return 0;
    for (i = 0; i < SEGMENT_RETA_MAX; i++)
        atomic_store_explicit(&rss->reta[i], reta[i & (n_reta - 1)], memory_order_relaxed);
    atomic_store_explicit(&rss->n_reta, n_reta, memory_order_relaxed);
    return 0;
}

void steer_load(struct steer *s, const struct segment_rss *rss, unsigned n_queues)
{
    uint32_t word;
    unsigned i;

    for (i = 0; i < RSS_KEY_LEN / 4; i++) {
        word = atomic_load_explicit(&rss->key[i], memory_order_relaxed);
        memcpy(s->key + 4 * i, &word, 4);
    }
    s->rss = rss;
    s->n_queues = n_queues;
    s->n_reta = atomic_load_explicit(&rss->n_reta, memory_order_relaxed);
    if (!power_of_two(s->n_reta) || s->n_reta > SEGMENT_RETA_MAX)
        s->n_reta = 1;
}

unsigned steer_queue(const struct steer *s, const struct mbuf_pool *pool, const struct mbuf *m,
                     uint32_t *hash)
{
    uint8_t copy[HEAD_LEN], tuple[TUPLE_MAX];
    const uint8_t *head = mbuf_data(pool, m);
    size_t len = m->frame_len < HEAD_LEN ? m->frame_len : HEAD_LEN;
    size_t tuple_len;
    unsigned queue;

    if (m->len < len) {
        len = mbuf_copy_out(pool, m, 0, copy, len);
        head = copy;
    }
    tuple_len = flow_tuple(head, len, tuple);
    *hash = 0;
    if (tuple_len == 0)
        return 0;
    *hash = toeplitz(s->key, sizeof s->key, tuple, tuple_len);
    queue = atomic_load_explicit(&s->rss->reta[*hash & (s->n_reta - 1)], memory_order_relaxed);
    return queue < s->n_queues ? queue : 0;
}

/* Fills in what is hashed: source, destination, and the ports if there are
 * any; its length, or 0 for a frame without a flow. */
static size_t flow_tuple(const uint8_t *head, size_t len, uint8_t *tuple)
{
    uint32_t type;

    if (len < PORT_ETH_LEN)
        return 0;
    type = (uint32_t)head[12] << 8 | head[13];
    head += PORT_ETH_LEN;
    len -= PORT_ETH_LEN;
    return type == ETHERTYPE_IPV4 ? tuple_ipv4(head, len, tuple)
         : type == ETHERTYPE_IPV6 ? tuple_ipv6(head, len, tuple)
                                  : 0;
}

static size_t tuple_ipv4(const uint8_t *ip, size_t len, uint8_t *tuple)
{
    size_t ip_len;

    if (len < 20)
        return 0;
    memcpy(tuple, ip + 12, 8);
    ip_len = (size_t)(ip[0] & 15) * 4;
    if ((ip[9] != PROTO_TCP && ip[9] != PROTO_UDP) || len < ip_len + 4 || ip_len < 20 ||
        (ip[6] & 0x3f) != 0 || ip[7] != 0) /* a fragment */
        return 8;
    memcpy(tuple + 8, ip + ip_len, 4);
    return 12;
}

static size_t tuple_ipv6(const uint8_t *ip, size_t len, uint8_t *tuple)
{
    if (len < 40)
        return 0;
    memcpy(tuple, ip + 8, 32);
    if ((ip[6] != PROTO_TCP && ip[6] != PROTO_UDP) || len < 44)
        return 32;
    memcpy(tuple + 32, ip + 40, 4);
    return 36;
}

static bool power_of_two(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}
