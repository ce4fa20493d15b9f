/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * _cleanup_ for memory, file descriptors and mappings.  Machine state (offlined CPUs, frozen
 * processes ...) is NOT undone here but by the undo of a journaled step.
 */
#ifndef KHO_LIB_CLEANUP_H
#define KHO_LIB_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void kho_freep(void *p) { free(*(void **)p); }
static inline void kho_closep(int *fd) { if (*fd >= 0) close(*fd); }
static inline void kho_fclosep(FILE **f) { if (*f) fclose(*f); }
static inline void kho_closedirp(DIR **d) { if (*d) closedir(*d); }

#define _cleanup_free_ _cleanup_(kho_freep)
#define _cleanup_close_ _cleanup_(kho_closep)
#define _cleanup_fclose_ _cleanup_(kho_fclosep)
#define _cleanup_closedir_ _cleanup_(kho_closedirp)

/* Take the value out of the variable, so that its cleanup does nothing. */
#define steal_ptr(p) ({ __typeof__(p) _p = (p); (p) = NULL; _p; })
#define steal_fd(fd) ({ int _fd = (fd); (fd) = -1; _fd; })

#endif
