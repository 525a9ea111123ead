/* SPDX-License-Identifier: BSD-3-Clause */
/* A load and its server in one thread, which take turns: what one core does with
 * both ends on it.                                                          */
#include "load.h"

int ust_load_run_with(struct ust_load *l, struct ust_serve *s, uint64_t ns, uint64_t requests)
{
    ust_time start = ust_worker_now(), now = start;
    uint64_t before = l->slice.ns;
    int64_t result = 0;

    requests = requests ? l->slice.requests + requests : UINT64_MAX;
    while (result >= 0 && now - start < ns && l->slice.requests < requests) {
        result = ust_load_run(l, 1, 0); /* a turn */
        if (result == 0)
            result = ust_serve_run(s, 0);
        now = ust_worker_now();
    }
    l->slice.ns = before + (now - start);
    return result < 0 ? (int)result : 0;
}
