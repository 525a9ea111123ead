/* SPDX-License-Identifier: BSD-3-Clause */
/* io_uring by bare system calls: io_uring_setup(2), io_uring_enter(2).
 *
 * The kernel's part of the two rings' indices is read with acquire and ours is
 * written with release, as io_uring(7) asks for. The kernel takes operations
 * only inside io_uring_enter(), so those that it has not taken can be put back
 * by moving the tail.
 *
 * Not here: registered files and buffers. A registered file outlives its
 * descriptor for a while, and with it a tap; see ARCHITECTURE.md.           */
#define _GNU_SOURCE 1
#include "uring.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif

#if defined IORING_FEAT_FAST_POLL && defined __NR_io_uring_enter

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

enum {
    /* What Linux 5.7 has: by then there are reads and writes without pieces. */
    NEEDED = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL,
};

static int map_rings(struct uring *u, const struct io_uring_params *p);
static void *map(int fd, size_t size, uint64_t offset);
static struct io_uring_sqe *next_sqe(struct uring *u, int fd);
static int enter(struct uring *u, unsigned n, unsigned wait);
static void collect(struct uring *u, int32_t *results, unsigned n);

int uring_open(struct uring *u, unsigned depth)
{
    struct io_uring_params p = {0};
    int err;

    memset(u, 0, sizeof *u);
    u->depth = depth;
    u->fd = (int)syscall(__NR_io_uring_setup, depth, &p); /* close-on-exec by itself */
    if (u->fd < 0)
        return -errno;
    err = (p.features & NEEDED) == NEEDED ? map_rings(u, &p) : -EOPNOTSUPP;
    if (err != 0)
        uring_close(u);
    return err;
}

void uring_close(struct uring *u)
{
    if (u->rings)
        munmap(u->rings, u->rings_size);
    if (u->sqes)
        munmap(u->sqes, u->sqes_size);
    if (u->fd >= 0)
        close(u->fd);
    memset(u, 0, sizeof *u);
    u->fd = -1;
}

void uring_put_read(struct uring *u, int fd, void *buf, size_t len)
{
    struct io_uring_sqe *sqe = next_sqe(u, fd);

    sqe->opcode = IORING_OP_READ;
    sqe->addr = (uintptr_t)buf;
    sqe->len = (uint32_t)len;
}

void uring_put_write(struct uring *u, int fd, const struct iovec *iov, unsigned n)
{
    struct io_uring_sqe *sqe = next_sqe(u, fd);

    sqe->opcode = n == 1 ? IORING_OP_WRITE : IORING_OP_WRITEV;
    sqe->addr = n == 1 ? (uintptr_t)iov->iov_base : (uintptr_t)iov;
    sqe->len = n == 1 ? (uint32_t)iov->iov_len : n;
}

int uring_run(struct uring *u, int32_t *results)
{
    unsigned n = u->n_put;
    uint32_t tail = *u->sq_tail;
    int done;

    u->n_put = 0;
    __atomic_store_n(u->sq_tail, tail + n, __ATOMIC_RELEASE);
    done = enter(u, n, 0);
    if (done < (int)n) /* put back what was not taken */
        __atomic_store_n(u->sq_tail, tail + (done > 0 ? (unsigned)done : 0), __ATOMIC_RELEASE);
    if (done > 0)
        collect(u, results, (unsigned)done);
    else if (done < 0)
        u->broken = done != -EAGAIN && done != -EBUSY && done != -EINTR;
    return done;
}

static int map_rings(struct uring *u, const struct io_uring_params *p)
{
    size_t sq = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
    size_t cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    uint32_t *order, i;

    u->rings_size = sq > cq ? sq : cq;
    u->sqes_size = p->sq_entries * sizeof(struct io_uring_sqe);
    u->rings = map(u->fd, u->rings_size, IORING_OFF_SQ_RING);
    u->sqes = map(u->fd, u->sqes_size, IORING_OFF_SQES);
    if (!u->rings || !u->sqes)
        return -ENOMEM;
    u->sq_tail = (uint32_t *)((char *)u->rings + p->sq_off.tail);
    u->sq_mask = p->sq_entries - 1;
    u->cq_head = (uint32_t *)((char *)u->rings + p->cq_off.head);
    u->cq_tail = (uint32_t *)((char *)u->rings + p->cq_off.tail);
    u->cq_mask = p->cq_entries - 1;
    u->cqes = (struct io_uring_cqe *)((char *)u->rings + p->cq_off.cqes);
    order = (uint32_t *)((char *)u->rings + p->sq_off.array);
    for (i = 0; i < p->sq_entries; i++)
        order[i] = i;
    return 0;
}

static void *map(int fd, size_t size, uint64_t offset)
{
    void *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)offset);

    return p == MAP_FAILED ? NULL : p;
}

static struct io_uring_sqe *next_sqe(struct uring *u, int fd)
{
    struct io_uring_sqe *sqe = &u->sqes[(*u->sq_tail + u->n_put) & u->sq_mask];

    assert(u->n_put < u->depth);
    memset(sqe, 0, sizeof *sqe);
    sqe->fd = fd;
    sqe->rw_flags = RWF_NOWAIT;
    sqe->user_data = u->n_put++;
    return sqe;
}

static int enter(struct uring *u, unsigned n, unsigned wait)
{
    long done =
        syscall(__NR_io_uring_enter, u->fd, n, wait, wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);

    u->n_enters++;
    return done < 0 ? -errno : (int)done;
}

/* Takes n results. They are there already; should a kernel have put some off,
 * their buffers are in use until they come. */
static void collect(struct uring *u, int32_t *results, unsigned n)
{
    uint32_t head = *u->cq_head, end = head + n;
    int err = 0;

    for (unsigned i = 0; i < n; i++)
        results[i] = -EIO; /* if the kernel will not say */
    while (head != end && !u->broken) {
        const struct io_uring_cqe *cqe = &u->cqes[head & u->cq_mask];

        if (__atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE) == head) {
            err = enter(u, 0, 1);
            u->broken = err < 0 && err != -EINTR;
        } else {
            results[cqe->user_data] = cqe->res;
            head++;
        }
    }
    __atomic_store_n(u->cq_head, head, __ATOMIC_RELEASE);
}

#else /* headers older than Linux 5.7's */

int uring_open(struct uring *u, unsigned depth)
{
    memset(u, 0, sizeof *u);
    u->depth = depth;
    u->fd = -1;
    return -ENOSYS;
}

void uring_close(struct uring *u)
{
    (void)u;
}

void uring_put_read(struct uring *u, int fd, void *buf, size_t len)
{
    (void)u, (void)fd, (void)buf, (void)len;
}

void uring_put_write(struct uring *u, int fd, const struct iovec *iov, unsigned n)
{
    (void)u, (void)fd, (void)iov, (void)n;
}

int uring_run(struct uring *u, int32_t *results)
{
    (void)results;
    u->broken = true;
    return -ENOSYS;
}

#endif
