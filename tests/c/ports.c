/* SPDX-License-Identifier: BSD-3-Clause */
/* The contract of io/port.h, for every backend: two ports joined by a wire,
 * a frame put in at one end comes out at the other. For tap, a pair of packet
 * sockets is the wire: like the device they move one frame a system call.
 * Sources: base/mbuf.c base/checksum.c base/rss.c io/port.c io/ring.c
 *          io/lane.c io/segment.c io/steer.c io/tap.c io/uring.c io/vnet.c
 *          io/pcap.c */
#define _GNU_SOURCE 1
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/checksum.h"
#include "check.h"
#include "io/port.h"

enum { SMALL = 128, LARGE = 6, REFS = 80, SLOTS = 256, CSUM_AT = 34 };

static const uint8_t MAC[6] = {2, 0, 0, 0, 0, 1};

struct end {
    struct ust_port *port;
    struct mbuf_pool pool;
    void *memory[2];
};

struct wire {
    const char *name;
    void (*open)(struct ust_port *ports[2]);
    bool offload;
};

static struct end ends[2];
static bool offload;

/* ------------------------------------------------------------- wires */

static void open_ring(struct ust_port *ports[2])
{
    CHECK(ust_ring_pair(ports, 1, 1500, SLOTS, UST_CAP_TSO) == 0);
}

static void open_plain_ring(struct ust_port *ports[2])
{
    CHECK(ust_ring_pair(ports, 1, 1500, SLOTS, 0) == 0);
}

static void open_taps(struct ust_port *ports[2], unsigned hdr_len, int uring)
{
    int fds[2], err, i;

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds) == 0);
    for (i = 0; i < 2; i++) {
        ports[i] = ust_tap_open(&fds[i], 1, hdr_len, 1500, UST_CAP_TX_CSUM | UST_CAP_TSO, uring,
                                MAC, &err);
        CHECK(ports[i]);
    }
}

static void open_tap(struct ust_port *ports[2])
{
    open_taps(ports, 10, 0);
}

static void open_plain_tap(struct ust_port *ports[2])
{
    open_taps(ports, 0, 0);
}

static void open_uring_tap(struct ust_port *ports[2])
{
    open_taps(ports, 10, 1);
}

static void open_plain_uring_tap(struct ust_port *ports[2])
{
    open_taps(ports, 0, 1);
}

static void open_capture(struct ust_port *ports[2])
{
    int err, i;

    open_ring(ports);
    for (i = 0; i < 2; i++) {
        ports[i] = ust_pcap_open(ports[i], "/dev/null", 0, 0, &err);
        CHECK(ports[i]);
    }
}

static const struct wire wires[] = {
    {"ring", open_ring, true},
    {"ring, plain", open_plain_ring, false},
    {"tap", open_tap, true},
    {"tap, plain", open_plain_tap, false},
    {"tap by io_uring", open_uring_tap, true},
    {"tap by io_uring, plain", open_plain_uring_tap, false},
    {"captured ring", open_capture, true},
};

static void *zeroed(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) & ~(size_t)63);

    CHECK(memory);
    return memset(memory, 0, size);
}

static void set_up(const struct wire *wire)
{
    struct ust_port *ports[2];
    int i;

    offload = wire->offload;
    wire->open(ports);
    for (i = 0; i < 2; i++) {
        ends[i].port = ports[i];
        ends[i].memory[0] = zeroed(mbuf_pool_meta_size(SMALL, LARGE, REFS));
        ends[i].memory[1] = zeroed(mbuf_pool_data_size(SMALL, LARGE));
        mbuf_pool_init(&ends[i].pool, ends[i].memory[0], ends[i].memory[1], SMALL, LARGE, REFS,
                       NULL);
    }
}

static void tear_down(void)
{
    int i;

    for (i = 0; i < 2; i++) {
        CHECK(ends[i].pool.n_free[MBUF_SMALL] == SMALL);
        CHECK(ends[i].pool.n_free[MBUF_LARGE] == LARGE);
        CHECK(ends[i].pool.n_free[MBUF_REF] == REFS);
        ust_port_close(ends[i].port);
        free(ends[i].memory[0]);
        free(ends[i].memory[1]);
    }
}

