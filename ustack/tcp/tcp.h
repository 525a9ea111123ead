/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP (RFC 9293): the layer's state and what its files do for each other.
 *
 *   in:  tcp_input -> look-up -> listen.c | open.c | timewait.c | input.c
 *   out: tcp_ready() puts a TCB on the output list; tcp_transmit() empties it
 *        through tcp_output(). What belongs to no TCB goes through respond.c.
 *
 * Input never sends: it changes state and marks the TCB ready.              */
#pragma once
#include "../base/share.h"
#include "segment.h"
#include "tcb.h"

struct tcp;

/* Bits of tcp.recovery. */
enum { RECOVERY_RACK = 1, RECOVERY_STATIC = 2, RECOVERY_NO_DUPTHRESH = 4 };

#define TIMEOUT_MIN (2 * NS_PER_MS) /* what Linux adds to short timers */

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
    struct flight *flights; /* the first is nobody's: see flight.c */
    struct sent *sents;     /* one for each of them, then the pool */
    uint32_t *port_users;   /* connections and binds of each local port */
    uint32_t n_tcbs, n_listeners, n_requests, n_timewaits, n_reasses, n_cc_states, n_sents;
    uint32_t tcbs_used, listeners_used, requests_used, timewaits_used, reasses_used;
    uint32_t cc_states_used, cc_hand;  /* clock's hand over cc_states */
    uint32_t report_head, report_tail; /* states with news; see report.c */
    uint32_t tcb_free, listener_free, request_free, timewait_free, reass_free, cc_state_free;
    struct traffic *traffics; /* the first is nobody's, then as many as TCBs: see traffic.c */
    uint32_t traffic_free, traffics_fresh;
    struct extra *extras; /* the first is nobody's: see extra.c */
    uint32_t n_extras, extra_free, extras_fresh, extras_used;
    uint32_t n_flights, flight_free, flights_fresh, flights_used;
    uint32_t sent_free, sents_used, sents_fresh; /* from fresh on none was ever taken */
    uint32_t tw_oldest, tw_newest;
    uint32_t tcb_timers, request_timers, timewait_timers; /* first numbers */
    uint32_t ready_head, ready_tail, n_ready;
    uint32_t event_head, event_tail;
    uint32_t orphans, orphan_oldest, orphan_newest; /* see orphan.c */
    struct tokens rsts;
    struct fastopen_peer *fo_peers; /* see fastopen.c */
    uint32_t n_fo_peers;
    uint32_t fo_off_times;
    ust_time fo_off_until;
    uint32_t port_counter; /* RFC 6056 3.3.3 */
};

/* tcp.c: tables and life cycle */
void tcp_init(struct tcp *tcp, const struct tcp_upcalls *up);
struct tcb *tcb_alloc(struct tcp *tcp);          /* CLOSED; NULL when full */
void tcb_free(struct tcp *tcp, struct tcb *tcb); /* returns everything it holds */
uint32_t flow_hash(const struct tcp *tcp, const struct flow_key *key);
/* The value (kind and index) of a flow, or TCP_NONE. */
uint32_t flow_find(const struct tcp *tcp, const struct flow_key *key);
uint32_t flow_find_hashed(const struct tcp *tcp, const struct flow_key *key, uint32_t hash);
/* A flow's hash is of its key, and taken once: what is in the table is found by
 * it again. lport: the key's. */
int flow_insert(struct tcp *tcp, uint16_t lport, uint32_t hash, enum flow_kind kind, uint32_t i);
void flow_remove(struct tcp *tcp, uint16_t lport, uint32_t hash, enum flow_kind kind, uint32_t i);
/* What the table holds of a flow becomes something else. */
void flow_replace(struct tcp *tcp, uint32_t hash, enum flow_kind from, uint32_t i,
                  enum flow_kind to, uint32_t k);
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
/* What it needs before it may send text. */
void tcp_open_sender(struct tcp *tcp, struct tcb *tcb);
bool tcp_error_input(struct net *net, const struct ust_addr *src, const struct ust_addr *dst,
                     const uint8_t *quoted, const struct ip_error *e);

/* ahead.c: what a burst is about to need. First the hashes of all, then for each
 * frame, a few before its turn, its TCB, and after that what the TCB leads to. */
