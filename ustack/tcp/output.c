/* SPDX-License-Identifier: BSD-3-Clause */
/* What a TCB owes and may send, decided from its state alone, once a burst:
 * ACK policy, Nagle (SHLD-7), silly-window avoidance on both sides (MUST-38,
 * MUST-39), retransmissions, probes. Input and timers only say what is due.
 *
 * The order within one TCB: SYN; the ACKs that must be sent one by one; what
 * recovery wants again; new text and FIN; probes; and an ACK if none of these
 * has carried it.                                                           */
#include "tcp.h"

/* ------------------------------------------------------- one segment */

void tcp_ack_sent(const struct tcp *tcp, struct tcb *tcb, uint32_t wnd)
{
    delack_ack_sent(tcp, tcb);
    tcb->rcv_acked = tcb->rcv_nxt;
    tcb->rcv_adv = seq_max(tcb->rcv_adv, tcb->rcv_nxt + wnd);
    tcb->ack_now = false;
    tcp_disarm(tcb, TIMER_DELACK);
}

static inline struct tcp_header header(const struct tcp *tcp, struct tcb *tcb, uint32_t seq,
                                       uint8_t flags)
{
    uint32_t wnd = tcp_window_to_offer(tcp, tcb);
    struct tcp_header h = {.key = &tcb->key,
                           .seq = seq,
                           .ack = tcb->rcv_nxt,
                           .flags = flags,
                           .wnd = (uint16_t)(wnd >> tcb->rcv_wscale),
                           .tos = tcb->tos,
                           .ttl = tcb->ttl,
                           .dst = &tcb->dst,
                           .ts = tcb->ts_ok,
                           .ts_val = tcp_ts_now(tcp, tcb->ts_offset),
                           .ts_ecr = tcb->ts_recent,
                           .may_fragment = tcb->mtu_discover == MTU_DISCOVER_DONT ||
                                           tcb->mtu_discover >= MTU_DISCOVER_PROBE,
                           .ignore_path = tcb->mtu_discover >= MTU_DISCOVER_PROBE};

    if (tcb->snd_urgent)
        urgent_mark(tcb, &h);
    return h;
}

static unsigned sack_blocks(const struct tcp *tcp, struct tcb *tcb, struct range out[4])
{
    unsigned n, room = tcb->ts_ok ? 3 : 4; /* 40 bytes of options */

    if (!tcb->sack_ok ||
        (tcb->reass == TCP_NONE && tcb_extra(tcb)->dup.lo == tcb_extra(tcb)->dup.hi))
        return 0;
    n = dsack_block(tcb, out);
    return n + reass_sacks(tcp, tcb, out + n, room - n);
}

static enum progress send_ack(struct tcp *tcp, struct tcb *tcb, uint32_t seq)
{
    struct tcp_header h = header(tcp, tcb, seq, TH_ACK);
    struct range sacks[4];

    h.n_sacks = sack_blocks(tcp, tcb, sacks);
    h.sacks = sacks;
    if (tcb_extra(tcb)->ecn.mode != ECN_OFF)
        ecn_mark(tcp, tcb, &h, ECN_ACK, true);
    if (!tcp_send_bare(tcp, &h))
        return NO_MBUF;
    tcb->segs_out++;
    tcp_ack_sent(tcp, tcb, (uint32_t)h.wnd << tcb->rcv_wscale);
    return FINISHED;
}

static void count_retrans(struct tcp *tcp, struct tcb *tcb, uint32_t len)
{
    struct extra *x = extra_have(tcp, tcb);

    if (x)
        x->bytes_retrans += len;
}

