/* SPDX-License-Identifier: BSD-3-Clause */
/* Doorbells: descriptors that poll as a socket of the stack would.
 *
 * A doorbell is a pair of AF_UNIX sockets. The application has one end, under
 * the number of its own choice, and only polls it; the other is ours. A byte
 * that we have sent makes it readable, and bytes that it has sent to us, until
 * its buffer is full, make it not writable.
 *
 *  D1  after every change of the engine, before the lock is let go, each end
 *      polls as its socket is (worker_notify() sees to that), so readiness is
 *      level-triggered whoever causes it
 *  D2  theirs is an open descriptor of the pair until the doorbell is freed
 *
 * HUP and errors show as both readable and writable, and so does a socket
 * that is gone. A round looks at every doorbell, which suits hundreds.
 *
 * Not here: who drives the engine while applications sleep (guardian.c).    */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker.h"

enum { FILL_LEN = 4096 }; /* one write of so much makes the pair full */

struct ust_doorbell {
    struct ust_doorbell *next, **link; /* in w->doorbells */
    struct ust_worker *w;
    ust_handle h;
    int ours, theirs;
    bool readable, full; /* what the pair says now */
};

static int open_pair(struct ust_doorbell *d, int fd);
static void show_readable(struct ust_doorbell *d, bool readable);
static void show_full(struct ust_doorbell *d, bool full);

struct ust_doorbell *ust_doorbell_new(struct ust_worker *w, ust_handle h, int fd, int *err)
{
    struct ust_doorbell *d = calloc(1, sizeof *d);

    *err = -ENOMEM;
    if (!d)
        return NULL;
    *d = (struct ust_doorbell){.w = w, .h = h};
    *err = open_pair(d, fd);
    if (*err < 0) {
        free(d);
        return NULL;
    }
    ust_worker_lock(w);
    if ((*err = w->stopped ? -EBADF : guardian_start(w)) < 0) {
        ust_worker_unlock(w);
        close(d->ours);
        close(d->theirs);
        free(d);
        return NULL;
    }
    d->next = w->doorbells;
    d->link = &w->doorbells;
    if (d->next)
        d->next->link = &d->next;
    w->doorbells = d;
    worker_ring(w->guardian.bell); /* it is wanted at once */
    ust_worker_unlock(w);          /* D1 */
    return d;
}

int ust_doorbell_fd(const struct ust_doorbell *d)
{
    return d->theirs;
}

void ust_doorbell_free(struct ust_doorbell *d)
{
    if (!d)
        return;
    ust_worker_lock(d->w);
    *d->link = d->next;
    if (d->next)
        d->next->link = d->link;
    ust_worker_unlock(d->w);
    close(d->ours);
    free(d);
}

void worker_show_doorbells(struct ust_worker *w)
{
    if (w->forked) /* the descriptors are the parent's, too */
        return;
    for (struct ust_doorbell *d = w->doorbells; d; d = d->next) {
        int ready = w->stopped ? -EBADF : ust_ready(w->eng, d->h);
        bool over = ready < 0 || (ready & (UST_HUP | UST_ERROR)) != 0;

        show_readable(d, over || (ready & UST_READABLE) != 0);
        show_full(d, !over && (ready & UST_WRITABLE) == 0);
    }
}

/* The application's end gets the number fd; a new one for -1. */
static int open_pair(struct ust_doorbell *d, int fd)
{
    const int least = 1; /* which the kernel raises to its own least */
    int ends[2], err;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        return -errno;
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
    if (fd >= 0) {
        int flags = fcntl(fd, F_GETFD);

        err = flags < 0 || dup3(ends[1], fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ? -errno : 0;
        close(ends[1]);
        if (err < 0) {
            close(ends[0]);
            return err;
        }
        ends[1] = fd;
    }
    d->ours = ends[0];
    d->theirs = ends[1];
    return 0;
}

static void show_readable(struct ust_doorbell *d, bool readable)
{
    char byte = 0;
    ssize_t n;

    if (readable == d->readable)
        return;
    d->readable = readable;
    n = readable ? send(d->ours, &byte, 1, MSG_NOSIGNAL) : recv(d->theirs, &byte, 1, MSG_DONTWAIT);
    (void)n;
}

static void show_full(struct ust_doorbell *d, bool full)
{
    char bytes[FILL_LEN] = {0};

    if (full == d->full)
        return;
    d->full = full;
    if (full)
        while (send(d->theirs, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
            ;
    else
        while (recv(d->ours, bytes, sizeof bytes, 0) > 0)
            ;
}
