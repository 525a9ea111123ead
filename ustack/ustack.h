/* SPDX-License-Identifier: BSD-3-Clause */
/* The boundary of ustack: every function, struct and enum that C users and
 * Python may touch. cffi reads this very file, so it holds no macros and no
 * inline functions; constants are enums, and 64-bit sentinels are documented
 * values of their type.
 *
 * Three layers are declared here, in the order of the data path:
 *   ust_port_*    packet interfaces with queues                   (effects)
 *   ust_engine_*  one shared-nothing TCP/IP stack instance           (pure)
 *   ust_worker_*  the only loop: clock + port queue + engine       (effects)
 *
 * Conventions. A function that can fail returns a negative errno value
 * (-EAGAIN) or NULL. Addresses are 16 bytes, IPv4 mapped (::ffff:a.b.c.d).
 * Ports (TCP) are in host byte order. Time is ust_time. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Monotonic time in nanoseconds. UINT64_MAX means "never". */
typedef uint64_t ust_time;

/* A socket as an application names it: index and generation. Never 0 and
 * always positive, so an int64_t can carry a handle or a negative errno. */
typedef int64_t ust_handle;

enum ust_limit {
    UST_MAX_BURST = 64,            /* mbufs moved by one call */
    UST_MAX_IFACES = 4,            /* interfaces of one engine */
    UST_MAX_ADDRS = 16,            /* addresses of one engine */
    UST_MAX_ROUTES = 64,           /* routes of one engine */
    UST_MAX_ENGINES = 254,         /* of one stack */
    UST_MAX_RETA = 512,            /* entries of an RSS indirection table */
    UST_MAX_RSS_KEY = 64,          /* bytes */
    UST_SECRET_LEN = 32,           /* bytes of secret: ISNs, ports, flow hash */
    UST_LOOPBACK = UST_MAX_IFACES, /* the interface of 127.0.0.1 and ::1, in lists */
};

struct ust_addr {
    uint8_t b[16];
};

/* ------------------------------------------------------------- ports */

struct ust_port;

enum ust_cap {                      /* what a port can do for the engine */
               UST_CAP_RX_CSUM = 1, /* received checksums come already verified */
               UST_CAP_TX_CSUM = 2, /* fills in transport checksums on transmit */
               UST_CAP_TSO = 4,     /* cuts TCP super-segments on transmit */
               UST_CAP_LRO = 8,     /* may deliver super-segments */
               UST_CAP_USO = 16,    /* cuts UDP super-segments on transmit, may deliver them */
};

struct ust_port_info {
    uint8_t mac[6]; /* our address on the wire */
    uint16_t n_queues;
    uint32_t mtu;    /* bytes of an IP packet, without Ethernet header */
    uint32_t caps;   /* enum ust_cap */
    int32_t link_up; /* 0 when the other side is gone */
    int32_t runs;    /* one system call may move many frames (tap, by io_uring) */
};

struct ust_port_stats { /* since the port was opened, all queues */
    uint64_t rx_frames, rx_bytes;
    uint64_t tx_frames, tx_bytes;
    uint64_t rx_no_mbuf; /* dropped: the pool was empty */
    uint64_t rx_bad;     /* dropped: the peer wrote nonsense */
    uint64_t rx_stale;   /* skipped: they were for the queue's previous worker */
    uint64_t tx_full;    /* times a burst did not fit */
    uint64_t tx_errors;  /* dropped: the kernel refused the frame */
    uint64_t tx_lost;    /* dropped: nobody serves the queue that they were for, and it is full */
    uint64_t wakes;      /* doorbells rung for a sleeping peer */
    uint64_t syscalls;   /* data-path system calls (tap) */
    uint64_t runs;       /* those of them that moved many frames, or would have */
};

/* The simulated NIC pair in shared memory. name: [A-Za-z0-9._-]{1,64}. side:
 * 0 creates or joins as the first side, 1 joins as the second; -1 takes
 * whichever is free. queue: the only one that is used, beside those of other
 * processes on this side; or all; or none, to keep the side for such
 * processes. Errors in *err: -EADDRINUSE when both sides, or the queue, are
 * taken, -EINVAL for parameters that differ from the segment's. */
enum ust_ring_queue {
    UST_RING_ALL = -1,
    UST_RING_KEEPER = -2,
};
struct ust_port *ust_ring_open(const char *name, int side, int queue, unsigned n_queues,
                               unsigned mtu, unsigned n_slots, unsigned caps, int *err);
/* The side that a ring port has: 0 or 1; -EOPNOTSUPP for another port. */
int ust_ring_side(const struct ust_port *port);

/* A ring pair inside this process: two ports joined by a wire. 0 or -errno. */
int ust_ring_pair(struct ust_port *ends[2], unsigned n_queues, unsigned mtu, unsigned n_slots,
                  unsigned caps);

/* A tap device whose queue descriptors Python has opened and configured.
 * fds: n_queues descriptors, which the port then owns. vnet_hdr_len: 0 for
 * plain frames, else 10 or 12. caps: what TUNSETOFFLOAD granted. uring: move
 * many frames a system call, by io_uring, where the system lets us. */
struct ust_port *ust_tap_open(const int *fds, unsigned n_queues, unsigned vnet_hdr_len,
                              unsigned mtu, unsigned caps, int uring, const uint8_t mac[6],
                              int *err);

/* A port without an outside: what is sent is lost (tx_errors), nothing comes. */
struct ust_port *ust_null_open(int *err);

/* Wrap a port so that frames both ways are written to a pcapng file.
 * max_frames: stop after so many (0: no limit). snaplen: bytes kept of each
 * (0: all). The wrapper owns inner and closes it. */
struct ust_port *ust_pcap_open(struct ust_port *inner, const char *path, uint64_t max_frames,
                               uint32_t snaplen, int *err);

void ust_port_close(struct ust_port *port);
void ust_port_info(const struct ust_port *port, struct ust_port_info *info);
void ust_port_stats(const struct ust_port *port, struct ust_port_stats *stats);

/* RSS of a ring port, for frames that this side receives: Toeplitz key (40
 * bytes) and indirection table (a power of two entries, each a queue). NULL
 * keeps what is there. May be rewritten while frames flow. */
int ust_ring_rss(struct ust_port *port, const uint8_t key[40], const uint16_t *reta,
                 unsigned n_reta);

/* What the workers of one stack share, in memory that fork() leaves to both:
 * rings of frames from each to each, and what each says of itself. A worker is
 * known by its number, from 0; it hands frames over as by a port whose queues
 * are the others' numbers. n_workers: 1..16. The crew outlives its ports. */
struct ust_crew;
struct ust_crew *ust_crew_new(unsigned n_workers, int *err);
void ust_crew_free(struct ust_crew *crew);
struct ust_port *ust_crew_join(struct ust_crew *crew, unsigned number, int *err);
enum ust_crew_state {
    UST_CREW_ABSENT,
    UST_CREW_STARTING,
    UST_CREW_SERVING,
    UST_CREW_DRAINING, /* takes no new connections */
    UST_CREW_ENDED,
};
struct ust_crew_status {       /* of one worker, which alone writes it */
    uint64_t state, pid, core; /* enum ust_crew_state; core: its number + 1, 0: any */
    uint64_t connections;      /* that it has now */
    uint64_t accepted;         /* since it began, as all that follow */
    uint64_t rx_frames, tx_frames;
    uint64_t handed_out, handed_in; /* frames of others' flows */
    uint64_t handed_full;           /* lost: the owner's ring was full */
    uint64_t handed_stale;          /* skipped: they were for its predecessor */
};
/* crew: the worker's own port. Says what it is about; core: -1 for any. 0, or
 * -EOPNOTSUPP for another port. */