/* Moves snd_nxt and snd_max over what has just left, and keeps the books. */
static void text_sent(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t len, bool fin)
{
    uint32_t end = seq + len + fin;
    uint32_t before = tcb_rec(tcb)->packets;

    if (seq_lt(seq, tcb->snd_max)) {
        count_retrans(tcp, tcb, len);
    } else {
        sent_add(tcp, tcb, seq, end, fin);
        if (tcb->ca_state == UST_CA_RECOVERY || tcb->ca_state == UST_CA_CWR)
            tcb_own_rec(tcb)->prr_out += tcb_rec(tcb)->packets - before;
        if (before == 0 || tcp_armed(tcb, TIMER_TLP))
            tcp_rearm_rexmt(tcp, tcb, before > 0);
    }
    if (len > 0)
        delack_text_sent(tcp, tcb);
    if (len < tcb->snd_mss)
        tcb->snd_sml = end;
    tcb->snd_nxt = seq_max(tcb->snd_nxt, end);
    tcb->snd_max = seq_max(tcb->snd_max, end);
    tcb->fin_sent |= fin;
    tcb_own_traffic(tcb)->bytes_sent += len;
    pace_sent(tcp, tcb, len);
    tcb->segs_out++;
    tcb_own_traffic(tcb)->data_segs_out += len > 0;
    tcb->last_sent = tcp_now(tcp);
    if (!tcb->stalled)
        tcb->stalled = tcp_now(tcp) ? tcp_now(tcp) : 1;
    tcp_disarm(tcb, TIMER_PERSIST);
}

/* push: the text ends a burst of several segments, as Linux marks those. */
static enum progress send_text(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t len,
                               bool fin, bool push)
{
    struct core *core = tcp_core(tcp);
    struct mbuf *m = mbuf_alloc(&core->pool, MBUF_SMALL);
    struct tcp_header h = header(tcp, tcb, seq, TH_ACK | (fin ? TH_FIN : 0));
    bool room = len + TCP_LEN + 40 <= tcb->snd_mss;
    struct range sacks[4];

    if (!m || (len > 0 && !sndbuf_attach(&core->pool, &tcb->sndbuf, m, seq, len))) {
        if (m)
            mbuf_free(&core->pool, m);
        count(core, C_TCP_OUT_NOMBUF);
        return NO_MBUF;
    }
    if (push || (len > 0 && seq + len == snd_end(tcb)))
        h.flags |= TH_PSH; /* MUST-61 */
    if (len > tcb->snd_mss)
        h.gso_mss = tcb->snd_mss;
    if (room) {
        h.n_sacks = sack_blocks(tcp, tcb, sacks);
        h.sacks = sacks;
    }
    if (tcb_extra(tcb)->ecn.mode != ECN_OFF)
        ecn_mark(tcp, tcb, &h,
                 seq_lt(seq, tcb->snd_max) ? ECN_AGAIN
                 : len                     ? ECN_TEXT
                                           : ECN_ACK,
                 room);
    tcp_send_header(tcp, m, &h);
    tcp_ack_sent(tcp, tcb, (uint32_t)h.wnd << tcb->rcv_wscale);
    text_sent(tcp, tcb, seq, len, fin);
    return FINISHED;
}

/* As much of len bytes as one segment of ours holds, which the port may cut. */
static uint32_t segment_size(const struct tcp *tcp, const struct tcb *tcb, uint32_t len)
{
    bool whole = tcp->net.caps & UST_CAP_TSO && !tcb->snd_urgent && ecn_bears_super(tcb);

    return whole || len < tcb->snd_mss ? len : tcb->snd_mss;
}

enum progress tcp_send_burst(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t len, bool fin)
{
    uint32_t size = segment_size(tcp, tcb, len), end = seq + len;
    enum progress done = FINISHED;

    tcb_own_rec(tcb)->burst = false; /* text sent now begins a record */
    for (; done == FINISHED && seq + size != end; size = segment_size(tcp, tcb, end - seq)) {
        done = send_text(tcp, tcb, seq, size, false, false);
        seq += size;
    }
    return done == FINISHED ? send_text(tcp, tcb, seq, size, fin, len > tcb->snd_mss) : done;
}

/* The first SYN may have text (RFC 7413): what was written before connect. */
static struct mbuf *syn_mbuf(struct tcp *tcp, struct tcb *tcb)
{
    struct core *core = tcp_core(tcp);
    struct mbuf *m = mbuf_alloc_for(&core->pool, 0);

    if (m && tcb_extra(tcb)->syn_len && !tcb->retransmits &&
        !sndbuf_attach(&core->pool, &tcb->sndbuf, m, tcb->iss + 1, tcb_extra(tcb)->syn_len)) {
        mbuf_free(&core->pool, m);
        m = NULL;
    }
    if (!m)
        count(core, C_TCP_OUT_NOMBUF);
    return m;
}

