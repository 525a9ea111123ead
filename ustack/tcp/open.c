/* SPDX-License-Identifier: BSD-3-Clause */
/* Active opens and SYN-SENT (RFC 9293 3.10.1, 3.10.7.3), and the parameters
 * that both kinds of open agree on: MSS, window scale, timestamps, SACK.    */
#include <errno.h>

#include "tcp.h"

enum { V4_HEADERS = 40, V6_HEADERS = 60, V6_DEFAULT_MSS = 1220 };

uint16_t tcp_advmss(const struct tcp *tcp, const struct ust_addr *remote)
{
    uint32_t mtu = net_link_mtu(&tcp->net, remote);
    uint32_t headers = addr_is_v4(remote) ? V4_HEADERS : V6_HEADERS;

    /* MUST-67: what we can take is what the interface can */
    return (uint16_t)(mtu > headers ? mtu - headers : 1);
}

uint16_t tcp_default_mss(const struct tcp *tcp, const struct ust_addr *remote)
{
    return addr_is_v4(remote) ? (uint16_t)tcp->net.core.set.tcp_default_mss : V6_DEFAULT_MSS;
}

/* MUST-16: Eff.snd.MSS = min(SendMSS + 20, MMS_S) - headers - options. */
void tcp_set_mss(struct tcp *tcp, struct tcb *tcb)
{
    uint32_t headers = addr_is_v4(&tcb->key.remote) ? V4_HEADERS : V6_HEADERS;
    uint32_t mtu = tcb->mtu_discover < MTU_DISCOVER_PROBE
                     ? net_path_mtu(&tcp->net, &tcb->key.remote)
                     : net_link_mtu(&tcp->net, &tcb->key.remote);
    uint32_t mss = tcb->peer_mss, own = mtu > headers ? mtu - headers : 0;

    if (tcb->user_mss && tcb->user_mss < mss)
        mss = tcb->user_mss;
    if (mss > own)
        mss = own;
    if (mss < (uint32_t)tcp->net.core.set.tcp_min_snd_mss)
        mss = (uint32_t)tcp->net.core.set.tcp_min_snd_mss;
    tcb->snd_mss = mss - (tcb->ts_ok ? TCP_TS_LEN : 0);
    tcb->cc.mss = tcb->snd_mss;
    tcb->mtu_epoch = tcp->net.mtu_epoch;
}

void tcp_negotiate(struct tcp *tcp, struct tcb *tcb, const struct tcp_options *opt)
{
    const struct settings *set = &tcp->net.core.set;

    tcb->peer_mss = opt->mss ? opt->mss : tcp_default_mss(tcp, &tcb->key.remote);
    tcb->ts_ok = opt->ts_ok && set->tcp_timestamps;
    tcb->sack_ok = opt->sack_ok && set->tcp_sack;
    tcb->wscale_ok = opt->wscale_ok && set->tcp_window_scaling;
    tcb->snd_wscale = tcb->wscale_ok ? opt->wscale : 0;
    if (!tcb->wscale_ok)
        tcb->rcv_wscale = 0;
    tcb->ts_recent = opt->ts_val;
    tcb->ts_recent_age = tcp_now(tcp);
    tcp_set_mss(tcp, tcb);
    tcb->rcv_mss = tcb->snd_mss < 536 ? tcb->snd_mss : 536;
}

void tcp_established(struct tcp *tcp, struct tcb *tcb)
{
    tcb->state = UST_ESTABLISHED;
    count(tcp_core(tcp), C_TCP_ESTABLISHED);
    tcp_open_sender(tcp, tcb);
    tcp_disarm_loss(tcb);
    tcp_arm_keepalive(tcp, tcb, tcp_now(tcp));
    tcp_changed(tcp, tcb);
}

