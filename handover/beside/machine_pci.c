// SPDX-License-Identifier: GPL-2.0-only
/*
 * PCI of the machine: configuration space and root windows out of /proc/iomem and /proc/ioports,
 * functions out of /sys/bus/pci/devices.  Only disks and NICs change hands; the bridges above
 * them are listed so that the incoming kernel can walk to them.
 */
#include "handover/beside/machine.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

/* kernel's IORESOURCE_* */
#define RES_IO	0x100
#define RES_MEM 0x200

struct scan {
	struct kho_machine *m;
	const char *sysroot;
	struct kho_err *err;
	struct root {
		unsigned segment, bus;
	} * roots; /* /sys/devices/pciSSSS:BB */
	size_t nroots;
};

static int no_memory(struct kho_err *err)
{
	return kho_fail(err, -ENOMEM, "PCI functions: out of memory");
}

static int find_roots(struct scan *s)
{
	_cleanup_free_ char *dir = kho_sysroot_path(s->sysroot, "/sys/devices");
	_cleanup_closedir_ DIR *d = dir ? opendir(dir) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		unsigned segment, bus;
		struct root *r;
		int used = 0;

		if (sscanf(e->d_name, "pci%x:%x%n", &segment, &bus, &used) < 2 || e->d_name[used])
			continue;
		r = kho_array_add(&s->roots, &s->nroots, sizeof(*r));
		if (!r)
			return no_memory(s->err);
		*r = (struct root){ segment, bus };
	}
	return 0;
}

static int add_ecam(struct scan *s, uint64_t start, const char *name)
{
	unsigned segment, first, last;
	struct kho_ledger_ecam *e;

	/* "PCI ECAM 0000 [bus 00-ff]", before 6.8 "PCI MMCONFIG ..." */
	if (sscanf(name, "PCI ECAM %x [bus %x-%x]", &segment, &first, &last) != 3 &&
	    sscanf(name, "PCI MMCONFIG %x [bus %x-%x]", &segment, &first, &last) != 3)
		return 0;
	e = kho_array_add(&s->m->ecams, &s->m->necams, sizeof(*e));
	if (!e)
		return no_memory(s->err);
	e->base = start - ((uint64_t)first << 20);
	e->segment = segment;
	e->bus_first = first;
	e->bus_last = last;
	return 0;
}

static bool in_ecam(const struct kho_machine *m, uint64_t addr)
{
	size_t i;

	for (i = 0; i < m->necams; i++) {
		const struct kho_ledger_ecam *e = &m->ecams[i];

		if (addr >= e->base + ((uint64_t)e->bus_first << 20) &&
		    addr < e->base + ((e->bus_last + 1ULL) << 20))
			return true;
	}
	return false;
}

static int add_window(struct scan *s, uint64_t start, uint64_t end, const char *name,
		      uint32_t flags)
{
	struct kho_ledger_window *w;
	unsigned segment, bus;
	size_t i;

	if (sscanf(name, "PCI Bus %x:%x", &segment, &bus) != 2)
		return 0;
	for (i = 0; i < s->nroots; i++)
		if (s->roots[i].segment == segment && s->roots[i].bus == bus)
			break;
	if (i == s->nroots)
		return 0; /* the secondary bus of a bridge */
	if (flags == RES_MEM && in_ecam(s->m, start))
		return 0; /* some firmware lists the configuration space as a window */
	w = kho_array_add(&s->m->windows, &s->m->nwindows, sizeof(*w));
	if (!w)
		return no_memory(s->err);
	*w = (struct kho_ledger_window){ .base = start, .bytes = end - start + 1, .flags = flags };
	return 0;
}

