// SPDX-License-Identifier: GPL-2.0-only
/*
 * The load "command": an operator's program, again and again.  What it has started is killed with the load's process, whose group it is in.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf/load_mix.h"
#include "bpf/pinned.h"
#include "lib/cleanup.h"
#include "lib/pid.h"
#include "lib/spawn.h"

static int command_open(struct kho_mix_place *p, struct kho_err *err)
{
	char *text = strdup(p->l->command); /* the words lie in it; it ends with the process */

	p->argv = text ? kho_split_words(text) : NULL;
	if (!p->argv || !p->argv[0])
		return kho_fail(err, -ENOMEM, "the command: out of memory");
	return access(p->argv[0], X_OK) < 0 ? kho_fail_errno(err, "%s", p->argv[0]) : 0;
}

static void __attribute__((noreturn)) run(char **argv)
{
	static char *const env[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	signal(SIGPIPE, SIG_DFL);
	execve(argv[0], argv, env);
	_exit(127);
}

/* Has it ended before the load has? Else it is killed. */
static bool ended(pid_t pid, uint64_t end_ns)
{
	_cleanup_close_ int fd = pidfd_open(pid, 0);
	uint64_t now = kho_now_ns();

	if (kho_pidfd_wait(fd, now < end_ns ? (end_ns - now) / 1000 + 1 : 0))
		return true;
	kill(pid, SIGKILL);
	return false;
}

static int command_op(struct kho_mix_place *p, struct kho_err *err)
{
	pid_t pid = fork();
	int status = 0;
	bool whole;

	if (!pid)
		run(p->argv);
	if (pid < 0)
		return kho_fail_errno(err, "fork");
	whole = ended(pid, p->end_ns);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!whole)
		return 1;
	if (WIFSIGNALED(status))
		return kho_fail(err, -EIO, "%s was killed by signal %d", p->argv[0], WTERMSIG(status));
	return WEXITSTATUS(status) ? kho_fail(err, -EIO, "%s ended with code %d", p->argv[0], WEXITSTATUS(status)) : 0;
}

static void command_close(struct kho_mix_place *p)
{
	free(p->argv);
}

const struct kho_mix_ops kho_mix_command = { command_open, command_op, command_close };
