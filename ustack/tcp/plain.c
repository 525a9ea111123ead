/* SPDX-License-Identifier: BSD-3-Clause */
/* The short way of output.c: an open connection with nothing in flight that has
 * one segment to send, or an ACK, or nothing. So it is wherever questions and
 * answers take turns.
 *
 * Always: what it does is what the long way would, step by step; tests compare
 * the two. Whatever could fail, or leave something undone, takes the long way. */
#include "tcp.h"

/* Does nothing ask for output but new text and an ACK? */
static bool is_quiet(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);

    return tcb->state == UST_ESTABLISHED && tcb->ca_state == UST_CA_OPEN &&
           tcb->snd_una == tcb->snd_max &&
           !(tcb->syn_due | tcb->rexmt_due | tcb->probe_due | tcb->keepalive_due | tcb->fin_queued |
             tcb->want_write | tcb->cork | tcb->more | tcb->snd_urgent) &&
           (tcb->dupacks_due | tcb->challenges_due) == 0 && !rec->tlp_due && !rec->new_first &&
           tcb->mtu_epoch == tcp->net.mtu_epoch && tcp->net.core.set.engine_shortcuts;
}

/* No options but timestamps, no marks, an MTU to heed. */
static bool is_bare(const struct tcb *tcb)
{
    const struct extra *x = tcb_extra(tcb);

    return tcb->sack_ok && tcb->reass == TCP_NONE && x->dup.lo == x->dup.hi &&
           x->ecn.mode == ECN_OFF &&
           (tcb->mtu_discover == MTU_DISCOVER_WANT || tcb->mtu_discover == MTU_DISCOVER_DO);
}

/* May all that is written go, with the loss probe's timer for it? */
static bool may_go(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct settings *set = &tcp->net.core.set;
    uint32_t len = tcb->sndbuf.len;

    return len <= tcb->snd_mss && len <= tcb->snd_wnd && len <= tcb->cc.cwnd &&
           tcb->sndbuf.start == tcb->snd_una && !pace_is_on(tcp, tcb) &&
           set->tcp_early_retrans >= 3 && flight_is_free(tcp, tcb);
}

/* The only segment in flight: its record, its timer. */
static void text_sent(struct tcp *tcp, struct tcb *tcb, uint32_t len)
{
    uint32_t end = tcb->snd_nxt + len;
    struct traffic *t = tcb_own_traffic(tcb);

    sent_add(tcp, tcb, tcb->snd_nxt, end, false);
    delack_text_sent(tcp, tcb);
    if (len < tcb->snd_mss)
        tcb->snd_sml = end;
    tcb->snd_nxt = tcb->snd_max = end;
    t->bytes_sent += len;
    t->data_segs_out++;
    tcb->segs_out++;
    tcb->last_sent = tcp_now(tcp);
    if (!tcb->stalled)
        tcb->stalled = tcp_now(tcp) ? tcp_now(tcp) : 1;
    tlp_schedule(tcp, tcb, false);
}

/* m has the text. */
static void send_text(struct tcp *tcp, struct tcb *tcb, struct mbuf *m)
{
    uint32_t len = tcb->sndbuf.len, wnd = tcp_window_to_offer(tcp, tcb);

    traffic_have(tcp, tcb);
    congestion_restart(tcp, tcb);
    flight_have(tcp, tcb);
    tcp_send_plain(tcp, tcb, m, TH_ACK | TH_PSH, wnd);
    tcp_ack_sent(tcp, tcb, wnd);
    text_sent(tcp, tcb, len);
}

/* NULL: there is no memory for it. */
static struct mbuf *take_text(struct tcp *tcp, struct tcb *tcb)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;
    struct mbuf *m = mbuf_alloc(pool, MBUF_SMALL);

    if (m && !sndbuf_attach(pool, &tcb->sndbuf, m, tcb->snd_una, tcb->sndbuf.len)) {
        mbuf_free(pool, m);
        m = NULL;
    }
    return m;
}

/* rate_check_app_limited(), when there is no more to send and nothing of the
 * flight was sacked, lost or sent again. */
static void check_app_limited(struct tcb *tcb)
{
    uint32_t end = tcb_traffic(tcb)->delivered + tcb_rec(tcb)->packets;

    if (tcb_flight(tcb) < tcb->cc.cwnd)
        tcb->app_limited = end ? end : 1;
}

/* The long way looks at the window before it takes a buffer, too. */
static void send_ack(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t wnd = tcp_window_to_offer(tcp, tcb);
    struct mbuf *m = mbuf_alloc(&tcp->net.core.pool, MBUF_SMALL);

    tcp_send_plain(tcp, tcb, m, TH_ACK, wnd);
    tcb->segs_out++;
    tcp_ack_sent(tcp, tcb, wnd);
}

bool plain_output(struct tcp *tcp, struct tcb *tcb)
{
    const struct core *core = &tcp->net.core;
    struct mbuf *m = NULL;
    bool text = tcb->sndbuf.len > 0;

    if (!is_quiet(tcp, tcb) || !is_bare(tcb) || core->faults.left ||
        core->pool.n_free[MBUF_SMALL] == 0)
        return false;
    if (text && !(may_go(tcp, tcb) && (m = take_text(tcp, tcb))))
        return false;
    if (text)
        send_text(tcp, tcb, m);
    tcb->forced = tcb->push = false;
    check_app_limited(tcb);
    congestion_used(tcp, tcb, tcb_flight(tcb) + tcb->snd_mss > tcb->cc.cwnd);
    if (tcb->ack_now)
        send_ack(tcp, tcb);
    if (text && tcb->chrono == CHRONO_IDLE) {
        tcb_own_traffic(tcb)->busy -= tcp_now(tcp);
        tcb->chrono = CHRONO_BUSY;
    } else if (!text || tcb->chrono != CHRONO_BUSY) {
        chrono_update(tcp, tcb);
    }
    return true;
}
