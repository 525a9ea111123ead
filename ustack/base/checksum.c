/* SPDX-License-Identifier: BSD-3-Clause */
/* The Internet checksum (RFC 1071): the loop.
 *
 * One's complement addition works in any word size (RFC 1071 2(C)), so eight
 * bytes are taken at a time and their halves summed apart: two accumulators
 * without carries, which the compiler turns into vector code.
 *
 * Not here: pseudo-headers; the protocols add theirs.                       */
#include "checksum.h"

#include <string.h>

#include "../ustack.h"

static uint64_t add_tail(const uint8_t *p, size_t len, uint64_t sum);

uint64_t checksum_add(const void *data, size_t len, uint64_t sum)
{
    const uint8_t *p = data;
    uint64_t even = 0, odd = 0, word;
    size_t n = len / 8;

    for (size_t i = 0; i < n; i++) {
        memcpy(&word, p + i * 8, 8);
        even += word & 0xffffffff;
        odd += word >> 32;
    }
    return add_tail(p + n * 8, len % 8, sum + even + odd);
}

/* RFC 1071 2(B): the sum of a message shifted by one byte is its own sum with
 * the bytes swapped. */
uint64_t checksum_add_odd(const void *data, size_t len, uint64_t sum)
{
    return sum + __builtin_bswap16(checksum_fold(checksum_add(data, len, 0)));
}

/* The checksum as a number, as if read from its field in network order.
 * initial: a sum of 16-bit numbers of the same kind. */
uint16_t ust_checksum(const uint8_t *data, size_t len, uint32_t initial)
{
    uint16_t sum = checksum_fold(checksum_add(data, len, 0));
    uint8_t b[2];

    memcpy(b, &sum, 2);
    return checksum_finish((uint64_t)initial + (uint16_t)(b[0] << 8 | b[1]));
}

/* The last 0..7 bytes; an odd one is padded with a zero behind it. */
static uint64_t add_tail(const uint8_t *p, size_t len, uint64_t sum)
{
    uint32_t word4;
    uint16_t word2;

    if (len & 4) {
        memcpy(&word4, p, 4);
        sum += word4;
        p += 4;
    }
    if (len & 2) {
        memcpy(&word2, p, 2);
        sum += word2;
        p += 2;
    }
    if (len & 1) {
        word2 = 0;
        memcpy(&word2, p, 1);
        sum += word2;
    }
    return sum;
}