int ust_crew_enter(struct ust_port *crew, int state, int core);
int ust_crew_status(const struct ust_crew *crew, unsigned number, struct ust_crew_status *status);

/* Raw frames, for tests: one frame out (0 or -errno; -EAGAIN when full) and
 * one frame in (its length, or -EAGAIN). No engine may use the queue. */
int ust_port_send_raw(struct ust_port *port, unsigned queue, const uint8_t *frame, size_t len);
int64_t ust_port_recv_raw(struct ust_port *port, unsigned queue, uint8_t *buf, size_t size);

/* ------------------------------------------------------ configuration */

struct ust_config;

enum ust_config_flag {
    UST_CONFIG_LIVE = 1, /* may change while an engine runs */
};

struct ust_config_row { /* one setting, as documentation */
    const char *name;   /* "tcp.syn_retries" */
    const char *help;
    int64_t value, min, max;
    uint32_t flags;             /* enum ust_config_flag */
    const char *const *choices; /* NULL: a number; else the names of min..max, then NULL */
};

/* profile: "linux" (NULL means it) or "rfc". NULL: no memory or no such
 * profile. */
struct ust_config *ust_config_new(const char *profile);
void ust_config_free(struct ust_config *cfg);
/* -ENOENT: no such name; -ERANGE: value outside min..max. */
int ust_config_set(struct ust_config *cfg, const char *name, int64_t value);
int ust_config_get(const struct ust_config *cfg, const char *name, int64_t *value);
/* The number of a setting's choice, for ust_config_set() and ust_engine_set():
 * -ENOENT when there is no such setting, or none of its choices has the name. */
int64_t ust_config_choice(const char *name, const char *choice);
/* Row i of all settings; -ENOENT past the last. */
int ust_config_row(const struct ust_config *cfg, unsigned i, struct ust_config_row *row);
/* Randomness is injected: seed starts the generator, secret keys the hashes
 * (RFC 6528 ISNs, RFC 6056 ports, flow table). */
void ust_config_entropy(struct ust_config *cfg, uint64_t seed, const uint8_t secret[32]);

/* ------------------------------------------------------------- engine */

struct ust_engine;
struct mbuf;
struct mbuf_pool;

struct ust_engine *ust_engine_new(const struct ust_config *cfg, int *err);
void ust_engine_free(struct ust_engine *eng);
/* A second engine in exactly the same state, or NULL. Frames that a caller
 * holds stay with the original. */
struct ust_engine *ust_engine_clone(const struct ust_engine *eng);
/* Change a live setting: -ENOENT, -ERANGE, -EBUSY when it is not live. */
int ust_engine_set(struct ust_engine *eng, const char *name, int64_t value);
int ust_engine_get(const struct ust_engine *eng, const char *name, int64_t *value);

/* Interfaces, addresses, routes, neighbours. prefix_len counts as for the
 * mapped form: an IPv4 /24 is given as 24. */
int ust_engine_add_iface(struct ust_engine *eng, const uint8_t mac[6], uint32_t mtu,
                         uint32_t caps); /* its index */
int ust_engine_add_addr(struct ust_engine *eng, int iface, const struct ust_addr *addr,
                        unsigned prefix_len);
int ust_engine_add_route(struct ust_engine *eng, int iface, const struct ust_addr *dst,
                         unsigned prefix_len, const struct ust_addr *gateway);
int ust_engine_add_neigh(struct ust_engine *eng, int iface, const struct ust_addr *addr,
                         const uint8_t mac[6]);
/* Owns 127.0.0.0/8 and ::1, too, which nobody outside reaches: 0, -EEXIST or
 * -ENOSPC. Other own addresses can be reached from inside in any case. */
int ust_engine_enable_loopback(struct ust_engine *eng);
/* Taking back: -EADDRNOTAVAIL, -ESRCH, -ENOENT when there is none. */
int ust_engine_del_addr(struct ust_engine *eng, const struct ust_addr *addr);
int ust_engine_del_route(struct ust_engine *eng, const struct ust_addr *dst, unsigned prefix_len,
                         const struct ust_addr *gateway);
int ust_engine_del_neigh(struct ust_engine *eng, int iface, const struct ust_addr *addr);
/* Takes part in IPv6: a link-local address, and with ip6.accept_ra what routers
 * advertise. */
int ust_engine_enable_ipv6(struct ust_engine *eng, int iface);
/* What there is, by number from 0; -ENOENT past the last. */
enum ust_addr_flag {
    UST_ADDR_TENTATIVE = 1, /* duplicate address detection is going on */
    UST_ADDR_AUTO = 2,      /* has a lifetime: from a router's advertisement */
};
struct ust_addr_row {
    struct ust_addr addr;
    uint8_t prefix_len, iface; /* as given: an IPv4 /24 says 24 */
    uint32_t flags;            /* enum ust_addr_flag */
    ust_time valid_until;      /* UINT64_MAX: for ever */
};
struct ust_route_row {
    struct ust_addr dst, gateway;
    uint8_t prefix_len, iface;
    ust_time valid_until;
};
struct ust_neigh_row {
    struct ust_addr addr;
    uint8_t mac[6], state, iface; /* state: RFC 4861's, see ust_neigh_state_name() */
    uint32_t pending;             /* packets that wait */
};
int ust_engine_addr(const struct ust_engine *eng, unsigned i, struct ust_addr_row *row);
int ust_engine_route(const struct ust_engine *eng, unsigned i, struct ust_route_row *row);
int ust_engine_neigh(const struct ust_engine *eng, unsigned i, struct ust_neigh_row *row);
const char *ust_neigh_state_name(unsigned state);
/* Bytes of an IP packet that the path to dst is known to carry; 0: no route. */
uint32_t ust_engine_path_mtu(const struct ust_engine *eng, const struct ust_addr *dst);
int ust_engine_owns(const struct ust_engine *eng, const struct ust_addr *addr);

/* The data path. A burst is at most UST_MAX_BURST mbufs of the engine's own
 * pool. input owns what it is given; output gives up to max frames away. Frames
 * to the engine's own addresses never leave it: output puts them aside, and the
 * next tick takes a burst of them in, of which it returns the number. */
void ust_engine_input(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned n);
unsigned ust_engine_tick(struct ust_engine *eng, ust_time now);
unsigned ust_engine_output(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned max);
/* When tick must next be called; UINT64_MAX for never. Output that is already
 * due counts as a deadline of 0. */
ust_time ust_engine_deadline(const struct ust_engine *eng);
struct mbuf_pool *ust_engine_pool(struct ust_engine *eng);

/* The engines of one stack: one each queue of a port, with the same addresses,
 * settings and secret, sharing nothing. Whose a frame is follows from the hash
 * that the port should steer it by; an engine that gets another's frame, for
 * ports steer as they like, puts it aside for its owner. */
enum ust_rss_field {
    UST_RSS_TCP = 1, /* the ports of TCP are hashed, not the addresses alone */
    UST_RSS_UDP = 2, /* the same of UDP */
    UST_RSS_XOR = 4, /* source and destination are combined first: both are source ^ destination,
                        which Linux calls symmetric-xor */
};
struct ust_rss {
    uint16_t engine, n_engines; /* this one's number, of so many; 1: there is no other */
    uint16_t n_reta;            /* a power of two */
    uint16_t key_len;
    uint32_t fields; /* enum ust_rss_field */
    uint8_t key[64];
    uint8_t reta[512]; /* hash & (n_reta - 1): the engine */
};
/* Both may change while frames and connections are there: a connection stays
 * where it is, and its frames are handed there. 0 or -EINVAL. */
