// SPDX-License-Identifier: GPL-2.0-only
/* See vdso.h. */
#include "state-serializers/proc/vdso.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/pid.h"

#define MAPS_MAX (16u << 20)

/* Those that its code calls where it cannot do without the kernel. */
static bool is_its_call(long nr)
{
	return nr == SYS_clock_gettime || nr == SYS_gettimeofday || nr == SYS_time || nr == SYS_getcpu || nr == SYS_clock_getres || nr == SYS_getrandom;
}

/*
 * Where in user space a thread stands that does not run (Documentation/filesystems/proc.rst: "NR ARGUMENTS... SP PC", or "-1 SP PC" when
 * it is in no system call); 0: it runs after all, is gone, or stands in a system call that no vDSO makes.
 */
static unsigned long stands_at(pid_t pid, pid_t tid)
{
	_cleanup_free_ char *line = NULL;
	const char *last;
	char path[64];
	long nr;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	if (kho_read_line(path, &line, NULL) < 0 || sscanf(line, "%ld", &nr) != 1 || (nr >= 0 && !is_its_call(nr)))
		return 0;
	last = strrchr(line, ' ');
	return last ? strtoul(last + 1, NULL, 16) : 0;
}

static int class_in(void *arg, unsigned long start)
{
	char path[64], ident[EI_CLASS + 1];

	snprintf(path, sizeof(path), "/proc/%d/mem", *(const pid_t *)arg);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, ident, sizeof(ident), (off_t)start) != sizeof(ident) || memcmp(ident, ELFMAG, SELFMAG))
		return ELFCLASSNONE;
	return ident[EI_CLASS];
}

bool kho_vdso_has(const char *maps, unsigned long at, kho_elf_class *class_of, void *arg)
{
	for (const char *line = maps; line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
		unsigned long start, end, inode;
		char flags[8], name[16] = "";

		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu%*[ ]%15[^\n]", &start, &end, flags, &inode, name) < 4 || at < start || at >= end)
			continue;
		if (inode || flags[2] != 'x' || flags[1] == 'w')
			return false;
		/* over the header of the one that it has put there CRIU writes a mark of its own */
		if (!strcmp(name, "[vdso]"))
			return class_of(arg, start) != ELFCLASS32;
		return !*name && class_of(arg, start) == ELFCLASS64;
	}
	return false;
}

static bool is_in(pid_t pid, unsigned long at)
{
	_cleanup_free_ char *maps = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	return kho_read_file(path, MAPS_MAX, &maps, NULL, NULL) == 0 && kho_vdso_has(maps, at, class_in, &pid);
}

pid_t kho_proc_in_vdso(const pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ pid_t *tids = NULL;
		size_t nt = kho_pid_threads(pids[i], &tids);

		for (size_t k = 0; k < nt; k++) {
			unsigned long at = stands_at(pids[i], tids[k]);

			if (at && is_in(pids[i], at))
				return tids[k];
		}
	}
	return 0;
}
