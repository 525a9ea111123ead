/* SPDX-License-Identifier: BSD-3-Clause */
/* asyncio transports in C: what the files of this directory share.
 *
 *   dispatcher.c  gives the engine its turn
 *   round.c       one round of it: a burst in, callbacks
 *   listener.c    accepts connections
 *   transport.c   the asyncio.Transport surface: methods and attributes
 *   endpoint.c    what both are: a handle and the references behind it
 *   stream.c      one connection's life: open, events, loss
 *   read.c        its bytes in
 *   write.c       its bytes out, and flow control
 *   message.c     the bytes objects of small messages
 *   datagram.c    UDP sockets
 *   watch.c       sockets that an application reads and writes itself
 *   opening.c     the dispatcher's methods that make all of these
 *   callback.c    calls of protocols, and what becomes of exceptions
 *   module.c      ustack._aio
 *
 * Threads. Everything here runs in the loop's thread and holds the GIL, but
 * for the packet I/O of round_gather(), which does not. The
 * worker's lock is taken for single engine calls, with the GIL or without;
 * nobody waits for the GIL while holding it.
 *
 * Ownership. An endpoint is a listener, a watch or a transport of either kind. While the engine knows
 * it (handle != 0) the engine holds its address as the socket's user value,
 * and the dispatcher owns a reference to it, on the list `live`. When it is
 * forgotten that reference moves to the list `gone`, and is dropped only
 * between bursts: an address that a burst carries is always good.           */
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "../worker.h"

struct dispatcher;

struct endpoint {
    PyObject_HEAD
    struct dispatcher *disp;      /* owned */
    struct endpoint *prev, *next; /* on live; on gone only next */
    struct endpoint *again_next;  /* on again, when on_again */
    ust_handle handle;            /* 0: unknown to the engine */
    PyObject *factory;            /* of protocols, or NULL */
    PyObject *server;             /* counts a listener's transports; or NULL */
    PyObject *sock;               /* the application's object, adopted; or NULL */
    PyObject *context;            /* of contextvars: callbacks run in it; or NULL */
    PyObject *weakrefs;
    bool on_again;
};

/* What stream_take() has received for one event; len 0: nothing. */
struct taken {
    uint32_t at; /* in the inbox */
    uint16_t len;
    bool more; /* the socket stays readable */
};

struct dispatcher {
    PyObject_HEAD
    struct ust_worker *worker; /* NULL once detached */
    struct ust_engine *engine;
    PyObject *loop;
    PyObject *owner;              /* keeps worker and engine alive */
    PyObject *call_soon;          /* loop.call_soon */
    PyObject *ready;              /* loop._ready, or NULL */
    struct endpoint *live;        /* references, in no order */
    struct endpoint *gone;        /* references to drop after the burst */
    struct endpoint *again_first; /* references: to be served without event */
    struct endpoint *again_last;
    PyObject *when_called; /* by an application while asleep; or NULL */
    bool asleep;           /* the loop may sleep, and wants to know */
    unsigned n_batch, at;  /* batch[at..n_batch) is still to be delivered */
    bool polling;
    PyThreadState *thread; /* that delivers */
    PyObject *context;     /* and its own context */
    PyObject *spare;       /* bytes to be used again (message.c); or NULL */
    size_t spare_class;    /* of its length; 0 without one */
    struct ust_event batch[UST_MAX_BURST];
    struct taken taken[UST_MAX_BURST];
    struct transport *writer; /* whose writes may be staged, up to write_left; or NULL */
    size_t write_left;
    bool may_stage; /* nobody waits for what the loop writes */
    uint32_t inbox_used;
    char inbox[32 * 1024];
    struct staging staging;
};

/* round.c: fills the batch; waits until end for something to put there. */
void round_gather(struct dispatcher *d, ust_time end);
/* Calls back for what is in the batch. 0, or -1 with an exception that must end the loop. */
int round_deliver(struct dispatcher *d);
/* dispatcher.c: calls when_called, and not again before the next sleep. */
void dispatcher_called(struct dispatcher *d);
/* Raises RuntimeError: another loop drives the worker. NULL */
PyObject *raise_others(struct dispatcher *d);
/* With an exception set, if so. */
bool is_detached(const struct dispatcher *d);

/* Another loop has endpoints on the worker: it alone gets what the engine reports. Under the
 * worker's lock. */
static inline bool is_others(const struct dispatcher *d)
{
    return d->worker->app_owner && d->worker->app_owner != d;
}

/* Take the worker's lock: false once the stack is closed. */
static inline bool enter(struct dispatcher *d)
{
    if (d->asleep)
        dispatcher_called(d);
    return d->worker && worker_enter(d->worker);
}

static inline void leave(struct dispatcher *d)
{
    ust_worker_unlock(d->worker);
}

struct chunk { /* bytes that the engine had no room for */
    struct chunk *next;
    PyObject *bytes;
};

