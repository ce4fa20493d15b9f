// SPDX-License-Identifier: GPL-2.0-only
/*
 * Modules that CRIU needs, and containers, loaded beforehand: the kernel would start modprobe for each in
 * the middle of the work.
 */
#include <libkmod.h>
#include <stdarg.h>

#include "state-serializers/proc/in.h"

static void silent(void *data, int priority, const char *file, int line, const char *fn,
		   const char *format, va_list args)
{
	(void)data;
	(void)priority;
	(void)file;
	(void)line;
	(void)fn;
	(void)format;
	(void)args;
}

void kho_proc_load_modules(void)
{
	/* nfnetlink: without its socket CRIU's look at the kernel fails as a whole */
	static const char *const names[] = {
		"nfnetlink",
		"tcp_diag",  "udp_diag",     "raw_diag",       "inet_diag",
		"unix_diag", "netlink_diag", "af_packet_diag", "af_packet",
		/* what it tries out on every start: without veth it gives up */
		"veth", "tun", "nf_tables", "overlay",
	};
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);

	if (!ctx)
		return;
	kmod_set_log_fn(ctx, silent, NULL); /* a built-in one is no error */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct kmod_module *m;

		if (kmod_module_new_from_name(ctx, names[i], &m))
			continue;
		kmod_module_probe_insert_module(m, KMOD_PROBE_IGNORE_COMMAND, NULL, NULL, NULL,
						NULL);
		kmod_module_unref(m);
	}
	kmod_unref(ctx);
}
