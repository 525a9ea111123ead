/* SPDX-License-Identifier: BSD-3-Clause */
/* Segment arrival (RFC 9293 3.10.7): validation, look-up, and the synchronized
 * states, one named function a step, in the RFC's order. LISTEN and passive
 * SYN-RECEIVED are in listen.c, SYN-SENT in open.c, TIME-WAIT in timewait.c,
 * what an ACK does to the sender in ack.c, text and FIN in text.c.
 *
 * Always: seg->m is freed or queued exactly once; a peer's mistake ends in one
 * named drop. After a step that may end the connection nothing touches the
 * TCB but its state, which is then UST_CLOSED or 0.                         */
#include <errno.h>

#include "../base/checksum.h"
#include "tcp.h"

/* RFC 7323 5.5: a timestamp that has not moved for 24 days proves nothing. */
static const ust_time paws_idle = 24ull * 86400 * NS_PER_S;

/* ------------------------------------------------------- validation */

static bool checksum_ok(struct tcp *tcp, const struct mbuf *m, const struct packet *p)
{
    uint64_t sum;

    if (m->flags & MBUF_CSUM_OK)
        return true;
    sum = ip_pseudo_sum(&p->src, &p->dst, IPPROTO_TCP_, p->l4_len);
    sum = mbuf_checksum(&tcp->net.core.pool, m, p->l4_off, p->l4_len, sum);
    return checksum_finish(sum) == 0;
}

static enum counter validate(struct tcp *tcp, const struct mbuf *m, const uint8_t *th,
                             const struct packet *p)
{
    unsigned offset;

    if (p->l4_len < TCP_LEN)
        return C_TCP_DROP_SHORT;
    offset = (th[12] >> 4) * 4u;
    if (offset < TCP_LEN || offset > p->l4_len)
        return C_TCP_DROP_OFFSET;
    if (!checksum_ok(tcp, m, p))
        return C_TCP_DROP_CHECKSUM;
    if (p->group)
        return C_TCP_DROP_GROUP;
    return N_COUNTERS;
}

static void parse(struct segment *seg, struct mbuf *m, const uint8_t *th, const struct packet *p)
{
    unsigned offset = (th[12] >> 4) * 4u;

    seg->m = m;
    seg->seq = get32(th + 4);
    seg->ack = get32(th + 8);
    seg->flags = th[13];
    seg->ae = th[12] & 1;
    seg->ip_ecn = p->tos & IP_ECN_MASK;
    seg->wnd = get16(th + 14);
    seg->urg = get16(th + 18);
    seg->text_off = (uint16_t)(p->l4_off + offset);
    seg->text_len = p->l4_len - offset;
    seg->len = seg->text_len + !!(seg->flags & TH_SYN) + !!(seg->flags & TH_FIN);
    if (offset == TCP_LEN + TCP_TS_LEN && tcp_only_timestamps(th + TCP_LEN, &seg->opt))
        return;
    tcp_no_options(&seg->opt);
    if (offset > TCP_LEN)
        tcp_parse_options(th + TCP_LEN, offset - TCP_LEN, seg->flags & TH_SYN, &seg->opt);
}

/* RFC 9293 3.10.7.1: no such connection. */
static void closed_input(struct tcp *tcp, struct segment *seg, const struct packet *p)
{
    if (net_ask_others(&tcp->net, seg->m)) {
        seg->m = NULL;
        return;
    }
    tcp_respond_rst(tcp, seg, p);
    seg_drop(tcp, seg, C_TCP_DROP_NOTCB);
}

static void tcb_input(struct tcp *tcp, struct tcb *tcb, struct segment *seg, const struct packet *p)
{
    tcb->segs_in++;
    if (seg->text_len > 0)
        traffic_have(tcp, tcb)->data_segs_in++;
    if (tcb->state == UST_SYN_SENT)
        tcp_syn_sent(tcp, tcb, seg, p);
    else
        tcp_synchronized(tcp, tcb, seg);
}

static void dispatch(struct tcp *tcp, const struct flow_key *key, struct segment *seg,
                     const struct packet *p)
{
    uint32_t value = flow_find_hashed(tcp, key, seg->hash);
    uint32_t i = value & FLOW_INDEX_MASK;
    struct tcb *listening;

    if (value == TCP_NONE) {
        listening = tcp_listener(tcp, &key->local, key->lport);
        if (listening)
            return tcp_listen_input(tcp, listening, seg, p, 0);
        return closed_input(tcp, seg, p);
    }
    switch (value >> FLOW_KIND_SHIFT) {
    case FLOW_TCB: return tcb_input(tcp, &tcp->tcbs[i], seg, p);
    case FLOW_REQUEST: return tcp_request_input(tcp, &tcp->requests[i], seg, p);
    default: return tcp_timewait_input(tcp, &tcp->timewaits[i], seg, p);
    }
}

