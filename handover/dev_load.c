// SPDX-License-Identifier: GPL-2.0-only
/*
 * Load khoctl.ko into the running kernel.  Normally by name through modules.dep; in a root that has the
 * module but no index for it, from the places where it may lie.
 */
#include <libkmod.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "handover/dev.h"
#include "lib/cleanup.h"
#include "lib/io.h"

static int insert(struct kmod_ctx *ctx, const char *path)
{
	struct kmod_module *m = NULL;
	int ret = path ? kmod_module_new_from_path(ctx, path, &m) :
			 kmod_module_new_from_name(ctx, "khoctl", &m);

	if (ret < 0)
		return ret;
	ret = kmod_module_probe_insert_module(m, 0, NULL, NULL, NULL, NULL);
	kmod_module_unref(m);
	return ret > 0 ? -EPERM : ret; /* positive: a blacklist */
}

/* EPERM has three reasons. */
static int explain_eperm(const char *release, struct kho_err *err)
{
	_cleanup_free_ char *off = NULL;

	if (geteuid())
		return kho_fail(err, -EPERM, "module khoctl: only root can load it; use sudo");
	if (kho_read_line("/proc/sys/kernel/modules_disabled", &off, NULL) >= 0 && !strcmp(off, "1"))
		return kho_fail(err, -EPERM,
				"module khoctl: this kernel loads no modules any more "
				"(kernel.modules_disabled); load it before that is set");
	return kho_fail(err, -EPERM,
			"module khoctl in /lib/modules/%s is unsigned, and this kernel is locked "
			"down: it takes signed modules only; sign it with a key that the kernel "
			"trusts (mokutil --import), or lift the lockdown",
			release);
}

/* What helps, by what the kernel said. */
static int explain(int ret, const char *release, struct kho_err *err)
{
	switch (ret) {
	case -ENOENT:
		return kho_fail(err, ret,
				"module khoctl is not in /lib/modules/%s; install khoctl-dkms and "
				"the headers of this kernel",
				release);
	case -ENOEXEC:
	case -EINVAL:
		return kho_fail(err, ret,
				"module khoctl in /lib/modules/%s is built for another kernel; "
				"build it again: dkms autoinstall",
				release);
	case -EKEYREJECTED:
	case -ENOKEY:
		return kho_fail(err, ret,
				"module khoctl in /lib/modules/%s is unsigned, or signed with a key "
				"that this kernel does not trust, and it takes signed modules only "
				"(module.sig_enforce); sign it and enroll the key (mokutil --import)",
				release);
	case -EPERM:
		return explain_eperm(release, err);
	default:
		return kho_fail(err, ret, "load module khoctl for %s: %s; see dmesg", release,
				strerror(-ret));
	}
}

int kho_dev_load(struct kho_err *err)
{
	static const char *const places[] = { "updates/dkms", "updates", "extra", "kernel/extra" };
	static const char *const ends[] = { "", ".xz", ".zst", ".gz" };
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct utsname u;
	char path[300];
	int ret;

	if (!ctx)
		return kho_fail(err, -ENOMEM, "libkmod");
	kmod_set_log_priority(ctx, 0); /* it would print */
	uname(&u);
	ret = insert(ctx, NULL);
	for (size_t i = 0; ret == -ENOENT && i < 16; i++) {
		snprintf(path, sizeof(path), "/lib/modules/%s/%s/khoctl.ko%s", u.release,
			 places[i / 4], ends[i % 4]);
		if (kho_exists(path))
			ret = insert(ctx, path);
	}
	kmod_unref(ctx);
	return ret < 0 && ret != -EEXIST ? explain(ret, u.release, err) : 0;
}
