/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets as applications see them: handles, readiness, events. A socket is a
 * TCB, or a UDP socket, that somebody holds; its handle is kind << 62 |
 * generation << 32 | index.                                                 */
#pragma once
#include "../tcp/tcp.h"
#include "../udp/udp.h"

enum { HANDLE_KIND_SHIFT = 62 };

static inline bool handle_is_udp(ust_handle h)
{
    return (uint64_t)h >> HANDLE_KIND_SHIFT == 1;
}

/* The TCB behind a handle, or NULL when it is stale or a UDP socket's. */
static inline struct tcb *sock_find(const struct tcp *tcp, ust_handle h)
{
    uint32_t i = (uint32_t)h, gen = (uint32_t)((uint64_t)h >> 32); /* none has a UDP socket's */
    struct tcb *tcb = i < tcp->n_tcbs ? &tcp->tcbs[i] : NULL;

    if (!tcb || tcb->gen != gen || tcb->state == 0 || tcb->orphan || tcb->embryo)
        return NULL;
    return tcb;
}

static inline ust_handle sock_handle(const struct tcp *tcp, const struct tcb *tcb)
{
    return (ust_handle)((uint64_t)tcb->gen << 32 | tcb_index(tcp, tcb));
}

/* Is sending open? */
static inline bool sock_may_send(const struct tcb *tcb)
{
    return !tcb->fin_queued && (tcb->state == UST_ESTABLISHED || tcb->state == UST_CLOSE_WAIT ||
                                tcb->fo_pending || tcb->fo_waits);
}

/* enum ust_ready of this moment. */
unsigned sock_ready(const struct tcp *tcp, const struct tcb *tcb);

/* dgram.c: what the calls do for UDP handles */
struct udp_sock *dgram_find(const struct tcp *tcp, ust_handle h);
ust_handle dgram_handle(const struct udp *udp, const struct udp_sock *s);
unsigned dgram_ready(const struct udp_sock *s);
int dgram_bind(struct tcp *tcp, ust_handle h, const struct ust_addr *addr, uint16_t port);
int dgram_connect(struct tcp *tcp, ust_handle h, const struct ust_addr *addr, uint16_t port);
int64_t dgram_send(struct tcp *tcp, ust_handle h, const void *data, size_t len);
int64_t dgram_recv(struct tcp *tcp, ust_handle h, void *buf, size_t size, int flags);
int dgram_shutdown(struct tcp *tcp, ust_handle h, int how);
int dgram_close(struct tcp *tcp, ust_handle h);
int dgram_names(const struct tcp *tcp, ust_handle h, struct flow_key *key);
int dgram_set_user(struct tcp *tcp, ust_handle h, uint64_t user);
int dgram_setopt(struct tcp *tcp, ust_handle h, int opt, int64_t value);
int dgram_getopt(const struct tcp *tcp, ust_handle h, int opt, int64_t *value);

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
