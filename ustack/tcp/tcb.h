/* SPDX-License-Identifier: BSD-3-Clause */
/* Transmission control blocks, and what stands in for them: request blocks for
 * half-open connections and TIME-WAIT records.
 *
 * Send sequence space (RFC 9293 figure 3; data bytes live in sndbuf):
 *
 *        snd_una          snd_nxt         snd_una + snd_wnd
 *  acked |  in flight  |   may send now   |  must wait
 *
 *  I1  snd_una <= snd_nxt <= snd_max
 *  I2  something in flight => rexmt, tlp or reo is armed, one of them
 *      (RFC 6298 5.1)
 *  I3  sndbuf.start == snd_una, but for an unacknowledged SYN (one more) and
 *      an acknowledged FIN (one less)
 *  I4  snd_max <= sndbuf.start + sndbuf.len + fin_queued
 *
 * Receive sequence space:
 *
 *        rcv_nxt                  rcv_adv
 *   got  |  may come (reass)      |  not offered
 *
 *  I5  rcv_nxt <= rcv_adv, and rcv_adv never retreats (SHLD-14)
 *  I6  every range held in reass lies in (rcv_nxt, rcv_adv]
 *  I7  in the ready list if and only if `ready`; the same for events
 *  I8  in the flow table if and only if `in_table`                          */
#pragma once
#include <assert.h>
#include <stddef.h>

#include "../base/ranges.h"
#include "../base/rcvbuf.h"
#include "../base/sndbuf.h"
#include "../net/net.h"
#include "cc.h"
#include "ecn.h"
#include "sent.h"
#include "seq.h"

enum { TCP_NONE = 0xffffffff, TCP_MAX_RANGES = 256, TCB_GEN_MAX = 0x3fffffff };

/* IP_MTU_DISCOVER: WANT and DO set DF and heed path MTUs; DONT heeds them, too;
 * the others do neither. */
enum {
    MTU_DISCOVER_DONT,
    MTU_DISCOVER_WANT,
    MTU_DISCOVER_DO,
    MTU_DISCOVER_PROBE,
    MTU_DISCOVER_INTERFACE,
    MTU_DISCOVER_OMIT,
};

/* The one byte of urgent data that is remembered: see urgent.c. */
enum urgent {
    URGENT_NONE,   /* there is no mark */
    URGENT_COMING, /* announced */
    URGENT_HERE,   /* and has arrived: urgent_byte */
    URGENT_READ,   /* and was read out of its turn */
};

enum tcp_timer {
    TIMER_REXMT,   /* data, SYN or FIN unacknowledged */
    TIMER_TLP,     /* the tail of a flight may be lost */
    TIMER_REO,     /* a segment may be late, or lost */
    TIMER_PERSIST, /* data to send, window closed (MUST-36) */
    TIMER_DELACK,
    TIMER_KEEPALIVE,
    TIMER_FINWAIT, /* orphan in FIN-WAIT-2 */
    TIMER_RETRY,   /* mbufs had run out; try output again */
    TIMER_PACE,    /* text waits for its turn */
    TCP_TIMERS
};

/* Timers that are never armed together share one: see timer.c. */
enum tcp_slot {
    SLOT_LOSS,   /* rexmt, tlp, reo: in flight; persist: not; finwait: over */
    SLOT_DELACK, /* delack */
    SLOT_KEEP,   /* keepalive */
    SLOT_LATER,  /* retry, pace: both ask for output */
    TCP_SLOTS
};

/* Out-of-order data: ranges, and the frames that make them up as one list in
 * the order of seq.
 *
 *    head -> f -> f -> f -> f -> f        tail[i] is the last frame of range[i]
 *           |- range 0 -|  |- 1 -|                                              */
struct reass {
    struct range range[TCP_MAX_RANGES];
    uint32_t tail[TCP_MAX_RANGES];
    uint32_t head;
    unsigned n;
    uint32_t bytes;     /* payload held */
    uint32_t charged;   /* buffer memory held */
    uint32_t recent[4]; /* first bytes of the ranges that last grew, newest first */
    uint32_t next;      /* free list */
};

