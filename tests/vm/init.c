/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PID 1 of a lab's first kernel: runs the set-up script once, then keeps the agent running and reaps. (PID 1 of every later
 * kernel is khoctl-incoming.)
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t start(const char *path)
{
	pid_t p = fork();

	if (!p) {
		setsid();
		execl(path, path, (char *)NULL);
		perror(path);
		_exit(127);
	}
	return p;
}

int main(void)
{
	pid_t setup, agent, p;

	setup = start("/usr/lib/khoctl-lab/setup");
	do
		p = wait(NULL);
	while (p > 0 && p != setup);
	agent = start("/usr/lib/khoctl-lab/vmagent");
	for (;;) {
		p = wait(NULL);
		if (p != agent)
			continue;
		fputs("lab: the agent ended, starting it again\n", stderr);
		sleep(1);
		agent = start("/usr/lib/khoctl-lab/vmagent");
	}
}
