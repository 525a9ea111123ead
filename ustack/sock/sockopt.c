/* SPDX-License-Identifier: BSD-3-Clause */
/* Socket options: values are checked and clamped as Linux does; none is
 * silently ignored.                                                         */
#include <errno.h>

#include "sock.h"

/* Linux doubles what is asked for, and tells it doubled: memory, of which about
 * half holds bytes. */
static uint32_t buffer_size(int64_t value, int64_t least, int64_t most)
{
    int64_t size = 2 * (value < 0 || value > most ? most : value);

    return (uint32_t)(size < least ? least : size > most ? most : size);
}

static int set_sndbuf(struct tcp *tcp, struct tcb *tcb, int64_t value)
{
    const struct settings *set = &tcp->net.core.set;

    tcb->sndbuf.limit = buffer_size(value, set->tcp_wmem_min, set->tcp_wmem_max);
    tcb->sndbuf_locked = true;
    sndspace_check(tcp, tcb);
    return 0;
}

static int set_rcvbuf(struct tcp *tcp, struct tcb *tcb, int64_t value)
{
    const struct settings *set = &tcp->net.core.set;

    rcvwnd_set_limit(tcb, buffer_size(value, set->tcp_rmem_min, set->tcp_rmem_max) / 2);
    return 0;
}

static int set_bounded(uint32_t *field, int64_t value, int64_t lo, int64_t hi)
{
    if (value < lo || value > hi)
        return -EINVAL;
    *field = (uint32_t)value;
    return 0;
}

static int set_u8(uint8_t *field, int64_t value, int64_t lo, int64_t hi)
{
    uint32_t v = 0;
    int err = set_bounded(&v, value, lo, hi);

    if (err == 0)
        *field = (uint8_t)v;
    return err;
}

static int set_maxseg(struct tcb *tcb, int64_t value)
{
    if (value && (value < 88 || value > 32767))
        return -EINVAL;
    tcb->user_mss = (uint16_t)value;
    return 0;
}

static int set_window_clamp(struct tcp *tcp, struct tcb *tcb, int64_t value)
{
    int64_t least = tcp->net.core.set.tcp_rmem_min / 2;

    if (value == 0 && tcb->state != UST_CLOSED && tcb->state != UST_LISTEN)
        return -EINVAL;
    rcvwnd_set_clamp(tcb, value == 0 ? 0 : (uint32_t)(value < least ? least : value));
    return 0;
}

/* A buffer that could not hold so much grows, unless the application chose it. */
static int set_rcvlowat(struct tcp *tcp, struct tcb *tcb, int64_t value)
{
    int64_t most = tcb->rcvbuf_locked ? tcb->rcvbuf.limit : tcp->net.core.set.tcp_rmem_max / 2;

    if (value < 0 || value > most)
        value = most;
    tcb_own_extra(tcb)->rcvlowat = (uint32_t)value;
    if (!tcb->rcvbuf_locked && value > tcb->rcvbuf.limit)
        rcvwnd_grow_to(tcb, (uint32_t)value);
    tcp_changed(tcp, tcb);
    return 0;
}

/* Seconds of waiting are SYN-ACKs, sent after 1, 2, 4 … s, as in Linux. */
static int64_t defer_seconds(const struct tcp *tcp, unsigned retries)
{
    int64_t wait = tcp->net.core.set.tcp_rto_init_ms, most = tcp->net.core.set.tcp_rto_max_ms;
    int64_t total = 0;

    for (; retries > 0; retries--) {
        total += wait;
        wait = 2 * wait < most ? 2 * wait : most;
    }
    return total / 1000;
}

static int set_defer_accept(struct tcp *tcp, struct tcb *tcb, int64_t value)
{
    unsigned retries = value > 0;

    while (value > 0 && retries < UINT8_MAX && defer_seconds(tcp, retries) < value)
        retries++;
    tcb_own_extra(tcb)->defer_retries = (uint8_t)retries;
    return 0;
}

