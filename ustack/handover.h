/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames that engines of one stack hand to each other. */
#pragma once
#include "engine.h"

/* Goes through a burst that has come from the port, or, handed, from another
 * engine: what stays is at the burst's front, how many is returned; the rest is
 * put aside. Called only if there are other engines. */
unsigned handover_sort(struct ust_engine *eng, struct mbuf **burst, unsigned n, bool handed);
