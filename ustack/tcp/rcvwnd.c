/* SPDX-License-Identifier: BSD-3-Clause */
/* The receive window: what is offered, and how it and the buffer grow.
 *
 * The rules are Linux's. tcp.rmem and SO_RCVBUF count buffer memory, of which
 * half is offered as window: rcvbuf.limit is that half. The window never
 * moves its right edge back (SHLD-14), opens only by useful amounts (MUST-39),
 * and no further than rcvwnd.ssthresh, which follows the text that arrives.
 *
 * Dynamic right-sizing: an application that reads more in one round trip than
 * in any before gets a buffer of twice as much, up to tcp.rmem_max, unless it
 * has chosen one by SO_RCVBUF. The round trip is measured from the receiver's
 * side: by timestamps, or as the time that a whole window takes. A path that is
 * shorter than tcp.rcvbuf_low_rtt gets 1 MiB of window at most: what stood in a
 * larger one would only lengthen the round trip that is measured.
 *
 * Not here: when an ACK is due (delack.c), what is queued (base/rcvbuf.h).  */
#include "tcp.h"

enum { GROW_MIN_TEXT = 128, INITIAL_SEGMENTS = 10, LOW_RTT_WINDOW = 1 << 20 };

static uint32_t min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t max32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* What may be offered of the buffers that all share: half of the memory, as of a
 * buffer's, but never less than a segment to who holds nothing. As far as enough. */
static uint32_t shared(const struct tcp *tcp, const struct tcb *tcb, uint32_t enough)
{
    const struct core *core = &tcp->net.core;
    uint64_t held = tcb_rcv_held(tcp, tcb), wnd = share_room(core, held, 2ull * enough) / 2;

    if (held == 0 && wnd < tcb->rcv_mss)
        wnd = tcb->rcv_mss;
    return (uint32_t)wnd;
}

/* ------------------------------------------------------- opening */

/* The shift that lets the largest window be told (RFC 7323 2.3). */
static uint8_t scale_for(uint32_t space)
{
    uint8_t shift = 0;

    while (space >> shift > 65535 && shift < TCP_MAX_WSCALE)
        shift++;
    return shift;
}

uint8_t rcvwnd_scale(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t clamp = tcb->rcvwnd.clamp ? tcb->rcvwnd.clamp : UINT32_MAX;
    uint32_t space = max32(tcb->rcvbuf.limit, (uint32_t)tcp->net.core.set.tcp_rmem_max);

    if (tcb->rcvbuf_locked)
        clamp = min32(clamp, tcb->rcvbuf.limit);
    return scale_for(min32(space, clamp));
}

uint32_t rcvwnd_initial(const struct tcb *tcb, uint32_t mss)
{
    uint32_t space = tcb->rcvbuf.limit;

    if (tcb->rcvwnd.clamp)
        space = min32(space, tcb->rcvwnd.clamp);
    return space > mss ? space / mss * mss : space;
}

void rcvwnd_start(const struct tcp *tcp, struct tcb *tcb, uint32_t wnd)
{
    struct rcvwnd *rw = &tcb->rcvwnd;
    uint32_t most = min32(tcb->rcvbuf.limit, 65535u << tcb->rcv_wscale), mss = tcb->advmss;

    wnd = min32(wnd, most);
    wnd = min32(wnd, max32(65535, shared(tcp, tcb, wnd))); /* no more was told */
    tcb->rcv_adv = tcb->rcv_nxt + wnd;
    rw->space = min32(wnd, INITIAL_SEGMENTS * mss);
    if (!tcb_traffic(tcb)->nobody) {
        tcb_own_traffic(tcb)->rcv_seq = tcb->rcv_nxt;
        tcb_own_traffic(tcb)->rcv_time = tcp_now(tcp);
    }
    if (rw->clamp == 0 || rw->clamp >= most)
        rw->clamp = most;
    if (rw->clamp > 2 * mss && rw->clamp + mss > most) /* one segment stays in reserve */
        rw->clamp = max32(2 * mss, most - mss);
    rw->ssthresh = min32(wnd, rw->clamp);
}

