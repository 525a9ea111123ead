/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers that belong to no TCB: RSTs for segments of no connection (RFC 9293
 * 3.5.2), SYN-ACKs of request blocks, ACKs of TIME-WAIT records. They go to
 * the output queue at once; the transmit stage sends them first.            */
#include "tcp.h"

void tcp_respond_rst(struct tcp *tcp, const struct segment *seg, const struct packet *p)
{
    const uint8_t *th = mbuf_data(&tcp->net.core.pool, seg->m) + p->l4_off;
    struct flow_key key = {
        .local = p->dst, .remote = p->src, .lport = get16(th + 2), .rport = get16(th)};
    struct tcp_header h = {.key = &key, .flags = TH_RST};

    if (seg->flags & TH_RST) /* a RST is never answered */
        return;
    if (!tokens_take(&tcp->rsts, tcp->net.core.set.tcp_rst_limit, tcp_now(tcp)))
        return;
    if (seg->flags & TH_ACK) {
        h.seq = seg->ack;
    } else {
        h.ack = seg->seq + seg->len;
        h.flags |= TH_ACK;
    }
    if (tcp_send_bare(tcp, &h))
        count(tcp_core(tcp), C_TCP_RESETS_OUT);
}

void tcp_respond_synack(struct tcp *tcp, const struct request *req)
{
    const struct tcb *listening = &tcp->tcbs[tcp->listeners[req->listener].tcb];
    uint16_t mss = tcp_advmss(tcp, &req->key.remote);

    struct fastopen_option fo = {0};
    struct tcp_header h = {.key = &req->key,
                           .seq = req->iss,
                           .ack = req->irs + 1,
                           .flags = TH_SYN | TH_ACK,
                           .wnd = tcp_request_window(req),
                           .tos = listening->tos,
                           .ttl = listening->ttl,
                           .mss = mss,
                           .ts = req->ts_ok,
                           .sack_permitted = req->sack_ok,
                           .with_wscale = req->wscale_ok,
                           .wscale = req->rcv_wscale,
                           .ts_val = req->cookie ? tcp_cookie_ts(tcp, req)
                                                 : tcp_ts_now(tcp, req->ts_offset),
                           .ts_ecr = req->ts_recent};

    if (listening->user_mss && listening->user_mss < mss)
        h.mss = listening->user_mss;
    if (req->fastopen && req->retries == 0) {
        fastopen_cookie(tcp, &req->key, &fo);
        fo.experimental = req->experimental;
        h.fastopen = &fo;
    }
    ecn_answer(tcp, req, &h);
    tcp_send_bare(tcp, &h);
}

void tcp_respond_timewait(struct tcp *tcp, struct timewait *tw)
{
    tcp_send_bare(tcp, &(struct tcp_header){.key = &tw->key,
                                            .seq = tw->snd_nxt,
                                            .ack = tw->rcv_nxt,
                                            .flags = TH_ACK,
                                            .wnd = tw->wnd,
                                            .ts = tw->ts_ok,
                                            .ts_val = tcp_ts_now(tcp, tw->ts_offset),
                                            .ts_ecr = tw->ts_recent});
}

void tcp_send_rst(struct tcp *tcp, struct tcb *tcb)
{
    if (tcp_send_bare(tcp, &(struct tcp_header){.key = &tcb->key,
                                                .seq = tcb->snd_max,
                                                .ack = tcb->rcv_nxt,
                                                .flags = TH_RST | TH_ACK,
                                                .tos = tcb->tos,
                                                .ttl = tcb->ttl,
                                                .dst = &tcb->dst,
                                                .ts = tcb->ts_ok,
                                                .ts_val = tcp_ts_now(tcp, tcb->ts_offset),
                                                .ts_ecr = tcb->ts_recent}))
        count(tcp_core(tcp), C_TCP_RESETS_OUT);
}
