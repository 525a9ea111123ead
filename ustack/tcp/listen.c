/* SPDX-License-Identifier: BSD-3-Clause */
/* Passive opens: listeners, their SYN queue of request blocks, their accept
 * queue of established TCBs (RFC 9293 3.10.7.2, and SYN-RECEIVED of a passive
 * open).
 *
 *   SYN --> request block (SYN-ACK, retried) -- ACK --> TCB --> accept queue
 *    no room -> cookie (SYN-ACK, once)        -- ACK ----^
 *
 *  L1  n_accept <= backlog + 1, as in Linux; a full accept queue drops SYNs and
 *      handshake ACKs, and the SYN-ACK timer tries again
 *  L2  a request's listener is open: closing one removes its requests        */
#include <errno.h>

#include "tcp.h"

static struct listener *listener_of(const struct tcp *tcp, const struct tcb *tcb)
{
    return &tcp->listeners[tcb->listener];
}

int tcp_listen(struct tcp *tcp, struct tcb *tcb, int backlog)
{
    struct listener *l;

    if (tcb->state == UST_LISTEN) {
        listener_of(tcp, tcb)->backlog = backlog > 0 ? (uint32_t)backlog : 0;
        return 0;
    }
    if (tcp->listener_free == TCP_NONE || fault_hits(&tcp->net.core.faults))
        return -ENOBUFS;
    tcb->listener = tcp->listener_free;
    l = listener_of(tcp, tcb);
    tcp->listener_free = l->next;
    tcp->listeners_used++;
    *l = (struct listener){.tcb = tcb_index(tcp, tcb),
                           .backlog = backlog > 0 ? (uint32_t)backlog : 0,
                           .accept_head = TCP_NONE,
                           .accept_tail = TCP_NONE,
                           .next = TCP_NONE};
    tcb->state = UST_LISTEN;
    return 0;
}

bool tcp_listener_has_room(const struct tcp *tcp, const struct tcb *listening)
{
    const struct listener *l = listener_of(tcp, listening);

    return l->n_accept <= l->backlog && l->n_requests <= l->backlog &&
           tcp->request_free != TCP_NONE;
}

/* ------------------------------------------------------- request blocks */

static uint32_t request_index(const struct tcp *tcp, const struct request *req)
{
    return (uint32_t)(req - tcp->requests);
}

/* It is no longer in the flow table. */
static void request_release(struct tcp *tcp, struct request *req)
{
    uint32_t i = request_index(tcp, req);

    wheel_cancel(&tcp->net.core.wheel, tcp->request_timers + i);
    tcp->listeners[req->listener].n_requests--;
    req->listener = TCP_NONE;
    req->next = tcp->request_free;
    tcp->request_free = i;
    tcp->requests_used--;
}

static void request_free(struct tcp *tcp, struct request *req)
{
    flow_remove(tcp, req->key.lport, req->hash, FLOW_REQUEST, request_index(tcp, req));
    request_release(tcp, req);
}

static void request_arm(struct tcp *tcp, struct request *req)
{
    ust_time wait = ms(tcp->net.core.set.tcp_rto_init_ms)
                 << (req->retries < 16 ? req->retries : 16);
    ust_time most = ms(tcp->net.core.set.tcp_rto_max_ms);

    wheel_set(&tcp->net.core.wheel, tcp->request_timers + request_index(tcp, req),
              tcp_now(tcp) + (wait < most ? wait : most));
}

/* A request that waits for text is not asked again until its time is over, and
 * then once, for the last chance (as Linux). */
static bool waits_for_text(const struct tcp *tcp, const struct request *req, int before)
{
    const struct tcb *listening = &tcp->tcbs[tcp->listeners[req->listener].tcb];

    return req->acked && req->retries + before < tcb_extra(listening)->defer_retries;
}

void tcp_request_timer(struct tcp *tcp, struct request *req)
{
    if (req->retries >= tcp->net.core.set.tcp_synack_retries && !waits_for_text(tcp, req, 0)) {
        count(tcp_core(tcp), C_TCP_TIMEOUTS);
        return request_free(tcp, req);
    }
    req->retries++;
    if (!waits_for_text(tcp, req, 0)) {
        count(tcp_core(tcp), C_TCP_SYN_REXMT);
        tcp_respond_synack(tcp, req);
    }
    request_arm(tcp, req);
}