int ust_engine_set_rss(struct ust_engine *eng, const struct ust_rss *rss);
void ust_engine_rss(const struct ust_engine *eng, struct ust_rss *rss);
/* Whose is this frame, which came in by the first interface? An engine's number,
 * or 255: it concerns every engine (ARP, neighbour discovery, groups). What no
 * engine would take is everybody's own: this one's. */
int ust_engine_owner(const struct ust_engine *eng, const uint8_t *frame, size_t len);
/* Takes up to max of the frames put aside; the caller then owns them. owner: the
 * engine that each is for; 255: all others. Wherever they are brought, they keep
 * what mbuf_label() says of them. To be called until it gives 0, after each round
 * of input, tick and the applications' calls: engines wait for these. */
unsigned ust_engine_foreign(struct ust_engine *eng, struct mbuf **burst, uint8_t *owner,
                            unsigned max);
/* As input, for frames that other engines have put aside for this one. */
void ust_engine_input_handed(struct ust_engine *eng, ust_time now, struct mbuf **burst, unsigned n);
/* In one process: brings all that is put aside where it belongs, until there is no
 * more; engines[i] is number i, or NULL. How many frames have arrived. */
uint64_t ust_engine_exchange(struct ust_engine **engines, unsigned n, ust_time now);

/* One frame by value, for simulation and tests. inject: flags as in enum
 * ust_frame; 0, -ENOBUFS or -EMSGSIZE. extract: the length of the next frame
 * that output would give, linear and with its checksums filled in; 0 for
 * none; -EMSGSIZE when size is too small (the frame is lost). */
enum ust_frame {
    UST_FRAME_CSUM_OK = 1, /* treat the transport checksum as verified */
};
int ust_engine_inject(struct ust_engine *eng, ust_time now, int iface, const uint8_t *frame,
                      size_t len, unsigned flags);
int64_t ust_engine_extract(struct ust_engine *eng, ust_time now, uint8_t *buf, size_t size);

/* ------------------------------------------- sockets, on handles */

enum ust_ready {
    UST_READABLE = 1,  /* bytes, EOF, or a connection to accept */
    UST_WRITABLE = 2,  /* room in the send buffer */
    UST_CONNECTED = 4, /* an active open has completed */
    UST_HUP = 8,       /* both directions are finished */
    UST_ERROR = 16,    /* error holds a positive errno */
    UST_URGENT = 32,   /* an urgent byte can be read by UST_MSG_OOB */
};

struct ust_event {
    ust_handle handle;
    uint64_t user;   /* what ust_set_user stored */
    uint32_t events; /* enum ust_ready, as of now */
    int32_t error;
};

/* Sockets whose readiness changed since they were last reported, each at most
 * once. */
unsigned ust_engine_events(struct ust_engine *eng, struct ust_event *ev, unsigned max);
int ust_engine_has_events(struct ust_engine *eng); /* 1 or 0 */

ust_handle ust_socket(struct ust_engine *eng);
/* UDP has handles of its own; the calls on handles take both kinds, but for
 * listen and accept: -EOPNOTSUPP. */
ust_handle ust_udp_socket(struct ust_engine *eng);
/* With UST_OPT_PING, set before it is bound and after UST_OPT_INET6, which says
 * the version, a UDP socket becomes one for ICMP echo, as Linux's of IPPROTO_ICMP:
 * what it sends is an echo request from its first byte (-EINVAL for any other), in
 * which identifier and checksum are filled in; what it receives are the replies
 * with its identifier, header included. The identifier is its local port; the
 * peer's is 0, and ignored. */
struct ust_datagram {
    struct ust_addr src, dst;
    uint16_t port;    /* the sender's */
    uint8_t tos, ttl; /* of its IP header */
    uint8_t iface;    /* that it came in by */
    uint32_t len;     /* of the whole, however much was copied */
};
/* addr NULL: to the connected peer. Bytes, or -EMSGSIZE, -EDESTADDRREQ, -EACCES
 * (a broadcast without leave), -ENETUNREACH, a pending error … */
int64_t ust_sendto(struct ust_engine *eng, ust_handle h, const void *data, size_t len,
                   const struct ust_addr *addr, uint16_t port);
/* One datagram: bytes copied (what does not fit is lost), -EAGAIN … */
int64_t ust_recvfrom(struct ust_engine *eng, ust_handle h, void *buf, size_t size, int flags,
                     struct ust_datagram *info);
int ust_bind(struct ust_engine *eng, ust_handle h, const struct ust_addr *addr, uint16_t port);
int ust_listen(struct ust_engine *eng, ust_handle h, int backlog);
ust_handle ust_accept(struct ust_engine *eng, ust_handle h);
/* Starts an active open: -EINPROGRESS when it is under way. */
int ust_connect(struct ust_engine *eng, ust_handle h, const struct ust_addr *addr, uint16_t port);
/* Connects with the first text in the SYN (RFC 7413): how many bytes went in it,
 * or -EINPROGRESS when none could and the SYN asks for a cookie. */
int64_t ust_fastopen(struct ust_engine *eng, ust_handle h, const struct ust_addr *addr,
                     uint16_t port, const void *data, size_t len);
enum ust_msg {
    UST_MSG_PEEK = 1,
    UST_MSG_MORE = 2,  /* hold a partial segment back: more comes soon */
    UST_MSG_OOB = 4,   /* send: the last byte is urgent; recv: the urgent byte */
    UST_MSG_TRUNC = 8, /* recv: count, but do not copy */
};
/* Bytes taken (possibly fewer than len) or -EAGAIN, -ENOBUFS, -EPIPE, … */
int64_t ust_send(struct ust_engine *eng, ust_handle h, const void *data, size_t len, int flags);
/* Bytes copied, 0 at EOF, -EAGAIN when there is nothing yet. */
int64_t ust_recv(struct ust_engine *eng, ust_handle h, void *buf, size_t size, int flags);
enum ust_how {
    UST_SHUT_RD = 0,
    UST_SHUT_WR = 1,
    UST_SHUT_RDWR = 2,
};
int ust_shutdown(struct ust_engine *eng, ust_handle h, int how);
int ust_close(struct ust_engine *eng, ust_handle h); /* orderly */
int ust_abort(struct ust_engine *eng, ust_handle h); /* RST */

