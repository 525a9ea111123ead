/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash (Aumasson and Bernstein, 2012): a keyed hash that an attacker who
 * does not know the key can neither predict nor steer. 2-4 for what is seen on
 * the wire (ISNs, ports), 1-3 for the flow table. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct siphash_key {
    uint64_t k0, k1;
};

uint64_t siphash24(const struct siphash_key *key, const void *data, size_t len);
uint64_t siphash13(const struct siphash_key *key, const void *data, size_t len);

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline struct sip sip_init(const struct siphash_key *key)
{
    return (struct sip){
        key->k0 ^ 0x736f6d6570736575, /* "somepseu" */
        key->k1 ^ 0x646f72616e646f6d, /* "dorandom" */
        key->k0 ^ 0x6c7967656e657261, /* "lygenera" */
        key->k1 ^ 0x7465646279746573, /* "tedbytes" */
    };
}

static inline uint64_t sip_rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_rounds(struct sip *s, int n)
{
    while (n-- > 0) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = sip_rotl(s->v1, 13) ^ s->v0;
        s->v3 = sip_rotl(s->v3, 16) ^ s->v2;
        s->v0 = sip_rotl(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = sip_rotl(s->v1, 17) ^ s->v2;
        s->v3 = sip_rotl(s->v3, 21) ^ s->v0;
        s->v2 = sip_rotl(s->v2, 32);
    }
}

static inline void sip_compress(struct sip *s, uint64_t word, int c_rounds)
{
    s->v3 ^= word;
    sip_rounds(s, c_rounds);
    s->v0 ^= word;
}

static inline uint64_t sip_finish(struct sip *s, int d_rounds)
{
    s->v2 ^= 0xff;
    sip_rounds(s, d_rounds);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* siphash13() of twelve bytes that are three numbers in little-endian order, as
 * an IPv4 flow's. */
static inline uint64_t siphash13_of_3(const struct siphash_key *key, uint32_t a, uint32_t b,
                                      uint32_t c)
{
    struct sip s = sip_init(key);

    sip_compress(&s, (uint64_t)b << 32 | a, 1);
    sip_compress(&s, 12ull << 56 | c, 1);
    return sip_finish(&s, 3);
}