static enum progress send_syn(struct tcp *tcp, struct tcb *tcb)
{
    const struct settings *set = &tcp->net.core.set;
    bool answer = tcb->state == UST_SYN_RECEIVED;
    uint32_t wnd = answer ? tcb->rcv_adv - tcb->rcv_nxt : rcvwnd_initial(tcb, tcb->advmss);
    struct tcp_header h = {.key = &tcb->key,
                           .seq = tcb->iss,
                           .ack = tcb->rcv_nxt,
                           .flags = answer ? TH_SYN | TH_ACK : TH_SYN,
                           .wnd = (uint16_t)(wnd < 65535 ? wnd : 65535),
                           .tos = tcb->tos,
                           .ttl = tcb->ttl,
                           .dst = &tcb->dst,
                           .mss = tcb->user_mss && tcb->user_mss < tcb->advmss ? tcb->user_mss
                                                                               : tcb->advmss,
                           .ts = answer ? tcb->ts_ok : set->tcp_timestamps,
                           .sack_permitted = answer ? tcb->sack_ok : set->tcp_sack,
                           .with_wscale = answer ? tcb->wscale_ok : set->tcp_window_scaling,
                           .wscale = answer ? tcb->rcv_wscale : rcvwnd_scale(tcp, tcb),
                           .ts_val = tcp_ts_now(tcp, tcb->ts_offset),
                           .ts_ecr = answer ? tcb->ts_recent : 0};

    struct fastopen_option fo = {0};
    struct mbuf *m = syn_mbuf(tcp, tcb);

    if (!m)
        return NO_MBUF;
    if (!answer) {
        fastopen_syn_option(tcp, tcb, &fo);
        h.fastopen = &fo;
    } else if (tcb->fo_renew && !tcb->retransmits) {
        fastopen_cookie(tcp, &tcb->key, &fo);
        fo.experimental = tcb->fo_experimental;
        h.fastopen = &fo;
    }
    if (answer)
        ecn_answer_tcb(tcp, tcb, &h);
    else
        ecn_ask(tcp, tcb, &h);
    tcp_send_header(tcp, m, &h);
    tcb->syn_due = false;
    tcb->segs_out++;
    if (tcb->snd_max == tcb->iss) {
        tcb->rtt_timing = true;
        tcb->min_rtt_at = tcp_now(tcp);
    }
    tcb->snd_nxt = seq_max(tcb->snd_nxt, tcb->iss + 1);
    tcb->snd_max = seq_max(tcb->snd_max, tcb->iss + 1);
    if (answer)
        tcb->rcv_acked = tcb->rcv_nxt;
    if (!tcb->stalled)
        tcb->stalled = tcp_now(tcp) ? tcp_now(tcp) : 1;
    if (!tcp_armed(tcb, TIMER_REXMT))
        tcp_arm_rexmt(tcp, tcb);
    return FINISHED;
}

/* ------------------------------------------------------- what may be sent */

static bool may_send_text(const struct tcb *tcb)
{
    return tcb->state == UST_ESTABLISHED || tcb->state == UST_CLOSE_WAIT || tcb->fo_pending ||
           tcb->state == UST_FIN_WAIT_1 || tcb->state == UST_CLOSING || tcb->state == UST_LAST_ACK;
}

/* Bytes that flow and congestion control allow beyond snd_nxt. */
uint32_t tcp_usable_window(const struct tcb *tcb)
{
    uint32_t wnd = tcb_window_left(tcb, tcb->snd_nxt), cwnd = tcb_cwnd_left(tcb);

    return wnd < cwnd ? wnd : cwnd;
}

/* The application says that more comes; or RFC 9293 3.7.4 with Minshall's
 * refinement, as in Linux: a small segment waits only for another small one. */
static bool nagle_holds(const struct tcb *tcb)
{
    if (tcb->push || tcb->snd_urgent || tcb->fin_queued)
        return false;
    return tcb->cork || tcb->more ||
           (!tcb->nodelay && seq_gt(tcb->snd_sml, tcb->snd_una) &&
            seq_leq(tcb->snd_sml, tcb->snd_nxt));
}