enum ust_opt {
    UST_OPT_NODELAY,   /* 0/1: Nagle off */
    UST_OPT_CORK,      /* 0/1: hold partial segments */
    UST_OPT_QUICKACK,  /* 0/1 */
    UST_OPT_KEEPALIVE, /* 0/1 */
    UST_OPT_KEEPIDLE,  /* seconds */
    UST_OPT_KEEPINTVL, /* seconds */
    UST_OPT_KEEPCNT,
    UST_OPT_SNDBUF,       /* bytes */
    UST_OPT_RCVBUF,       /* bytes */
    UST_OPT_MAXSEG,       /* bytes */
    UST_OPT_LINGER,       /* -1 off, else seconds */
    UST_OPT_USER_TIMEOUT, /* milliseconds, 0 the default */
    UST_OPT_SYNCNT,
    UST_OPT_REUSEADDR,        /* 0/1 */
    UST_OPT_TOS,              /* DS field, 0..255 */
    UST_OPT_TTL,              /* 1..255, -1: the default */
    UST_OPT_ERROR,            /* read only: takes the pending error, as SO_ERROR */
    UST_OPT_ACCEPTCONN,       /* read only */
    UST_OPT_INQ,              /* read only: bytes that recv would give */
    UST_OPT_OUTQ,             /* read only: bytes not yet acknowledged */
    UST_OPT_BROADCAST,        /* UDP, 0/1 */
    UST_OPT_MTU_DISCOVER,     /* IP_MTU_DISCOVER's numbers, 0..3 */
    UST_OPT_MTU,              /* read only: of the path to the connected peer */
    UST_OPT_GSO_SIZE,         /* UDP_SEGMENT: bytes of a datagram, 0: whole */
    UST_OPT_SNDROOM,          /* read only: bytes that send would take now */
    UST_OPT_INET6,            /* UDP, 0/1: an IPv6 socket, which binds to both versions */
    UST_OPT_V6ONLY,           /* 0/1: bound to ::, it takes no IPv4; before it is bound */
    UST_OPT_PING,             /* UDP, 1: sends and receives ICMP echo; see ust_udp_socket() */
    UST_OPT_CONGESTION,       /* enum ust_cc; -ENOENT when there is none of that number */
    UST_OPT_MAX_PACING_RATE,  /* bytes/s; -1: no limit */
    UST_OPT_RCVLOWAT,         /* bytes that make it readable */
    UST_OPT_NOTSENT_LOWAT,    /* bytes not yet sent at which it is full; 0: the default */
    UST_OPT_WINDOW_CLAMP,     /* bytes of window, at most; 0: no limit */
    UST_OPT_LINGER2,          /* seconds of an orphan in FIN-WAIT-2; -1: none, 0: the default */
    UST_OPT_DEFER_ACCEPT,     /* seconds that a listener waits for text; 0: not */
    UST_OPT_OOBINLINE,        /* 0/1: urgent bytes stay in line */
    UST_OPT_FASTOPEN,         /* connections that may be open before their handshake has ended */
    UST_OPT_FASTOPEN_CONNECT, /* 0/1: connect waits for the first text */
    UST_OPT_ATMARK,           /* read only: is the next byte the urgent one? */
    UST_OPT_OUTQNSD,          /* read only: bytes not yet sent */
};
int ust_setopt(struct ust_engine *eng, ust_handle h, int opt, int64_t value);
int ust_getopt(const struct ust_engine *eng, ust_handle h, int opt, int64_t *value);
int ust_names(const struct ust_engine *eng, ust_handle h, struct ust_addr *local,
              uint16_t *local_port, struct ust_addr *remote, uint16_t *remote_port);
int ust_set_user(struct ust_engine *eng, ust_handle h, uint64_t user);
/* enum ust_ready of this moment, or -EBADF. */
int ust_ready(const struct ust_engine *eng, ust_handle h);
/* Only whether that has UST_READABLE, which costs less; true also of a stale handle. */
int ust_readable(const struct ust_engine *eng, ust_handle h);

/* ------------------------------------------- looking in, without effect */

enum ust_tcp_state { /* Linux's numbers */
                     UST_ESTABLISHED = 1,
                     UST_SYN_SENT = 2,
                     UST_SYN_RECEIVED = 3,
                     UST_FIN_WAIT_1 = 4,
                     UST_FIN_WAIT_2 = 5,
                     UST_TIME_WAIT = 6,
                     UST_CLOSED = 7,
                     UST_CLOSE_WAIT = 8,
                     UST_LAST_ACK = 9,
                     UST_LISTEN = 10,
                     UST_CLOSING = 11,
};

enum ust_cc { /* congestion controls */
              UST_CC_RENO,
              UST_CC_CUBIC,
              UST_CC_DCTCP,
              UST_CC_BBR,
              UST_CC_PYTHON, /* the last: ust_cc_reports(), ust_cc_update() */
              UST_CCS
};
const char *ust_cc_name(unsigned i); /* as Linux spells it; NULL past the last */

enum ust_fastopen_fail { /* Linux's numbers: why our SYN's text was not taken */
                         UST_FASTOPEN_FINE = 0,
                         UST_FASTOPEN_NO_COOKIE = 1,
                         UST_FASTOPEN_NOT_ACKED = 2,
                         UST_FASTOPEN_RETRANSMITTED = 3,
};
/* A congestion control outside the engine: it takes reports and sets the window.
 * There is one report a connection at most, which grows until it is taken, so
 * however late the controller is, nothing piles up. Until it says otherwise,
 * the window stays as it is, is halved at a loss, and undone, as reno's. */
enum ust_cc_news {
    UST_CC_ACK = 1,      /* acked, rtt_us and n_acks have grown */
    UST_CC_ROUND = 2,    /* a round trip has ended */
    UST_CC_LOSS = 4,     /* recovery has begun */
    UST_CC_ECN = 8,      /* the peer has echoed congestion marks */
    UST_CC_TIMEOUT = 16, /* an RTO: the window is one segment */
    UST_CC_UNDO = 32,    /* the last loss or timeout was none */
    UST_CC_RESTART = 64, /* sends again after idle_ns without anything in flight */
    UST_CC_START = 128,  /* the first report of this connection */
};
struct ust_cc_report {
    ust_handle handle;
    uint64_t user;            /* of ust_set_user() */
    uint32_t news;            /* enum ust_cc_news */
    uint32_t mss, prior_cwnd; /* bytes; prior_cwnd: before the last reduction */
    uint32_t cwnd;            /* what update decides: the window, or what it is to become */
    uint32_t window;          /* what may be in flight now */
    uint32_t in_flight;       /* bytes, before the last ACK */
    uint32_t rtt_us;          /* the last one measured since the last report; 0: none */
    uint32_t srtt_us, min_rtt_us;
    uint32_t n_acks; /* since the last report */
    uint64_t acked;  /* bytes delivered since the last report */
    ust_time now, idle_ns;
    int32_t limited; /* cwnd is what holds sending back */
};
int ust_cc_pending(const struct ust_engine *eng); /* are there any? */
/* Takes up to max of them. */
unsigned ust_cc_reports(struct ust_engine *eng, struct ust_cc_report *reports, unsigned max);
/* Sets the window; in recovery, and in slow start after it, what it is to
 * become. pacing_rate: bytes a second, 0: by cwnd and RTT. per_round: report no
 * ACK by itself. -EBADF; -EINVAL: the connection has another congestion control. */
int ust_cc_update(struct ust_engine *eng, ust_handle h, uint32_t cwnd, uint64_t pacing_rate,
                  int per_round);

enum ust_ca_state { /* Linux's names and numbers */
                    UST_CA_OPEN = 0,
                    UST_CA_DISORDER = 1,
                    UST_CA_CWR = 2,
                    UST_CA_RECOVERY = 3,
                    UST_CA_LOSS = 4,
};

