/* SPDX-License-Identifier: BSD-3-Clause */
/* Text that came twice is reported in the first block of the next ACK (RFC
 * 2883), once. The peer learns from it that it has sent something again without
 * need, or that the network has doubled it.
 *
 * What came twice is one range: the latest, or what adjoins it, as in Linux.
 *
 * Always: dup.lo == dup.hi when there is nothing to report.                 */
#include "tcp.h"

static bool reports(const struct tcp *tcp, const struct tcb *tcb)
{
    return tcb->sack_ok && tcp->net.core.set.tcp_dsack;
}

void dsack_set(const struct tcp *tcp, struct tcb *tcb, uint32_t lo, uint32_t hi)
{
    if (reports(tcp, tcb) && seq_lt(lo, hi))
        tcb->dup = (struct range){.lo = lo, .hi = hi};
}

void dsack_extend(const struct tcp *tcp, struct tcb *tcb, uint32_t lo, uint32_t hi)
{
    struct range *dup = &tcb->dup;

    if (dup->lo == dup->hi) {
        dsack_set(tcp, tcb, lo, hi);
    } else if (seq_leq(lo, dup->hi) && seq_leq(dup->lo, hi)) {
        dup->lo = seq_min(dup->lo, lo);
        dup->hi = seq_max(dup->hi, hi);
    }
}

unsigned dsack_block(struct tcb *tcb, struct range *out)
{
    if (tcb->dup.lo == tcb->dup.hi)
        return 0;
    *out = tcb->dup;
    tcb->dup.hi = tcb->dup.lo;
    return 1;
}
