// SPDX-License-Identifier: GPL-2.0-only
#include "lib/pid.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

pid_t kho_pid_next(DIR *d)
{
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			return (pid_t)atoi(e->d_name);
	return 0;
}

int kho_pid_of_file(const char *path, pid_t *out, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	int rc = kho_read_line(path, &text, err);
	char *end;
	long pid;

	if (rc < 0)
		return rc;
	pid = strtol(text, &end, 10);
	if (end == text || *end || pid < 1 || pid > INT_MAX)
		return kho_fail(err, -EINVAL, "%s does not hold a process id", path);
	*out = (pid_t)pid;
	return 0;
}

/* A file of its; NULL: it does not exist. */
static char *of_pid(const char *sysroot, pid_t pid, const char *name)
{
	char path[PATH_MAX], *text = NULL;

	snprintf(path, sizeof(path), "%s/proc/%d/%s", sysroot ? sysroot : "", pid, name);
	return kho_read_file(path, 65536, &text, NULL, NULL) ? NULL : text;
}

/* The two fields behind the name, in which anything may stand. */
static bool read_stat(const char *sysroot, pid_t pid, char *state, int *parent)
{
	_cleanup_free_ char *text = of_pid(sysroot, pid, "stat");
	const char *p = text ? strrchr(text, ')') : NULL;

	return p && sscanf(p, ") %c %d", state, parent) == 2;
}

char kho_pid_state(const char *sysroot, pid_t pid)
{
	char state;
	int parent;

	return read_stat(sysroot, pid, &state, &parent) ? state : 0;
}

pid_t kho_pid_parent(const char *sysroot, pid_t pid)
{
	char state;
	int parent;

	return read_stat(sysroot, pid, &state, &parent) ? parent : 0;
}

char *kho_pid_status(const char *sysroot, pid_t pid)
{
	return of_pid(sysroot, pid, "status");
}

pid_t kho_pid_tracer(const char *sysroot, pid_t pid)
{
	_cleanup_free_ char *text = kho_pid_status(sysroot, pid), *tracer = text ? kho_status_value(text, "TracerPid") : NULL;

	return tracer ? (pid_t)atoi(tracer) : 0;
}

uint64_t kho_pid_start(const char *sysroot, pid_t pid)
{
	_cleanup_free_ char *text = of_pid(sysroot, pid, "stat");
	const char *p = text ? strrchr(text, ')') : NULL;
	unsigned long long start;

	/* proc_pid_stat(5): number 22; behind the name comes number 3 */
	return p && sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &start) == 1 ? start : 0;
}

char *kho_status_value(const char *status, const char *key)
{
	char line[64];
	const char *p;

	snprintf(line, sizeof(line), "\n%s:", key);
	p = strstr(status, line);
	if (!p)
		return NULL;
	p += strlen(line);
	p += strspn(p, " \t");
	return strndup(p, strcspn(p, "\n"));
}

bool kho_pidfd_wait(int pidfd, uint64_t timeout_us)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	uint64_t end = kho_clock_us() + timeout_us;

	for (;;) {
		uint64_t now = kho_clock_us();
		int n = poll(&p, 1, now >= end ? 0 : (int)((end - now + 999) / 1000));

		if (n > 0)
			return true;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

char *kho_pid_name(const char *sysroot, pid_t pid)
{
	char *text = of_pid(sysroot, pid, "comm");

	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

bool kho_pid_is(const char *sysroot, pid_t pid, const char *name)
{
	_cleanup_free_ char *text = kho_pid_name(sysroot, pid);

	return text && !strcmp(text, name);
}

bool kho_pid_is_criu(pid_t pid)
{
	static const char loader[] = "/memfd:" KHO_CRIU_LOADER;
	char path[64], exe[sizeof(loader)];

	if (kho_pid_is(NULL, pid, "criu"))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	return readlink(path, exe, sizeof(exe)) == (ssize_t)sizeof(exe) && !strncmp(exe, loader, strlen(loader));
}

int kho_pids_append(pid_t **all, size_t *n, const pid_t *more, size_t nmore)
{
	pid_t *bigger = nmore ? realloc(*all, (*n + nmore) * sizeof(**all)) : *all;

	if (nmore && !bigger)
		return -ENOMEM;
	if (nmore)
		memcpy(bigger + *n, more, nmore * sizeof(*more));
	*all = bigger;
	*n += nmore;
	return 0;
}

size_t kho_pid_threads(pid_t pid, pid_t **out)
{
	char path[64];
	size_t n = 0;
	pid_t tid;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	*out = NULL;
	while ((tid = kho_pid_next(d)) && !kho_pids_append(out, &n, &tid, 1))
		;
	return n;
}