struct ust_tcp_info {
    uint8_t state;       /* enum ust_tcp_state */
    uint8_t ca_state;    /* enum ust_ca_state */
    uint8_t retransmits; /* unanswered RTOs in a row */
    uint8_t probes;      /* unanswered zero-window probes */
    uint8_t backoff;
    uint8_t ts_ok, sack_ok, wscale_ok;
    uint8_t snd_wscale, rcv_wscale;
    uint8_t syn_sent, fin_sent, fin_received;
    uint8_t nodelay;
    uint8_t congestion; /* enum ust_cc */
    uint8_t ecn;        /* 0: none; 1: RFC 3168; 2: AccECN */
    uint8_t ecn_seen;   /* text has come with a mark that says ECN */
    uint32_t iss, irs;
    uint32_t snd_una, snd_nxt, snd_max, snd_wnd;
    uint32_t rcv_nxt, rcv_wnd, rcv_adv;
    uint32_t snd_mss, rcv_mss, advmss;
    uint32_t cwnd, ssthresh; /* bytes; ssthresh UINT32_MAX: not set */
    uint32_t rto_us, srtt_us, rttvar_us, min_rtt_us, ato_us;
    uint64_t pacing_rate, max_pacing_rate; /* bytes/s; UINT64_MAX: no limit */
    uint64_t delivery_rate;                /* bytes/s, last measured; 0: never … */
    uint8_t rate_app_limited;              /* … while the application had no more to send */
    uint32_t ts_recent;
    uint32_t inq, outq, unsent;     /* bytes */
    uint32_t ooo_bytes, ooo_ranges; /* out-of-order data held */
    uint32_t sndbuf, rcvbuf;        /* limits, bytes */
    uint32_t rcv_charged;           /* buffer memory the queue holds */
    uint64_t bytes_acked, bytes_received, bytes_sent, bytes_retrans;
    uint64_t segs_in, segs_out, data_segs_in, data_segs_out;
    uint32_t total_retrans, dupacks_in;
    uint32_t delivered_ce, received_ce; /* segments marked CE: of ours; of the peer's (AccECN) */
    uint32_t received_e1_bytes, received_e0_bytes,
        received_ce_bytes;                   /* text by its mark (AccECN) */
    uint32_t unacked, sacked, lost, retrans; /* packets in flight, and what is known of them */
    uint32_t reordering;                     /* packets: how far back text has come */
    uint32_t reord_seen;                     /* times that it has */
    uint32_t delivered, dsack_dups;          /* packets */
    uint32_t pmtu;                           /* bytes of an IP packet that the path carries */
    uint32_t rcv_ssthresh, rcv_rtt_us;       /* see tcp/rcvwnd.c */
    uint32_t rcv_space, rcv_ooopack;         /* bytes read a round trip; segments out of order */
    uint32_t last_data_sent_ms, last_data_recv_ms, last_ack_recv_ms; /* ago */
    uint64_t busy_us, rwnd_limited_us, sndbuf_limited_us;            /* busy includes the others */
    uint32_t total_rto, total_rto_recoveries, total_rto_ms; /* timeouts, episodes, their time */
    uint8_t syn_data;      /* text in our SYN was acknowledged, or theirs taken */
    uint8_t fastopen_fail; /* enum ust_fastopen_fail */
    ust_time reo, tlp;     /* 0: not armed */
    ust_time rexmt, persist, delack, keepalive, timewait; /* 0: not armed */
};
int ust_tcp_info(const struct ust_engine *eng, ust_handle h, struct ust_tcp_info *info);

/* struct tcp_info of Linux 6.18, with its names; getsockopt(TCP_INFO) gives these
 * bytes. What ustack does not know is 0. */
struct ust_linux_tcp_info {
    uint8_t tcpi_state, tcpi_ca_state, tcpi_retransmits, tcpi_probes, tcpi_backoff;
    uint8_t tcpi_options;
    uint8_t tcpi_wscales; /* tcpi_snd_wscale in the low four bits, tcpi_rcv_wscale above */
    uint8_t tcpi_flags;   /* tcpi_delivery_rate_app_limited: 1, tcpi_fastopen_client_fail: 2 */
    uint32_t tcpi_rto, tcpi_ato, tcpi_snd_mss, tcpi_rcv_mss;
    uint32_t tcpi_unacked, tcpi_sacked, tcpi_lost, tcpi_retrans, tcpi_fackets;
    uint32_t tcpi_last_data_sent, tcpi_last_ack_sent, tcpi_last_data_recv, tcpi_last_ack_recv;
    uint32_t tcpi_pmtu, tcpi_rcv_ssthresh, tcpi_rtt, tcpi_rttvar, tcpi_snd_ssthresh;
    uint32_t tcpi_snd_cwnd, tcpi_advmss, tcpi_reordering;
    uint32_t tcpi_rcv_rtt, tcpi_rcv_space, tcpi_total_retrans;
    uint64_t tcpi_pacing_rate, tcpi_max_pacing_rate, tcpi_bytes_acked, tcpi_bytes_received;
    uint32_t tcpi_segs_out, tcpi_segs_in, tcpi_notsent_bytes, tcpi_min_rtt;
    uint32_t tcpi_data_segs_in, tcpi_data_segs_out;
    uint64_t tcpi_delivery_rate, tcpi_busy_time, tcpi_rwnd_limited, tcpi_sndbuf_limited;
    uint32_t tcpi_delivered, tcpi_delivered_ce;
    uint64_t tcpi_bytes_sent, tcpi_bytes_retrans;
    uint32_t tcpi_dsack_dups, tcpi_reord_seen, tcpi_rcv_ooopack;
    uint32_t tcpi_snd_wnd, tcpi_rcv_wnd, tcpi_rehash;
    uint16_t tcpi_total_rto, tcpi_total_rto_recoveries;
    uint32_t tcpi_total_rto_time;
    uint32_t tcpi_received_ce;
    uint32_t tcpi_delivered_e1_bytes, tcpi_delivered_e0_bytes, tcpi_delivered_ce_bytes;
    uint32_t tcpi_received_e1_bytes, tcpi_received_e0_bytes, tcpi_received_ce_bytes;
    uint16_t tcpi_accecn_fail_mode, tcpi_accecn_opt_seen;
};
void ust_tcp_info_to_linux(const struct ust_tcp_info *info, struct ust_linux_tcp_info *out);
/* The same by flow: finds request blocks (SYN_RECEIVED) and TIME-WAIT records,
 * too. -ENOENT when there is none. */
int ust_flow_info(const struct ust_engine *eng, const struct ust_addr *local, uint16_t local_port,
                  const struct ust_addr *remote, uint16_t remote_port, struct ust_tcp_info *info);

struct ust_usage { /* resources in use; the configured limit behind it */
    uint32_t mbufs_small, mbufs_small_max;
    uint32_t mbufs_large, mbufs_large_max;
    uint32_t mbufs_ref, mbufs_ref_max;
    uint32_t tcbs, tcbs_max;
    uint32_t listeners, listeners_max;
    uint32_t requests, requests_max; /* half-open, in SYN queues */
    uint32_t timewaits, timewaits_max;
    uint32_t neighs, neighs_max;
    uint32_t orphans, orphans_max; /* closed by their applications, not yet over */
    uint32_t reass, reass_max;     /* connections with out-of-order data */
    uint32_t cc_states, cc_states_max;
    uint32_t extras, extras_max;   /* what connections with options, ECN or losses have besides */
    uint32_t flights, flights_max; /* what connections with text in flight have besides */
    uint32_t sents, sents_max;     /* transmission records beyond each connection's own */
    uint32_t udp_socks, udp_socks_max;
    uint32_t frags, frags_max; /* datagrams waiting for fragments */
    uint32_t pmtus, pmtus_max; /* path MTUs remembered */
    uint32_t timers;           /* armed, of whatever kind */
    uint32_t flows;            /* entries of the flow table */
    uint32_t ready;            /* connections waiting for output */
    uint32_t outq;             /* frames waiting for output */
    uint32_t loopq;            /* frames to our own addresses, on their way in */
    uint32_t foreign;          /* frames for other engines that wait to be fetched */
    uint64_t bytes;            /* memory of the whole engine */
};
void ust_engine_usage(const struct ust_engine *eng, struct ust_usage *usage);

/* Counters: one table gives number, name and help. */
unsigned ust_counter_count(void);
const char *ust_counter_name(unsigned i);
const char *ust_counter_help(unsigned i);
void ust_engine_counters(const struct ust_engine *eng, uint64_t *values);

/* Checks every invariant. 0, or the number of the first that fails, with a
 * sentence about it in why (may be NULL). */
int ust_engine_check(const struct ust_engine *eng, const char **why);

/* The nth pool allocation from now fails (1 is the next; 0: none does). With
 * every set, each nth fails. */
void ust_engine_fail_alloc(struct ust_engine *eng, uint64_t nth, int every);

/* A running hash over all frames in and out with their times, while the
 * setting engine.trace is 1. */
uint64_t ust_engine_trace_hash(const struct ust_engine *eng);

/* Pieces of base, exposed so that Python can test and use them. The checksum
 * is a number as read from its field in network order, and initial a sum of
 * 16-bit numbers of that kind. Bits past the end of a Toeplitz key are 0. */
