/* SPDX-License-Identifier: BSD-3-Clause */
/* SegmentSmack (CVE-2018-5390) and its kin: text that is never in order, on one
 * connection. Not a test of its own: see tests/tcp/test_segment_smack.py, which
 * also runs it under callgrind.
 *
 *   segsmack 4|6 pattern warm-up segments
 *
 * The patterns stand in next(). callgrind counts what is done inside measured(),
 * for the last so many segments. Prints the most small mbufs, ranges, and bytes
 * out of order, and the receive buffer's limit. */
#include <stdio.h>

#include "base/rng.h"
#include "raw.h"

enum { PORT = 80, PEER_PORT = 4000, ISN = 1000, SEND = 1400 };

static struct rng rng = {3};
static struct ust_engine *eng;
static ust_time now = 1000000000;
static int version;
static uint32_t their_seq, our_seq, window;
static uint8_t out[2048];
static uint32_t most_mbufs, most_ranges, most_bytes, rcvbuf;

static void input(uint8_t flags, uint32_t seq, uint32_t text_len)
{
    struct ust_addr peer = raw_addr(version, 1);
    unsigned options = flags & TH_SYN ? 12 : 0, len = TCP_LEN + options + text_len;
    uint8_t frame[2048], *th = raw_headers(frame, version, &peer, len);

    memset(th, 0, len);
    put16(th, PEER_PORT);
    put16(th + 2, PORT);
    put32(th + 4, seq);
    put32(th + 8, our_seq);
    th[12] = (uint8_t)((TCP_LEN + options) / 4 << 4);
    th[13] = flags;
    put16(th + 14, 60000);
    if (options) {
        put32(th + TCP_LEN, 0x02040000 | SEND);
        put32(th + TCP_LEN + 4, 0x01030307);
        put32(th + TCP_LEN + 8, 0x01010402);
    }
    ust_engine_inject(eng, now, 0, frame, (size_t)(th + len - frame), UST_FRAME_CSUM_OK);
}

static void empty_output(void)
{
    while (ust_engine_extract(eng, now, out, sizeof out) > 0)
        ;
}

static void info(struct ust_tcp_info *i)
{
    struct ust_addr us = raw_addr(version, 2), peer = raw_addr(version, 1);

    if (ust_flow_info(eng, &us, PORT, &peer, PEER_PORT, i) < 0)
        abort();
}

static void connect_to_it(void)
{
    struct ust_tcp_info i;

    input(TH_SYN, ISN, 0);
    empty_output();
    our_seq = get32(raw_segment(out, version) + 4) + 1;
    their_seq = ISN + 1;
    input(TH_ACK, their_seq, 0);
    info(&i);
    window = i.rcv_wnd;
    rcvbuf = i.rcvbuf;
}

static void watch(void)
{
    struct ust_tcp_info i;
    struct ust_usage u;

    info(&i);
    ust_engine_usage(eng, &u);
    most_mbufs = u.mbufs_small > most_mbufs ? u.mbufs_small : most_mbufs;
    most_ranges = i.ooo_ranges > most_ranges ? i.ooo_ranges : most_ranges;
    most_bytes = i.ooo_bytes > most_bytes ? i.ooo_bytes : most_bytes;
}

/* The nth piece of a pattern: where it lies from RCV.NXT, never at it. */
static uint32_t next(int pattern, uint32_t n, uint32_t *len)
{
    uint32_t span = window / 2 - 2;

    *len = 1;
    switch (pattern) {
    case 0: return 1 + 2 * (n % span);              /* upwards, with holes */
    case 1: return window - 2 - 2 * (n % span);     /* downwards, with holes */
    case 2: return 1 + rng_below(&rng, window - 2); /* anywhere */
    case 3: return window - 2 - n % (window - 4);   /* downwards, without */
    case 4: return 1 + n % (window - 4);            /* upwards, without */
    case 5: *len = 1 + rng_below(&rng, SEND - 1); return 1 + rng_below(&rng, window - SEND - 1);
    default: *len = 700; return 1 + 701 * ((window / 701 - 2) - n % (window / 701 - 2));
    }
}

__attribute__((noinline)) void input_one(uint32_t seq, uint32_t len);
void input_one(uint32_t seq, uint32_t len)
{
    input(TH_ACK, seq, len);
    empty_output();
}

__attribute__((noinline)) void measured(uint32_t seq, uint32_t len);
void measured(uint32_t seq, uint32_t len)
{
    input(TH_ACK, seq, len);
    empty_output();
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"tcp.rmem", "tcp.max_tcbs", "mbuf.large", NULL};
    static const int64_t values[] = {6291456, 8, 8};
    const char *why = "";
    uint32_t warm_up, n, len;

    if (argc != 5)
        return 2;
    version = atoi(argv[1]);
    warm_up = (uint32_t)atoi(argv[3]);
    eng = raw_engine(version, PORT, 8, names, values);
    connect_to_it();
    for (n = 0; n < warm_up + (uint32_t)atoi(argv[4]); n++) {
        uint32_t at = next(atoi(argv[2]), n, &len);

        now += 1000;
        (n < warm_up ? input_one : measured)(their_seq + at, len);
        if (n % 64 == 0)
            watch();
    }
    watch();
    if (ust_engine_check(eng, &why)) {
        fprintf(stderr, "segsmack: %s\n", why);
        return 1;
    }
    printf("mbufs %u ranges %u bytes %u rcvbuf %u window %u pruned %llu dropped %llu\n", most_mbufs,
           most_ranges, most_bytes, rcvbuf, window, raw_counter(eng, "tcp.ooo.pruned"),
           raw_counter(eng, "tcp.drop.ooo"));
    ust_engine_free(eng);
    return 0;
}
