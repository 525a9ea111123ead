/* SPDX-License-Identifier: BSD-3-Clause */
/* Many reads or writes of a descriptor in one system call, by Linux's io_uring.
 *
 * A run is all that has been put since the last one. None of it waits: what
 * would block gives -EAGAIN, so nothing is under way between two runs and no
 * buffer is in use. The kernel works through a run in the order of putting.
 *
 *  U1  n_put <= depth
 *  U2  between runs the rings are empty: every result has been taken
 *
 * The thread may change from run to run, as long as there is one at a time.
 *
 * Not here: what to do where there is no io_uring; that is the caller's.    */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct io_uring_cqe;
struct io_uring_sqe;

struct uring {
    int fd;
    bool broken;           /* a run was refused: use it no more */
    unsigned depth, n_put; /* operations */
    uint64_t n_enters;     /* system calls so far */

    uint32_t *sq_tail, sq_mask;
    struct io_uring_sqe *sqes;
    uint32_t *cq_head, *cq_tail, cq_mask;
    struct io_uring_cqe *cqes;
    void *rings;
    size_t rings_size, sqes_size;
};

/* 0, or -errno: -ENOSYS, -EPERM (the system does not let us), -EOPNOTSUPP (a
 * kernel too old). depth: a power of two. uring_close() is harmless then. */
int uring_open(struct uring *u, unsigned depth);
void uring_close(struct uring *u);

void uring_put_read(struct uring *u, int fd, void *buf, size_t len);
/* n pieces, which stay the caller's until the run has been made. */
void uring_put_write(struct uring *u, int fd, const struct iovec *iov, unsigned n);

/* Makes the run. results[i] is of the ith put: bytes, or -errno. How many of
 * them were made, from the front; the rest is forgotten, as after -errno: then
 * none was made, and if that will not change, the ring is broken. */
int uring_run(struct uring *u, int32_t *results);
