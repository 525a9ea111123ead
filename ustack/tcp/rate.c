/* SPDX-License-Identifier: BSD-3-Clause */
/* How fast the path delivers (draft-cheng-iccrg-delivery-rate-estimation).
 *
 * A record remembers, from when it was sent, how much had been delivered and
 * when. The ACK that delivers it then knows how much came in between, and how
 * long that took: the longer of the time to send it and the time of its ACKs,
 * so that neither bursts nor compressed ACKs make the path look faster than it
 * is. A sample taken while the application had nothing more to send is marked:
 * the path might do better.                                                 */
#include "tcp.h"

void rate_sent(const struct tcp *tcp, struct tcb *tcb, struct sent *s)
{
    struct recovery *rec = tcb_own_rec(tcb);

    if (rec->packets == 0)
        rec->first_sent = rec->delivered_at = tcp_now(tcp);
    s->first_sent = rec->first_sent;
    s->delivered_at = rec->delivered_at;
    s->app_limited = tcb->app_limited != 0;
}

/* Of all records that an ACK delivers the youngest counts. */
void rate_delivered(struct tcb *tcb, const struct sent *s, struct ack_news *news)
{
    if (s->delivered_at == 0 || (news->rate_at && s->at < news->rate_sent))
        return;
    news->rate_at = s->delivered_at;
    news->rate_sent = s->at;
    news->rate_prior = s->delivered;
    news->rate_app_limited = s->app_limited;
    news->send_time = s->at - s->first_sent;
    tcb_own_rec(tcb)->first_sent = s->at;
}

static void count_delivered(const struct tcp *tcp, struct tcb *tcb, bool some, struct cc_ack *ack)
{
    if (tcb->app_limited && seq_gt(tcb_traffic(tcb)->delivered, tcb->app_limited))
        tcb->app_limited = 0;
    if (some)
        tcb_own_rec(tcb)->delivered_at = tcp_now(tcp);
    ack->delivered = tcb_traffic(tcb)->delivered;
}

/* What ack tells of the rate since `since`, when as much was delivered as
 * ack->prior_delivered; it took no less time to send that. */
static void measure(const struct tcp *tcp, struct tcb *tcb, ust_time since, ust_time send_time,
                    struct cc_ack *ack)
{
    ust_time time = tcp_now(tcp) - since;

    if (time < send_time)
        time = send_time;
    if (time == 0 || time < tcb->min_rtt * 1000ull)
        return; /* sent again just now: whose ACK is it? */
    ack->rate = (uint64_t)(ack->delivered - ack->prior_delivered) * tcb->snd_mss * NS_PER_S / time;
    if (!ack->app_limited || ack->rate >= tcb_traffic(tcb)->delivery_rate) {
        tcb_own_traffic(tcb)->delivery_rate = ack->rate;
        tcb->rate_app_limited = ack->app_limited;
    }
}

void rate_sample(const struct tcp *tcp, struct tcb *tcb, const struct ack_news *news,
                 struct cc_ack *ack)
{
    count_delivered(tcp, tcb, tcb_traffic(tcb)->delivered != news->delivered, ack);
    ack->lost = tcb_rec(tcb)->lost_total - news->lost;
    if (news->rate_at == 0)
        return;
    ack->prior_delivered = news->rate_prior;
    ack->app_limited = news->rate_app_limited;
    measure(tcp, tcb, news->rate_at, news->send_time, ack);
}

void rate_plain(const struct tcp *tcp, struct tcb *tcb, const struct sent *s, struct cc_ack *ack)
{
    ust_time since = s->delivered_at, send_time = s->at - s->first_sent;

    count_delivered(tcp, tcb, true, ack);
    if (since == 0)
        return;
    tcb_own_rec(tcb)->first_sent = s->at;
    ack->prior_delivered = s->delivered;
    ack->app_limited = s->app_limited;
    measure(tcp, tcb, since, send_time, ack);
}

/* Nothing more to send, while the window allows more. */
void rate_check_app_limited(struct tcb *tcb)
{
    const struct recovery *rec = tcb_rec(tcb);
    bool out = seq_geq(tcb->snd_nxt + tcb->snd_mss, snd_end(tcb) + 1);
    uint32_t end;

    if (!out || tcb_pipe(tcb) >= tcb->cc.cwnd || rec->waiting)
        return;
    end = tcb_traffic(tcb)->delivered + rec->packets - rec->sacked - rec->lost + rec->again;
    tcb->app_limited = end ? end : 1;
}
