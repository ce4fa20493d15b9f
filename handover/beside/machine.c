// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUs and memory of the machine out of /proc and /sys.  Unknown lines are skipped; what must be
 * there and is not, is an error that names the file.
 */
#include "handover/beside/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/cpuinfo.h"
#include "lib/format.h"
#include "lib/io.h"

#define FILE_MAX (16u << 20)

void *kho_array_add(void *parray, size_t *n, size_t element_bytes)
{
	void **array = parray;
	char *p = reallocarray(*array, *n + 1, element_bytes);

	if (!p)
		return NULL;
	*array = p;
	return memset(p + element_bytes * (*n)++, 0, element_bytes);
}

static int slurp(const char *sysroot, const char *name, char **out, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, name);

	if (!path)
		return kho_fail(err, -ENOMEM, "%s: out of memory", name);
	return kho_read_file(path, FILE_MAX, out, NULL, err);
}

/* Is it among the flags of a CPU? */
static bool has_flag(const char *cpuinfo, const char *flag)
{
	for (const char *line = strstr(cpuinfo, "\nflags"); line; line = strstr(line + 1, "\nflags")) {
		const char *at = strstr(line, flag);

		if (at && at < line + 1 + strcspn(line + 1, "\n"))
			return true;
	}
	return false;
}

static int parse_cpuinfo(const char *text, struct kho_machine *m, struct kho_err *err)
{
	_cleanup_free_ struct kho_cpuinfo *cpus = NULL;
	size_t n = 0;
	int ret = kho_cpuinfo_parse(text, &cpus, &n, err);

	for (size_t i = 0; ret >= 0 && i < n; i++) {
		struct kho_machine_cpu *c = kho_array_add(&m->cpus, &m->ncpus, sizeof(*c));

		if (!c)
			return kho_fail(err, -ENOMEM, "/proc/cpuinfo: out of memory");
		*c = (struct kho_machine_cpu){
			.cpu = cpus[i].cpu, .apicid = cpus[i].apicid, .package = cpus[i].package, .core = cpus[i].core, .node = -1
		};
	}
	m->has_1g_pages = has_flag(text, " pdpe1gb");
	return ret;
}

static void read_nodes(const char *sysroot, struct kho_machine *m)
{
	_cleanup_free_ char *dir = kho_sysroot_path(sysroot, "/sys/devices/system/node");
	_cleanup_closedir_ DIR *d = dir ? opendir(dir) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_free_ char *path = NULL, *list = NULL;
		int node, used;
		size_t i;

		if (sscanf(e->d_name, "node%d%n", &node, &used) != 1 || e->d_name[used] ||
		    asprintf(&path, "%s/%s/cpulist", dir, e->d_name) < 0 ||
		    kho_read_line(path, &list, NULL) < 0)
			continue;
		for (i = 0; i < m->ncpus; i++)
			if (kho_ids_has(list, m->cpus[i].cpu))
				m->cpus[i].node = node;
	}
}

static int by_cpu(const void *a, const void *b)
{
	const struct kho_machine_cpu *x = a, *y = b;

	return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

int kho_machine_read_cpus(const char *sysroot, int64_t bsp_apicid, struct kho_machine *m,
			  struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	int ret = slurp(sysroot, "/proc/cpuinfo", &text, err);
	size_t i;

	if (ret < 0)
		return ret;
	ret = parse_cpuinfo(text, m, err);
	if (ret < 0)
		return ret;
	qsort(m->cpus, m->ncpus, sizeof(*m->cpus), by_cpu);
	for (i = 0; i < m->ncpus; i++)
		m->cpus[i].bsp = bsp_apicid < 0 ? m->cpus[i].cpu == 0
						: m->cpus[i].apicid == (uint64_t)bsp_apicid;
	read_nodes(sysroot, m);
	return 0;
}

static bool meminfo(const char *text, const char *key, uint64_t *out)
{
	const char *p = strstr(text, key);
	uint64_t kib;

	if (!p || sscanf(p + strlen(key), " %" SCNu64 " kB", &kib) != 1)
		return false;
	*out = kib << 10;
	return true;
}

/*
 * Booted with, or adopted (module/mem.c). What another driver manages, "System RAM (virtio_mem)" or (kmem), is for that driver to give
 * and take: of it the next kernel knows nothing.
 */
static bool is_ram(const char *name)
{
	return !strcmp(name, "System RAM") || !strcmp(name, "System RAM (khoctl)");
}

/* At the top level of /proc/iomem; all zeros for those who may not know. */
static int parse_ram(char *text, struct kho_machine *m, struct kho_err *err)
{
	char *line, *save;

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct kho_ledger_range *r;
		uint64_t a, b;
		int used = 0;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " : %n", &a, &b, &used) < 2 || !used ||
		    *line == ' ' || !is_ram(line + used))
			continue;
		if (!b)
			return kho_fail(err, -EACCES,
					"/proc/iomem hides the addresses: run as root");
		r = kho_array_add(&m->ram, &m->nram, sizeof(*r));
		if (!r)
			return kho_fail(err, -ENOMEM, "/proc/iomem: out of memory");
		r->base = a;
		r->bytes = b - a + 1;
	}
	return m->nram ? 0 : kho_fail(err, -EINVAL, "/proc/iomem: no System RAM in it");
}

