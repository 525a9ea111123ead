/* SPDX-License-Identifier: BSD-3-Clause */
/* The Toeplitz hash of receive-side scaling: which queue a flow goes to.
 *
 * The input is the concatenation, in network order, of source address,
 * destination address, source port and destination port, as Microsoft's RSS
 * specification has it. For every bit of the input that is set, the 32 bits of
 * the key that begin at that bit's position go into the hash by XOR. Bits past
 * the key's end count as 0.
 *
 * With the default key, 0x6d5a repeated, both directions of a flow have the
 * same hash. In a key that repeats after 16 bits every 16-bit word of input
 * meets the same key bits, so the hash is that of the XOR of the words; such
 * keys are noticed, and cost a quarter.
 *
 * Not here: the indirection table, and which frames are hashed over what.   */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { RSS_KEY_LEN = 40 }; /* two IPv6 addresses, two ports, and 4 more */

extern const uint8_t rss_default_key[RSS_KEY_LEN];

uint32_t toeplitz(const uint8_t *key, size_t key_len, const void *data, size_t len);

/* The hash is linear over XOR, so that of an input is the XOR of those of its
 * half-bytes, which for one key can be known beforehand. */
enum { RSS_TUPLE_MAX = 36 };

struct rss_table {
    uint32_t half[2 * RSS_TUPLE_MAX][16];
};

void rss_table_init(struct rss_table *t, const uint8_t *key, size_t key_len);

/* toeplitz() of at most RSS_TUPLE_MAX bytes. */
static inline uint32_t rss_table_hash(const struct rss_table *t, const uint8_t *data, size_t len)
{
    uint32_t hash = 0;

    for (size_t i = 0; i < len; i++)
        hash ^= t->half[2 * i][data[i] >> 4] ^ t->half[2 * i + 1][data[i] & 15];
    return hash;
}