void ahead_look_up(struct tcp *tcp, struct mbuf **burst, unsigned n);
void ahead_fetch_tcb(const struct tcp *tcp, const struct mbuf *m);
void ahead_fetch_flight(const struct tcp *tcp, const struct mbuf *m);

/* text.c: the seventh and the eighth step */
enum verdict tcp_process_text(struct tcp *tcp, struct tcb *tcb, struct segment *seg);
/* Takes text of which nothing is old and nothing beyond the window. */
enum verdict tcp_queue_text(struct tcp *tcp, struct tcb *tcb, struct segment *seg);
void tcp_process_fin(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);

/* ack.c: the fifth check, what an ACK does to the sender */
enum verdict tcp_check_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
/* The same of an ACK that lies in what was sent, on an open connection. */
void tcp_take_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
/* A sample from the SYN that seg acknowledges. */
void tcp_time_syn(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
void tcp_update_window(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);

/* open.c: active opens, and initial parameters of any connection */
int tcp_connect(struct tcp *tcp, struct tcb *tcb, const struct ust_addr *addr, uint16_t port);
void tcp_syn_sent(struct tcp *tcp, struct tcb *tcb, struct segment *seg, const struct packet *p);
/* Takes the peer's SYN options and sets MSS, scales, windows. */
void tcp_negotiate(struct tcp *tcp, struct tcb *tcb, const struct tcp_options *opt);
void tcp_set_mss(struct tcp *tcp, struct tcb *tcb);
/* A peer's MSS when it does not say (MUST-15). */
uint16_t tcp_default_mss(const struct tcp *tcp, const struct ust_addr *remote);
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
bool tcp_flow_free(const struct tcp *tcp, const struct flow_key *key, uint32_t hash);
/* Frees that record. The least ISS of its successor, or 0 when there was none. */
uint32_t tcp_timewait_reopen(struct tcp *tcp, const struct flow_key *key, uint32_t hash);

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
struct flow_numbers {
    uint32_t isn, ts_offset;
};
struct flow_numbers tcp_numbers(const struct tcp *tcp, const struct flow_key *key);
/* A free local port for key, or 0 when there is none. */
uint16_t tcp_pick_port(struct tcp *tcp, const struct flow_key *key);
uint32_t tcp_ts_now(const struct tcp *tcp, uint32_t offset);

/* output.c: what a TCB owes and may send */
void tcp_transmit(struct tcp *tcp, unsigned max_frames);
/* Bytes that flow and congestion control allow beyond snd_nxt. */
/* How far one call of output got. */
enum progress { FINISHED, NO_ROOM, NO_MBUF };
/* New text and FIN, as far as both windows and pacing allow. max: frames that
 * may wait for the port. */
enum progress tcp_send_new(struct tcp *tcp, struct tcb *tcb, unsigned max);
/* Text of one burst, all of it: cut into segments here or by the port. */
enum progress tcp_send_burst(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t len,
                             bool fin);
uint32_t tcp_usable_window(const struct tcb *tcb);
/* Everything that follows from an ACK having left, which offered wnd. */
void tcp_ack_sent(const struct tcp *tcp, struct tcb *tcb, uint32_t wnd);

/* plain.c: the same where little is to be decided; false: it is not so, and nothing
 * has happened */
bool plain_output(struct tcp *tcp, struct tcb *tcb);

/* sndspace.c: room in the send buffer, and how it grows */
void sndspace_grow(const struct tcp *tcp, struct tcb *tcb);
uint32_t sndspace_room(const struct tcp *tcp, const struct tcb *tcb);
/* Is it the share of all buffers that keeps len bytes from being taken? */
bool sndspace_tight(const struct tcp *tcp, const struct tcb *tcb, size_t len);
bool sndspace_writable(const struct tcp *tcp, const struct tcb *tcb);
/* There may be room now: grow the buffer, tell a writer that waits. */
void sndspace_check(struct tcp *tcp, struct tcb *tcb);

/* rcvwnd.c: the receive window, and how its buffer grows */
uint32_t tcp_window_to_offer(const struct tcp *tcp, const struct tcb *tcb);
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
void rcvwnd_grow_to(struct tcb *tcb, uint32_t bytes);
void rcvwnd_set_clamp(struct tcb *tcb, uint32_t clamp);

/* delack.c: when in-order text is acknowledged */
void delack_measure_mss(struct tcb *tcb, const struct segment *seg);
void delack_text_arrived(struct tcp *tcp, struct tcb *tcb, uint32_t len);
void delack_decide(struct tcp *tcp, struct tcb *tcb);
void delack_fin(struct tcp *tcp, struct tcb *tcb);
void delack_expired(struct tcp *tcp, struct tcb *tcb);
void delack_wait_for_text(struct tcp *tcp, struct tcb *tcb);
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
    uint32_t gso_mss;                       /* 0, or the payload bytes of a segment */
    const struct fastopen_option *fastopen; /* or NULL */
    uint16_t urg;                           /* with TH_URG */
    bool may_fragment, ignore_path;         /* see struct ip_out */
    bool ae;                                /* RFC 9768 */
    unsigned n_ecn;                         /* fields of its option; 0: none */
    uint32_t ecn_bytes[3];
};
unsigned tcp_options_len(const struct tcp_header *h);
/* Puts a header in front of m's payload and sends it. Owns m. */
void tcp_send_header(struct tcp *tcp, struct mbuf *m, const struct tcp_header *h);
/* The same of the segment at snd_nxt, with no option but timestamps, nor urgent. */
void tcp_send_plain(struct tcp *tcp, struct tcb *tcb, struct mbuf *m, uint8_t flags, uint32_t wnd);
/* A segment without text; false when there is no mbuf. */
bool tcp_send_bare(struct tcp *tcp, const struct tcp_header *h);

