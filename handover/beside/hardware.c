// SPDX-License-Identifier: GPL-2.0-only
/* See hardware.h. */
#include "handover/beside/hardware.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define BALLOON "virtio_balloon"

/* Drivers that give pages to the host: they look like RAM to a kernel that has not given them itself. */
static const struct {
	const char *bus, *name, *fix;
} takers[] = {
	{ "virtio", BALLOON, "let the host deflate it, or unbind its driver, which does that (/sys/bus/virtio/drivers/" BALLOON "/unbind)" },
	{ "virtio", "virtio_mem", "let the host unplug its memory, then unbind its driver (/sys/bus/virtio/drivers/virtio_mem/unbind)" },
	{ "vmbus", "hv_balloon", "switch dynamic memory off for this machine on its host, and restart" },
};

/* The first link in a folder of sysfs: a device that is bound to a driver, or one of a class. */
static bool first_link(const char *sysroot, const char *name, char *out, size_t room)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, name);
	_cleanup_closedir_ DIR *d = path ? opendir(path) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_type != DT_LNK || !strcmp(e->d_name, "module"))
			continue;
		snprintf(out, room, "%s", e->d_name);
		return true;
	}
	return false;
}

static bool vmstat(const char *text, const char *key, unsigned long long *out)
{
	const char *p = strstr(text, key);

	if (p)
		*out = strtoull(p + strlen(key), NULL, 10);
	return p;
}

/* Is it known that a balloon has no page? */
static bool is_empty(const char *sysroot)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/vmstat"), *text = NULL;
	unsigned long long in, out;

	return path && kho_read_file(path, 1 << 20, &text, NULL, NULL) == 0 && vmstat(text, "\nballoon_inflate ", &in) &&
	       vmstat(text, "\nballoon_deflate ", &out) && in == out;
}

static int check_taker(const char *sysroot, size_t i, struct kho_report *r)
{
	char dir[64], device[256];

	snprintf(dir, sizeof(dir), "/sys/bus/%s/drivers/%s", takers[i].bus, takers[i].name);
	if (!first_link(sysroot, dir, device, sizeof(device)))
		return 0;
	if (!strcmp(takers[i].name, BALLOON) && is_empty(sysroot))
		return kho_report_add(r, KHO_V_LOSS, "memory", device, NULL,
				      "%s is empty and stays behind: the host gets no memory back from the next kernel", takers[i].name);
	return kho_report_add(r, KHO_V_NO, "memory", device, takers[i].fix,
			      "%s: pages that the host has would be free memory to the next kernel", takers[i].name);
}

/* A device whose tables are written over may write anywhere, and nothing can be undone any more. Pass-through has tables, too. */
static int check_iommu(const char *sysroot, struct kho_report *r)
{
	char name[256];

	if (!first_link(sysroot, "/sys/class/iommu", name, sizeof(name)))
		return 0;
	return kho_report_add(r, KHO_V_NO, "devices", "IOMMU", "boot with intel_iommu=off (AMD: amd_iommu=off), or use --engine kexec",
			      "%s translates by tables in this kernel's memory, which becomes the next kernel's", name);
}

int kho_hardware_check(const char *sysroot, const struct kho_machine *m, struct kho_report *r)
{
	int ret = check_iommu(sysroot, r);

	if (!ret && m->broken_bytes)
		ret = kho_report_add(r, KHO_V_NO, "memory", "HardwareCorrupted", "restart the machine, and have its memory looked at",
				     "%llu KiB of memory are broken, and would be free memory to the next kernel",
				     (unsigned long long)m->broken_bytes >> 10);
	for (size_t i = 0; !ret && i < sizeof(takers) / sizeof(*takers); i++)
		ret = check_taker(sysroot, i, r);
	return ret;
}