/* What a congestion control remembers; its owner's cc.state says which. */
struct cc_state {
    uint64_t words[CC_STATE_SIZE / 8];
    uint32_t owner; /* index of the TCB, or TCP_NONE */
    uint32_t next;  /* free list, or list of reports; TCP_NONE */
    uint32_t prev;  /* list of reports */
    bool reported;  /* is in it */
};

/* What bounds the receive window; see rcvwnd.c. */
struct rcvwnd {
    uint32_t ssthresh; /* the window opens no further for now; bytes */
    uint32_t clamp;    /* nor ever, until the buffer grows; 0: not set */
    uint32_t space;    /* most that was read in one round trip */
};

enum chrono { CHRONO_IDLE, CHRONO_BUSY, CHRONO_RWND, CHRONO_SNDBUF };

/* For TCP_INFO, what few connections have; see chrono.c. */
struct times {
    ust_time spent[2];  /* in CHRONO_RWND, CHRONO_SNDBUF */
    ust_time rto_since; /* of the timeouts that nothing has answered yet; 0: none */
    ust_time rto_spent;
    uint32_t rtos, rto_episodes;
};

enum { TCP_LINE = 64, TCP_UNIT = 8 };

/* What few connections have: options that were set, ECN, urgent data, and what
 * goes wrong, and is counted. See extra.c. All zero means that there is none of
 * it; the first stands for all connections that have none. */
struct extra {
    _Alignas(TCP_LINE) struct ecn ecn;
    struct times times;
    struct tokens challenges;
    ust_time oow_acked;       /* last ACK for an unacceptable segment; 0: never */
    uint64_t max_pacing_rate; /* bytes/s; 0: no limit */
    uint64_t bytes_retrans;
    uint32_t total_retrans, dupacks_in, rcv_ooopack;
    uint32_t reordered;     /* times that reordering was seen */
    uint32_t dsack_dups;    /* packets that the peer had twice */
    uint32_t snd_up;        /* behind the last urgent byte, when snd_urgent */
    uint32_t rcv_up;        /* the urgent byte, when there is a mark */
    uint32_t fin_seq;       /* of the FIN that is pending */
    struct range dup;       /* text that came twice, for the next ACK; see dsack.c */
    uint32_t notsent_lowat; /* TCP_NOTSENT_LOWAT; 0: the default */
    uint32_t rcvlowat;      /* bytes that make it readable; 0: 1 */
    uint32_t user_timeout_ms;
    uint32_t fo_qlen;                  /* TCP_FASTOPEN of a listener */
    uint32_t fo_parent, fo_parent_gen; /* the listener of a pending one */
    int32_t linger1;                   /* SO_LINGER, seconds and 1; 0: off */
    int16_t linger2;                   /* seconds in FIN-WAIT-2; -1: none, 0: the default */
    uint16_t keepidle, keepintvl;      /* 0: the default */
    uint16_t syn_len;                  /* bytes of text in our SYN */
    uint8_t keepcnt, syncnt;           /* 0: the default */
    uint8_t defer_retries;             /* SYN-ACKs that a listener waits for text; 0: not */
    uint8_t urgent_byte;
    bool nobody;   /* no connection has it: it must not change */
    uint32_t next; /* free list */
};

/* What a connection has that has carried text. There is one for each TCB,
 * taken with the first text or FIN, and kept: the memory of idle connections
 * that have not talked is not touched. The first stands for all that have none. */
struct traffic {
    uint64_t bytes_acked, bytes_received, bytes_sent;
    ust_time last_text; /* when text last came */
    uint32_t data_segs_in, data_segs_out;
    uint32_t delivered;     /* packets ever acknowledged or sacked */
    uint32_t rack_rtt;      /* round trip of the transmission that RACK last saw arrive, ns */
    uint64_t delivery_rate; /* bytes/s, last measured; 0: never */
    ust_time pace_at;       /* when what was sent will have left at the pacing rate */
    ust_time busy;          /* see chrono.c */

