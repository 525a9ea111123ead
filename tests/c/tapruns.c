/* SPDX-License-Identifier: BSD-3-Clause */
/* A tap's runs: what they save, what is refused inside one, and a system that
 * refuses io_uring, from the start or later. What a tap owes in any case is in
 * ports.c. A pair of packet sockets is the wire; where the system has no
 * io_uring, only the last claim is looked at.
 * Sources: base/mbuf.c base/checksum.c io/port.c io/tap.c io/uring.c io/vnet.c */
#define _GNU_SOURCE 1
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "io/port.h"
#include "io/uring.h"

enum { SMALL = 128, LARGE = 4, N = 32, LEN = 60, SYS_SETUP = 425, SYS_ENTER = 426 };

static const uint8_t MAC[6] = {2, 0, 0, 0, 0, 1};

static struct mbuf_pool pool;
static struct ust_port *ports[2];

static void *zeroed(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) & ~(size_t)63);

    CHECK(memory);
    return memset(memory, 0, size);
}

static void set_up(int uring)
{
    int fds[2], err, i;

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds) == 0);
    for (i = 0; i < 2; i++) {
        ports[i] = ust_tap_open(&fds[i], 1, 10, 1500, 0, uring, MAC, &err);
        CHECK(ports[i]);
    }
}

static void tear_down(void)
{
    int i;

    for (i = 0; i < 2; i++)
        ust_port_close(ports[i]);
    CHECK(pool.n_free[MBUF_SMALL] == SMALL && pool.n_free[MBUF_LARGE] == LARGE);
}

static bool runs(void)
{
    struct ust_port_info info;

    ust_port_info(ports[0], &info);
    return info.runs;
}

static struct ust_port_stats stats(int end)
{
    struct ust_port_stats st;

    ust_port_stats(ports[end], &st);
    return st;
}

static struct mbuf *make(uint8_t number)
{
    struct mbuf *m = mbuf_alloc_for(&pool, LEN);

    CHECK(m);
    m->len = m->frame_len = LEN;
    memset(mbuf_data(&pool, m), number, LEN);
    return m;
}

static unsigned send_n(unsigned n)
{
    struct mbuf *burst[N];
    unsigned sent, i;

    for (i = 0; i < n; i++)
        burst[i] = make((uint8_t)i);
    sent = ports[0]->ops->tx_burst(ports[0], 0, &pool, burst, n);
    for (i = sent; i < n; i++)
        mbuf_free(&pool, burst[i]);
    return sent;
}

/* Takes in what was sent last, which must be there, in order. */
static void recv_n(unsigned n)
{
    struct mbuf *burst[2 * N];
    unsigned i, got, all = 0;

    do {
        got = ports[1]->ops->rx_burst(ports[1], 0, &pool, burst + all, N);
        all += got;
    } while (all < n && got > 0);
    CHECK(all == n);
    for (i = 0; i < n; i++) {
        CHECK(burst[i]->frame_len == LEN && mbuf_data(&pool, burst[i])[LEN - 1] == i);
        mbuf_free(&pool, burst[i]);
    }
}

static void test_a_burst_out_costs_one_system_call(void)
{
    CHECK(send_n(N) == N && stats(0).syscalls == 1 && stats(0).runs == 1);
    CHECK(send_n(2) == 2 && stats(0).syscalls == 2 && stats(0).runs == 2);
    CHECK(send_n(1) == 1 && stats(0).syscalls == 3 && stats(0).runs == 2); /* by write() */
}

static void test_bursts_in_cost_two_system_calls_and_under_steady_load_one(void)
{
    static const unsigned costs[] = {21, 2, 2, 2, 1, 1, 1}; /* each sees the end */
    uint64_t before;
    unsigned i;

    for (i = 0; i < sizeof costs / sizeof *costs; i++) {
        before = stats(1).syscalls;
        CHECK(send_n(20) == 20);
        recv_n(20);
        CHECK(stats(1).syscalls == before + costs[i]);
    }
    CHECK(stats(1).runs == 6);
}

/* Who looks often looks in vain between bursts, at the price of a read. */
static void test_looks_in_vain_cost_one_system_call_and_the_burst_after_them_two(void)
{
    uint64_t before;
    unsigned i;

    for (i = 0; i < 4; i++) {
        before = stats(1).syscalls;
        recv_n(0);
        recv_n(0);
        CHECK(stats(1).syscalls == before + 2);
        CHECK(send_n(20) == 20);
        recv_n(20);
        CHECK(i < 1 || stats(1).syscalls == before + 4);
    }
    CHECK(stats(1).runs == 3); /* none of them in vain */
}

static void test_light_traffic_is_read_one_by_one_again(void)
{
    uint64_t runs_before;
    unsigned i;

    for (i = 0; i < 3; i++) {
        CHECK(send_n(20) == 20);
        recv_n(20);
    }
    CHECK(stats(1).runs == 2);
    CHECK(send_n(1) == 1);
    recv_n(1);
    runs_before = stats(1).runs;
    CHECK(send_n(20) == 20);
    recv_n(20);
    CHECK(stats(1).runs == runs_before && stats(1).rx_frames == 81);
}

/* What one run has left the next one takes. */
static void test_a_run_that_did_not_see_the_end_is_followed_by_a_longer_one(void)
{
    uint64_t before;

    CHECK(send_n(4) == 4);
    recv_n(4);
    CHECK(send_n(N) == N);
    before = stats(1).syscalls;
    recv_n(N);
    CHECK(stats(1).syscalls == before + 4); /* 1, 5, 12 and 14 frames */
}

