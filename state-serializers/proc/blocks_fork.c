// SPDX-License-Identifier: GPL-2.0-only
/*
 * Forks of processes whose pages are still in the images; and the end of who would read zeros where pages of the images should be. The
 * kernel tells of a fork before the new process has a number: only its control group can be told to end with all that is being forked in it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/workload.h"
#include "state-serializers/proc/blocks.h"
#include "state-serializers/proc/thaw.h"

/* "" when it is not known; NULL: out of memory. */
static char *group_of(pid_t pid)
{
	char *group = kho_cgroup_of("", pid);

	return group ? group : strdup("");
}

static int clone_file(const struct kho_pages_file *from, struct kho_pages_file *out)
{
	*out = (struct kho_pages_file){ .fd = -1, .len = from->len };
	if (from->fd < 0)
		return 0;
	out->fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 0);
	if (out->fd >= 0 && out->len)
		out->map = mmap(NULL, out->len, PROT_READ, MAP_SHARED, out->fd, 0);
	if (out->fd >= 0 && out->map != MAP_FAILED)
		return 0;
	if (out->fd >= 0)
		close(out->fd);
	return -ENOMEM;
}

static int clone_into(struct kho_space *s, const struct kho_space *from)
{
	int rc = 0;

	s->group = from->group ? strdup(from->group) : group_of(from->pid);
	s->b = malloc((from->n + 1) * sizeof(*s->b));
	s->files = calloc(from->nfiles + 1, sizeof(*s->files));
	if (!s->group || !s->b || !s->files)
		return -ENOMEM;
	if (from->n)
		memcpy(s->b, from->b, from->n * sizeof(*s->b));
	s->n = from->n;
	s->room = from->n + 1;
	s->pending = from->pending;
	for (size_t i = 0; !rc && i < from->nfiles; i++) {
		rc = clone_file(&from->files[i], &s->files[i]);
		s->nfiles += !rc;
	}
	return rc;
}

struct kho_space *kho_space_clone(struct kho_space *from, int uffd)
{
	struct kho_space *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->pid = from->pid;
	s->uffd = -1; /* the caller's, until all is there */
	if (clone_into(s, from)) {
		kho_space_free(s);
		return NULL;
	}
	s->uffd = uffd;
	from->shared = s->shared = true;
	return s;
}

/* Not the one that we are in ourselves. The root of them cannot be ended, nor can any before Linux 5.14. */
static bool end_group(const char *group)
{
	_cleanup_free_ char *ours = kho_cgroup_of("", getpid()), *path = NULL;

	if (!*group || !ours || !strcmp(group, ours) || asprintf(&path, "/sys/fs/cgroup%s/cgroup.kill", group) < 0)
		return false;
	return !kho_write_existing(path, "1", NULL);
}

void kho_space_end_all(const struct kho_space *s)
{
	_cleanup_free_ char *found = s->group ? NULL : group_of(s->pid);
	const char *group = s->group ? s->group : found;
	_cleanup_free_ pid_t *pids = NULL;
	size_t n;

	if (group && end_group(group))
		return;
	n = kho_proc_tree_live(s->pid, &pids);
	for (size_t i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
}

void kho_space_end(struct kho_space *s)
{
	if (s->group)
		kho_space_end_all(s);
	else
		kill(s->pid, SIGKILL);
	s->gone = true;
}
