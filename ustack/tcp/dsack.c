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

void dsack_set(struct tcp *tcp, struct tcb *tcb, uint32_t lo, uint32_t hi)
{
    struct extra *x;

    if (reports(tcp, tcb) && seq_lt(lo, hi) && (x = extra_have(tcp, tcb)))
        x->dup = (struct range){.lo = lo, .hi = hi};
}

void dsack_extend(struct tcp *tcp, struct tcb *tcb, uint32_t lo, uint32_t hi)
{
    const struct range *old = &tcb_extra(tcb)->dup;
    struct range *dup;

    if (old->lo == old->hi)
        return dsack_set(tcp, tcb, lo, hi);
    dup = &tcb_own_extra(tcb)->dup;
    if (seq_leq(lo, dup->hi) && seq_leq(dup->lo, hi)) {
        dup->lo = seq_min(dup->lo, lo);
        dup->hi = seq_max(dup->hi, hi);
    }
}

unsigned dsack_block(struct tcb *tcb, struct range *out)
{
    *out = tcb_extra(tcb)->dup;
    if (out->lo == out->hi)
        return 0;
    tcb_own_extra(tcb)->dup.hi = out->lo;
    return 1;
}
