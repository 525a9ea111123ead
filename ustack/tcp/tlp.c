/* SPDX-License-Identifier: BSD-3-Clause */
/* Tail loss probes (RFC 8985 7), as Linux: when the last of a flight is not
 * acknowledged within two round trips, new text or its last segment is sent
 * once, so that the SACK it earns repairs the loss without a timeout.       */
#include "tcp.h"

/* When the RTO would fire, had it run since the first record was sent. */
static ust_time rexmt_at(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct sent *head = &tcp->sents[tcb_rec(tcb)->head];

    return head->at + tcb->rto_us * 1000ull;
}

static bool not_repairing(const struct tcb *tcb)
{
    return tcb->ca_state == UST_CA_OPEN || tcb->ca_state == UST_CA_CWR;
}

bool tlp_schedule(struct tcp *tcp, struct tcb *tcb, bool restart)
{
    const struct settings *set = &tcp->net.core.set;
    ust_time now = tcp_now(tcp), wait, rto;

    if (set->tcp_early_retrans < 3 || tcb_rec(tcb)->packets == 0 || !tcb->sack_ok ||
        !not_repairing(tcb))
        return false;
    if (tcb->srtt == 0)
        wait = ms(set->tcp_rto_init_ms);
    else /* two round trips; the ACK of a lone packet may be delayed */
        wait = tcb->srtt / 4 * 1000ull +
               (tcb_rec(tcb)->packets == 1 ? ms(set->tcp_rto_min_ms) : TIMEOUT_MIN);
    rto = restart ? now + tcb->rto_us * 1000ull : rexmt_at(tcp, tcb);
    if (rto > now && rto - now < wait)
        wait = rto - now;
    tcp_arm_loss(tcp, tcb, TIMER_TLP, now + wait);
    return true;
}

void tlp_timeout(struct tcp *tcp, struct tcb *tcb)
{
    if (tcb_rec(tcb)->packets == 0)
        return;
    if (tcb_rec(tcb)->tlp || !not_repairing(tcb)) /* one at a time */
        return tcp_rearm_rexmt(tcp, tcb, true);
    tcb_own_rec(tcb)->tlp_due = true;
    tcp_arm_rexmt(tcp, tcb); /* also should the probe not get out */
    tcp_ready(tcp, tcb);
}

void tlp_sent(struct tcp *tcp, struct tcb *tcb, bool resent)
{
    struct recovery *rec = tcb_own_rec(tcb);

    count(tcp_core(tcp), C_TCP_TLP_PROBES);
    rec->tlp = true;
    rec->tlp_due = false;
    rec->tlp_resent = resent;
    rec->tlp_end = tcb->snd_max;
    tcp_arm_rexmt(tcp, tcb);
}

/* RFC 8985 7.4.2: was there a loss that only the probe has repaired? */
void tlp_ack(struct tcp *tcp, struct tcb *tcb, const struct segment *seg,
             const struct ack_news *news)
{
    struct recovery *rec = tcb_own_rec(tcb);
    bool past = seq_gt(seg->ack, rec->tlp_end), both;

    if (!rec->tlp || seq_lt(seg->ack, rec->tlp_end))
        return;
    /* both copies have arrived; a peer without D-SACK says so by a duplicate ACK */
    both = news->dsack_tlp || (!past && news->dupack && !news->sacked);
    if (!rec->tlp_resent || both) {
        rec->tlp = false; /* of new text there is one */
    } else if (past) {
        rec->tlp = false;
        count(tcp_core(tcp), C_TCP_TLP_REPAIRS);
        recovery_reduce_once(tcp, tcb);
    }
}
