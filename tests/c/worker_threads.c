/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker: threads that wait, wake and send, on a fake engine and port.
 * Uses real time and threads; meant for ThreadSanitizer.
 *
 * An argument is the name of the one test to run.
 *
 * Sources: worker.c staging.c exchange.c sleep.c wait.c calls.c doorbell.c
 *          guardian.c                                                       */
#define _GNU_SOURCE
#include "worker_fakes.h"

#include <poll.h>
#include <signal.h>

#define CHECK(claim)                                                                               \
    do                                                                                             \
        if (!(claim)) {                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #claim);                            \
            exit(1);                                                                               \
        }                                                                                          \
    while (0)

enum { MS = 1000 * 1000 };
static const uint64_t LONG = 20000ull * MS; /* much longer than anything takes */

struct bench {
    struct ust_engine eng;
    struct fake_port port, second;
    struct ust_worker *w;
};

static void set_up_port(struct fake_port *p)
{
    p->port.ops = &fake_ops;
    p->tx_room = UST_MAX_BURST;
    p->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&p->lock, NULL);
}

static struct bench *set_up(uint64_t spin_ns)
{
    struct bench *b = calloc(1, sizeof *b);

    b->eng.deadline = UINT64_MAX;
    set_up_port(&b->port);
    b->w = ust_worker_new(&b->eng, &b->port.port, 0, 0, spin_ns);
    CHECK(b->w);
    return b;
}

static void tear_down(struct bench *b)
{
    ust_worker_free(b->w);
    close(b->port.fd);
    free(b);
}

static struct bench *set_up_two(void)
{
    struct bench *b = set_up(0);

    b->eng.n_ifaces = 2;
    set_up_port(&b->second);
    CHECK(ust_worker_add_port(b->w, &b->second.port, 1, 0) == 0);
    return b;
}

static void tear_down_two(struct bench *b)
{
    int fd = b->second.fd;

    tear_down(b);
    close(fd);
}

struct job { /* a thread that waits on socket h, and what came of it */
    struct bench *b;
    pthread_t thread;
    ust_handle h;
    unsigned rounds;
    int64_t result;
    ust_time took;
};

static void *receive(void *arg)
{
    struct job *j = arg;
    ust_time start = ust_worker_now();
    uint8_t byte;

    for (unsigned i = 0; i < j->rounds; i++) {
        j->result = ust_worker_recv(j->b->w, j->h, &byte, 1, 0, LONG);
        if (j->result < 0)
            break;
    }
    j->took = ust_worker_now() - start;
    return NULL;
}

static struct job start(struct bench *b, ust_handle h, unsigned rounds)
{
    return (struct job){.b = b, .h = h, .rounds = rounds};
}

static void run(struct job *j, void *(*body)(void *))
{
    CHECK(pthread_create(&j->thread, NULL, body, j) == 0);
}

static void join_all(struct job *jobs, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        pthread_join(jobs[i].thread, NULL);
}

/* Until n threads wait and, if asked, the driver sleeps. */
static void await_waiters(struct bench *b, unsigned n, bool asleep)
{
    for (;;) {
        unsigned found = 0;
        bool ok;

        ust_worker_lock(b->w);
        for (struct waiter *t = b->w->waiters; t; t = t->next)
            found++;
        ok = found == n && (!asleep || b->w->sleep_until != 0);
        ust_worker_unlock(b->w);
        if (ok)
            return;
        sched_yield();
    }
}

/* ------------------------------------------------------------------ tests */

static void a_frame_wakes_a_sleeper(void)
{
    struct bench *b = set_up(0);
    struct job j = start(b, 1, 1);

    run(&j, receive);
    await_waiters(b, 1, true);
    fake_arrive(&b->port, 1);
    join_all(&j, 1);
    CHECK(j.result == 1 && j.took < LONG / 2);
    tear_down(b);
}