void tcp_input(struct net *net, struct mbuf *m, const struct packet *p)
{
    struct tcp *tcp = (struct tcp *)net;
    const uint8_t *th = mbuf_data(&net->core.pool, m) + p->l4_off;
    enum counter bad = validate(tcp, m, th, p);
    struct flow_key key = {.local = p->dst, .remote = p->src};
    struct segment seg;

    count(&net->core, C_TCP_IN);
    if (bad != N_COUNTERS)
        return net_drop(net, m, bad);
    key.lport = get16(th + 2);
    key.rport = get16(th);
    parse(&seg, m, th, p);
    seg.hash = m->flags & MBUF_HASHED ? m->seq : flow_hash(tcp, &key);
    dispatch(tcp, &key, &seg, p);
    if (seg.m)
        mbuf_free(&net->core.pool, seg.m);
}

/* ------------------------------------------------------- ACKs that are owed */

/* RFC 5961 10: a limit for each connection, so that none can be probed through
 * another's. */
static void owe_challenge(struct tcp *tcp, struct tcb *tcb)
{
    struct extra *x = extra_have(tcp, tcb);

    if (!x || !tokens_take(&x->challenges, tcp->net.core.set.tcp_challenge_limit, tcp_now(tcp))) {
        count(tcp_core(tcp), C_TCP_CHALLENGE_LIMITED);
        return;
    }
    count(tcp_core(tcp), C_TCP_CHALLENGE);
    tcb->challenges_due++;
    tcp_ready(tcp, tcb);
}

/* May seg be answered by an ACK? Text each time, for the peer may be
 * retransmitting; anything else once in a while, so that two hosts that disagree
 * do not keep each other busy. */
static bool may_answer(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    ust_time gap = ms(tcp->net.core.set.tcp_challenge_ms);
    struct extra *x;

    if (seg->text_len > 0)
        return true;
    x = extra_have(tcp, tcb);
    if (!x || (x->oow_acked && tcp_now(tcp) - x->oow_acked < gap))
        return false;
    x->oow_acked = tcp_now(tcp) ? tcp_now(tcp) : 1;
    return true;
}

/* An ACK for a segment outside the window. */
static void owe_oow_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!may_answer(tcp, tcb, seg))
        return count(tcp_core(tcp), C_TCP_ACK_OOW_LIMITED);
    count(tcp_core(tcp), C_TCP_ACK_OOW);
    if (seg->len > 0 && seq_lt(seg->seq, tcb->rcv_nxt))
        dsack_set(tcp, tcb, seg->seq, seq_min(seg->seq + seg->len, tcb->rcv_nxt));
    tcb->dupacks_due++;
    tcp_ready(tcp, tcb);
}

/* ------------------------------------------------------- the steps */

static bool acceptable(const struct tcb *tcb, const struct segment *seg)
{
    uint32_t wnd = tcb->rcv_adv - tcb->rcv_nxt;

    if (wnd == 0) /* ACKs, RSTs and a bare FIN are read all the same (MUST-66) */
        return seg->seq == tcb->rcv_nxt;
    return seq_between(tcb->rcv_nxt, seg->seq, tcb->rcv_adv) ||
           (seg->len > 0 && seq_between(tcb->rcv_nxt, seg->seq + seg->len - 1, tcb->rcv_adv)) ||
           (seg->len == 0 && seg->seq == tcb->rcv_adv && !(seg->flags & TH_RST)); /* as Linux */
}

/* In SYN-RECEIVED of a simultaneous open the peer's SYN-ACK repeats the SYN we
 * have; RFC 9293 figure 7 takes it as the ACK it carries. */
static void strip_repeated_syn(const struct tcb *tcb, struct segment *seg)
{
    if (tcb->state == UST_SYN_RECEIVED && seg->seq == tcb->irs &&
        (seg->flags & (TH_SYN | TH_ACK | TH_RST)) == (TH_SYN | TH_ACK)) {
        seg->flags &= (uint8_t)~TH_SYN;
        seg->seq++;
        seg->len--;
    }
}

/* Is the timestamp before the last one that counts? A recent one of 0 does not,
 * as in Linux: there are hosts whose SYN says 0 and whose clock does not. */
