/* SPDX-License-Identifier: BSD-3-Clause */
/* Segments from one engine to another, for callgrind to count the instructions
 * of: see tools/instructions.py.
 *
 *   instructions text_len segments connections rounds [echo | connect]
 *
 * In a round every connection writes so many segments of text_len bytes and the
 * other engine reads them, and sends them back if it is an echo; or it makes so
 * many connections, each for one echo, which it then closes. What is counted
 * happens inside counted_sender() or counted_receiver(), which are called once
 * all is warm: everything that an end does, its part in the ACKs included. Frames are carried between the engines
 * outside of both, checksums are the port's affair, and time passes by itself.
 * Prints how many segments with text were counted.                          */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mbuf.h"
#include "ustack.h"

enum { PORT = 80, MAX_CONNS = 4096, WARM_UP = 100, ROUND_NS = 1000000, MTU = 1500 };

static struct ust_engine *ends[2]; /* the sender, and the receiver */
static ust_handle conns[MAX_CONNS];
static unsigned n_conns, n_open, n_segments, text_len;
static ust_time now = 1000000000;
static uint8_t text[65536];
static int writing;    /* it is the first turn of a round */
static int echoing;    /* what is received is sent back */
static int connecting; /* each echo has a connection of its own */
static ust_handle listener;
static unsigned n_closed;

static void insist(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "instructions: %s\n", what);
        exit(1);
    }
}

static struct ust_addr address(unsigned end)
{
    return (struct ust_addr){{[10] = 0xff, 0xff, 10, 0, 0, (uint8_t)(end + 1)}};
}

static struct ust_engine *make(unsigned end)
{
    const uint8_t macs[2][6] = {{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}};
    struct ust_config *cfg = ust_config_new("linux");
    struct ust_addr us = address(end), them = address(!end);
    uint8_t secret[32] = {(uint8_t)end};
    struct ust_engine *eng;
    int err = 0;

    insist(ust_config_set(cfg, "tcp.pacing", 0) == 0, "no setting tcp.pacing");
    ust_config_entropy(cfg, end + 1, secret);
    eng = ust_engine_new(cfg, &err);
    insist(eng && ust_engine_add_iface(eng, macs[end], MTU, UST_CAP_RX_CSUM | UST_CAP_TX_CSUM) == 0,
           "no engine");
    ust_engine_add_addr(eng, 0, &us, 24);
    ust_engine_add_neigh(eng, 0, &them, macs[!end]);
    ust_config_free(cfg);
    return eng;
}

/* ------------------------------------------------------- what is counted */

/* Takes all that has come for a connection. */
static void read_all(struct ust_engine *eng, ust_handle h, int back)
{
    int64_t n;

    do {
        n = ust_recv(eng, h, text, sizeof text, 0);
        if (n > 0 && back)
            ust_send(eng, h, text, (size_t)n, 0);
    } while (n == sizeof text);
}

/* A connection of one echo, on either end. */
static void serve(unsigned end, const struct ust_event *ev)
{
    struct ust_engine *eng = ends[end];
    ust_handle h = ev->handle;
    int64_t n;

    if (end == 1 && h == listener) {
        while ((h = ust_accept(eng, listener)) > 0)
            ust_setopt(eng, h, UST_OPT_NODELAY, 1);
        return;
    }
    if (end == 0 && !(ev->events & UST_READABLE)) {
        insist(ust_send(eng, h, text, text_len, 0) == text_len, "send");
        return;
    }
    n = ust_recv(eng, h, text, sizeof text, 0);
    if (end == 1 && n > 0)
        ust_send(eng, h, text, (size_t)n, 0);
    if (end == 0 || n == 0) {
        ust_close(eng, h);
        n_closed += end;
    }
}

static void make_connections(void)
{
    struct ust_addr server = address(1);

    for (unsigned i = 0; i < n_conns; i++)
        insist(ust_connect(ends[0], ust_socket(ends[0]), &server, PORT) == -EINPROGRESS, "connect");
}

static void read_events(struct ust_engine *eng, int back)
{
    struct ust_event ev[UST_MAX_BURST];
    unsigned n;

    do {
        n = ust_engine_events(eng, ev, UST_MAX_BURST);
        for (unsigned i = 0; i < n; i++)
            if (connecting)
                serve(eng == ends[1], &ev[i]);
            else
                read_all(eng, ev[i].handle, back);
    } while (n == UST_MAX_BURST);
}

