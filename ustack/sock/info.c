/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking in: connection state by handle and by flow. No call here changes
 * anything.                                                                 */
#include <errno.h>

#include "sock.h"

static ust_time armed_at(const struct tcb *tcb, enum tcp_timer t)
{
    return tcp_armed(tcb, t) ? tcp_deadline(tcb, t) : 0;
}

static void fill_sender(const struct tcb *tcb, struct ust_tcp_info *info)
{
    info->iss = tcb->iss;
    info->snd_una = tcb->snd_una;
    info->snd_nxt = tcb->snd_nxt;
    info->snd_max = tcb->snd_max;
    info->snd_wnd = tcb->snd_wnd;
    info->snd_mss = tcb->snd_mss;
    info->snd_wscale = tcb->snd_wscale;
    info->cwnd = tcb->cc.cwnd;
    info->ssthresh = tcb->cc.ssthresh;
    info->delivery_rate = tcb_traffic(tcb)->delivery_rate;
    info->rate_app_limited = tcb->rate_app_limited;
    info->max_pacing_rate =
        tcb_extra(tcb)->max_pacing_rate ? tcb_extra(tcb)->max_pacing_rate : UINT64_MAX;
    info->sndbuf = tcb->sndbuf.limit;
    info->outq = tcb->sndbuf.len;
    info->unsent = seq_lt(tcb->snd_nxt, snd_end(tcb)) ? snd_end(tcb) - tcb->snd_nxt : 0;
    info->syn_sent = tcb->snd_max != tcb->iss;
    info->fin_sent = tcb->fin_sent;
    info->bytes_acked = tcb_traffic(tcb)->bytes_acked;
    info->bytes_sent = tcb_traffic(tcb)->bytes_sent;
    info->bytes_retrans = tcb_extra(tcb)->bytes_retrans;
    info->segs_out = tcb->segs_out;
    info->data_segs_out = tcb_traffic(tcb)->data_segs_out;
    info->total_retrans = tcb_extra(tcb)->total_retrans;
    info->dupacks_in = tcb_extra(tcb)->dupacks_in;
    info->unacked = tcb_rec(tcb)->packets + (tcb->snd_una == tcb->iss && info->syn_sent);
    info->sacked = tcb_rec(tcb)->sacked;
    info->lost = tcb_rec(tcb)->lost;
    info->retrans = tcb_rec(tcb)->again;
    info->reordering = tcb->reordering;
    info->reord_seen = tcb_extra(tcb)->reordered;
    info->delivered = tcb_traffic(tcb)->delivered;
    info->dsack_dups = tcb_extra(tcb)->dsack_dups;
}

static void fill_receiver(const struct tcp *tcp, const struct tcb *tcb, struct ust_tcp_info *info)
{
    const struct reass *r = tcb->reass == TCP_NONE ? NULL : &tcp->reasses[tcb->reass];

    info->irs = tcb->irs;
    info->rcv_nxt = tcb->rcv_nxt;
    info->rcv_adv = tcb->rcv_adv;
    info->rcv_wnd = tcb->rcv_adv - tcb->rcv_nxt;
    info->rcv_mss = tcb->rcv_mss;
    info->rcv_ssthresh = tcb->rcvwnd.ssthresh;
    info->rcv_rtt_us = tcb_traffic(tcb)->rcv_rtt8 / 8;
    info->rcv_space = tcb->rcvwnd.space;
    info->rcv_ooopack = tcb_extra(tcb)->rcv_ooopack;
    info->syn_data = tcb->syn_data;
    info->fastopen_fail = tcb->fastopen_fail;
    info->advmss = tcb->advmss;
    info->rcv_wscale = tcb->rcv_wscale;
    info->rcvbuf = 2 * tcb->rcvbuf.limit;
    info->inq = tcb->rcvbuf.len;
    info->rcv_charged = tcb->rcvbuf.charged + (r ? r->charged : 0);
    info->ooo_bytes = r ? r->bytes : 0;
    info->ooo_ranges = r ? r->n : 0;
    info->fin_received = tcb->fin_received;
    info->bytes_received = tcb_traffic(tcb)->bytes_received;
    info->segs_in = tcb->segs_in;
    info->data_segs_in = tcb_traffic(tcb)->data_segs_in;
}

static uint32_t ms_since(const struct tcp *tcp, ust_time at)
{
    return (uint32_t)((tcp_now(tcp) - at) / NS_PER_MS);
}

static void fill_times(const struct tcp *tcp, const struct tcb *tcb, struct ust_tcp_info *info)
{
    info->last_data_sent_ms = ms_since(tcp, tcb->last_sent);
    info->last_data_recv_ms = ms_since(tcp, tcb_traffic(tcb)->last_text);
    info->last_ack_recv_ms = ms_since(tcp, tcb->last_rcvd);
    info->rwnd_limited_us = chrono_spent(tcp, tcb, CHRONO_RWND) / 1000;
    info->sndbuf_limited_us = chrono_spent(tcp, tcb, CHRONO_SNDBUF) / 1000;
    info->busy_us = chrono_spent(tcp, tcb, CHRONO_BUSY) / 1000 + info->rwnd_limited_us +
                    info->sndbuf_limited_us;
    info->total_rto = tcb_extra(tcb)->times.rtos;
    info->total_rto_recoveries = tcb_extra(tcb)->times.rto_episodes;
    info->total_rto_ms = (uint32_t)(tcb_extra(tcb)->times.rto_spent / NS_PER_MS);
    info->rto_us = tcb->rto_us;
    info->srtt_us = tcb->srtt / 8;
    info->rttvar_us = tcb->mdev / 4;
    info->min_rtt_us = tcb->min_rtt;
    info->ato_us = tcb->ato;
    info->rexmt = armed_at(tcb, TIMER_REXMT);
    info->reo = armed_at(tcb, TIMER_REO);
    info->tlp = armed_at(tcb, TIMER_TLP);
    info->persist = armed_at(tcb, TIMER_PERSIST);
    info->delack = armed_at(tcb, TIMER_DELACK);
    info->keepalive = armed_at(tcb, TIMER_KEEPALIVE);
    info->timewait = armed_at(tcb, TIMER_FINWAIT);
}