static struct request *request_new(struct tcp *tcp, struct tcb *listening,
                                   const struct flow_key *key, uint32_t hash)
{
    struct listener *l = listener_of(tcp, listening);
    uint32_t i = tcp->request_free;
    struct request *req = &tcp->requests[i];

    if (i == TCP_NONE || l->n_requests > l->backlog || fault_hits(&tcp->net.core.faults))
        return NULL;
    tcp->request_free = req->next;
    if (flow_insert(tcp, key->lport, hash, FLOW_REQUEST, i) < 0) {
        tcp->request_free = i;
        return NULL;
    }
    tcp->requests_used++;
    l->n_requests++;
    *req = (struct request){
        .key = *key, .hash = hash, .listener = listening->listener, .next = TCP_NONE};
    return req;
}

/* What we offer: a cookie does not bring it back, so it is the listener's. */
static void choose_window(const struct tcp *tcp, struct request *req)
{
    const struct tcb *listening = &tcp->tcbs[tcp->listeners[req->listener].tcb];
    uint32_t mss = tcp_advmss(tcp, &req->key.remote);

    req->rcv_wnd = rcvwnd_initial(listening, req->ts_ok ? mss - TCP_TS_LEN : mss);
    req->rcv_wscale = rcvwnd_scale(tcp, listening);
}

static void request_fill(struct tcp *tcp, struct request *req, const struct segment *seg,
                         uint32_t min_iss)
{
    const struct settings *set = &tcp->net.core.set;
    struct flow_numbers numbers = tcp_numbers(tcp, &req->key);

    req->irs = seg->seq;
    req->wnd = seg->wnd;
    req->peer_mss = seg->opt.mss;
    req->snd_wscale = seg->opt.wscale;
    req->ts_ok = seg->opt.ts_ok && set->tcp_timestamps;
    req->sack_ok = seg->opt.sack_ok && set->tcp_sack;
    ecn_requested(tcp, &tcp->tcbs[tcp->listeners[req->listener].tcb], req, seg);
    req->wscale_ok = seg->opt.wscale_ok && set->tcp_window_scaling;
    req->ts_recent = seg->opt.ts_val;
    req->ts_offset = numbers.ts_offset;
    req->iss = numbers.isn;
    if (min_iss && seq_lt(req->iss, min_iss))
        req->iss = min_iss;
    req->sent = tcp_now(tcp);
    choose_window(tcp, req);
}

/* Without a block: all that is kept is that the listener has sent cookies. */
static void send_cookie(struct tcp *tcp, struct tcb *listening, const struct flow_key *key,
                        struct segment *seg)
{
    struct request req = {.key = *key, .listener = listening->listener};

    request_fill(tcp, &req, seg, 0);
    tcp_cookie_fill(tcp, &req);
    listener_of(tcp, listening)->cookie_until = tcp_now(tcp) + tcp_cookie_lifetime();
    count(tcp_core(tcp), C_TCP_SYN_IN);
    count(tcp_core(tcp), C_TCP_COOKIES_OUT);
    tcp_respond_synack(tcp, &req);
}

/* A new incarnation of a connection in TIME-WAIT needs an ISS beyond the old
 * one's, which a cookie cannot promise. */
static bool cookies_from(const struct tcp *tcp, int level, uint32_t min_iss)
{
    return tcp->net.core.set.tcp_syncookies >= level && !min_iss;
}

static bool open_fast(struct tcp *tcp, struct tcb *listening, const struct flow_key *key,
                      struct segment *seg, uint32_t min_iss, bool renew);

static void take_syn(struct tcp *tcp, struct tcb *listening, const struct flow_key *key,
                     struct segment *seg, uint32_t min_iss)
{
    struct listener *l = listener_of(tcp, listening);
    enum fastopen_answer fast;
    struct request *req;

