// SPDX-License-Identifier: GPL-2.0-only
/* CPUs by their numbers and APIC ids.  See lib/cpuinfo.h. */
#include "lib/cpuinfo.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"

#define TEXT_MAX (16u << 20)

/* "key<tab>: value" */
static bool number(const char *line, const char *key, long *out)
{
	size_t n = strlen(key);

	if (strncmp(line, key, n) || (line[n] != '\t' && line[n] != ' ' && line[n] != ':'))
		return false;
	line += strcspn(line, ":\n");
	if (*line != ':')
		return false;
	line++;
	line += strspn(line, " \t");
	*out = *line == '\n' ? 0 : strtol(line, NULL, 10);
	return true;
}

int kho_cpuinfo_parse(const char *text, struct kho_cpuinfo **out, size_t *out_n, struct kho_err *err)
{
	_cleanup_free_ struct kho_cpuinfo *all = NULL;
	size_t n = 0;
	long v;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		struct kho_cpuinfo *c = n ? &all[n - 1] : NULL;

		if (number(line, "processor", &v)) {
			c = reallocarray(all, n + 1, sizeof(*all));
			if (!c)
				return kho_fail(err, -ENOMEM, "/proc/cpuinfo: out of memory");
			all = c;
			all[n++] = (struct kho_cpuinfo){ .cpu = (unsigned)v, .apicid = (uint32_t)v, .core = (int)v };
		} else if (c && number(line, "physical id", &v)) {
			c->package = (int)v;
		} else if (c && number(line, "core id", &v)) {
			c->core = (int)v;
		} else if (c && number(line, "apicid", &v)) {
			c->apicid = (uint32_t)v;
		}
	}
	if (!n)
		return kho_fail(err, -EINVAL, "/proc/cpuinfo: no processor in it");
	*out = steal_ptr(all);
	*out_n = n;
	return 0;
}

int kho_cpuinfo_read(const char *sysroot, struct kho_cpuinfo **out, size_t *out_n, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/cpuinfo"), *text = NULL;
	int rc = path ? kho_read_file(path, TEXT_MAX, &text, NULL, err) : kho_fail(err, -ENOMEM, "/proc/cpuinfo: out of memory");

	return rc < 0 ? rc : kho_cpuinfo_parse(text, out, out_n, err);
}

size_t kho_cpuinfo_apicids(const struct kho_cpuinfo *c, size_t n, const char *list, uint32_t *out)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		if (kho_ids_has(list, c[i].cpu))
			out[found++] = c[i].apicid;
	return found;
}

size_t kho_cpuinfo_cpus(const struct kho_cpuinfo *c, size_t n, const uint32_t *ids, size_t nids, uint32_t *out)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++) {
		bool wanted = false;

		for (size_t k = 0; k < nids && !wanted; k++)
			wanted = ids[k] == c[i].apicid;
		if (wanted)
			out[found++] = c[i].cpu;
	}
	return found;
}
