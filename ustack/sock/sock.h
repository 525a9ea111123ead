/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets as applications see them: handles, readiness, events. A socket is a
 * TCB that somebody holds; its handle is generation << 32 | index.          */
#pragma once
#include "../tcp/tcp.h"

/* The TCB behind a handle, or NULL when it is stale. */
struct tcb *sock_find(const struct tcp *tcp, ust_handle h);
ust_handle sock_handle(const struct tcp *tcp, const struct tcb *tcb);
/* enum ust_ready of this moment. */
unsigned sock_ready(const struct tcp *tcp, const struct tcb *tcb);

/* event.c: the upcalls of tcp */
void sock_changed(struct tcp *tcp, struct tcb *tcb);
void sock_gone(struct tcp *tcp, struct tcb *tcb);

/* An engine is a struct tcp to this layer: it is its first member. */
static inline struct tcp *sock_tcp(struct ust_engine *eng)
{
    return (struct tcp *)eng;
}

static inline const struct tcp *sock_tcp_const(const struct ust_engine *eng)
{
    return (const struct tcp *)eng;
}
