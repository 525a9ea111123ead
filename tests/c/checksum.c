/* SPDX-License-Identifier: BSD-3-Clause */
/* The Internet checksum against its definition, byte by byte.
 * Sources: base/checksum.c */
#include "base/checksum.h"

#include <string.h>

#include "base/rng.h"
#include "check.h"
#include "ustack.h"

enum { MAX_LEN = 200, MAX_ALIGN = 16 };

/* RFC 1071 1: the one's complement sum of big-endian 16-bit words. */
static uint16_t naive(const uint8_t *p, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

/* A sum as the number that its two bytes in memory spell. */
static uint16_t spelled(uint64_t sum)
{
    uint16_t folded = checksum_fold(sum);
    uint8_t b[2];

    memcpy(b, &folded, 2);
    return (uint16_t)(b[0] << 8 | b[1]);
}

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
    struct rng rng = {seed};

    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)rng_next(&rng);
}

/* RFC 1071 3: the numerical example. */
static void the_example_of_the_rfc_sums_to_ddf2(void)
{
    static const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

    CHECK(spelled(checksum_add(data, sizeof data, 0)) == 0xddf2);
    CHECK(ust_checksum(data, sizeof data, 0) == (uint16_t)~0xddf2);
    CHECK(ust_checksum(data + 2, 6, 0x0001) == (uint16_t)~0xddf2);
}

static void every_length_and_alignment_agrees_with_the_definition(void)
{
    uint8_t buf[MAX_ALIGN + MAX_LEN];

    fill(buf, sizeof buf, 1);
    for (size_t at = 0; at < MAX_ALIGN; at++)
        for (size_t len = 0; len <= MAX_LEN; len++)
            CHECK(spelled(checksum_add(buf + at, len, 0)) == naive(buf + at, len));
}

static void pieces_sum_to_the_whole_wherever_it_is_cut(void)
{
    uint8_t buf[60];
    uint64_t sum;

    fill(buf, sizeof buf, 2);
    for (size_t a = 0; a <= sizeof buf; a++)
        for (size_t b = a; b <= sizeof buf; b++) {
            sum = checksum_add(buf, a, 0);
            sum = (a % 2 ? checksum_add_odd : checksum_add)(buf + a, b - a, sum);
            sum = (b % 2 ? checksum_add_odd : checksum_add)(buf + b, sizeof buf - b, sum);
            CHECK(spelled(sum) == naive(buf, sizeof buf));
        }
}

/* RFC 1071 1: over data with its checksum in it the sum is all ones. */
static void data_with_its_checksum_checks_to_zero(void)
{
    uint8_t buf[40];
    uint16_t field;

    fill(buf, sizeof buf, 3);
    memset(buf + 10, 0, 2);
    field = checksum_finish(checksum_add(buf, sizeof buf, 0));
    memcpy(buf + 10, &field, 2);
    CHECK(checksum_finish(checksum_add(buf, sizeof buf, 0)) == 0);
    CHECK(ust_checksum(buf, sizeof buf, 0) == 0);
}

static void only_zeros_sum_to_zero(void)
{
    static uint8_t buf[65536];

    CHECK(checksum_fold(checksum_add(buf, sizeof buf, 0)) == 0);
    memset(buf, 0xff, sizeof buf);
    CHECK(checksum_fold(checksum_add(buf, sizeof buf, 0)) == 0xffff);
    CHECK(checksum_fold(checksum_add_odd(buf, sizeof buf, 0)) == 0xffff);
    CHECK(checksum_fold(UINT64_MAX) == 0xffff);
}

int main(void)
{
    RUN(the_example_of_the_rfc_sums_to_ddf2);
    RUN(every_length_and_alignment_agrees_with_the_definition);
    RUN(pieces_sum_to_the_whole_wherever_it_is_cut);
    RUN(data_with_its_checksum_checks_to_zero);
    RUN(only_zeros_sum_to_zero);
    return 0;
}
