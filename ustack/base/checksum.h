/* SPDX-License-Identifier: BSD-3-Clause */
/* The Internet checksum (RFC 1071), kept as an unfolded 64-bit sum of
 * native-endian 16-bit words; RFC 1071 2(B) makes byte order immaterial until
 * the end. A stored result needs no byte swap. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Adds len bytes to sum. Pieces of one message may be added in turn if every
 * piece but the last has even length; else use checksum_add_odd(). */
uint64_t checksum_add(const void *data, size_t len, uint64_t sum);
/* Adds a piece that starts at an odd offset of its message. */
uint64_t checksum_add_odd(const void *data, size_t len, uint64_t sum);

/* The same for a few words of four bytes, such as an IP header. */
static inline uint64_t checksum_add_words(const void *data, unsigned n, uint64_t sum)
{
    uint32_t word;

    for (unsigned i = 0; i < n; i++) {
        memcpy(&word, (const uint8_t *)data + 4 * i, 4);
        sum += word;
    }
    return sum;
}

/* Of the five words of an IPv4 header without options. */
static inline uint64_t checksum_add_ipv4(const void *header)
{
    uint32_t w[5];

    memcpy(w, header, sizeof w);
    return (uint64_t)w[0] + w[1] + w[2] + w[3] + w[4];
}

/* Folds to 16 bits, not complemented. */
static inline uint16_t checksum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* What goes into the header field. */
static inline uint16_t checksum_finish(uint64_t sum)
{
    return (uint16_t)~checksum_fold(sum);
}
