/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the running or the last upgrade is, out of lock and journal alone: what status, rollback
 * and whoever else asks decide by.
 */
#ifndef KHO_PAST_H
#define KHO_PAST_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum kho_past_state {
	KHO_PAST_NONE,	      /* no upgrade has been run */
	KHO_PAST_RUNNING,     /* a khoctl works on it */
	KHO_PAST_INTERRUPTED, /* its khoctl died before the commit: to be undone */
	KHO_PAST_HANDED,      /* its khoctl died after the commit: this kernel waits for its end */
	KHO_PAST_WAITING,     /* this kernel came out of it, and the outgoing one has not ended yet */
	KHO_PAST_REBOOTED,    /* the machine was restarted in its middle: nothing is left of it */
	KHO_PAST_ENDED,	      /* with the report's outcome */
};

struct kho_past {
	enum kho_past_state state;
	pid_t pid;		 /* running: who does it */
	pid_t author;		 /* who began, or last took up, what the journal tells of */
	char step[32];		 /* running: where it is; interrupted, handed: where it died */
	bool planning;		 /* running, and nothing is recorded of it yet */
	bool is_signed, undoing; /* committed; being undone */
	bool hidden; /* who asks may not read it */
	bool panicked; /* the outgoing kernel; the incoming one has done what was left */
	const char *lost; /* rebooted, and told so at the next boot: what that cost; else "" */
	struct json_object *records, *report; /* of the journal, or NULL */
};

/* Look, below sysroot ("": this machine); kho_past_done afterwards. */
void kho_past_read(struct kho_past *p, const char *sysroot);
void kho_past_done(struct kho_past *p);

/* Of the running kernel; 1: firmware booted it; 0: not known. */
int64_t kho_own_generation(const char *sysroot);

/* "none", "running", ... as in `khoctl status --json`. */
const char *kho_past_name(enum kho_past_state state);

/* What to type next, or "". */
const char *kho_past_advice(const struct kho_past *p);

#define _cleanup_past_ __attribute__((cleanup(kho_past_done)))

#endif
