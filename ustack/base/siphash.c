/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-c-d, written from the paper "SipHash: a fast short-input PRF"
 * (Aumasson and Bernstein, 2012), section 2.
 *
 * The two variants are one inlined function with constant round counts. */
#include "siphash.h"

static inline uint64_t hash(const struct siphash_key *key, const uint8_t *p, size_t len,
                            int c_rounds, int d_rounds);

uint64_t siphash24(const struct siphash_key *key, const void *data, size_t len)
{
    return hash(key, data, len, 2, 4);
}

uint64_t siphash13(const struct siphash_key *key, const void *data, size_t len)
{
    return hash(key, data, len, 1, 3);
}

/* Bytes are taken as little-endian numbers on every machine. */
static inline uint64_t load64(const uint8_t *p)
{
    uint64_t x;

    memcpy(&x, p, 8);
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(x) : x;
}

/* The last 0..7 bytes below the message length modulo 256. */
static inline uint64_t load_last(const uint8_t *p, size_t len)
{
    uint64_t x = (uint64_t)len << 56;

    for (size_t i = 0; i < len % 8; i++)
        x |= (uint64_t)p[len / 8 * 8 + i] << (8 * i);
    return x;
}

static inline __attribute__((always_inline)) uint64_t hash(const struct siphash_key *key,
                                                           const uint8_t *p, size_t len,
                                                           int c_rounds, int d_rounds)
{
    struct sip s = sip_init(key);

    for (size_t i = 0; i < len / 8; i++)
        sip_compress(&s, load64(p + 8 * i), c_rounds);
    sip_compress(&s, load_last(p, len), c_rounds);
    return sip_finish(&s, d_rounds);
}
