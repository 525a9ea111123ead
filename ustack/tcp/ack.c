/* SPDX-License-Identifier: BSD-3-Clause */
/* What an acknowledgment does (RFC 9293 3.10.7.4, fifth check): validity, RTT
 * (Karn's rule, MUST-18), the send buffer, the window, and the states that wait
 * for our FIN to be acknowledged.                                           */
#include "tcp.h"

static bool fin_acked(const struct tcb *tcb)
{
    return tcb->fin_sent && tcb->snd_una == snd_end(tcb) + 1;
}

/* MUST-34: the window may shrink, even below what is in flight. */
void tcp_update_window(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    uint32_t wnd = (uint32_t)seg->wnd << (seg->flags & TH_SYN ? 0 : tcb->snd_wscale);

    if (!(seq_lt(tcb->snd_wl1, seg->seq) ||
          (tcb->snd_wl1 == seg->seq && seq_leq(tcb->snd_wl2, seg->ack))))
        return;
    if (wnd > tcb->snd_wnd)
        tcp_ready(tcp, tcb);
    if (wnd > 0 && tcb->snd_wnd == 0) {
        tcp_disarm(tcb, TIMER_PERSIST);
        tcb->stalled = 0;
        tcb->probes = 0;
        rtt_reset_backoff(tcp, tcb);
    }
    tcb->snd_wnd = wnd;
    tcb->snd_wl1 = seg->seq;
    tcb->snd_wl2 = seg->ack;
    if (wnd > tcb->max_wnd)
        tcb->max_wnd = wnd;
}

/* RTT samples (MUST-18): from text sent once, the oldest acknowledged in order,
 * else the oldest sacked; only then from the timestamp's echo, which a peer or
 * a middlebox may garble. True: there was one. */
static bool take_rtt(struct tcp *tcp, struct tcb *tcb, struct ack_news *news)
{
    ust_time now = tcp_now(tcp), from = news->first_sacked, newest = news->last_sacked;
    uint32_t age = tcp_ts_now(tcp, tcb->ts_offset) - news->ts_ecr;
    uint64_t us;

    if (news->first_acked && !news->resent_acked)
        from = news->first_acked;
    if (!newest)
        newest = news->last_acked;
    if (from)
        us = now > newest ? (now - newest) / 1000 : 0;
    else if (news->packets && news->ecr_ok && news->ts_ecr && age < 60000)
        us = age ? age * 1000ull : 1000;
    else
        return false;
    news->rtt_us = us ? (uint32_t)us : 1;
    rtt_least(tcp, tcb, us);
    rtt_sample(tcp, tcb, from && now > from ? (now - from) / 1000 : us);
    return true;
}

static void drop_acked(struct tcp *tcp, struct tcb *tcb, uint32_t ack)
{
    uint32_t bytes = ack - tcb->sndbuf.start;

    if (seq_lt(ack, tcb->sndbuf.start))
        return; /* nothing but the SYN */
    if (bytes > tcb->sndbuf.len)
        bytes = tcb->sndbuf.len; /* the FIN holds no byte */
    tcb_own_traffic(tcb)->bytes_acked += bytes;
    sndbuf_drop(&tcp->net.core.pool, &tcb->sndbuf, bytes);
}

/* A segment that says nothing new but its ACK (RFC 5681 2), as Linux has it: a
 * window that shrinks is no news either. */
static bool says_nothing_else(const struct tcb *tcb, const struct segment *seg)
{
    uint32_t wnd = (uint32_t)seg->wnd << tcb->snd_wscale;

    return seg->len == 0 && !seq_gt(seg->seq, tcb->snd_wl1) && wnd > 0 && wnd <= tcb->snd_wnd;
}