static void a_wait_ends_at_its_timeout(void)
{
    struct bench *b = set_up(0);
    ust_time t = ust_worker_now();

    CHECK(ust_worker_wait(b->w, 1, UST_READABLE, 20 * MS) == 0);
    t = ust_worker_now() - t;
    CHECK(t >= 20 * MS && t < LONG / 2);
    CHECK(ust_worker_recv(b->w, 1, NULL, 0, 0, 0) == -EAGAIN);
    CHECK(ust_worker_wait(b->w, 99, UST_READABLE, LONG) == -EBADF);
    tear_down(b);
}

static void no_wait_still_runs_a_round(void)
{
    struct bench *b = set_up(0);

    fake_arrive(&b->port, 1);
    CHECK(ust_worker_recv(b->w, 1, NULL, 1, 0, 0) == 1);
    tear_down(b);
}

static void a_timer_of_the_engine_cuts_the_sleep(void)
{
    struct bench *b = set_up(0);

    b->eng.deadline = ust_worker_now() + 5 * MS;
    CHECK(ust_worker_idle(b->w, LONG) == 1);
    CHECK(b->eng.fired == 1);
    tear_down(b);
}

static void an_earlier_timer_wakes_the_driver(void)
{
    struct bench *b = set_up(0);
    struct job j = start(b, 1, 1);

    run(&j, receive);
    await_waiters(b, 1, true);
    ust_worker_lock(b->w);
    b->eng.deadline = ust_worker_now() + 2 * MS;
    ust_worker_unlock(b->w);
    for (unsigned fired = 0; !fired; sched_yield()) {
        ust_worker_lock(b->w);
        fired = b->eng.fired;
        ust_worker_unlock(b->w);
    }
    fake_arrive(&b->port, 1);
    join_all(&j, 1);
    tear_down(b);
}

static void every_follower_gets_its_own(void)
{
    enum { THREADS = 8, ROUNDS = 400 };
    struct bench *b = set_up(20 * 1000);
    struct job jobs[THREADS];

    for (int i = 0; i < THREADS; i++) {
        jobs[i] = start(b, i + 1, ROUNDS);
        run(&jobs[i], receive);
    }
    for (int n = 0; n < ROUNDS * THREADS; n++) {
        fake_arrive(&b->port, 1 + n % THREADS);
        if (n % 100 == 0)
            await_waiters(b, THREADS, true);
        while (n % 16 == 0 && !fake_inbox_empty(&b->port))
            sched_yield();
    }
    join_all(jobs, THREADS);
    for (int i = 0; i < THREADS; i++)
        CHECK(jobs[i].result == 1 && b->eng.readable[i + 1] == 0);
    CHECK(b->w->waiters == NULL && b->w->driver == NULL);
    tear_down(b);
}

/* Waits on sockets 1 and 2: the first drives, the second follows. */
static void lead_and_follow(struct bench *b, struct job jobs[2])
{
    for (int i = 0; i < 2; i++) {
        jobs[i] = start(b, i + 1, 1);
        run(&jobs[i], receive);
        await_waiters(b, (unsigned)i + 1, true);
    }
}

static void a_driver_that_stays_wakes_its_followers(void)
{
    struct bench *b = set_up(0);
    struct job jobs[2];

    lead_and_follow(b, jobs);
    fake_arrive(&b->port, 2);
    await_waiters(b, 1, true);
    join_all(&jobs[1], 1);
    fake_arrive(&b->port, 1);
    join_all(&jobs[0], 1);
    CHECK(jobs[0].took < LONG / 2 && jobs[1].took < LONG / 2);
    tear_down(b);
}

static void a_driver_that_leaves_hands_over(void)
{
    struct bench *b = set_up(0);
    struct job jobs[2];

    lead_and_follow(b, jobs);
    fake_arrive(&b->port, 1);
    join_all(&jobs[0], 1);
    await_waiters(b, 1, true);
    fake_arrive(&b->port, 2);
    join_all(&jobs[1], 1);
    CHECK(jobs[1].took < LONG / 2);
    tear_down(b);
}