uint16_t ust_checksum(const uint8_t *data, size_t len, uint32_t initial);
uint32_t ust_toeplitz(const uint8_t *key, size_t key_len, const uint8_t *data, size_t len);
int ust_seq_lt(uint32_t a, uint32_t b);
int ust_seq_leq(uint32_t a, uint32_t b);
int ust_seq_between(uint32_t lo, uint32_t x, uint32_t hi); /* lo <= x < hi */

/* ------------------------------------------------------------- worker */

struct ust_worker;

/* Joins an engine to one queue of a port. The worker owns neither. spin_ns:
 * how long to poll without work before sleeping. NULL with errno set. */
struct ust_worker *ust_worker_new(struct ust_engine *eng, struct ust_port *port, int iface,
                                  unsigned queue, uint64_t spin_ns);
/* For an engine on virtual time, which something else gives its frames and
 * takes them from: no port, and calls that would have to wait return -EDEADLK.
 * rx runs the timers due at *clock. */
struct ust_worker *ust_worker_new_virtual(struct ust_engine *eng, const ust_time *clock);
/* One more port behind another interface; each is polled in turn, and a frame
 * leaves by the port of its interface. 0, -ENOSPC, or -errno. */
int ust_worker_add_port(struct ust_worker *w, struct ust_port *port, int iface, unsigned queue);
/* Sends every waiting thread away and lets go of engine and ports, which may be
 * freed afterwards. All later calls with a socket or an engine in them return
 * -EBADF, the others do nothing; only ust_worker_free() ends the worker. */
void ust_worker_stop(struct ust_worker *w);
/* Stops it, too; its memory stays until as many have freed it as hold it. Its
 * maker does; hold makes one more, as who may end an engine or a port before it. */
void ust_worker_free(struct ust_worker *w);
void ust_worker_hold(struct ust_worker *w);
/* In the child of a fork: the worker is stopped there, as its engine and ports
 * are the parent's. Before any other call of the child's. */
void ust_worker_forked(struct ust_worker *w);
/* Starts a thread that serves the ports whenever nobody else has for patience_ns
 * (guardian.c), or changes its patience; 0: it is there always, beside others.
 * 0 or -errno. It ends with the worker. */
int ust_worker_guard(struct ust_worker *w, uint64_t patience_ns);

/* The engine's lock, for callers that do several things in one turn. Not
 * recursive: no other function of this section may be called while holding
 * it, but rx, flush, fd, arm, disarm, wake and now. */
void ust_worker_lock(struct ust_worker *w);
void ust_worker_unlock(struct ust_worker *w);
/* The two halves of a round, for callers that hold the lock. rx: one burst in
 * and the timers that are due; apps run next, so that their answers carry the
 * ACKs; flush: everything due out. Each returns the frames moved. */
unsigned ust_worker_rx(struct ust_worker *w);
unsigned ust_worker_flush(struct ust_worker *w);
/* A whole round with the lock taken inside. */
unsigned ust_worker_poll(struct ust_worker *w);

/* Drive the engine until socket h has any of the wanted readiness, at most
 * timeout_ns; UST_HUP and UST_ERROR are always wanted. Threads may wait
 * together: one drives, the others sleep. At least one round is run, unless
 * another thread drives. Returns the readiness, 0 on timeout or after
 * ust_worker_wake(), -EBADF, or -EINTR after a signal. */
int ust_worker_wait(struct ust_worker *w, ust_handle h, unsigned wanted, uint64_t timeout_ns);
/* The same for n sockets. ready[i] becomes what handles[i] is of wanted[i],
 * UST_HUP and UST_ERROR, or -EBADF. Returns how many entries are not 0. fd: a
 * descriptor that ends a sleep, too, when it polls readable; -1 for none. */
int ust_worker_wait_many(struct ust_worker *w, const ust_handle *handles, const uint32_t *wanted,
                         int32_t *ready, unsigned n, int fd, uint64_t timeout_ns);
/* The same without a socket: 1 after a round with work in it (there may be
 * events), 0 on timeout or after ust_worker_wake(), -EINTR after a signal. */
int ust_worker_idle(struct ust_worker *w, uint64_t timeout_ns);
/* Make a sleeping worker return. Any thread, any time. */
void ust_worker_wake(struct ust_worker *w);

/* For an event loop of one's own: a descriptor that polls readable, while
 * armed, when frames arrive, when other threads have run a round, and after
 * ust_worker_wake(). Arm it before sleeping: arm returns 1 when there is work
 * already, and then the loop must not sleep. Sleep no longer than until
 * ust_worker_deadline(), which is 0 while output waits and UINT64_MAX for
 * never. arm, disarm and deadline need the lock. */
int ust_worker_fd(struct ust_worker *w);
int ust_worker_arm(struct ust_worker *w);
void ust_worker_disarm(struct ust_worker *w);
ust_time ust_worker_deadline(struct ust_worker *w);
ust_time ust_worker_now(void);

struct ust_worker_stats {
    uint64_t rounds, busy_rounds, sleeps;
    uint64_t guardian_rounds; /* of them, those of the guardian */
    uint64_t rx_frames, tx_frames;
    uint64_t tx_dropped; /* their port was stuck while others were not */
};
/* Makes it one of several workers of a stack: crew is its way to the others, from
 * ust_crew_join(), and outlives it. 0 or -errno. */
int ust_worker_join(struct ust_worker *w, struct ust_port *crew, unsigned number);
/* Both take the lock; the ports' are summed up. */
int ust_worker_stats(struct ust_worker *w, struct ust_worker_stats *stats);
int ust_worker_port_stats(struct ust_worker *w, struct ust_port_stats *stats);

/* A descriptor that polls as socket h does, for select(), poll() and epoll of
 * other programs: readable, writable, both after an error or the end. It is for
 * polling only. fd: an open descriptor, which becomes it, or -1 for a new one;
 * closing it is the caller's, after ust_doorbell_free(), which must
 * come before ust_worker_free(). While there are doorbells, a thread drives the engine
 * whenever nobody waits for it. NULL with -errno in *err. */
struct ust_doorbell;
struct ust_doorbell *ust_doorbell_new(struct ust_worker *w, ust_handle h, int fd, int *err);
int ust_doorbell_fd(const struct ust_doorbell *d);
void ust_doorbell_free(struct ust_doorbell *d);

/* The socket calls with the lock taken inside and their output flushed, so
 * that each is one call from Python. Those with timeout_ns drive the engine
 * while they would block; -EAGAIN after that time (0: after one round), -EINTR
 * after a signal. A partial send is a success. */
ust_handle ust_worker_socket(struct ust_worker *w);
int ust_worker_bind(struct ust_worker *w, ust_handle h, const struct ust_addr *addr, uint16_t port);
int ust_worker_listen(struct ust_worker *w, ust_handle h, int backlog);
ust_handle ust_worker_accept(struct ust_worker *w, ust_handle h, struct ust_addr *remote,
                             uint16_t *remote_port, uint64_t timeout_ns);
int ust_worker_connect(struct ust_worker *w, ust_handle h, const struct ust_addr *addr,
                       uint16_t port);
int64_t ust_worker_fastopen(struct ust_worker *w, ust_handle h, const struct ust_addr *addr,
                            uint16_t port, const uint8_t *data, size_t len);
int64_t ust_worker_send(struct ust_worker *w, ust_handle h, const uint8_t *data, size_t len,
                        int flags, uint64_t timeout_ns);
int64_t ust_worker_recv(struct ust_worker *w, ust_handle h, uint8_t *buf, size_t size, int flags,
                        uint64_t timeout_ns);
