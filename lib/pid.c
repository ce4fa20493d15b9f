// SPDX-License-Identifier: GPL-2.0-only
#include "lib/pid.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

/* The two fields behind the name, in which anything may stand. */
static bool read_stat(const char *sysroot, pid_t pid, char *state, int *parent)
{
	_cleanup_free_ char *text = NULL;
	char path[PATH_MAX];
	const char *p;

	snprintf(path, sizeof(path), "%s/proc/%d/stat", sysroot ? sysroot : "", pid);
	if (kho_read_file(path, 65536, &text, NULL, NULL))
		return false;
	p = strrchr(text, ')');
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
