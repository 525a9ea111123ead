/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading from a connection: in order, at the mark of urgent data, ahead of
 * it, without taking (MSG_PEEK) and without copying (MSG_TRUNC).            */
#include <errno.h>

#include "sock.h"

static int64_t take_error(struct tcb *tcb)
{
    int err = tcb->error;

    tcb->error = 0;
    return -err;
}

/* MSG_OOB never waits, and finds nothing where the byte is in line. */
static int64_t read_urgent(struct tcb *tcb, uint8_t *buf, size_t size, int flags)
{
    if (tcb->oob_inline || tcb->urgent == URGENT_NONE || tcb->urgent == URGENT_READ)
        return -EINVAL;
    if (tcb->urgent == URGENT_COMING)
        return tcb->state == UST_CLOSED || tcb->rcv_shut || tcb->fin_received ? 0 : -EAGAIN;
    if (!(flags & UST_MSG_PEEK))
        tcb->urgent = URGENT_READ;
    if (size > 0 && !(flags & UST_MSG_TRUNC))
        buf[0] = tcb_extra(tcb)->urgent_byte;
    return size > 0;
}

/* What is there, with no mark to heed. */
static uint32_t read_plain(struct tcp *tcp, struct tcb *tcb, uint8_t *buf, size_t size)
{
    uint32_t n = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX;

    n = rcvbuf_read(&tcp->net.core.pool, &tcb->rcvbuf, buf, n);
    if (n > 0) {
        rcvwnd_text_read(tcp, tcb);
        delack_read(tcp, tcb);
    }
    return n;
}

/* What is there, up to the mark, or beyond it if that is where we are. */
static uint32_t read_text(struct tcp *tcp, struct tcb *tcb, uint8_t *buf, size_t size, int flags)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    bool peek = flags & UST_MSG_PEEK, skip;
    uint32_t most, n;

    if (tcb->urgent == URGENT_NONE && !peek)
        return read_plain(tcp, tcb, flags & UST_MSG_TRUNC ? NULL : buf, size);
    most = urgent_until_mark(tcb);
    n = size < most ? (uint32_t)size : most;
    skip = urgent_skips(tcb);
    if (skip && n > most - 1)
        n = most - 1;
    if (peek)
        return rcvbuf_peek(pool, &tcb->rcvbuf, skip, flags & UST_MSG_TRUNC ? NULL : buf, n);
    if (skip)
        rcvbuf_read(pool, &tcb->rcvbuf, NULL, 1);
    n = rcvbuf_read(pool, &tcb->rcvbuf, flags & UST_MSG_TRUNC ? NULL : buf, n);
    if (n > 0 || skip) {
        urgent_was_read(tcb);
        rcvwnd_text_read(tcp, tcb);
        delack_read(tcp, tcb);
    }
    return n;
}

int64_t ust_recv(struct ust_engine *eng, ust_handle h, void *buf, size_t size, int flags)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);
    uint32_t n;

    if (!tcb)
        return handle_is_udp(h) ? dgram_recv(tcp, h, buf, size, flags) : -EBADF;
    if (tcb->state == UST_LISTEN || (tcb->state == UST_CLOSED && !tcb->iss && !tcb->error))
        return -ENOTCONN;
    if (flags & UST_MSG_OOB)
        return read_urgent(tcb, buf, size, flags);
    if (tcb->rcvbuf.len > 0 && ((n = read_text(tcp, tcb, buf, size, flags)) > 0 || size == 0))
        return n;
    if (tcb->error && !tcb->fin_received) /* the end of the stream came first */
        return take_error(tcb);
    if (tcb->fin_received || tcb->rcv_shut || tcb->state == UST_CLOSED || size == 0)
        return 0;
    return -EAGAIN;
}