int kho_machine_read_memory(const char *sysroot, struct kho_machine *m, struct kho_err *err)
{
	_cleanup_free_ char *block_path = kho_sysroot_path(sysroot, "/sys/devices/system/memory/"
								    "block_size_bytes");
	_cleanup_free_ char *text = NULL, *block = NULL, *iomem = NULL;
	int ret = slurp(sysroot, "/proc/meminfo", &text, err);

	if (ret < 0)
		return ret;
	if (!meminfo(text, "MemTotal:", &m->total_bytes) ||
	    !meminfo(text, "MemAvailable:", &m->available_bytes))
		return kho_fail(err, -EINVAL, "/proc/meminfo: no MemTotal or MemAvailable in it");
	(void)meminfo(text, "HardwareCorrupted:", &m->broken_bytes); /* only with CONFIG_MEMORY_FAILURE */
	if (!block_path || kho_read_line(block_path, &block, NULL) < 0)
		return kho_fail(err, -EOPNOTSUPP,
				"this kernel has no memory hot-plug (CONFIG_MEMORY_HOTPLUG): boot "
				"a distribution kernel");
	m->block_bytes = strtoull(block, NULL, 16);
	if (m->block_bytes < 1u << 20 || (m->block_bytes & (m->block_bytes - 1)))
		return kho_fail(err, -EINVAL, "block_size_bytes: odd value %s", block);
	ret = slurp(sysroot, "/proc/iomem", &iomem, err);
	return ret < 0 ? ret : parse_ram(iomem, m, err);
}

/* The last file system mounted on / is what processes see as their root. */
static void read_root(const char *sysroot, struct kho_machine *m)
{
	_cleanup_free_ char *text = NULL;
	char *line, *save;

	if (slurp(sysroot, "/proc/mounts", &text, NULL) < 0)
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char dir[8], type[32];

		if (sscanf(line, "%*s %7s %31s", dir, type) == 2 && !strcmp(dir, "/"))
			m->root_in_ram = !strcmp(type, "rootfs") || !strcmp(type, "tmpfs") ||
					 !strcmp(type, "ramfs");
	}
}

int kho_machine_read(const char *sysroot, int64_t bsp_apicid, struct kho_machine *out,
		     struct kho_err *err)
{
	int ret;

	memset(out, 0, sizeof(*out));
	out->device_node = -1;
	ret = kho_machine_read_cpus(sysroot, bsp_apicid, out, err);
	if (!ret)
		ret = kho_machine_read_memory(sysroot, out, err);
	if (!ret)
		ret = kho_machine_read_pci(sysroot, out, err);
	if (ret < 0) {
		kho_machine_done(out);
		return ret;
	}
	read_root(sysroot, out);
	return 0;
}

const void *kho_ledger_entries(const struct kho_ledger *l, size_t bytes,
			       const struct kho_ledger_table *t, size_t entry_bytes, size_t *out_n)
{
	/* once: the other kernel may write while it is looked at */
	uint32_t off = *(const volatile uint32_t *)&t->off;
	uint32_t count = *(const volatile uint32_t *)&t->count;

	*out_n = 0;
	if (!count || off < sizeof(*l) || off % 8 || off > bytes ||
	    count > (bytes - off) / entry_bytes)
		return NULL;
	*out_n = count;
	return (const char *)l + off;
}

static int replace(void *parray, size_t *n, const struct kho_ledger *l, size_t bytes,
		   const struct kho_ledger_table *t, size_t entry_bytes, struct kho_err *err)
{
	void **array = parray, *copy;
	size_t count;
	const void *p = kho_ledger_entries(l, bytes, t, entry_bytes, &count);

	if (t->count && !p)
		return kho_fail(err, -EPROTO,
				"the ledger of this kernel's region has a table out of bounds");
	copy = calloc(count ? count : 1, entry_bytes);
	if (!copy)
		return kho_fail(err, -ENOMEM, "copy of the ledger: out of memory");
	if (count)
		memcpy(copy, p, count * entry_bytes);
	free(*array);
	*array = copy;
	*n = count;
	return 0;
}

int kho_machine_from_ledger(struct kho_machine *m, const struct kho_ledger *l, size_t bytes,
			    struct kho_err *err)
{
	int ret;

	if (bytes < sizeof(*l) || l->magic != KHO_REGION_MAGIC ||
	    l->revision != KHO_REGION_REVISION)
		return kho_fail(err, -EPROTO,
				"the ledger of this kernel's region is of another revision");
	ret = replace(&m->ram, &m->nram, l, bytes, &l->ram, sizeof(*m->ram), err);
	if (!ret)
		ret = replace(&m->ecams, &m->necams, l, bytes, &l->ecams, sizeof(*m->ecams), err);
	if (!ret)
		ret = replace(&m->windows, &m->nwindows, l, bytes, &l->windows, sizeof(*m->windows),
			      err);
	if (!ret)
		ret = replace(&m->pci, &m->npci, l, bytes, &l->pci, sizeof(*m->pci), err);
	return ret;
}

void kho_machine_done(struct kho_machine *m)
{
	free(m->cpus);
	free(m->ram);
	free(m->ecams);
	free(m->windows);
	free(m->pci);
	memset(m, 0, sizeof(*m));
}