ust_handle ust_worker_udp_socket(struct ust_worker *w, int inet6);
/* addr NULL: to the connected peer. */
int64_t ust_worker_sendto(struct ust_worker *w, ust_handle h, const uint8_t *data, size_t len,
                          const struct ust_addr *addr, uint16_t port, uint64_t timeout_ns);
int64_t ust_worker_recvfrom(struct ust_worker *w, ust_handle h, uint8_t *buf, size_t size,
                            int flags, struct ust_datagram *info, uint64_t timeout_ns);
int ust_worker_shutdown(struct ust_worker *w, ust_handle h, int how);
/* Ends sending, and waits until the peer has all of it: 0, or -EAGAIN after that
 * time; what SO_LINGER asks of close. */
int ust_worker_linger(struct ust_worker *w, ust_handle h, uint64_t timeout_ns);
int ust_worker_close(struct ust_worker *w, ust_handle h);
int ust_worker_abort(struct ust_worker *w, ust_handle h);
int ust_worker_setopt(struct ust_worker *w, ust_handle h, int opt, int64_t value);
int ust_worker_getopt(struct ust_worker *w, ust_handle h, int opt, int64_t *value);
int ust_worker_names(struct ust_worker *w, ust_handle h, struct ust_addr *local,
                     uint16_t *local_port, struct ust_addr *remote, uint16_t *remote_port);
int ust_worker_tcp_info(struct ust_worker *w, ust_handle h, struct ust_tcp_info *info);

unsigned ust_worker_cc_reports(struct ust_worker *w, struct ust_cc_report *reports, unsigned max);
int ust_worker_cc_update(struct ust_worker *w, ust_handle h, uint32_t cwnd, uint64_t pacing_rate,
                         int per_round);

/* The engine's control plane, in the same way. */
int ust_worker_set(struct ust_worker *w, const char *name, int64_t value);
int ust_worker_get(struct ust_worker *w, const char *name, int64_t *value);
int ust_worker_enable_ipv6(struct ust_worker *w, int iface);
int ust_worker_enable_loopback(struct ust_worker *w);
int ust_worker_add_addr(struct ust_worker *w, int iface, const struct ust_addr *addr,
                        unsigned prefix_len);
int ust_worker_del_addr(struct ust_worker *w, const struct ust_addr *addr);
int ust_worker_add_route(struct ust_worker *w, int iface, const struct ust_addr *dst,
                         unsigned prefix_len, const struct ust_addr *gateway);
int ust_worker_del_route(struct ust_worker *w, const struct ust_addr *dst, unsigned prefix_len,
                         const struct ust_addr *gateway);
int ust_worker_add_neigh(struct ust_worker *w, int iface, const struct ust_addr *addr,
                         const uint8_t mac[6]);
int ust_worker_del_neigh(struct ust_worker *w, int iface, const struct ust_addr *addr);
/* All rows as of one moment, up to max: how many, or -EBADF. */
int ust_worker_addrs(struct ust_worker *w, struct ust_addr_row *rows, unsigned max);
int ust_worker_routes(struct ust_worker *w, struct ust_route_row *rows, unsigned max);
int ust_worker_neighs(struct ust_worker *w, struct ust_neigh_row *rows, unsigned max);
int ust_worker_owns(struct ust_worker *w, const struct ust_addr *addr);
int64_t ust_worker_path_mtu(struct ust_worker *w, const struct ust_addr *dst);
int ust_worker_counters(struct ust_worker *w, uint64_t *values);
int ust_worker_usage(struct ust_worker *w, struct ust_usage *usage);

/* -------------------------------------------------------------- bench */

/* Load generators of `ustack bench`: n_conns connections to one server, over a
 * worker's stack or over the kernel, driven by the thread that calls. */
struct ust_load;

enum ust_load_kind {
    UST_LOAD_ECHO, /* on each one request of size bytes, echoed; closed loop */
    UST_LOAD_SEND, /* writes of size bytes, as many as are taken */
    UST_LOAD_RECV, /* reads all that comes; size bytes count as one request */
    UST_LOAD_CONN, /* ECHO, each request on a connection of its own, which the client closes */
};

struct ust_load_result { /* since the last clear */
    uint64_t requests;
    uint64_t bytes;                   /* of payload, one way */
    uint64_t ns;                      /* spent in run */
    uint64_t p50_ns, p99_ns, p999_ns; /* latency of echoes; CONN: from connect() on */
    uint64_t no_port;                 /* CONN: times that every port was in TIME-WAIT */
};

/* NULL: no memory, or no descriptor. */
struct ust_load *ust_load_stack(struct ust_worker *w, struct ust_engine *eng, int kind,
                                unsigned n_conns, unsigned size, const struct ust_addr *addr,
                                uint16_t port);
struct ust_load *ust_load_kernel(int kind, unsigned n_conns, unsigned size,
                                 const struct ust_addr *addr, uint16_t port);
/* Instead of an echo: these len bytes ask, and the answer has so many. 0 or -ENOMEM. */
int ust_load_ask(struct ust_load *load, const uint8_t *request, unsigned len, unsigned answer);
/* Connections are spread over so many addresses, that there are ports enough: the
 * server's, counting up from addr, or our own from it when it is in 127.0.0.0/8. */
void ust_load_spread(struct ust_load *load, unsigned n_addrs);
/* At most so many requests are outstanding, on the connections in turn (ECHO). */
void ust_load_window(struct ust_load *load, unsigned n_requests);
/* Resets its connections. */
void ust_load_free(struct ust_load *load);
/* Opens the connections, for at most ns: 1 when all are open, 0 when not yet,
 * or what went wrong as a negative errno. */
int ust_load_open(struct ust_load *load, uint64_t ns);
/* Runs for ns, or until so many more requests are done (0: no limit). 0, or
 * the negative errno of a connection that was lost. */
int ust_load_run(struct ust_load *load, uint64_t ns, uint64_t requests);
void ust_load_clear(struct ust_load *load); /* forgets what it has counted */
/* What was counted since the last call of this was a slice of time that nothing
 * disturbed (keep 1), or not. */
void ust_load_keep(struct ust_load *load, int keep);
/* kept 1: of undisturbed slices alone. */
void ust_load_result(const struct ust_load *load, int kept, struct ust_load_result *result);

/* Servers in C, for the same loads: the work of a Protocol without Python. */
struct ust_serve;

enum ust_serve_kind {
    UST_SERVE_ECHO,
    UST_SERVE_SINK,
    UST_SERVE_SOURCE,
    UST_SERVE_ANSWER, /* the same bytes to whatever ends with an empty line, as HTTP's GET does */
};

/* answer: for UST_SERVE_ANSWER, copied. listener: a listening socket, for the kernel a
 * non-blocking one. NULL: no memory, or no descriptor. */
struct ust_serve *ust_serve_stack(struct ust_worker *w, struct ust_engine *eng, ust_handle listener,
                                  int kind, const uint8_t *answer, unsigned len);
struct ust_serve *ust_serve_kernel(int listener, int kind, const uint8_t *answer, unsigned len);
/* Serves for ns, at least one turn; on a stack without ever sleeping. How many events it
 * has served, or what broke as a negative errno. */
int64_t ust_serve_run(struct ust_serve *s, uint64_t ns);
/* Its connections remain the engine's; those of the kernel are closed. */
void ust_serve_free(struct ust_serve *s);

/* Both ends in one thread: they take turns for ns, or until so many more requests are
 * done (0: no limit). The load counts the time of both. As ust_load_run(). */
int ust_load_run_with(struct ust_load *load, struct ust_serve *s, uint64_t ns, uint64_t requests);

/* A cache line handed to and fro between two cores for ns: picoseconds of a round
 * trip, or -errno. */
int64_t ust_cache_ping(int cpu, int other, uint64_t ns);

/* --------------------------------------------------------- simulation */

