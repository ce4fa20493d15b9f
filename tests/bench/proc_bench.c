// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process serializer alone, both halves on one kernel: what it costs and that its undo works.
 *
 *   proc-bench probe PID | selftest | undo PID | move PID [ADDRESS:PORT] | discard PID | namespace PID
 *
 * PID and its descendants are the workload; "PID,PID" are two, up to eight. $BENCH_ROOT: restored below that directory. $BENCH_CGROUP: and put there.
 *
 * Works below /run/khoctl-bench; prints one line for each phase and "frozen US" for the whole.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/selftest.h"
#include "state-serializers/proc/tree.h"
#include "state-serializers/proc.pb-c.h"
#include "state-serializers/serializer.h"

#define RUN "/run/khoctl-bench"

extern const struct kho_serializer kho_ser_proc;

static int put_file(struct kho_env *env, const char *local, const char *name, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL, *dir = NULL;
	_cleanup_close_ int in = open(local, O_RDONLY | O_CLOEXEC);
	struct stat st;

	(void)env;
	if (in < 0 || fstat(in, &st))
		return kho_fail_errno(err, "open %s", local);
	if (asprintf(&path, RUN "/in/%s", name) < 0)
		return -ENOMEM;
	dir = strdup(path);
	*strrchr(dir, '/') = '\0';
	if (kho_mkdir(dir, err))
		return err->code;
	_cleanup_close_ int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (out < 0)
		return kho_fail_errno(err, "open %s", path);
	while (st.st_size > 0) {
		ssize_t n = sendfile(out, in, NULL, (size_t)st.st_size);

		if (n <= 0)
			return kho_fail_errno(err, "copy %s", path);
		st.st_size -= n;
	}
	return 0;
}

static void phase(struct kho_env *env, const char *name, uint64_t begin_us, uint64_t end_us)
{
	(void)env;
	printf("phase %-16s %8llu us\n", name, (unsigned long long)(end_us - begin_us));
}

__attribute__((format(printf, 2, 3))) static void note(struct kho_env *env, const char *fmt, ...)
{
	va_list ap;

	(void)env;
	va_start(ap, fmt);
	printf("note  ");
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
}

static const struct kho_env_ops ops = { .put_file = put_file, .phase = phase, .note = note };

static void show(const struct kho_report *r)
{
	for (size_t i = 0; i < r->n; i++)
		printf("%-7s %s: %s%s%s\n", kho_verdict_name(r->items[i].verdict),
		       r->items[i].subject, r->items[i].what, *r->items[i].fix ? "; " : "",
		       r->items[i].fix);
}

static int fail(const char *what, const struct kho_err *err)
{
	printf("FAILED %s: %s\n", what, err->msg);
	return 1;
}

struct both {
	struct kho_env out, in;
	struct kho_blob plan, state;
	uint64_t frozen_us;
};

static int precopy(struct both *b, struct kho_err *err)
{
	bool more = true;
	int rc = 0;

	for (unsigned round = 0; !rc && more; round++) {
		struct kho_blob blob = { 0 };

		rc = kho_ser_proc.preserve(&b->out, round, &blob, &more, err);
		if (!round)
			b->plan = blob;
		else
			kho_blob_done(&blob);
	}
	return rc;
}

/* One kernel has each process number only once, and prepare would refuse: it is told none. */
static int prepare(struct both *b, struct kho_err *err)
{
	KhoProc__Plan *plan = kho_proc__plan__unpack(NULL, b->plan.len, b->plan.data);

	if (!plan)
		return kho_fail(err, -EPROTO, "plan");
	for (size_t i = 0; i < plan->n_workloads; i++)
		plan->workloads[i]->n_pids = 0;
	kho_blob_done(&b->plan);
	b->plan.len = kho_proc__plan__get_packed_size(plan);
	b->plan.data = malloc(b->plan.len + 1);
	if (b->plan.data)
		kho_proc__plan__pack(plan, b->plan.data);
	kho_proc__plan__free_unpacked(plan, NULL);
	return kho_ser_proc.prepare(&b->in, &b->plan, err);
}

