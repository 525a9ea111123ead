/* SPDX-License-Identifier: BSD-3-Clause */
/* Sending again: what recovery has marked lost, in order, as far as congestion
 * window, peer's window and pacing allow; and the probe for a lost tail.
 *
 * A record is sent in as many segments as may go, so that ports that cut
 * super-segments are given one; what may not go is cut off first.           */
#include <assert.h>

#include "tcp.h"

static uint32_t text_of(const struct sent *s)
{
    return s->end - s->seq - !!(s->flags & SENT_FIN);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many bytes of s may go now, in whole segments unless it is all; the peer's
 * window does not hold back what begins at snd_una (MAY-7). -1: none. */
static int64_t may_go(struct tcp *tcp, struct tcb *tcb, const struct sent *s)
{
    uint32_t text = text_of(s), mss = tcb->snd_mss, first = least(text, mss), len;
    uint32_t wnd = tcb_window_left(tcb, s->seq), cwnd = tcb_cwnd_left(tcb);

    assert(mss > 0);
    if (cwnd == 0 || cwnd < first || (wnd < first && s->seq != tcb->snd_una))
        return -1;
    if (text <= mss)
        return text;
    len = least(least(text, pace_burst(tcp, tcb)), least(cwnd, wnd > first ? wnd : first));
    return len < text ? len - len % mss : len;
}

/* Sends the first len bytes of s again, which then is no longer than that, with
 * the FIN if it is all. Without a record for the rest one segment is sent. */
static enum progress send_record(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint32_t len)
{
    if (len < text_of(s) && !sent_cut(tcp, tcb, s, s->seq + len))
        return tcp_send_burst(tcp, tcb, s->seq, least(len, tcb->snd_mss), false);
    return tcp_send_burst(tcp, tcb, s->seq, len, s->flags & SENT_FIN);
}

static void count_again(struct tcp *tcp, struct tcb *tcb, const struct sent *s)
{
    struct extra *x = extra_have(tcp, tcb);

    if (x)
        x->total_retrans += s->segs;
    tcp_core(tcp)->counters[C_TCP_REXMT_SEGS] += s->segs;
}

/* Record s has left once more: what undo, PRR and the timer must know. */
static void has_left(struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    struct recovery *rec = tcb_own_rec(tcb);

    sent_resent(tcp, tcb, s, SENT_AGAIN | SENT_EVER);
    count_again(tcp, tcb, s);
    if (!rec->stamped)
        rec->retrans_ts = tcp_ts_now(tcp, tcb->ts_offset);
    rec->stamped = true;
    if (rec->undo_retrans < 0)
        rec->undo_retrans = 0;
    rec->undo_retrans += s->segs;
    if (tcb->ca_state == UST_CA_RECOVERY || tcb->ca_state == UST_CA_CWR)
        rec->prr_out += s->segs;
    if (sent_index(tcp, s) == rec->head && !tcp_armed(tcb, TIMER_REO))
        tcp_arm_rexmt(tcp, tcb);
}

static bool waits(const struct sent *s)
{
    return s && (s->flags & (SENT_LOST | SENT_AGAIN)) == SENT_LOST;
}

/* Makes small segments one, and cuts for the MSS of now. */
static void gather(struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    struct sent *next = sent_at(tcp, s->next);
    bool joined = false;

    while (text_of(s) < tcb->snd_mss && waits(next) && text_of(s) + text_of(next) <= tcb->snd_mss) {
        joined = true;
        sent_join(tcp, tcb, s);
        next = sent_at(tcp, s->next);
    }
    if (joined || s->mss != tcb->snd_mss)
        sent_resize(tcb, s, tcb->snd_mss);
}

static enum progress send_lost(struct tcp *tcp, struct tcb *tcb, unsigned max)
{
    struct sent *s;
    int64_t len;

    while ((s = sent_waiting(tcp, tcb))) {
        uint32_t now = pace_allows(tcp, tcb);
        enum progress done;

        if (now == 0)
            return FINISHED; /* it stays due; the timer asks again */
        if (tcp->net.outq.count >= max)
            return NO_ROOM;
        gather(tcp, tcb, s);
        len = may_go(tcp, tcb, s);
        if (len < 0)
            break;
        if (len > now)
            len = now - now % tcb->snd_mss;
        done = send_record(tcp, tcb, s, (uint32_t)len);
        if (done != FINISHED)
            return done;
        has_left(tcp, tcb, s);
    }
    tcb->rexmt_due = false;
    return FINISHED;
}

/* F-RTO step 2b: new text first; if there was any, its ACKs will say whether
 * the rest is lost. */
enum progress resend_lost(struct tcp *tcp, struct tcb *tcb, unsigned max)
{
    struct recovery *rec = tcb_own_rec(tcb);
    enum progress done;

    if (rec->new_first) {
        done = tcp_send_new(tcp, tcb, max);
        if (done != FINISHED)
            return done;
        if (tcb->snd_nxt == rec->recover && tcp_armed(tcb, TIMER_PACE))
            return FINISHED;
        rec->new_first = false;
        if (seq_gt(tcb->snd_nxt, rec->recover))
            return FINISHED;
        rec->frto = false;
        tcb->rexmt_due = true;
    }
    return tcb->rexmt_due ? send_lost(tcp, tcb, max) : FINISHED;
}

/* The last segment in flight as a record of its own; NULL: the peer's window has
 * shrunk below it, or there is no record to be had. */
static struct sent *last_segment(struct tcp *tcp, struct tcb *tcb)
{
    struct sent *s = sent_at(tcp, tcb_rec(tcb)->tail);
    uint32_t before = (s->segs - 1u) * s->mss;

    if (before > 0 && before < text_of(s))
        s = sent_cut(tcp, tcb, s, s->seq + before);
    if (s && s->seq != tcb->snd_una && seq_gt(s->end, tcb->snd_una + tcb->snd_wnd))
        return NULL;
    return s;
}

static enum progress resend_tail(struct tcp *tcp, struct tcb *tcb)
{
    struct sent *s = last_segment(tcp, tcb);
    enum progress done;

    tcb_own_rec(tcb)->tlp_due = false;
    if (!s)
        return FINISHED;
    done = send_record(tcp, tcb, s, text_of(s));
    if (done != FINISHED)
        return done;
    sent_resent(tcp, tcb, s, SENT_EVER);
    count_again(tcp, tcb, s);
    tlp_sent(tcp, tcb, true);
    return FINISHED;
}

/* RFC 8985 7.3: new text if the peer has room for it, cwnd or not; else the
 * last segment again. */
enum progress resend_probe(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t unsent = seq_lt(tcb->snd_nxt, snd_end(tcb)) ? snd_end(tcb) - tcb->snd_nxt : 0;
    uint32_t len = least(unsent, tcb->snd_mss);
    enum progress done;

    if (tcb_rec(tcb)->packets == 0) {
        tcb_own_rec(tcb)->tlp_due = false;
        return FINISHED;
    }
    if (len == 0 || len > tcb_window_left(tcb, tcb->snd_nxt))
        return resend_tail(tcp, tcb);
    done = tcp_send_burst(tcp, tcb, tcb->snd_nxt, len, false);
    if (done == FINISHED)
        tlp_sent(tcp, tcb, false);
    return done;
}
