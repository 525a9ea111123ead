/* SPDX-License-Identifier: BSD-3-Clause */
/* SYN cookies (RFC 4987 3.6): when a listener's SYN queue is full, what a
 * request block would hold goes into the SYN-ACK and comes back in its ACK.
 *
 *   iss     mask(flow, irs) ^ | slot 4 | MSS 4 | MAC(flow, irs, slot, MSS) 24 |
 *   TSval   the clock, its low six bits | ECN |         SACK | window scale 4 |
 *
 * A slot is a minute; a cookie opens in its own slot and the next one, and only
 * at a listener that has sent cookies as lately. Of 2^32 acknowledgment numbers
 * 2 * 16 open, and nothing tells which: one forged ACK in 2^27 does.
 *
 * Without timestamps there is no room for a window scale and SACK: such a
 * connection goes without, as in Linux. A cookie repeats no SYN-ACK and times
 * no round trip.                                                            */
#include "tcp.h"

enum {
    SLOT_BITS = 4,
    MSS_BITS = 4,
    MAC_BITS = 24,
    SLOTS = 2,      /* that a cookie lives */
    NO_WSCALE = 15, /* in the place of a scale */
    TS_SACK = 1 << 4,
    TS_ECN = 1 << 5,
    TS_MASK = 63,
};

static const ust_time slot_ns = 60 * NS_PER_S;

/* What an MSS is rounded down to. */
static const uint16_t mss_table[1 << MSS_BITS] = {48,   128,  216,  384,  536,  768,  1000, 1220,
                                                  1300, 1360, 1400, 1440, 1460, 4312, 8940, 8960};

static uint32_t slot_of(ust_time now)
{
    return (uint32_t)(now / slot_ns);
}

static unsigned mss_index(uint16_t mss)
{
    unsigned i = (1 << MSS_BITS) - 1;

    while (i > 0 && mss_table[i] > mss)
        i--;
    return i;
}

static uint64_t keyed(const struct tcp *tcp, const struct flow_key *flow, uint32_t irs,
                      uint32_t slot, uint32_t mss)
{
    struct {
        struct flow_key flow;
        uint32_t irs, slot, mss;
    } text = {*flow, irs, slot, mss};

    return siphash24(&tcp->net.core.key_cookie, &text, sizeof text);
}

/* The mask hides slot and MSS, so that nobody knows which top bits to forge. */
static uint32_t mask(const struct tcp *tcp, const struct flow_key *flow, uint32_t irs)
{
    return (uint32_t)(keyed(tcp, flow, irs, UINT32_MAX, UINT32_MAX) >> 32);
}

static uint32_t mac(const struct tcp *tcp, const struct flow_key *flow, uint32_t irs, uint32_t slot,
                    unsigned mss)
{
    return (uint32_t)keyed(tcp, flow, irs, slot, mss) & ((1 << MAC_BITS) - 1);
}

static uint32_t cookie(const struct tcp *tcp, const struct request *req)
{
    uint32_t slot = slot_of(tcp_now(tcp)), top;
    unsigned mss = mss_index(req->peer_mss);

    top = (slot & ((1 << SLOT_BITS) - 1)) << MSS_BITS | mss;
    return mask(tcp, &req->key, req->irs) ^
           (top << MAC_BITS | mac(tcp, &req->key, req->irs, slot, mss));
}

void tcp_cookie_fill(const struct tcp *tcp, struct request *req)
{
    if (!req->peer_mss)
        req->peer_mss = tcp_default_mss(tcp, &req->key.remote);
    req->cookie = true;
    req->sack_ok &= req->ts_ok;
    req->ecn = req->ecn && req->ts_ok ? ECN_CLASSIC : ECN_OFF; /* no room for AccECN's state */
    req->wscale_ok &= req->ts_ok;
    req->iss = cookie(tcp, req);
}

/* Never ahead of the clock: the connection's next timestamps must not be
 * older. */
uint32_t tcp_cookie_ts(const struct tcp *tcp, const struct request *req)
{
    uint32_t now = tcp_ts_now(tcp, 0), ts = now & ~(uint32_t)TS_MASK;

    ts |= req->wscale_ok ? req->snd_wscale : NO_WSCALE;
    if (req->sack_ok)
        ts |= TS_SACK;
    if (req->ecn)
        ts |= TS_ECN;
    return (seq_gt(ts, now) ? ts - TS_MASK - 1 : ts) + req->ts_offset;
}

/* What the timestamp brings back; false: it is none that we sent lately. */
static bool read_ts(const struct tcp *tcp, struct request *req, const struct segment *seg)
{
    const struct settings *set = &tcp->net.core.set;
    uint32_t ts = seg->opt.ts_ecr - req->ts_offset, scale = ts & NO_WSCALE;
    uint32_t age = tcp_ts_now(tcp, 0) - ts;

    if (age > SLOTS * slot_ns / NS_PER_MS + 2 * TS_MASK)
        return false;
    req->ts_ok = true;
    req->ts_recent = seg->opt.ts_val;
    req->sack_ok = ts & TS_SACK;
    req->ecn = ts & TS_ECN && set->tcp_ecn ? ECN_CLASSIC : ECN_OFF;
    req->wscale_ok = scale != NO_WSCALE;
    req->snd_wscale = (uint8_t)(req->wscale_ok ? scale : 0);
    return (set->tcp_sack || !req->sack_ok) && (set->tcp_window_scaling || !req->wscale_ok);
}

bool tcp_cookie_read(const struct tcp *tcp, struct request *req, const struct segment *seg)
{
    uint32_t irs = seg->seq - 1, iss = seg->ack - 1, now = slot_of(tcp_now(tcp));
    uint32_t plain = iss ^ mask(tcp, &req->key, irs), age;
    unsigned mss = plain >> MAC_BITS & ((1 << MSS_BITS) - 1);

    age = (now - (plain >> (MAC_BITS + MSS_BITS))) & ((1 << SLOT_BITS) - 1);
    if (age >= SLOTS || (plain & ((1 << MAC_BITS) - 1)) != mac(tcp, &req->key, irs, now - age, mss))
        return false;
    req->iss = iss;
    req->irs = irs;
    req->wnd = seg->wnd;
    req->peer_mss = mss_table[mss];
    req->ts_offset = tcp_numbers(tcp, &req->key).ts_offset;
    req->cookie = true;
    if (seg->opt.ts_ok && tcp->net.core.set.tcp_timestamps)
        return read_ts(tcp, req, seg);
    return true;
}

ust_time tcp_cookie_lifetime(void)
{
    return SLOTS * slot_ns;
}
