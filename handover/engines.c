// SPDX-License-Identifier: GPL-2.0-only
/* The engines there are.  See handover/engine.h. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/new.h"
#include "handover/engine.h"
#include "handover/kexec/new.h"
#include "lib/clock.h"

const struct kho_engine_entry kho_engines[] = {
	{ "beside", kho_beside_new },
	{ "kexec", kho_kexec_new },
	{ NULL, NULL },
};

void kho_engine_phase(struct kho_engine *e, const char *name, uint64_t begin_us)
{
	if (e->phase)
		e->phase(e->event_arg, name, begin_us, kho_clock_us());
}

void kho_engine_note(struct kho_engine *e, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (!e->note)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	e->note(e->event_arg, text);
}

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