/* ------------------------------------------------------- offering */

static uint32_t align(uint32_t n, uint8_t shift)
{
    uint32_t unit = 1u << shift;

    return (n + unit - 1) & ~(unit - 1);
}

/* RFC 9293 3.8.6.2.2 without a scale: whole segments, and what is offered
 * stays while it is within a segment of what could be. */
static uint32_t unscaled(const struct tcb *tcb, uint32_t space, uint32_t full, uint32_t mss)
{
    uint32_t offered = tcb->rcv_adv - tcb->rcv_acked;

    if (mss == 0)
        return 0;
    if (offered + mss <= space || offered > space)
        return space / mss * mss;
    if (mss == full && space > offered + full / 2)
        return space;
    return offered;
}

static uint32_t choose(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct rcvbuf *rb = &tcb->rcvbuf;
    uint32_t space = rb->limit > rb->len ? rb->limit - rb->len : 0;
    uint32_t full = min32(tcb->rcvwnd.clamp, rb->limit);
    uint32_t mss = min32(tcb->rcv_mss, full), ssthresh = tcb->rcvwnd.ssthresh;
    uint32_t most = shared(tcp, tcb, max32(ssthresh, mss));

    if (space < full / 2) {
        space &= ~((1u << tcb->rcv_wscale) - 1);
        if (space < rb->limit / 16 || space < mss)
            return 0;
    }
    if (most < mss)
        return 0;
    space = min32(space, min32(ssthresh, most));
    return tcb->rcv_wscale ? align(space, tcb->rcv_wscale) : unscaled(tcb, space, full, mss);
}

uint32_t tcp_window_to_offer(const struct tcp *tcp, const struct tcb *tcb)
{
    uint32_t offered = tcb->rcv_adv - tcb->rcv_nxt, wnd = choose(tcp, tcb);

    if (wnd < offered)
        wnd = align(offered, tcb->rcv_wscale);
    return min32(wnd, 65535u << tcb->rcv_wscale);
}

bool rcvwnd_pinched(const struct tcb *tcb)
{
    const struct rcvbuf *rb = &tcb->rcvbuf;

    return (rb->limit > rb->len ? rb->limit - rb->len : 0) <
           min32(tcb->rcvwnd.clamp, rb->limit) / 2;
}

/* ------------------------------------------------------- growing */

bool rcvwnd_text_arrived(struct tcb *tcb, uint32_t len)
{
    const struct rcvbuf *rb = &tcb->rcvbuf;
    struct rcvwnd *rw = &tcb->rcvwnd;
    uint32_t space = rb->limit > rb->len ? rb->limit - rb->len : 0;
    uint32_t most = min32(rw->clamp, space);

    if (len < GROW_MIN_TEXT || most <= rw->ssthresh)
        return false;
    rw->ssthresh += min32(most - rw->ssthresh, max32(2u * tcb->advmss, 2 * len));
    return true;
}

static void take_rtt(struct traffic *t, uint64_t us, bool whole_window)
{
    uint32_t sample = us > UINT32_MAX / 16 ? UINT32_MAX / 16 : us == 0 ? 1 : (uint32_t)us;

    /* a whole window: the sender may have had less to send, it is at most that */
    if (t->rcv_rtt8 == 0 || (whole_window && sample * 8 < t->rcv_rtt8))
        t->rcv_rtt8 = sample * 8;
    else if (!whole_window)
        t->rcv_rtt8 += sample - t->rcv_rtt8 / 8;
}

/* The time that a whole window took is a round trip, or more. */
static void measure_by_window(const struct tcp *tcp, struct tcb *tcb)
{
    struct traffic *t = tcb_own_traffic(tcb);

    if (t->rcv_rtt_time && seq_lt(tcb->rcv_nxt, t->rcv_rtt_seq))
        return;
    if (t->rcv_rtt_time)
        take_rtt(t, (tcp_now(tcp) - t->rcv_rtt_time) / 1000, true);
    t->rcv_rtt_seq = tcb->rcv_adv;
    t->rcv_rtt_time = tcp_now(tcp) ? tcp_now(tcp) : 1;
}

