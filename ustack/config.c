/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration: settings by name, from the one table in base/settings.h, and
 * the injected entropy.                                                     */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tcp/cc.h"

struct row {
    const char *name, *help;
    size_t offset;
    int64_t defaults[2], lo, hi;
    uint32_t flags;
};

enum profile { PROFILE_LINUX, PROFILE_RFC };

static const struct row rows[] = {
#define X(field, name, linux_default, rfc_default, lo, hi, flags, help)                            \
    {name, help, offsetof(struct settings, field), {linux_default, rfc_default}, lo, hi, flags},
    SETTINGS(X)
#undef X
};

enum { N_ROWS = sizeof rows / sizeof rows[0] };

/* Settings whose values have names. */
static const struct {
    size_t offset;
    const char *const *choices;
} named[] = {
    {offsetof(struct settings, tcp_congestion), cc_names},
};

/* strcmp() would tie the engine to a C library. */
static bool same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static const struct row *find(const char *name)
{
    for (unsigned i = 0; i < N_ROWS; i++)
        if (same(rows[i].name, name))
            return &rows[i];
    return NULL;
}

static const char *const *choices(const struct row *row)
{
    for (unsigned i = 0; i < sizeof named / sizeof named[0]; i++)
        if (named[i].offset == row->offset)
            return named[i].choices;
    return NULL;
}

static int64_t *field(struct settings *set, const struct row *row)
{
    return (int64_t *)((char *)set + row->offset);
}

int settings_set(struct settings *set, const char *name, int64_t value, bool live)
{
    const struct row *row = find(name);

    if (!row)
        return -ENOENT;
    if (live && !(row->flags & UST_CONFIG_LIVE))
        return -EBUSY;
    if (value < row->lo || value > row->hi)
        return -ERANGE;
    *field(set, row) = value;
    return 0;
}

int settings_get(const struct settings *set, const char *name, int64_t *value)
{
    const struct row *row = find(name);

    if (!row)
        return -ENOENT;
    *value = *field((struct settings *)set, row);
    return 0;
}

struct ust_config *ust_config_new(const char *profile)
{
    enum profile p = PROFILE_LINUX;
    struct ust_config *cfg;

    if (profile && same(profile, "rfc"))
        p = PROFILE_RFC;
    else if (profile && !same(profile, "linux"))
        return NULL;
    cfg = calloc(1, sizeof *cfg);
    if (!cfg)
        return NULL;
    for (unsigned i = 0; i < N_ROWS; i++)
        *field(&cfg->set, &rows[i]) = rows[i].defaults[p];
    return cfg;
}

void ust_config_free(struct ust_config *cfg)
{
    free(cfg);
}

int ust_config_set(struct ust_config *cfg, const char *name, int64_t value)
{
    return settings_set(&cfg->set, name, value, false);
}

int ust_config_get(const struct ust_config *cfg, const char *name, int64_t *value)
{
    return settings_get(&cfg->set, name, value);
}

int ust_config_row(const struct ust_config *cfg, unsigned i, struct ust_config_row *row)
{
    if (i >= N_ROWS)
        return -ENOENT;
    *row = (struct ust_config_row){.name = rows[i].name,
                                   .help = rows[i].help,
                                   .value = *field((struct settings *)&cfg->set, &rows[i]),
                                   .min = rows[i].lo,
                                   .max = rows[i].hi,
                                   .flags = rows[i].flags,
                                   .choices = choices(&rows[i])};
    return 0;
}

int64_t ust_config_choice(const char *name, const char *choice)
{
    const struct row *row = find(name);
    const char *const *names = row ? choices(row) : NULL;

    for (int64_t i = 0; names && names[i]; i++)
        if (same(names[i], choice))
            return row->lo + i;
    return -ENOENT;
}

void ust_config_entropy(struct ust_config *cfg, uint64_t seed, const uint8_t secret[32])
{
    cfg->seed = seed;
    memcpy(cfg->secret, secret, sizeof cfg->secret);
}
