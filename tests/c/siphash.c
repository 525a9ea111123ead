/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash against published values.
 * Sources: base/siphash.c */
#include "base/siphash.h"

#include <string.h>

#include "check.h"

/* The key and the messages of the paper's appendix A and of the authors' test
 * vectors: bytes 0, 1, 2, … */
static const struct siphash_key counting_key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

static void siphash24_gives_the_authors_test_vectors(void)
{
    static const uint8_t expected[16][8] = {
        {0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72},
        {0xfd, 0x67, 0xdc, 0x93, 0xc5, 0x39, 0xf8, 0x74},
        {0x5a, 0x4f, 0xa9, 0xd9, 0x09, 0x80, 0x6c, 0x0d},
        {0x2d, 0x7e, 0xfb, 0xd7, 0x96, 0x66, 0x67, 0x85},
        {0xb7, 0x87, 0x71, 0x27, 0xe0, 0x94, 0x27, 0xcf},
        {0x8d, 0xa6, 0x99, 0xcd, 0x64, 0x55, 0x76, 0x18},
        {0xce, 0xe3, 0xfe, 0x58, 0x6e, 0x46, 0xc9, 0xcb},
        {0x37, 0xd1, 0x01, 0x8b, 0xf5, 0x00, 0x02, 0xab},
        {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93},
        {0xb0, 0xe4, 0xa9, 0x0b, 0xdf, 0x82, 0x00, 0x9e},
        {0xf3, 0xb9, 0xdd, 0x94, 0xc5, 0xbb, 0x5d, 0x7a},
        {0xa7, 0xad, 0x6b, 0x22, 0x46, 0x2f, 0xb3, 0xf4},
        {0xfb, 0xe5, 0x0e, 0x86, 0xbc, 0x8f, 0x1e, 0x75},
        {0x90, 0x3d, 0x84, 0xc0, 0x27, 0x56, 0xea, 0x14},
        {0xee, 0xf2, 0x7a, 0x8e, 0x90, 0xca, 0x23, 0xf7},
        {0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1},
    };
    uint8_t message[16];
    uint64_t hash;

    for (size_t len = 0; len < 16; len++) {
        message[len] = (uint8_t)len;
        hash = siphash24(&counting_key, message, len);
        for (int i = 0; i < 8; i++)
            CHECK((uint8_t)(hash >> (8 * i)) == expected[len][i]);
    }
}

/* CPython 3.11 and later hash bytes with SipHash-1-3; with PYTHONHASHSEED=0
 * the key is 0, and these are what hash(bytes(range(n))) returns. */
static void siphash13_gives_what_cpython_gives(void)
{
    static const struct {
        size_t len;
        int64_t hash;
    } expected[] = {
        {1, 7541581120933061747},   {7, 3389392686435873370},   {8, -1525574692105212182},
        {15, -932606700130547222},  {16, -8542738587087157833}, {36, -6019181711686620205},
        {40, -7657190176164314618}, {63, 4061470857350050649},
    };
    const struct siphash_key zero = {0, 0};
    uint8_t message[64];

    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        CHECK((int64_t)siphash13(&zero, message, expected[i].len) == expected[i].hash);
}

static void twelve_bytes_are_hashed_alike_as_three_numbers(void)
{
    const uint8_t message[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xfc};
    const struct siphash_key keys[] = {{0, 0}, {1, 2}, {~0ull, 0x1234567890abcdef}};

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        CHECK(siphash13_of_3(&keys[i], 0x04030201, 0x08070605, 0xfc0b0a09) ==
              siphash13(&keys[i], message, sizeof message));
}

static void the_hash_depends_on_both_halves_of_the_key(void)
{
    const struct siphash_key a = {1, 0}, b = {0, 1};

    CHECK(siphash13(&a, "flow", 4) != siphash13(&b, "flow", 4));
    CHECK(siphash24(&a, "flow", 4) != siphash24(&b, "flow", 4));
    CHECK(siphash13(&a, "flow", 4) != siphash24(&a, "flow", 4));
}

static void a_message_is_read_at_any_alignment(void)
{
    uint8_t buf[48];
    uint64_t hash = siphash24(&counting_key, memset(buf, 7, 40), 40);

    for (size_t at = 0; at < 8; at++) {
        memset(buf, 0xee, sizeof buf);
        memset(buf + at, 7, 40);
        CHECK(siphash24(&counting_key, buf + at, 40) == hash);
    }
}

int main(void)
{
    RUN(siphash24_gives_the_authors_test_vectors);
    RUN(siphash13_gives_what_cpython_gives);
    RUN(twelve_bytes_are_hashed_alike_as_three_numbers);
    RUN(the_hash_depends_on_both_halves_of_the_key);
    RUN(a_message_is_read_at_any_alignment);
    return 0;
}
