/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Live Update Orchestrator (Documentation/userspace-api/liveupdate.rst, include/uapi/linux/liveupdate.h of Linux 7.x; this machine's headers
 * may be older): sessions of files that outlive the kernel. Only files of tmpfs without a name can be in one (memfd, unlinked, O_TMPFILE).
 */
#ifndef KHO_KEXEC_LUO_H
#define KHO_KEXEC_LUO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define KHO_LUO_DEVICE "/dev/liveupdate"

/* Has this kernel one, and can it be had (one process at a time)? -ENOENT: no; -EBUSY: somebody else holds it (systemd 261 and later). */
int kho_luo_available(struct kho_err *err) __must_check;

/* Outgoing: a new session; its descriptor must stay open until the jump, to close it drops all of it. */
int kho_luo_create(const char *name, struct kho_err *err) __must_check;
/* Put a file into it, under a token of its own: its size cannot change any more; what is written to it later is carried, too. */
int kho_luo_preserve(int session, int fd, uint64_t token, struct kho_err *err) __must_check;

/* The same with a file of its own that holds these bytes. */
int kho_luo_preserve_bytes(int session, const void *data, size_t len, uint64_t token, struct kho_err *err) __must_check;

/* Incoming: the session of that name, once; -ENOENT: there is none. */
int kho_luo_open(const char *name, struct kho_err *err) __must_check;
/* The file under a token, open for reading and writing. */
int kho_luo_retrieve(int session, uint64_t token, struct kho_err *err) __must_check;
/* Everything that was not retrieved is dropped; what was stays with who has it open. */
int kho_luo_finish(int session, struct kho_err *err) __must_check;

#endif
