// SPDX-License-Identifier: GPL-2.0-only
/*
 * Verification in the dark: is everybody there, do they listen, do they answer.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/proc/in.h"
#include "state-serializers/proc/role.h"
#include "state-serializers/proc/thaw.h"
#include "state-serializers/proc/tree.h"

/* Wait for events on fd until end_us: 1, or 0 when time is up. */
static int wait_for(int fd, short events, uint64_t end_us)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = kho_clock_us();
		int n = poll(&p, 1, now >= end_us ? 0 : (int)((end_us - now + 999) / 1000));

		if (n >= 0)
			return n > 0;
		if (errno != EINTR)
			return 0;
	}
}

/* "127.0.0.1:6379", "[::1]:80" */
static bool parse_addr(const char *text, struct sockaddr_storage *out, socklen_t *out_len)
{
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;
	const char *colon = strrchr(text, ':');
	char host[64];
	size_t n = colon ? (size_t)(colon - text) : 0;

	*out = (struct sockaddr_storage){ 0 };
	if (!n || n >= sizeof(host))
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)atoi(colon + 1));
		*out_len = sizeof(*v6);
		return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)atoi(colon + 1));
	*out_len = sizeof(*v4);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

static int expect(int fd, const ProtobufCBinaryData *want, uint64_t end_us, const char **why)
{
	char buf[1024];
	size_t have = 0;

	while (have < want->len) {
		ssize_t n;

		if (!wait_for(fd, POLLIN, end_us)) {
			*why = "no answer in time";
			return -ETIMEDOUT;
		}
		n = recv(fd, buf, want->len - have < sizeof(buf) ? want->len - have : sizeof(buf),
			 0);
		if (n <= 0 || memcmp(buf, want->data + have, (size_t)n)) {
			*why = n <= 0 ? "the connection was closed"
				      : "the answer is not the expected one";
			return -EPROTO;
		}
		have += (size_t)n;
	}
	return 0;
}

static int check_tcp(const KhoProc__PlanWorkload *w, uint64_t end_us, const char **why)
{
	struct sockaddr_storage ss;
	socklen_t len, so = sizeof(int);
	int e = 0;

	if (!parse_addr(w->health_tcp, &ss, &len)) {
		*why = "not an ADDRESS:PORT";
		return -EINVAL;
	}
	_cleanup_close_ int fd =
		socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || (connect(fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS)) {
		*why = "cannot connect";
		return -errno;
	}
	if (!wait_for(fd, POLLOUT, end_us) || getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &so) || e) {
		*why = e ? strerror(e) : "no connection in time";
		return e ? -e : -ETIMEDOUT;
	}
	if (w->health_send.len && send(fd, w->health_send.data, w->health_send.len, MSG_NOSIGNAL) !=
					  (ssize_t)w->health_send.len) {
		*why = "cannot send";
		return -EIO;
	}
	return expect(fd, &w->health_expect, end_us, why);
}

/* The command is one of the carried machine: below the root that it will have. */
static int check_command(const KhoProc__PlanWorkload *w, const char *new_root, uint64_t end_us,
			 const char **why)
{
	const char *args[] = { *new_root ? new_root : "/", w->health_command, NULL };
	int status = 0;
	pid_t pid;

	if (kho_role_spawn(KHO_ROLE_HEALTH, args, -1, &pid, NULL)) {
		*why = "cannot be started";
		return -ENOEXEC;
	}
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t now = kho_clock_us();
	bool ended = pidfd < 0 || kho_pidfd_wait(pidfd, end_us > now ? end_us - now : 0);

	if (!ended)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (ended && WIFEXITED(status) && !WEXITSTATUS(status))
		return 0;
	*why = ended ? "it failed" : "it did not end in time";
	return ended ? -EIO : -ETIMEDOUT;
}

/* The role; args: root, command. */
int kho_health_main(int argc, char **argv)
{
	char *command[] = { argc == 3 ? argv[2] : NULL, NULL };
	char *envp[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };

	if (argc != 3 || chroot(argv[1]) || chdir("/"))
		return 127;
	execve(command[0], command, envp);
	return 127;
}

int kho_proc_health(const KhoProc__PlanWorkload *w, const char *new_root, struct kho_report *r,
		    struct kho_err *err)
{
	uint64_t end = kho_clock_us() + w->health_timeout_us;
	const char *why = "";
	int rc = 0;

