/* SPDX-License-Identifier: BSD-3-Clause */
/* Local ports with which the answers to an active open come to the engine that
 * opens; see spread.h.
 *
 * Gaussian elimination over the 16 bits of a port, once for each rule, gives a port
 * for each step between buckets of one class, and those ports that make no step
 * (the kernel). The ports for one bucket are then one of them XOR all sums of the
 * kernel: each is found in a few steps, without a search, and each is found once.
 *
 * The order in which they are tried, and whether they are free, is the caller's. */
#include "spread.h"

enum { V4_SPORT = 8, V6_SPORT = 32 }; /* where the ports are in what is hashed */

/* ------------------------------------------------------- the map */

/* What a local port alone does to the bucket. */
static uint32_t step_of(const struct spread_rule *rule, uint32_t sport_at, uint16_t port)
{
    uint8_t tuple[RSS_TUPLE_MAX] = {0};

    put16(tuple + sport_at + 2, port);
    if (rule->rss.fields & UST_RSS_XOR)
        put16(tuple + sport_at, port);
    return rss_table_hash(&rule->table, tuple, sport_at + 4) & (rule->rss.n_reta - 1u);
}

uint32_t affinity_class(const struct port_map *map, uint32_t bucket, uint16_t *port)
{
    for (unsigned b = RETA_BITS; b-- > 0;) {
        if (!(bucket >> b & 1) || !map->image[b])
            continue;
        bucket ^= map->image[b];
        if (port)
            *port ^= map->made_by[b];
    }
    return bucket;
}

static void solve(const struct spread_rule *rule, struct port_map *map, uint32_t sport_at)
{
    for (unsigned i = 0; i < PORT_BITS; i++) {
        uint16_t port = (uint16_t)(1u << i);
        uint32_t left = affinity_class(map, step_of(rule, sport_at, port), &port);

        if (left == 0) {
            map->kernel[map->n_kernel++] = port;
            continue;
        }
        for (unsigned b = 0; b < RETA_BITS; b++)
            if (left >> b == 1) {
                map->image[b] = (uint16_t)left;
                map->made_by[b] = port;
            }
    }
}

/* Is there a port of the ephemeral range for each step between two buckets? */
static bool covers(const struct spread_rule *rule, const struct port_map *map, uint32_t sport_at,
                   const struct settings *set)
{
    bool seen[UST_MAX_RETA] = {false};
    uint32_t missing = 1u << (PORT_BITS - map->n_kernel);

    for (int64_t port = set->tcp_port_min; missing && port <= set->tcp_port_max; port++) {
        uint32_t step = step_of(rule, sport_at, (uint16_t)port);

        missing -= !seen[step];
        seen[step] = true;
    }
    return missing == 0;
}

/* Takes the buckets of one class: which are ours, and who has any. */
static void take_class(const struct spread_rule *rule, struct port_map *map, uint32_t cls,
                       bool covered)
{
    uint8_t seen[UST_MAX_ENGINES] = {0};
    uint32_t others = 0;

    map->first[cls] = cls ? map->first[cls - 1] + map->count[cls - 1] : 0;
    map->count[cls] = 0;
    if (affinity_class(map, cls, NULL) != cls)
        return;
    for (uint32_t i = 0; i < rule->rss.n_reta; i++) {
        if (affinity_class(map, i, NULL) != cls)
            continue;
        others += !seen[rule->rss.reta[i]];
        seen[rule->rss.reta[i]] = 1;
        if (rule->rss.reta[i] == rule->rss.engine)
            map->mine[map->first[cls] + map->count[cls]++] = (uint16_t)i;
    }
    map->uneven[cls] = !covered || others < rule->n_parts;
    map->any_uneven |= map->uneven[cls];
}

