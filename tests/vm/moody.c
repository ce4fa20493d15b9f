// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload that is well on the kernel it was started on, and on any other one is as the file MOOD says: "errors", its calls fail; "crash",
 * what it starts dies of a bad address; anything else, it is well there, too.   moody PIDFILE MOOD
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char mood_of(const char *path)
{
	FILE *f = fopen(path, "r");
	int c = f ? fgetc(f) : 0;

	if (f)
		fclose(f);
	return (char)c;
}

static void bad_address(volatile char *where)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	signal(SIGSEGV, SIG_DFL);
	*where = 1;
	_exit(0);
}

static void be(char mood)
{
	pid_t pid;

	if (mood == 'e')
		for (int i = 0; i < 100; i++)
			close(-1);
	if (mood != 'c')
		return;
	pid = fork();
	if (!pid)
		bad_address((char *)sbrk(0) + (1 << 20));
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct utsname at_start, now;
	FILE *f;

	if (argc != 3 || uname(&at_start) || daemon(0, 0))
		return 2;
	f = fopen(argv[1], "w");
	if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
		return 1;
	for (;;) {
		nanosleep(&pause, NULL);
		if (!uname(&now) && strcmp(now.release, at_start.release))
			be(mood_of(argv[2]));
	}
}