    /* Is the congestion window used? (RFC 2861, RFC 7661; as Linux judges) */
    ust_time used_since;
    uint32_t used;       /* most bytes in flight since used_since */
    uint32_t usage_seq;  /* where this window of data ends */
    uint32_t max_flight; /* most bytes in flight in it */
    bool limited;        /* cwnd held sending back in this window of data */
    bool nobody;         /* no connection has it: it must not change */

    /* how the receive buffer grows; see rcvwnd.c */
    uint32_t rcv_seq;      /* what was read when the measured round trip began … */
    uint32_t rcv_rtt8;     /* round trip from the receiver's side, us times 8; 0: none */
    uint32_t rcv_rtt_seq;  /* a whole window has come when rcv_nxt is here */
    uint32_t next;         /* free list */
    ust_time rcv_time;     /* … and when that was */
    ust_time rcv_rtt_time; /* when the window of rcv_rtt_seq was offered; 0: never */
};

/* The lines are in the order in which a segment needs them. What only some
 * connections need is elsewhere: struct traffic, flight and extra, each at a
 * distance from the TCB in units of TCP_UNIT. */
struct tcb {
    struct flow_key key;
    uint8_t state;    /* enum ust_tcp_state */
    uint8_t ca_state; /* enum ust_ca_state */
    uint8_t snd_wscale, rcv_wscale;
    uint32_t gen; /* of the handle, 1..TCB_GEN_MAX; changes when freed */

    bool in_table : 1;
    bool bound : 1;        /* holds a bind entry for (local, lport) */
    bool orphan : 1;       /* the application has closed it */
    bool orphan_waits : 1; /* and all is sent: in FIN-WAIT-2 */
    bool embryo : 1;       /* waits in an accept queue */
    bool ready : 1;        /* in the output list */
    bool event_queued : 1;
    bool ts_ok : 1, sack_ok : 1, wscale_ok : 1;
    bool syn_due : 1; /* (re)send SYN or SYN-ACK */
    bool ack_now : 1;
    bool rexmt_due : 1; /* resend what is lost, as far as cwnd allows */
    bool probe_due : 1, keepalive_due : 1;
    bool fin_queued : 1; /* the application has finished sending */
    bool fin_sent : 1;   /* at least once */
    bool fin_received : 1;
    bool fin_pending : 1; /* came out of order: expected at fin_seq */
    bool rcv_shut : 1;    /* the application reads no more */
    bool want_write : 1;  /* send was refused: tell when there is room */
    bool nodelay : 1, cork : 1, keepalive : 1, reuseaddr : 1;
    bool v6only : 1;      /* bound to ::, it takes no IPv4 */
    bool more : 1;        /* MSG_MORE: the next output holds a partial segment back */
    bool push : 1;        /* nor does it heed cork, once: TCP_NODELAY was set */
    bool wnd_clamped : 1; /* TCP_WINDOW_CLAMP: rcvwnd.clamp follows no buffer */
    bool fo_connect : 1;  /* TCP_FASTOPEN_CONNECT */
    bool fo_asks : 1;     /* our SYN has the option */
    bool fo_waits : 1;    /* connected in name: the SYN waits for text */
    bool fo_pending : 1;  /* a SYN with a cookie made it: open before its handshake has ended */
    bool fo_renew : 1;    /* its SYN-ACK brings a new cookie */
    bool fo_experimental : 1;
    bool oob_inline : 1;                  /* SO_OOBINLINE */
    bool snd_urgent : 1;                  /* snd_up is not acknowledged yet */
    uint8_t urgent : 2;                   /* enum urgent, of rcv_up */
    bool pingpong : 1;                    /* answers come quickly: delay ACKs */
    bool ack_pushed : 1, ack_pushed2 : 1; /* since the last ACK one, two small segments or PSHs */
    bool rcvbuf_locked : 1, sndbuf_locked : 1; /* SO_RCVBUF, SO_SNDBUF: no autotuning */
    bool rtt_timing : 1;                       /* the SYN is being timed */
    bool pace_full : 1;                        /* a burst has left: nothing before pace_at */
    bool forced : 1;                           /* persist timer: send less than SWS asks for */
    uint8_t chrono : 2;                        /* enum chrono of now: see chrono.c */
    bool rate_app_limited : 1; /* delivery_rate: while the application had no more to send */
    uint8_t syn_data : 1;      /* text went in the SYN, ours or theirs, and was taken */
    uint8_t fastopen_fail : 2; /* enum ust_fastopen_fail */
    uint8_t mtu_discover;      /* IP_MTU_DISCOVER */