    if (l->n_accept > l->backlog)
        return seg_drop(tcp, seg, C_TCP_DROP_ACCEPTQ);
    fast = fastopen_syn(tcp, listening, key, seg);
    if (fast >= FASTOPEN_CHILD &&
        open_fast(tcp, listening, key, seg, min_iss, fast == FASTOPEN_CHILD_RENEWED))
        return;
    req = cookies_from(tcp, 2, min_iss) ? NULL : request_new(tcp, listening, key, seg->hash);
    if (!req && cookies_from(tcp, 1, min_iss))
        return send_cookie(tcp, listening, key, seg);
    if (!req)
        return seg_drop(tcp, seg, C_TCP_DROP_BACKLOG);
    count(tcp_core(tcp), C_TCP_SYN_IN);
    request_fill(tcp, req, seg, min_iss);
    req->fastopen = fast == FASTOPEN_COOKIE;
    req->experimental = seg->opt.fastopen.experimental;
    tcp_respond_synack(tcp, req);
    request_arm(tcp, req);
}

static void promote(struct tcp *tcp, struct tcb *listening, const struct request *req,
                    struct request *block, struct segment *seg);

/* Has the listener sent cookies lately, or may it be another engine's that has, whose
 * flows are ours since then? */
static bool cookies_out(const struct tcp *tcp, const struct listener *l)
{
    return tcp_now(tcp) < l->cookie_until || spread_is_new(&tcp->net, tcp_cookie_lifetime());
}

/* Opens a connection if the ACK brings a cookie. block: the flow's request
 * block, if there is one by now, made when its SYN came again. */
static bool take_cookie(struct tcp *tcp, struct tcb *listening, struct request *block,
                        const struct flow_key *key, struct segment *seg)
{
    struct request req = {.key = *key, .hash = seg->hash, .listener = listening->listener};

    if (seg->flags & TH_SYN || !cookies_out(tcp, listener_of(tcp, listening)))
        return false;
    if (!tcp_cookie_read(tcp, &req, seg)) {
        count(tcp_core(tcp), C_TCP_COOKIES_BAD);
        return false;
    }
    choose_window(tcp, &req);
    promote(tcp, listening, &req, block, seg);
    return true;
}

/* RFC 9293 3.10.7.2 */
void tcp_listen_input(struct tcp *tcp, struct tcb *listening, struct segment *seg,
                      const struct packet *p, uint32_t min_iss)
{
    const uint8_t *th = mbuf_data(&tcp->net.core.pool, seg->m) + p->l4_off;
    struct flow_key key = {
        .local = p->dst, .remote = p->src, .lport = get16(th + 2), .rport = get16(th)};

    if (seg->flags & TH_RST) /* first */
        return seg_drop(tcp, seg, C_TCP_DROP_LISTEN);
    if (seg->flags & TH_ACK) { /* second */
        if (take_cookie(tcp, listening, NULL, &key, seg))
            return;
        if (net_ask_others(&tcp->net, seg->m)) {
            seg->m = NULL;
            return;
        }
        tcp_respond_rst(tcp, seg, p);
        return seg_drop(tcp, seg, C_TCP_DROP_LISTEN);
    }
    if (seg->flags & TH_FIN) /* a SYN with FIN opens nothing, as in Linux */
        return seg_drop(tcp, seg, C_TCP_DROP_LISTEN);
    if (seg->flags & TH_SYN) /* third */
        return take_syn(tcp, listening, &key, seg, min_iss);
    seg_drop(tcp, seg, C_TCP_DROP_LISTEN); /* fourth: should not be reached */
}

/* ------------------------------------------------------- from request to TCB */

static void inherit(struct tcb *tcb, const struct tcb *l)
{
    tcb->nodelay = l->nodelay;
    tcb->cork = l->cork;
    tcb->keepalive = l->keepalive;
    tcb->user_mss = l->user_mss;
    tcb->tos = l->tos;
    tcb->ttl = l->ttl;
    tcb->cc.algorithm = l->cc.algorithm;
    tcb->sndbuf.limit = l->sndbuf.limit;
    tcb->rcvbuf.limit = l->rcvbuf.limit;
    tcb->sndbuf_locked = l->sndbuf_locked;
    tcb->rcvbuf_locked = l->rcvbuf_locked;
    tcb->rcvwnd.clamp = l->rcvwnd.clamp;
    tcb->wnd_clamped = l->wnd_clamped;
    tcb->oob_inline = l->oob_inline;
    tcb->mtu_discover = l->mtu_discover;
    tcb->pingpong = l->pingpong;
}