static void fill_tcb(const struct tcp *tcp, const struct tcb *tcb, struct ust_tcp_info *info)
{
    *info = (struct ust_tcp_info){.state = tcb->state,
                                  .ca_state = tcb->ca_state,
                                  .retransmits = tcb->retransmits,
                                  .probes = tcb->probes,
                                  .backoff = tcb->backoff,
                                  .ts_ok = tcb->ts_ok,
                                  .sack_ok = tcb->sack_ok,
                                  .wscale_ok = tcb->wscale_ok,
                                  .nodelay = tcb->nodelay,
                                  .congestion = tcb->cc.algorithm,
                                  .ecn = tcb_synchronized(tcb) ? tcb_extra(tcb)->ecn.mode : 0,
                                  .ecn_seen = tcb_extra(tcb)->ecn.seen,
                                  .delivered_ce = tcb_extra(tcb)->ecn.delivered_ce,
                                  .received_ce = tcb_extra(tcb)->ecn.marked,
                                  .received_e1_bytes = tcb_extra(tcb)->ecn.e1b,
                                  .received_e0_bytes = tcb_extra(tcb)->ecn.e0b,
                                  .received_ce_bytes = tcb_extra(tcb)->ecn.ceb,
                                  .ts_recent = tcb->ts_recent};
    fill_sender(tcb, info);
    info->pacing_rate = pace_rate(tcp, tcb);
    if (tcb->in_table)
        info->pmtu = net_path_mtu(&tcp->net, &tcb->key.remote);
    fill_receiver(tcp, tcb, info);
    fill_times(tcp, tcb, info);
}

int ust_tcp_info(const struct ust_engine *eng, ust_handle h, struct ust_tcp_info *info)
{
    const struct tcp *tcp = sock_tcp_const(eng);
    const struct tcb *tcb = sock_find(tcp, h);

    if (!tcb)
        return dgram_find(tcp, h) ? -ENOPROTOOPT : -EBADF;
    fill_tcb(tcp, tcb, info);
    return 0;
}

static void fill_request(const struct request *req, struct ust_tcp_info *info)
{
    *info = (struct ust_tcp_info){.state = UST_SYN_RECEIVED,
                                  .retransmits = req->retries,
                                  .ts_ok = req->ts_ok,
                                  .sack_ok = req->sack_ok,
                                  .wscale_ok = req->wscale_ok,
                                  .syn_sent = 1,
                                  .iss = req->iss,
                                  .irs = req->irs,
                                  .snd_una = req->iss,
                                  .snd_nxt = req->iss + 1,
                                  .snd_max = req->iss + 1,
                                  .snd_wnd = req->wnd,
                                  .rcv_nxt = req->irs + 1,
                                  .ts_recent = req->ts_recent};
}

static void fill_timewait(const struct tcp *tcp, const struct timewait *tw,
                          struct ust_tcp_info *info)
{
    uint32_t id = tcp->timewait_timers + (uint32_t)(tw - tcp->timewaits);

    *info = (struct ust_tcp_info){.state = UST_TIME_WAIT,
                                  .ts_ok = tw->ts_ok,
                                  .syn_sent = 1,
                                  .fin_sent = 1,
                                  .fin_received = 1,
                                  .snd_una = tw->snd_nxt,
                                  .snd_nxt = tw->snd_nxt,
                                  .snd_max = tw->snd_nxt,
                                  .rcv_nxt = tw->rcv_nxt,
                                  .ts_recent = tw->ts_recent,
                                  .timewait = tcp->net.core.wheel.nodes[id].deadline};
}

int ust_flow_info(const struct ust_engine *eng, const struct ust_addr *local, uint16_t local_port,
                  const struct ust_addr *remote, uint16_t remote_port, struct ust_tcp_info *info)
{
    const struct tcp *tcp = sock_tcp_const(eng);
    struct flow_key key = {
        .local = *local, .remote = *remote, .lport = local_port, .rport = remote_port};
    uint32_t value = flow_find(tcp, &key), i = value & FLOW_INDEX_MASK;

    if (value == TCP_NONE)
        return -ENOENT;
    switch (value >> FLOW_KIND_SHIFT) {
    case FLOW_REQUEST: fill_request(&tcp->requests[i], info); return 0;
    case FLOW_TIMEWAIT: fill_timewait(tcp, &tcp->timewaits[i], info); return 0;
    default: fill_tcb(tcp, &tcp->tcbs[i], info); return 0;
    }
}
