/* SPDX-License-Identifier: BSD-3-Clause */
/* What a sender knows of its flight: a record of each transmission, and what
 * loss recovery has concluded from the ACKs (RFC 6675, RFC 8985).
 *
 * A record covers text that left at one time in segments of one size. Records
 * are cut at segment boundaries when a SACK block or a retransmission takes
 * only a part, and put together again where their parts have become alike.
 *
 *        snd_una                                               snd_max
 *           | sacked | lost | in flight     | sent again | sacked |
 *   head -> r0       r1     r2              r3           r4 <- tail
 *
 *  T1  the records are sorted, apart, not empty, and cover exactly what is
 *      unacknowledged (of a SYN there is none)
 *  T2  packets, sacked, lost, again, waiting and their bytes are the sums over
 *      the records; without SACK sacked is a guess from duplicate ACKs
 *  T3  in the list by time, oldest transmission first, if and only if TIMED:
 *      neither sacked nor waiting to be sent again
 *  T4  no record before `resend` waits to be sent again (NONE: start at head)
 *
 * Packets are counted as Linux counts them, for its rules and its tcp_info;
 * windows are bytes.                                                        */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "../base/ranges.h"
#include "../ustack.h"

enum sent_flag {
    SENT_SACKED = 1, /* the peer holds it */
    SENT_LOST = 2,   /* what was in the network of it is not any more */
    SENT_AGAIN = 4,  /* a retransmission is in flight */
    SENT_EVER = 8,   /* it has been sent more than once */
    SENT_FIN = 16,   /* its last number is the FIN's */
    SENT_TIMED = 32, /* in the list by time */
};

struct sent {
    uint32_t seq, end;
    ust_time at;           /* last transmission; no two of a connection at one time */
    uint32_t next, prev;   /* by sequence number; next: free list, too */
    uint32_t later, older; /* by time */
    uint32_t delivered;    /* packets that had been delivered by then … */
    ust_time delivered_at; /* … and when the last of them was … */
    ust_time first_sent;   /* … and when it had been sent (rate.c) */
    uint16_t segs, mss;    /* packets, and their text but for the last one's */
    uint8_t flags;         /* enum sent_flag */
    bool app_limited;      /* the application had no more to send */
};

struct recovery {
    /* the records, by index */
    uint32_t head, tail, oldest, newest;
    uint32_t cursor; /* where the last SACK block ended, or NONE */
    uint32_t resend;
    uint32_t n_records;

    /* packets, and bytes, of the records by what is known of them */
    uint32_t packets, sacked, lost, again, waiting;
    uint32_t sacked_bytes, lost_bytes, again_bytes;
    ust_time delivered_at; /* when the last of them were */
    ust_time first_sent;   /* when the youngest of them was */
    uint32_t lost_total;   /* packets ever thought lost */

    bool nobody : 1;      /* no connection has it: it must not change */
    bool own_used : 1;    /* the record of this TCB that no pool is needed for */
    bool burst : 1;       /* the last record is of the burst that is being sent */
    bool rack_moved : 1;  /* a later transmission is known to have arrived */
    bool dsack_round : 1; /* a DSACK after reordering waits to widen reo_wnd */
    bool frto : 1;        /* RFC 5682 is finding out whether the RTO was spurious */
    bool renege : 1;      /* the peer dropped sacked text */
    bool undo : 1;        /* undo_marker is set */
    bool restorable : 1;  /* cwnd and ssthresh may be restored */
    bool stamped : 1;     /* retrans_ts is set */
    bool tlp : 1;         /* a tail loss probe is out: tlp_end */
    bool tlp_resent : 1;  /* and it was no new text */
    bool tlp_due : 1;     /* send one */
    bool new_first : 1;   /* F-RTO: new text before retransmissions */
    uint32_t recover;     /* RFC 6582: snd_nxt when the episode began */
    uint32_t fack;        /* end of the highest sacked text, while any is */
    uint32_t tlp_end;     /* snd_nxt when the probe was sent */
    uint32_t rack_end;    /* of the latest transmission known delivered … */
    uint32_t reo_delivered;
    ust_time last_at; /* of the transmission made last */
    ust_time rack_at; /* … when it was sent */

    uint32_t prr_delivered, prr_out; /* packets, since recovery began (RFC 9937) */

    /* what to restore when the episode proves to be needless */
    uint32_t undo_marker; /* snd_una when the episode began */
    int32_t undo_retrans; /* retransmissions not yet shown needless; -1: none sent */
    uint32_t retrans_ts;  /* timestamp of the episode's first retransmission */

    struct range seen[4]; /* the SACK blocks of the last ACK */
};