static void test_what_is_no_frame_is_refused_inside_a_run(void)
{
    struct mbuf *burst[9];
    uint8_t i;

    for (i = 0; i < 9; i++)
        burst[i] = make(i < 4 ? i : i - 1);
    burst[4]->len = burst[4]->frame_len = 13;
    CHECK(ports[0]->ops->tx_burst(ports[0], 0, &pool, burst, 9) == 9);
    CHECK(stats(0).tx_frames == 8 && stats(0).tx_errors == 1);
    recv_n(8);
}

static void test_a_device_that_is_gone_costs_the_frames_and_is_counted(void)
{
    ust_port_close(ports[1]);
    ports[1] = NULL;
    CHECK(send_n(N) == N && stats(0).runs == 1);
    CHECK(stats(0).tx_errors == N && stats(0).tx_frames == 0 && stats(0).tx_bytes == 0);
}

/* The order is kept when the device takes a part of a run only. */
static void test_what_a_full_device_refuses_stays_in_order(void)
{
    struct mbuf *burst[N], *out[N];
    unsigned sent, n, round = 0, i, next = 0;

    do {
        for (i = 0; i < N; i++)
            burst[i] = make((uint8_t)i);
        sent = ports[0]->ops->tx_burst(ports[0], 0, &pool, burst, N);
        round++;
    } while (sent == N && round < 1000);
    CHECK(sent < N && stats(0).tx_full == 1 && stats(0).tx_frames == (round - 1) * N + sent);
    while ((n = ports[1]->ops->rx_burst(ports[1], 0, &pool, out, N)) > 0)
        for (i = 0; i < n; i++, next++) {
            CHECK(mbuf_data(&pool, out[i])[0] == next % N);
            mbuf_free(&pool, out[i]);
        }
    CHECK(ports[0]->ops->tx_burst(ports[0], 0, &pool, burst + sent, N - sent) == N - sent);
    while ((n = ports[1]->ops->rx_burst(ports[1], 0, &pool, out, N)) > 0)
        for (i = 0; i < n; i++, next++) {
            CHECK(mbuf_data(&pool, out[i])[0] == next % N);
            mbuf_free(&pool, out[i]);
        }
    CHECK(next == round * N);
}

/* /dev/full has no operation that does not wait: the run is refused whole. */
static void test_a_device_that_can_only_wait_is_given_a_call_each(void)
{
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC), err;

    ust_port_close(ports[0]);
    ports[0] = ust_tap_open(&fd, 1, 10, 1500, 0, 1, MAC, &err);
    CHECK(ports[0] && send_n(8) == 8);
    CHECK(stats(0).tx_errors == 8 && stats(0).tx_frames == 0); /* by ENOSPC */
    CHECK(!runs() && stats(0).runs == 1 && stats(0).syscalls == 9);
}

/* From now on the system refuses a call, as many containers do. */
static void refuse(uint32_t number)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};

    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void test_a_ring_that_is_refused_later_is_given_up(void)
{
    unsigned i;

    refuse(SYS_ENTER);
    for (i = 0; i < 4; i++) {
        CHECK(send_n(20) == 20);
        recv_n(20);
    }
    CHECK(!runs() && stats(0).tx_frames == 80 && stats(1).rx_frames == 80);
    CHECK(stats(0).runs == 1); /* the one that was refused */
}

static void test_without_io_uring_frames_go_one_by_one(void)
{
    unsigned i;

    for (i = 0; i < 4; i++) {
        CHECK(send_n(20) == 20);
        recv_n(20);
    }
    CHECK(!runs() && stats(0).runs == 0 && stats(1).runs == 0);
    CHECK(stats(0).syscalls == 80 && stats(1).syscalls == 84);
}

int main(void)
{
    struct uring probe;
    bool has_uring;

#define ON_TAPS(uring, test) (set_up(uring), RUN(test), tear_down())
    signal(SIGPIPE, SIG_IGN);
    mbuf_pool_init(&pool, zeroed(mbuf_pool_meta_size(SMALL, LARGE, 0)),
                   zeroed(mbuf_pool_data_size(SMALL, LARGE)), SMALL, LARGE, 0, NULL);
    has_uring = uring_open(&probe, 4) == 0;
    uring_close(&probe);
    if (has_uring) {
        ON_TAPS(1, test_a_burst_out_costs_one_system_call);
        ON_TAPS(1, test_bursts_in_cost_two_system_calls_and_under_steady_load_one);
        ON_TAPS(1, test_looks_in_vain_cost_one_system_call_and_the_burst_after_them_two);
        ON_TAPS(1, test_light_traffic_is_read_one_by_one_again);
        ON_TAPS(1, test_a_run_that_did_not_see_the_end_is_followed_by_a_longer_one);
        ON_TAPS(1, test_what_is_no_frame_is_refused_inside_a_run);
        ON_TAPS(1, test_a_device_that_is_gone_costs_the_frames_and_is_counted);
        ON_TAPS(1, test_what_a_full_device_refuses_stays_in_order);
        ON_TAPS(1, test_a_device_that_can_only_wait_is_given_a_call_each);
        ON_TAPS(1, test_a_ring_that_is_refused_later_is_given_up);
    }
    ON_TAPS(0, test_without_io_uring_frames_go_one_by_one);
    refuse(SYS_SETUP);
    CHECK(uring_open(&probe, 4) == -EPERM);
    uring_close(&probe);
    ON_TAPS(1, test_without_io_uring_frames_go_one_by_one);
    return 0;
}
