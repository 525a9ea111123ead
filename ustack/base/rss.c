/* SPDX-License-Identifier: BSD-3-Clause */
/* The Toeplitz hash, over a window of key bits that moves a byte at a time. */
#include "rss.h"

#include <stdbool.h>
#include <string.h>

#include "../ustack.h"

#define REPEATED_4 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a

const uint8_t rss_default_key[RSS_KEY_LEN] = {
    REPEATED_4, REPEATED_4, REPEATED_4, REPEATED_4, REPEATED_4,
};

static bool repeats(const uint8_t *key, size_t key_len);
static void fold(const uint8_t *data, size_t len, uint8_t word[2]);
static uint32_t hash_bytes(const uint8_t *key, size_t key_len, const uint8_t *data, size_t len);

uint32_t toeplitz(const uint8_t *key, size_t key_len, const void *data, size_t len)
{
    uint8_t word[2];

    if (key_len < len + 4 || !repeats(key, len + 4))
        return hash_bytes(key, key_len, data, len);
    fold(data, len, word);
    return hash_bytes(key, key_len, word, 2);
}

uint32_t ust_toeplitz(const uint8_t *key, size_t key_len, const uint8_t *data, size_t len)
{
    return toeplitz(key, key_len, data, len);
}

void rss_table_init(struct rss_table *t, const uint8_t *key, size_t key_len)
{
    uint8_t data[RSS_TUPLE_MAX] = {0};

    for (unsigned i = 0; i < 2 * RSS_TUPLE_MAX; i++) {
        for (unsigned v = 0; v < 16; v++) {
            data[i / 2] = (uint8_t)(i % 2 ? v : v << 4);
            t->half[i][v] = hash_bytes(key, key_len, data, i / 2 + 1);
        }
        data[i / 2] = 0;
    }
}

/* Is each byte of the key equal to the one two before it? */
static bool repeats(const uint8_t *key, size_t key_len)
{
    return memcmp(key, key + 2, key_len - 2) == 0;
}

/* The XOR of the input's 16-bit words. */
static void fold(const uint8_t *data, size_t len, uint8_t word[2])
{
    uint32_t all = 0, four;
    uint8_t b[4] = {0};
    size_t i;

    for (i = 0; i + 4 <= len; i += 4) {
        memcpy(&four, data + i, 4);
        all ^= four;
    }
    memcpy(b, &all, 4);
    for (; i < len; i++)
        b[i % 4] ^= data[i];
    word[0] = b[0] ^ b[2];
    word[1] = b[1] ^ b[3];
}

static inline uint32_t hash_bytes(const uint8_t *key, size_t key_len, const uint8_t *data,
                                  size_t len)
{
    uint64_t window = 0; /* its low 40 bits: the key from this byte on */
    uint32_t hash = 0;

    for (size_t i = 0; i < 4; i++)
        window = window << 8 | (i < key_len ? key[i] : 0);
    for (size_t i = 0; i < len; i++) {
        window = window << 8 | (i + 4 < key_len ? key[i + 4] : 0);
        for (int bit = 0; bit < 8; bit++)
            hash ^= (uint32_t)(window >> (8 - bit)) & -(uint32_t)(data[i] >> (7 - bit) & 1);
    }
    return hash;
}
