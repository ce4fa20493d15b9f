/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Starting a helper process that has nothing of ours: neither the terminal, nor signals that are
 * blocked or ignored, nor descriptors that somebody forgot to mark.
 */
#ifndef KHO_LIB_SPAWN_H
#define KHO_LIB_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"

/* The descriptor under which the child finds what kho_spawn() was given as fd3. */
#define KHO_SPAWN_FD	  3
#define KHO_SPAWN_FDS_MAX 64

/*
 * Start path with argv and envp (NULL: an empty environment), by posix_spawn: no copy of the page
 * tables, so that it costs the same for a large process, too. In the child
 *  - all signals are unblocked and do what they do by default (but for the two that are the C
 *    library's own);
 *  - it leads a session of its own: no Ctrl-C of our terminal, no SIGHUP with its end;
 *  - 0, 1 and 2 are /dev/null, fd3 (-1: none) is KHO_SPAWN_FD, and nothing else is open. fd3 stays
 *    open in the caller, and may be any descriptor, KHO_SPAWN_FD itself and close-on-exec included.
 * *out is the pid, which the caller has to wait for. A failure (-ENOENT: no such program) names
 * path.
 */
int kho_spawn(const char *path, char *const argv[], char *const envp[], int fd3, pid_t *out,
	      struct kho_err *err) __must_check;

/* The same with n (up to KHO_SPAWN_FDS_MAX) descriptors: fds[i] is KHO_SPAWN_FD + i in the child. */
int kho_spawn_fds(const char *path, char *const argv[], char *const envp[], const int *fds,
		  size_t n, pid_t *out, struct kho_err *err) __must_check;

/* Words of text, split at blanks: malloc'd, NULL at the end; they lie in text, which is changed. NULL: out of memory. */
char **kho_split_words(char *text);

#endif
