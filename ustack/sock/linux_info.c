/* SPDX-License-Identifier: BSD-3-Clause */
/* struct tcp_info as Linux 6.18 lays it out, from ours. What Linux counts in
 * segments is rounded down; times are Linux's: us, but ms for the last_*.   */
#include "sock.h"

enum {
    OPT_TIMESTAMPS = 1,
    OPT_SACK = 2,
    OPT_WSCALE = 4,
    OPT_ECN = 8,
    OPT_ECN_SEEN = 16,
    OPT_SYN_DATA = 32,
};

static uint32_t segments(uint32_t bytes, uint32_t mss)
{
    return mss ? bytes / mss : 0;
}

static void linux_head(const struct ust_tcp_info *in, struct ust_linux_tcp_info *out)
{
    out->tcpi_state = in->state;
    out->tcpi_ca_state = in->ca_state;
    out->tcpi_retransmits = in->retransmits;
    out->tcpi_probes = in->probes;
    out->tcpi_backoff = in->backoff;
    out->tcpi_options =
        (uint8_t)((in->ts_ok ? OPT_TIMESTAMPS : 0) | (in->sack_ok ? OPT_SACK : 0) |
                  (in->wscale_ok ? OPT_WSCALE : 0) | (in->ecn ? OPT_ECN : 0) |
                  (in->ecn_seen ? OPT_ECN_SEEN : 0) | (in->syn_data ? OPT_SYN_DATA : 0));
    out->tcpi_wscales = (uint8_t)(in->snd_wscale | in->rcv_wscale << 4);
    out->tcpi_flags = (uint8_t)(in->rate_app_limited | in->fastopen_fail << 1);
}

static void linux_sender(const struct ust_tcp_info *in, struct ust_linux_tcp_info *out)
{
    out->tcpi_rto = in->rto_us;
    out->tcpi_snd_mss = in->snd_mss;
    out->tcpi_unacked = in->unacked;
    out->tcpi_sacked = in->sacked;
    out->tcpi_lost = in->lost;
    out->tcpi_retrans = in->retrans;
    out->tcpi_pmtu = in->pmtu;
    out->tcpi_rtt = in->srtt_us;
    out->tcpi_rttvar = in->rttvar_us;
    out->tcpi_snd_ssthresh =
        in->ssthresh == UINT32_MAX ? 0x7fffffff : segments(in->ssthresh, in->snd_mss);
    out->tcpi_snd_cwnd = segments(in->cwnd, in->snd_mss);
    out->tcpi_reordering = in->reordering;
    out->tcpi_total_retrans = in->total_retrans;
    out->tcpi_pacing_rate = in->pacing_rate;
    out->tcpi_max_pacing_rate = in->max_pacing_rate;
    out->tcpi_bytes_acked = in->bytes_acked;
    out->tcpi_segs_out = (uint32_t)in->segs_out;
    out->tcpi_notsent_bytes = in->unsent;
    out->tcpi_min_rtt = in->min_rtt_us;
    out->tcpi_data_segs_out = (uint32_t)in->data_segs_out;
    out->tcpi_delivery_rate = in->delivery_rate;
    out->tcpi_delivered = in->delivered;
    out->tcpi_delivered_ce = in->delivered_ce;
    out->tcpi_bytes_sent = in->bytes_sent;
    out->tcpi_bytes_retrans = in->bytes_retrans;
    out->tcpi_dsack_dups = in->dsack_dups;
    out->tcpi_reord_seen = in->reord_seen;
    out->tcpi_snd_wnd = in->snd_wnd;
}

static void linux_receiver(const struct ust_tcp_info *in, struct ust_linux_tcp_info *out)
{
    out->tcpi_ato = in->ato_us;
    out->tcpi_rcv_mss = in->rcv_mss;
    out->tcpi_rcv_ssthresh = in->rcv_ssthresh;
    out->tcpi_advmss = in->advmss;
    out->tcpi_rcv_rtt = in->rcv_rtt_us;
    out->tcpi_rcv_space = in->rcv_space;
    out->tcpi_bytes_received = in->bytes_received;
    out->tcpi_segs_in = (uint32_t)in->segs_in;
    out->tcpi_data_segs_in = (uint32_t)in->data_segs_in;
    out->tcpi_rcv_ooopack = in->rcv_ooopack;
    out->tcpi_rcv_wnd = in->rcv_wnd;
    out->tcpi_received_ce = in->received_ce;
    out->tcpi_received_e1_bytes = in->received_e1_bytes;
    out->tcpi_received_e0_bytes = in->received_e0_bytes;
    out->tcpi_received_ce_bytes = in->received_ce_bytes;
}

static void linux_times(const struct ust_tcp_info *in, struct ust_linux_tcp_info *out)
{
    out->tcpi_last_data_sent = in->last_data_sent_ms;
    out->tcpi_last_data_recv = in->last_data_recv_ms;
    out->tcpi_last_ack_recv = in->last_ack_recv_ms;
    out->tcpi_busy_time = in->busy_us;
    out->tcpi_rwnd_limited = in->rwnd_limited_us;
    out->tcpi_sndbuf_limited = in->sndbuf_limited_us;
    out->tcpi_total_rto = in->total_rto;
    out->tcpi_total_rto_recoveries = in->total_rto_recoveries;
    out->tcpi_total_rto_time = in->total_rto_ms;
}

void ust_tcp_info_to_linux(const struct ust_tcp_info *info, struct ust_linux_tcp_info *out)
{
    *out = (struct ust_linux_tcp_info){0};
    linux_head(info, out);
    linux_sender(info, out);
    linux_receiver(info, out);
    linux_times(info, out);
}