    int32_t traffic, flight, extra; /* distances */

    /* sending */
    uint32_t snd_una, snd_nxt, snd_max, snd_wnd;
    uint32_t snd_wl1, snd_wl2, iss;
    uint32_t snd_mss; /* payload bytes of a full segment, options deducted */

    /* receiving */
    uint32_t rcv_nxt, rcv_adv, irs;
    uint32_t rcv_acked;    /* rcv_nxt of the last ACK sent */
    uint32_t rcv_mss;      /* about the peer's MSS */
    uint16_t last_seg_len; /* of a segment smaller than that; 0: none */
    uint16_t quickack;     /* ACKs still to send at once */
    uint32_t ato;          /* us that an ACK may wait; 0: not known yet */
    uint32_t ts_recent, ts_offset;
    uint32_t segs_in, segs_out; /* wrap, as Linux's */
    ust_time ts_recent_age;
    ust_time last_rcvd, last_sent;
    struct rcvwnd rcvwnd;
    uint32_t reass; /* index, or TCP_NONE */
    struct rcvbuf rcvbuf;
    struct sndbuf sndbuf;

    uint32_t ready_prev, ready_next;
    union {
        struct {
            uint32_t event_prev, event_next;
        };
        struct {
            uint32_t orphan_prev, orphan_next; /* see orphan.c */
        };
        struct {
            uint32_t parent; /* listener's TCB of an embryo */
            uint32_t next;   /* free list or accept queue */
        };
    };
    uint64_t user;
    ust_time deadline[TCP_SLOTS]; /* UINT64_MAX: not armed */
    uint8_t timer[TCP_SLOTS];     /* enum tcp_timer that it is of */
    uint32_t hash;                /* of key, while in_table */
    struct cc cc;
    uint32_t snd_sml;   /* end of the last small segment (Minshall's Nagle) */
    uint32_t max_wnd;   /* largest window the peer ever offered */
    uint32_t mtu_epoch; /* of the layer below when snd_mss was set */
    struct ip_dst dst;
    uint32_t dupacks_due, challenges_due; /* each is sent */

    uint32_t app_limited; /* until so many packets are delivered; 0: not */
    uint16_t reordering;  /* packets; how far back text has come */
    uint8_t reo_steps;    /* reordering window, quarters of the least RTT */
    uint8_t reo_persist;  /* recoveries for which it stays so */
    uint8_t retransmits;  /* RTOs in a row */
    uint8_t backoff;
    uint8_t probes, keepalives;

    /* time */
    uint32_t srtt, mdev, mdev_max, rttvar; /* us, times 8 and times 4 */
    uint32_t min_rtt;                      /* us, UINT32_MAX: none */
    uint32_t rto_us;
    uint32_t rtt_seq;    /* rttvar is next adapted when this is acknowledged */
    uint32_t listener;   /* index of struct listener, or TCP_NONE */
    ust_time min_rtt_at; /* while rtt_timing: when the SYN was sent */
    ust_time stalled;    /* since when nothing is acknowledged; 0: not */

    /* settings of this socket; rare ones are in struct extra */
    uint16_t peer_mss, user_mss;
    uint16_t advmss;
    uint8_t tos, ttl;
    int16_t error, soft_error; /* positive errno */
};

/* What a connection with text in flight has besides: see flight.c. The first
 * stands for all connections that have none. */
