/* SPDX-License-Identifier: BSD-3-Clause */
/* The control plane with the worker's lock taken: settings, addresses, routes,
 * neighbours, numbers. What a change makes the engine say goes out at once.
 *
 * Not here: what the calls mean (control.c, net/), sockets (calls.c).       */
#include <errno.h>

#include "worker.h"

/* --------------------------------------------------------------- changes */

int ust_worker_set(struct ust_worker *w, const char *name, int64_t value)
{
    return worker_enter(w) ? worker_left(w, ust_engine_set(w->eng, name, value)) : -EBADF;
}

unsigned ust_worker_cc_reports(struct ust_worker *w, struct ust_cc_report *reports, unsigned max)
{
    unsigned n = 0;

    if (worker_enter(w)) {
        n = ust_cc_reports(w->eng, reports, max);
        worker_leave(w);
    }
    return n;
}

int ust_worker_cc_update(struct ust_worker *w, ust_handle h, uint32_t cwnd, uint64_t pacing_rate,
                         int per_round)
{
    return worker_enter(w) ? worker_left(w, ust_cc_update(w->eng, h, cwnd, pacing_rate, per_round))
                           : -EBADF;
}

int ust_worker_enable_ipv6(struct ust_worker *w, int iface)
{
    return worker_enter(w) ? worker_left(w, ust_engine_enable_ipv6(w->eng, iface)) : -EBADF;
}

int ust_worker_enable_loopback(struct ust_worker *w)
{
    int r = -EBADF;

    if (worker_enter(w)) {
        r = ust_engine_enable_loopback(w->eng);
        worker_leave(w);
    }
    return r;
}

int ust_worker_add_addr(struct ust_worker *w, int iface, const struct ust_addr *addr,
                        unsigned prefix_len)
{
    return worker_enter(w) ? worker_left(w, ust_engine_add_addr(w->eng, iface, addr, prefix_len))
                           : -EBADF;
}

int ust_worker_del_addr(struct ust_worker *w, const struct ust_addr *addr)
{
    return worker_enter(w) ? worker_left(w, ust_engine_del_addr(w->eng, addr)) : -EBADF;
}

int ust_worker_add_route(struct ust_worker *w, int iface, const struct ust_addr *dst,
                         unsigned prefix_len, const struct ust_addr *gateway)
{
    return worker_enter(w)
             ? worker_left(w, ust_engine_add_route(w->eng, iface, dst, prefix_len, gateway))
             : -EBADF;
}

int ust_worker_del_route(struct ust_worker *w, const struct ust_addr *dst, unsigned prefix_len,
                         const struct ust_addr *gateway)
{
    return worker_enter(w) ? worker_left(w, ust_engine_del_route(w->eng, dst, prefix_len, gateway))
                           : -EBADF;
}

int ust_worker_add_neigh(struct ust_worker *w, int iface, const struct ust_addr *addr,
                         const uint8_t mac[6])
{
    return worker_enter(w) ? worker_left(w, ust_engine_add_neigh(w->eng, iface, addr, mac))
                           : -EBADF;
}

int ust_worker_del_neigh(struct ust_worker *w, int iface, const struct ust_addr *addr)
{
    return worker_enter(w) ? worker_left(w, ust_engine_del_neigh(w->eng, iface, addr)) : -EBADF;
}

/* ------------------------------------------------------------- looking in */

int ust_worker_get(struct ust_worker *w, const char *name, int64_t *value)
{
    int r;

    if (!worker_enter(w))
        return -EBADF;
    r = ust_engine_get(w->eng, name, value);
    ust_worker_unlock(w);
    return r;
}

int ust_worker_addrs(struct ust_worker *w, struct ust_addr_row *rows, unsigned max)
{
    unsigned n = 0;

    if (!worker_enter(w))
        return -EBADF;
    while (n < max && ust_engine_addr(w->eng, n, &rows[n]) == 0)
        n++;
    ust_worker_unlock(w);
    return (int)n;
}

int ust_worker_routes(struct ust_worker *w, struct ust_route_row *rows, unsigned max)
{
    unsigned n = 0;

    if (!worker_enter(w))
        return -EBADF;
    while (n < max && ust_engine_route(w->eng, n, &rows[n]) == 0)
        n++;
    ust_worker_unlock(w);
    return (int)n;
}

int ust_worker_neighs(struct ust_worker *w, struct ust_neigh_row *rows, unsigned max)
{
    unsigned n = 0;

    if (!worker_enter(w))
        return -EBADF;
    while (n < max && ust_engine_neigh(w->eng, n, &rows[n]) == 0)
        n++;
    ust_worker_unlock(w);
    return (int)n;
}

int ust_worker_owns(struct ust_worker *w, const struct ust_addr *addr)
{
    int r;

    if (!worker_enter(w))
        return -EBADF;
    r = ust_engine_owns(w->eng, addr);
    ust_worker_unlock(w);
    return r;
}

int64_t ust_worker_path_mtu(struct ust_worker *w, const struct ust_addr *dst)
{
    int64_t r;

    if (!worker_enter(w))
        return -EBADF;
    r = ust_engine_path_mtu(w->eng, dst);
    ust_worker_unlock(w);
    return r;
}

int ust_worker_counters(struct ust_worker *w, uint64_t *values)
{
    if (!worker_enter(w))
        return -EBADF;
    ust_engine_counters(w->eng, values);
    ust_worker_unlock(w);
    return 0;
}

int ust_worker_usage(struct ust_worker *w, struct ust_usage *usage)
{
    if (!worker_enter(w))
        return -EBADF;
    ust_engine_usage(w->eng, usage);
    ust_worker_unlock(w);
    return 0;
}

int ust_worker_stats(struct ust_worker *w, struct ust_worker_stats *stats)
{
    if (!worker_enter(w))
        return -EBADF;
    *stats = w->stats;
    ust_worker_unlock(w);
    return 0;
}

/* Every member of the struct counts, so that it is an array of numbers. */
static void add_stats(struct ust_port_stats *sum, const struct ust_port_stats *more)
{
    enum { N = sizeof *sum / sizeof(uint64_t) };

    for (unsigned i = 0; i < N; i++)
        ((uint64_t *)sum)[i] += ((const uint64_t *)more)[i];
}

int ust_worker_port_stats(struct ust_worker *w, struct ust_port_stats *stats)
{
    *stats = (struct ust_port_stats){0};
    if (!worker_enter(w))
        return -EBADF;
    for (unsigned i = 0; i < w->n_ports; i++) {
        struct ust_port_stats one;

        ust_port_stats(w->ports[i].port, &one);
        add_stats(stats, &one);
    }
    ust_worker_unlock(w);
    return 0;
}