static int read_resources(struct scan *s, const char *name, uint32_t flags)
{
	_cleanup_free_ char *path = kho_sysroot_path(s->sysroot, name), *text = NULL;
	char *line, *save;
	int ret;

	if (!path)
		return no_memory(s->err);
	ret = kho_read_file(path, 16 << 20, &text, NULL, s->err);
	if (ret < 0)
		return ret;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t a, b;
		int used = 0;

		if (sscanf(line, " %" SCNx64 "-%" SCNx64 " : %n", &a, &b, &used) < 2 || !used)
			continue;
		ret = add_window(s, a, b, line + used, flags);
		if (!ret && flags == RES_MEM)
			ret = add_ecam(s, a, line + used);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static long read_number(const char *dir, const char *name, int base, long missing)
{
	_cleanup_free_ char *path = NULL, *text = NULL;

	if (asprintf(&path, "%s/%s", dir, name) < 0 || kho_read_line(path, &text, NULL) < 0)
		return missing;
	return strtol(text, NULL, base);
}

static int add_function(struct scan *s, unsigned segment, unsigned bus, unsigned dev, unsigned fn,
			bool bridge)
{
	struct kho_ledger_pci *p;
	size_t i;

	for (i = 0; i < s->m->npci; i++) {
		p = &s->m->pci[i];
		if (p->segment == segment && p->bus == bus && p->devfn == (dev << 3 | fn))
			return 0;
	}
	p = kho_array_add(&s->m->pci, &s->m->npci, sizeof(*p));
	if (!p)
		return no_memory(s->err);
	p->segment = segment;
	p->bus = bus;
	p->devfn = dev << 3 | fn;
	p->bridge = bridge;
	return 0;
}

/* "../../../devices/pci0000:00/0000:00:02.0/0000:01:00.0": every function but the last is a bridge.
 */
static int add_path(struct scan *s, const char *link)
{
	const char *p = strstr(link, "/pci");
	int ret = 0;

	for (p = p ? strchr(p + 1, '/') : NULL; p && !ret; p = strchr(p + 1, '/')) {
		unsigned segment, bus, dev, fn;

		if (sscanf(p, "/%x:%x:%x.%x", &segment, &bus, &dev, &fn) == 4 && bus < 256 &&
		    dev < 32 && fn < 8)
			ret = add_function(s, segment, bus, dev, fn, strchr(p + 1, '/') != NULL);
	}
	return ret;
}

static int by_address(const void *a, const void *b)
{
	const struct kho_ledger_pci *x = a, *y = b;
	uint32_t i = (uint32_t)x->segment << 16 | x->bus << 8 | x->devfn;
	uint32_t j = (uint32_t)y->segment << 16 | y->bus << 8 | y->devfn;

	return i < j ? -1 : i > j;
}

static int read_functions(struct scan *s)
{
	_cleanup_free_ char *dir = kho_sysroot_path(s->sysroot, "/sys/bus/pci/devices");
	_cleanup_closedir_ DIR *d = dir ? opendir(dir) : NULL;
	struct dirent *e;
	int ret = 0;

	while (d && !ret && (e = readdir(d))) {
		_cleanup_free_ char *path = NULL;
		char link[PATH_MAX];
		ssize_t n;
		long class, node;

		if (*e->d_name == '.' || asprintf(&path, "%s/%s", dir, e->d_name) < 0)
			continue;
		class = read_number(path, "class", 16, 0) >> 16;
		if (class != 1 && class != 2) /* mass storage, network */
			continue;
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = '\0';
		node = read_number(path, "numa_node", 10, -1);
		if (node >= 0)
			s->m->device_node = node;
		ret = add_path(s, link);
	}
	if (!ret && s->m->npci)
		qsort(s->m->pci, s->m->npci, sizeof(*s->m->pci), by_address);
	return ret;
}

int kho_machine_read_pci(const char *sysroot, struct kho_machine *m, struct kho_err *err)
{
	struct scan s = { .m = m, .sysroot = sysroot, .err = err };
	int ret = find_roots(&s);

	if (!ret)
		ret = read_resources(&s, "/proc/iomem", RES_MEM);
	if (!ret)
		ret = read_resources(&s, "/proc/ioports", RES_IO);
	if (!ret)
		ret = read_functions(&s);
	free(s.roots);
	return ret;
}