static void from_request(struct tcp *tcp, struct tcb *tcb, const struct request *req)
{
    struct tcp_options opt = {.mss = req->peer_mss,
                              .wscale = req->snd_wscale,
                              .wscale_ok = req->wscale_ok,
                              .sack_ok = req->sack_ok,
                              .ts_ok = req->ts_ok,
                              .ts_val = req->ts_recent};

    tcb->key = req->key;
    tcb->ts_offset = req->ts_offset;
    tcb->iss = req->iss;
    tcb->snd_una = req->iss;
    tcb->snd_nxt = tcb->snd_max = req->iss + 1;
    tcb->sndbuf.start = req->iss + 1;
    tcb->irs = req->irs;
    tcb->rcv_nxt = tcb->rcv_acked = req->irs + 1;
    tcb->snd_wnd = tcb->max_wnd = req->wnd;
    tcb->snd_wl1 = req->irs;
    tcb->snd_wl2 = req->iss;
    tcb->advmss = tcp_advmss(tcp, &req->key.remote);
    tcb->rcv_wscale = req->rcv_wscale;
    tcb->retransmits = req->retries;
    if (req->ecn != ECN_OFF)
        *ecn_of(tcb) = (struct ecn){
            .mode = req->ecn, .handshake = req->ecn_handshake, .last = req->ecn_handshake};
    tcp_negotiate(tcp, tcb, &opt);
    rcvwnd_start(tcp, tcb, req->rcv_wnd);
    rtt_init(tcp, tcb);
    if (req->retries == 0 && !req->cookie) {
        tcb->rtt_timing = true;
        tcb->min_rtt_at = req->sent;
    }
}

static void queue_for_accept(struct tcp *tcp, struct tcb *tcb, struct tcb *listening)
{
    struct listener *l = listener_of(tcp, listening);
    uint32_t i = tcb_index(tcp, tcb);

    tcb->embryo = true;
    tcb->parent = tcb_index(tcp, listening);
    tcb->next = TCP_NONE;
    if (l->accept_tail == TCP_NONE)
        l->accept_head = i;
    else
        tcp->tcbs[l->accept_tail].next = i;
    l->accept_tail = i;
    l->n_accept++;
    count(tcp_core(tcp), C_TCP_OPENS_PASSIVE);
    tcp_changed(tcp, listening);
}

/* In block's place, which is freed, or in one of its own: there are two for every TCB. */
static void enter_flow(struct tcp *tcp, struct tcb *tcb, uint32_t hash, struct request *block)
{
    uint32_t i = tcb_index(tcp, tcb);

    tcb->hash = hash;
    tcb->in_table = true;
    if (!block) {
        flow_insert(tcp, tcb->key.lport, hash, FLOW_TCB, i);
        return;
    }
    flow_replace(tcp, hash, FLOW_REQUEST, request_index(tcp, block), FLOW_TCB, i);
    request_release(tcp, block);
}

/* A request becomes a TCB in SYN-RECEIVED. block: the flow's request block, if
 * there is one; it is freed. NULL: there is no TCB. */
static struct tcb *make_child(struct tcp *tcp, struct tcb *listening, const struct request *req,
                              struct request *block)
{
    struct tcb *tcb = tcb_alloc(tcp);

    if (!tcb)
        return NULL;
    if (!extra_inherit(tcp, tcb, listening) || (req->ecn && !extra_have(tcp, tcb))) {
        tcb_free(tcp, tcb);
        return NULL;
    }
    inherit(tcb, listening);
    from_request(tcp, tcb, req);
    enter_flow(tcp, tcb, req->hash, block);
    tcb->state = UST_SYN_RECEIVED;
    return tcb;
}

/* The handshake's ACK has come, which the new TCB takes like any segment. */
static void promote(struct tcp *tcp, struct tcb *listening, const struct request *req,
                    struct request *block, struct segment *seg)
{
    const struct listener *l = listener_of(tcp, listening);
    bool cookie = req->cookie;
    struct tcb *tcb;

