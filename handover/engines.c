// SPDX-License-Identifier: GPL-2.0-only
/* The engines there are.  See handover/engine.h. */
#include <stdlib.h>
#include <string.h>

#include "handover/beside/new.h"
#include "handover/engine.h"

const struct kho_engine_entry kho_engines[] = {
	{ "beside", kho_beside_new },
	{ NULL, NULL },
};

bool kho_initramfs_mode_is_known(const char *mode)
{
	return !strcmp(mode, "auto") || !strcmp(mode, "khoctl") || !strcmp(mode, "host");
}

void kho_engine_plan_done(struct kho_engine_plan *p)
{
	free(p->apicids_before);
	free(p->apicids_after);
	free(p->cmdline);
	free(p->initramfs);
	free(p->initramfs_path);
	free(p->initramfs_reason);
	memset(p, 0, sizeof(*p));
}