/* ----------------------------------------------------------- helpers */

static uint8_t byte_of(uint32_t number, uint32_t at)
{
    return (uint8_t)(number * 31 + at * 7 + (at >> 8));
}

/* A frame whose bytes follow from its number. */
static struct mbuf *make(uint32_t number, uint32_t len)
{
    struct mbuf *m = mbuf_alloc_frame(&ends[0].pool, len);
    uint32_t i;
    uint8_t b;

    CHECK(m);
    for (i = 0; i < len; i++) {
        b = byte_of(number, i);
        port_copy_in(&ends[0].pool, m, i, &b, 1);
    }
    return m;
}

static unsigned send_burst(struct mbuf **burst, unsigned n)
{
    return ends[0].port->ops->tx_burst(ends[0].port, 0, &ends[0].pool, burst, n);
}

static unsigned recv_burst(struct mbuf **burst, unsigned max)
{
    return ends[1].port->ops->rx_burst(ends[1].port, 0, &ends[1].pool, burst, max);
}

static void check_and_free(struct mbuf *m, uint32_t number, uint32_t len)
{
    uint32_t i;
    uint8_t b;

    CHECK(m->frame_len == len);
    for (i = 0; i < len; i++)
        CHECK(mbuf_copy_out(&ends[1].pool, m, i, &b, 1) == 1 && b == byte_of(number, i));
    mbuf_free(&ends[1].pool, m);
}

/* --------------------------------------------------------- the claims */

static void test_a_burst_arrives_whole_and_in_order(void)
{
    static const uint32_t lengths[] = {14, 60, 61, 1514, 64, 1000};
    struct mbuf *burst[6], *out[8];
    struct ust_port_stats st;
    unsigned i;

    for (i = 0; i < 6; i++)
        burst[i] = make(i, lengths[i]);
    CHECK(send_burst(burst, 6) == 6);
    CHECK(recv_burst(out, 4) == 4);
    CHECK(recv_burst(out + 4, 4) == 2);
    CHECK(recv_burst(out, 0) == 0);
    for (i = 0; i < 6; i++)
        check_and_free(out[i], i, lengths[i]);
    CHECK(recv_burst(out, 8) == 0);
    ust_port_stats(ends[0].port, &st);
    CHECK(st.tx_frames == 6 && st.tx_bytes == 2713);
    ust_port_stats(ends[1].port, &st);
    CHECK(st.rx_frames == 6 && st.rx_bytes == 2713);
}

/* How much fits is the backend's affair; the rest stays with the caller. */
static void test_what_does_not_fit_stays_with_the_caller(void)
{
    struct mbuf *burst[16], *out[16];
    unsigned n = 16, sent = 0, got = 0, round, i;
    struct ust_port_stats st;

    for (round = 0; n == 16 && round < 10000; round++, sent += n) {
        for (i = 0; i < 16; i++)
            burst[i] = make(sent + i, 60);
        n = send_burst(burst, 16);
    }
    CHECK(n < 16);
    ust_port_stats(ends[0].port, &st);
    CHECK(st.tx_frames == sent && st.tx_full == 1);
    CHECK(recv_burst(out, 16) == 16);
    CHECK(send_burst(burst + n, 1) == 1); /* there is room again */
    for (i = n + 1; i < 16; i++)
        mbuf_free(&ends[0].pool, burst[i]); /* they were still ours */
    sent++;
    do {
        for (i = 0; i < 16 && got < sent; i++)
            check_and_free(out[i], got++, 60);
        n = recv_burst(out, 16);
    } while (n == 16);
    for (i = 0; i < n; i++)
        check_and_free(out[i], got++, 60);
    CHECK(got == sent);
}

