/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP (RFC 9293): the layer's state and what its files do for each other.
 *
 *   in:  tcp_input -> look-up -> listen.c | open.c | timewait.c | input.c
 *   out: tcp_ready() puts a TCB on the output list; tcp_transmit() empties it
 *        through tcp_output(). What belongs to no TCB goes through respond.c.
 *
 * Input never sends: it changes state and marks the TCB ready.              */
#pragma once
#include "segment.h"
#include "tcb.h"

struct tcp;

/* What the layer above fills in; see engine.c. */
struct tcp_upcalls {
    /* The readiness of tcb, which the application holds, may have changed. */
    void (*changed)(struct tcp *tcp, struct tcb *tcb);
    /* tcb is being freed. */
    void (*gone)(struct tcp *tcp, struct tcb *tcb);
};

/* What a value of the flow table is: the two top bits. */
enum flow_kind { FLOW_TCB, FLOW_REQUEST, FLOW_TIMEWAIT, FLOW_BIND };

enum { FLOW_KIND_SHIFT = 30, FLOW_INDEX_MASK = (1u << 30) - 1, N_PORTS = 65536 };

struct tcp {
    struct net net;
    const struct tcp_upcalls *up;
    struct flowtable flows;
    struct tcb *tcbs;
    struct listener *listeners;
    struct request *requests;
    struct timewait *timewaits;
    struct reass *reasses;
    struct cc_state *cc_states;
    uint32_t *port_users; /* connections and binds of each local port */
    uint32_t n_tcbs, n_listeners, n_requests, n_timewaits, n_reasses, n_cc_states;
    uint32_t tcbs_used, listeners_used, requests_used, timewaits_used, reasses_used;
    uint32_t cc_states_used, cc_hand; /* clock's hand over cc_states */
    uint32_t tcb_free, listener_free, request_free, timewait_free, reass_free, cc_state_free;
    uint32_t tw_oldest, tw_newest;
    uint32_t tcb_timers, request_timers, timewait_timers; /* first numbers */
    uint32_t ready_head, ready_tail, n_ready;
    uint32_t event_head, event_tail;
    uint32_t orphans, orphan_oldest, orphan_newest; /* see orphan.c */
    struct tokens rsts;
    uint32_t port_counter; /* RFC 6056 3.3.3 */
};

/* tcp.c: tables and life cycle */
void tcp_init(struct tcp *tcp, const struct tcp_upcalls *up);
struct tcb *tcb_alloc(struct tcp *tcp);          /* CLOSED; NULL when full */
void tcb_free(struct tcp *tcp, struct tcb *tcb); /* returns everything it holds */
uint32_t tcb_index(const struct tcp *tcp, const struct tcb *tcb);
uint32_t flow_hash(const struct tcp *tcp, const struct flow_key *key);
/* The value (kind and index) of a flow, or TCP_NONE. */
uint32_t flow_find(const struct tcp *tcp, const struct flow_key *key);
int flow_insert(struct tcp *tcp, const struct flow_key *key, enum flow_kind kind, uint32_t i);
void flow_remove(struct tcp *tcp, const struct flow_key *key, enum flow_kind kind, uint32_t i);
/* The bind entry of a listener or bound socket for exactly (addr, port). */
struct tcb *tcp_bound(const struct tcp *tcp, const struct ust_addr *addr, uint16_t port);
/* The listener that takes a SYN to (addr, port): exact address, then any. */
struct tcb *tcp_listener(const struct tcp *tcp, const struct ust_addr *addr, uint16_t port);
/* Enters or leaves the bind entry for (key.local, key.lport); -1: no room. */
int tcp_bind_insert(struct tcp *tcp, struct tcb *tcb);
void tcp_bind_remove(struct tcp *tcp, struct tcb *tcb);
void tcp_ready(struct tcp *tcp, struct tcb *tcb);
void tcp_unready(struct tcp *tcp, struct tcb *tcb);
void tcp_changed(struct tcp *tcp, struct tcb *tcb);
/* The connection is over: err is what the application will hear (0: nothing).
 * An orphan is freed, else the TCB stays for its owner to close. */
void tcp_done(struct tcp *tcp, struct tcb *tcb, int err);
/* Sends a RST, then tcp_done(). */
void tcp_abort(struct tcp *tcp, struct tcb *tcb, int err);

/* input.c: segment arrival (RFC 9293 3.10.7) */
void tcp_input(struct net *net, struct mbuf *m, const struct packet *p);
void tcp_synchronized(struct tcp *tcp, struct tcb *tcb, struct segment *seg);
void tcp_established(struct tcp *tcp, struct tcb *tcb);
bool tcp_error_input(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                     const uint8_t *quoted, const struct ip_error *e);