static int freeze(struct both *b, struct kho_err *err)
{
	int rc = precopy(b, err);

	if (!rc)
		rc = prepare(b, err);
	b->frozen_us = kho_clock_us();
	if (!rc)
		rc = kho_ser_proc.freeze(&b->out, err);
	return rc ? rc : kho_ser_proc.drain(&b->out, &b->state, err);
}

static int undo(struct both *b, struct kho_err *err)
{
	int rc = freeze(b, err), rc2;
	struct kho_err err2 = KHO_ERR_INIT;

	if (!rc)
		printf("state while frozen: %c\n", kho_pid_state("", b->out.workloads->w[0].root));
	rc2 = kho_ser_proc.unfreeze(&b->out, &err2);
	printf("frozen %llu us\n", (unsigned long long)(kho_clock_us() - b->frozen_us));
	if (rc2)
		fail("unfreeze", &err2);
	if (kho_ser_proc.unprepare(&b->in, &err2) || kho_ser_proc.unpreserve(&b->out, &err2))
		fail("unprepare", &err2);
	return rc ? rc : rc2;
}

static int move(struct both *b, struct kho_err *err)
{
	struct kho_report r = KHO_REPORT_INIT;
	uint64_t killed, pause;
	int rc = freeze(b, err);

	if (rc)
		return rc;
	killed = kho_clock_us();
	rc = kho_ser_proc.forget(&b->out, err);
	for (size_t k = 0; k < b->out.workloads->n; k++)
		for (int i = 0; i < 1000 && kho_pid_state("", b->out.workloads->w[k].root); i++)
			usleep(1000);
	pause = kho_clock_us() -
		killed; /* not part of a move: there the old process stays, stopped */
	if (!rc)
		rc = kho_ser_proc.retrieve(&b->in, &b->state, err);
	if (!rc)
		rc = kho_ser_proc.verify(&b->in, &r, err);
	printf("frozen %llu us\n", (unsigned long long)(kho_clock_us() - b->frozen_us - pause));
	show(&r);
	kho_report_done(&r);
	if (rc)
		kho_ser_proc.discard(&b->in, NULL);
	return rc ? rc : kho_ser_proc.finish(&b->in, err);
}

/*
 * Make the mount namespace of pid again, in this process, and compare what is mounted there: place, directory of the file
 * system, type, options.
 */
static int rebuild(pid_t pid, struct kho_err *err)
{
	KhoProc__Namespace *was, *is;
	uint64_t begin;
	size_t differ = 0;
	int rc = kho_ns_read(pid, RUN, &was, err);

	if (!rc)
		rc = kho_mkdir(RUN "/stage", err);
	begin = kho_clock_us();
	if (!rc)
		rc = kho_ns_build(was, getenv("BENCH_ROOT") ? getenv("BENCH_ROOT") : "", RUN "/stage", err);
	printf("%zu mounts in %llu us\n", rc ? 0 : was->n_mounts, (unsigned long long)(kho_clock_us() - begin));
	if (!rc)
		rc = kho_ns_read(getpid(), RUN, &is, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < was->n_mounts || i < is->n_mounts; i++) {
		KhoProc__Mount none = KHO_PROC__MOUNT__INIT;
		const KhoProc__Mount *a = i < was->n_mounts ? was->mounts[i] : &none;
		const KhoProc__Mount *b = i < is->n_mounts ? is->mounts[i] : &none;

		if (!strcmp(a->target, b->target) && !strcmp(a->root, b->root) && !strcmp(a->type, b->type) &&
		    !strcmp(a->options, b->options) && !strcmp(a->super, b->super) && a->shared == b->shared)
			continue;
		printf("- %s %s %s %s %s %d\n+ %s %s %s %s %s %d\n", a->target, a->root, a->type, a->options,
		       a->super, a->shared, b->target, b->root, b->type, b->options, b->super, b->shared);
		differ++;
	}
	return differ ? kho_fail(err, -EINVAL, "%zu mounts differ", differ) : 0;
}

