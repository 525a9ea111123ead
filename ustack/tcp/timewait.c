/* SPDX-License-Identifier: BSD-3-Clause */
/* TIME-WAIT (MUST-13) as a compact record, without a TCB: it answers the peer's
 * retransmitted FIN, ignores RSTs (RFC 1337), and lets a new incarnation in
 * when its sequence number or timestamp is newer (MAY-2, RFC 6191). An active
 * open may take a record over by tcp.tw_reuse, with numbers beyond the old ones.
 *
 * When the table is full the oldest record goes. Of RFC 6191's cases one is
 * answered as Linux does: a SYN with a timestamp does not reopen a connection
 * that had none by that alone, for its old segments could not be told apart. */
#include "tcp.h"

static uint32_t tw_index(const struct tcp *tcp, const struct timewait *tw)
{
    return (uint32_t)(tw - tcp->timewaits);
}

static void tw_unlink(struct tcp *tcp, struct timewait *tw)
{
    if (tw->prev == TCP_NONE)
        tcp->tw_oldest = tw->next;
    else
        tcp->timewaits[tw->prev].next = tw->next;
    if (tw->next == TCP_NONE)
        tcp->tw_newest = tw->prev;
    else
        tcp->timewaits[tw->next].prev = tw->prev;
}

static void tw_append(struct tcp *tcp, struct timewait *tw)
{
    tw->next = TCP_NONE;
    tw->prev = tcp->tw_newest;
    if (tcp->tw_newest == TCP_NONE)
        tcp->tw_oldest = tw_index(tcp, tw);
    else
        tcp->timewaits[tcp->tw_newest].next = tw_index(tcp, tw);
    tcp->tw_newest = tw_index(tcp, tw);
}

static void tw_free(struct tcp *tcp, struct timewait *tw)
{
    uint32_t i = tw_index(tcp, tw);

    flow_remove(tcp, tw->key.lport, tw->hash, FLOW_TIMEWAIT, i);
    wheel_cancel(&tcp->net.core.wheel, tcp->timewait_timers + i);
    tw_unlink(tcp, tw);
    tw->next = tcp->timewait_free;
    tcp->timewait_free = i;
    tcp->timewaits_used--;
}

static void restart_2msl(struct tcp *tcp, struct timewait *tw)
{
    tw_unlink(tcp, tw);
    tw_append(tcp, tw);
    wheel_set(&tcp->net.core.wheel, tcp->timewait_timers + tw_index(tcp, tw),
              tcp_now(tcp) + ms(tcp->net.core.set.tcp_timewait_ms));
}

static struct timewait *tw_new(struct tcp *tcp)
{
    struct timewait *tw;

    if (tcp->timewait_free == TCP_NONE) {
        count(tcp_core(tcp), C_TCP_TIMEWAIT_EVICTED);
        tw_free(tcp, &tcp->timewaits[tcp->tw_oldest]);
    }
    tw = &tcp->timewaits[tcp->timewait_free];
    tcp->timewait_free = tw->next;
    tcp->timewaits_used++;
    return tw;
}

void tcp_enter_timewait(struct tcp *tcp, struct tcb *tcb)
{
    struct timewait *tw = tw_new(tcp);

    *tw = (struct timewait){.key = tcb->key,
                            .hash = tcb->hash,
                            .snd_nxt = tcb->snd_max,
                            .rcv_nxt = tcb->rcv_nxt,
                            .ts_recent = tcb->ts_recent,
                            .ts_offset = tcb->ts_offset,
                            .ts_ok = tcb->ts_ok,
                            .ts_recent_age = tcp_now(tcp),
                            .wnd = (uint16_t)(tcp_window_to_offer(tcp, tcb) >> tcb->rcv_wscale)};
    tw_append(tcp, tw);
    tcb->in_table = false;
    flow_replace(tcp, tw->hash, FLOW_TCB, tcb_index(tcp, tcb), FLOW_TIMEWAIT, tw_index(tcp, tw));
    restart_2msl(tcp, tw);
    if (tcb->ack_now)
        tcp_respond_timewait(tcp, tw);
    tcp_done(tcp, tcb, 0);
}

void tcp_timewait_timer(struct tcp *tcp, struct timewait *tw)
{
    tw_free(tcp, tw);
}

/* RFC 6528 3: beyond all that the old incarnation sent. Never 0. */
static uint32_t next_iss(const struct timewait *tw)
{
    uint32_t iss = tw->snd_nxt + 65535 + 2;

    return iss ? iss : 1;
}

/* Old duplicates are told by their timestamps once the peer's clock has moved. */
static bool reusable(const struct tcp *tcp, const struct timewait *tw)
{
    const struct settings *set = &tcp->net.core.set;

    if (set->tcp_tw_reuse == 0 || (set->tcp_tw_reuse == 2 && !addr_is_loopback(&tw->key.remote)))
        return false;
    return set->tcp_timestamps && tw->ts_ok && tcp_now(tcp) - tw->ts_recent_age > NS_PER_S;
}