/* ack.c: the fifth check, what an ACK does to the sender */
enum verdict tcp_check_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
void tcp_update_window(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);

/* open.c: active opens, and initial parameters of any connection */
int tcp_connect(struct tcp *tcp, struct tcb *tcb, const struct ust_addr *addr, uint16_t port);
void tcp_syn_sent(struct tcp *tcp, struct tcb *tcb, struct segment *seg, const struct packet *p);
/* Takes the peer's SYN options and sets MSS, scales, windows. */
void tcp_negotiate(struct tcp *tcp, struct tcb *tcb, const struct tcp_options *opt);
void tcp_set_mss(struct tcp *tcp, struct tcb *tcb);
uint16_t tcp_advmss(const struct tcp *tcp, const struct ust_addr *remote);

/* listen.c: passive opens */
int tcp_listen(struct tcp *tcp, struct tcb *tcb, int backlog);
void tcp_unlisten(struct tcp *tcp, struct tcb *tcb);
struct tcb *tcp_accept(struct tcp *tcp, struct tcb *listening);
/* Takes tcb out of its listener's accept queue. */
void tcp_unqueue(struct tcp *tcp, struct tcb *tcb);
/* May it take another SYN? */
bool tcp_listener_has_room(const struct tcp *tcp, const struct tcb *listening);
void tcp_listen_input(struct tcp *tcp, struct tcb *listening, struct segment *seg,
                      const struct packet *p, uint32_t min_iss);
void tcp_request_input(struct tcp *tcp, struct request *req, struct segment *seg,
                       const struct packet *p);
void tcp_request_timer(struct tcp *tcp, struct request *req);

/* syncookie.c: half-open connections whose state is in the SYN-ACK */
/* Turns req, filled from a SYN, into what a cookie can hold, and sets its iss. */
void tcp_cookie_fill(const struct tcp *tcp, struct request *req);
/* Its SYN-ACK's timestamp, with the options in it. */
uint32_t tcp_cookie_ts(const struct tcp *tcp, const struct request *req);
/* Fills req, which has its key, from the ACK of a cookie; false: it is none. */
bool tcp_cookie_read(const struct tcp *tcp, struct request *req, const struct segment *seg);
ust_time tcp_cookie_lifetime(void);

/* timewait.c */
void tcp_enter_timewait(struct tcp *tcp, struct tcb *tcb);
void tcp_timewait_input(struct tcp *tcp, struct timewait *tw, struct segment *seg,
                        const struct packet *p);
void tcp_timewait_timer(struct tcp *tcp, struct timewait *tw);
/* Is there nothing at key, or a TIME-WAIT record that tcp.tw_reuse gives away? */
bool tcp_flow_free(const struct tcp *tcp, const struct flow_key *key);
/* Frees that record. The least ISS of its successor, or 0 when there was none. */
uint32_t tcp_timewait_reopen(struct tcp *tcp, const struct flow_key *key);

/* orphan.c: connections that their application has closed */
void orphan_begin(struct tcp *tcp, struct tcb *tcb);
void orphan_end(struct tcp *tcp, struct tcb *tcb);
/* All is sent and acknowledged; the peer's FIN is waited for, but not long. */
void orphan_fin_wait(struct tcp *tcp, struct tcb *tcb);
/* tcb has become one: ends an orphan if there are too many, perhaps tcb. */
void orphan_limit(struct tcp *tcp, struct tcb *tcb);
/* A timer has found that tcb's peer says nothing: is it one too many? */
bool orphan_must_go(struct tcp *tcp, const struct tcb *tcb);

/* isn.c: what must not be guessed */
uint32_t tcp_isn(const struct tcp *tcp, const struct flow_key *key);
uint32_t tcp_ts_offset(const struct tcp *tcp, const struct flow_key *key);
/* A free local port for key, or 0 when there is none. */
uint16_t tcp_pick_port(struct tcp *tcp, const struct flow_key *key);
uint32_t tcp_ts_now(const struct tcp *tcp, uint32_t offset);

/* output.c: what a TCB owes and may send */
void tcp_transmit(struct tcp *tcp, unsigned max_frames);
/* Bytes that flow and congestion control allow beyond snd_nxt. */
uint32_t tcp_usable_window(const struct tcb *tcb);