struct ends {
    struct ust_addr local, remote;
    uint16_t local_port, remote_port; /* remote_port 0: there is no peer */
};

struct transport {
    struct endpoint ep;
    PyObject *protocol;      /* NULL while connecting and after the end */
    PyObject *data_received; /* or, if unbound, its function; NULL for a BufferedProtocol */
    PyObject *waiter;        /* future of an active open, else NULL */
    PyObject *socket;        /* get_extra_info("socket"), made on demand */
    struct chunk *first, *last;
    size_t first_sent;   /* bytes of *first that the engine has taken */
    size_t overflow_len; /* bytes in the chunks that it has not */
    PyObject *unread;    /* bytes that were received and are still to be delivered; or NULL */
    size_t high, low;    /* limits of overflow_len */
    struct ends ends;
    bool unbound; /* data_received is called with the protocol first */
    union {
        uint64_t special; /* not 0: one of these holds */
        struct {
            bool paused;         /* reading */
            bool writing_paused; /* pause_writing() was called */
            bool closing;        /* no more reading, connection_lost will follow */
            bool eof_received;
            bool eof_wanted; /* write_eof() was called */
            bool held;       /* a file is being sent: nobody else may write */
            bool bulk;       /* the last read was longer than a message */
            bool taken;      /* a message is in the inbox */
        };
    };
};

struct datagrams {
    struct endpoint ep;
    PyObject *protocol; /* NULL before the start and after the end */
    PyObject *socket;   /* get_extra_info("socket"), made on demand */
    struct ends ends;   /* without a peer it talks to any */
    bool closing;
};

extern PyTypeObject dispatcher_type, listener_type, transport_type, datagrams_type, watch_type;

struct names { /* interned */
    PyObject *attach, *buffer_updated, *call_exception_handler, *call_soon, *detach;
    PyObject *cancelled, *connection_lost, *connection_made, *data_received;
    PyObject *datagram_received, *done, *eof_received, *error_received, *get_buffer;
    PyObject *lost, *pause_writing, *ready, *resume_writing, *set_exception, *set_result;
};
extern struct names names;
extern PyObject *protocol_class; /* asyncio.Protocol */
/* What isinstance() takes transports for, asyncio's classes; see faces.py. */
extern PyObject *stream_face, *datagram_face;

/* endpoint.c */
void endpoint_init(struct endpoint *ep, struct dispatcher *d, PyObject *factory);
/* Be in a context, and out of it again. -1 with an exception. */
int context_enter(PyObject *context);
void context_exit(PyObject *context);
/* The engine knows ep from now on as h, and the worker is ep's dispatcher's unless is_others(). Call
 * with the worker's lock held. */
void endpoint_register(struct endpoint *ep, ust_handle h);
/* The engine forgets ep; with the last, the worker is any dispatcher's. With the lock held. */
void endpoint_unregister(struct endpoint *ep);
/* Close or abort ep in the engine, which then no longer knows it. */
void endpoint_forget(struct endpoint *ep, bool abort);
/* The same when the loop lets go of the stack; its protocol hears of it. */
void endpoint_end(struct endpoint *ep);
/* Serve ep in the next round whether or not the engine reports it. */
void endpoint_again(struct endpoint *ep);
struct endpoint *endpoint_pop_again(struct dispatcher *d);
/* From live to gone; the engine is not told. */
void endpoint_unlink(struct endpoint *ep);
/* Between bursts only. */
void endpoint_drop_gone(struct dispatcher *d);
/* connection_lost(exc) of its protocol, at the loop's next turn. */
void endpoint_schedule_lost(struct endpoint *ep, PyObject *exc);
/* Asks the engine for the ends of ep, with the worker's lock held. */
void endpoint_names(struct endpoint *ep, struct ends *ends);
/* get_extra_info(name, default=None); the socket is ustack.aio.sock.KIND(ep), made once and kept
 * in *kept. */
PyObject *endpoint_extra_info(struct endpoint *ep, const struct ends *ends, PyObject **kept,
                              const char *kind, PyObject *args, PyObject *kwargs);
/* Takes *protocol away and tells it connection_lost(exc). */
PyObject *endpoint_lost(PyObject **protocol, PyObject *exc);
/* Methods _getopt(option) and _setopt(option, value). */
PyObject *endpoint_getopt(struct endpoint *ep, PyObject *arg);
/* Method _readable(): bytes, EOF or an error can be had, or it is closed. */
PyObject *endpoint_readable(struct endpoint *ep, PyObject *ignored);
PyObject *endpoint_setopt(struct endpoint *ep, PyObject *args);
int endpoint_traverse(struct endpoint *ep, visitproc visit, void *arg);
void endpoint_clear(struct endpoint *ep);