/* What moves many frames at once looks at how many came before. */
static void test_bursts_of_any_size_follow_one_another_in_order(void)
{
    static const unsigned sizes[] = {40, 40, 40, 1, 3, 64, 64, 64, 7, 64, 33, 33, 33, 0, 20, 64};
    struct mbuf *burst[64], *out[64];
    struct ust_port_stats st;
    unsigned number = 0, expected = 0, i, k, n, got;

    for (k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        for (i = 0; i < sizes[k]; i++)
            burst[i] = make(number++, 60);
        CHECK(send_burst(burst, sizes[k]) == sizes[k]);
        for (got = 0; got < sizes[k] && (n = recv_burst(out, 64)) > 0; got += n)
            for (i = 0; i < n; i++)
                check_and_free(out[i], expected++, 60);
        CHECK(got == sizes[k]);
    }
    ust_port_stats(ends[1].port, &st);
    CHECK(st.rx_frames == number && st.rx_bad == 0 && st.rx_no_mbuf == 0);
}

static void test_a_chain_of_references_is_gathered(void)
{
    struct mbuf *payload = make(1, 1400), *m = mbuf_alloc(&ends[0].pool, MBUF_SMALL);
    struct mbuf *ref = mbuf_ref(&ends[0].pool, payload, 100, 1000), *out;
    uint8_t head[54], byte;
    uint32_t i;

    memset(head, 0xaa, sizeof head);
    CHECK(m && ref);
    memcpy(mbuf_data(&ends[0].pool, m), head, sizeof head);
    m->len = sizeof head;
    m->frame_len = sizeof head + 1000;
    m->next = mbuf_index(&ends[0].pool, ref);
    CHECK(send_burst(&m, 1) == 1);
    CHECK(recv_burst(&out, 1) == 1 && out->frame_len == 1054);
    for (i = 0; i < 1054; i++) {
        CHECK(mbuf_copy_out(&ends[1].pool, out, i, &byte, 1) == 1);
        CHECK(byte == (i < 54 ? 0xaa : byte_of(1, i - 54 + 100)));
    }
    for (i = 0; i < 1400; i++) /* the payload is still there, untouched */
        CHECK(mbuf_data(&ends[0].pool, payload)[i] == byte_of(1, i));
    mbuf_free(&ends[0].pool, payload);
    mbuf_free(&ends[1].pool, out);
}

static void test_a_chain_of_very_many_pieces_is_gathered(void)
{
    struct mbuf *payload = make(1, 1400), *first = mbuf_alloc(&ends[0].pool, MBUF_SMALL);
    struct mbuf *last = first, *out;
    uint8_t byte;
    uint32_t i;

    if (!offload) {
        mbuf_free(&ends[0].pool, payload);
        mbuf_free(&ends[0].pool, first);
        return;
    }
    first->len = 14;
    memset(mbuf_data(&ends[0].pool, first), 0xaa, 14);
    for (i = 0; i < 70; i++, last = mbuf_at(&ends[0].pool, last->next))
        last->next = mbuf_index(&ends[0].pool, mbuf_ref(&ends[0].pool, payload, i, 200));
    first->frame_len = 14 + 70 * 200;
    CHECK(send_burst(&first, 1) == 1 && recv_burst(&out, 1) == 1);
    CHECK(out->frame_len == 14 + 70 * 200);
    for (i = 0; i < 70 * 200; i++) {
        CHECK(mbuf_copy_out(&ends[1].pool, out, 14 + i, &byte, 1) == 1);
        CHECK(byte == byte_of(1, i / 200 + i % 200));
    }
    mbuf_free(&ends[0].pool, payload);
    mbuf_free(&ends[1].pool, out);
}

static void test_a_burst_of_super_segments_arrives_in_order(void)
{
    struct mbuf *burst[5], *out[5];
    unsigned n, i;

    for (i = 0; offload && i < 5; i++)
        burst[i] = make(i, 65549);
    n = send_burst(burst, offload ? 5 : 0);
    CHECK(n >= 2 || !offload); /* what the wire holds */
    CHECK(recv_burst(out, 5) == n);
    for (i = 0; i < n; i++)
        check_and_free(out[i], i, 65549);
    for (; offload && i < 5; i++)
        mbuf_free(&ends[0].pool, burst[i]);
}