/* RFC 9293 3.8.6.2.1: may len bytes, less than a full segment, go now? */
static bool small_may_go(const struct tcb *tcb, uint32_t len, uint32_t avail)
{
    if (tcb->forced || tcb_rec(tcb)->new_first) /* F-RTO must not wait for Nagle */
        return true;
    if (len == avail && !nagle_holds(tcb))
        return true;
    return len < avail && len >= tcb->max_wnd / 2 && len > 0;
}

/* How many of avail bytes the next burst takes; 0: none may go now. */
static uint32_t next_len(const struct tcp *tcp, const struct tcb *tcb, uint32_t avail)
{
    uint32_t usable = tcp_usable_window(tcb), mss = tcb->snd_mss;
    uint32_t len = avail < usable ? avail : usable, full;

    assert(mss > 0);
    if (len < mss)
        return small_may_go(tcb, len, avail) ? len : 0;
    if (len > mss && len > (full = pace_burst(tcp, tcb)))
        return full;
    if (len % mss == 0 || (len == avail && small_may_go(tcb, len % mss, len % mss)))
        return len;
    return len - len % mss;
}

/* The next piece of text, or the FIN, or nothing. *more: call again. */
static enum progress send_next(struct tcp *tcp, struct tcb *tcb, bool *more)
{
    enum progress done;
    uint32_t avail = seq_lt(tcb->snd_nxt, snd_end(tcb)) ? snd_end(tcb) - tcb->snd_nxt : 0;
    uint32_t len = avail ? next_len(tcp, tcb, avail) : 0;
    uint32_t now = len ? pace_allows(tcp, tcb) : 0;
    bool fin;

    if (len > now)
        len = now - now % tcb->snd_mss;
    fin = tcb->fin_queued && tcb->snd_nxt + len == snd_end(tcb) &&
          tcb->snd_nxt - tcb->snd_una + len < tcb->snd_wnd; /* it counts, too */
    *more = false;
    if (len == 0 && !fin)
        return FINISHED;
    if (!flight_have(tcp, tcb))
        return NO_MBUF;
    done = tcp_send_burst(tcp, tcb, tcb->snd_nxt, len, fin);
    *more = tcb->snd_nxt != snd_end(tcb) + tcb->fin_queued;
    return done;
}

enum progress tcp_send_new(struct tcp *tcp, struct tcb *tcb, unsigned max)
{
    enum progress done = FINISHED;
    uint32_t from = tcb->snd_nxt;
    bool more = true;

    if (tcb->mtu_epoch != tcp->net.mtu_epoch)
        tcp_set_mss(tcp, tcb);
    if (seq_lt(tcb->snd_nxt, snd_end(tcb))) {
        traffic_have(tcp, tcb);
        congestion_restart(tcp, tcb);
    }
    while (more && done == FINISHED)
        done = tcp->net.outq.count >= max ? NO_ROOM : send_next(tcp, tcb, &more);
    if (tcb->snd_nxt != from && !tcb->fo_pending)
        tlp_schedule(tcp, tcb, false);
    if (done == NO_ROOM)
        return done;
    tcb->forced = tcb->push = tcb->more = false;
    sndspace_check(tcp, tcb);
    rate_check_app_limited(tcb);
    congestion_used(tcp, tcb, tcb_pipe(tcb) + tcb->snd_mss > tcb->cc.cwnd);
    return done;
}

/* Was something left that only the peer's window holds back, with nothing in
 * flight whose ACK could bring news? Then the persist timer must ask. */
static void consider_persist(struct tcp *tcp, struct tcb *tcb)
{
    bool left = snd_end(tcb) + tcb->fin_queued != tcb->snd_nxt;

    if (!left || tcb->snd_una != tcb->snd_max || tcp_armed(tcb, TIMER_PERSIST) ||
        tcp_armed(tcb, TIMER_PACE) || !may_send_text(tcb))
        return;
    tcp_arm_persist(tcp, tcb);
}

/* ------------------------------------------------------- one TCB */

/* ACKs that must not be merged: for out-of-order text, and challenges. */
static enum progress send_owed_acks(struct tcp *tcp, struct tcb *tcb, unsigned max)
{
    uint32_t *due;

