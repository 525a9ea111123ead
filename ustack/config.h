/* SPDX-License-Identifier: BSD-3-Clause */
/* What an engine is made from. */
#pragma once
#include <stdbool.h>

#include "base/settings.h"

struct ust_config {
    struct settings set;
    uint64_t seed;
    uint8_t secret[UST_SECRET_LEN];
};

/* -ENOENT: no such name; -ERANGE; -EBUSY: live is asked for and it is not. */
int settings_set(struct settings *set, const char *name, int64_t value, bool live);
int settings_get(const struct settings *set, const char *name, int64_t *value);
