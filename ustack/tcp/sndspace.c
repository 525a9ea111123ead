/* SPDX-License-Identifier: BSD-3-Clause */
/* Room in the send buffer: how much an application may write, and how the
 * buffer grows.
 *
 * A buffer starts at tcp.wmem and follows twice the congestion window, counted
 * with Linux's overhead for each segment, or twice the largest window of the
 * peer where that is less, up to tcp.wmem_max, unless the
 * application has chosen its size by SO_SNDBUF.
 *
 * TCP_NOTSENT_LOWAT counts only what cannot be sent yet: with so much of it,
 * the buffer is full; with less than half, it is writable again.
 *
 * Not here: the bytes (base/sndbuf.h).                                      */
#include "tcp.h"

enum {
    OVERHEAD = 640, /* headers and shared info of a Linux skb */
    SKB = 256,
    CUSHION = 2, /* windows: one in flight, one behind it */
    INITIAL_SEGMENTS = 10,
};

static uint64_t segment_memory(uint32_t mss)
{
    uint64_t size = 1;

    while (size < mss + OVERHEAD)
        size *= 2;
    return size + SKB;
}

void sndspace_grow(const struct tcp *tcp, struct tcb *tcb)
{
    const struct settings *set = &tcp->net.core.set;
    uint32_t mss = tcb->snd_mss, segments = mss ? tcb->cc.cwnd / mss : 0;
    uint64_t want;

    if (tcb->sndbuf_locked || mss == 0)
        return;
    if (segments < INITIAL_SEGMENTS)
        segments = INITIAL_SEGMENTS;
    if (segments <= set->tcp_dupacks)
        segments = (uint32_t)set->tcp_dupacks + 1;
    want = CUSHION * segments * segment_memory(mss);
    if (want > CUSHION * (uint64_t)tcb->max_wnd)
        want = CUSHION * (uint64_t)tcb->max_wnd; /* more could not be in flight */
    if (want > (uint64_t)set->tcp_wmem_max)
        want = (uint64_t)set->tcp_wmem_max;
    if (want > tcb->sndbuf.limit)
        tcb->sndbuf.limit = (uint32_t)want;
}

static uint32_t lowat(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb_extra(tcb)->notsent_lowat ? tcb_extra(tcb)->notsent_lowat
                                         : (uint32_t)tcp->net.core.set.tcp_notsent_lowat;
}

/* What neither window lets go: the rest leaves with the next output. */
static uint32_t stuck(const struct tcb *tcb)
{
    uint32_t unsent = seq_lt(tcb->snd_nxt, snd_end(tcb)) ? snd_end(tcb) - tcb->snd_nxt : 0;
    uint32_t usable = tcp_usable_window(tcb);

    return unsent > usable ? unsent - usable : 0;
}

/* The pieces that Linux takes: a super-segment, but not half the peer's window. */
static uint32_t piece(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t size = tcp->net.caps & UST_CAP_TSO ? 65535 : tcb->snd_mss;
    uint32_t half = tcb->max_wnd > 536 ? tcb->max_wnd / 2 : tcb->max_wnd;

    size = size < half ? size : half;
    return size > tcb->snd_mss ? size - size % tcb->snd_mss : tcb->snd_mss;
}

/* What the buffers that all share leave to it, as far as enough. */
static uint32_t shared(const struct tcp *tcp, const struct tcb *tcb, uint32_t enough)
{
    return (uint32_t)share_send_room(&tcp->net.core, tcb->sndbuf.len, enough);
}

static uint32_t room_of(const struct tcp *tcp, const struct tcb *tcb)
{
    return shared(tcp, tcb, sndbuf_room(&tcb->sndbuf));
}

bool sndspace_tight(const struct tcp *tcp, const struct tcb *tcb, size_t len)
{
    return room_of(tcp, tcb) < len && room_of(tcp, tcb) < sndbuf_room(&tcb->sndbuf);
}

uint32_t sndspace_room(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t room = room_of(tcp, tcb), mark = lowat(tcp, tcb), left, pieces;

    if (mark == UINT32_MAX || room == 0 || tcb->snd_mss == 0)
        return room;
    left = stuck(tcb);
    if (left >= mark)
        return 0;
    pieces = (mark - left + piece(tcp, tcb) - 1) / piece(tcp, tcb);
    left = tcp_usable_window(tcb) + pieces * piece(tcp, tcb);
    return room < left ? room : left;
}

bool sndspace_writable(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t mark = lowat(tcp, tcb);

    if (sndbuf_room(&tcb->sndbuf) < tcb->sndbuf.limit / 3 || shared(tcp, tcb, 1) == 0)
        return false;
    return mark == UINT32_MAX || 2 * (uint64_t)stuck(tcb) < mark;
}

void sndspace_check(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->want_write)
        return;
    if (tcb_flight(tcb) < tcb->cc.cwnd)
        sndspace_grow(tcp, tcb);
    if (!sndspace_writable(tcp, tcb))
        return;
    tcb->want_write = false;
    tcp_changed(tcp, tcb);
}