/* opening.c */
PyObject *dispatcher_connect(struct dispatcher *d, PyObject *args);
PyObject *dispatcher_adopt(struct dispatcher *d, PyObject *args);
PyObject *dispatcher_adopt_datagrams(struct dispatcher *d, PyObject *args);
PyObject *dispatcher_adopt_listener(struct dispatcher *d, PyObject *args);
PyObject *dispatcher_watch(struct dispatcher *d, PyObject *args);

/* watch.c */
struct endpoint *watch_new(struct dispatcher *d, PyObject *callback);
int watch_event(struct endpoint *ep);
/* Nobody watches it any more; the socket stays open. */
void watch_end(struct endpoint *ep);

/* datagram.c: a transport, not registered yet; or NULL with an exception */
struct datagrams *datagrams_new(struct dispatcher *d);
int datagrams_event(struct datagrams *t);
/* Closes it; connection_lost(exc) follows. */
void datagrams_end(struct datagrams *t, PyObject *exc);

/* listener.c */
int listener_event(struct endpoint *ep);

/* stream.c: 0, or -1 with an exception that must end the loop */
struct transport *stream_new(struct dispatcher *d, PyObject *factory);
/* Calls the factory for a connection that is open. -1 with its exception, and
 * the connection is gone; a KeyboardInterrupt among them. */
int stream_make_protocol(struct transport *t);
int stream_made(struct transport *t);
int stream_event(struct transport *t, const struct ust_event *ev);
/* An open connection gets its protocol; connection_made() is the caller's. */
int stream_start(struct transport *t, PyObject *protocol);
int stream_set_protocol(struct transport *t, PyObject *protocol);
void stream_close(struct transport *t);
/* Drops what the engine has not taken, and closes: with RST if that was anything. */
void stream_force_close(struct transport *t, PyObject *exc);
/* Drops the connection with RST; connection_lost(exc) follows. */
void stream_abort(struct transport *t, PyObject *exc);
/* Closes it as the kernel does with the sockets of a process that ends: what the engine has taken is
 * sent, then FIN, or RST if anything is unread. connection_lost(ECONNABORTED) follows. */
void stream_end(struct transport *t);
/* The same, with an OSError of the negative errno. 0. */
int stream_lost(struct transport *t, int64_t err);
/* Calls protocol.method(arg), arg NULL for none. */
int call_protocol(struct transport *t, PyObject *method, PyObject *arg, const char *what);

/* callback.c: protocol.method(a, b), NULL for none; the call may set another protocol. */
PyObject *call_method(PyObject *protocol, PyObject *method, PyObject *a, PyObject *b);
/* A callback of t (NULL: of another endpoint) is over. Without a result it raised: the loop is
 * told, t aborted. 0, or -1 with an exception that must end the loop. */
int call_done(struct dispatcher *d, struct transport *t, PyObject *result, const char *what);
/* The same of one that raised. */
int callback_failed(struct dispatcher *d, struct transport *t, const char *what);

/* message.c: a bytes object, for no longer than one callback; NULL with an exception */
PyObject *message_new(struct dispatcher *d, const char *p, Py_ssize_t n);
/* The callback is over: gives it back. d lives. */
void message_done(struct dispatcher *d, PyObject *bytes);

/* read.c, the same: a readable event */
int stream_read(struct transport *t, const struct ust_event *ev);
/* The event of a message in the inbox. */
int stream_message(struct transport *t, const struct ust_event *ev, const struct taken *taken);
/* Takes what the event is about into the inbox, if that is a small message. Without the GIL, with
 * the lock held. */
void stream_take(struct dispatcher *d, const struct ust_event *ev, struct taken *taken);

/* write.c: what was staged is the engine's now, or, if that refused it, in chunks. */
void stream_settle_staged(struct dispatcher *d);
static inline void stream_settle(struct dispatcher *d)
{
    if (staging_waits(&d->staging) || d->staging.failed)
        stream_settle_staged(d);
}

/* write.c, the same */
int stream_write(struct transport *t, PyObject *data);
/* Stages a write, in a callback that may. */
bool stream_stage(struct transport *t, const char *data, size_t len);
/* The engine has room again. */
int stream_drain(struct transport *t);
/* pause_writing() or resume_writing(), when a limit has been crossed. */
int stream_flow(struct transport *t);
void stream_shutdown(struct transport *t);
void stream_drop_overflow(struct transport *t);

/* module.c */
PyObject *os_error(int64_t err);       /* an OSError of -err, not raised */
PyObject *raise_os_error(int64_t err); /* NULL */
PyObject *take_exception(void);        /* the raised one, normalized; or NULL */
PyObject *address_tuple(const struct ust_addr *addr, uint16_t port);
int parse_address(PyObject *bytes, struct ust_addr *addr);
/* A numeric host and a port; -1 with an exception. */
int parse_host(const char *host, struct ust_addr *addr);
int parse_port(PyObject *number, uint16_t *port);