static bool timestamp_old(const struct tcp *tcp, const struct tcb *tcb, const struct segment *seg)
{
    return seq_lt(seg->opt.ts_val, tcb->ts_recent) && tcb->ts_recent != 0 &&
           tcp_now(tcp) - tcb->ts_recent_age < paws_idle;
}

static bool paws_refuses(const struct tcp *tcp, const struct tcb *tcb, const struct segment *seg)
{
    return tcb->ts_ok && seg->opt.ts_ok && !(seg->flags & TH_RST) && timestamp_old(tcp, tcb, seg);
}

/* The SYN that opened it again: our SYN-ACK was lost. */
static bool fastopen_repeated(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!tcb->fo_pending || !(seg->flags & TH_SYN) || (seg->flags & TH_ACK) || seg->seq != tcb->irs)
        return false;
    count(tcp_core(tcp), C_TCP_SYN_REXMT);
    count(tcp_core(tcp), C_TCP_DROP_REQUEST);
    tcb->syn_due = true;
    tcp_ready(tcp, tcb);
    return true;
}

/* First: is it in the window, and not from the past (RFC 7323 5.3)? */
static enum verdict check_seq(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    if (fastopen_repeated(tcp, tcb, seg))
        return DROP;
    if (paws_refuses(tcp, tcb, seg)) {
        owe_oow_ack(tcp, tcb, seg);
        count(tcp_core(tcp), C_TCP_DROP_PAWS);
        return DROP;
    }
    if (acceptable(tcb, seg))
        return PASS;
    if (seg->flags & TH_RST) {
        count(tcp_core(tcp), C_TCP_DROP_SEQ);
        return DROP;
    }
    if ((seg->flags & TH_SYN) && tcb->state != UST_SYN_RECEIVED) {
        owe_challenge(tcp, tcb);
        count(tcp_core(tcp), C_TCP_DROP_SYN);
        return DROP;
    }
    owe_oow_ack(tcp, tcb, seg);
    count(tcp_core(tcp), C_TCP_DROP_SEQ);
    return DROP;
}

static int reset_error(const struct tcb *tcb)
{
    switch (tcb->state) {
    case UST_SYN_RECEIVED: return ECONNREFUSED;
    case UST_CLOSE_WAIT: return EPIPE; /* as Linux: the peer had finished already */
    default: return ECONNRESET;
    }
}

/* Second: a RST counts only at RCV.NXT exactly (RFC 5961 3.2). */
static enum verdict check_rst(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!(seg->flags & TH_RST))
        return PASS;
    if (seg->seq != tcb->rcv_nxt) {
        owe_challenge(tcp, tcb);
        count(tcp_core(tcp), C_TCP_DROP_RST);
        return DROP;
    }
    count(tcp_core(tcp), C_TCP_RESETS_IN);
    tcp_done(tcp, tcb, reset_error(tcb));
    return DROP;
}

/* Fourth: a SYN on a synchronized connection earns a challenge ACK, wherever
 * it lies (RFC 5961 4.2). */
static enum verdict check_syn(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!(seg->flags & TH_SYN))
        return PASS;
    owe_challenge(tcp, tcb);
    count(tcp_core(tcp), C_TCP_DROP_SYN);
    return DROP;
}

/* RFC 7323 4.3: remember the timestamp of a segment that spans the last ACK. */
static void update_ts_recent(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!tcb->ts_ok || !seg->opt.ts_ok || seq_gt(seg->seq, tcb->rcv_acked))
        return;
    if (timestamp_old(tcp, tcb, seg))
        return;
    tcb->ts_recent = seg->opt.ts_val;
    tcb->ts_recent_age = tcp_now(tcp);
}

/* A segment in the window is the peer's own: it is alive (MUST-29, MUST-37). */
static void heard_from(struct tcp *tcp, struct tcb *tcb)
{
    tcb->last_rcvd = tcp_now(tcp);
    chrono_update(tcp, tcb);
    if (!tcb->orphan) /* nobody waits for it: a closed window is not for ever */
        tcb->probes = 0;
    if (tcb->keepalives == 0)
        return;
    tcb->keepalives = 0;
    tcp_arm_keepalive(tcp, tcb, tcp_now(tcp));
}

