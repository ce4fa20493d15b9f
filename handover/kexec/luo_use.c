// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who uses the Live Update Orchestrator, see handover/kexec/luo.h. The kernel does not say it; the links of /proc to open files do: a session's is
 * "anon_inode:[luo_session] NAME" (luo_session_getfile(), kernel/liveupdate/luo_session.c; systemd knows sessions in its store by the same).
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handover/kexec/handed.h"
#include "handover/kexec/luo.h"
#include "lib/cleanup.h"
#include "lib/pid.h"

#define SESSION "anon_inode:[luo_session] "

struct look {
	const char *base; /* the last part of the device's path: only what is called so is looked at, a file of a network file system may not answer */
	struct stat st;
	bool there;
	struct kho_luo_use *out;
};

static void note(struct kho_luo_who *w, pid_t pid)
{
	_cleanup_free_ char *name = kho_pid_name(NULL, pid);

	w->pid = pid;
	snprintf(w->name, sizeof(w->name), "%s", name ? name : "?"); /* it has just ended */
}

static void look_at(struct look *l, pid_t pid, int fds, const char *num)
{
	struct kho_luo_use *out = l->out;
	const char *base;
	char link[160];
	struct stat st;
	ssize_t n = readlinkat(fds, num, link, sizeof(link) - 1);

	if (n <= 0)
		return;
	link[n] = '\0';
	if (!strncmp(link, SESSION, strlen(SESSION))) {
		const char *name = link + strlen(SESSION);

		if (out->owner.pid || !strcmp(name, KHO_HANDED_SESSION))
			return;
		snprintf(out->session, sizeof(out->session), "%s", name);
		note(&out->owner, pid);
		return;
	}
	base = strrchr(link, '/');
	if (!l->there || out->holder.pid || !base || strcmp(base + 1, l->base) || fstatat(fds, num, &st, 0))
		return;
	if (st.st_dev == l->st.st_dev && st.st_ino == l->st.st_ino)
		note(&out->holder, pid);
}

static void look_into(struct look *l, pid_t pid)
{
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *e;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		look_at(l, pid, dirfd(d), e->d_name);
}

void kho_luo_look(const char *device, struct kho_luo_use *out)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	const char *slash = strrchr(device, '/');
	struct look l = { .base = slash ? slash + 1 : device, .out = out };
	pid_t pid;

	memset(out, 0, sizeof(*out));
	l.there = !stat(device, &l.st);
	while ((pid = kho_pid_next(proc)) > 0)
		if (pid != getpid())
			look_into(&l, pid);
}