/* urgent.c: urgent data (RFC 6093) */
/* What has just been written ends in an urgent byte. */
void urgent_queue(struct tcp *tcp, struct tcb *tcb);
bool urgent_sending(struct tcb *tcb);
/* Sets the urgent pointer of a segment where it belongs. */
void urgent_mark(struct tcb *tcb, struct tcp_header *h);
void urgent_input(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
/* The number of the next byte to read. */
uint32_t urgent_read_to(const struct tcb *tcb);
/* Is it the urgent one; and must reading pass over it? */
bool urgent_at_mark(const struct tcb *tcb);
bool urgent_skips(const struct tcb *tcb);
/* How many bytes may be read before the mark; all, at it or without. */
uint32_t urgent_until_mark(const struct tcb *tcb);
void urgent_was_read(struct tcb *tcb);

/* chrono.c: what a sender's time goes by, for TCP_INFO */
void chrono_update(struct tcp *tcp, struct tcb *tcb);
/* ns so far */
ust_time chrono_spent(const struct tcp *tcp, const struct tcb *tcb, enum chrono which);
void chrono_rto(struct tcp *tcp, struct tcb *tcb);
void chrono_progress(const struct tcp *tcp, struct tcb *tcb);

/* fastopen.c: text in SYNs (RFC 7413) */
enum fastopen_answer {
    FASTOPEN_REFUSED,       /* an ordinary SYN-ACK */
    FASTOPEN_COOKIE,        /* one that brings a cookie */
    FASTOPEN_CHILD,         /* a connection at once */
    FASTOPEN_CHILD_RENEWED, /* and a new cookie */
};
enum fastopen_answer fastopen_syn(struct tcp *tcp, const struct tcb *listening,
                                  const struct flow_key *key, const struct segment *seg);
/* The cookie that key's remote host may show. */
void fastopen_cookie(const struct tcp *tcp, const struct flow_key *key,
                     struct fastopen_option *out);
/* tcb is in SYN-RECEIVED and open already; and no longer. */
void fastopen_pending(struct tcp *tcp, struct tcb *tcb, const struct tcb *listening);
void fastopen_settled(struct tcp *tcp, struct tcb *tcb);
bool fastopen_enabled(const struct tcp *tcp);
/* May a SYN to addr have text; how much; and what option. */
bool fastopen_possible(const struct tcp *tcp, const struct ust_addr *addr);
uint32_t fastopen_space(const struct tcp *tcp, const struct tcb *tcb);
void fastopen_ask(const struct tcp *tcp, struct tcb *tcb);
void fastopen_syn_option(const struct tcp *tcp, const struct tcb *tcb, struct fastopen_option *out);
void fastopen_answered(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
/* The SYN was not answered in time. */
void fastopen_timeout(struct tcp *tcp, const struct tcb *tcb);

/* respond.c: answers that belong to no TCB */
void tcp_respond_rst(struct tcp *tcp, const struct segment *seg, const struct packet *p);
void tcp_respond_synack(struct tcp *tcp, const struct request *req);
void tcp_respond_timewait(struct tcp *tcp, struct timewait *tw);
/* A RST for a TCB that is about to go. */
void tcp_send_rst(struct tcp *tcp, struct tcb *tcb);

/* timer.c */
void tcp_timer(struct tcp *tcp, struct tcb *tcb);
/* Arms t of rexmt, tlp and reo, and disarms the other two. */
void tcp_arm_loss(struct tcp *tcp, struct tcb *tcb, enum tcp_timer t, ust_time deadline);
void tcp_disarm_loss(struct tcb *tcb);
void tcp_arm_rexmt(struct tcp *tcp, struct tcb *tcb);
/* since_sent: the RTO runs since the first record was sent, not since now. */
void tcp_rearm_rexmt(struct tcp *tcp, struct tcb *tcb, bool since_sent);
void tcp_arm_persist(struct tcp *tcp, struct tcb *tcb);
/* What the socket's options say, else the settings. */
uint32_t tcp_keepidle(const struct tcp *tcp, const struct tcb *tcb);
uint32_t tcp_keepintvl(const struct tcp *tcp, const struct tcb *tcb);
uint32_t tcp_keepcnt(const struct tcp *tcp, const struct tcb *tcb);
uint32_t tcp_syncnt(const struct tcp *tcp, const struct tcb *tcb);
void tcp_arm_keepalive(struct tcp *tcp, struct tcb *tcb, ust_time since);

/* rtt.c (RFC 6298) */
void rtt_init(const struct tcp *tcp, struct tcb *tcb);
void rtt_after_lost_syn(struct tcb *tcb);
void rtt_sample(const struct tcp *tcp, struct tcb *tcb, uint64_t us);
/* A candidate for min_rtt. */
void rtt_least(const struct tcp *tcp, struct tcb *tcb, uint64_t us);
void rtt_backoff(const struct tcp *tcp, struct tcb *tcb);
void rtt_reset_backoff(const struct tcp *tcp, struct tcb *tcb);

/* What one ACK has brought, gathered on its way through ack.c. */
struct ack_news {
    uint32_t prior_una, prior_fack, prior_flight;
    uint32_t delivered, lost, sacked_bytes; /* what rec said before it */
    uint32_t packets;                       /* acknowledged in order */
    uint32_t reord, sack_reord;             /* lowest text sent once that came late */
    uint32_t prior_delivered;               /* when the newest of it was sent */
    uint32_t ts_ecr, rtt_us;                /* rtt_us: of the newest; 0: none */
    ust_time first_acked, last_acked;       /* when text sent once was sent; 0: none */
    ust_time first_sacked, last_sacked;
    uint32_t ce_bytes;                      /* of what was delivered: met congestion */
    ust_time rate_at, rate_sent, send_time; /* of the youngest record delivered: see rate.c */
    uint32_t rate_prior;
    bool rate_app_limited;
    bool ecr_ok;
    bool advanced;     /* snd_una has moved */
    bool sacked;       /* something was newly sacked */
    bool dsack;        /* it reports a duplicate … */
    bool dsack_tlp;    /* … which was our probe */
    bool repeat;       /* says nothing but what was said before … */
    bool dupack;       /* … and no D-SACK */
    bool delivery;     /* prior_delivered is set */
    bool resent_acked; /* text sent more than once was acknowledged */
    bool orig_acked;   /* text sent once, from before recover, has arrived */
    bool reneging;     /* the first record left is sacked */
    bool lost_again;   /* a retransmission is lost */
    bool rearm;        /* the loss timer starts anew */
    bool resend;       /* what is lost may go */
};

/* flight.c: what a connection with text in flight has besides */
void flight_init(struct tcp *tcp);
/* tcb begins without one. */
void flight_none(const struct tcp *tcp, struct tcb *tcb);
/* Gives tcb one if it has none; false: none is to be had. */
bool flight_have(struct tcp *tcp, struct tcb *tcb);
/* Would it get one? */
bool flight_is_free(const struct tcp *tcp, const struct tcb *tcb);
/* Takes back what tcb does not need while nothing is in flight. */
void flight_rest(struct tcp *tcp, struct tcb *tcb);
void flight_release(struct tcp *tcp, struct tcb *tcb);
uint32_t flight_index(const struct tcp *tcp, const struct tcb *tcb);
/* Is the first one still nobody's? */
bool flight_check(const struct tcp *tcp);

/* traffic.c: what connections have that have carried text */
void traffic_init(struct tcp *tcp);
void traffic_none(const struct tcp *tcp, struct tcb *tcb);
/* Takes one for tcb, which has none; there is always one to be had. */
struct traffic *traffic_take(struct tcp *tcp, struct tcb *tcb);
static inline struct traffic *traffic_have(struct tcp *tcp, struct tcb *tcb)
{
    return tcb_traffic(tcb)->nobody ? traffic_take(tcp, tcb) : tcb_own_traffic(tcb);
}
void traffic_release(struct tcp *tcp, struct tcb *tcb);
bool traffic_check(const struct tcp *tcp);

/* extra.c: what few connections have besides */
void extra_init(struct tcp *tcp);
void extra_none(const struct tcp *tcp, struct tcb *tcb);
/* tcb's, taken if it has none yet; NULL: none is to be had. */
struct extra *extra_have(struct tcp *tcp, struct tcb *tcb);
/* Gives tcb, which has none, the settings of l. False: none is to be had. */
bool extra_inherit(struct tcp *tcp, struct tcb *tcb, const struct tcb *l);
void extra_release(struct tcp *tcp, struct tcb *tcb);
bool extra_check(const struct tcp *tcp);

/* sent.c: the records */
void sent_clear(struct tcp *tcp, struct tcb *tcb);
/* New text (and FIN) left; it goes on where the last record ends. */
void sent_add(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t end, bool fin);
/* Cuts s at seq, which lies within it, and returns the part behind, or NULL. */
struct sent *sent_cut(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint32_t seq);
/* Makes s and the record behind it one, with the flags of s. Returns it, or
 * the record behind when the two are too large for one. */
struct sent *sent_join(struct tcp *tcp, struct tcb *tcb, struct sent *s);
void sent_set(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint8_t flags);
/* What was in the network of s is lost, unless it is sacked. */
void sent_mark_lost(struct tcp *tcp, struct tcb *tcb, struct sent *s);
/* s has been sent again just now; flags: to be set. */
void sent_resent(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint8_t flags);
/* s is to be sent in segments of mss. */
void sent_resize(struct tcb *tcb, struct sent *s, uint32_t mss);
/* Takes off the front of the first record what ack covers. Packets gone. */
uint32_t sent_trim(struct tcp *tcp, struct tcb *tcb, struct sent *s, uint32_t ack);
/* The record that holds seq; NULL: none does. */
struct sent *sent_find(struct tcp *tcp, struct tcb *tcb, uint32_t seq);
/* The first that waits to be sent again, or NULL. */
struct sent *sent_waiting(struct tcp *tcp, struct tcb *tcb);
/* T1 to T4 of sent.h: 0, or the number of the one that does not hold. */
int sent_check(const struct tcp *tcp, const struct tcb *tcb);

/* scoreboard.c: what ACKs say about the records */
uint32_t scoreboard_fack(const struct tcb *tcb);
void scoreboard_reordered(struct tcp *tcp, struct tcb *tcb, uint32_t low);
void scoreboard_dupack(struct tcp *tcp, struct tcb *tcb);
void scoreboard_guess_none(struct tcb *tcb);
void scoreboard_acked(struct tcp *tcp, struct tcb *tcb, struct ack_news *news);
void sack_input(struct tcp *tcp, struct tcb *tcb, const struct segment *seg, struct ack_news *news);
void sack_forget_blocks(struct recovery *rec);
void sack_mark_lost(struct tcp *tcp, struct tcb *tcb);

/* rack.c (RFC 8985 6) */
void rack_advance(struct tcp *tcp, struct tcb *tcb, uint8_t flags, ust_time at, uint32_t end);
int64_t rack_left(const struct tcp *tcp, const struct tcb *tcb, const struct sent *s,
                  ust_time window);
/* Marks what must be lost; true: the reordering timer waits for the rest. */
bool rack_mark_lost(struct tcp *tcp, struct tcb *tcb);
void rack_timeout(struct tcp *tcp, struct tcb *tcb);
void rack_adapt(const struct tcp *tcp, struct tcb *tcb, const struct ack_news *news);

/* tlp.c (RFC 8985 7) */
/* Arms the probe's timer if one is wanted; restart: the RTO starts anew. */
bool tlp_schedule(struct tcp *tcp, struct tcb *tcb, bool restart);
void tlp_timeout(struct tcp *tcp, struct tcb *tcb);
/* A probe has left; resent: text that was sent before. */
void tlp_sent(struct tcp *tcp, struct tcb *tcb, bool resent);
void tlp_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg,
             const struct ack_news *news);

/* resend.c: text that was sent before */
/* What is lost; when F-RTO asks for it, new text first. */
enum progress resend_lost(struct tcp *tcp, struct tcb *tcb, unsigned max);
/* A tail loss probe. */
enum progress resend_probe(struct tcp *tcp, struct tcb *tcb);

/* prr.c (RFC 9937) */
void prr_ack(struct tcb *tcb, uint32_t delivered, uint32_t lost, bool advanced);

/* undo.c: needless recoveries. True: the ACK has nothing else to say. */
void undo_begin(struct tcb *tcb);
bool undo_recovery(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news);
bool undo_partial(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news);
bool undo_loss(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news, bool frto);
bool undo_dsack(struct tcp *tcp, struct tcb *tcb);
void undo_try_open(struct tcp *tcp, struct tcb *tcb);
void undo_keep_open(struct tcp *tcp, struct tcb *tcb);

/* recovery.c: states */
void recovery_init(const struct tcp *tcp, struct tcb *tcb);
void recovery_enter(struct tcp *tcp, struct tcb *tcb);
/* Congestion without a loss: the window comes down over a round trip. */
void recovery_cwr(struct tcp *tcp, struct tcb *tcb);
/* The same at once, for a loss that is already repaired. */
void recovery_reduce_once(struct tcp *tcp, struct tcb *tcb);
void recovery_ack(struct tcp *tcp, struct tcb *tcb, struct ack_news *news);
void recovery_window(struct tcp *tcp, struct tcb *tcb, const struct ack_news *news);
uint32_t recovery_delivered(const struct tcb *tcb, const struct ack_news *news);
void recovery_rto(struct tcp *tcp, struct tcb *tcb);
/* snd_mss has become less because the path did not take what begins at from. */
void recovery_narrowed(struct tcp *tcp, struct tcb *tcb, uint32_t from);

/* congestion.c: a connection and its congestion control */
/* Which one: -ENOENT when there is none of that number. */
int congestion_choose(struct tcp *tcp, struct tcb *tcb, int64_t algorithm);
/* The connection is established. */
void congestion_start(struct tcp *tcp, struct tcb *tcb);
/* Must recovery leave cwnd alone? */
bool congestion_owns_window(const struct tcb *tcb);
/* Every ACK that brings something. ack: acked, ce_bytes, in_flight, rtt_us and
 * may_grow; the rest is filled in. */
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

/* ecn.c: congestion marks */
/* Does the congestion control live on them? */
bool ecn_is_dctcp(const struct tcb *tcb);
/* Puts what we ask for into our SYN; into our SYN-ACK what we answer. */
void ecn_ask(struct tcp *tcp, struct tcb *tcb, struct tcp_header *h);
void ecn_answer(const struct tcp *tcp, const struct request *req, struct tcp_header *h);
void ecn_answer_tcb(const struct tcp *tcp, const struct tcb *tcb, struct tcp_header *h);
/* What the peer asks, answers, says to our answer. */
void ecn_requested(const struct tcp *tcp, const struct tcb *listening, struct request *req,
                   const struct segment *seg);
void ecn_take_syn(struct tcb *tcb, const struct segment *seg);
void ecn_take_synack(struct tcb *tcb, const struct segment *seg);
void ecn_take_third(struct tcb *tcb, const struct segment *seg);
/* A segment is about to leave; h has its other options, room: an option of
 * AccECN fits in beside the text. */
void ecn_mark(const struct tcp *tcp, struct tcb *tcb, struct tcp_header *h, enum ecn_what what,
              bool room);
/* May it be a super-segment? Not when its flags hold for the first part only. */
bool ecn_bears_super(const struct tcb *tcb);
/* A segment has come, and lies in the window. */
void ecn_received(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
/* What an ACK says of marks; true: the peer has seen some. */
bool ecn_feedback(struct tcb *tcb, const struct segment *seg, struct ecn_news *news);

/* accecn.c: RFC 9768 */
void accecn_first_option(const struct tcp *tcp, struct tcp_header *h);
void accecn_option(const struct tcp *tcp, struct tcb *tcb, struct tcp_header *h);
void accecn_received(struct tcp *tcp, struct tcb *tcb, const struct segment *seg);
void accecn_feedback(struct tcb *tcb, const struct segment *seg, unsigned ace,
                     struct ecn_news *news);

/* rate.c: how fast the path delivers */
void rate_sent(const struct tcp *tcp, struct tcb *tcb, struct sent *s);
void rate_delivered(struct tcb *tcb, const struct sent *s, struct ack_news *news);
/* Fills in what ack tells of it. */
void rate_sample(const struct tcp *tcp, struct tcb *tcb, const struct ack_news *news,
                 struct cc_ack *ack);
/* Both of the above, of an ACK that delivers just s, and loses nothing. */
void rate_plain(const struct tcp *tcp, struct tcb *tcb, const struct sent *s, struct cc_ack *ack);
void rate_check_app_limited(struct tcb *tcb);

/* report.c: news for congestion controls outside the engine */
/* More has happened to this connection: enum ust_cc_news. */
void report_note(struct tcp *tcp, const struct tcb *tcb, uint32_t more);
/* The state of this number changes hands. */
void report_forget(struct tcp *tcp, uint32_t i);
/* The next connection with news, and what they are; or NULL. */
struct tcb *report_take(struct tcp *tcp, struct cc_report *report);
/* How often it wants to hear; false: it has another congestion control. */
bool report_per_round(struct tcp *tcp, struct tcb *tcb, bool per_round);

/* pace.c: when text may leave */
static const int64_t PACE_MAX = 1ll << 42; /* bytes/s; who wants more is not paced */
/* Is this connection paced now? */
bool pace_is_on(const struct tcp *tcp, const struct tcb *tcb);
/* Bytes per second that it leaves at, UINT64_MAX for any. */
uint64_t pace_rate(const struct tcp *tcp, const struct tcb *tcb);
/* How many bytes may leave now; 0: none, and the timer is armed. */
uint32_t pace_allows(struct tcp *tcp, struct tcb *tcb);
/* Bytes of the bursts that text leaves in, whole segments. */
uint32_t pace_burst(const struct tcp *tcp, const struct tcb *tcb);
/* So many have left. */
void pace_sent(struct tcp *tcp, struct tcb *tcb, uint32_t len);

/* dsack.c: text that came twice, [lo, hi), for the next ACK. extend: what came
 * with the same segment as an earlier piece. */
void dsack_set(struct tcp *tcp, struct tcb *tcb, uint32_t lo, uint32_t hi);
void dsack_extend(struct tcp *tcp, struct tcb *tcb, uint32_t lo, uint32_t hi);
/* Takes the block to report: how many there are, 0 or 1. */
unsigned dsack_block(struct tcb *tcb, struct range *out);

/* reass.c: out-of-order text */
/* Queues seg's text at seg->seq > rcv_nxt; owns seg->m. */
void reass_add(struct tcp *tcp, struct tcb *tcb, struct segment *seg);
/* Moves what has become in-order to the receive buffer. */
void reass_drain(struct tcp *tcp, struct tcb *tcb);
void reass_free(struct tcp *tcp, struct tcb *tcb);
/* Throws text behind seq away until what is held takes at most budget bytes. */
void reass_prune(struct tcp *tcp, struct tcb *tcb, uint32_t seq, uint32_t budget);
/* SACK blocks, most recent first (RFC 2018 4). How many. */
unsigned reass_sacks(const struct tcp *tcp, const struct tcb *tcb, struct range *out, unsigned max);

/* Is a block of size bytes all zero, but for a 1 in its place at? */
static inline bool blank_but(const void *block, size_t size, size_t at)
{
    const uint8_t *p = block;

    for (size_t i = 0; i < size; i++)
        if (p[i] != (i == at))
            return false;
    return true;
}

static inline struct core *tcp_core(struct tcp *tcp)
{
    return &tcp->net.core;
}

static inline ust_time tcp_now(const struct tcp *tcp)
{
    return tcp->net.core.now;
}

static inline uint32_t tcb_index(const struct tcp *tcp, const struct tcb *tcb)
{
    return (uint32_t)(tcb - tcp->tcbs);
}

/* Where a timer's deadline is. */
static const uint8_t tcp_slots[TCP_TIMERS] = {
    [TIMER_REXMT] = SLOT_LOSS,     [TIMER_TLP] = SLOT_LOSS,     [TIMER_REO] = SLOT_LOSS,
    [TIMER_PERSIST] = SLOT_LOSS,   [TIMER_FINWAIT] = SLOT_LOSS, [TIMER_DELACK] = SLOT_DELACK,
    [TIMER_KEEPALIVE] = SLOT_KEEP, [TIMER_RETRY] = SLOT_LATER,  [TIMER_PACE] = SLOT_LATER,
};

/* UINT64_MAX: not armed. */
static inline ust_time tcp_deadline(const struct tcb *tcb, enum tcp_timer t)
{
    return tcb->timer[tcp_slots[t]] == t ? tcb->deadline[tcp_slots[t]] : UINT64_MAX;
}

static inline bool tcp_armed(const struct tcb *tcb, enum tcp_timer t)
{
    return tcp_deadline(tcb, t) != UINT64_MAX;
}

static inline void tcp_arm(struct tcp *tcp, struct tcb *tcb, enum tcp_timer t, ust_time deadline)
{
    struct wheel *w = &tcp->net.core.wheel;
    uint32_t id = tcp->tcb_timers + tcb_index(tcp, tcb);
    enum tcp_slot slot = tcp_slots[t];

    if (t == TIMER_RETRY && tcb->deadline[slot] < deadline)
        return; /* it asks for output, too */
    tcb->timer[slot] = (uint8_t)t;
    tcb->deadline[slot] = deadline;
    if (deadline < w->nodes[id].deadline)
        wheel_set(w, id, deadline);
}

static inline void tcp_disarm(struct tcb *tcb, enum tcp_timer t)
{
    if (tcb->timer[tcp_slots[t]] == t)
        tcb->deadline[tcp_slots[t]] = UINT64_MAX;
}

static inline uint32_t tcb_flight(const struct tcb *tcb)
{
    return tcb->snd_max - tcb->snd_una;
}

static inline uint32_t sent_index(const struct tcp *tcp, const struct sent *s)
{
    return (uint32_t)(s - tcp->sents);
}

static inline struct sent *sent_at(const struct tcp *tcp, uint32_t i)
{
    return i == TCP_NONE ? NULL : &tcp->sents[i];
}

/* RFC 6675's pipe: bytes that are believed to be in the network. */
static inline uint32_t tcb_pipe(const struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);
    uint32_t out = tcb_flight(tcb) + rec->again_bytes, left = rec->sacked_bytes + rec->lost_bytes;

    return out > left ? out - left : 0;
}

/* The same in packets. */
static inline uint32_t tcb_pipe_packets(const struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);
    uint32_t out = rec->packets + rec->again, left = rec->sacked + rec->lost;

    return out > left ? out - left : 0;
}

