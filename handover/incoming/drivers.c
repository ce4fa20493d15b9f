// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drivers of one PCI function and of what is on it, for a kernel that sees the whole machine from its first moment. Nothing else is looked for: it
 * would cost time while the workloads stand still, and whoever comes later (udev) does it.
 */
#include "handover/incoming/drivers.h"

#include <dirent.h>
#include <libkmod.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define PASSES 4 /* a function, virtio or SCSI on it, the disk on that */
#define DEPTH  8

static bool is_there(struct kmod_module *m)
{
	int state = kmod_module_get_initstate(m);

	return state == KMOD_MODULE_LIVE || state == KMOD_MODULE_BUILTIN;
}

/* By alias or name: is one of the modules that it stands for there, or could be loaded? loaded: so many more were. */
static bool bring(struct kmod_ctx *ctx, const char *alias, unsigned *loaded)
{
	struct kmod_list *list = NULL, *l;
	bool found = false;

	if (!*alias || kmod_module_new_from_lookup(ctx, alias, &list) < 0)
		return false;
	kmod_list_foreach (l, list) {
		struct kmod_module *m = kmod_module_get_module(l);

		if (!is_there(m) && kmod_module_probe_insert_module(m, KMOD_PROBE_APPLY_BLACKLIST, NULL, NULL, NULL, NULL) == 0)
			++*loaded;
		found |= is_there(m);
		kmod_module_unref(m);
	}
	kmod_module_unref_list(list);
	return found;
}

static unsigned load(struct kmod_ctx *ctx, const char *dir)
{
	_cleanup_free_ char *path = NULL, *alias = NULL, *driver = NULL;
	unsigned n = 0;

	if (asprintf(&path, "%s/modalias", dir) >= 0 && asprintf(&driver, "%s/driver", dir) >= 0 && !kho_exists(driver) &&
	    kho_read_line(path, &alias, NULL) >= 0)
		(void)bring(ctx, alias, &n);
	return n;
}

static unsigned load_tree(struct kmod_ctx *ctx, const char *dir, int depth)
{
	unsigned n = load(ctx, dir);
	_cleanup_closedir_ DIR *d = depth ? opendir(dir) : NULL;

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		_cleanup_free_ char *below = NULL;

		if (e->d_type == DT_DIR && e->d_name[0] != '.' && asprintf(&below, "%s/%s", dir, e->d_name) > 0)
			n += load_tree(ctx, below, depth - 1);
	}
	return n;
}

void kho_drivers_load(const char *dir)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	unsigned n = 1;

	if (!ctx)
		return;
	kmod_set_log_priority(ctx, 0);
	/* a link, below /sys/bus: what is asked for is what it leads to */
	_cleanup_free_ char *real = realpath(dir, NULL);

	for (int pass = 0; real && n && pass < PASSES; pass++)
		n = load_tree(ctx, real, DEPTH);
	kmod_unref(ctx);
}

size_t kho_drivers_missing(const struct kho_gate_device *d, size_t n, char *what, size_t size)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	unsigned loaded = 0;
	size_t missing = 0;

	*what = '\0';
	if (ctx)
		kmod_set_log_priority(ctx, 0);
	for (size_t i = 0; i < n; i++)
		if (!ctx || (!bring(ctx, d[i].alias, &loaded) && !bring(ctx, d[i].driver, &loaded)))
			if (!missing++)
				snprintf(what, size, "%s (%s there)", d[i].alias, d[i].driver);
	kmod_unref(ctx);
	return missing;
}
