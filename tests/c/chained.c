/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMPv6 messages whose frame is a chain of two mbufs. Not a test of its own:
 * see tests/net/test_ipv6.py.
 *
 *   chained first atomic
 *
 * first: how many bytes of the message are in the first mbuf; atomic: whether
 * there is a fragment header before it. Prints how many frames were dropped for
 * their headers, and how many mbufs are left over. */
#include <stdio.h>

#include "engine.h"
#include "raw.h"

enum { PORT = 80, LENGTH = 200, FRAGMENT = 44, FRAGMENT_LEN = 8 };

static struct ust_engine *eng;

static struct mbuf *mbuf_of(const uint8_t *bytes, size_t len)
{
    struct mbuf_pool *pool = &engine_core(eng)->pool;
    struct mbuf *m = mbuf_alloc(pool, MBUF_SMALL);

    memcpy(mbuf_data(pool, m), bytes, len);
    m->len = m->frame_len = (uint32_t)len;
    return m;
}

static void input(const uint8_t *frame, size_t first, size_t len)
{
    struct mbuf *m = mbuf_of(frame, first), *rest = mbuf_of(frame + first, len - first);

    m->next = mbuf_index(&engine_core(eng)->pool, rest);
    m->frame_len = (uint32_t)len;
    m->flags |= MBUF_CSUM_OK;
    ust_engine_input(eng, 1000000000, &m, 1);
}

int main(int argc, char **argv)
{
    const char *const no_names[] = {NULL};
    struct ust_addr peer = raw_addr(6, 1);
    unsigned first = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
    unsigned before = argc > 2 && atoi(argv[2]) ? FRAGMENT_LEN : 0;
    uint8_t frame[2048] = {0}, *l4 = raw_headers(frame, 6, &peer, before + LENGTH);
    struct ust_usage usage;

    eng = raw_engine(6, PORT, 8, no_names, NULL);
    frame[ETH_LEN + 6] = before ? FRAGMENT : IPPROTO_ICMPV6_;
    if (before)
        l4[0] = IPPROTO_ICMPV6_;
    l4[before] = 200; /* a type for experiments, which nothing answers */
    input(frame, (size_t)(l4 - frame) + before + first, ETH_LEN + IPV6_LEN + before + LENGTH);
    ust_engine_usage(eng, &usage);
    printf("dropped %llu mbufs %u\n", raw_counter(eng, "ip6.drop.exthdr"), usage.mbufs_small);
    ust_engine_free(eng);
    return 0;
}
