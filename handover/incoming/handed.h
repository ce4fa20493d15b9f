/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of the agent of a kernel that kexec has started: agent_handed.c, agent_back.c. */
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
};

/* luo: file i out of the session, into fd[i]; nothing when it is there. */
int kho_handed_take(struct kho_handed *h, size_t i, struct kho_err *err) __must_check;

/*
 * It cannot go on here (why): what was restored is discarded, and the kernel before is started again with all that it had handed over. Returns only
 * when that cannot be done, either.
 */
int kho_handed_back(struct kho_handed *h, const struct kho_err *why, struct kho_err *err);

#endif