/* sndspace.c: room in the send buffer, and how it grows */
void sndspace_grow(const struct tcp *tcp, struct tcb *tcb);
uint32_t sndspace_room(const struct tcp *tcp, const struct tcb *tcb);
bool sndspace_writable(const struct tcp *tcp, const struct tcb *tcb);
/* There may be room now: grow the buffer, tell a writer that waits. */
void sndspace_check(struct tcp *tcp, struct tcb *tcb);

/* rcvwnd.c: the receive window, and how its buffer grows */
uint32_t tcp_window_to_offer(const struct tcb *tcb);
/* What a SYN or SYN-ACK for tcb, or of the listener tcb, says: the scale, and
 * the window, of which at most 65535 can be told. mss: of our segments. */
uint8_t rcvwnd_scale(const struct tcp *tcp, const struct tcb *tcb);
uint32_t rcvwnd_initial(const struct tcb *tcb, uint32_t mss);
/* The handshake has offered wnd beyond rcv_nxt. */
void rcvwnd_start(const struct tcp *tcp, struct tcb *tcb, uint32_t wnd);
/* Is less than half of the buffer free? */
bool rcvwnd_pinched(const struct tcb *tcb);
/* In-order text has come, of len bytes: may the window open further now? */
bool rcvwnd_text_arrived(struct tcb *tcb, uint32_t len);
void rcvwnd_measure(const struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
void rcvwnd_text_read(const struct tcp *tcp, struct tcb *tcb);
/* SO_RCVBUF, in bytes of window; TCP_WINDOW_CLAMP. */
void rcvwnd_set_limit(struct tcb *tcb, uint32_t bytes);
void rcvwnd_set_clamp(struct tcb *tcb, uint32_t clamp);

/* delack.c: when in-order text is acknowledged */
void delack_measure_mss(struct tcb *tcb, const struct segment *seg);
void delack_text_arrived(struct tcp *tcp, struct tcb *tcb, uint32_t len);
void delack_decide(struct tcp *tcp, struct tcb *tcb);
void delack_expired(struct tcp *tcp, struct tcb *tcb);
/* Acknowledge the next segments at once. */
void delack_quick(const struct tcp *tcp, struct tcb *tcb);
/* An ACK leaves, alone or with text; rcv_acked is still the last one's. */
void delack_ack_sent(const struct tcp *tcp, struct tcb *tcb);
void delack_text_sent(const struct tcp *tcp, struct tcb *tcb);
/* The application has read. */
void delack_read(struct tcp *tcp, struct tcb *tcb);
void delack_set_quickack(struct tcp *tcp, struct tcb *tcb, bool on);

/* build.c: headers */
struct tcp_header {
    const struct flow_key *key;
    uint32_t seq, ack;
    uint16_t wnd;
    uint8_t flags, tos, ttl;
    struct ip_dst *dst;
    uint32_t ts_val, ts_ecr; /* used when ts */
    bool ts, sack_permitted, with_wscale;
    uint16_t mss; /* 0: no option */
    uint8_t wscale;
    const struct range *sacks;
    unsigned n_sacks;
    uint32_t gso_mss; /* 0, or the payload bytes of a segment */
};
unsigned tcp_options_len(const struct tcp_header *h);
/* Puts a header in front of m's payload and sends it. Owns m. */
void tcp_send_header(struct tcp *tcp, struct mbuf *m, const struct tcp_header *h);
/* A segment without text; false when there is no mbuf. */
bool tcp_send_bare(struct tcp *tcp, const struct tcp_header *h);

/* respond.c: answers that belong to no TCB */
void tcp_respond_rst(struct tcp *tcp, const struct segment *seg, const struct packet *p);
void tcp_respond_synack(struct tcp *tcp, const struct request *req);
void tcp_respond_timewait(struct tcp *tcp, struct timewait *tw);
/* A RST for a TCB that is about to go. */
void tcp_send_rst(struct tcp *tcp, struct tcb *tcb);

/* timer.c */
void tcp_arm(struct tcp *tcp, struct tcb *tcb, enum tcp_timer t, ust_time deadline);
void tcp_disarm(struct tcb *tcb, enum tcp_timer t);
bool tcp_armed(const struct tcb *tcb, enum tcp_timer t);
void tcp_timer(struct tcp *tcp, struct tcb *tcb);
void tcp_arm_rexmt(struct tcp *tcp, struct tcb *tcb);
void tcp_arm_persist(struct tcp *tcp, struct tcb *tcb);
void tcp_arm_keepalive(struct tcp *tcp, struct tcb *tcb, ust_time since);

/* rtt.c (RFC 6298) */
void rtt_init(const struct tcp *tcp, struct tcb *tcb);
void rtt_after_lost_syn(struct tcb *tcb);
void rtt_sample(const struct tcp *tcp, struct tcb *tcb, uint64_t us);
void rtt_backoff(const struct tcp *tcp, struct tcb *tcb);
void rtt_reset_backoff(const struct tcp *tcp, struct tcb *tcb);

/* recovery.c (RFC 5681 3.2, RFC 6582): which bytes to send again */
void recovery_dupack(struct tcp *tcp, struct tcb *tcb);
void recovery_acked(struct tcp *tcp, struct tcb *tcb, uint32_t acked, uint32_t flight);
void recovery_rto(struct tcp *tcp, struct tcb *tcb);
uint32_t recovery_window(const struct tcb *tcb);

/* congestion.c: a connection and its congestion control */
/* Which one: -ENOENT when there is none of that number. */
int congestion_choose(struct tcp *tcp, struct tcb *tcb, int64_t algorithm);
/* The connection is established. */
void congestion_start(struct tcp *tcp, struct tcb *tcb);
/* ack: acked, in_flight and rtt_us; the rest is filled in. */
void congestion_acked(struct tcp *tcp, struct tcb *tcb, struct cc_ack *ack);
/* Sets ssthresh; cwnd is for recovery to bring down to it. */
void congestion_lost(struct tcp *tcp, struct tcb *tcb, enum cc_cause cause, uint32_t in_flight);
/* again: the timeout repeats one, so ssthresh holds (RFC 5681 3.1). */
void congestion_rto(struct tcp *tcp, struct tcb *tcb, uint32_t in_flight, bool again);
/* The last reduction was for nothing. */
void congestion_undo(struct tcp *tcp, struct tcb *tcb);
/* New text is about to be sent; after a pause the window may have to shrink. */
void congestion_restart(struct tcp *tcp, struct tcb *tcb);
/* Text was sent as far as it may; limited: the window allows no more. */
void congestion_used(struct tcp *tcp, struct tcb *tcb, bool limited);
/* Gives the state back. */
void congestion_release(struct tcp *tcp, struct tcb *tcb);

/* pace.c: when text may leave */
static const int64_t PACE_MAX = 1ll << 42; /* bytes/s; who wants more is not paced */
/* Bytes per second that it leaves at, UINT64_MAX for any. */
uint64_t pace_rate(const struct tcp *tcp, const struct tcb *tcb);
/* How many bytes may leave now; 0: none, and the timer is armed. */
uint32_t pace_allows(struct tcp *tcp, struct tcb *tcb);
/* So many have left. */
void pace_sent(struct tcp *tcp, struct tcb *tcb, uint32_t len);

/* reass.c: out-of-order text */
/* Queues seg's text at seg->seq > rcv_nxt; owns seg->m. */
void reass_add(struct tcp *tcp, struct tcb *tcb, struct segment *seg);
/* Moves what has become in-order to the receive buffer. */
void reass_drain(struct tcp *tcp, struct tcb *tcb);
void reass_free(struct tcp *tcp, struct tcb *tcb);
/* SACK blocks, most recent first (RFC 2018 4). How many. */
unsigned reass_sacks(const struct tcp *tcp, const struct tcb *tcb, struct range *out, unsigned max);

static inline struct core *tcp_core(struct tcp *tcp)
{
    return &tcp->net.core;
}

static inline ust_time tcp_now(const struct tcp *tcp)
{
    return tcp->net.core.now;
}

static inline uint32_t tcb_flight(const struct tcb *tcb)
{
    return tcb->snd_max - tcb->snd_una;
}

/* RFC 9293 3.3.2: has our SYN been acknowledged and theirs received? */
static inline bool tcb_synchronized(const struct tcb *tcb)
{
    return tcb->state != UST_CLOSED && tcb->state != UST_LISTEN && tcb->state != UST_SYN_SENT &&
           tcb->state != UST_SYN_RECEIVED;
}

/* The sequence number behind the last byte the application wrote. */
static inline uint32_t snd_end(const struct tcb *tcb)
{
    return tcb->sndbuf.start + tcb->sndbuf.len;
}

/* What a SYN-ACK says. */
static inline uint16_t tcp_request_window(const struct request *req)
{
    return (uint16_t)(req->rcv_wnd < 65535 ? req->rcv_wnd : 65535);
}

static inline void seg_drop(struct tcp *tcp, struct segment *seg, enum counter why)
{
    net_drop(&tcp->net, seg->m, why);
    seg->m = NULL;
}