    if (l->n_accept > l->backlog)
        return seg_drop(tcp, seg, C_TCP_DROP_ACCEPTQ);
    tcb = make_child(tcp, listening, req, block);
    if (!tcb)
        return seg_drop(tcp, seg, C_TCP_DROP_NOTCBS);
    if (cookie)
        count(tcp_core(tcp), C_TCP_COOKIES_IN);
    queue_for_accept(tcp, tcb, listening);
    tcp_synchronized(tcp, tcb, seg);
}

/* The text of a SYN: bytes behind its number. */
static void take_syn_text(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    struct mbuf_pool *pool = &tcp->net.core.pool;

    if (seg->text_len == 0)
        return;
    mbuf_trim_front(pool, seg->m, seg->text_off);
    mbuf_trim_to(pool, seg->m, seg->text_len);
    tcb->rcv_nxt += seg->text_len;
    traffic_have(tcp, tcb)->bytes_received += seg->text_len;
    rcvbuf_append(pool, &tcb->rcvbuf, seg->m);
    seg->m = NULL;
}

/* Fast Open: the SYN alone makes a connection (RFC 7413 4.2.2). */
static bool open_fast(struct tcp *tcp, struct tcb *listening, const struct flow_key *key,
                      struct segment *seg, uint32_t min_iss, bool renew)
{
    struct request req = {.key = *key, .hash = seg->hash, .listener = listening->listener};
    struct tcb *tcb;

    request_fill(tcp, &req, seg, min_iss);
    if (seg->text_len > req.rcv_wnd)
        return false;
    tcb = make_child(tcp, listening, &req, NULL);
    if (!tcb)
        return false;
    if (!extra_have(tcp, tcb)) { /* where fastopen_pending() notes its listener */
        tcb_free(tcp, tcb);
        return false;
    }
    count(tcp_core(tcp), C_TCP_SYN_IN);
    take_syn_text(tcp, tcb, seg);
    fastopen_pending(tcp, tcb, listening);
    tcb->fo_renew = renew;
    tcb->fo_experimental = seg->opt.fastopen.experimental;
    tcp_open_sender(tcp, tcb);
    queue_for_accept(tcp, tcb, listening);
    tcb->syn_due = true;
    tcp_ready(tcp, tcb);
    return true;
}

static bool in_window(const struct request *req, const struct segment *seg)
{
    uint32_t nxt = req->irs + 1, wnd = tcp_request_window(req);

    return seq_between(nxt, seg->seq, nxt + wnd) ||
           (seg->len > 0 && seq_between(nxt, seg->seq + seg->len - 1, nxt + wnd));
}

/* The window is the SYN-ACK's. At most one in tcp.invalid_ratelimit_ms, so that
 * two hosts cannot keep each other talking. */
static void request_ack(struct tcp *tcp, struct request *req, enum counter why)
{
    uint8_t scale = req->wscale_ok ? req->rcv_wscale : 0;
    ust_time gap = ms(tcp->net.core.set.tcp_challenge_ms);

    if (req->oow_acked && tcp_now(tcp) - req->oow_acked < gap)
        return count(tcp_core(tcp), C_TCP_ACK_OOW_LIMITED);
    req->oow_acked = tcp_now(tcp) ? tcp_now(tcp) : 1;
    if (tcp_send_bare(tcp, &(struct tcp_header){.key = &req->key,
                                                .seq = req->iss + 1,
                                                .ack = req->irs + 1,
                                                .flags = TH_ACK,
                                                .wnd = (uint16_t)(tcp_request_window(req) >> scale),
                                                .ts = req->ts_ok,
                                                .ts_val = tcp_ts_now(tcp, req->ts_offset),
                                                .ts_ecr = req->ts_recent}))
        count(tcp_core(tcp), why);
}

