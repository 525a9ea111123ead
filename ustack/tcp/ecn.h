/* SPDX-License-Identifier: BSD-3-Clause */
/* What a connection knows of congestion marks: RFC 3168, or RFC 9768 (AccECN),
 * or DCTCP's way to echo them (RFC 8257).
 *
 * A mark comes in the IP header, is told to the sender in the TCP header, and
 * the sender slows down. Each direction of a connection is of its own:
 *
 *   receiver   classic   ECE on each ACK from a mark until CWR comes
 *              DCTCP     ECE on the ACKs of marked text, and on no other
 *              AccECN    a count of marked packets, modulo 8, on each segment,
 *                        and of bytes by their mark in an option
 *   sender     text that is sent for the first time is ECT(0)                */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum ip_ecn { IP_NOT_ECT = 0, IP_ECT1 = 1, IP_ECT0 = 2, IP_CE = 3, IP_ECN_MASK = 3 };

enum ecn_mode { ECN_OFF, ECN_CLASSIC, ECN_ACCURATE };

/* ACE: the three header bits AE, CWR, ECE as a number. */
enum { ACE_MASK = 7, ACE_START = 5, ECN_EARLY_ACKS = 4 };

struct ecn {
    uint8_t mode;        /* enum ecn_mode; of a TCB in SYN-SENT what its SYN asks for */
    uint8_t handshake;   /* IP mark of the peer's SYN or SYN-ACK */
    uint8_t last;        /* of the last segment */
    bool echo : 1;       /* classic: ECE until CWR comes; DCTCP: the last text was marked */
    bool cwr_due : 1;    /* classic: tell that cwnd has come down */
    bool seen : 1;       /* ECT has come: text without it was sent again */
    bool no_ect : 1;     /* what we send must not be ECT: the path does not bear it */
    bool reflect : 1;    /* AccECN: the next ACK is the handshake's third segment */
    bool option_ok : 1;  /* AccECN: the peer sends the option */
    bool option_due : 1; /* AccECN: its counts have changed */

    /* DCTCP: ACKs of what came before the mark changed (RFC 8257 3.2) */
    uint8_t n_early, early_ece; /* how many; a bit each */
    uint32_t early[ECN_EARLY_ACKS];

    /* AccECN, what we received, to be told */
    uint32_t marked;        /* CE packets */
    uint32_t told;          /* of them, in the last segment that we sent */
    uint32_t e0b, e1b, ceb; /* bytes of text by their mark */
    /* and what the peer has told */
    uint32_t
        delivered_ce; /* packets of ours that arrived CE; the other modes: acknowledged by ECE */
    uint32_t peer_ceb;
};

/* What an ACK tells: bytes, packets and forward are the caller's. */
struct ecn_news {
    uint32_t packets, bytes;       /* newly delivered */
    bool forward;                  /* it is newer than all before */
    uint32_t ce_packets, ce_bytes; /* of them, with a mark */
};

enum ecn_what { ECN_ACK, ECN_TEXT, ECN_AGAIN };
