/* SPDX-License-Identifier: BSD-3-Clause */
/* An echo server in C, a turn at a time: what a server costs without Python,
 * beside which the same Protocol's cost is that of the boundary.             */
#include <stdint.h>

#include "../worker.h"

enum { ECHO_BUF = 64 * 1024 };

static void serve(struct ust_engine *eng, const struct ust_event *ev, ust_handle listener)
{
    uint8_t buf[ECHO_BUF];
    int64_t n;

    if (ev->handle == listener) {
        while ((n = ust_accept(eng, listener)) > 0)
            ust_setopt(eng, n, UST_OPT_NODELAY, 1);
        return;
    }
    while ((n = ust_recv(eng, ev->handle, buf, sizeof buf, 0)) > 0) {
        ust_send(eng, ev->handle, buf, (size_t)n, 0);
        if (n < ECHO_BUF)
            return;
    }
    if (n == 0 || ev->events & (UST_HUP | UST_ERROR))
        ust_close(eng, ev->handle);
}

unsigned ust_echo_turn(struct ust_worker *w, struct ust_engine *eng, ust_handle listener)
{
    struct ust_event ev[UST_MAX_BURST];
    unsigned n;

    ust_worker_lock(w);
    ust_worker_flush(w);
    ust_worker_rx(w);
    n = ust_engine_events(eng, ev, UST_MAX_BURST);
    for (unsigned i = 0; i < n; i++)
        serve(eng, &ev[i], listener);
    ust_worker_flush(w);
    ust_worker_unlock(w);
    return n;
}