static void find_parts(struct spread_rule *rule)
{
    bool seen[UST_MAX_ENGINES] = {false};

    for (uint32_t i = 0; i < rule->rss.n_reta; i++)
        seen[rule->rss.reta[i]] = true;
    rule->n_parts = 0;
    rule->part = -1;
    for (unsigned i = 0; i < rule->rss.n_engines; i++) {
        if (!seen[i])
            continue;
        if (i == rule->rss.engine)
            rule->part = (int32_t)rule->n_parts;
        rule->parts[rule->n_parts++] = (uint8_t)i;
    }
}

void affinity_init(struct spread_rule *rule, const struct settings *set)
{
    struct port_map *const maps[] = {&rule->v4, &rule->v6};
    bool covered;

    find_parts(rule);
    for (unsigned v6 = 0; v6 < 2; v6++) {
        memset(maps[v6], 0, sizeof *maps[v6]);
        solve(rule, maps[v6], v6 ? V6_SPORT : V4_SPORT);
        covered = covers(rule, maps[v6], v6 ? V6_SPORT : V4_SPORT, set);
        for (uint32_t cls = 0; cls < rule->rss.n_reta; cls++)
            take_class(rule, maps[v6], cls, covered);
    }
}

/* ------------------------------------------------------- ports */

static struct port_set every(const struct net *net, uint32_t step, uint32_t part)
{
    const struct settings *set = &net->core.set;
    uint32_t lo = (uint32_t)set->tcp_port_min, hi = (uint32_t)set->tcp_port_max;
    struct port_set all = {.n = 1, .lo = lo, .hi = hi >= lo ? hi : lo, .step = step};

    all.lo += (part + step - lo % step) % step;
    all.n = all.hi >= all.lo ? (all.hi - all.lo) / step + 1 : 0;
    return all;
}

bool affinity_is_named(const struct net *net, uint16_t port)
{
    return port >= net->core.set.tcp_port_min && port <= net->core.set.tcp_port_max;
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* Steps of this length round n places come to each of them, those before and after
 * a step far from each other: neighbours would be in the range, or outside, alike. */
static uint32_t golden_step(uint32_t n)
{
    uint32_t step = (uint32_t)(n * 0x9e3779b9ull >> 32);

    while (gcd(n, step) > 1)
        step++;
    return step;
}

struct port_set affinity_ports(const struct net *net, uint8_t proto, const struct flow_key *key)
{
    const struct spread_rule *rule = &net->spread->now;
    struct frame_flow f = {.key = *key, .proto = proto};
    const struct port_map *map = affinity_map(rule, addr_is_v4(&key->remote));
    struct port_set set = every(net, 1, 0);
    uint32_t bucket, cls;

    if (net->n_engines <= 1 || rule->part < 0)
        return set;
    if (!spread_has_ports(rule, proto))
        return every(net, rule->n_parts, (uint32_t)rule->part);
    if (addr_is_any(&key->remote) || net_own(net, &key->remote))
        return set;
    f.key.lport = 0;
    bucket = spread_bucket(rule, &f);
    cls = affinity_class(map, bucket, NULL);
    if (map->uneven[cls])
        return every(net, rule->n_parts, (uint32_t)rule->part);
    set.map = map;
    set.bucket = bucket;
    set.cls = cls;
    set.n = (uint32_t)map->count[cls] << map->n_kernel;
    set.step = golden_step(set.n);
    return set;
}

uint16_t affinity_port(const struct port_set *set, uint32_t i)
{
    const struct port_map *map = set->map;
    uint32_t n, sum;
    uint16_t port = 0;

    if (!map)
        return (uint16_t)(set->lo + i * set->step);
    n = map->count[set->cls];
    i = (uint32_t)((uint64_t)i * set->step % set->n);
    affinity_class(map, set->bucket ^ map->mine[map->first[set->cls] + i % n], &port);
    sum = i / n;
    for (unsigned k = 0; sum; k++, sum >>= 1)
        if (sum & 1)
            port ^= map->kernel[k];
    return port >= set->lo && port <= set->hi ? port : 0;
}
