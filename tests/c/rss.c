/* SPDX-License-Identifier: BSD-3-Clause */
/* The Toeplitz hash against Microsoft's "Verifying the RSS hash calculation",
 * and against its definition.
 * Sources: base/rss.c */
#include "base/rss.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/rng.h"
#include "check.h"
#include "ustack.h"

static const uint8_t microsoft_key[RSS_KEY_LEN] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

struct vector {
    int family;
    const char *dst;
    uint16_t dst_port;
    const char *src;
    uint16_t src_port;
    uint32_t hash_ip, hash_tcp;
};

static const struct vector vectors[] = {
    {AF_INET, "161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
    {AF_INET, "65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
    {AF_INET, "12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
    {AF_INET, "209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
    {AF_INET, "202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
    {AF_INET6, "3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
    {AF_INET6, "ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
    {AF_INET6, "fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251,
     0x4b61e985, 0x02d1feef},
};

/* Source, destination and ports in network order; the addresses' length. */
static size_t fill_input(uint8_t *input, const struct vector *v)
{
    size_t addr_len = v->family == AF_INET ? 4 : 16;
    uint16_t ports[2] = {htons(v->src_port), htons(v->dst_port)};

    CHECK(inet_pton(v->family, v->src, input) == 1);
    CHECK(inet_pton(v->family, v->dst, input + addr_len) == 1);
    memcpy(input + 2 * addr_len, ports, 4);
    return 2 * addr_len;
}

/* Bit by bit: the 32 key bits from each input bit that is set. */
static uint32_t naive(const uint8_t *key, size_t key_len, const uint8_t *data, size_t len)
{
    uint32_t hash = 0;
    size_t at;

    for (size_t bit = 0; bit < len * 8; bit++)
        for (size_t i = 0; i < 32 && (data[bit / 8] << bit % 8 & 0x80); i++) {
            at = bit + i;
            if (at / 8 < key_len && (key[at / 8] << at % 8 & 0x80))
                hash ^= 0x80000000u >> i;
        }
    return hash;
}

static void the_published_vectors_hold(void)
{
    uint8_t input[36];
    size_t len;

    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        len = fill_input(input, &vectors[i]);
        CHECK(toeplitz(microsoft_key, RSS_KEY_LEN, input, len) == vectors[i].hash_ip);
        CHECK(toeplitz(microsoft_key, RSS_KEY_LEN, input, len + 4) == vectors[i].hash_tcp);
        CHECK(ust_toeplitz(microsoft_key, RSS_KEY_LEN, input, len + 4) == vectors[i].hash_tcp);
    }
}

/* Keys and inputs of all lengths, exactly as long as they say; half of the
 * keys repeat after 16 bits, or do so but for one byte. */
static void any_key_and_input_agree_with_the_definition(void)
{
    struct rng rng = {1};
    uint8_t *key, *data;
    uint32_t key_len, len;

    for (int round = 0; round < 4000; round++) {
        key_len = rng_below(&rng, 60);
        len = rng_below(&rng, 60);
        key = malloc(key_len + 1);
        data = malloc(len + 1);
        CHECK(key && data);
        for (uint32_t i = 0; i < key_len; i++)
            key[i] = round % 2 && i >= 2 ? key[i - 2] : (uint8_t)rng_next(&rng);
        if (round % 4 == 1 && key_len > 0)
            key[rng_below(&rng, key_len)] ^= 1;
        for (uint32_t i = 0; i < len; i++)
            data[i] = (uint8_t)rng_next(&rng);
        /* shifted to the end of their blocks, where a sanitizer watches */
        memmove(key + 1, key, key_len);
        memmove(data + 1, data, len);
        CHECK(toeplitz(key + 1, key_len, data + 1, len) == naive(key + 1, key_len, data + 1, len));
        free(key);
        free(data);
    }
}

static void both_directions_of_a_flow_hash_alike_with_the_default_key(void)
{
    struct vector back;
    uint8_t there[36], here[36];
    size_t len;

    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        back = vectors[i];
        back.src = vectors[i].dst;
        back.dst = vectors[i].src;
        back.src_port = vectors[i].dst_port;
        back.dst_port = vectors[i].src_port;
        len = fill_input(there, &vectors[i]) + 4;
        fill_input(here, &back);
        CHECK(toeplitz(rss_default_key, RSS_KEY_LEN, there, len) ==
              toeplitz(rss_default_key, RSS_KEY_LEN, here, len));
        CHECK(toeplitz(microsoft_key, RSS_KEY_LEN, there, len) !=
              toeplitz(microsoft_key, RSS_KEY_LEN, here, len));
    }
}

int main(void)
{
    RUN(the_published_vectors_hold);
    RUN(any_key_and_input_agree_with_the_definition);
    RUN(both_directions_of_a_flow_hash_alike_with_the_default_key);
    return 0;
}
