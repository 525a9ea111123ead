/* SPDX-License-Identifier: BSD-3-Clause */
/* The congestion controls by number and name, and the arithmetic they share. */
#include "cc.h"

const struct cc_ops *const cc_table[UST_CCS] = {
    [UST_CC_RENO] = &cc_newreno, [UST_CC_CUBIC] = &cc_cubic,   [UST_CC_DCTCP] = &cc_dctcp,
    [UST_CC_BBR] = &cc_bbr,      [UST_CC_PYTHON] = &cc_python,
};

const char *const cc_names[UST_CCS + 1] = {
    [UST_CC_RENO] = "reno", [UST_CC_CUBIC] = "cubic",   [UST_CC_DCTCP] = "dctcp",
    [UST_CC_BBR] = "bbr",   [UST_CC_PYTHON] = "python",
};

const char *ust_cc_name(unsigned i)
{
    return i < UST_CCS ? cc_names[i] : NULL;
}

uint32_t cc_slow_start(struct cc *cc, uint32_t acked)
{
    uint32_t most = cc->ssthresh < CC_CWND_MAX ? cc->ssthresh : CC_CWND_MAX;
    uint32_t grown = acked < most - cc->cwnd ? acked : most - cc->cwnd;

    cc->cwnd += grown;
    return acked - grown;
}

void cc_grow(struct cc *cc, uint32_t need, uint32_t acked)
{
    if (cc->acked >= need) { /* need has become less */
        cc->acked = 0;
        cc->cwnd += cc->mss;
    }
    cc->acked += acked;
    if (cc->acked >= need) {
        cc->cwnd += cc->acked / need * cc->mss;
        cc->acked %= need;
    }
    if (cc->cwnd > CC_CWND_MAX)
        cc->cwnd = CC_CWND_MAX;
}

uint32_t cc_whole(const struct cc *cc, uint64_t bytes)
{
    uint32_t n = (uint32_t)(bytes / cc->mss);

    return (n > 2 ? n : 2) * cc->mss;
}