bool tcp_flow_free(const struct tcp *tcp, const struct flow_key *key, uint32_t hash)
{
    uint32_t value = flow_find_hashed(tcp, key, hash);

    return value == TCP_NONE || (value >> FLOW_KIND_SHIFT == FLOW_TIMEWAIT &&
                                 reusable(tcp, &tcp->timewaits[value & FLOW_INDEX_MASK]));
}

uint32_t tcp_timewait_reopen(struct tcp *tcp, const struct flow_key *key, uint32_t hash)
{
    uint32_t value = flow_find_hashed(tcp, key, hash), iss;

    if (value == TCP_NONE)
        return 0;
    iss = next_iss(&tcp->timewaits[value & FLOW_INDEX_MASK]);
    count(tcp_core(tcp), C_TCP_TIMEWAIT_TAKEN);
    tw_free(tcp, &tcp->timewaits[value & FLOW_INDEX_MASK]);
    return iss;
}

/* RFC 6191: a SYN may reopen if its timestamp, or else its sequence number, is
 * beyond what the old incarnation could send. */
static bool may_reopen(const struct timewait *tw, const struct segment *seg)
{
    if ((seg->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) != TH_SYN)
        return false; /* none that a listener would take */
    if (tw->ts_ok && seg->opt.ts_ok && seg->opt.ts_val != tw->ts_recent)
        return seq_gt(seg->opt.ts_val, tw->ts_recent);
    return seq_gt(seg->seq, tw->rcv_nxt);
}

static bool in_window(const struct timewait *tw, const struct segment *seg)
{
    uint32_t wnd = tw->wnd ? tw->wnd : 1;

    return seq_between(tw->rcv_nxt, seg->seq, tw->rcv_nxt + wnd) ||
           (seg->len > 0 && seq_between(tw->rcv_nxt, seg->seq + seg->len - 1, tw->rcv_nxt + wnd));
}

/* At most one in tcp.invalid_ratelimit_ms, so that two hosts cannot keep each
 * other talking. */
static void answer(struct tcp *tcp, struct timewait *tw)
{
    ust_time gap = ms(tcp->net.core.set.tcp_challenge_ms);

    if (tw->oow_acked && tcp_now(tcp) - tw->oow_acked < gap) {
        count(tcp_core(tcp), C_TCP_ACK_OOW_LIMITED);
        return;
    }
    tw->oow_acked = tcp_now(tcp) ? tcp_now(tcp) : 1;
    count(tcp_core(tcp), C_TCP_ACK_OOW);
    tcp_respond_timewait(tcp, tw);
}

/* RFC 1337 3: one that the peer did not mean must not let old segments in. */
static void take_rst(struct tcp *tcp, struct timewait *tw, struct segment *seg)
{
    if (tcp->net.core.set.tcp_rfc1337 || seg->seq != tw->rcv_nxt)
        return seg_drop(tcp, seg, C_TCP_DROP_TIMEWAIT);
    count(tcp_core(tcp), C_TCP_TIMEWAIT_KILLED);
    tw_free(tcp, tw);
}

/* What a new incarnation's timestamp must be beyond. */
static void remember_ts(const struct tcp *tcp, struct timewait *tw, const struct segment *seg)
{
    if (!tw->ts_ok || !seg->opt.ts_ok || seq_lt(seg->opt.ts_val, tw->ts_recent))
        return;
    tw->ts_recent = seg->opt.ts_val;
    tw->ts_recent_age = tcp_now(tcp);
}

void tcp_timewait_input(struct tcp *tcp, struct timewait *tw, struct segment *seg,
                        const struct packet *p)
{
    bool fin_again = (seg->flags & TH_FIN) && seg->seq + seg->len == tw->rcv_nxt;
    struct tcb *listening;

    if (may_reopen(tw, seg) && (listening = tcp_listener(tcp, &tw->key.local, tw->key.lport))) {
        uint32_t min_iss = next_iss(tw);

        if (!tcp_listener_has_room(tcp, listening)) /* the record must not go for nothing */
            return seg_drop(tcp, seg, C_TCP_DROP_BACKLOG);
        count(tcp_core(tcp), C_TCP_TIMEWAIT_REUSED);
        tw_free(tcp, tw);
        return tcp_listen_input(tcp, listening, seg, p, min_iss);
    }
    if (seg->flags & TH_RST)
        return take_rst(tcp, tw, seg);
    if (fin_again) {
        remember_ts(tcp, tw, seg);
        restart_2msl(tcp, tw);
        tcp_respond_timewait(tcp, tw);
    } else if (seg->text_len > 0 || (seg->flags & (TH_SYN | TH_FIN)) || !in_window(tw, seg)) {
        answer(tcp, tw);
    }
    seg_drop(tcp, seg, C_TCP_DROP_TIMEWAIT);
}
