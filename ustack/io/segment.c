/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared-memory segments of the ring port: create, join, leave. The protocol
 * is described in segment.h.
 *
 * Not here: frames.                                                         */
#define _GNU_SOURCE 1 /* open file description locks, memory of its own */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "segment.h"
#include "steer.h"

static const uint64_t MAGIC = 0x32676e6972747375; /* "ustring2" */

enum {
    LOCK_MEMBERS,
    LOCK_SIDE,                  /* + side */
    LOCK_QUEUE = LOCK_SIDE + 2, /* + 16 side + queue */
    LOCK_END = LOCK_QUEUE + 2 * PORT_MAX_QUEUES,
};
enum { OTHER_PATH_SIZE = SEGMENT_PATH_SIZE + 256, BELL_PATH_SIZE = OTHER_PATH_SIZE + 32 };

static const char PREFIX[] = "ustack-"; /* of all our files */

static struct segment *segment_new(const struct segment_params *params);
static void segment_free(struct segment *seg);
static int join(struct segment *seg, struct segment_share *share);
static int open_locked(struct segment *seg);
static int check_file(int fd, mode_t type);
static bool still_there(const char *path, int fd);
static int set_lock(int fd, int cmd, short type, int byte, int n);
static bool locked_by_other(int fd, int byte, int n);
static bool alone_on(const struct segment *seg, int side);
static int lock_queue(int side, unsigned queue);
static int take_share(struct segment *seg, struct segment_share *share);
static int take_side(struct segment *seg, int side, int queue);
static void set_present(struct segment *seg, const struct segment_share *share, uint32_t present);
static int create(struct segment *seg);
static int attach(struct segment *seg);
static int map(struct segment *seg, int flags);
static void init_header(struct segment *seg);
static void bell_path(const char *segment, int side, int queue, char *path);
static int make_bells(struct segment *seg);
static int open_bells(struct segment *seg);
static void remove_files(const char *path);
static void remove_dead(const char *ours);
static void remove_if_dead(const char *path);
static int set_path(struct segment *seg, const char *name);

int segment_check_params(struct segment_params *params)
{
    if (params->n_slots == 0)
        params->n_slots = SEGMENT_SLOTS_DEFAULT;
    if (params->caps & UST_CAP_TSO) /* whole super-segments arrive */
        params->caps |= UST_CAP_TX_CSUM | UST_CAP_LRO;
    if (params->caps & UST_CAP_USO)
        params->caps |= UST_CAP_TX_CSUM;
    if (params->caps & UST_CAP_TX_CSUM) /* what is not filled in is good */
        params->caps |= UST_CAP_RX_CSUM;
    if (params->n_queues < 1 || params->n_queues > PORT_MAX_QUEUES || params->mtu < 68 ||
        params->mtu > 65535 || params->n_slots < 2 || params->n_slots > SEGMENT_SLOTS_MAX ||
        (params->n_slots & (params->n_slots - 1)))
        return -EINVAL;
    return 0;
}

struct segment *segment_join(const char *name, struct segment_share *share,
                             const struct segment_params *params, int *err)
{
    struct segment *seg = segment_new(params);

    *err = seg ? set_path(seg, name) : -ENOMEM;
    if (*err == 0)
        *err = join(seg, share);
    if (*err == 0)
        return seg;
    if (seg)
        segment_free(seg);
    return NULL;
}

struct segment *segment_unnamed(const struct segment_params *params, int *err)
{
    struct segment *seg = segment_new(params);
    int s;
    unsigned q;

    *err = seg ? map(seg, MAP_ANONYMOUS) : -ENOMEM;
    for (s = 0; *err == 0 && s < 2; s++)
        for (q = 0; *err == 0 && q < params->n_queues; q++) {
            seg->bells[s][q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
            if (seg->bells[s][q] < 0)
                *err = -errno;
        }
    if (*err) {
        if (seg)
            segment_free(seg);
        return NULL;
    }
    init_header(seg);
    atomic_store(&seg->n_users, 2);
    for (s = 0; s < 2; s++)
        set_present(seg, &(struct segment_share){s, UST_RING_ALL}, 1);
    return seg;
}

void segment_leave(struct segment *seg, const struct segment_share *share)
{
    bool ours = seg->pid == getpid(); /* not a forked child's copy */

    if (ours)
        set_present(seg, share, 0);
    if (atomic_fetch_sub(&seg->n_users, 1) > 1)
        return;
    if (ours && seg->fd >= 0 && set_lock(seg->fd, F_OFD_SETLKW, F_WRLCK, LOCK_MEMBERS, 1) == 0 &&
        !locked_by_other(seg->fd, LOCK_SIDE, LOCK_END - LOCK_SIDE))
        remove_files(seg->path);
    segment_free(seg);
}

bool segment_peer_present(const struct segment *seg, int side)
{
    for (unsigned q = 0; q < seg->params.n_queues; q++)
        if (segment_queue_served(seg, !side, q))
            return true;
    return false;
}

bool segment_queue_served(const struct segment *seg, int side, unsigned queue)
{
    return atomic_load(&seg->header->side[side].queue[queue].present) &&
           (seg->fd < 0 || locked_by_other(seg->fd, lock_queue(side, queue), 1));
}

/* A segment that is neither mapped nor named yet. */
static struct segment *segment_new(const struct segment_params *params)
{
    struct segment *seg = calloc(1, sizeof *seg);
    uint32_t n = params->n_queues;
    size_t n_lanes = 2 * (size_t)n * n;
    size_t head;

