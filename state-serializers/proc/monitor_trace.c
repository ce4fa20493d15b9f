// SPDX-License-Identifier: GPL-2.0-only
/*
 * conmon's first steps, traced. It forks to become a daemon: that call is not made and seems to have
 * returned 0, as it does in the child. It makes a pipe for each standard stream of a container that is
 * to come: after each such call our end of the existing container's pipe is put in the place of the
 * end that conmon keeps. Then it is let go.
 *
 * A shim, which has threads, works already when it makes its pipes: it is stopped for a moment instead, when it has made them.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/patience.h"
#include "state-serializers/proc/monitor.h"

#define SYSCALL_LEN 2
#define STOP	    (SIGTRAP | 0x80)

struct trace {
	pid_t pid;
	uint64_t end_us;
	bool executed, forked, faking;
	const uint32_t *numbers;
	size_t n, done;
	uint64_t pipe_at; /* where the call that is under way puts its result */
	uint64_t held;	  /* signals that came while calls were made in its name */
};

/* The next stop: its wait status, or a negative error. */
static int next_stop(const struct trace *t, int *status, struct kho_err *err)
{
	pid_t pid;

	while ((pid = waitpid(t->pid, status, __WALL | WNOHANG)) <= 0) {
		if (pid < 0 && errno != EINTR)
			return kho_fail_errno(err, "wait for it");
		if (kho_clock_us() > t->end_us)
			return kho_fail(err, -ETIMEDOUT, "it does not get ready");
		usleep(200);
	}
	if (WIFEXITED(*status) || WIFSIGNALED(*status))
		return kho_fail(err, -ECHILD, "it ended (%s %d)",
				WIFEXITED(*status) ? "status" : "signal",
				WIFEXITED(*status) ? WEXITSTATUS(*status) : WTERMSIG(*status));
	return 0;
}

static int go_on(const struct trace *t, int sig, struct kho_err *err)
{
	return ptrace(PTRACE_SYSCALL, t->pid, NULL, (void *)(intptr_t)sig)
		       ? kho_fail_errno(err, "go on")
		       : 0;
}

/* Through one call that is made in its name, from the end of another: both of its stops. */
static int call(struct trace *t, const struct user_regs_struct *at, long nr, long a, long b,
		long c, struct kho_err *err)
{
	struct user_regs_struct r = *at;
	int status, rc = 0;

	r.rip -= SYSCALL_LEN;
	r.rax = (unsigned long)nr;
	r.orig_rax = (unsigned long)-1;
	r.rdi = (unsigned long)a;
	r.rsi = (unsigned long)b;
	r.rdx = (unsigned long)c;
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &r))
		return kho_fail_errno(err, "set its registers");
	for (int stops = 0; !rc && stops < 2;) {
		rc = go_on(t, 0, err);
		if (!rc)
			rc = next_stop(t, &status, err);
		if (!rc && WSTOPSIG(status) == STOP)
			stops++;
		else if (!rc && !(status >> 16) && WSTOPSIG(status) < 64)
			t->held |= 1ull << WSTOPSIG(status);
	}
	if (!rc && ptrace(PTRACE_GETREGS, t->pid, NULL, &r))
		rc = kho_fail_errno(err, "get its registers");
	if (!rc && (long)r.rax < 0)
		rc = kho_fail(err, (int)r.rax, "call %ld: %s", nr, strerror((int)-r.rax));
	if (!rc && ptrace(PTRACE_SETREGS, t->pid, NULL, at))
		rc = kho_fail_errno(err, "set its registers");
	return rc;
}

/* A pipe was made: ours takes the place of the end that it keeps. */
static int swap(struct trace *t, const struct user_regs_struct *at, struct kho_err *err)
{
	int fds[2], ours = KHO_MONITOR_FD + (int)t->done, keeps, rc;
	struct iovec to = { fds, sizeof(fds) }, from = { (void *)(uintptr_t)t->pipe_at, sizeof(fds) };

	if (process_vm_readv(t->pid, &to, 1, &from, 1, 0) != (ssize_t)sizeof(fds))
		return kho_fail_errno(err, "read its memory");
	keeps = fds[t->numbers[t->done] ? 0 : 1];
	rc = call(t, at, SYS_dup3, ours, keeps, O_CLOEXEC, err);
	if (!rc)
		rc = call(t, at, SYS_close, ours, 0, 0, err);
	t->done += !rc;
	return rc;
}

/* What came meanwhile is sent again, to the process. */
static void let_go(struct trace *t)
{
	(void)ptrace(PTRACE_DETACH, t->pid, NULL, NULL); /* it may have ended */
	for (int sig = 1; sig < 64; sig++)
		if (t->held >> sig & 1)
			kill(t->pid, sig);
}

static bool is_fork(uint64_t nr)
{
	return nr == SYS_clone || nr == SYS_clone3 || nr == SYS_fork || nr == SYS_vfork;
}

