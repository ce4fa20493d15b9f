/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of serializer-check share: facts, and an environment whose devices only pretend to
 * change hands.
 */
#ifndef KHO_TESTS_SERIALIZER_CHECK_H
#define KHO_TESTS_SERIALIZER_CHECK_H

#include <stdbool.h>

#include "lib/err.h"
#include "state-serializers/serializer.h"

extern struct kho_env check_env;
/* pci_take unbinds and binds the device, so that its driver makes everything anew */
extern bool check_rebind;

/* Print a fact; one that does not hold makes the whole program fail. */
void fact(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The fact that a call returned no error; e says what it was. */
void must(int ret, const struct kho_err *e, const char *what);

void sleep_ms(unsigned ms);

/* The parts; see serializer_check.c. */
void check_hold(void);
void check_net(const char *peer);
void record_filter(const char *dir);
void check_block(const char *dir, const char *name, const char *type);

#endif
