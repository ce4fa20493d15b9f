/* SPDX-License-Identifier: GPL-2.0-only */
/* The kexec engine on a recorded machine. */
#ifndef KHO_TEST_KEXEC_RIG_H
#define KHO_TEST_KEXEC_RIG_H

#include "handover/kexec/kexec.h"

static struct kho_engine *engine;

/* words: what the operator adds to the command line */
static inline int rig_setup(const char *words)
{
	static struct kho_engine_request rq = {
		.image = "/nowhere",
		.sysroot = "tests/sysroots/vm-4cpu",
		.run_dir = "/run/khoctl",
	};

	rq.extra_cmdline = words;
	return kho_kexec_new(&rq, &engine, NULL);
}

static inline int rig_teardown(void **state)
{
	(void)state;
	engine->ops->free(engine);
	return 0;
}

#endif