/* SYN-RECEIVED of a passive open (RFC 9293 3.10.7.4). */
void tcp_request_input(struct tcp *tcp, struct request *req, struct segment *seg,
                       const struct packet *p)
{
    struct tcb *listening = &tcp->tcbs[tcp->listeners[req->listener].tcb];
    bool syn = seg->flags & TH_SYN, rst = seg->flags & TH_RST;

    if (syn && !(seg->flags & (TH_ACK | TH_RST)) && seg->seq == req->irs) {
        count(tcp_core(tcp), C_TCP_SYN_REXMT); /* the peer did not hear us */
        tcp_respond_synack(tcp, req);
        return seg_drop(tcp, seg, C_TCP_DROP_REQUEST);
    }
    if (!in_window(req, seg)) { /* first */
        if (!rst)
            request_ack(tcp, req, C_TCP_ACK_OOW);
        return seg_drop(tcp, seg, C_TCP_DROP_SEQ);
    }
    if (req->ts_ok && seg->opt.ts_ok && !rst && req->ts_recent != 0 && /* as timestamp_old() */
        seq_lt(seg->opt.ts_val, req->ts_recent)) {
        request_ack(tcp, req, C_TCP_ACK_OOW);
        return seg_drop(tcp, seg, C_TCP_DROP_PAWS);
    }
    if (rst || syn) /* second: back to LISTEN; anywhere in the window, as Linux */
        request_free(tcp, req);
    if (rst)
        return count(tcp_core(tcp), C_TCP_RESETS_IN);
    if (syn) /* fourth */
        return seg_drop(tcp, seg, C_TCP_DROP_REQUEST);
    if (!(seg->flags & TH_ACK)) /* fifth */
        return seg_drop(tcp, seg, C_TCP_DROP_NOACK);
    if (seg->ack != req->iss + 1) {
        if (take_cookie(tcp, listening, req, &req->key, seg))
            return;
        tcp_respond_rst(tcp, seg, p);
        return seg_drop(tcp, seg, C_TCP_DROP_REQUEST);
    }
    if (req->retries < tcb_extra(listening)->defer_retries && seg->len == 0) {
        req->acked = true;
        return seg_drop(tcp, seg, C_TCP_DROP_DEFERRED);
    }
    promote(tcp, listening, req, req, seg);
}

/* ------------------------------------------------------- accept, close */

struct tcb *tcp_accept(struct tcp *tcp, struct tcb *listening)
{
    struct listener *l = listener_of(tcp, listening);
    struct tcb *tcb;

    if (l->accept_head == TCP_NONE)
        return NULL;
    tcb = &tcp->tcbs[l->accept_head];
    l->accept_head = tcb->next;
    if (l->accept_head == TCP_NONE)
        l->accept_tail = TCP_NONE;
    l->n_accept--;
    tcb->next = tcb->parent = TCP_NONE;
    tcb->embryo = false;
    return tcb;
}

void tcp_unqueue(struct tcp *tcp, struct tcb *tcb)
{
    struct listener *l;
    uint32_t i, prev = TCP_NONE;

    if (!tcb->embryo)
        return;
    l = listener_of(tcp, &tcp->tcbs[tcb->parent]);
    for (i = l->accept_head; &tcp->tcbs[i] != tcb; i = tcp->tcbs[i].next)
        prev = i;
    if (prev == TCP_NONE)
        l->accept_head = tcb->next;
    else
        tcp->tcbs[prev].next = tcb->next;
    if (l->accept_tail == i)
        l->accept_tail = prev;
    l->n_accept--;
    tcb->embryo = false;
}

void tcp_unlisten(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t li = tcb->listener;
    struct tcb *embryo;

    if (li == TCP_NONE)
        return;
    while ((embryo = tcp_accept(tcp, tcb))) {
        orphan_begin(tcp, embryo);
        if (embryo->state == UST_CLOSED)
            tcb_free(tcp, embryo);
        else
            tcp_abort(tcp, embryo, 0);
    }
    for (uint32_t i = 0; i < tcp->n_requests && tcp->listeners[li].n_requests > 0; i++)
        if (tcp->requests[i].listener == li)
            request_free(tcp, &tcp->requests[i]);
    tcp->listeners[li].next = tcp->listener_free;
    tcp->listener_free = li;
    tcp->listeners_used--;
    tcb->listener = TCP_NONE;
}
