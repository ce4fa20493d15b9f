/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The self-test of CRIU on this kernel: what `criu check` says is not enough.
 */
#ifndef KHO_PROC_SELFTEST_H
#define KHO_PROC_SELFTEST_H

#include "lib/err.h"
#include "lib/report.h"

/*
 * Dump and restore a small process of our own with an established TCP pair over loopback, a UNIX
 * pair, a pipe and an open file, and see that data still flows. Works below scratch_dir (a tmpfs,
 * ours alone), leaves nothing. The verdict goes to r; a negative result means that it could not be
 * tried.
 */
int kho_proc_selftest(const char *scratch_dir, struct kho_report *r,
		      struct kho_err *err) __must_check;

#endif
