/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory that the workers of a stack share; see crew.h. */
#define _GNU_SOURCE 1 /* memory of its own */
#include "crew.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BY_PROGRAM = 3 }; /* the fields of a status that ust_crew_enter() sets come first */

struct crew_port {
    struct ust_port port;
    struct ust_crew *crew;
    unsigned number;
    bool armed;
    unsigned next;                  /* lane to serve first */
    uint32_t rung[PORT_MAX_QUEUES]; /* the sleep of each that we have rung for */
    struct tx_lane tx[PORT_MAX_QUEUES];
    struct rx_lane rx[PORT_MAX_QUEUES];
};

static int map(struct ust_crew *crew);
static struct lane_place place(const struct ust_crew *crew, unsigned from, unsigned to);
static void adopt_lanes(struct crew_port *c);
static void ring_bell(struct crew_port *c, unsigned to);
static void add_own(_Atomic uint32_t *number, uint32_t more);
static unsigned crew_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max);
static unsigned crew_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n);
static int crew_fd(struct ust_port *port, unsigned queue);
static int crew_arm(struct ust_port *port, unsigned queue);
static void crew_disarm(struct ust_port *port, unsigned queue);
static void crew_info(const struct ust_port *port, struct ust_port_info *info);
static void crew_close(struct ust_port *port);

static const struct port_ops crew_ops = {
    .name = "crew",
    .rx_burst = crew_rx,
    .tx_burst = crew_tx,
    .fd = crew_fd,
    .arm = crew_arm,
    .disarm = crew_disarm,
    .info = crew_info,
    .close = crew_close,
};

/* ----------------------------------------------------- birth and death */

struct ust_crew *ust_crew_new(unsigned n_workers, int *err)
{
    struct ust_crew *crew = calloc(1, sizeof *crew);

    *err = !crew ? -ENOMEM : n_workers < 1 || n_workers > PORT_MAX_QUEUES ? -EINVAL : 0;
    if (*err == 0) {
        crew->n = n_workers;
        memset(crew->bells, 0xff, sizeof crew->bells); /* all -1 */
        *err = map(crew);
    }
    if (*err == 0)
        return crew;
    if (crew && crew->n > 0)
        ust_crew_free(crew);
    else
        free(crew);
    return NULL;
}

void ust_crew_free(struct ust_crew *crew)
{
    for (unsigned i = 0; i < crew->n; i++)
        if (crew->bells[i] >= 0)
            close(crew->bells[i]);
    if (crew->workers)
        munmap(crew->workers, crew->size);
    free(crew);
}

struct ust_port *ust_crew_join(struct ust_crew *crew, unsigned number, int *err)
{
    struct crew_port *c;
    struct crew_worker *self;

    *err = number < crew->n ? -ENOMEM : -EINVAL;
    if (number >= crew->n)
        return NULL;
    c = aligned_alloc(RING_LINE, sizeof *c);
    if (!c)
        return NULL;
    memset(c, 0, sizeof *c);
    if (port_init(&c->port, &crew_ops, crew->n) != 0) {
        free(c);
        return NULL;
    }
    c->crew = crew;
    c->number = number;
    self = &crew->workers[number];
    if (atomic_load(&self->asleep) & 1) /* a predecessor was killed in its sleep */
        add_own(&self->asleep, 1);
    for (unsigned i = 0; i < CREW_FIELDS; i++)
        atomic_store_explicit(&self->status[i], 0, memory_order_relaxed);
    adopt_lanes(c);
    *err = 0;
    return &c->port;
}

int ust_crew_status(const struct ust_crew *crew, unsigned number, struct ust_crew_status *status)
{
    if (number >= crew->n)
        return -EINVAL;
    for (unsigned i = 0; i < CREW_FIELDS; i++)
        ((uint64_t *)status)[i] =
            atomic_load_explicit(&crew->workers[number].status[i], memory_order_relaxed);
    return 0;
}

