/* SPDX-License-Identifier: BSD-3-Clause */
/* Proportional rate reduction (RFC 9937): during recovery each ACK lets out
 * about ssthresh / cwnd of what it says was delivered, so that the window has
 * come down to ssthresh by the end. Below ssthresh one more than was delivered
 * may go, but only when the ACK moves snd_una and tells of no new loss (the
 * heuristic of section 5, as Linux has it).
 *
 * Counted in packets, as Linux does, for its rounding decides which ACK lets a
 * segment out.                                                              */
#include "tcp.h"

void prr_ack(struct tcb *tcb, uint32_t delivered, uint32_t lost, bool advanced)
{
    struct recovery *rec = tcb_own_rec(tcb);
    int64_t ssthresh = tcb->cc.ssthresh / tcb->snd_mss, pipe = tcb_pipe_packets(tcb), n;
    uint64_t prior = tcb->cc.prior_cwnd / tcb->snd_mss;

    if (delivered == 0)
        return;
    rec->prr_delivered += delivered;
    if (pipe > ssthresh && prior > 0) {
        n = (int64_t)(((uint64_t)ssthresh * rec->prr_delivered + prior - 1) / prior) - rec->prr_out;
    } else {
        n = (int64_t)rec->prr_delivered - rec->prr_out;
        n = n > delivered ? n : delivered;
        if (advanced && lost == 0)
            n++;
        n = n < ssthresh - pipe ? n : ssthresh - pipe;
    }
    if (n < 1)
        n = rec->prr_out == 0; /* the fast retransmit is never held back */
    tcb->cc.cwnd = tcb_pipe(tcb) + (uint32_t)n * tcb->snd_mss;
    if (tcb->cc.cwnd < tcb->snd_mss)
        tcb->cc.cwnd = tcb->snd_mss;
}
