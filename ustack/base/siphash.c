/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash-c-d, written from the paper "SipHash: a fast short-input PRF"
 * (Aumasson and Bernstein, 2012), section 2.
 *
 * The two variants are one inlined function with constant round counts. */
#include "siphash.h"

#include <string.h>

struct sip {
    uint64_t v0, v1, v2, v3;
};

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

static inline uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
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

static inline void rounds(struct sip *s, int n)
{
    while (n-- > 0) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotl(s->v1, 13) ^ s->v0;
        s->v3 = rotl(s->v3, 16) ^ s->v2;
        s->v0 = rotl(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotl(s->v1, 17) ^ s->v2;
        s->v3 = rotl(s->v3, 21) ^ s->v0;
        s->v2 = rotl(s->v2, 32);
    }
}

static inline void compress(struct sip *s, uint64_t word, int c_rounds)
{
    s->v3 ^= word;
    rounds(s, c_rounds);
    s->v0 ^= word;
}

static inline __attribute__((always_inline)) uint64_t hash(const struct siphash_key *key,
                                                           const uint8_t *p, size_t len,
                                                           int c_rounds, int d_rounds)
{
    struct sip s = {
        key->k0 ^ 0x736f6d6570736575, /* "somepseu" */
        key->k1 ^ 0x646f72616e646f6d, /* "dorandom" */
        key->k0 ^ 0x6c7967656e657261, /* "lygenera" */
        key->k1 ^ 0x7465646279746573, /* "tedbytes" */
    };

    for (size_t i = 0; i < len / 8; i++)
        compress(&s, load64(p + 8 * i), c_rounds);
    compress(&s, load_last(p, len), c_rounds);
    s.v2 ^= 0xff;
    rounds(&s, d_rounds);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
