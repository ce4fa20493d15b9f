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
#include <sys/types.h>

#include "lib/err.h"

#define KHO_LUO_DEVICE "/dev/liveupdate"

/*
 * Has this kernel one, and can it be had? One process at a time can; who has it for a moment (systemd, khoctl check) is waited for, a second.
 * -ENOENT: no; -EBUSY: somebody keeps it, who is named. The same of kho_luo_create() and kho_luo_open().
 */
int kho_luo_available(struct kho_err *err) __must_check;

struct kho_luo_who {
	pid_t pid;     /* 0: nobody */
	char name[16]; /* what it is called */
};
struct kho_luo_use {
	struct kho_luo_who holder; /* has the device open */
	struct kho_luo_who owner;  /* has a session open that is not khoctl's; the lowest number of those that have */
	char session[64];	   /* its name */
};
/* Who, but this process, uses it now, as far as /proc shows. device: KHO_LUO_DEVICE, or what stands for it in a test. */
void kho_luo_look(const char *device, struct kho_luo_use *out);

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
