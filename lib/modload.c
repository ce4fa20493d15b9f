// SPDX-License-Identifier: GPL-2.0-only
/* Kernel modules by name.  See lib/modload.h. */
#include "lib/modload.h"

#include <fcntl.h>
#include <libkmod.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

static void kmod_unrefp(struct kmod_ctx **c)
{
	if (*c)
		kmod_unref(*c);
}

/* text: "ifb numifbs=0" */
static int load_one(struct kmod_ctx *ctx, const char *text, struct kho_err *err)
{
	struct kmod_list *list = NULL, *l;
	const char *options = strchr(text, ' ');
	/* "install" lines of modprobe.d want a shell; options count in any case */
	unsigned flags = access("/bin/sh", X_OK) < 0 ? KMOD_PROBE_IGNORE_COMMAND : 0;
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, " "), text);
	int ret = kmod_module_new_from_lookup(ctx, name, &list);

	if (ret < 0 || !list)
		return kho_fail(err, ret < 0 ? ret : -ENOENT,
				"module %s: not found for this kernel", name);
	ret = 0;
	kmod_list_foreach (l, list) {
		struct kmod_module *m = kmod_module_get_module(l);

		ret = kmod_module_probe_insert_module(m, flags, options, NULL, NULL, NULL);
		kmod_module_unref(m);
		if (ret < 0)
			break;
	}
	kmod_module_unref_list(list);
	return ret < 0 ? kho_fail(err, ret, "module %s: %s", name, strerror(-ret)) : 0;
}

int kho_modules_load(const char *const *names, size_t n, struct kho_err *err)
{
	_cleanup_(kmod_unrefp) struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	int first = 0;

	if (!ctx)
		return kho_fail(err, -ENOMEM, "libkmod: cannot start");
	kmod_set_log_priority(ctx, 0);
	for (size_t i = 0; i < n; i++) {
		struct kho_err e = KHO_ERR_INIT;
		int ret = load_one(ctx, names[i], &e);

		kho_first_failure(ret, &e, &first, err);
	}
	return first;
}

void kho_module_unload(const char *name)
{
	(void)!syscall(SYS_delete_module, name, O_NONBLOCK);
}
