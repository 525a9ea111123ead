/* SPDX-License-Identifier: BSD-3-Clause */
/* One shared-nothing engine: all its layers, each beginning with the one below,
 * in a single block of memory. Tables hang off pointers into that block and
 * link by index, so a clone is a copy of the block and a new base.          */
#pragma once
#include "tcp/tcp.h"
#include "udp/udp.h"

struct ust_engine {
    struct tcp tcp; /* begins with net, which begins with core */
    struct udp udp;
    void *allocation; /* what to free: the block begins at the next line */
    size_t size;      /* of the block */
    uint64_t trace_hash;
};

static inline struct core *engine_core(struct ust_engine *eng)
{
    return &eng->tcp.net.core;
}