static int map(struct ust_crew *crew)
{
    size_t lanes = (size_t)crew->n * crew->n;
    size_t head = crew->n * sizeof *crew->workers + lanes * sizeof *crew->lanes;
    void *base;

    head = (head + 4095) & ~(size_t)4095;
    crew->size = head + lanes * CREW_SLOTS * sizeof(struct slot);
    base = mmap(NULL, crew->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    crew->workers = base;
    crew->lanes = (struct ring_index *)(crew->workers + crew->n);
    crew->slots = (struct slot *)((uint8_t *)base + head);
    for (unsigned i = 0; i < crew->n; i++) {
        crew->bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (crew->bells[i] < 0)
            return -errno;
    }
    return 0;
}

static struct lane_place place(const struct ust_crew *crew, unsigned from, unsigned to)
{
    size_t i = (size_t)from * crew->n + to;

    return (struct lane_place){
        .index = &crew->lanes[i],
        .slots = crew->slots + i * CREW_SLOTS,
        .n_slots = CREW_SLOTS,
        .max_frame = PORT_ETH_LEN + 65535,
        .within = true,
    };
}

static void adopt_lanes(struct crew_port *c)
{
    struct lane_place out, in;

    for (unsigned i = 0; i < c->crew->n; i++) {
        out = place(c->crew, c->number, i);
        in = place(c->crew, i, c->number);
        lane_adopt_tx(&c->tx[i], &out);
        c->port.stats[i].s.rx_stale += lane_adopt_rx(&c->rx[i], &in);
    }
}

/* -------------------------------------------------------------- frames */

bool crew_put(struct ust_port *crew, unsigned to, const struct mbuf_pool *pool,
              const struct mbuf *m)
{
    struct crew_port *c = (struct crew_port *)crew;
    struct ust_port_stats *st = &crew->stats[to].s;
    bool sent = to != c->number && m->frame_len <= c->rx[to].max_frame &&
                lane_put(&c->tx[to], pool, m, m->rss_hash);

    if (sent) {
        st->tx_frames++;
        st->tx_bytes += m->frame_len;
    } else {
        st->tx_full++;
    }
    return sent;
}

void crew_flush(struct ust_port *crew)
{
    struct crew_port *c = (struct crew_port *)crew;
    uint32_t changed = 0;
    unsigned i;

    for (i = 0; i < c->crew->n; i++) {
        crew->stats[i].s.rx_bad += c->tx[i].ring.bad;
        c->tx[i].ring.bad = 0;
        if (lane_publish(&c->tx[i]))
            changed |= 1u << i;
    }
    if (!changed)
        return;
    atomic_thread_fence(memory_order_seq_cst); /* as in ring.c: the sleeper's is in crew_arm() */
    for (i = 0; changed >> i; i++)
        if (changed >> i & 1)
            ring_bell(c, i);
}

static void ring_bell(struct crew_port *c, unsigned to)
{
    uint32_t sleep = atomic_load_explicit(&c->crew->workers[to].asleep, memory_order_relaxed);
    const uint64_t one = 1;

    if (!(sleep & 1) || sleep == c->rung[to])
        return;
    c->rung[to] = sleep;
    c->port.stats[to].s.wakes++;
    if (write(c->crew->bells[to], &one, sizeof one) < 0)
        return; /* full of earlier sounds: it rings already */
}

static unsigned crew_tx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned n)
{
    unsigned i;

    for (i = 0; i < n && crew_put(port, queue, pool, burst[i]); i++)
        mbuf_free(pool, burst[i]);
    crew_flush(port);
    return i;
}

static unsigned crew_rx(struct ust_port *port, unsigned queue, struct mbuf_pool *pool,
                        struct mbuf **burst, unsigned max)
{
    struct crew_port *c = (struct crew_port *)port;
    unsigned n = 0, from;

    (void)queue; /* its own: there is no other that it could read */
    for (unsigned i = 0; i < c->crew->n && n < max; i++) {
        from = (c->next + i) % c->crew->n;
        n += lane_take(&c->rx[from], &port->stats[from].s, pool, burst + n, max - n);
    }
    c->next = c->next + 1 < c->crew->n ? c->next + 1 : 0;
    return n;
}

/* ------------------------------------------------------------ sleeping */

/* Nobody else writes it. */
static void add_own(_Atomic uint32_t *number, uint32_t more)
{
    atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static int crew_fd(struct ust_port *port, unsigned queue)
{
    const struct crew_port *c = (const struct crew_port *)port;

    (void)queue;
    return c->crew->bells[c->number];
}

static int crew_arm(struct ust_port *port, unsigned queue)
{
    struct crew_port *c = (struct crew_port *)port;
    _Atomic uint32_t *asleep = &c->crew->workers[c->number].asleep;

    /* Armed again, it is another sleep: its bell may have been heard already. */
    add_own(asleep, c->armed ? 2 : 1);
    c->armed = true;
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned i = 0; i < c->crew->n; i++)
        if (ring_filled(&c->rx[i].ring, 1)) {
            crew_disarm(port, queue);
            return 1;
        }
    return 0;
}

static void crew_disarm(struct ust_port *port, unsigned queue)
{
    struct crew_port *c = (struct crew_port *)port;
    _Atomic uint32_t *asleep = &c->crew->workers[c->number].asleep;
    uint64_t sounds;

    if (!c->armed)
        return;
    c->armed = false;
    add_own(asleep, 1);
    if (read(crew_fd(port, queue), &sounds, sizeof sounds) < 0)
        return; /* nobody has rung */
}

/* -------------------------------------------------------------- status */

void crew_report(struct ust_port *crew, struct ust_crew_status *status)
{
    struct crew_port *c = (struct crew_port *)crew;
    _Atomic uint64_t *shared = c->crew->workers[c->number].status;
    struct ust_port_stats st;

    ust_port_stats(crew, &st);
    status->handed_out = st.tx_frames;
    status->handed_in = st.rx_frames;
    status->handed_full = st.tx_full;
    status->handed_stale = st.rx_stale;
    for (unsigned i = BY_PROGRAM; i < CREW_FIELDS; i++)
        atomic_store_explicit(&shared[i], ((const uint64_t *)status)[i], memory_order_relaxed);
}

int ust_crew_enter(struct ust_port *crew, int state, int core)
{
    struct crew_port *c = (struct crew_port *)crew;
    _Atomic uint64_t *shared = c->crew->workers[c->number].status;
    const struct ust_crew_status s = {
        .state = (uint64_t)state, .pid = (uint64_t)getpid(), .core = (uint64_t)(core + 1)};

    if (crew->ops != &crew_ops)
        return -EOPNOTSUPP;
    for (unsigned i = 0; i < BY_PROGRAM; i++)
        atomic_store_explicit(&shared[i], ((const uint64_t *)&s)[i], memory_order_relaxed);
    return 0;
}

static void crew_info(const struct ust_port *port, struct ust_port_info *info)
{
    info->n_queues = (uint16_t)port->n_queues;
    info->mtu = 65535;
    info->link_up = 1;
}

static void crew_close(struct ust_port *port)
{
    crew_disarm(port, 0);
    port_free(port);
}