/* A reference's headroom is somebody else's data. */
static void test_a_lone_reference_is_sent_without_touching_its_owner(void)
{
    struct mbuf *owner = make(1, 1000), *out;
    struct mbuf *ref = mbuf_ref(&ends[0].pool, owner, 500, 100);
    uint32_t i;

    CHECK(send_burst(&ref, 1) == 1 && recv_burst(&out, 1) == 1);
    CHECK(out->frame_len == 100);
    CHECK(mbuf_data(&ends[1].pool, out)[0] == byte_of(1, 500));
    for (i = 0; i < 1000; i++)
        CHECK(mbuf_data(&ends[0].pool, owner)[i] == byte_of(1, i));
    mbuf_free(&ends[0].pool, owner);
    mbuf_free(&ends[1].pool, out);
}

static void test_an_empty_pool_drops_and_counts_and_then_goes_on(void)
{
    struct mbuf *hoard[SMALL + LARGE], *burst[3], *out[3];
    struct ust_port_stats st;
    unsigned n = 0, i;

    for (i = 0; i < 3; i++)
        burst[i] = make(i, 60);
    CHECK(send_burst(burst, 3) == 3);
    while ((hoard[n] = mbuf_alloc_for(&ends[1].pool, 60)) != NULL && ++n < SMALL + LARGE)
        ;
    CHECK(recv_burst(out, 3) == 0);
    ust_port_stats(ends[1].port, &st);
    CHECK(st.rx_no_mbuf == 3 && st.rx_frames == 0);
    for (i = 0; i < n; i++)
        mbuf_free(&ends[1].pool, hoard[i]);
    burst[0] = make(7, 60);
    CHECK(send_burst(burst, 1) == 1 && recv_burst(out, 3) == 1);
    check_and_free(out[0], 7, 60);
}

/* Frames that are not small serve where large buffers are all in use. */
static void test_a_large_frame_finds_room_in_small_buffers(void)
{
    struct mbuf *hoard[LARGE], *m = make(1, offload ? 40000 : 1514), *out;
    unsigned i;

    for (i = 0; i < LARGE; i++)
        hoard[i] = mbuf_alloc(&ends[1].pool, MBUF_LARGE);
    CHECK(send_burst(&m, 1) == 1 && recv_burst(&out, 1) == 1);
    check_and_free(out, 1, offload ? 40000 : 1514);
    for (i = 0; i < LARGE; i++)
        mbuf_free(&ends[1].pool, hoard[i]);
}

static void test_an_unfinished_checksum_arrives_as_good(void)
{
    struct mbuf *m = make(3, 100), *out;
    uint8_t copy[100], field[2] = {0x12, 0x34};
    uint64_t sum;

    if (!offload)
        goto plain;
    m->flags = MBUF_CSUM_PARTIAL;
    m->csum_start = CSUM_AT;
    m->csum_offset = 16;
    port_copy_in(&ends[0].pool, m, CSUM_AT + 16, field, 2);
    CHECK(send_burst(&m, 1) == 1 && recv_burst(&out, 1) == 1);
    CHECK(out->flags == MBUF_CSUM_OK);
    CHECK(out->csum_start == CSUM_AT && out->csum_offset == 16);
    mbuf_copy_out(&ends[1].pool, out, 0, copy, 100);
    port_finish_checksum(&ends[1].pool, out, copy, 100);
    /* With the pseudo-header's sum, which was in the field, all is right. */
    sum = checksum_add(field, sizeof field, 0);
    CHECK(checksum_fold(checksum_add(copy + CSUM_AT, 66, sum)) == 0xffff);
    mbuf_free(&ends[1].pool, out);
    m = make(3, 100);
plain:
    CHECK(send_burst(&m, 1) == 1 && recv_burst(&out, 1) == 1);
    CHECK(out->flags == 0 && out->csum_start == 0 && out->gso_size == 0);
    check_and_free(out, 3, 100);
}