void tcp_open_sender(struct tcp *tcp, struct tcb *tcb)
{
    congestion_start(tcp, tcb);
    if (tcb->retransmits)
        rtt_after_lost_syn(tcb);
    tcb->retransmits = 0;
    recovery_init(tcp, tcb);
    sndspace_grow(tcp, tcb);
    tcb->snd_sml = tcb->snd_una;
    tcb->last_rcvd = tcb->last_sent = tcp_now(tcp);
    if (!tcb_traffic(tcb)->nobody)
        tcb_own_traffic(tcb)->last_text = tcp_now(tcp);
}

static int choose_source(struct tcp *tcp, struct tcb *tcb, struct flow_key *key, uint32_t *hash)
{
    const struct ust_addr *src = net_source(&tcp->net, &key->remote);

    if (!src)
        return -ENETUNREACH;
    if (addr_is_any(&tcb->key.local))
        key->local = *src; /* MUST-44 */
    if (tcb->bound)
        key->lport = tcb->key.lport;
    else
        key->lport = tcp_pick_port(tcp, key);
    if (key->lport == 0)
        return -EADDRNOTAVAIL;
    *hash = flow_hash(tcp, key);
    return tcp_flow_free(tcp, key, *hash) ? 0 : -EADDRINUSE;
}

/* A bind to "any" becomes one to the address in use. */
static int enter_flow(struct tcp *tcp, struct tcb *tcb, const struct flow_key *key, uint32_t hash)
{
    bool rebind = tcb->bound;

    if (flow_insert(tcp, key->lport, hash, FLOW_TCB, tcb_index(tcp, tcb)) < 0)
        return -ENOBUFS;
    if (rebind)
        tcp_bind_remove(tcp, tcb);
    tcb->key = *key;
    tcb->hash = hash;
    tcb->in_table = true;
    if (rebind)
        tcp_bind_insert(tcp, tcb);
    return 0;
}

int tcp_connect(struct tcp *tcp, struct tcb *tcb, const struct ust_addr *addr, uint16_t port)
{
    struct flow_key key = {.local = tcb->key.local, .remote = *addr, .rport = port};
    struct flow_numbers numbers;
    uint32_t min_iss, hash;
    int err;

    if (port == 0 || addr_is_any(addr))
        return -EADDRNOTAVAIL;
    if (net_is_group(&tcp->net, addr)) /* MUST-46 */
        return -ENETUNREACH;
    if ((err = choose_source(tcp, tcb, &key, &hash)) < 0)
        return err;
    min_iss = tcp_timewait_reopen(tcp, &key, hash);
    if ((err = enter_flow(tcp, tcb, &key, hash)) < 0)
        return err;
    count(tcp_core(tcp), C_TCP_OPENS_ACTIVE);
    numbers = tcp_numbers(tcp, &key);
    tcb->iss = numbers.isn;
    if (min_iss && seq_lt(tcb->iss, min_iss))
        tcb->iss = min_iss;
    tcb->ts_offset = numbers.ts_offset;
    tcb->snd_una = tcb->snd_nxt = tcb->snd_max = tcb->iss;
    tcb->sndbuf.start = tcb->iss + 1;
    tcb->advmss = tcp_advmss(tcp, addr);
    tcb->state = UST_SYN_SENT;
    rtt_init(tcp, tcb);
    if (tcb->fo_connect) {
        fastopen_ask(tcp, tcb);
        if (fastopen_possible(tcp, addr)) { /* the SYN leaves with the first text */
            tcb->fo_waits = true;
            return 0;
        }
        if (tcb->fo_asks)
            tcb->fastopen_fail = UST_FASTOPEN_NO_COOKIE;
    }
    tcb->syn_due = true;
    tcp_ready(tcp, tcb);
    return -EINPROGRESS;
}

/* Does the segment echo a timestamp that none of our SYNs had? As Linux asks. */
static bool echo_is_foreign(const struct tcp *tcp, const struct tcb *tcb, const struct segment *seg)
{
    uint32_t age = tcp_ts_now(tcp, tcb->ts_offset) - seg->opt.ts_ecr;

    return seg->opt.ts_ok && seg->opt.ts_ecr && tcp->net.core.set.tcp_timestamps &&
           age > (tcp_now(tcp) - tcb->stalled) / NS_PER_MS + 1;
}

