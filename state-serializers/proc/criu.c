// SPDX-License-Identifier: GPL-2.0-only
/*
 * The client of CRIU: find, start, ask, hear, end.
 */
#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/criu.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "lib/pid.h"
#include "lib/spawn.h"
#include "state-serializers/proc/criu.h"

#define VERSION_MIN 40201 /* older ones dump no TCP socket on Linux 7.x */
#define DIE_US	    5000000
#define CHECK_LOG   "criu-check.log"

/* Plugins serve devices that no workload of ours may have; loading them costs time in the blackout. */
int kho_criu_plugins(const char *run_dir, char **out, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	int rc;

	if (asprintf(&path, "%s/no-plugins", run_dir) < 0)
		return kho_fail(err, -ENOMEM, "start criu: out of memory");
	rc = kho_mkdir(path, err);
	if (!rc)
		*out = steal_ptr(path);
	return rc;
}

int kho_criu_start(struct kho_criu *c, const char *path, char *const argv[], char *const envp[],
		   const int *fds, size_t n, struct kho_err *err)
{
	int all[KHO_SPAWN_FDS_MAX], sv[2], rc;

	if (n + 1 > KHO_SPAWN_FDS_MAX)
		return kho_fail(err, -E2BIG, "start criu: %zu files to inherit", n);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return kho_fail_errno(err, "start criu: socketpair");
	all[0] = sv[1];
	for (size_t i = 0; i < n; i++)
		all[i + 1] = fds[i];
	rc = kho_spawn_fds(path, argv, envp, all, n + 1, &c->pid, err);
	close(sv[1]);
	if (rc) {
		close(sv[0]);
		c->pid = 0;
		return rc;
	}
	c->sk = sv[0];
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	return 0;
}

