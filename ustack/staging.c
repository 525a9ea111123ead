/* SPDX-License-Identifier: BSD-3-Clause */
/* Small writes of an event loop's callbacks, on their way to the engine. The
 * loop appends them without the lock; whoever takes it next sends them before
 * anything else, be it the loop itself, after the burst, or the guardian, when
 * a callback takes long. So a burst of answers costs one lock, and nobody who
 * has the lock can tell that they came late.
 *
 *  S1  only the loop's thread appends, and empties what is sent, under the lock
 *  S2  writes[sent .. tail) are to be sent; result is of those before
 *  S3  of one connection nothing is sent behind what was not taken in full
 *
 * Not here: what becomes of bytes that were not taken (aio/write.c).        */
#include <errno.h>

#include "worker.h"

/* S3 */
static bool has_failed(const struct staging *s, unsigned i)
{
    for (unsigned j = 0; j < i; j++)
        if (s->writes[j].handle == s->writes[i].handle && s->writes[j].result != s->writes[j].len)
            return true;
    return false;
}

void staging_send(struct ust_worker *w)
{
    struct staging *s = w->staging;
    unsigned tail = atomic_load_explicit(&s->tail, memory_order_acquire);
    unsigned i = atomic_load_explicit(&s->sent, memory_order_relaxed);

    for (; i < tail; i++) {
        struct staged *one = &s->writes[i];

        one->result = -EAGAIN;
        if (!s->failed || !has_failed(s, i))
            one->result = ust_send(w->eng, one->handle, s->bytes + one->at, one->len, 0);
        if (one->result != one->len)
            s->failed = true;
    }
    atomic_store_explicit(&s->sent, tail, memory_order_relaxed);
}

void staging_empty(struct staging *s)
{
    if (s->failed)
        return;
    atomic_store_explicit(&s->tail, 0, memory_order_relaxed);
    atomic_store_explicit(&s->sent, 0, memory_order_relaxed);
    s->used = 0;
}
