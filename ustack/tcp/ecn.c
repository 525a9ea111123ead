/* SPDX-License-Identifier: BSD-3-Clause */
/* Explicit congestion notification: the handshake, and what each segment says
 * and is told in the classic way (RFC 3168) and DCTCP's (RFC 8257); what is
 * AccECN's own (RFC 9768) is in accecn.c. See ecn.h.
 *
 *   A's SYN         B answers        both have
 *   AE CWR ECE      AE CWR ECE
 *    1   1   1       0   1   0       AccECN; the SYN came without ECT
 *    1   1   1       0   1   1       AccECN; it came as ECT(1)
 *    1   1   1       1   0   0       AccECN; as ECT(0)
 *    1   1   1       1   1   0       AccECN; CE
 *    1   1   1       1   0   1       AccECN; of the future, or nonce
 *    1   1   1       0   0   1       classic
 *    1   1   1       0 0 0, 1 1 1    none; 1 1 1 only mirrors
 *    0   1   1       0   0   1       classic
 *    others          0   0   0       none
 *
 * As Linux: an ECT on a classic SYN is a sign that the path sets it on
 * anything, so no ECN; text that comes without ECT on a connection that has had
 * it was sent again, and is acknowledged at once.                           */
#include "tcp.h"

static const uint8_t reflections[] = {[IP_NOT_ECT] = 2, [IP_ECT1] = 3, [IP_ECT0] = 4, [IP_CE] = 6};

static unsigned ace_of(const struct segment *seg)
{
    return (seg->ae ? 4u : 0) | (seg->flags & TH_CWR ? 2u : 0) | (seg->flags & TH_ECE ? 1u : 0);
}

static void put_ace(struct tcp_header *h, unsigned ace)
{
    h->ae = ace & 4;
    h->flags |= (uint8_t)((ace & 2 ? TH_CWR : 0) | (ace & 1 ? TH_ECE : 0));
}

bool ecn_is_dctcp(const struct tcb *tcb)
{
    return cc_table[tcb->cc.algorithm]->needs_ecn;
}

/* ------------------------------------------------------- handshake */

/* What to ask for, by tcp.ecn. */
static enum ecn_mode wanted(const struct tcp *tcp, const struct tcb *tcb)
{
    switch (tcp->net.core.set.tcp_ecn) {
    case 3: return ECN_ACCURATE;
    case 1:
    case 4: return ECN_CLASSIC;
    default: return ecn_is_dctcp(tcb) ? ECN_CLASSIC : ECN_OFF;
    }
}

/* A SYN that was not answered may have been dropped for its flags: the classic
 * one is repeated without (RFC 3168 6.1.1.1), the other after its second try
 * (RFC 9768 3.1.4.1). */
void ecn_ask(struct tcp *tcp, struct tcb *tcb, struct tcp_header *h)
{
    enum ecn_mode mode = wanted(tcp, tcb);

    if (mode != ECN_OFF && !extra_have(tcp, tcb))
        return;
    if (tcb_extra(tcb)->ecn.mode != mode)
        ecn_of(tcb)->mode = (uint8_t)mode;
    if (mode != ECN_OFF && tcb->retransmits <= (mode == ECN_ACCURATE))
        put_ace(h, mode == ECN_ACCURATE ? 7 : 3);
}

static void begin_accurate(struct ecn *ecn, const struct segment *seg)
{
    ecn->mode = ECN_ACCURATE;
    ecn->handshake = ecn->last = seg->ip_ecn;
    ecn->option_ok = seg->opt.ecn_ok;
}

/* The SYN-ACK for our SYN, by the table above. */
void ecn_take_synack(struct tcb *tcb, const struct segment *seg)
{
    struct ecn *ecn = ecn_of(tcb);
    unsigned ace = ace_of(seg);

    if (ecn->mode == ECN_OFF)
        return;
    if (ecn->mode == ECN_CLASSIC || ace == 0 || ace == 1 || ace == 7) {
        ecn->mode = (ace & 3) == 1 ? ECN_CLASSIC : ECN_OFF;
        return;
    }
    begin_accurate(ecn, seg);
    ecn->reflect = true;
    ecn->marked = seg->ip_ecn == IP_CE;
    ecn->no_ect = ace != 5 && ace != reflections[IP_NOT_ECT]; /* our SYN was not ECT */
}

/* The SYN of a peer that has had ours: both ask, none answers yet. */
void ecn_take_syn(struct tcb *tcb, const struct segment *seg)
{
    struct ecn *ecn = ecn_of(tcb);
    unsigned ace = ace_of(seg);

    if (ecn->mode == ECN_OFF)
        return;
    if (ecn->mode == ECN_ACCURATE && ace == 7)
        begin_accurate(ecn, seg);
    else
        ecn->mode = (ace & 3) == 3 ? ECN_CLASSIC : ECN_OFF;
}

void ecn_requested(const struct tcp *tcp, const struct tcb *listening, struct request *req,
                   const struct segment *seg)
{
    int64_t set = tcp->net.core.set.tcp_ecn;
    bool dctcp = ecn_is_dctcp(listening);
    unsigned ace = ace_of(seg);

    req->ecn = ECN_OFF;
    req->ecn_handshake = seg->ip_ecn;
    if (ace == 0 || (set == 0 && !dctcp))
        return;
    if (ace != 3 && set >= 3) /* RFC 9768 3.1.3: what is not known yet, too */
        req->ecn = ECN_ACCURATE;
    else if ((ace & 3) == 3 && (seg->ip_ecn == IP_NOT_ECT || dctcp))
        req->ecn = ECN_CLASSIC;
}