static int set_fastopen(struct tcb *tcb, int64_t value)
{
    enum { MOST = 4096 }; /* Linux's somaxconn */

    if (value < 0 || (tcb->state != UST_CLOSED && tcb->state != UST_LISTEN))
        return -EINVAL;
    tcb_own_extra(tcb)->fo_qlen = (uint32_t)(value < MOST ? value : MOST);
    return 0;
}

static int set_linger2(struct tcb *tcb, int64_t value)
{
    enum { MOST = 120 };

    tcb_own_extra(tcb)->linger2 = value < 0 ? -1 : (int16_t)(value < MOST ? value : MOST);
    return 0;
}

static int set_keepalive(struct tcp *tcp, struct tcb *tcb, int64_t value)
{
    tcb->keepalive = value != 0;
    tcb->keepalives = 0;
    tcp_arm_keepalive(tcp, tcb, tcb->last_rcvd);
    return 0;
}

static int set_timer_option(struct tcp *tcp, struct tcb *tcb, uint16_t *field, int64_t value)
{
    uint32_t v = 0;
    int err = set_bounded(&v, value, 1, 32767);

    if (err)
        return err;
    *field = (uint16_t)v;
    tcp_arm_keepalive(tcp, tcb, tcb->last_rcvd);
    return 0;
}

/* Is it one of those that are in struct extra? */
static bool is_rare(int opt)
{
    switch (opt) {
    case UST_OPT_KEEPIDLE:
    case UST_OPT_KEEPINTVL:
    case UST_OPT_KEEPCNT:
    case UST_OPT_LINGER:
    case UST_OPT_LINGER2:
    case UST_OPT_USER_TIMEOUT:
    case UST_OPT_SYNCNT:
    case UST_OPT_RCVLOWAT:
    case UST_OPT_NOTSENT_LOWAT:
    case UST_OPT_DEFER_ACCEPT:
    case UST_OPT_FASTOPEN:
    case UST_OPT_MAX_PACING_RATE: return true;
    default: return false;
    }
}

/* What an option held back may go now. */
static void send_held(struct tcp *tcp, struct tcb *tcb)
{
    if (tcb_synchronized(tcb))
        tcp_ready(tcp, tcb);
}