static void a_spinning_driver_gives_way(void)
{
    struct bench *b = set_up(UINT64_MAX); /* never sleeps */
    struct job j = start(b, 1, 1);

    run(&j, receive);
    await_waiters(b, 1, false);
    for (int i = 0; i < 200; i++)
        CHECK(ust_worker_send(b->w, 2, NULL, 1, 0, 0) == 1);
    fake_arrive(&b->port, 1);
    join_all(&j, 1);
    CHECK(b->port.n_tx == 200);
    tear_down(b);
}

static void closing_a_socket_ends_the_wait_for_it(void)
{
    struct bench *b = set_up(0);
    struct job jobs[2] = {start(b, 1, 1), start(b, 2, 1)};

    run(&jobs[0], receive);
    run(&jobs[1], receive);
    await_waiters(b, 2, true);
    ust_worker_close(b->w, 1);
    ust_worker_close(b->w, 2);
    join_all(jobs, 2);
    CHECK(jobs[0].result == -EBADF && jobs[1].result == -EBADF);
    tear_down(b);
}

static void stop_sends_a_lone_driver_away(void)
{
    struct bench *b = set_up(0);
    struct job j = start(b, 1, 1);

    run(&j, receive);
    await_waiters(b, 1, true);
    ust_worker_stop(b->w);
    join_all(&j, 1);
    CHECK(j.result == -EBADF);
    tear_down(b);
}

static void stop_sends_everybody_away(void)
{
    struct bench *b = set_up(0);
    struct job jobs[2];

    lead_and_follow(b, jobs);
    ust_worker_stop(b->w);
    join_all(jobs, 2);
    CHECK(jobs[0].result == -EBADF && jobs[1].result == -EBADF);
    CHECK(ust_worker_send(b->w, 1, NULL, 1, 0, 0) == -EBADF);
    CHECK(ust_worker_idle(b->w, LONG) == -EBADF);
    CHECK(ust_worker_poll(b->w) == 0);
    tear_down(b);
}

static void *idle(void *arg)
{
    struct job *j = arg;

    j->result = ust_worker_idle(j->b->w, LONG);
    return NULL;
}

static void wake_ends_a_wait(void)
{
    struct bench *b = set_up(0);
    struct job j = start(b, 0, 1);

    j.result = -1;
    run(&j, idle);
    await_waiters(b, 1, true);
    ust_worker_wake(b->w);
    join_all(&j, 1);
    CHECK(j.result == 0);
    tear_down(b);
}

static void on_signal(int number)
{
    (void)number;
}

static void a_signal_ends_a_wait(void)
{
    struct bench *b = set_up(0);
    struct sigaction action = {.sa_handler = on_signal};
    struct job j = start(b, 0, 1);

    sigaction(SIGUSR1, &action, NULL);
    run(&j, idle);
    await_waiters(b, 1, true);
    for (bool waits = true; waits; sched_yield()) { /* may not be in ppoll yet */
        pthread_kill(j.thread, SIGUSR1);
        ust_worker_lock(b->w);
        waits = b->w->waiters != NULL;
        ust_worker_unlock(b->w);
    }
    join_all(&j, 1);
    CHECK(j.result == -EINTR);
    tear_down(b);
}

static void a_full_port_keeps_the_order(void)
{
    struct bench *b = set_up(0);

    b->port.tx_room = 3;
    CHECK(ust_worker_send(b->w, 1, NULL, 100, 0, 0) == 100);
    CHECK(b->port.n_tx == 3 && ust_worker_deadline(b->w) > 0);
    while (b->port.n_tx < 100)
        ust_worker_poll(b->w);
    for (uint32_t i = 0; i < 100; i++)
        CHECK(b->port.tx[i] == i);
    CHECK(b->eng.given == 100);
    tear_down(b);
}