static pid_t parent_of(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	const char *close;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (kho_read_file(path, 65536, &text, NULL, NULL) || !(close = strrchr(text, ')')))
		return 0;
	return atoi(close + 4);
}

/* The root first, then whoever descends from it. */
static size_t tree_of(pid_t root, pid_t *out, size_t room)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	struct dirent *e;
	size_t n = 1;

	out[0] = root;
	while (d && (e = readdir(d)) && n < room) {
		pid_t pid = atoi(e->d_name), up = pid > 0 ? parent_of(pid) : 0;

		while (up > 1 && up != root)
			up = parent_of(up);
		if (pid > 0 && up == root)
			out[n++] = pid;
	}
	return n;
}

#define MAX_WORKLOADS 8

/* "PID,PID,..." */
static size_t workloads_of(const char *text, struct kho_workload *w)
{
	static pid_t pids[MAX_WORKLOADS][512];
	static char names[MAX_WORKLOADS][16];
	size_t n = 0;

	for (const char *p = text; p && *p && n < MAX_WORKLOADS; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL, n++) {
		snprintf(names[n], sizeof(names[n]), n ? "bench%zu" : "bench", n);
		w[n] = (struct kho_workload){ .name = names[n], .root = atoi(p), .pids = pids[n], .health_timeout_us = 5000000 };
		w[n].npids = tree_of(w[n].root, pids[n], sizeof(pids[n]) / sizeof(pids[n][0]));
		w[n].cg = getenv("BENCH_CGROUP");
		w[n].rss_bytes = 1ull << 30;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct kho_workload w[MAX_WORKLOADS] = { 0 };
	struct kho_workload_list l = { .w = w };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err err = KHO_ERR_INIT;
	struct both b = {
		.out = { .ops = &ops,
			 .workloads = &l,
			 .run_dir = RUN,
			 .images_dir = RUN "/out",
			 .sysroot = "" },
		.in = { .ops = &ops,
			.incoming = true,
			.workloads = &l,
			.run_dir = RUN,
			.images_dir = RUN "/in",
			.sysroot = "" },
	};
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2 || (strcmp(argv[1], "selftest") && argc < 3)) {
		fprintf(stderr, "usage: proc-bench probe PID | selftest | undo PID | move PID "
				"[ADDRESS:PORT]\n");
		return 2;
	}
	if (kho_mkdir(RUN "/out", &err) || kho_mkdir(RUN "/in", &err))
		return fail("mkdir", &err);
	if (!strcmp(argv[1], "selftest")) {
		rc = kho_proc_selftest(RUN, &r, &err);
		show(&r);
		return rc ? fail("selftest", &err) : kho_report_worst(&r) == KHO_V_NO;
	}
	l.n = workloads_of(argv[2], w);
	b.in.new_root = getenv("BENCH_ROOT");
	if (argc > 3) {
		w[0].health_tcp = argv[3];
		w[0].health_send = (char *)"PING\r\n";
		w[0].health_expect = (char *)"+PONG";
	}
	if (!strcmp(argv[1], "namespace")) {
		rc = rebuild(w[0].root, &err);
		return rc ? fail("namespace", &err) : 0;
	}
	rc = !strcmp(argv[1], "undo")	? undo(&b, &err)
	     : !strcmp(argv[1], "move") ? move(&b, &err)
					: kho_ser_proc.probe(&b.out, &r, &err);
	show(&r);
	if (rc) {
		struct kho_err e2 = KHO_ERR_INIT;

		kho_ser_proc.unprepare(&b.in, &e2);
		kho_ser_proc.unfreeze(&b.out, &e2);
		kho_ser_proc.unpreserve(&b.out, &e2);
	}
	kho_blob_done(&b.plan);
	kho_blob_done(&b.state);
	return rc ? fail(argv[1], &err) : 0;
}