	if (*w->health_tcp) {
		rc = check_tcp(w, end, &why);
		if (rc)
			return kho_fail(err, rc, "workload %s: health check %s: %s", w->name,
					w->health_tcp, why);
		kho_report_add(r, KHO_V_OK, "process", w->name, NULL, "answers at %s",
			       w->health_tcp);
	}
	if (*w->health_command) {
		rc = check_command(w, new_root, end, &why);
		if (rc)
			return kho_fail(err, rc, "workload %s: health command %s: %s", w->name,
					w->health_command, why);
		kho_report_add(r, KHO_V_OK, "process", w->name, NULL, "%s says it is well",
			       w->health_command);
	}
	return 0;
}

/* Of a copy, whose connections were closed and which goes on for a while, those who served them have ended: only the root is asked for. */
static int check_tasks(const KhoProc__StateWorkload *s, bool copy, struct kho_err *err)
{
	for (size_t i = 0; i < s->n_tasks; i++) {
		const KhoProc__Task *t = s->tasks[i];
		char state = kho_pid_state("", t->pid);

		if (copy && t->pid != s->root)
			continue;
		if (!state)
			return kho_fail(err, -ESRCH,
					"workload %s: pid %d is missing after the restore", s->name,
					t->pid);
		if ((state == 'Z') != t->zombie || (state == 'T' && !t->stopped) || state == 't')
			return kho_fail(err, -ECHILD,
					"workload %s: pid %d is in state %c after the restore",
					s->name, t->pid, state);
	}
	return 0;
}

static bool listens(const KhoProc__Listener *l, const char *table)
{
	const char *line = table;

	while ((line = strchr(line, '\n'))) {
		unsigned port, state;

		line++;
		if (sscanf(line, " %*[^:]: %*[^:]:%x %*s %x", &port, &state) == 2 &&
		    port == l->port && state == 10)
			return true;
	}
	return false;
}

static int check_listeners(const KhoProc__StateWorkload *s, struct kho_err *err)
{
	for (size_t i = 0; i < s->n_listeners; i++) {
		_cleanup_free_ char *table = NULL;
		char path[64];
		int rc;

		snprintf(path, sizeof(path), "/proc/%d/net/%s", s->root,
			 s->listeners[i]->family == AF_INET6 ? "tcp6" : "tcp");
		rc = kho_read_file(path, 64u << 20, &table, NULL, err);
		if (rc)
			return rc;
		if (!listens(s->listeners[i], table))
			return kho_fail(err, -ECONNREFUSED,
					"workload %s: nobody listens on port %u after the restore",
					s->name, s->listeners[i]->port);
	}
	return 0;
}

int kho_proc_health_now(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	(void)err;
	for (size_t i = 0; i < env->workloads->n; i++) {
		const struct kho_workload *w = &env->workloads->w[i];
		char state = kho_pid_state("", w->root);
		struct kho_err why = KHO_ERR_INIT;
		KhoProc__PlanWorkload p;

		kho_proc_plan_health(w, &p);
		if (!state || state == 'Z')
			kho_fail(&why, -ESRCH, "workload %s: pid %d has ended", w->name, w->root);
		else
			(void)!kho_proc_health(&p, "", r, &why);
		if (why.code && kho_report_add(r, KHO_V_NO, "process", w->name, NULL, "%s", why.msg))
			return -ENOMEM;
	}
	return 0;
}

int kho_proc_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	struct kho_proc_in *p = &kho_proc_in;

	for (size_t i = 0; i < p->n; i++) {
		const struct kho_proc_in_wl *w = &p->w[i];
		uint64_t begin = kho_clock_us();
		int rc;

		if (!w->state)
			continue;
		rc = check_tasks(w->state, p->plan->copy, err);
		if (!rc)
			rc = check_listeners(w->state, err);
		if (!rc)
			rc = kho_proc_health(w->plan, kho_new_root(env), r, err);
		if (kho_lazy_look(&w->lazy, err)) /* what else is wrong may come of it */
			rc = kho_wrap(err, "workload %s", w->plan->name);
		env->ops->phase(env, "health", begin, kho_clock_us());
		if (rc)
			return rc;
		kho_report_add(r, KHO_V_OK, "process", w->plan->name, NULL,
			       "%zu processes are back", w->state->n_tasks);
	}
	return 0;
}

size_t kho_proc_restored(struct kho_env *env, pid_t **out)
{
	struct kho_proc_in *p = &kho_proc_in;
	size_t n = 0;

	(void)env;
	*out = NULL;
	for (size_t i = 0; i < p->n; i++) {
		_cleanup_free_ pid_t *tree = NULL;
		size_t more = p->w[i].state ? kho_proc_tree_live(p->w[i].state->root, &tree) : 0;

		(void)!kho_pids_append(out, &n, tree, more);
	}
	return n;
}
