/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP options, read (RFC 9293 3.1, RFC 7323, RFC 2018). Written in build.c.
 *
 * The parser ends at the first thing that makes no sense; what it has read by
 * then counts.                                                              */
#include <string.h>

#include "../net/wire.h"
#include "segment.h"

enum {
    OPT_EOL = 0,
    OPT_NOP = 1,
    OPT_MSS = 2,
    OPT_WSCALE = 3,
    OPT_SACK_OK = 4,
    OPT_SACK = 5,
    OPT_TS = 8,
    OPT_FASTOPEN = 34,
    OPT_EXPERIMENT = 254,
    FASTOPEN_MAGIC = 0xf989,
    OPT_ACCECN0 = 172,
    OPT_ACCECN1 = 174,
};

static void parse_sacks(const uint8_t *p, unsigned len, struct tcp_options *opt)
{
    if ((len - 2) % 8 != 0)
        return;
    for (unsigned i = 2; i < len && opt->n_sacks < TCP_MAX_SACKS; i += 8)
        opt->sacks[opt->n_sacks++] = (struct range){get32(p + i), get32(p + i + 4)};
}

/* A cookie has 4 to 16 bytes, an even number; any other length is as good as no
 * option. */
static void parse_fastopen(const uint8_t *p, unsigned len, bool experimental,
                           struct fastopen_option *fo)
{
    if (len != 0 && (len < 4 || len > 16 || len & 1))
        return;
    *fo = (struct fastopen_option){
        .present = true, .experimental = experimental, .len = (uint8_t)len};
    memcpy(fo->cookie, p, len);
}

static void parse_accecn(const uint8_t *p, unsigned len, struct tcp_options *opt)
{
    if (len > 11 || (len - 2) % 3 != 0)
        return;
    opt->ecn_ok = true;
    opt->n_ecn = 0;
    for (unsigned i = 2; i < len; i += 3)
        opt->ecn_bytes[opt->n_ecn++] = get32(p + i - 1) & 0xffffff;
}

static void parse_one(const uint8_t *p, unsigned len, bool syn, struct tcp_options *opt)
{
    switch (p[0]) {
    case OPT_MSS:
        if (syn && len == 4)
            opt->mss = get16(p + 2);
        break;
    case OPT_WSCALE:
        if (syn && len == 3) {
            opt->wscale_ok = true;
            opt->wscale = p[2] > TCP_MAX_WSCALE ? TCP_MAX_WSCALE : p[2];
        }
        break;
    case OPT_SACK_OK:
        if (syn && len == 2)
            opt->sack_ok = true;
        break;
    case OPT_FASTOPEN:
        if (syn)
            parse_fastopen(p + 2, len - 2, false, &opt->fastopen);
        break;
    case OPT_EXPERIMENT:
        if (syn && len >= 4 && get16(p + 2) == FASTOPEN_MAGIC && !opt->fastopen.present)
            parse_fastopen(p + 4, len - 4, true, &opt->fastopen);
        break;
    case OPT_SACK: parse_sacks(p, len, opt); break;
    case OPT_ACCECN0:
    case OPT_ACCECN1: parse_accecn(p, len, opt); break;
    case OPT_TS:
        if (len == 10) {
            opt->ts_ok = true;
            opt->ts_val = get32(p + 2);
            opt->ts_ecr = get32(p + 6);
        }
        break;
    }
}

void tcp_parse_options(const uint8_t *p, unsigned len, bool syn, struct tcp_options *opt)
{
    while (len > 0 && p[0] != OPT_EOL) {
        unsigned n = 1;

        if (p[0] != OPT_NOP) {
            if (len < 2 || p[1] < 2 || p[1] > len)
                return;
            n = p[1];
            parse_one(p, n, syn, opt);
        }
        p += n;
        len -= n;
    }
}