    while (tcb->dupacks_due + tcb->challenges_due > 0) {
        if (tcp->net.outq.count >= max)
            return NO_ROOM;
        if (send_ack(tcp, tcb, tcb->snd_max) == NO_MBUF)
            return NO_MBUF;
        due = tcb->dupacks_due ? &tcb->dupacks_due : &tcb->challenges_due;
        (*due)--;
    }
    return FINISHED;
}

/* DCTCP: what had come before the mark changed, with the mark that it had. */
static enum progress send_early_acks(struct tcp *tcp, struct tcb *tcb, unsigned max)
{
    struct ecn *ecn = ecn_of(tcb);

    while (ecn->n_early > 0) {
        struct tcp_header h = header(tcp, tcb, tcb->snd_max, TH_ACK);

        if (tcp->net.outq.count >= max)
            return NO_ROOM;
        h.ack = ecn->early[0];
        h.tos |= IP_ECT0;
        h.flags |= ecn->early_ece & 1 ? TH_ECE : 0;
        if (!tcp_send_bare(tcp, &h))
            return NO_MBUF;
        tcb->segs_out++;
        ecn->early_ece >>= 1;
        memmove(ecn->early, ecn->early + 1, sizeof ecn->early - sizeof *ecn->early);
        ecn->n_early--;
    }
    return FINISHED;
}

/* Probes repeat the last byte the peer has, without text (SHLD-12), as Linux
 * does: the answer tells the window. */
static enum progress send_probes(struct tcp *tcp, struct tcb *tcb)
{
    if (!tcb->probe_due && !tcb->keepalive_due)
        return FINISHED;
    if (send_ack(tcp, tcb, tcb->snd_una - 1) == NO_MBUF)
        return NO_MBUF;
    if (tcb->probe_due)
        count(tcp_core(tcp), C_TCP_PROBES);
    else
        count(tcp_core(tcp), C_TCP_KEEPALIVES);
    tcb->probe_due = tcb->keepalive_due = false;
    return FINISHED;
}

static enum progress output(struct tcp *tcp, struct tcb *tcb, unsigned max)
{
    enum progress done = FINISHED;

    if (tcb->syn_due)
        return send_syn(tcp, tcb);
    if (!tcb_synchronized(tcb) && tcb->state != UST_SYN_RECEIVED)
        return FINISHED;
    done = send_early_acks(tcp, tcb, max);
    if (done == FINISHED && tcb_extra(tcb)->ecn.reflect) /* AccECN's third segment has no text */
        done = send_ack(tcp, tcb, tcb->snd_max);
    if (done == FINISHED)
        done = send_owed_acks(tcp, tcb, max);
    if (done == FINISHED && (tcb->rexmt_due || tcb_rec(tcb)->new_first))
        done = resend_lost(tcp, tcb, max);
    if (done == FINISHED && tcb_rec(tcb)->tlp_due)
        done = resend_probe(tcp, tcb);
    if (done == FINISHED && may_send_text(tcb))
        done = tcp_send_new(tcp, tcb, max);
    if (done == FINISHED)
        done = send_probes(tcp, tcb);
    if (done == FINISHED && tcb->ack_now)
        done = send_ack(tcp, tcb, tcb->snd_max);
    if (done == FINISHED)
        consider_persist(tcp, tcb);
    chrono_update(tcp, tcb);
    return done;
}

void tcp_transmit(struct tcp *tcp, unsigned max_frames)
{
    while (tcp->ready_head != TCP_NONE && tcp->net.outq.count < max_frames) {
        struct tcb *tcb = &tcp->tcbs[tcp->ready_head];
        enum progress done = FINISHED;

        if (!plain_output(tcp, tcb))
            done = output(tcp, tcb, max_frames);
        flight_rest(tcp, tcb);
        tcp_unready(tcp, tcb);
        if (done == NO_ROOM)
            tcp_ready(tcp, tcb); /* behind the others */
        else if (done == NO_MBUF)
            tcp_arm(tcp, tcb, TIMER_RETRY, tcp_now(tcp) + 10 * NS_PER_MS);
    }
}
