/* SPDX-License-Identifier: BSD-3-Clause */
/* Pacing: a window's worth of segments leaves spread over a round trip, not at
 * once, in bursts of about a millisecond, that super-segments keep their worth.
 *
 *   rate = ratio * cwnd / srtt, as Linux: 200 % in slow start, so that the
 *   window may double, else 120 %; or what the congestion control says; at most
 *   SO_MAX_PACING_RATE.
 *
 * pace_at is when everything sent so far would have left at that rate. Text may
 * go until pace_at lies a burst ahead; then nothing goes before pace_at, when
 * the timer asks for output. Time that was not used shortens the next burst's
 * by half at most. A round trip shorter than a burst needs no pacing, and costs
 * one comparison.                                                           */
#include <assert.h>

#include "tcp.h"

enum { MAX_GSO_TEXT = 65535 - 120 };
enum { BURST_NS = 1000000, BURST_SEGS = 2, SCALE_SHIFT = 10, UNPACED_SEGS = 10 };

bool pace_is_on(const struct tcp *tcp, const struct tcb *tcb)
{
    if (tcb->cc.pacing_rate || tcb_extra(tcb)->max_pacing_rate)
        return true;
    return tcp->net.core.set.tcp_pacing && tcb->srtt / 8 * 1000ull > BURST_NS;
}

uint64_t pace_rate(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct settings *set = &tcp->net.core.set;
    const struct cc *cc = &tcb->cc;
    bool probing = cc->cwnd < cc->ssthresh / 2;
    uint64_t ratio = (uint64_t)(probing ? set->tcp_pacing_ss : set->tcp_pacing_ca);
    uint64_t most = tcb_extra(tcb)->max_pacing_rate ? tcb_extra(tcb)->max_pacing_rate : UINT64_MAX;
    uint64_t wnd = tcb_flight(tcb) > cc->cwnd ? tcb_flight(tcb) : cc->cwnd, rate;

    if (cc->pacing_rate)
        rate = cc->pacing_rate;
    else if (tcb->srtt < 8)
        return most;
    else
        rate = wnd * ratio * 10000 / (tcb->srtt / 8);
    return rate < most ? rate ? rate : 1 : most;
}

static uint64_t time_of(uint64_t rate, uint32_t bytes)
{
    return bytes * NS_PER_S / rate;
}

static uint64_t burst_time(uint64_t rate, const struct tcb *tcb)
{
    uint64_t least = time_of(rate, BURST_SEGS * tcb->snd_mss);

    return least > BURST_NS ? least : BURST_NS;
}

uint32_t pace_allows(struct tcp *tcp, struct tcb *tcb)
{
    ust_time now = tcp_now(tcp);
    uint64_t rate, ahead, burst, bytes;

    if (!pace_is_on(tcp, tcb))
        return UINT32_MAX;
    rate = pace_rate(tcp, tcb);
    if (tcb_traffic(tcb)->pace_at <= now) {
        tcb->pace_full = false;
        ahead = 0;
    } else {
        ahead = tcb_traffic(tcb)->pace_at - now;
    }
    burst = burst_time(rate, tcb);
    if (tcb->pace_full || ahead >= burst) {
        tcb->pace_full = true;
        tcp_arm(tcp, tcb, TIMER_PACE, tcb_traffic(tcb)->pace_at);
        return 0;
    }
    bytes = (burst - ahead) / 1000 * rate / 1000000;
    if (bytes < tcb->snd_mss)
        return tcb->snd_mss;
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX - 1;
}

void pace_sent(struct tcp *tcp, struct tcb *tcb, uint32_t len)
{
    ust_time now = tcp_now(tcp);
    uint64_t ns, unused;

    if (!pace_is_on(tcp, tcb) ||
        tcb_traffic(tcb)->bytes_sent <= UNPACED_SEGS * (uint64_t)tcb->snd_mss)
        return;
    ns = time_of(pace_rate(tcp, tcb), len);
    if (tcb_traffic(tcb)->pace_at > now) {
        tcb_own_traffic(tcb)->pace_at += ns;
        return;
    }
    unused = now - tcb_traffic(tcb)->pace_at;
    tcb_own_traffic(tcb)->pace_at = now + ns - (unused < ns / 2 ? unused : ns / 2);
}

/* As Linux: what leaves in a millisecond, two segments at least; on a short path
 * more, for what is near is fast. */
uint32_t pace_burst(const struct tcp *tcp, const struct tcb *tcb)
{
    uint64_t bytes = pace_rate(tcp, tcb) >> 10;
    uint32_t near = tcb->min_rtt >> 9, mss = tcb->snd_mss;

    assert(mss > 0);
    if (near < 32)
        bytes += 65536 >> near;
    if (bytes < BURST_SEGS * mss)
        bytes = BURST_SEGS * mss;
    if (!(tcp->net.caps & UST_CAP_TSO) && bytes > UST_MAX_BURST * mss)
        bytes = UST_MAX_BURST * mss;
    if (bytes > MAX_GSO_TEXT)
        bytes = MAX_GSO_TEXT;
    return bytes < mss ? mss : (uint32_t)bytes / mss * mss;
}