static struct ack_news begin(const struct tcb *tcb, const struct segment *seg)
{
    return (struct ack_news){.prior_una = tcb->snd_una,
                             .prior_fack = scoreboard_fack(tcb),
                             .prior_flight = tcb_flight(tcb),
                             .delivered = tcb_traffic(tcb)->delivered,
                             .lost = tcb_rec(tcb)->lost_total,
                             .sacked_bytes = tcb_rec(tcb)->sacked_bytes,
                             .ts_ecr = seg->opt.ts_ecr,
                             .ecr_ok = tcb->ts_ok && seg->opt.ts_ok,
                             .advanced = seq_gt(seg->ack, tcb->snd_una)};
}

/* What was in flight has come to be acknowledged. */
static void advance(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    drop_acked(tcp, tcb, seg->ack);
    tcb->snd_una = seg->ack;
    tcb->snd_nxt = seq_max(tcb->snd_nxt, tcb->snd_una);
    tcb->retransmits = 0;
    chrono_progress(tcp, tcb);
    tcb->stalled = tcb->snd_una == tcb->snd_max ? 0 : tcp_now(tcp);
    tcb->soft_error = 0;
    neigh_progress(&tcp->net, &tcb->dst);
}

/* May a SACK start the timer anew? Only one for text sent before the front was
 * last sent; else the SACKs of what is behind would put it off for ever. */
static bool front_is_younger(const struct tcp *tcp, const struct tcb *tcb,
                             const struct ack_news *news)
{
    const struct recovery *rec = tcb_rec(tcb);

    return rec->head != TCP_NONE && news->first_sacked &&
           news->first_sacked < tcp->sents[rec->head].at;
}

static void count_dupack(struct tcp *tcp, struct tcb *tcb)
{
    struct extra *x = extra_have(tcp, tcb);

    if (x)
        x->dupacks_in++;
    count(tcp_core(tcp), C_TCP_DUPACKS_IN);
}

static void set_loss_timer(struct tcp *tcp, struct tcb *tcb)
{
    if (!tlp_schedule(tcp, tcb, true))
        tcp_rearm_rexmt(tcp, tcb, tcp_armed(tcb, TIMER_TLP) || tcp_armed(tcb, TIMER_REO));
}

/* Does the ACK tell of congestion marks? */
static bool take_marks(struct tcb *tcb, const struct segment *seg, struct ack_news *news)
{
    struct ecn_news marks = {.packets = tcb_traffic(tcb)->delivered - news->delivered,
                             .bytes = recovery_delivered(tcb, news),
                             .forward = news->advanced || news->sacked};
    bool marked = ecn_feedback(tcb, seg, &marks);

    news->ce_bytes = marks.ce_bytes;
    return marked;
}

/* Does it acknowledge all that is in flight, sent once and at one time, and is
 * there nothing to repair? So it is wherever questions and answers take turns. */
static bool is_plain(const struct tcp *tcp, const struct tcb *tcb, const struct segment *seg)
{
    const struct recovery *rec = tcb_rec(tcb);
    const struct sent *s = &tcp->sents[rec->head];

    return rec->head == rec->tail && rec->head != TCP_NONE && s->flags == SENT_TIMED &&
           s->end == seg->ack && seg->opt.n_sacks == 0 && tcb->sack_ok &&
           tcb->ca_state == UST_CA_OPEN && tcb_extra(tcb)->ecn.mode == ECN_OFF && !rec->tlp &&
           !rec->dsack_round && tcp->net.core.set.engine_shortcuts;
}

/* What the steps of take_ack() come to when is_plain(), in their order. */
static void take_plain_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    struct sent *s = &tcp->sents[tcb_rec(tcb)->head];
    uint64_t us = tcp_now(tcp) > s->at ? (tcp_now(tcp) - s->at) / 1000 : 0;
    struct cc_ack ack = {.acked = seg->ack - tcb->snd_una,
                         .in_flight = tcb_flight(tcb),
                         .ca_state = UST_CA_OPEN,
                         .rtt_us = us ? (uint32_t)us : 1,
                         .may_grow = true};

    advance(tcp, tcb, seg);
    tcb_own_traffic(tcb)->delivered += s->segs;
    rack_advance(tcp, tcb, s->flags, s->at, s->end);
    if (!tcb->reo_persist && !(tcp->net.core.set.tcp_recovery & RECOVERY_STATIC))
        tcb->reo_steps = 1;
    rtt_least(tcp, tcb, us);
    rtt_sample(tcp, tcb, us);
    rate_plain(tcp, tcb, s, &ack);
    sent_trim(tcp, tcb, s, s->end);
    tcp_disarm_loss(tcb);
    congestion_acked(tcp, tcb, &ack);
    sndspace_check(tcp, tcb);
    tcp_ready(tcp, tcb);
}

