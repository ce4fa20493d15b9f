// SPDX-License-Identifier: GPL-2.0-only
/* CPUs with little to do.  See bpf/spare.h. */
#include "bpf/spare.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define STAT_MAX (4u << 20)

void kho_cpu_times_parse(const char *text, struct kho_cpu_times *out)
{
	memset(out, 0, sizeof(*out));
	for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		uint64_t t[8] = { 0 }; /* user nice system idle iowait irq softirq steal */
		unsigned cpu;
		int n = sscanf(p, "cpu%u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &cpu,
			       &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]);

		if (n < 6 || cpu >= CPU_SETSIZE)
			continue;
		for (size_t i = 0; i < 8; i++)
			out->all[cpu] += t[i];
		out->busy[cpu] = out->all[cpu] - t[3] - t[4];
	}
}

/* Percent; a CPU of which nothing is known is none that is spare. */
static unsigned busy_of(const struct kho_cpu_times *before, const struct kho_cpu_times *after, size_t cpu)
{
	uint64_t all = after->all[cpu] - before->all[cpu], busy = after->busy[cpu] - before->busy[cpu];

	return after->all[cpu] <= before->all[cpu] || busy > all ? 100 : (unsigned)(busy * 100 / all);
}

int kho_spare_of(const struct kho_cpu_times *before, const struct kho_cpu_times *after, const cpu_set_t *may, unsigned n, cpu_set_t *out,
		 unsigned *out_busy, struct kho_err *err)
{
	CPU_ZERO(out);
	*out_busy = 0;
	if (!n || n > (unsigned)CPU_COUNT(may))
		return kho_fail(err, -EINVAL, "%u CPUs of this kernel are wanted, it has %d", n, CPU_COUNT(may));
	for (unsigned k = 0; k < n; k++) {
		size_t best = CPU_SETSIZE;
		unsigned least = 101;

		/* of equal ones the highest: the low ones take most interrupts */
		for (size_t i = CPU_SETSIZE; i-- > 0;)
			if (CPU_ISSET(i, may) && !CPU_ISSET(i, out) && busy_of(before, after, i) < least) {
				least = busy_of(before, after, i);
				best = i;
			}
		CPU_SET(best, out);
		*out_busy = least > *out_busy ? least : *out_busy;
	}
	return 0;
}

static int look(struct kho_cpu_times *t, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	int rc = kho_read_file("/proc/stat", STAT_MAX, &text, NULL, err);

	if (!rc)
		kho_cpu_times_parse(text, t);
	return rc;
}

int kho_spare_cpus(unsigned n, cpu_set_t *out, unsigned *out_busy, struct kho_err *err)
{
	_cleanup_free_ struct kho_cpu_times *t = calloc(2, sizeof(*t));
	cpu_set_t may;
	int rc = t ? look(&t[0], err) : kho_fail(err, -ENOMEM, "spare CPUs: out of memory");

	if (rc < 0)
		return rc;
	usleep(KHO_SPARE_US);
	rc = look(&t[1], err);
	if (rc < 0)
		return rc;
	if (sched_getaffinity(0, sizeof(may), &may))
		return kho_fail_errno(err, "which CPUs there are");
	return kho_spare_of(&t[0], &t[1], &may, n, out, out_busy, err);
}