static bool polls_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void a_second_port_has_its_own_frames(void)
{
    struct bench *b = set_up_two();

    fake_arrive(&b->second, 7);
    CHECK(ust_worker_wait(b->w, 7, UST_READABLE, LONG) == UST_READABLE);
    CHECK(b->eng.last_iface == 1);
    fake_arrive(&b->port, 6);
    CHECK(ust_worker_wait(b->w, 6, UST_READABLE, LONG) == UST_READABLE);
    CHECK(b->eng.last_iface == 0);
    CHECK(ust_worker_send(b->w, 1, NULL, 100, 0, 0) == 100);
    CHECK(b->port.n_tx == 50 && b->second.n_tx == 50);
    for (uint32_t i = 0; i < 50; i++)
        CHECK(b->port.tx[i] == 2 * i && b->second.tx[i] == 2 * i + 1);
    tear_down_two(b);
}

static void a_stuck_port_does_not_hold_up_the_other(void)
{
    struct bench *b = set_up_two();

    b->port.tx_room = 0;
    CHECK(ust_worker_send(b->w, 1, NULL, 200, 0, 0) == 200);
    CHECK(b->port.n_tx == 0 && b->second.n_tx == 100);
    CHECK(ust_worker_deadline(b->w) > ust_worker_now());
    b->port.tx_room = UST_MAX_BURST;
    ust_worker_poll(b->w);
    CHECK(b->port.n_tx == UST_MAX_BURST);
    for (uint32_t i = 0; i < UST_MAX_BURST; i++)
        CHECK(b->port.tx[i] == 2 * i);
    CHECK(b->w->stats.tx_dropped == 100 - UST_MAX_BURST);
    tear_down_two(b);
}

static void a_sleeper_hears_a_port_that_comes_later(void)
{
    struct bench *b = set_up(0);
    struct job j = start(b, 9, 1);

    set_up_port(&b->second);
    run(&j, receive);
    await_waiters(b, 1, true);
    CHECK(ust_worker_add_port(b->w, &b->second.port, 1, 0) == 0);
    await_waiters(b, 1, true);
    fake_arrive(&b->second, 9);
    join_all(&j, 1);
    CHECK(j.result == 1 && j.took < LONG / 2);
    tear_down_two(b);
}

static void an_event_loop_is_told_of_every_port(void)
{
    struct bench *b = set_up_two();

    ust_worker_lock(b->w);
    CHECK(ust_worker_arm(b->w) == 0);
    ust_worker_unlock(b->w);
    CHECK(!polls_readable(ust_worker_fd(b->w)));
    fake_arrive(&b->second, 1);
    CHECK(polls_readable(ust_worker_fd(b->w)));
    ust_worker_lock(b->w);
    CHECK(ust_worker_arm(b->w) == 1);
    ust_worker_unlock(b->w);
    tear_down_two(b);
}

static void wait_many_tells_which(void)
{
    struct bench *b = set_up(0);
    ust_handle handles[4] = {3, 4, 5, 99};
    uint32_t wanted[4] = {UST_READABLE, UST_READABLE, UST_WRITABLE, UST_READABLE};
    int32_t ready[4];

    CHECK(ust_worker_wait_many(b->w, handles, wanted, ready, 3, -1, MS) == 0);
    CHECK(ust_worker_wait_many(b->w, handles, wanted, ready, 0, -1, MS) == 0);
    fake_arrive(&b->port, 4);
    fake_arrive(&b->port, 5);
    CHECK(ust_worker_wait_many(b->w, handles, wanted, ready, 3, -1, LONG) == 1);
    CHECK(ready[0] == 0 && ready[1] == UST_READABLE && ready[2] == 0);
    CHECK(ust_worker_wait_many(b->w, handles, wanted, ready, 4, -1, LONG) == 2);
    CHECK(ready[3] == -EBADF);
    tear_down(b);
}

static void wait_many_ends_with_a_descriptor(void)
{
    struct bench *b = set_up(0);
    ust_handle handle = 3;
    uint32_t wanted = UST_READABLE;
    int32_t ready;
    int ends[2];

    CHECK(pipe(ends) == 0 && write(ends[1], "x", 1) == 1);
    CHECK(ust_worker_wait_many(b->w, &handle, &wanted, &ready, 1, ends[0], LONG) == 0);
    CHECK(b->w->stats.sleeps > 0);
    close(ends[0]);
    close(ends[1]);
    tear_down(b);
}