    if (!seg)
        return NULL;
    seg->params = *params;
    seg->fd = -1;
    seg->pid = getpid();
    atomic_init(&seg->n_users, 1);
    memset(seg->bells, 0xff, sizeof seg->bells); /* all -1 */
    seg->lane_slots = params->n_slots;
    while (n > 1) { /* a queue's slots are shared out to its lanes */
        seg->lane_slots /= 2;
        n = (n + 1) / 2;
    }
    if (seg->lane_slots < 2)
        seg->lane_slots = 2;
    while (seg->lane_slots < 2 * slots_of(segment_max_frame(seg)))
        seg->lane_slots *= 2;
    head = sizeof(struct segment_header) + n_lanes * sizeof(struct ring_index);
    head = (head + 4095) & ~(size_t)4095;
    seg->size = head + n_lanes * seg->lane_slots * sizeof(struct slot);
    return seg;
}

static void segment_free(struct segment *seg)
{
    int s, q;

    for (s = 0; s < 2; s++)
        for (q = 0; q < PORT_MAX_QUEUES; q++)
            if (seg->bells[s][q] >= 0)
                close(seg->bells[s][q]);
    if (seg->header)
        munmap(seg->header, seg->size);
    if (seg->fd >= 0)
        close(seg->fd); /* drops our locks */
    free(seg);
}

/* Everything between taking and giving up the members' lock. */
static int join(struct segment *seg, struct segment_share *share)
{
    bool first;
    int err = open_locked(seg);

    if (err)
        return err;
    first = !locked_by_other(seg->fd, LOCK_SIDE, LOCK_END - LOCK_SIDE);
    err = first ? create(seg) : attach(seg);
    if (err == 0)
        err = take_share(seg, share);
    if (err == 0)
        err = open_bells(seg);
    if (err && first)
        remove_files(seg->path);
    if (err)
        return err;
    if (alone_on(seg, share->side))
        steer_init(&seg->header->side[share->side].rss, seg->params.n_queues);
    set_present(seg, share, 1);
    return set_lock(seg->fd, F_OFD_SETLK, F_UNLCK, LOCK_MEMBERS, 1);
}

/* Opens the file and locks its members' byte; 0 or -errno. */
static int open_locked(struct segment *seg)
{
    int err;

    for (;;) {
        seg->fd = open(seg->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (seg->fd < 0)
            return -errno;
        err = check_file(seg->fd, S_IFREG);
        if (err == 0)
            err = set_lock(seg->fd, F_OFD_SETLKW, F_WRLCK, LOCK_MEMBERS, 1);
        if (err || still_there(seg->path, seg->fd))
            return err;
        close(seg->fd); /* the last user has removed it meanwhile */
    }
}

/* Is it of this type, ours, and closed to others? */
static int check_file(int fd, mode_t type)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return -errno;
    if ((st.st_mode & S_IFMT) != type || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return -EACCES;
    return 0;
}

static bool still_there(const char *path, int fd)
{
    struct stat named, opened;

    return stat(path, &named) == 0 && fstat(fd, &opened) == 0 && named.st_ino == opened.st_ino &&
           named.st_dev == opened.st_dev;
}

static int set_lock(int fd, int cmd, short type, int byte, int n)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = n};

    return fcntl(fd, cmd, &lock) == 0 ? 0 : -errno;
}

/* Is any of n bytes? */
static bool locked_by_other(int fd, int byte, int n)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = n};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static bool alone_on(const struct segment *seg, int side)
{
    return !locked_by_other(seg->fd, LOCK_SIDE + side, 1) &&
           !locked_by_other(seg->fd, lock_queue(side, 0), PORT_MAX_QUEUES);
}

static int lock_queue(int side, unsigned queue)
{
    return LOCK_QUEUE + side * PORT_MAX_QUEUES + (int)queue;
}

static int take_share(struct segment *seg, struct segment_share *share)
{
    int side = share->side;

    for (int s = side < 0 ? 0 : side; s < (side < 0 ? 2 : side + 1); s++)
        if (take_side(seg, s, share->queue) == 0) {
            share->side = s;
            return 0;
        }
    return -EADDRINUSE;
}

/* Under the members' lock, so that between a look and a lock nobody comes. */
static int take_side(struct segment *seg, int side, int queue)
{
    int err = 0;

    if (queue >= 0)
        return set_lock(seg->fd, F_OFD_SETLK, F_WRLCK, lock_queue(side, (unsigned)queue), 1);
    if (!alone_on(seg, side))
        return -EADDRINUSE;
    if (queue == UST_RING_ALL)
        err = set_lock(seg->fd, F_OFD_SETLK, F_WRLCK, lock_queue(side, 0), PORT_MAX_QUEUES);
    return err ? err : set_lock(seg->fd, F_OFD_SETLK, F_WRLCK, LOCK_SIDE + side, 1);
}

