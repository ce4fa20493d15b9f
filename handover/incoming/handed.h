/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of the agent of a kernel that kexec has started: agent_handed.c, agent_disk.c, agent_back.c. */
#ifndef KHO_INCOMING_HANDED_H
#define KHO_INCOMING_HANDED_H

#include "handover/incoming/agent_impl.h"
#include "handover/kexec/handed.h"

struct kho_handed {
	struct kho_agent a;
	KhoHanded__State *s;
	bool luo;
	int session;  /* of the Live Update Orchestrator, or -1 */
	int *fd;      /* luo: of each file of s, or -1 */
	bool bound;   /* initrd: its images lie on images_dir */
	bool fetched; /* those on a disk are in images_dir */
	bool hurried; /* this kernel does not let its grace periods take their time */
};

/* Where file i belongs, below images_dir; malloc'd, NULL: out of memory. */
char *kho_handed_path(const struct kho_handed *h, size_t i);

/* luo: file i out of the session, into fd[i]; nothing when it is there. */
int kho_handed_take(struct kho_handed *h, size_t i, struct kho_err *err) __must_check;

/* What lies on a disk, into images_dir; once, nothing when all has come through memory. Its file system must be mounted. -EBADMSG: it is damaged. */
int kho_handed_fetch(struct kho_handed *h, struct kho_err *err) __must_check;
/* It is needed no more: gone from images_dir and from the disk. What cannot be removed is told. */
void kho_handed_drop(struct kho_handed *h);

/*
 * It cannot go on here (why): what was restored is discarded, and the kernel before is started again with all that it had handed over. Returns only
 * when that cannot be done, either.
 */
int kho_handed_back(struct kho_handed *h, const struct kho_err *why, struct kho_err *err);

#endif