/* First, the ACK bit (RFC 9293 3.10.7.3). */
static enum verdict check_ack(const struct tcp *tcp, const struct tcb *tcb,
                              const struct segment *seg)
{
    if (!(seg->flags & TH_ACK))
        return PASS;
    if (echo_is_foreign(tcp, tcb, seg))
        return DROP_RST;
    if (seq_leq(seg->ack, tcb->iss) || seq_gt(seg->ack, tcb->snd_max + tcb_extra(tcb)->syn_len))
        return DROP_RST; /* RSTs are not answered: see tcp_respond_rst() */
    return PASS;
}

static void take_syn(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    tcb->rcv_wscale = rcvwnd_scale(tcp, tcb);
    tcp_negotiate(tcp, tcb, &seg->opt);
    if (seg->flags & TH_ACK)
        ecn_take_synack(tcb, seg);
    else
        ecn_take_syn(tcb, seg);
    tcb->irs = seg->seq;
    tcb->rcv_nxt = tcb->rcv_acked = seg->seq + 1;
    rcvwnd_start(tcp, tcb, rcvwnd_initial(tcb, tcb->advmss));
    tcb->snd_wnd = tcb->max_wnd = seg->wnd; /* never scaled on a SYN */
    tcb->snd_wl1 = seg->seq;
    tcb->snd_wl2 = seg->ack;
}

/* The peer's SYN acknowledges ours: ESTABLISHED. What text or FIN came with it
 * is treated like that of any segment. */
static void complete(struct tcp *tcp, struct tcb *tcb, struct segment *seg)
{
    uint32_t taken = seg->ack - tcb->iss - 1; /* of the text in our SYN */

    fastopen_answered(tcp, tcb, seg);
    tcb->snd_una = tcb->snd_nxt = tcb->snd_max = seg->ack;
    sndbuf_drop(&tcp->net.core.pool, &tcb->sndbuf, taken);
    if (taken > 0) {
        traffic_have(tcp, tcb)->bytes_acked += taken;
        tcb_own_traffic(tcb)->bytes_sent += taken;
    }
    tcp_time_syn(tcp, tcb, seg);
    rtt_reset_backoff(tcp, tcb);
    tcb->syn_due = false;
    tcp_established(tcp, tcb);
    if (tcb_extra(tcb)->defer_retries || tcb->pingpong)
        delack_wait_for_text(tcp, tcb);
    else
        tcb->ack_now = true;
    tcp_ready(tcp, tcb);
    if (seg->text_len > 0 || (seg->flags & TH_FIN)) {
        seg->flags &= (uint8_t)~TH_SYN;
        seg->seq++;
        seg->len--;
        tcp_synchronized(tcp, tcb, seg);
    }
}

void tcp_syn_sent(struct tcp *tcp, struct tcb *tcb, struct segment *seg, const struct packet *p)
{
    if (check_ack(tcp, tcb, seg) == DROP_RST) {
        tcp_respond_rst(tcp, seg, p);
        return seg_drop(tcp, seg, C_TCP_DROP_SYN_SENT);
    }
    if (seg->flags & TH_RST) { /* second; without an ACK it could be anybody's */
        if (!(seg->flags & TH_ACK))
            return seg_drop(tcp, seg, C_TCP_DROP_SYN_SENT);
        count(tcp_core(tcp), C_TCP_RESETS_IN);
        return tcp_done(tcp, tcb, ECONNREFUSED);
    }
    if (!(seg->flags & TH_SYN)) /* fifth */
        return seg_drop(tcp, seg, C_TCP_DROP_SYN_SENT);
    take_syn(tcp, tcb, seg); /* fourth */
    if (seg->flags & TH_ACK)
        return complete(tcp, tcb, seg);
    tcb->state = UST_SYN_RECEIVED; /* simultaneous open (MUST-10) */
    tcb->syn_due = true;
    tcp_ready(tcp, tcb);
}
