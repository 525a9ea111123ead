/* SPDX-License-Identifier: BSD-3-Clause */
/* A received segment, parsed once. len counts SYN and FIN, text_len does not. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "../base/mbuf.h"
#include "../base/ranges.h"
#include "../net/wire.h"

enum tcp_flag {
    TH_FIN = 1,
    TH_SYN = 2,
    TH_RST = 4,
    TH_PSH = 8,
    TH_ACK = 16,
    TH_URG = 32,
    TH_ECE = 64,
    TH_CWR = 128,
};

enum { TCP_MAX_SACKS = 4, TCP_MAX_WSCALE = 14, TCP_TS_LEN = 12 };

/* Fast Open's option (RFC 7413 4.1.1): asks for a cookie, or brings one. */
struct fastopen_option {
    bool present, experimental; /* as kind 34, or 254 as before there was one */
    uint8_t len;                /* of the cookie; 0: asks for one */
    uint8_t cookie[16];
};

struct tcp_options {
    uint16_t mss;   /* 0: absent */
    uint8_t wscale; /* at most 14 (RFC 7323 2.3) */
    bool wscale_ok, sack_ok, ts_ok;
    bool ecn_ok;   /* has an AccECN option … */
    uint8_t n_ecn; /* … with so many fields, see ecn_bytes */
    uint32_t ts_val, ts_ecr;
    uint8_t n_sacks;
    struct fastopen_option fastopen;
    uint32_t ecn_bytes[3]; /* in the order of the header */
    struct range sacks[TCP_MAX_SACKS];
};

/* Sets those by which all others are read. */
static inline void tcp_no_options(struct tcp_options *opt)
{
    opt->mss = 0;
    opt->wscale = 0;
    opt->wscale_ok = opt->sack_ok = opt->ts_ok = opt->ecn_ok = false;
    opt->n_ecn = opt->n_sacks = 0;
    opt->ts_val = opt->ts_ecr = 0;
    opt->fastopen.present = opt->fastopen.experimental = false;
    opt->fastopen.len = 0;
}

/* What nearly every segment carries, in twelve bytes: NOP, NOP, timestamps
 * (RFC 7323 A). False: they are something else, and opt is as it was. */
static inline bool tcp_only_timestamps(const uint8_t *p, struct tcp_options *opt)
{
    if (get32(p) != 0x0101080a)
        return false;
    tcp_no_options(opt);
    opt->ts_ok = true;
    opt->ts_val = get32(p + 4);
    opt->ts_ecr = get32(p + 8);
    return true;
}

struct segment {
    struct mbuf *m; /* the frame; NULL once its text has been taken */
    uint32_t hash;  /* of its flow */
    uint32_t seq, ack;
    uint32_t len, text_len;
    uint16_t wnd, urg; /* as in the header */
    uint8_t flags;     /* enum tcp_flag */
    bool ae;           /* the flag of RFC 9768 beside them */
    uint8_t ip_ecn;    /* enum ip_ecn */
    uint16_t text_off; /* of the text, from the frame's start */
    struct tcp_options opt;
};

/* What a step of segment arrival decides. */
enum verdict {
    PASS,
    DROP,     /* silently; already counted */
    DROP_ACK, /* and owe an ACK */
    DROP_RST, /* and answer with a RST */
};

/* Reads options of len bytes; SYN-only options count only when syn. Malformed
 * ones end the parse and never hurt (MUST-7, MUST-68). */
void tcp_parse_options(const uint8_t *p, unsigned len, bool syn, struct tcp_options *opt);
