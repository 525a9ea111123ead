/* SPDX-License-Identifier: BSD-3-Clause */
/* A hash flood (ROBUSTNESS S39): an attacker who knows an engine's key adds flows
 * that share a slot of its flow table, to it and to a table whose key
 * is another. The longest chain of slots in use tells what a look-up costs.
 * Sources: base/flowtable.c base/siphash.c */
#include "base/flowtable.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/siphash.h"
#include "check.h"

enum { SLOTS = 1 << 15, FLOWS = 8192 };

static const struct siphash_key known = {1, 2}, secret = {3, 4};

/* The longest run of slots that a look-up may have to walk. */
static unsigned longest_run(const struct flowtable *ft)
{
    unsigned run = 0, most = 0;

    for (uint32_t i = 0; i < 2 * SLOTS; i++) {
        run = ft->slots[i & (SLOTS - 1)].value == FLOWTABLE_NONE ? 0 : run + 1;
        most = run > most && run < SLOTS ? run : most;
    }
    return most;
}

static unsigned flood(const struct siphash_key *key)
{
    struct flow_slot *slots = calloc(SLOTS, sizeof *slots);
    struct flowtable ft;
    uint32_t n = 0, most;

    flowtable_init(&ft, slots, SLOTS);
    for (uint64_t tuple = 0; n < FLOWS; tuple++)
        if ((siphash13(&known, &tuple, sizeof tuple) & (SLOTS - 1)) <
            64) /* chosen by the known key */
            CHECK(flowtable_insert(&ft, (uint32_t)siphash13(key, &tuple, sizeof tuple), n++) == 0);
    CHECK(flowtable_check(&ft) == 0);
    most = longest_run(&ft);
    free(slots);
    return most;
}

static void colliding_flows_pile_up_under_a_key_that_is_known(void)
{
    CHECK(flood(&known) >= FLOWS);
}

static void they_do_not_under_a_key_that_is_not(void)
{
    CHECK(flood(&secret) <= 16); /* a quarter full: 8192 flows that no one chose do as well */
}

int main(void)
{
    RUN(colliding_flows_pile_up_under_a_key_that_is_known);
    RUN(they_do_not_under_a_key_that_is_not);
    return 0;
}