static void test_a_super_segment_arrives_whole(void)
{
    static const uint32_t lengths[] = {1515, 9014, 30000, 65549};
    struct mbuf *m, *out;
    unsigned i;

    for (i = 0; offload && i < 4; i++) {
        m = make(i, lengths[i]);
        m->flags = MBUF_CSUM_PARTIAL;
        m->csum_start = CSUM_AT;
        m->csum_offset = 16;
        m->gso_size = 1460;
        m->gso_type = i & 1 ? MBUF_GSO_TCP6 : MBUF_GSO_TCP4;
        CHECK(send_burst(&m, 1) == 1 && recv_burst(&out, 1) == 1);
        CHECK(out->gso_size == 1460 && out->flags == MBUF_CSUM_OK);
        CHECK(out->gso_type == (i & 1 ? MBUF_GSO_TCP6 : MBUF_GSO_TCP4));
        check_and_free(out, i, lengths[i]);
    }
}

static void test_what_is_no_frame_is_refused_and_counted(void)
{
    struct mbuf *burst[2] = {make(0, 13), make(1, 60)}, *out;
    struct ust_port_stats st;

    CHECK(send_burst(burst, 2) == 2);
    CHECK(recv_burst(&out, 1) == 1);
    check_and_free(out, 1, 60);
    ust_port_stats(ends[0].port, &st);
    CHECK(st.tx_errors == 1 && st.tx_frames == 1);
}

static bool readable(void)
{
    struct pollfd pfd = {ends[1].port->ops->fd(ends[1].port, 0), POLLIN, 0};

    return poll(&pfd, 1, 0) == 1;
}

/* Armed, and either told of frames at once or woken by them. */
static void test_an_armed_queue_learns_of_frames(void)
{
    const struct port_ops *ops = ends[1].port->ops;
    struct mbuf *m = make(1, 60), *out;

    CHECK(ops->arm(ends[1].port, 0) == 0 && !readable());
    CHECK(send_burst(&m, 1) == 1);
    CHECK(readable());
    ops->disarm(ends[1].port, 0);
    CHECK(recv_burst(&out, 1) == 1);
    check_and_free(out, 1, 60);
    m = make(2, 60);
    CHECK(send_burst(&m, 1) == 1);
    CHECK(ops->arm(ends[1].port, 0) == 1 || readable());
    CHECK(recv_burst(&out, 1) == 1);
    check_and_free(out, 2, 60);
    ops->disarm(ends[1].port, 0);
    CHECK(ops->arm(ends[1].port, 0) == 0 && !readable());
    ops->disarm(ends[1].port, 0);
}

int main(void)
{
    size_t i;

#define ON_WIRE(test)                                                                              \
    (fprintf(stderr, "%s: %s\n", wires[i].name, #test), set_up(&wires[i]), RUN(test), tear_down())
    for (i = 0; i < sizeof wires / sizeof *wires; i++) {
        ON_WIRE(test_a_burst_arrives_whole_and_in_order);
        ON_WIRE(test_what_does_not_fit_stays_with_the_caller);
        ON_WIRE(test_bursts_of_any_size_follow_one_another_in_order);
        ON_WIRE(test_a_chain_of_references_is_gathered);
        ON_WIRE(test_a_chain_of_very_many_pieces_is_gathered);
        ON_WIRE(test_a_burst_of_super_segments_arrives_in_order);
        ON_WIRE(test_a_lone_reference_is_sent_without_touching_its_owner);
        ON_WIRE(test_an_empty_pool_drops_and_counts_and_then_goes_on);
        ON_WIRE(test_a_large_frame_finds_room_in_small_buffers);
        ON_WIRE(test_an_unfinished_checksum_arrives_as_good);
        ON_WIRE(test_a_super_segment_arrives_whole);
        ON_WIRE(test_what_is_no_frame_is_refused_and_counted);
        ON_WIRE(test_an_armed_queue_learns_of_frames);
    }
    return 0;
}
