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
 * same hash; every 16-bit word of input then meets the same key bits, and the
 * hash depends on the XOR of the words alone.
 *
 * Not here: the indirection table, and which frames are hashed over what.   */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum {
    RSS_KEY_LEN = 40,
    RSS_INPUT_MAX = RSS_KEY_LEN - 4,  /* two IPv6 addresses and two ports */
};

extern const uint8_t rss_default_key[RSS_KEY_LEN];

/* A key made ready: what each value of each half byte of input contributes. */
struct rss_table {
    uint32_t part[RSS_INPUT_MAX * 2][16];
};

/* Any key, any length, straight from the definition. */
uint32_t rss_toeplitz(const uint8_t *key, size_t key_len, const void *data,
                      size_t len);
/* The same with the default key, as if that went on for ever: the fastest. */
uint32_t rss_default(const void *data, size_t len);
/* The same by table; len <= RSS_INPUT_MAX. */
void rss_table_init(struct rss_table *table, const uint8_t *key,
                    size_t key_len);
uint32_t rss_hash(const struct rss_table *table, const void *data, size_t len);
