/* SPDX-License-Identifier: BSD-3-Clause */
/* TCP Fast Open (RFC 7413): text in the SYN, and an answer before the handshake
 * has ended, for clients that have shown a cookie.
 *
 * Server. A cookie is a keyed hash of both addresses and of the time in periods
 * of tcp.fastopen_key_s; that of the last period still opens, and brings a new
 * one. A SYN with a good cookie makes a connection in SYN-RECEIVED that is
 * accepted, read and written at once (fo_pending). A listener has at most
 * TCP_FASTOPEN's number of these, so that replayed SYNs cost little.
 *
 * Client. What servers gave is kept in sets of four, by a hash of the address;
 * the oldest of a set goes. A SYN that must be sent again goes without text and
 * option: what sits between may not like them. After two such timeouts nobody
 * tries for tcp.fastopen_blackhole_timeout_sec, twice as long each time.
 *
 * Always: text in a SYN is in the send buffer, too, and counts as sent only when
 * it is acknowledged; else it goes again behind the handshake, like any text.  */
#include "tcp.h"

enum {
    CLIENT = 1,
    SERVER = 2,
    CLIENT_WITHOUT_COOKIE = 4,
    SERVER_WITHOUT_COOKIE = 0x200,
    SERVER_EVERYWHERE = 0x400, /* listeners need no TCP_FASTOPEN */
    WAYS = 4,
    MAX_DOUBLINGS = 6,
    COOKIE_LEN = 8,
    OPTION_SPACE = 40,
};

static int64_t mode(const struct tcp *tcp)
{
    return tcp->net.core.set.tcp_fastopen;
}

/* ------------------------------------------------------- server */

static uint64_t cookie_of(const struct tcp *tcp, const struct flow_key *key, uint64_t age)
{
    struct {
        char use[8];
        struct ust_addr local, remote;
        uint64_t period;
    } text = {.use = "fastopen", .local = key->local, .remote = key->remote};

    text.period = tcp_now(tcp) / NS_PER_S / (uint64_t)tcp->net.core.set.tcp_fastopen_key_s - age;
    return siphash24(&tcp->net.core.key_cookie, &text, sizeof text);
}

void fastopen_cookie(const struct tcp *tcp, const struct flow_key *key, struct fastopen_option *out)
{
    uint64_t cookie = cookie_of(tcp, key, 0);

    for (unsigned i = 0; i < COOKIE_LEN; i++)
        out->cookie[i] = (uint8_t)(cookie >> 8 * i);
    out->len = COOKIE_LEN;
    out->present = true;
}

static bool opens(const struct tcp *tcp, const struct flow_key *key,
                  const struct fastopen_option *given, uint64_t age)
{
    uint64_t good = cookie_of(tcp, key, age), cookie = 0;

    for (unsigned i = 0; i < COOKIE_LEN; i++)
        cookie |= (uint64_t)given->cookie[i] << 8 * i;
    return given->len == COOKIE_LEN && cookie == good;
}

static bool has_room(const struct tcp *tcp, const struct tcb *listening)
{
    const struct listener *l = &tcp->listeners[listening->listener];
    uint32_t most = tcb_extra(listening)->fo_qlen;

    if (!most && (mode(tcp) & SERVER_EVERYWHERE))
        most = l->backlog;
    return l->n_fastopen < most;
}

enum fastopen_answer fastopen_syn(struct tcp *tcp, const struct tcb *listening,
                                  const struct flow_key *key, const struct segment *seg)
{
    const struct fastopen_option *given = &seg->opt.fastopen;

    if (!(mode(tcp) & SERVER) || (seg->text_len == 0 && !given->present) ||
        !has_room(tcp, listening))
        return FASTOPEN_REFUSED;
    if (mode(tcp) & SERVER_WITHOUT_COOKIE)
        return FASTOPEN_CHILD;
    if (!given->present)
        return FASTOPEN_REFUSED;
    if (given->len > 0 && opens(tcp, key, given, 0))
        return FASTOPEN_CHILD;
    if (given->len > 0 && opens(tcp, key, given, 1))
        return FASTOPEN_CHILD_RENEWED;
    count(tcp_core(tcp), given->len ? C_TCP_FASTOPEN_BAD : C_TCP_FASTOPEN_ASKED);
    return FASTOPEN_COOKIE;
}

void fastopen_pending(struct tcp *tcp, struct tcb *tcb, const struct tcb *listening)
{
    struct extra *x = tcb_own_extra(tcb);

    tcb->fo_pending = true;
    tcb->syn_data = true;
    x->fo_parent = tcb_index(tcp, listening);
    x->fo_parent_gen = listening->gen;
    tcp->listeners[listening->listener].n_fastopen++;
    count(tcp_core(tcp), C_TCP_FASTOPEN_PASSIVE);
}

void fastopen_settled(struct tcp *tcp, struct tcb *tcb)
{
    const struct tcb *listening = &tcp->tcbs[tcb_extra(tcb)->fo_parent];

    if (!tcb->fo_pending)
        return;
    tcb->fo_pending = false;
    if (listening->gen == tcb_extra(tcb)->fo_parent_gen && listening->state == UST_LISTEN)
        tcp->listeners[listening->listener].n_fastopen--;
}