static bool polls_within(int fd, short events, int ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, ms) == 1;
}

static void a_doorbell_polls_as_its_socket_does(void)
{
    struct bench *b = set_up(0);
    uint8_t buf[8];
    int err;
    struct ust_doorbell *bell = ust_doorbell_new(b->w, 4, -1, &err);
    int fd = ust_doorbell_fd(bell);

    CHECK(err == 0 && !polls_within(fd, POLLIN, 0));
    fake_arrive(&b->port, 4);
    CHECK(polls_within(fd, POLLIN, 10000)); /* the guardian drives */
    CHECK(ust_worker_recv(b->w, 4, buf, sizeof buf, 0, 0) == 1);
    CHECK(!polls_within(fd, POLLIN, 0));
    ust_worker_close(b->w, 4);
    CHECK(polls_within(fd, POLLIN, 0)); /* what is gone blocks nobody */
    ust_doorbell_free(bell);
    close(fd);
    tear_down(b);
}

static void an_event_loop_is_told_of_others_work(void)
{
    struct bench *b = set_up(0);
    int fd = ust_worker_fd(b->w);

    ust_worker_lock(b->w);
    CHECK(ust_worker_arm(b->w) == 0);
    ust_worker_unlock(b->w);
    CHECK(!polls_readable(fd));
    ust_worker_send(b->w, 1, NULL, 1, 0, 0);
    CHECK(polls_readable(fd));
    ust_worker_lock(b->w);
    ust_worker_disarm(b->w);
    CHECK(ust_worker_arm(b->w) == 0);
    ust_worker_unlock(b->w);
    CHECK(!polls_readable(fd));
    fake_arrive(&b->port, 1);
    CHECK(polls_readable(fd));
    ust_worker_lock(b->w);
    CHECK(ust_worker_arm(b->w) == 1);
    ust_worker_unlock(b->w);
    tear_down(b);
}

static void a_driver_leaves_the_port_armed_for_an_event_loop(void)
{
    struct bench *b = set_up(0);

    ust_worker_lock(b->w);
    CHECK(ust_worker_arm(b->w) == 0);
    ust_worker_unlock(b->w);
    CHECK(ust_worker_wait(b->w, 1, UST_READABLE, MS) == 0);
    CHECK(b->port.armed);
    fake_arrive(&b->port, 1);
    CHECK(polls_readable(ust_worker_fd(b->w)));
    tear_down(b);
}

/* ------------------------------------------------------------ the guardian */

static void await_empty_inbox(struct bench *b)
{
    ust_time end = ust_worker_now() + LONG;

    while (!fake_inbox_empty(&b->port)) {
        CHECK(ust_worker_now() < end);
        sched_yield();
    }
}

static void a_guardian_serves_while_nobody_does(void)
{
    struct bench *b = set_up(0);

    CHECK(ust_worker_guard(b->w, MS) == 0);
    for (ust_handle h = 1; h < 4; h++) {
        fake_arrive(&b->port, h);
        await_empty_inbox(b);
    }
    tear_down(b);
}

static void a_guardian_minds_the_timers(void)
{
    struct bench *b = set_up(0);
    unsigned fired = 0;

    CHECK(ust_worker_guard(b->w, MS) == 0);
    ust_worker_lock(b->w);
    b->eng.deadline = ust_worker_now() + 20 * MS;
    ust_worker_unlock(b->w);
    while (!fired) {
        ust_worker_lock(b->w);
        fired = b->eng.fired;
        ust_worker_unlock(b->w);
        sched_yield();
    }
    tear_down(b);
}