int kho_criu_spawn(struct kho_criu *c, const char *run_dir, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL, *plugins = NULL, *env_plugins = NULL;
	char *argv[] = { (char *)"criu", (char *)"--no-default-config", (char *)"swrk", (char *)"3",
			 NULL };
	int rc;

	static_assert(KHO_SPAWN_FD == 3, "the worker's descriptor, in argv");
	if (kho_criu_find(&path, err))
		return err ? err->code : -ENOENT;
	rc = kho_criu_plugins(run_dir, &plugins, err);
	if (rc)
		return rc;
	if (asprintf(&env_plugins, "CRIU_LIBS_DIR=%s", plugins) < 0)
		return kho_fail(err, -ENOMEM, "start criu: out of memory");
	char *envp[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", env_plugins, NULL };

	return kho_criu_start(c, path, argv, envp, NULL, 0, err);
}

static void forget(struct kho_criu *c)
{
	if (c->sk >= 0)
		close(c->sk);
	/* one that waits for a disk which is gone does not even die: it is left to whoever ends this kernel */
	if (c->pid > 0 && (c->pidfd < 0 || kho_pidfd_wait(c->pidfd, DIE_US)))
		while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
			;
	if (c->pidfd >= 0)
		close(c->pidfd);
	*c = (struct kho_criu)KHO_CRIU_INIT;
}

void kho_criu_kill(struct kho_criu *c)
{
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
	forget(c);
}

void kho_criu_finish(struct kho_criu *c, uint64_t timeout_us)
{
	if (c->sk >= 0)
		close(c->sk);
	c->sk = -1;
	if (c->pid > 0 && c->pidfd >= 0 && !kho_pidfd_wait(c->pidfd, timeout_us))
		kill(c->pid, SIGKILL);
	forget(c);
}

int kho_criu_send(struct kho_criu *c, const CriuRpc__Req *req, struct kho_err *err)
{
	size_t len = criu_rpc__req__get_packed_size(req);
	_cleanup_free_ uint8_t *buf = malloc(len + 1);

	if (!buf)
		return kho_fail(err, -ENOMEM, "ask criu: out of memory");
	criu_rpc__req__pack(req, buf);
	if (send(c->sk, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
		return kho_fail_errno(err, "ask criu");
	return 0;
}

static int wait_readable(int fd, uint64_t timeout_us, struct kho_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t end = kho_clock_us() + timeout_us;

	for (;;) {
		uint64_t now = kho_clock_us();
		int n = poll(&p, 1, now >= end ? 0 : (int)((end - now + 999) / 1000));

		if (n > 0)
			return 0;
		if (n == 0)
			return kho_fail(err, -ETIMEDOUT, "criu did not answer within %llu ms",
					(unsigned long long)timeout_us / 1000);
		if (errno != EINTR)
			return kho_fail_errno(err, "wait for criu");
	}
}

int kho_criu_recv(struct kho_criu *c, uint64_t timeout_us, CriuRpc__Resp **out, struct kho_err *err)
{
	uint8_t buf[8192];
	ssize_t n;
	int rc = wait_readable(c->sk, timeout_us, err);

	if (rc)
		return rc;
	n = recv(c->sk, buf, sizeof(buf), 0);
	if (n <= 0)
		return kho_fail(err, -EPIPE, "criu ended without an answer");
	*out = criu_rpc__resp__unpack(NULL, (size_t)n, buf);
	return *out ? 0 : kho_fail(err, -EPROTO, "criu: answer of %zd bytes is not understood", n);
}

int kho_criu_answer(struct kho_criu *c, bool go_on, struct kho_err *err)
{
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;

	req.type = CRIU_RPC__TYPE__NOTIFY;
	req.has_notify_success = 1;
	req.notify_success = go_on;
	return kho_criu_send(c, &req, err);
}

/* CRIU's own limits; and a process that is new since the last round, which it says and goes on. */
static bool harmless(const char *line, size_t len)
{
	return memmem(line, len, "rlimit:", 7) || memmem(line, len, "No parent image found", 21);
}

/*
 * "Error (criu/files.c:12): text" -> "text". Of a piece of work it is the first line that is not
 * harmless, what follows is a consequence; of its look at the kernel the last one: what it
 * tries and does without comes before.
 */
static bool complaint_of(const char *log, bool last, char out[256])
{
	_cleanup_free_ char *text = NULL;
	bool found = false;
	const char *p = NULL;

	if (!log || kho_read_file(log, 1 << 20, &text, NULL, NULL))
		return false;
	for (p = strstr(text, "Error"); p && (last || !found); p = strstr(p + 1, "Error")) {
		size_t len = strcspn(p, "\n");
		const char *colon = memmem(p, len, "): ", 3);

		if (!colon || harmless(p, len))
			continue;
		colon += 3;
		snprintf(out, 256, "%.*s", (int)(len - (size_t)(colon - p)), colon);
		found = true;
	}
	return found;
}

static int refused(struct kho_err *err, const CriuRpc__Resp *resp, const char *what, const char *log,
		   bool last)
{
	int code = resp->has_cr_errno && resp->cr_errno > 0 && resp->cr_errno < 4096
			   ? -resp->cr_errno
			   : -EIO;
	const char *msg = resp->cr_errmsg ? resp->cr_errmsg : "it failed, and its log names no error";
	char complaint[256];

	if (complaint_of(log, last, complaint))
		msg = complaint;
	return kho_fail(err, code, "criu %s: %.*s", what, (int)strcspn(msg, "\n"), msg);
}

int kho_criu_refused(struct kho_err *err, const CriuRpc__Resp *resp, const char *what,
		     const char *log)
{
	return refused(err, resp, what, log, false);
}

/* One question to a worker that stays open for the next; 1: it was answered with no. */
static int ask(struct kho_criu *c, CriuRpc__Req *req, CriuRpc__Resp **out, struct kho_err *err)
{
	int rc;

	req->has_keep_open = req->keep_open = 1;
	rc = kho_criu_send(c, req, err);
	if (!rc)
		rc = kho_criu_recv(c, KHO_PATIENCE_US, out, err);
	return rc ? rc : !(*out)->success;
}

/*
 * CRIU says no more than "no" to a question for features, and writes no log then. Its own check begins
 * with the same look at the kernel, and keeps one.
 */
static int why_not(struct kho_criu *c, const char *run_dir, struct kho_err *err)
{
	CriuRpc__Opts opts = CRIU_RPC__OPTS__INIT;
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;
	_cleanup_free_ char *log = NULL;
	CriuRpc__Resp *resp = NULL;
	int rc;

	if (asprintf(&log, "%s/" CHECK_LOG, run_dir) < 0)
		return kho_fail(err, -ENOMEM, "ask criu: out of memory");
	opts.images_dir_fd = -1;
	opts.images_dir = (char *)run_dir;
	opts.has_log_level = 1;
	opts.log_level = 1;
	opts.log_file = (char *)CHECK_LOG;
	req.type = CRIU_RPC__TYPE__CHECK;
	req.opts = &opts;
	rc = kho_criu_send(c, &req, err);
	if (!rc)
		rc = kho_criu_recv(c, KHO_PATIENCE_US, &resp, err);
	if (!rc && resp->success)
		rc = kho_fail(err, -EIO, "criu features: it failed once, and found nothing wrong when it looked again");
	else if (!rc)
		rc = refused(err, resp, "cannot work on this kernel", log, true);
	if (resp)
		criu_rpc__resp__free_unpacked(resp, NULL);
	unlink(log);
	return rc;
}

static int ask_version(struct kho_criu *c, struct kho_criu_facts *out, struct kho_err *err)
{
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;
	CriuRpc__Resp *resp = NULL;
	int rc;

	req.type = CRIU_RPC__TYPE__VERSION;
	rc = ask(c, &req, &resp, err);
	if (rc < 0)
		return rc;
	if (resp->version)
		out->version = (unsigned)resp->version->major * 10000 +
			       (unsigned)resp->version->minor * 100 +
			       (unsigned)resp->version->sublevel;
	criu_rpc__resp__free_unpacked(resp, NULL);
	if (out->version < VERSION_MIN)
		return kho_fail(err, -EPROTONOSUPPORT,
				"criu is %u.%u.%u, which cannot dump TCP sockets on newer kernels;"
				" install criu 4.2.1 or newer",
				out->version / 10000, out->version / 100 % 100, out->version % 100);
	return 0;
}

static int ask_features(struct kho_criu *c, const char *run_dir, struct kho_criu_facts *out,
			struct kho_err *err)
{
	CriuRpc__Features f = CRIU_RPC__FEATURES__INIT;
	CriuRpc__Req req = CRIU_RPC__REQ__INIT;
	CriuRpc__Resp *resp = NULL;
	int rc;

	req.type = CRIU_RPC__TYPE__FEATURE_CHECK;
	f.has_mem_track = f.mem_track = f.has_lazy_pages = f.lazy_pages = 1;
	req.features = &f;
	rc = ask(c, &req, &resp, err);
	if (rc < 0)
		return rc;
	if (resp->features) {
		out->mem_track = resp->features->mem_track;
		out->lazy_pages = resp->features->lazy_pages;
	}
	criu_rpc__resp__free_unpacked(resp, NULL);
	return rc ? why_not(c, run_dir, err) : 0;
}

int kho_criu_check(const char *run_dir, struct kho_criu_facts *out, struct kho_err *err)
{
	struct kho_criu c = KHO_CRIU_INIT;
	int rc;

	*out = (struct kho_criu_facts){ 0 };
	rc = kho_criu_spawn(&c, run_dir, err);
	if (rc)
		return rc;
	rc = ask_version(&c, out, err);
	if (!rc)
		rc = ask_features(&c, run_dir, out, err);
	kho_criu_finish(&c, 1000000);
	return rc;
}