/* A segment whose ACK lies in what we have sent: what it tells the sender. */
static void take_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    bool sacks = tcb->sack_ok && seg->opt.n_sacks > 0, quiet, timed;
    struct ack_news news;

    if (seg->ack == tcb->snd_una && tcb_rec(tcb)->packets == 0 && !sacks)
        return;
    if (is_plain(tcp, tcb, seg))
        return take_plain_ack(tcp, tcb, seg);
    if (!flight_have(tcp, tcb))
        return; /* and it is as if the ACK had been lost */
    quiet = says_nothing_else(tcb, seg);
    news = begin(tcb, seg);
    if (news.advanced)
        advance(tcp, tcb, seg);
    if (sacks)
        sack_input(tcp, tcb, seg, &news);
    if (news.advanced)
        scoreboard_acked(tcp, tcb, &news);
    timed = take_rtt(tcp, tcb, &news);
    news.rearm = news.advanced || (timed && front_is_younger(tcp, tcb, &news));
    rack_adapt(tcp, tcb, &news);
    news.repeat = quiet && !news.advanced;
    news.dupack = news.repeat && !news.dsack && tcb_rec(tcb)->packets > 0;
    if (news.dupack)
        count_dupack(tcp, tcb);
    tlp_ack(tcp, tcb, seg, &news);
    if (news.repeat || news.sacked || news.dsack || tcb->ca_state != UST_CA_OPEN)
        recovery_ack(tcp, tcb, &news);
    if (take_marks(tcb, seg, &news))
        recovery_cwr(tcp, tcb);
    if (news.rearm)
        set_loss_timer(tcp, tcb);
    recovery_window(tcp, tcb, &news);
    sndspace_check(tcp, tcb);
    tcb->rexmt_due |= news.resend;
    tcp_ready(tcp, tcb);
}

/* An ACK that was overtaken: its SACK blocks may be news all the same. */
static void take_old_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    struct ack_news news = begin(tcb, seg);

    if (!tcb->sack_ok || seg->opt.n_sacks == 0 || !flight_have(tcp, tcb))
        return;
    sack_input(tcp, tcb, seg, &news);
    news.repeat = says_nothing_else(tcb, seg);
    news.dupack = news.repeat && !news.dsack;
    recovery_ack(tcp, tcb, &news);
    tcb->rexmt_due |= news.resend;
    tcp_ready(tcp, tcb);
}

/* Our SYN is acknowledged: the first sample, unless it was sent again and no
 * timestamp says which SYN it was. */
void tcp_time_syn(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    uint32_t age = tcp_ts_now(tcp, tcb->ts_offset) - seg->opt.ts_ecr;

    if (tcb->rtt_timing)
        rtt_sample(tcp, tcb, (tcp_now(tcp) - tcb->min_rtt_at) / 1000);
    else if (tcb->retransmits && tcb->ts_ok && seg->opt.ts_ok && seg->opt.ts_ecr && age < 60000)
        rtt_sample(tcp, tcb, age * 1000ull);
    tcb->rtt_timing = false;
}

static void take_window(struct tcb *tcb, const struct segment *seg)
{
    tcb->snd_wnd = (uint32_t)seg->wnd << (seg->flags & TH_SYN ? 0 : tcb->snd_wscale);
    tcb->max_wnd = tcb->snd_wnd;
    tcb->snd_wl1 = seg->seq;
    tcb->snd_wl2 = seg->ack;
}

