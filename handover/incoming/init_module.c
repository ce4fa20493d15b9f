// SPDX-License-Identifier: GPL-2.0-only
/*
 * Load khoctl.ko in the incoming kernel.  Normally by name through modules.dep; in a root that has the
 * module but no index for it, from the places where it may lie.
 */
#include <errno.h>
#include <libkmod.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "handover/incoming/init.h"
#include "lib/io.h"

#define NODES_MS	5000

static int insert(struct kmod_ctx *ctx, const char *path)
{
	struct kmod_module *m = NULL;
	int ret = path ? kmod_module_new_from_path(ctx, path, &m) : kmod_module_new_from_name(ctx, "khoctl", &m);

	if (ret < 0)
		return ret;
	ret = kmod_module_probe_insert_module(m, 0, NULL, NULL, NULL, NULL);
	kmod_module_unref(m);
	return ret > 0 ? -EPERM : ret;	/* positive: a blacklist */
}

static int load(struct kho_err *err)
{
	static const char *const places[] = { "updates/dkms", "updates", "extra", "kernel/extra" };
	static const char *const ends[] = { "", ".xz", ".zst", ".gz" };
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct utsname u;
	char path[300];
	int ret;

	if (!ctx)
		return kho_fail(err, -ENOMEM, "libkmod");
	uname(&u);
	ret = insert(ctx, NULL);
	for (size_t i = 0; ret == -ENOENT && i < 16; i++) {
		snprintf(path, sizeof(path), "/lib/modules/%s/%s/khoctl.ko%s", u.release, places[i / 4], ends[i % 4]);
		if (kho_exists(path))
			ret = insert(ctx, path);
	}
	kmod_unref(ctx);
	if (ret == -ENOENT)
		return kho_fail(err, ret, "module khoctl is not in /lib/modules/%s", u.release);
	if (ret < 0 && ret != -EEXIST)
		return kho_fail(err, ret, "load module khoctl in %s: %s (see the kernel's messages above)", u.release,
				strerror(-ret));
	return 0;
}

int kho_init_module(struct kho_err *err)
{
	struct timespec ms = { .tv_nsec = 1000000 };
	int ret = 0;

	if (!kho_exists("/dev/khoctl"))
		ret = load(err);
	for (int i = 0; !ret && !(kho_exists("/dev/khoctl") && kho_exists("/dev/khoctl-link")); i++) {
		if (i == NODES_MS)
			return kho_fail(err, -ENODEV, "module khoctl is loaded, but /dev/khoctl does not appear");
		nanosleep(&ms, NULL);
	}
	return ret;
}
