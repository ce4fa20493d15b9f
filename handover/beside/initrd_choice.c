// SPDX-License-Identifier: GPL-2.0-only
/* Whose initramfs.  See handover/beside/initrd_choice.h. */
#include "handover/beside/initrd_choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define FIX_MAX 400

const char *kho_initramfs_name(enum kho_initramfs kind)
{
	static const char *const names[] = {
		[KHO_INITRAMFS_NONE] = "none",
		[KHO_INITRAMFS_KHOCTL] = "khoctl",
		[KHO_INITRAMFS_HOST] = "host",
		[KHO_INITRAMFS_GIVEN] = "given",
	};

	return names[kind];
}

/* By the generator that is there; over: the one that is there, or NULL (dracut then chooses where, by the boot loader). */
static void fix_for(const char *sysroot, const char *release, const char *over, char out[FIX_MAX])
{
	_cleanup_free_ char *tools = kho_sysroot_path(sysroot, "/usr/sbin/update-initramfs"),
			    *dracut = kho_sysroot_path(sysroot, "/usr/bin/dracut");

	if (tools && kho_exists(tools))
		snprintf(out, FIX_MAX, "update-initramfs -%c -k %.100s", over ? 'u' : 'c', release);
	else if (dracut && kho_exists(dracut) && over)
		snprintf(out, FIX_MAX, "dracut --force %.200s %.100s", over, release);
	else if (dracut && kho_exists(dracut))
		snprintf(out, FIX_MAX, "dracut --kver %.100s", release);
	else
		snprintf(out, FIX_MAX, "initramfs = khoctl in khoctl.conf, or install initramfs-tools or dracut");
}

static void own(struct kho_initramfs_choice *c, const char *why)
{
	c->kind = KHO_INITRAMFS_KHOCTL;
	snprintf(c->reason, sizeof(c->reason), "%.299s", why);
}

int kho_initramfs_drop(struct kho_initramfs_choice *c, const char *why, const char *fix, struct kho_report *r)
{
	int ret = kho_report_add(r, c->asked ? KHO_V_NO : KHO_V_LOSS, "initramfs", c->path ? c->path : "host", fix,
				 "%s%s", why, c->asked ? "" : ": khoctl's own is used alone");

	kho_initrd_done(&c->initrd);
	own(c, why);
	return ret;
}

static int open_it(struct kho_initramfs_choice *c, const char *fix, struct kho_report *r)
{
	struct kho_err why = KHO_ERR_INIT;

	return kho_initrd_open(c->path, &c->initrd, &why) < 0 ? kho_initramfs_drop(c, why.msg, fix, r) : 0;
}

static int choose_host(struct kho_initramfs_choice *c, const char *sysroot, const char *release, struct kho_report *r)
{
	char fix[FIX_MAX], text[256];

	c->path = kho_initrd_find(sysroot, release);
	if (!c->path) {
		snprintf(text, sizeof(text), "no initrd of %.120s in /boot", release);
		fix_for(sysroot, release, NULL, fix);
		if (c->asked)
			return kho_initramfs_drop(c, text, fix, r);
		own(c, text);
		return 0;
	}
	c->kind = KHO_INITRAMFS_HOST;
	fix_for(sysroot, release, c->path, fix);
	snprintf(c->reason, sizeof(c->reason), c->asked ? "asked for" : "the host's own has what its root needs");
	return open_it(c, fix, r);
}

int kho_initramfs_choose(const char *mode, const char *given, const char *sysroot, const char *release,
			 bool root_in_ram, bool jumps, struct kho_initramfs_choice *out, struct kho_report *r)
{
	*out = (struct kho_initramfs_choice){ 0 };
	if (given) {
		out->kind = KHO_INITRAMFS_GIVEN;
		out->asked = true;
		out->path = strdup(given);
		snprintf(out->reason, sizeof(out->reason), "initrd in khoctl.conf");
		return out->path ? open_it(out, "name another with initrd = in khoctl.conf, or none", r) : -ENOMEM;
	}
	if (mode && !strcmp(mode, "khoctl")) {
		own(out, "asked for");
		return 0;
	}
	out->asked = mode && !strcmp(mode, "host");
	if (!out->asked && root_in_ram) {
		own(out, "the root is in RAM and goes along whole");
		return 0;
	}
	/* the host's has nothing more that would be used before the root is there: this machine's drivers, with their firmware, are in both */
	if (!out->asked && jumps) {
		own(out, "what is loaded is unpacked in the blackout");
		return 0;
	}
	return choose_host(out, sysroot, release, r);
}

void kho_initramfs_choice_done(struct kho_initramfs_choice *c)
{
	free(c->path);
	kho_initrd_done(&c->initrd);
	*c = (struct kho_initramfs_choice){ 0 };
}
