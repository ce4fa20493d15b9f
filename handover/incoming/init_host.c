// SPDX-License-Identifier: GPL-2.0-only
/*
 * Below khoctl's own files lies an initramfs of the host: modules that its init would have loaded
 * first are loaded here, with their options, while no PCI function is seen yet.
 */
#include <libkmod.h>
#include <string.h>
#include <unistd.h>

#include "handover/incoming/host_list.h"
#include "handover/incoming/init.h"

static void load(struct kmod_ctx *ctx, const struct kho_host_module *hm, unsigned flags)
{
	struct kmod_list *list = NULL, *l;
	int ret = kmod_module_new_from_lookup(ctx, hm->name, &list);

	if (ret < 0 || !list)
		kho_init_say("module %s of the host's initramfs: not there", hm->name);
	kmod_list_foreach (l, list) {
		struct kmod_module *m = kmod_module_get_module(l);

		ret = kmod_module_probe_insert_module(m, flags, hm->options, NULL, NULL, NULL);
		if (ret < 0)
			kho_init_say("module %s of the host's initramfs: %s", hm->name, strerror(-ret));
		kmod_module_unref(m);
	}
	kmod_module_unref_list(list);
}

void kho_init_host_modules(void)
{
	/* "install" lines of modprobe.d want a shell; options count in any case */
	unsigned flags = access("/bin/sh", X_OK) < 0 ? KMOD_PROBE_IGNORE_COMMAND : 0;
	struct kho_host_list list;
	struct kho_err err = KHO_ERR_INIT;
	struct kmod_ctx *ctx;

	if (kho_host_list_read("", &list, &err) < 0) {
		kho_init_say("%s", err.msg);
		return;
	}
	ctx = list.maker ? kmod_new(NULL, NULL) : NULL;
	if (ctx) {
		kmod_set_log_priority(ctx, 0);
		for (size_t i = 0; i < list.n; i++)
			load(ctx, &list.m[i], flags);
		kmod_unref(ctx);
		kho_init_say("the host's initramfs (%s) lies below; it lists %zu modules to load", list.maker, list.n);
	}
	kho_host_list_done(&list);
}
