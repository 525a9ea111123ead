/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash (Aumasson and Bernstein, 2012): a keyed hash that an attacker who
 * does not know the key can neither predict nor steer. 2-4 for what is seen on
 * the wire (ISNs, ports), 1-3 for the flow table. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

uint64_t siphash24(const struct siphash_key *key, const void *data, size_t len);
uint64_t siphash13(const struct siphash_key *key, const void *data, size_t len);
