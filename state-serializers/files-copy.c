// SPDX-License-Identifier: GPL-2.0-only
/*
 * The files of a copy, before it is made: how much there is to be sent, and what cannot be there.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"

static void listp(Kho__Files **list)
{
	if (*list)
		kho__files__free_unpacked(*list, NULL);
}

/* What there is of the root is as it will be when it is packed: only what may be written to counts. */
static int measure(struct kho_env *env, struct kho_ramroot_sum *sum, struct kho_err *err)
{
	_cleanup_(listp) Kho__Files *list = malloc(sizeof(*list));
	struct kho_ramroot f = { .env = env, .root = "", .list = list, .sum = sum };
	struct timespec now;

	if (!list)
		return kho_fail(err, -ENOMEM, "files: out of memory");
	kho__files__init(list);
	clock_gettime(CLOCK_REALTIME, &now);
	return kho_ramroot_of_workloads(&f, now.tv_sec * 1000000000ll + now.tv_nsec, false, err);
}

/* The first process whose root directory is not the system's; 0: none. */
static pid_t elsewhere(const struct kho_workload *w)
{
	for (size_t i = 0; i < w->npids; i++) {
		char path[64], target[PATH_MAX];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/root", w->pids[i]);
		n = readlink(path, target, sizeof(target));
		if (n > 0 && (n != 1 || *target != '/'))
			return w->pids[i];
	}
	return 0;
}

static bool is_script(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char head[2];

	return f && fread(head, 1, sizeof(head), f) == sizeof(head) && !memcmp(head, "#!", sizeof(head));
}

/* 0 or -ENOMEM. */
static int probe_one(const struct kho_env *env, const struct kho_workload *w, struct kho_report *r)
{
	pid_t pid = elsewhere(w);

	if (pid && kho_report_add(r, KHO_V_NO, "files", w->name, NULL, "pid %d has a root directory of its own, of which no copy is made", pid))
		return -ENOMEM;
	if (env->root_in_ram || !w->health_command || !is_script(w->health_command))
		return 0;
	return kho_report_add(r, KHO_V_NO, "files", w->health_command, "health-tcp, or a health-command that is a program with its libraries alone",
			      "a script, and its interpreter and what it calls are not there where the copy runs: the root is on a disk");
}

static int probe_sum(const struct kho_ramroot_sum *s, struct kho_report *r)
{
	if (s->bytes <= KHO_COPY_FILES_MAX)
		return kho_report_add(r, KHO_V_OK, "files", "copy", NULL, "%zu files that are held open or may be written to go along, %" PRIu64 " KiB", s->n,
				      s->bytes >> 10);
	return kho_report_add(r, KHO_V_NO, "files", s->largest, NULL,
			      "a copy has no disks, and files that are held open or may be written to go along with it: %zu with %" PRIu64
			      " MiB, this is the largest (%" PRIu64 " MiB); at most %llu MiB do",
			      s->n, s->bytes >> 20, s->largest_bytes >> 20, KHO_COPY_FILES_MAX >> 20);
}

int kho_ramroot_copy_fits(struct kho_env *env, struct kho_err *err)
{
	struct kho_ramroot_sum sum = { 0 };
	int rc = measure(env, &sum, err);

	if (rc == 0 && sum.bytes > KHO_COPY_FILES_MAX)
		rc = kho_fail(err, -EFBIG, "files that are held open or may be written to have %" PRIu64 " MiB by now, at most %llu go along; the largest: %s",
			      sum.bytes >> 20, KHO_COPY_FILES_MAX >> 20, sum.largest);
	return rc;
}

int kho_ramroot_probe_copy(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	struct kho_ramroot_sum sum = { 0 };
	int rc;

	if (*env->sysroot)
		return 0;
	rc = measure(env, &sum, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < env->workloads->n; i++)
		rc = probe_one(env, &env->workloads->w[i], r);
	if (rc == 0)
		rc = probe_sum(&sum, r);
	return rc < 0 ? kho_fail(err, rc, "report: out of memory") : 0;
}