struct flight {
    _Alignas(TCP_LINE) struct recovery rec;
    uint32_t next; /* free list */
};

/* What is known of the flight; of a connection without one: nothing. */
static inline const struct recovery *tcb_rec(const struct tcb *tcb)
{
    return (const struct recovery *)((const char *)tcb + (ptrdiff_t)tcb->flight * TCP_UNIT);
}

/* The same to be changed, of a connection that has a struct flight. */
static inline struct recovery *tcb_own_rec(struct tcb *tcb)
{
    struct recovery *rec = (struct recovery *)((char *)tcb + (ptrdiff_t)tcb->flight * TCP_UNIT);

    assert(!rec->nobody);
    return rec;
}

static inline const struct extra *tcb_extra(const struct tcb *tcb)
{
    return (const struct extra *)((const char *)tcb + (ptrdiff_t)tcb->extra * TCP_UNIT);
}

/* Of a connection that has some. */
static inline struct extra *tcb_own_extra(struct tcb *tcb)
{
    struct extra *x = (struct extra *)((char *)tcb + (ptrdiff_t)tcb->extra * TCP_UNIT);

    assert(!x->nobody);
    return x;
}

static inline const struct traffic *tcb_traffic(const struct tcb *tcb)
{
    return (const struct traffic *)((const char *)tcb + (ptrdiff_t)tcb->traffic * TCP_UNIT);
}

/* Of a connection that has carried text. */
static inline struct traffic *tcb_own_traffic(struct tcb *tcb)
{
    struct traffic *t = (struct traffic *)((char *)tcb + (ptrdiff_t)tcb->traffic * TCP_UNIT);

    assert(!t->nobody);
    return t;
}

/* To be changed only if its mode is not ECN_OFF. */
static inline struct ecn *ecn_of(struct tcb *tcb)
{
    return (struct ecn *)&tcb_extra(tcb)->ecn;
}

/* What a server told us for Fast Open. */
struct fastopen_peer {
    struct ust_addr addr;
    ust_time at; /* when it did last */
    uint16_t mss;
    bool used;
    uint8_t len;
    uint8_t cookie[16];
};

struct listener {
    uint32_t tcb;
    uint32_t backlog;
    uint32_t accept_head, accept_tail, n_accept;
    uint32_t n_requests;
    uint32_t n_fastopen;   /* connections that wait for their handshake to end */
    ust_time cookie_until; /* until when an ACK may bring one of our cookies */
    uint32_t next;         /* free list */
};

/* A half-open passive connection (SYN-RECEIVED, RFC 9293 3.10.7.2). */
struct request {
    struct flow_key key;
    uint32_t hash; /* of key */
    uint32_t listener;
    uint32_t iss, irs;
    uint32_t wnd;     /* peer's window, unscaled */
    uint32_t rcv_wnd; /* ours, of which the SYN-ACK tells at most 65535 */
    uint32_t ts_recent, ts_offset;
    uint16_t peer_mss;
    uint8_t snd_wscale, rcv_wscale;
    uint8_t ecn, ecn_handshake; /* enum ecn_mode; IP mark of the SYN */
    bool ts_ok : 1, sack_ok : 1, wscale_ok : 1;
    bool fastopen : 1, experimental : 1; /* the SYN-ACK brings a Fast Open cookie */
    bool cookie : 1;                     /* not a block, but what a cookie stands for */
    bool acked : 1;                      /* only the text is missing (TCP_DEFER_ACCEPT) */
    uint8_t retries;
    ust_time sent;      /* first SYN-ACK, for the RTT */
    ust_time oow_acked; /* last ACK for a segment it does not take; 0: never */
    uint32_t next;
};

struct timewait {
    struct flow_key key;
    uint32_t snd_nxt, rcv_nxt;
    uint32_t ts_recent, ts_offset;
    uint16_t wnd; /* as it goes into the header */
    bool ts_ok;
    uint32_t hash; /* of key */
    ust_time ts_recent_age;
    ust_time oow_acked;
    uint32_t prev, next; /* oldest first; next: free list, too */
};
