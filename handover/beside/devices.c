// SPDX-License-Identifier: GPL-2.0-only
/* See devices.h. */
#include "handover/beside/devices.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"

static int one_device(const char *dir, kho_device_fn *fn, void *arg)
{
	_cleanup_free_ char *file = NULL, *alias = NULL, *link = NULL;
	char target[PATH_MAX], *name;
	ssize_t n;

	if (asprintf(&file, "%s/modalias", dir) < 0 || asprintf(&link, "%s/driver", dir) < 0)
		return -ENOMEM;
	if (kho_read_line(file, &alias, NULL) < 0)
		return 0;
	n = readlink(link, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	name = strrchr(target, '/');
	return fn(arg, alias, name ? name + 1 : target);
}

int kho_each_device(const char *sysroot, const struct kho_ledger_pci *p, kho_device_fn *fn, void *arg)
{
	_cleanup_free_ char *rel = NULL, *dir = NULL;
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	int ret;

	if (asprintf(&rel, "/sys/bus/pci/devices/%04x:%02x:%02x.%x", p->segment, p->bus,
		     p->devfn >> 3, p->devfn & 7) < 0)
		return -ENOMEM;
	dir = kho_sysroot_path(sysroot, rel);
	if (!dir)
		return -ENOMEM;
	ret = one_device(dir, fn, arg);
	d = opendir(dir);
	while (d && !ret && (e = readdir(d))) {
		_cleanup_free_ char *path = NULL;

		if (strncmp(e->d_name, "virtio", 6))
			continue;
		ret = asprintf(&path, "%s/%s", dir, e->d_name) < 0 ? -ENOMEM
								   : one_device(path, fn, arg);
	}
	return ret;
}

void kho_driver_module(const char *driver, char out[KHO_DRIVER_BYTES])
{
	size_t i;

	for (i = 0; driver[i] && i < KHO_DRIVER_BYTES - 1; i++)
		out[i] = driver[i] == '-' ? '_' : driver[i];
	out[i] = '\0';
}

static int keep(void *arg, const char *alias, const char *driver)
{
	struct kho_devices *l = arg;
	char name[KHO_DRIVER_BYTES];
	struct kho_gate_device *bigger = *driver ? reallocarray(l->d, l->n + 1, sizeof(*l->d)) : NULL;

	if (!*driver)
		return 0;
	if (!bigger)
		return -ENOMEM;
	kho_driver_module(driver, name);
	l->d = bigger;
	l->d[l->n] = (struct kho_gate_device){ strdup(alias), strdup(name) };
	l->n++;
	return l->d[l->n - 1].alias && l->d[l->n - 1].driver ? 0 : -ENOMEM;
}

int kho_devices_used(const char *sysroot, const struct kho_machine *m, struct kho_devices *out, struct kho_err *err)
{
	*out = (struct kho_devices){ 0 };
	for (size_t i = 0; i < m->npci; i++)
		if (!m->pci[i].bridge && kho_each_device(sysroot, &m->pci[i], keep, out) < 0)
			return kho_fail(err, -ENOMEM, "devices");
	return 0;
}

void kho_devices_done(struct kho_devices *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->d[i].alias);
		free(l->d[i].driver);
	}
	free(l->d);
	*l = (struct kho_devices){ 0 };
}