static enum verdict check_synchronized(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    enum verdict v;

    if ((v = check_seq(tcp, tcb, seg)) != PASS ||   /* first; PAWS: RFC 7323 5.3 */
        (v = check_rst(tcp, tcb, seg)) != PASS ||   /* second; RFC 5961 3.2 */
        (v = check_syn(tcp, tcb, seg)) != PASS ||   /* fourth; RFC 5961 4.2 */
        (v = tcp_check_ack(tcp, tcb, seg)) != PASS) /* fifth; RFC 5961 5.2 */
        return v;
    heard_from(tcp, tcb);
    ecn_received(tcp, tcb, seg);
    update_ts_recent(tcp, tcb, seg);
    if ((seg->flags & TH_URG) || tcb->urgent == URGENT_COMING)
        urgent_input(tcp, tcb, seg);     /* sixth */
    v = tcp_process_text(tcp, tcb, seg); /* seventh */
    if (v == PASS)
        tcp_process_fin(tcp, tcb, seg); /* eighth */
    return v;
}

/* Is it what an open connection is waiting for: the next text, or no text, and
 * an ACK of what may be in flight, with nothing remarkable about it? */
static bool is_expected(const struct tcp *tcp, const struct tcb *tcb, const struct segment *seg)
{
    return seg->seq == tcb->rcv_nxt && (seg->flags & ~TH_PSH) == TH_ACK &&
           tcb->state == UST_ESTABLISHED && seg->text_len <= tcb->rcv_adv - tcb->rcv_nxt &&
           seg->ack - tcb->snd_una <= tcb->snd_max - tcb->snd_una &&
           !(tcb->ts_ok && seg->opt.ts_ok && seq_lt(seg->opt.ts_val, tcb->ts_recent)) &&
           tcb->reass == TCP_NONE && tcb->urgent == URGENT_NONE &&
           tcb_extra(tcb)->ecn.mode == ECN_OFF && tcb->keepalives == 0 && !tcb->fin_pending &&
           tcp->net.core.set.engine_shortcuts;
}

/* What the steps come to when is_expected(). */
static void take_expected(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    tcp_take_ack(tcp, tcb, seg);
    tcb->last_rcvd = tcp_now(tcp);
    chrono_update(tcp, tcb);
    tcb->probes = 0;
    if (tcb->ts_ok && seg->opt.ts_ok && seq_leq(seg->seq, tcb->rcv_acked)) {
        tcb->ts_recent = seg->opt.ts_val;
        tcb->ts_recent_age = tcp_now(tcp);
    }
    if (seg->text_len > 0)
        tcp_queue_text(tcp, tcb, seg);
}

void tcp_synchronized(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    if (is_expected(tcp, tcb, seg))
        return take_expected(tcp, tcb, seg);
    strip_repeated_syn(tcb, seg);
    if (check_synchronized(tcp, tcb, seg) != DROP_ACK)
        return;
    if (may_answer(tcp, tcb, seg)) /* the answer may be as wrong to the peer (RFC 5961 5) */
        owe_challenge(tcp, tcb);
    else
        count(tcp_core(tcp), C_TCP_CHALLENGE_LIMITED);
}

/* ------------------------------------------------------- ICMP errors */

/* The path is narrower than we thought (RFC 1191 6.4, RFC 8201 5.2): what is in
 * flight in larger pieces is lost, but not to congestion. seq: where the first of
 * them begins; what was sent before it has passed. */
static void path_narrowed(struct tcp *tcp, struct tcb *tcb, uint32_t seq)
{
    uint32_t old = tcb->snd_mss;

    tcp_set_mss(tcp, tcb);
    if (tcb->snd_mss >= old || tcb->snd_una == tcb->snd_max || !tcb_synchronized(tcb))
        return;
    recovery_narrowed(tcp, tcb, seq);
}

/* RFC 5927 4: believed only if it quotes a sequence number in flight. A hard
 * error ends a connection attempt; on a live connection every error is soft
 * (MUST-56; for SHLD-26 we follow RFC 5927 5.2 and Linux). */
bool tcp_error_input(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                     const uint8_t *quoted, const struct ip_error *e)
{
    struct tcp *tcp = (struct tcp *)net;
    struct flow_key key = {
        .local = *src, .remote = *dst, .lport = get16(quoted), .rport = get16(quoted + 2)};
    uint32_t value = flow_find(tcp, &key), seq = get32(quoted + 4);
    struct tcb *tcb;

    if (value == TCP_NONE || value >> FLOW_KIND_SHIFT != FLOW_TCB)
        return false;
    tcb = &tcp->tcbs[value & FLOW_INDEX_MASK];
    if (!seq_between(tcb->snd_una, seq, tcb->snd_max))
        return false;
    if (e->mtu) {
        if (pmtu_learn(net, dst, e->mtu))
            path_narrowed(tcp, tcb, seq);
        return true;
    }
    tcb->soft_error = e->err;
    if (tcb->state == UST_SYN_SENT && e->hard)
        tcp_done(tcp, tcb, e->err);
    return true;
}