int ust_setopt(struct ust_engine *eng, ust_handle h, int opt, int64_t value)
{
    struct tcp *tcp = sock_tcp(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (handle_is_udp(h))
        return dgram_setopt(tcp, h, opt, value);
    if (!tcb)
        return -EBADF;
    if (is_rare(opt) && !extra_have(tcp, tcb))
        return -ENOBUFS;
    switch (opt) {
    case UST_OPT_NODELAY:
        tcb->nodelay = value != 0;
        tcb->push = tcb->nodelay && tcb_synchronized(tcb); /* what is queued goes now */
        send_held(tcp, tcb);
        return 0;
    case UST_OPT_CORK:
        tcb->cork = value != 0;
        send_held(tcp, tcb);
        return 0;
    case UST_OPT_QUICKACK: delack_set_quickack(tcp, tcb, value & 1); return 0;
    case UST_OPT_KEEPALIVE: return set_keepalive(tcp, tcb, value);
    case UST_OPT_KEEPIDLE: return set_timer_option(tcp, tcb, &tcb_own_extra(tcb)->keepidle, value);
    case UST_OPT_KEEPINTVL:
        return set_timer_option(tcp, tcb, &tcb_own_extra(tcb)->keepintvl, value);
    case UST_OPT_KEEPCNT: return set_u8(&tcb_own_extra(tcb)->keepcnt, value, 1, 127);
    case UST_OPT_SNDBUF: return set_sndbuf(tcp, tcb, value);
    case UST_OPT_RCVBUF: return set_rcvbuf(tcp, tcb, value);
    case UST_OPT_MAXSEG: return set_maxseg(tcb, value);
    case UST_OPT_LINGER:
        tcb_own_extra(tcb)->linger1 = value < 0 ? 0 : value > 32767 ? 32768 : (int32_t)value + 1;
        return 0;
    case UST_OPT_USER_TIMEOUT:
        return set_bounded(&tcb_own_extra(tcb)->user_timeout_ms, value, 0, INT32_MAX);
    case UST_OPT_SYNCNT: return set_u8(&tcb_own_extra(tcb)->syncnt, value, 1, 127);
    case UST_OPT_REUSEADDR: tcb->reuseaddr = value != 0; return 0;
    case UST_OPT_V6ONLY:
        if (tcb->bound || tcb->state != UST_CLOSED)
            return -EINVAL;
        tcb->v6only = value != 0;
        return 0;
    case UST_OPT_TOS: tcb->tos = (uint8_t)(value & ~IP_ECN_MASK); return 0;
    case UST_OPT_RCVLOWAT: return set_rcvlowat(tcp, tcb, value);
    case UST_OPT_NOTSENT_LOWAT:
        tcb_own_extra(tcb)->notsent_lowat = (uint32_t)value;
        sndspace_check(tcp, tcb);
        return 0;
    case UST_OPT_WINDOW_CLAMP: return set_window_clamp(tcp, tcb, value);
    case UST_OPT_LINGER2: return set_linger2(tcb, value);
    case UST_OPT_DEFER_ACCEPT: return set_defer_accept(tcp, tcb, value);
    case UST_OPT_OOBINLINE: tcb->oob_inline = value != 0; return 0;
    case UST_OPT_FASTOPEN: return set_fastopen(tcb, value);
    case UST_OPT_FASTOPEN_CONNECT:
        if (value < 0 || value > 1 || tcb->state != UST_CLOSED)
            return -EINVAL;
        if (!fastopen_enabled(tcp))
            return -EOPNOTSUPP;
        tcb->fo_connect = value;
        return 0;
    case UST_OPT_MTU_DISCOVER:
        return set_u8(&tcb->mtu_discover, value, MTU_DISCOVER_DONT, MTU_DISCOVER_OMIT);
    case UST_OPT_CONGESTION: return congestion_choose(tcp, tcb, value);
    case UST_OPT_MAX_PACING_RATE:
        tcb_own_extra(tcb)->max_pacing_rate = value < 0 || value > PACE_MAX ? 0 : (uint64_t)value;
        send_held(tcp, tcb);
        return 0;
    case UST_OPT_TTL: return set_u8(&tcb->ttl, value == -1 ? 0 : value, value != -1, 255);
    default: return -ENOPROTOOPT;
    }
}

/* What recv would give before the mark of urgent data; the byte there only
 * where it is in line. */
static int64_t inq(const struct tcb *tcb)
{
    uint32_t n = urgent_until_mark(tcb);

    return urgent_skips(tcb) ? n - 1 : n;
}

static int path_mtu(const struct tcp *tcp, const struct tcb *tcb, int64_t *value)
{
    if (tcb->state == UST_CLOSED || tcb->state == UST_LISTEN)
        return -ENOTCONN;
    *value = net_path_mtu(&tcp->net, &tcb->key.remote);
    return 0;
}

static int64_t linger2(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb_extra(tcb)->linger2 ? tcb_extra(tcb)->linger2
                                   : tcp->net.core.set.tcp_fin_timeout_ms / 1000;
}

static int64_t outq(const struct tcb *tcb)
{
    if (tcb->state == UST_CLOSED)
        return 0;
    return tcb->sndbuf.len + (tcb->fin_queued && tcb->snd_una != snd_end(tcb) + 1);
}

static int64_t unsent(const struct tcb *tcb)
{
    return seq_lt(tcb->snd_nxt, snd_end(tcb)) ? snd_end(tcb) - tcb->snd_nxt : 0;
}

int ust_getopt(const struct ust_engine *eng, ust_handle h, int opt, int64_t *value)
{
    const struct tcp *tcp = sock_tcp_const(eng);
    struct tcb *tcb = sock_find(tcp, h);

    if (handle_is_udp(h))
        return dgram_getopt(tcp, h, opt, value);
    if (!tcb)
        return -EBADF;
    switch (opt) {
    case UST_OPT_NODELAY: *value = tcb->nodelay; return 0;
    case UST_OPT_CORK: *value = tcb->cork; return 0;
    case UST_OPT_QUICKACK: *value = !tcb->pingpong; return 0;
    case UST_OPT_KEEPALIVE: *value = tcb->keepalive; return 0;
    case UST_OPT_KEEPIDLE: *value = tcp_keepidle(tcp, tcb); return 0;
    case UST_OPT_KEEPINTVL: *value = tcp_keepintvl(tcp, tcb); return 0;
    case UST_OPT_KEEPCNT: *value = tcp_keepcnt(tcp, tcb); return 0;
    case UST_OPT_SNDBUF: *value = tcb->sndbuf.limit; return 0;
    case UST_OPT_RCVBUF: *value = 2ll * tcb->rcvbuf.limit; return 0;
    case UST_OPT_MAXSEG:
        *value = tcb_synchronized(tcb) ? tcb->snd_mss : tcb->user_mss ? tcb->user_mss : 536;
        return 0;
    case UST_OPT_LINGER: *value = tcb_extra(tcb)->linger1 - 1; return 0;
    case UST_OPT_USER_TIMEOUT: *value = tcb_extra(tcb)->user_timeout_ms; return 0;
    case UST_OPT_SYNCNT: *value = tcp_syncnt(tcp, tcb); return 0;
    case UST_OPT_REUSEADDR: *value = tcb->reuseaddr; return 0;
    case UST_OPT_V6ONLY: *value = tcb->v6only; return 0;
    case UST_OPT_CONGESTION: *value = tcb->cc.algorithm; return 0;
    case UST_OPT_MAX_PACING_RATE:
        *value = tcb_extra(tcb)->max_pacing_rate ? (int64_t)tcb_extra(tcb)->max_pacing_rate : -1;
        return 0;
    case UST_OPT_TOS: *value = tcb->tos; return 0;
    case UST_OPT_TTL: *value = tcb->ttl ? tcb->ttl : tcp->net.core.set.ip_ttl; return 0;
    case UST_OPT_ERROR:
        *value = tcb->error ? tcb->error : tcb->soft_error;
        tcb->error = tcb->soft_error = 0;
        return 0;
    case UST_OPT_ACCEPTCONN: *value = tcb->state == UST_LISTEN; return 0;
    case UST_OPT_INQ: *value = inq(tcb); return tcb->state == UST_LISTEN ? -EINVAL : 0;
    case UST_OPT_OUTQNSD: *value = unsent(tcb); return 0;
    case UST_OPT_RCVLOWAT: *value = tcb_rcvlowat(tcb); return 0;
    case UST_OPT_NOTSENT_LOWAT: *value = (int32_t)tcb_extra(tcb)->notsent_lowat; return 0;
    case UST_OPT_WINDOW_CLAMP: *value = tcb->rcvwnd.clamp; return 0;
    case UST_OPT_LINGER2: *value = linger2(tcp, tcb); return 0;
    case UST_OPT_DEFER_ACCEPT: *value = defer_seconds(tcp, tcb_extra(tcb)->defer_retries); return 0;
    case UST_OPT_FASTOPEN: *value = tcb_extra(tcb)->fo_qlen; return 0;
    case UST_OPT_FASTOPEN_CONNECT: *value = tcb->fo_connect; return 0;
    case UST_OPT_OOBINLINE: *value = tcb->oob_inline; return 0;
    case UST_OPT_ATMARK: *value = urgent_at_mark(tcb); return 0;
    case UST_OPT_MTU_DISCOVER: *value = tcb->mtu_discover; return 0;
    case UST_OPT_MTU: return path_mtu(tcp, tcb, value);
    case UST_OPT_OUTQ: *value = outq(tcb); return 0;
    case UST_OPT_SNDROOM: *value = sndspace_room(tcp, tcb); return 0;
    default: return -ENOPROTOOPT;
    }
}
