/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An append-only file with two copies: one in RAM (run_dir, tmpfs), written at once, and one on
 * disk (state_dir), synced.  While the disk is away (frozen file systems in the blackout) only the
 * RAM copy is written; the disk copy catches up when it is back.  Threads may append at the same
 * time.
 */
#ifndef KHO_LOGFILE_H
#define KHO_LOGFILE_H

#include <stddef.h>

#include "lib/err.h"
#include "state-serializers/serializer.h"

struct kho_logfile;

/* Begin both copies anew; the disk copy of before becomes NAME.prev. */
int kho_logfile_create(const char *run_dir, const char *state_dir, const char *name,
		       struct kho_logfile **out, struct kho_err *err) __must_check;
/*
 * Go on in the RAM copy of a process that died: `bytes` of it are good, what follows them is cut
 * off. Begins with the disk away; when it is back its copy is written anew.
 */
int kho_logfile_resume(const char *run_dir, const char *state_dir, const char *name,
		       const struct kho_blob *bytes, struct kho_logfile **out,
		       struct kho_err *err) __must_check;
/* Append to the RAM copy and, when the disk is here, to the disk copy (fsync when sync). */
int kho_logfile_append(struct kho_logfile *l, const void *data, size_t len, bool sync,
		       struct kho_err *err) __must_check;
/* The disk goes away: nothing on it is touched until back. */
void kho_logfile_away(struct kho_logfile *l);
/* The disk is back: write what it missed. */
int kho_logfile_back(struct kho_logfile *l, struct kho_err *err) __must_check;
/* A copy of everything written so far. */
int kho_logfile_bytes(struct kho_logfile *l, struct kho_blob *out,
		      struct kho_err *err) __must_check;
/* Close; the files stay. NULL is fine. */
void kho_logfile_free(struct kho_logfile *l);

#endif
