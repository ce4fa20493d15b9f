// SPDX-License-Identifier: GPL-2.0-only
/*
 * Below khoctl's own files lies an initramfs of the host: modules that its init would have loaded
 * first are loaded here, with their options, while no PCI function is seen yet.
 */
#include <libkmod.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "handover/incoming/init.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define LIST_MAX (1u << 20)

static void load(struct kmod_ctx *ctx, const char *name, const char *options, unsigned flags)
{
	struct kmod_list *list = NULL, *l;
	int ret = kmod_module_new_from_lookup(ctx, name, &list);

	if (ret < 0 || !list)
		kho_init_say("module %s of the host's initramfs: not there", name);
	kmod_list_foreach (l, list) {
		struct kmod_module *m = kmod_module_get_module(l);

		ret = kmod_module_probe_insert_module(m, flags, options, NULL, NULL, NULL);
		if (ret < 0)
			kho_init_say("module %s of the host's initramfs: %s", name, strerror(-ret));
		kmod_module_unref(m);
	}
	kmod_module_unref_list(list);
}

/* "name options" a line, # comments */
static unsigned load_list(struct kmod_ctx *ctx, const char *path, unsigned flags)
{
	_cleanup_free_ char *text = NULL;
	unsigned n = 0;
	char *save = NULL;

	if (kho_read_file(path, LIST_MAX, &text, NULL, NULL) < 0)
		return 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *options;

		line += strspn(line, " \t");
		if (!*line || strchr("#;", *line))
			continue;
		options = line + strcspn(line, " \t");
		if (*options)
			*options++ = '\0';
		load(ctx, line, options + strspn(options, " \t"), flags);
		n++;
	}
	return n;
}

void kho_init_host_modules(void)
{
	/* of initramfs-tools; of dracut, which says by the second name that it is no root file system */
	const char *pattern = kho_exists("/conf/modules")	? "/conf/modules"
			      : kho_exists("/etc/initrd-release") ? "/etc/modules-load.d/*.conf"
								  : NULL;
	/* "install" lines of modprobe.d want a shell; options count in any case */
	unsigned n = 0, flags = access("/bin/sh", X_OK) < 0 ? KMOD_PROBE_IGNORE_COMMAND : 0;
	struct kmod_ctx *ctx = pattern ? kmod_new(NULL, NULL) : NULL;
	glob_t g = { 0 };

	if (!ctx)
		return;
	kmod_set_log_priority(ctx, 0);
	if (glob(pattern, 0, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			n += load_list(ctx, g.gl_pathv[i], flags);
	globfree(&g);
	kmod_unref(ctx);
	kho_init_say("the host's initramfs lies below; it lists %u modules to load", n);
}