static void answer(const struct tcp *tcp, struct tcp_header *h, enum ecn_mode mode, uint8_t mark,
                   unsigned retries)
{
    if (mode == ECN_CLASSIC)
        h->flags |= TH_ECE;
    if (mode != ECN_ACCURATE || retries > 1)
        return;
    put_ace(h, reflections[mark]);
    if (retries == 0) /* RFC 9768 3.2.3.2.2: the path may not bear the option */
        accecn_first_option(tcp, h);
}

void ecn_answer(const struct tcp *tcp, const struct request *req, struct tcp_header *h)
{
    answer(tcp, h, req->ecn, req->ecn_handshake, req->retries);
}

void ecn_answer_tcb(const struct tcp *tcp, const struct tcb *tcb, struct tcp_header *h)
{
    answer(tcp, h, tcb_extra(tcb)->ecn.mode, tcb_extra(tcb)->ecn.handshake, tcb->retransmits);
}

/* The segment that ends the handshake. Its ACE tells how our SYN-ACK arrived,
 * unless it has text (RFC 9768 3.2.2.1). */
void ecn_take_third(struct tcb *tcb, const struct segment *seg)
{
    struct ecn *ecn = ecn_of(tcb);
    unsigned ace = ace_of(seg);

    if (ecn->mode != ECN_ACCURATE)
        return;
    ecn->option_ok |= seg->opt.ecn_ok;
    if (seg->text_len > 0)
        return;
    if (ace == 0 || ace == 3 || ace == 4 || ace == 6)
        ecn->no_ect = true; /* cleared, or set by the path: our SYN-ACK was not ECT */
}

/* ------------------------------------------------------- what is sent */

static void mark_classic(struct tcb *tcb, struct tcp_header *h, enum ecn_what what)
{
    struct ecn *ecn = ecn_of(tcb);

    if (what == ECN_TEXT || ecn_is_dctcp(tcb))
        h->tos |= IP_ECT0;
    if (what == ECN_TEXT && ecn->cwr_due) {
        h->flags |= TH_CWR;
        ecn->cwr_due = false;
    }
    if (ecn->echo)
        h->flags |= TH_ECE;
}

bool ecn_bears_super(const struct tcb *tcb)
{
    const struct ecn *ecn = &tcb_extra(tcb)->ecn;

    return !ecn->cwr_due && !(ecn->mode == ECN_ACCURATE && (ecn->marked + ACE_START) & 2);
}

void ecn_mark(const struct tcp *tcp, struct tcb *tcb, struct tcp_header *h, enum ecn_what what,
              bool room)
{
    struct ecn *ecn = ecn_of(tcb);

    if (ecn->mode == ECN_CLASSIC)
        return mark_classic(tcb, h, what);
    if (ecn->mode != ECN_ACCURATE)
        return;
    if (!ecn->no_ect)
        h->tos |= IP_ECT0;
    if (ecn->reflect && what == ECN_ACK)
        put_ace(h, reflections[ecn->handshake]);
    else
        put_ace(h, (ecn->marked + ACE_START) & ACE_MASK);
    if (what == ECN_ACK)
        ecn->reflect = false;
    ecn->told = ecn->marked;
    if (room)
        accecn_option(tcp, tcb, h);
}

/* ------------------------------------------------------- what is received */

/* RFC 8257 3.2: what came before the change is acknowledged as it came. */
static void dctcp_mark(struct tcp *tcp, struct tcb *tcb, bool ce)
{
    struct ecn *ecn = ecn_of(tcb);

    if (ce == ecn->echo)
        return;
    if (tcb->rcv_nxt != tcb->rcv_acked && ecn->n_early < ECN_EARLY_ACKS) {
        ecn->early_ece = (uint8_t)(ecn->early_ece & ~(1u << ecn->n_early));
        ecn->early_ece = (uint8_t)(ecn->early_ece | (ecn->echo ? 1u << ecn->n_early : 0));
        ecn->early[ecn->n_early++] = tcb->rcv_nxt;
        tcb->rcv_acked = tcb->rcv_nxt;
    }
    ecn->echo = ce;
    tcb->ack_now = true;
    tcp_ready(tcp, tcb);
}

static void classic_received(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    struct ecn *ecn = ecn_of(tcb);

    if ((seg->flags & TH_CWR) && !ecn_is_dctcp(tcb)) {
        ecn->echo = false;
        tcb->ack_now = true; /* its window may be very small now */
        tcp_ready(tcp, tcb);
    }
    if (seg->ip_ecn == IP_NOT_ECT) {
        if (ecn->seen)
            delack_quick(tcp, tcb);
        return;
    }
    ecn->seen = true;
    if (ecn_is_dctcp(tcb))
        return dctcp_mark(tcp, tcb, seg->ip_ecn == IP_CE);
    if (seg->ip_ecn == IP_CE && !ecn->echo) {
        delack_quick(tcp, tcb);
        ecn->echo = true;
    }
}

void ecn_received(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (tcb_extra(tcb)->ecn.mode == ECN_ACCURATE)
        accecn_received(tcp, tcb, seg);
    else if (tcb_extra(tcb)->ecn.mode == ECN_CLASSIC && seg->text_len > 0)
        classic_received(tcp, tcb, seg);
}

bool ecn_feedback(struct tcb *tcb, const struct segment *seg, struct ecn_news *news)
{
    struct ecn *ecn = ecn_of(tcb);

    news->ce_packets = news->ce_bytes = 0;
    if (ecn->mode == ECN_ACCURATE) {
        accecn_feedback(tcb, seg, ace_of(seg), news);
    } else if (ecn->mode == ECN_CLASSIC && (seg->flags & TH_ECE)) {
        news->ce_packets = news->packets;
        news->ce_bytes = news->bytes;
        ecn->delivered_ce += news->packets;
        return true;
    }
    if (news->ce_packets)
        ecn->delivered_ce += news->ce_packets;
    return news->ce_packets > 0;
}