/* ------------------------------------------------------- client: what peers gave */

static struct fastopen_peer *set_of(const struct tcp *tcp, const struct ust_addr *addr)
{
    uint64_t hash = siphash13(&tcp->net.core.key_flow, addr, sizeof *addr);

    return &tcp->fo_peers[hash % (tcp->n_fo_peers / WAYS) * WAYS];
}

static struct fastopen_peer *find_peer(const struct tcp *tcp, const struct ust_addr *addr)
{
    struct fastopen_peer *set = set_of(tcp, addr);

    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].used && addr_same(&set[i].addr, addr))
            return &set[i];
    return NULL;
}

static struct fastopen_peer *make_peer(const struct tcp *tcp, const struct ust_addr *addr)
{
    struct fastopen_peer *set = set_of(tcp, addr), *oldest = set, *p = find_peer(tcp, addr);

    for (unsigned i = 0; !p && i < WAYS && oldest->used; i++)
        if (!set[i].used || set[i].at < oldest->at)
            oldest = &set[i];
    if (!p) {
        p = oldest;
        *p = (struct fastopen_peer){.used = true, .addr = *addr};
    }
    p->at = tcp_now(tcp);
    return p;
}

/* ------------------------------------------------------- client: the SYN */

static bool blackholed(const struct tcp *tcp)
{
    return tcp_now(tcp) < tcp->fo_off_until;
}

bool fastopen_enabled(const struct tcp *tcp)
{
    return mode(tcp) & CLIENT;
}

bool fastopen_possible(const struct tcp *tcp, const struct ust_addr *addr)
{
    const struct fastopen_peer *peer = find_peer(tcp, addr);

    if (!fastopen_enabled(tcp) || blackholed(tcp))
        return false;
    return (mode(tcp) & CLIENT_WITHOUT_COOKIE) || (peer && peer->len > 0);
}

uint32_t fastopen_space(const struct tcp *tcp, const struct tcb *tcb)
{
    const struct fastopen_peer *peer = find_peer(tcp, &tcb->key.remote);
    uint32_t mss = peer && peer->mss ? peer->mss : (uint32_t)tcp->net.core.set.tcp_default_mss;

    if (mss > tcb->advmss)
        mss = tcb->advmss;
    return mss > OPTION_SPACE ? mss - OPTION_SPACE : 0;
}

void fastopen_ask(const struct tcp *tcp, struct tcb *tcb)
{
    tcb->fo_asks = fastopen_enabled(tcp) && !blackholed(tcp);
}

void fastopen_syn_option(const struct tcp *tcp, const struct tcb *tcb, struct fastopen_option *out)
{
    const struct fastopen_peer *peer = find_peer(tcp, &tcb->key.remote);

    if (!tcb->fo_asks || tcb->retransmits)
        return;
    out->present = true;
    if (!peer)
        return;
    out->len = peer->len;
    memcpy(out->cookie, peer->cookie, sizeof out->cookie);
}

/* ------------------------------------------------------- client: the answer */

static void keep_cookie(const struct tcp *tcp, const struct tcb *tcb, const struct segment *seg)
{
    const struct fastopen_option *given = &seg->opt.fastopen;
    struct fastopen_peer *peer;

    if (!given->present || given->len == 0)
        return;
    peer = make_peer(tcp, &tcb->key.remote);
    peer->mss = seg->opt.mss;
    peer->len = given->len;
    memcpy(peer->cookie, given->cookie, sizeof peer->cookie);
}

void fastopen_answered(struct tcp *tcp, struct tcb *tcb, const struct segment *seg)
{
    if (!tcb->fo_asks)
        return;
    keep_cookie(tcp, tcb, seg);
    if (tcb_extra(tcb)->syn_len == 0)
        return;
    if (seg->ack == tcb->iss + 1) {
        tcb->fastopen_fail = tcb->retransmits ? UST_FASTOPEN_RETRANSMITTED : UST_FASTOPEN_NOT_ACKED;
        count(tcp_core(tcp), C_TCP_FASTOPEN_FAILED);
    } else {
        tcb->syn_data = true;
        tcp->fo_off_times = 0;
        count(tcp_core(tcp), C_TCP_FASTOPEN_ACTIVE);
    }
}

void fastopen_timeout(struct tcp *tcp, const struct tcb *tcb)
{
    int64_t seconds = tcp->net.core.set.tcp_fastopen_blackhole_s;

    if (!tcb->fo_asks || tcb->retransmits != 1 || seconds == 0)
        return;
    tcp->fo_off_until = tcp_now(tcp) + ((ust_time)seconds * NS_PER_S << tcp->fo_off_times);
    if (tcp->fo_off_times < MAX_DOUBLINGS)
        tcp->fo_off_times++;
    count(tcp_core(tcp), C_TCP_FASTOPEN_BLACKHOLE);
}
