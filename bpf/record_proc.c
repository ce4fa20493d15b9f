// SPDX-License-Identifier: GPL-2.0-only
/* What /proc says of the processes of a recording.  See bpf/record_proc.h. */
#include "bpf/record_proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"

void kho_record_proc_add(pid_t pid, struct kho_record_proc *sum)
{
	_cleanup_free_ char *text = NULL;
	uint64_t minor, cminor, major, cmajor;
	long cutime, cstime;
	struct timespec ts;
	char path[32];
	const char *p;
	clockid_t id;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (kho_read_file(path, 4096, &text, NULL, NULL))
		return;
	p = strrchr(text, ')'); /* the name may hold anything; fields 10 to 13, 16 and 17 */
	if (!p || sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %ld %ld", &minor, &cminor, &major,
			 &cmajor, &cutime, &cstime) != 6)
		return;
	sum->faults += minor + cminor + major + cmajor;
	sum->cpu_ns += (uint64_t)(cutime + cstime) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
	if (!clock_getcpuclockid(pid, &id) && !clock_gettime(id, &ts))
		sum->cpu_ns += (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* "Tcp: NAME NAME ...\nTcp: N N ...\n": the number under a name */
static bool column(const char *text, const char *name, uint64_t *out)
{
	const char *names = strstr(text, "Tcp: "), *values = names ? strstr(names + 1, "\nTcp: ") : NULL;
	size_t len = strlen(name);

	if (!values)
		return false;
	for (values++; *names && *names != '\n' && *values && *values != '\n';) {
		size_t n = strcspn(names, " \n"), v = strcspn(values, " \n");

		if (n == len && !strncmp(names, name, len))
			return sscanf(values, "%" SCNu64, out) == 1;
		names += n + (names[n] == ' ');
		values += v + (values[v] == ' ');
	}
	return false;
}

bool kho_record_tcp_parse(const char *text, struct kho_record_tcp *out)
{
	return column(text, "OutSegs", &out->segments) && column(text, "RetransSegs", &out->retrans);
}

bool kho_record_tcp_of(pid_t pid, struct kho_record_tcp *out)
{
	_cleanup_free_ char *text = NULL;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/net/snmp", pid);
	return !kho_read_file(path, 1u << 16, &text, NULL, NULL) && kho_record_tcp_parse(text, out);
}
