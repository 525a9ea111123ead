/* SPDX-License-Identifier: BSD-3-Clause */
/* The Toeplitz hash in three forms that agree: by definition, for a key that
 * repeats after 16 bits, and by table. */
#include "base/rss.h"

#include <assert.h>
#include <string.h>

#include "ustack.h"

#define REPEATED_4 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a

const uint8_t rss_default_key[RSS_KEY_LEN] = {
    REPEATED_4, REPEATED_4, REPEATED_4, REPEATED_4, REPEATED_4,
};

static uint32_t hash_byte(uint64_t window, uint8_t byte);
static uint64_t key_window(const uint8_t *key, size_t key_len, size_t at);

uint32_t rss_toeplitz(const uint8_t *key, size_t key_len, const void *data,
                      size_t len)
{
    const uint8_t *p = data;
    uint64_t window = key_window(key, key_len, 0);
    uint32_t hash = 0;

    for (size_t i = 0; i < len; i++) {
        hash ^= hash_byte(window, p[i]);
        window = window << 8 | (i + 5 < key_len ? key[i + 5] : 0);
    }
    return hash;
}

uint32_t rss_default(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t all = 0, word;
    uint8_t b[4];

    for (; len >= 4; len -= 4, p += 4) {
        memcpy(&word, p, 4);
        all ^= word;
    }
    if (len > 0) {
        word = 0;
        memcpy(&word, p, len);
        all ^= word;
    }
    memcpy(b, &all, 4);
    return hash_byte(0x6d5a6d5a6d, b[0] ^ b[2]) ^
           hash_byte(0x5a6d5a6d5a, b[1] ^ b[3]);
}

void rss_table_init(struct rss_table *table, const uint8_t *key,
                    size_t key_len)
{
    uint64_t window;

    for (size_t i = 0; i < RSS_INPUT_MAX; i++) {
        window = key_window(key, key_len, i);
        for (unsigned v = 0; v < 16; v++) {
            table->part[2 * i][v] = hash_byte(window, (uint8_t)(v << 4));
            table->part[2 * i + 1][v] = hash_byte(window, (uint8_t)v);
        }
    }
}

uint32_t rss_hash(const struct rss_table *table, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t hash = 0;

    assert(len <= RSS_INPUT_MAX);
    for (size_t i = 0; i < len; i++)
        hash ^= table->part[2 * i][p[i] >> 4] ^
                table->part[2 * i + 1][p[i] & 15];
    return hash;
}

uint32_t ust_toeplitz(const uint8_t *key, size_t key_len, const uint8_t *data,
                      size_t len)
{
    return rss_toeplitz(key, key_len, data, len);
}

/* One byte of input over the 40 key bits that begin where it does. */
static inline uint32_t hash_byte(uint64_t window, uint8_t byte)
{
    uint32_t hash = 0;

    for (int bit = 0; bit < 8; bit++)
        hash ^= (uint32_t)(window >> (8 - bit)) &
                -(uint32_t)(byte >> (7 - bit) & 1);
    return hash;
}

/* The 40 bits of the key from byte at on. */
static inline uint64_t key_window(const uint8_t *key, size_t key_len, size_t at)
{
    uint64_t window = 0;

    for (size_t i = at; i < at + 5; i++)
        window = window << 8 | (i < key_len ? key[i] : 0);
    return window;
}