static int on_entry(struct trace *t, const struct __ptrace_syscall_info *i, struct kho_err *err)
{
	struct user_regs_struct r;

	t->pipe_at = i->entry.nr == SYS_pipe2 || i->entry.nr == SYS_pipe ? i->entry.args[0] : 0;
	if (t->forked || !is_fork(i->entry.nr))
		return 0;
	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &r))
		return kho_fail_errno(err, "get its registers");
	r.orig_rax = (unsigned long)-1; /* no such call: nothing happens */
	t->faking = true;
	return ptrace(PTRACE_SETREGS, t->pid, NULL, &r) ? kho_fail_errno(err, "set its registers") : 0;
}

static int on_exit_of(struct trace *t, const struct __ptrace_syscall_info *i, struct kho_err *err)
{
	struct user_regs_struct r;

	if (!t->faking && (!t->forked || !t->pipe_at || i->exit.is_error))
		return 0;
	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &r))
		return kho_fail_errno(err, "get its registers");
	if (!t->faking)
		return swap(t, &r, err);
	r.rax = 0;
	t->faking = false;
	t->forked = true;
	return ptrace(PTRACE_SETREGS, t->pid, NULL, &r) ? kho_fail_errno(err, "set its registers") : 0;
}

static int on_stop(struct trace *t, int status, int *sig, struct kho_err *err)
{
	struct __ptrace_syscall_info i;

	*sig = 0;
	if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8))
		t->executed = true;
	else if (WSTOPSIG(status) != STOP && !(status >> 16))
		*sig = WSTOPSIG(status); /* on its way to the process */
	if (!t->executed || WSTOPSIG(status) != STOP)
		return 0;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, (void *)sizeof(i), &i) <= 0)
		return kho_fail_errno(err, "look at its call");
	if (i.op == PTRACE_SYSCALL_INFO_ENTRY)
		return on_entry(t, &i, err);
	return i.op == PTRACE_SYSCALL_INFO_EXIT ? on_exit_of(t, &i, err) : 0;
}

int kho_monitor_trace(pid_t pid, int go, const uint32_t *numbers, size_t n, struct kho_err *err)
{
	struct trace t = { .pid = pid,
			   .end_us = kho_clock_us() + KHO_PATIENCE_US,
			   .numbers = numbers,
			   .n = n };
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC;
	int status, sig = 0, rc = 0;

	/* before it executes anything: it waits for us */
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)options) || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
		return kho_fail_errno(err, "trace process %d", pid);
	if (send(go, "g", 1, MSG_NOSIGNAL) != 1)
		return kho_fail_errno(err, "tell process %d", pid);
	while (!rc && (!t.forked || t.done < n)) {
		rc = next_stop(&t, &status, err);
		if (!rc)
			rc = on_stop(&t, status, &sig, err);
		if (!rc && (!t.forked || t.done < n))
			rc = go_on(&t, sig, err);
	}
	if (rc && !ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
		t.end_us = kho_clock_us() + KHO_PATIENCE_US, (void)!next_stop(&t, &status, NULL);
	let_go(&t);
	return rc;
}

/* To its next call, which is not made: *at is where it can be made after all. */
static int reach_call(struct trace *t, struct user_regs_struct *at, struct kho_err *err)
{
	struct __ptrace_syscall_info i = { 0 };
	struct user_regs_struct r;
	int status, sig = 0, rc = next_stop(t, &status, err);

	for (bool entered = false; !rc && !entered;) {
		rc = go_on(t, sig, err);
		if (!rc)
			rc = next_stop(t, &status, err);
		sig = rc || WSTOPSIG(status) == STOP || status >> 16 ? 0 : WSTOPSIG(status);
		entered = !rc && WSTOPSIG(status) == STOP &&
			  ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, (void *)sizeof(i), &i) > 0 && i.op == PTRACE_SYSCALL_INFO_ENTRY;
	}
	if (!rc && ptrace(PTRACE_GETREGS, t->pid, NULL, at))
		rc = kho_fail_errno(err, "get its registers");
	r = *at;
	r.orig_rax = (unsigned long)-1;
	if (!rc && ptrace(PTRACE_SETREGS, t->pid, NULL, &r))
		rc = kho_fail_errno(err, "set its registers");
	if (!rc)
		rc = go_on(t, 0, err);
	return rc ? rc : next_stop(t, &status, err);
}

int kho_monitor_move_fds(pid_t pid, const struct kho_monitor_move *moves, size_t n, struct kho_err *err)
{
	struct trace t = { .pid = pid, .end_us = kho_clock_us() + KHO_PATIENCE_US };
	struct user_regs_struct at, again;
	int rc;

	if (!n)
		return 0;
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
		return kho_fail_errno(err, "trace process %d", pid);
	rc = reach_call(&t, &at, err);
	if (rc) {
		let_go(&t);
		return rc;
	}
	for (size_t i = 0; !rc && i < n; i++) {
		rc = call(&t, &at, SYS_dup3, moves[i].from, moves[i].to, O_CLOEXEC, err);
		if (!rc)
			rc = call(&t, &at, SYS_close, moves[i].from, 0, 0, err);
	}
	again = at;
	again.rip -= SYSCALL_LEN;
	again.rax = at.orig_rax;
	again.orig_rax = (unsigned long)-1;
	if (ptrace(PTRACE_SETREGS, pid, NULL, &again) && !rc)
		rc = kho_fail_errno(err, "set its registers");
	let_go(&t);
	return rc ? kho_wrap(err, "the container's pipes to process %d", pid) : 0;
}
