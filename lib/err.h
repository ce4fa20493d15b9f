/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One error idiom for all user space: int f(..., struct kho_err *err) gives 0 (or a positive
 * result) or a negative errno, and fills *err exactly when it gives a negative one.  Libraries never
 * print; the verb prints once.  No allocation: it also works inside the blackout.
 */
#ifndef KHO_LIB_ERR_H
#define KHO_LIB_ERR_H

#include <errno.h>

#define __must_check __attribute__((warn_unused_result))

struct kho_err {
	int code;		/* negative errno, 0 = none */
	char msg[508];		/* "freeze redis: criu dump: ..."; ends with the fix, where there is one */
};

#define KHO_ERR_INIT { 0 }

/* Fill err (may be NULL) and return code (negative errno; a positive or zero one becomes -EIO). */
int kho_fail(struct kho_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: takes errno, appends ": strerror". Returns -errno. */
int kho_fail_errno(struct kho_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prefix context ("freeze redis") to a filled err on the way up; returns err->code. */
int kho_wrap(struct kho_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * For an undo that goes on after a failure: if rc < 0 and *first is 0, remember rc and copy *from
 * to *err (may be NULL).
 */
void kho_first_failure(int rc, const struct kho_err *from, int *first, struct kho_err *err);

#endif
