// SPDX-License-Identifier: GPL-2.0-only
/*
 * The self-test of CRIU on this kernel.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "state-serializers/proc/criu.h"
#include "state-serializers/proc/role.h"
#include "state-serializers/proc/selftest.h"
#include "state-serializers/proc/tree.h"

#define BROKEN	(~0ull)

static const char fix[] = "install criu 4.2.1 or newer; if it is, look at the kernel's "
			  "CONFIG_CHECKPOINT_RESTORE, "
			  "CONFIG_INET_DIAG and CONFIG_UNIX_DIAG";

struct test {
	const char *run_dir;
	char dir[PATH_MAX - 16], images[PATH_MAX];
	pid_t pid;
	const char *step; /* what was tried last */
};

static uint64_t progress(const struct test *t)
{
	char path[PATH_MAX];
	uint64_t seq = 0;

	snprintf(path, sizeof(path), "%s/progress", t->dir);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &seq, sizeof(seq), 0) != (ssize_t)sizeof(seq))
		return 0;
	return seq;
}

/* Wait until the number has passed `after`. */
static int flows(const struct test *t, uint64_t after, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + KHO_PATIENCE_US;

	for (;;) {
		uint64_t seq = progress(t);

		if (seq == BROKEN)
			return kho_fail(err, -EIO, "data was lost or mixed up");
		if (seq > after + 2)
			return 0;
		if (kho_clock_us() > end)
			return kho_fail(err, -ETIMEDOUT, "no data flows");
		usleep(1000);
	}
}

static int ask(struct test *t, CriuRpc__Type type, const char *log, pid_t pid, struct kho_err *err)
{
	CriuRpc__Opts o = CRIU_RPC__OPTS__INIT;
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;
	struct kho_criu c = KHO_CRIU_INIT;
	CriuRpc__Resp *resp = NULL;
	char log_path[PATH_MAX + 16];
	int rc = kho_criu_spawn(&c, t->run_dir, err);

	if (rc)
		return rc;
	o.images_dir_fd = -1;
	o.images_dir = t->images;
	o.has_pid = pid > 0;
	o.pid = pid;
	o.has_tcp_established = o.tcp_established = 1;
	o.has_log_level = o.log_level = 1;
	o.log_file = (char *)log;
	snprintf(log_path, sizeof(log_path), "%s/%s", t->images, log);
	o.has_manage_cgroups_mode = 1;
	o.manage_cgroups_mode = CRIU_RPC__CGROUP_MODE__CG_IGNORE;
	o.has_network_lock = 1;
	o.network_lock = CRIU_RPC__NETWORK_LOCK__LOCK_SKIP;
	req.type = type;
	req.opts = &o;
	rc = kho_criu_send(&c, &req, err);
	if (!rc)
		rc = kho_criu_recv(&c, KHO_PATIENCE_US, &resp, err);
	if (!rc && !resp->success)
		rc = kho_criu_refused(err, resp, t->step, log_path);
	if (resp)
		criu_rpc__resp__free_unpacked(resp, NULL);
	kho_criu_finish(&c, 1000000);
	return rc;
}

static void end_child(struct test *t)
{
	if (t->pid > 0) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0); /* ours before the dump, init's after the restore */
	}
	t->pid = 0;
}

static int try(struct test *t, struct kho_err *err)
{
	const char *args[] = { t->dir, NULL };
	pid_t pid;
	int rc;

	t->step = "start";
	rc = kho_role_spawn(KHO_ROLE_SELFTEST, args, -1, &t->pid, err);
	if (!rc)
		rc = flows(t, 0, err);
	if (rc)
		return rc;
	t->step = "dump";
	rc = ask(t, CRIU_RPC__TYPE__DUMP, "dump.log", t->pid, err);
	if (rc)
		return rc;
	pid = t->pid;
	end_child(t); /* killed by CRIU; its number must be free */
	t->step = "restore";
	rc = ask(t, CRIU_RPC__TYPE__RESTORE, "restore.log", 0, err);
	if (rc)
		return rc;
	t->pid = pid;
	t->step = "go on after the restore";
	return flows(t, progress(t), err);
}

int kho_proc_selftest(const char *scratch_dir, struct kho_report *r, struct kho_err *err)
{
	struct test t = { .run_dir = scratch_dir };
	struct kho_err why = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();
	uint64_t us;
	int rc;

	if (snprintf(t.dir, sizeof(t.dir), "%s/self-test.%d", scratch_dir, getpid()) >=
	    (int)sizeof(t.dir))
		return kho_fail(err, -ENAMETOOLONG, "self-test in %s", scratch_dir);
	snprintf(t.images, sizeof(t.images), "%s/images", t.dir);
	rc = kho_mkdir(t.images, err);
	if (rc)
		return rc;
	rc = try(&t, &why);
	end_child(&t);
	(void)kho_tree_remove(t.dir, NULL);
	if (rc == -ENOENT && !strcmp(t.step, "dump"))
		kho_report_add(r, KHO_V_NO, "process", "criu", NULL, "%s", why.msg);
	else if (rc)
		kho_report_add(r, KHO_V_NO, "process", "criu", fix,
			       "self-test: cannot %s a small process: %s", t.step, why.msg);
	if (rc)
		return 0;
	us = kho_clock_us() - begin;
	r->facts[KHO_FACT_SELFTEST_US] = us;
	kho_report_add(r, KHO_V_OK, "process", "criu", NULL,
		       "self-test passed: dumped and restored a process with "
		       "TCP, UNIX, pipe and file in %llu ms",
		       (unsigned long long)us / 1000);
	return 0;
}