static void a_guardian_and_a_driver_lose_nothing(void)
{
    enum { ROUNDS = 300 };
    struct bench *b = set_up(0);
    struct job j = start(b, 1, ROUNDS);

    CHECK(ust_worker_guard(b->w, 0) == 0);
    run(&j, receive);
    for (unsigned i = 0; i < ROUNDS; i++) {
        fake_arrive(&b->port, 1);
        if (i % 3)
            await_empty_inbox(b);
    }
    join_all(&j, 1);
    CHECK(j.result == 1 && j.took < LONG / 2);
    tear_down(b);
}

static void a_guardian_serves_for_a_loop_that_does_not_wake(void)
{
    struct bench *b = set_up(0);

    CHECK(ust_worker_guard(b->w, MS) == 0);
    ust_worker_lock(b->w);
    CHECK(ust_worker_arm(b->w) == 0);
    ust_worker_unlock(b->w);
    for (ust_handle h = 1; h < 4; h++) {
        fake_arrive(&b->port, h);
        await_empty_inbox(b);
        CHECK(polls_readable(ust_worker_fd(b->w))); /* when it does, it is told */
    }
    tear_down(b);
}

static void a_guardian_leaves_a_loop_its_wake_up(void)
{
    struct bench *b = set_up(0);

    CHECK(ust_worker_guard(b->w, 10 * MS) == 0);
    for (unsigned i = 0; i < 50; i++) {
        ust_worker_lock(b->w);
        CHECK(ust_worker_arm(b->w) == 0);
        ust_worker_unlock(b->w);
        fake_arrive(&b->port, 1);
        CHECK(polls_readable(ust_worker_fd(b->w)));
        ust_worker_lock(b->w);
        ust_worker_disarm(b->w);
        CHECK(ust_worker_rx(b->w) <= 1);
        ust_worker_unlock(b->w);
    }
    tear_down(b);
}

static void a_guardian_ends_with_its_worker(void)
{
    for (unsigned i = 0; i < 20; i++) {
        struct bench *b = set_up(0);

        CHECK(ust_worker_guard(b->w, i % 2 ? MS : 0) == 0);
        if (i % 3)
            sched_yield();
        tear_down(b);
    }
}

#define TEST(name) {#name, name}
static const struct {
    const char *name;
    void (*body)(void);
} tests[] = {
    TEST(a_frame_wakes_a_sleeper),
    TEST(a_wait_ends_at_its_timeout),
    TEST(no_wait_still_runs_a_round),
    TEST(a_timer_of_the_engine_cuts_the_sleep),
    TEST(an_earlier_timer_wakes_the_driver),
    TEST(every_follower_gets_its_own),
    TEST(a_driver_that_stays_wakes_its_followers),
    TEST(a_driver_that_leaves_hands_over),
    TEST(a_spinning_driver_gives_way),
    TEST(closing_a_socket_ends_the_wait_for_it),
    TEST(stop_sends_a_lone_driver_away),
    TEST(stop_sends_everybody_away),
    TEST(wake_ends_a_wait),
    TEST(a_signal_ends_a_wait),
    TEST(a_full_port_keeps_the_order),
    TEST(a_second_port_has_its_own_frames),
    TEST(a_stuck_port_does_not_hold_up_the_other),
    TEST(a_sleeper_hears_a_port_that_comes_later),
    TEST(an_event_loop_is_told_of_every_port),
    TEST(wait_many_tells_which),
    TEST(wait_many_ends_with_a_descriptor),
    TEST(a_doorbell_polls_as_its_socket_does),
    TEST(an_event_loop_is_told_of_others_work),
    TEST(a_driver_leaves_the_port_armed_for_an_event_loop),
    TEST(a_guardian_serves_while_nobody_does),
    TEST(a_guardian_minds_the_timers),
    TEST(a_guardian_and_a_driver_lose_nothing),
    TEST(a_guardian_serves_for_a_loop_that_does_not_wake),
    TEST(a_guardian_leaves_a_loop_its_wake_up),
    TEST(a_guardian_ends_with_its_worker),
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (argc > 1 && strcmp(argv[1], tests[i].name) != 0)
            continue;
        tests[i].body();
    }
    return 0;
}
