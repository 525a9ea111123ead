/* SPDX-License-Identifier: BSD-3-Clause */
/* AccECN's feedback (RFC 9768): the count of marked packets in each header, the
 * counts of bytes in an option, and what can be concluded from either.
 *
 * The option: kind 172 with e0b, ceb, e1b, or 174 with e1b, ceb, e0b, 24 bits
 * each, as many as there is room for. As Linux we send 174, on every segment or
 * when a count has changed (tcp.ecn_option), once the peer has shown that
 * options come through.                                                     */
#include "tcp.h"

enum { E0B_START = 1, E1B_START = 1, FIELD = 0xffffff, FIELDS = 3 };

/* ------------------------------------------------------- sent */

void accecn_first_option(const struct tcp *tcp, struct tcp_header *h)
{
    if (!tcp->net.core.set.tcp_ecn_option || tcp_options_len(h) > 40 - 12)
        return;
    h->n_ecn = FIELDS;
    h->ecn_bytes[0] = E1B_START;
    h->ecn_bytes[1] = 0;
    h->ecn_bytes[2] = E0B_START;
}

void accecn_option(const struct tcp *tcp, struct tcb *tcb, struct tcp_header *h)
{
    struct ecn *ecn = ecn_of(tcb);
    int64_t set = tcp->net.core.set.tcp_ecn_option;
    unsigned room = 40 - tcp_options_len(h);

    if (!ecn->option_ok || set == 0 || (set == 1 && !ecn->option_due))
        return;
    if (room < 8)
        return;
    h->n_ecn = room >= 12 ? 3 : 2;
    h->ecn_bytes[0] = (ecn->e1b + E1B_START) & FIELD;
    h->ecn_bytes[1] = ecn->ceb & FIELD;
    h->ecn_bytes[2] = (ecn->e0b + E0B_START) & FIELD;
    ecn->option_due = false;
}

/* ------------------------------------------------------- received */

static uint32_t packets_in(const struct segment *seg)
{
    uint32_t size = seg->m->gso_size;

    return size && seg->text_len > size ? (seg->text_len + size - 1) / size : 1;
}

/* Each change of the mark is told at once (RFC 9768 3.2.2.5.1), and of marked
 * packets each second one, lest the counter wraps unseen. */
void accecn_received(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    struct ecn *ecn = ecn_of(tcb);
    uint32_t *bytes[] = {NULL, &ecn->e1b, &ecn->e0b, &ecn->ceb};
    bool edge = seg->ip_ecn != ecn->last;

    ecn->option_ok |= seg->opt.ecn_ok;
    ecn->last = seg->ip_ecn;
    if (seg->ip_ecn != IP_NOT_ECT) {
        *bytes[seg->ip_ecn] += seg->text_len;
        ecn->seen = true;
    }
    if (seg->ip_ecn == IP_CE)
        ecn->marked += packets_in(seg);
    ecn->option_due |= edge;
    if (seg->text_len > 0 && (edge || ecn->marked - ecn->told >= 2)) {
        tcb->ack_now = true;
        tcp_ready(tcp, tcb);
    }
}

/* CE bytes since the last option that had them; UINT32_MAX: not told. */
static uint32_t ce_bytes(struct ecn *ecn, const struct segment *seg)
{
    uint32_t more;

    if (seg->opt.n_ecn < 2) /* ceb is the second in either order */
        return UINT32_MAX;
    more = (seg->opt.ecn_bytes[1] - ecn->peer_ceb) & FIELD;
    if (more > FIELD / 2)
        return UINT32_MAX; /* an old one */
    ecn->peer_ceb = seg->opt.ecn_bytes[1];
    return more;
}

/* RFC 9768 A.2: the counter may have wrapped between the ACKs that we see. With
 * as many packets acknowledged as could hide a lap, and no bytes that say
 * otherwise, the greater number is the safe one. */
void accecn_feedback(struct tcb *tcb, const struct segment *seg, unsigned ace,
                     struct ecn_news *news)
{
    struct ecn *ecn = ecn_of(tcb);
    uint32_t more = (ace - ACE_START - ecn->delivered_ce) & ACE_MASK, bytes, safe;

    if (!news->forward)
        return; /* it may be older than what we know */
    bytes = ce_bytes(ecn, seg);
    if (news->packets > ACE_MASK) {
        safe = news->packets - ((news->packets - more) & ACE_MASK);
        if (bytes == UINT32_MAX || bytes > more * tcb->snd_mss)
            more = safe;
    }
    news->ce_packets = more;
    news->ce_bytes = bytes != UINT32_MAX ? bytes : more * tcb->snd_mss;
}
