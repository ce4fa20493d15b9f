/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Containers of the system's podman, as containers/storage keeps them on disk: name -> id ->
 * process. podman itself is not asked, so that it also works below a recorded tree.
 */
#ifndef KHO_LIB_CONTAINER_H
#define KHO_LIB_CONTAINER_H

#include <sys/types.h>

#include "lib/err.h"

/* Length of a container's id, with NUL. */
#define KHO_CONTAINER_ID_LEN 65

/* The id of the container called name. -ENOENT: there is none (err is filled). */
int kho_container_id(const char *sysroot, const char *name, char out[KHO_CONTAINER_ID_LEN],
		     struct kho_err *err) __must_check;

/*
 * *out: the container's first process, *monitor: its conmon, which passes on what it says and
 * hears of its end; each 0 when there is none.
 */
int kho_container_pids(const char *sysroot, const char *name, pid_t *out, pid_t *monitor,
		       struct kho_err *err) __must_check;

#endif