static void set_present(struct segment *seg, const struct segment_share *share, uint32_t present)
{
    unsigned end = share_end(share, seg->params.n_queues);

    for (unsigned q = share_first(share); q < end; q++)
        atomic_store(&seg->header->side[share->side].queue[q].present, present);
}

/* The file is empty, or left over from users that were killed. Pages appear as
 * they are touched, so room for them is checked here and not reserved. */
static int create(struct segment *seg)
{
    struct statvfs fs;
    int err;

    if (ftruncate(seg->fd, 0) != 0 || fstatvfs(seg->fd, &fs) != 0)
        return -errno;
    if (fs.f_blocks && (uint64_t)fs.f_bavail * fs.f_frsize < seg->size)
        return -ENOSPC;
    if (ftruncate(seg->fd, (off_t)seg->size) != 0)
        return -errno;
    err = map(seg, 0);
    if (err)
        return err;
    init_header(seg);
    remove_dead(seg->path);
    return make_bells(seg);
}

static int attach(struct segment *seg)
{
    struct stat st;
    int err;

    if (fstat(seg->fd, &st) != 0)
        return -errno;
    if ((uint64_t)st.st_size != seg->size)
        return -EINVAL;
    err = map(seg, 0);
    if (err)
        return err;
    if (atomic_load(&seg->header->magic) != MAGIC ||
        memcmp(&seg->header->params, &seg->params, sizeof seg->params) != 0)
        return -EINVAL;
    return 0;
}

static int map(struct segment *seg, int flags)
{
    void *base = mmap(NULL, seg->size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, seg->fd, 0);
    size_t n_lanes = 2 * (size_t)seg->params.n_queues * seg->params.n_queues;

    if (base == MAP_FAILED)
        return -errno;
    seg->header = base;
    seg->lanes = (struct ring_index *)(seg->header + 1);
    seg->slots = (struct slot *)((uint8_t *)base + seg->size) - n_lanes * seg->lane_slots;
    return 0;
}

/* The rest of the memory is zero, which is right. */
static void init_header(struct segment *seg)
{
    int s;

    seg->header->params = seg->params;
    for (s = 0; s < 2; s++)
        steer_init(&seg->header->side[s].rss, seg->params.n_queues);
    atomic_store(&seg->header->magic, MAGIC);
}

static void bell_path(const char *segment, int side, int queue, char *path)
{
    snprintf(path, BELL_PATH_SIZE, "%s:%d.%d", segment, side, queue);
}

static int make_bells(struct segment *seg)
{
    char path[BELL_PATH_SIZE];
    unsigned q;
    int s;

    for (s = 0; s < 2; s++)
        for (q = 0; q < seg->params.n_queues; q++) {
            bell_path(seg->path, s, (int)q, path);
            if (unlink(path) != 0 && errno != ENOENT)
                return -errno;
            if (mkfifo(path, 0600) != 0)
                return -errno;
        }
    return 0;
}

static int open_bells(struct segment *seg)
{
    char path[BELL_PATH_SIZE];
    unsigned q;
    int s, err;

    for (s = 0; s < 2; s++)
        for (q = 0; q < seg->params.n_queues; q++) {
            bell_path(seg->path, s, (int)q, path);
            seg->bells[s][q] = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
            if (seg->bells[s][q] < 0)
                return -errno;
            err = check_file(seg->bells[s][q], S_IFIFO);
            if (err)
                return err;
        }
    return 0;
}

static void remove_files(const char *path)
{
    char bell[BELL_PATH_SIZE];
    int s, q;

    for (s = 0; s < 2; s++)
        for (q = 0; q < PORT_MAX_QUEUES; q++) {
            bell_path(path, s, q, bell);
            unlink(bell);
        }
    unlink(path);
}

/* Removes the segments whose users were all killed; not ours, which is new. */
static void remove_dead(const char *ours)
{
    int dir_len = (int)(strrchr(ours, '/') - ours);
    char path[OTHER_PATH_SIZE];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "%.*s", dir_len, ours);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) != 0 || strchr(entry->d_name, ':'))
            continue;
        snprintf(path, sizeof path, "%.*s/%s", dir_len, ours, entry->d_name);
        if (strcmp(path, ours) != 0)
            remove_if_dead(path);
    }
    if (dir)
        closedir(dir);
}

/* Who is about to join it meanwhile finds it gone, and makes a new one. */
static void remove_if_dead(const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return;
    if (check_file(fd, S_IFREG) == 0 && set_lock(fd, F_OFD_SETLK, F_WRLCK, LOCK_MEMBERS, 1) == 0 &&
        still_there(path, fd) && !locked_by_other(fd, LOCK_SIDE, LOCK_END - LOCK_SIDE))
        remove_files(path);
    close(fd);
}

static int set_path(struct segment *seg, const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(name);
    const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    if (len < 1 || len > 64 || strspn(name, allowed) != len)
        return -EINVAL;
    snprintf(seg->path, sizeof seg->path, "%s/%s%s", dir, PREFIX, name);
    return 0;
}
