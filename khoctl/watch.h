/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whoever looks at an upgrade (the terminal that began it, status --follow, a rollback): event
 * lines in, progress and the result out.
 */
#ifndef KHO_WATCH_H
#define KHO_WATCH_H

#include "khoctl/cli.h"
#include "khoctl/progress.h"

struct kho_watch {
	const struct kho_cli *c;
	struct kho_progress progress;
	int code; /* exit code once the result is known, or -1 */
	bool ask; /* the plan is shown, and an answer is waited for */
};

/* Ready to watch: to stdout, live when that is a terminal. */
void kho_watch_init(struct kho_watch *w, const struct kho_cli *c);

/* One event line, without its newline. */
void kho_watch_line(struct kho_watch *w, const char *line, size_t len);

#endif