/* A turn of each end: frames in, what the application does, at most a burst out. */
static unsigned sender(struct mbuf **in, unsigned n, struct mbuf **out)
{
    ust_engine_input(ends[0], now, in, n);
    ust_engine_tick(ends[0], now);
    read_events(ends[0], 0);
    if (writing && connecting)
        make_connections();
    for (unsigned i = 0; writing && i < n_open; i++)
        for (unsigned k = 0; k < n_segments; k++)
            ust_send(ends[0], conns[i], text, text_len, 0);
    writing = 0;
    return ust_engine_output(ends[0], now, out, UST_MAX_BURST);
}

static unsigned receiver(struct mbuf **in, unsigned n, struct mbuf **out)
{
    ust_engine_input(ends[1], now, in, n);
    ust_engine_tick(ends[1], now);
    read_events(ends[1], echoing);
    return ust_engine_output(ends[1], now, out, UST_MAX_BURST);
}

typedef unsigned turn(struct mbuf **in, unsigned n, struct mbuf **out);

__attribute__((noipa)) static unsigned counted_sender(struct mbuf **in, unsigned n,
                                                      struct mbuf **out)
{
    return sender(in, n, out);
}

__attribute__((noipa)) static unsigned counted_receiver(struct mbuf **in, unsigned n,
                                                        struct mbuf **out)
{
    return receiver(in, n, out);
}

static turn *turns[2] = {sender, receiver};

/* ------------------------------------------------------- the wire */

/* Copy frames from one engine's buffers to the other's. */
static void carry(unsigned from, struct mbuf **burst, unsigned n)
{
    struct mbuf_pool *out = ust_engine_pool(ends[from]), *in = ust_engine_pool(ends[!from]);

    for (unsigned i = 0; i < n; i++) {
        struct mbuf *copy = mbuf_alloc(in, MBUF_SMALL);

        insist(copy != NULL, "no buffer");
        mbuf_copy_out(out, burst[i], 0, mbuf_data(in, copy), burst[i]->frame_len);
        copy->len = copy->frame_len = burst[i]->frame_len;
        copy->flags |= MBUF_CSUM_OK;
        mbuf_free(out, burst[i]);
        burst[i] = copy;
    }
}

/* Until both are silent. */
static void play_round(void)
{
    struct mbuf *burst[UST_MAX_BURST];
    unsigned n, back = 0;

    now += ROUND_NS;
    writing = 1;
    do {
        n = turns[0](burst, back, burst);
        carry(0, burst, n);
        back = turns[1](burst, n, burst);
        carry(1, burst, back);
    } while (n || back);
}

static void connect_all(void)
{
    struct ust_addr server = address(1);

    listener = ust_socket(ends[1]);
    insist(ust_bind(ends[1], listener, &server, PORT) == 0, "bind");
    insist(ust_listen(ends[1], listener, MAX_CONNS) == 0, "listen");
    for (unsigned i = 0; !connecting && i < n_conns; i++) {
        ust_handle h = ust_socket(ends[0]);

        ust_setopt(ends[0], h, UST_OPT_NODELAY, 1);
        insist(ust_connect(ends[0], h, &server, PORT) == -EINPROGRESS, "connect");
        play_round();
        conns[i] = h;
        h = ust_accept(ends[1], listener);
        insist(h > 0, "accept");
        ust_setopt(ends[1], h, UST_OPT_NODELAY, 1);
    }
    n_open = connecting ? 0 : n_conns;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc >= 5 ? (unsigned)atoi(argv[4]) : 0;
    struct ust_tcp_info before, after;
    uint64_t segments;

    insist(rounds > 0, "usage: instructions text_len segments connections rounds [echo]");
    echoing = argc > 5 && !strcmp(argv[5], "echo");
    connecting = argc > 5 && !strcmp(argv[5], "connect");
    text_len = (unsigned)atoi(argv[1]);
    n_segments = (unsigned)atoi(argv[2]);
    n_conns = (unsigned)atoi(argv[3]);
    insist(n_conns >= 1 && n_conns <= MAX_CONNS && text_len <= sizeof text, "too many");
    ends[0] = make(0);
    ends[1] = make(1);
    connect_all();
    for (unsigned i = 0; i < WARM_UP; i++)
        play_round();
    insist(connecting || ust_tcp_info(ends[0], conns[0], &before) == 0, "no information");
    n_closed = 0;
    turns[0] = counted_sender;
    turns[1] = counted_receiver;
    for (unsigned i = 0; i < rounds; i++)
        play_round();
    if (connecting) {
        insist(n_closed == rounds * n_conns, "not all have ended");
        segments = n_closed;
    } else {
        insist(ust_tcp_info(ends[0], conns[0], &after) == 0, "no information");
        insist(after.total_retrans == 0, "something was lost");
        segments = (after.data_segs_out - before.data_segs_out) * n_conns;
    }
    printf("%llu\n", (unsigned long long)segments);
    ust_engine_free(ends[0]);
    ust_engine_free(ends[1]);
    return 0;
}