void rcvwnd_measure(const struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    uint32_t age;

    measure_by_window(tcp, tcb);
    if (!tcb->ts_ok || !seg->opt.ts_ok || !seg->opt.ts_ecr || seg->text_len < tcb->rcv_mss)
        return;
    age = tcp_ts_now(tcp, tcb->ts_offset) - seg->opt.ts_ecr;
    if (age > 0 && age < 60000) /* below a millisecond the window tells more */
        take_rtt(tcb_own_traffic(tcb), age * 1000ull, false);
}

/* Twice what was read in a round trip, since the measure is one late; and when
 * the sender has just gone faster, as much more. */
static void grow(const struct tcp *tcp, struct tcb *tcb, uint32_t copied)
{
    const struct settings *set = &tcp->net.core.set;
    struct rcvwnd *rw = &tcb->rcvwnd;
    uint64_t wnd = 2ull * copied, most = (uint64_t)set->tcp_rmem_max / 2;

    if (tcb->min_rtt < (uint64_t)set->tcp_rcvbuf_low_rtt && most > LOW_RTT_WINDOW)
        most = LOW_RTT_WINDOW;

    if (rw->space > 0)
        wnd += 2 * (wnd * (copied - rw->space) / rw->space);
    rw->space = copied;
    if (!set->tcp_moderate_rcvbuf || tcb->rcvbuf_locked)
        return;
    if (wnd > most)
        wnd = most;
    if (wnd <= tcb->rcvbuf.limit)
        return;
    rcvwnd_grow_to(tcb, (uint32_t)wnd);
}

/* A reader that leaves bytes behind may be in the middle of a burst: it gets a
 * second round trip to show that it keeps up, and until then what it has left
 * is deducted, as in Linux. */
void rcvwnd_text_read(const struct tcp *tcp, struct tcb *tcb)
{
    const struct traffic *was = tcb_traffic(tcb);
    struct rcvwnd *rw = &tcb->rcvwnd;
    struct traffic *t;
    uint64_t us = (tcp_now(tcp) - was->rcv_time) / 1000, rtt = was->rcv_rtt8 / 8, copied;
    uint32_t left = tcb->rcvbuf.len, read_to = tcb->rcv_nxt - tcb->fin_received - left;

    if (rtt == 0 || us < rtt)
        return;
    t = tcb_own_traffic(tcb);
    copied = read_to - t->rcv_seq;
    copied = (copied > left ? copied - left : 0) * rtt / us;
    if (copied > rw->space)
        grow(tcp, tcb, (uint32_t)copied);
    else if (left > 0 && us < 2 * rtt)
        return;
    t->rcv_seq = read_to;
    t->rcv_time = tcp_now(tcp);
}

/* ------------------------------------------------------- by the application */

void rcvwnd_grow_to(struct tcb *tcb, uint32_t bytes)
{
    tcb->rcvbuf.limit = bytes;
    if (tcb_synchronized(tcb) && !tcb->wnd_clamped && tcb->rcvwnd.clamp < bytes)
        tcb->rcvwnd.clamp = bytes;
}

void rcvwnd_set_limit(struct tcb *tcb, uint32_t bytes)
{
    rcvwnd_grow_to(tcb, bytes);
    tcb->rcvbuf_locked = true;
}

void rcvwnd_set_clamp(struct tcb *tcb, uint32_t clamp)
{
    struct rcvwnd *rw = &tcb->rcvwnd;
    uint32_t old = rw->clamp;

    rw->clamp = clamp;
    tcb->wnd_clamped = clamp != 0;
    if (!tcb_synchronized(tcb))
        return;
    if (clamp < old)
        rw->ssthresh = min32(rw->ssthresh, clamp);
    else
        rw->ssthresh = max32(rw->ssthresh, min32(tcb->rcv_adv - tcb->rcv_acked, clamp));
}
