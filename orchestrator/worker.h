/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The thread that steps run in, so that the runner can watch them.  It lives as long as the
 * upgrade: helper processes with a parent-death signal must not lose their parent between two
 * steps.
 */
#ifndef KHO_WORKER_H
#define KHO_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct kho_worker;

int kho_worker_new(struct kho_worker **out, struct kho_err *err) __must_check;
/* Hand a job over; the worker must be idle. fn's err is kept until kho_worker_result. */
void kho_worker_start(struct kho_worker *w, int (*fn)(void *arg, struct kho_err *err), void *arg);
/* Wait for the end of the job, at most timeout_us; true: it has ended. */
bool kho_worker_wait(struct kho_worker *w, uint64_t timeout_us);
/*
 * Where in the kernel the thread waits ("state D, in folio_wait_bit_common"), for a job that does not end;
 * "" when that cannot be found out. Opens no file but those of /proc.
 */
void kho_worker_where(const struct kho_worker *w, char *out, size_t room);
/* What the ended job returned. */
int kho_worker_result(struct kho_worker *w, struct kho_err *err);
/* End it. A busy one cannot be ended: it is left behind, with its memory. NULL is fine. */
void kho_worker_free(struct kho_worker *w);

#endif