/* One direction of a link on virtual time: a queue, a transmitter with a rate,
 * and a wire that takes time and loses, doubles, damages or holds back frames.
 * Like an engine it is a function of its calls and of a seed. */
struct ust_link;

enum ust_queue {
    UST_QUEUE_DROP_TAIL,
    UST_QUEUE_CODEL, /* RFC 8289 */
};

struct ust_link_config {                /* chances are 0 … 1 for each frame */
    int32_t up;                         /* 0: what is sent is dropped */
    uint32_t mtu;                       /* bytes of an IP packet, larger ones are dropped; 0: any */
    uint64_t rate;                      /* bits per second of whole frames; 0: no limit */
    uint32_t max_frames;                /* in queue and on the wire together */
    int32_t discipline;                 /* enum ust_queue */
    uint64_t queue_bytes, queue_frames; /* drop what does not fit; 0: no limit */
    uint64_t mark_bytes;                /* set CE when more wait; 0: never */
    ust_time codel_target, codel_interval; /* interval: 1 ms or more */
    int32_t codel_ecn;                     /* 1: mark instead of dropping, where ECN is on */
    int32_t keep_order;                    /* 1: jitter never lets a frame overtake another */
    ust_time delay, jitter;                /* jitter: 0 … so much is added */
    double loss;                           /* in the good state, which is the only one … */
    double loss_bad, to_bad, to_good;      /* … unless to_bad > 0: Gilbert and Elliott */
    double duplicate, corrupt;             /* corrupt: one bit is turned over */
    double reorder;                        /* arrive reorder_delay later than they would */
    ust_time reorder_delay;
};

struct ust_link_stats {
    uint64_t frames_in, bytes_in;    /* given to send */
    uint64_t frames_out, bytes_out;  /* arrived */
    uint64_t drop_queue, drop_codel; /* the queue was full; waited too long */
    uint64_t drop_loss, drop_down;   /* lost on the wire; the link was down */
    uint64_t drop_mtu, drop_memory;  /* too large; more than max_frames */
    uint64_t marked;                 /* given CE */
    uint64_t duplicated, corrupted, held_back;
    uint64_t queue_bytes, queue_frames; /* that wait now */
    uint64_t queue_bytes_max;
    uint64_t queue_byte_us;            /* queue_bytes, integrated over time */
    uint64_t waited_ns, waited_ns_max; /* sum and maximum of frames' time in the queue */
};

/* *err: -EINVAL for values out of range (rate 10^12, times 1000 hours), -ENOMEM. */
struct ust_link *ust_link_new(const struct ust_link_config *cfg, uint64_t seed, int *err);
void ust_link_free(struct ust_link *l);
/* For frames that are yet to pass: 0 or -EINVAL. */
int ust_link_set(struct ust_link *l, const struct ust_link_config *cfg);
void ust_link_get(const struct ust_link *l, struct ust_link_config *cfg);
/* 0 when the link has taken the frame, or let it fall by chance or for want of
 * room; -EMSGSIZE: larger than its MTU; -ENETDOWN; -ENOBUFS. */
int ust_link_send(struct ust_link *l, ust_time now, const uint8_t *frame, size_t len);
/* The next frame that has arrived: its length, 0 for none, -EMSGSIZE when size is
 * too small (the frame is lost). */
int64_t ust_link_recv(struct ust_link *l, ust_time now, uint8_t *buf, size_t size);
/* When recv must next be called; UINT64_MAX for never. */
ust_time ust_link_deadline(const struct ust_link *l);
void ust_link_stats(struct ust_link *l, ust_time now, struct ust_link_stats *stats);

/* A network of engines and links. Hosts are engines, of which the first interface
 * is used; switches join several links. The network owns its links but not the
 * engines, whose MACs must be 02:00:00:00:hh:hh with the node's number. */
struct ust_sim;

enum ust_sim_why {                  /* why ust_sim_run() returned */
                   UST_SIM_TIME,    /* it is until */
                   UST_SIM_EVENTS,  /* sockets that belong to no flow have news */
                   UST_SIM_CAPTURE, /* the capture buffer wants to be emptied */
                   UST_SIM_FLOW,    /* a flow ended */
                   UST_SIM_CC,      /* a host has reports of congestion */
                   UST_SIM_NOTHING, /* until was UINT64_MAX, and nothing will ever happen */
};

struct ust_sim *ust_sim_new(ust_time now);
void ust_sim_free(struct ust_sim *sim);
/* Each returns a number, or -ENOSPC, -ENOMEM, -EINVAL. */
int ust_sim_add_host(struct ust_sim *sim, struct ust_engine *eng);
int ust_sim_add_switch(struct ust_sim *sim);
int ust_sim_add_link(struct ust_sim *sim, int from, int to, const struct ust_link_config *cfg,
                     uint64_t seed);
struct ust_link *ust_sim_link(struct ust_sim *sim, int link);
/* A switch sends frames for a host by this of its links. */
int ust_sim_forward(struct ust_sim *sim, int node, int host, int link);
/* Answer frames that a link drops for their size as this router (RFC 1191, 4443). */
int ust_sim_too_big(struct ust_sim *sim, int link, const struct ust_addr *router);
ust_time ust_sim_now(const struct ust_sim *sim);
/* Where the time stands, as long as the simulation lives. */
const ust_time *ust_sim_clock(const struct ust_sim *sim);
/* Lets time pass until then, or until something comes up: enum ust_sim_why. */
int ust_sim_run(struct ust_sim *sim, ust_time until);
/* After calls on a host's engine: what it has to send goes out at the next run. */
int ust_sim_touch(struct ust_sim *sim, int host);
/* on: leave a host's events in its engine, for whoever drives its sockets: a run
 * ends when there are any, and what the host then has to send waits for the
 * answers, until after the next ust_sim_touch(). No flow may have an end there. */
int ust_sim_leave_events(struct ust_sim *sim, int host, int on);
struct ust_sim_event {
    int32_t host;
    struct ust_event event;
};
unsigned ust_sim_events(struct ust_sim *sim, struct ust_sim_event *ev, unsigned max);

/* Work for two sockets: the client sends request bytes, the server answers with
 * response bytes, count times over, each time not before period has passed since
 * the last time. UINT64_MAX: for ever. */
struct ust_sim_flow {
    int32_t client, server; /* hosts */
    ust_handle socket;      /* the client's, not yet connected */
    ust_handle listener;    /* the server's, used by this flow alone */
    struct ust_addr addr;   /* the server's */
    uint16_t port;
    ust_time start, stop; /* stop: nothing more is written; UINT64_MAX: never */
    ust_time period;
    uint64_t request, response, count;
};
struct ust_sim_flow_stats {
    ust_handle client, server;     /* sockets of now; 0: none */
    int32_t error;                 /* a negative errno that ended it */
    ust_time connected, finished;  /* 0: not yet */
    uint64_t to_server, to_client; /* bytes read by */
    uint64_t done;                 /* requests that were answered */
    uint64_t n_latencies;          /* of them, kept */
    uint64_t rexmts;               /* segments that both sockets have sent again */
};
int ust_sim_add_flow(struct ust_sim *sim, const struct ust_sim_flow *flow);
int ust_sim_flow_stats(const struct ust_sim *sim, int flow, struct ust_sim_flow_stats *stats);
/* Nanoseconds from each request to its answer, in order: how many. */
uint64_t ust_sim_latencies(const struct ust_sim *sim, int flow, uint64_t *ns, uint64_t max);

/* Keep the frames of a host in a buffer, as records of pcap with nanoseconds. */
int ust_sim_capture(struct ust_sim *sim, int host, int on);
/* Takes the buffer's bytes: how many were copied. */
uint64_t ust_sim_captured(struct ust_sim *sim, int host, uint8_t *buf, uint64_t size);
