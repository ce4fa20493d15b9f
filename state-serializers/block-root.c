// SPDX-License-Identifier: GPL-2.0-only
/*
 * A carried root: what else must be below it before a process of the workload can live there.  The
 * file systems of the kernel and the tmpfs mounts are those that our init made; they are bound below the
 * new root, so that both see the same, and stay when PID 1 has entered it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

/* With all that is mounted below them. */
static const char *const shared[] = { "/proc", "/sys", "/dev", "/run" };

static bool is_below_shared(const char *path)
{
	for (size_t i = 0; i < KHO_ARRAY_SIZE(shared); i++) {
		size_t len = strlen(shared[i]);

		if (!strncmp(path, shared[i], len) && (!path[len] || path[len] == '/'))
			return true;
	}
	return false;
}

int kho_root_prepare(struct kho_env *env, const Kho__Block *b, struct kho_err *err)
{
	int ret = kho_make_dirs(kho_new_root(env), 0755, err);

	for (size_t i = 0; !ret && i < b->n_ram; i++) {
		const Kho__BlockRam *r = b->ram[i];

		ret = kho_make_dirs(r->target, 0755, err);
		if (!ret)
			ret = kho_mount_ram(r->target, r->options, env, err);
	}
	return ret;
}

static int bind(struct kho_env *env, const char *path, struct kho_err *err)
{
	char target[PATH_MAX];

	snprintf(target, sizeof(target), "%s%s", kho_new_root(env), path);
	if (mkdir(target, 0755) < 0 && errno != EEXIST)
		return kho_fail_errno(err, "make %s", target);
	return mount(path, target, NULL, MS_BIND | MS_REC, NULL) < 0
		       ? kho_fail_errno(err, "bind %s at %s", path, target)
		       : 0;
}

int kho_root_furnish(struct kho_env *env, const Kho__Block *b, struct kho_err *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(shared); i++)
		ret = bind(env, shared[i], err);
	for (size_t i = 0; !ret && i < b->n_ram; i++)
		if (!is_below_shared(b->ram[i]->target))
			ret = bind(env, b->ram[i]->target, err);
	return ret;
}

static void unbind(struct kho_env *env, const char *path)
{
	char target[PATH_MAX];

	snprintf(target, sizeof(target), "%s%s", kho_new_root(env), path);
	/* EINVAL: was not bound */
	(void)!umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
}

void kho_root_strip(struct kho_env *env, const Kho__Block *b)
{
	for (size_t i = b->n_ram; i-- > 0;)
		if (!is_below_shared(b->ram[i]->target))
			unbind(env, b->ram[i]->target);
	for (size_t i = KHO_ARRAY_SIZE(shared); i-- > 0;)
		unbind(env, shared[i]);
}