/* Bytes that the peer's window leaves beyond seq. */
static inline uint32_t tcb_window_left(const struct tcb *tcb, uint32_t seq)
{
    uint32_t used = seq - tcb->snd_una;

    return tcb->snd_wnd > used ? tcb->snd_wnd - used : 0;
}

/* Bytes that congestion control leaves. */
static inline uint32_t tcb_cwnd_left(const struct tcb *tcb)
{
    uint32_t pipe = tcb_pipe(tcb);

    return tcb->cc.cwnd > pipe ? tcb->cc.cwnd - pipe : 0;
}

/* The timestamp that went out at a time, connection's offset included. */
static inline uint32_t tcp_ts_at(ust_time at, uint32_t offset)
{
    return (uint32_t)(at / NS_PER_MS) + offset;
}

/* Buffer memory that received text holds. */
static inline uint64_t tcb_rcv_held(const struct tcp *tcp, const struct tcb *tcb)
{
    return (uint64_t)tcb->rcvbuf.charged +
           (tcb->reass == TCP_NONE ? 0 : tcp->reasses[tcb->reass].charged);
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

/* Bytes that make it readable. */
static inline uint32_t tcb_rcvlowat(const struct tcb *tcb)
{
    uint32_t n = tcb_extra(tcb)->rcvlowat;

    return n ? n : 1;
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