/* The handshake of a connection that Fast Open had opened ends: text may be in
 * flight behind our SYN, and this ACK may be for some of it. */
static enum verdict fastopen_completed(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    tcp_time_syn(tcp, tcb, seg);
    tcb->snd_una = tcb->iss + 1;
    tcb->syn_due = false;
    tcb->retransmits = 0;
    tcb->stalled = 0;
    rtt_reset_backoff(tcp, tcb);
    take_window(tcb, seg);
    fastopen_settled(tcp, tcb);
    tcb->state = tcb->fin_queued ? UST_FIN_WAIT_1 : UST_ESTABLISHED;
    count(tcp_core(tcp), C_TCP_ESTABLISHED);
    tcp_disarm_loss(tcb);
    if (tcb->snd_una != tcb->snd_max)
        tcp_arm_rexmt(tcp, tcb);
    tcp_arm_keepalive(tcp, tcb, tcp_now(tcp));
    tcp_ready(tcp, tcb);
    tcp_changed(tcp, tcb);
    return tcp_check_ack(tcp, tcb, seg);
}

/* SYN-RECEIVED of a TCB: our SYN is acknowledged, or the ACK is a lie. */
static enum verdict syn_received(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!seq_lt(tcb->snd_una, seg->ack) || seq_gt(seg->ack, tcb->snd_max)) {
        tcp_send_bare(tcp,
                      &(struct tcp_header){
                          .key = &tcb->key, .seq = seg->ack, .flags = TH_RST, .dst = &tcb->dst});
        count(tcp_core(tcp), C_TCP_RESETS_OUT);
        count(tcp_core(tcp), C_TCP_DROP_ACK);
        return DROP;
    }
    if (tcb->fo_pending)
        return fastopen_completed(tcp, tcb, seg);
    tcp_time_syn(tcp, tcb, seg);
    tcb->snd_una = tcb->snd_nxt = seg->ack;
    tcb->syn_due = false;
    tcb->stalled = 0;
    rtt_reset_backoff(tcp, tcb);
    take_window(tcb, seg);
    ecn_take_third(tcb, seg);
    tcp_established(tcp, tcb);
    if (snd_end(tcb) + tcb->fin_queued != tcb->snd_nxt)
        tcp_ready(tcp, tcb);
    if (tcb->fin_queued)
        tcb->state = UST_FIN_WAIT_1;
    return PASS;
}

/* Our FIN has been acknowledged. False: the TCB is gone. */
static bool after_fin(struct tcp *tcp, struct tcb *tcb)
{
    switch (tcb->state) {
    case UST_FIN_WAIT_1:
        tcb->state = UST_FIN_WAIT_2;
        if (tcb->orphan)
            orphan_fin_wait(tcp, tcb);
        return true;
    case UST_CLOSING: tcp_enter_timewait(tcp, tcb); return false;
    case UST_LAST_ACK: tcp_done(tcp, tcb, 0); return false;
    }
    return true;
}

void tcp_take_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    take_ack(tcp, tcb, seg);
    tcp_update_window(tcp, tcb, seg);
}

enum verdict tcp_check_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!(seg->flags & TH_ACK)) {
        count(tcp_core(tcp), C_TCP_DROP_NOACK);
        return DROP;
    }
    if (tcb->state == UST_SYN_RECEIVED)
        return syn_received(tcp, tcb, seg);
    if (seq_gt(seg->ack, tcb->snd_max) || seq_lt(seg->ack, tcb->snd_una - tcb->max_wnd)) {
        count(tcp_core(tcp), C_TCP_DROP_ACK); /* RFC 5961 5.2 */
        return DROP_ACK;
    }
    if (seq_geq(seg->ack, tcb->snd_una))
        take_ack(tcp, tcb, seg);
    else
        take_old_ack(tcp, tcb, seg);
    if (seq_geq(seg->ack, tcb->snd_una))
        tcp_update_window(tcp, tcb, seg);
    if (fin_acked(tcb) && !after_fin(tcp, tcb))
        return DROP;
    return PASS;
}
