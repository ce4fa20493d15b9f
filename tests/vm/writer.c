// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload that lives on several file systems: appends one numbered line to DIR/lines of each, with fdatasync, fifty times a second.
 * A write that fails is the last one, and says why.   writer PIDFILE DIR...
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX 16

int main(int argc, char **argv)
{
	struct timespec pause = { .tv_nsec = 20000000 }, now;
	int fd[MAX], n = argc - 2;
	char text[4096];
	FILE *f;

	if (n < 1 || n > MAX)
		return 2;
	for (int i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%s/lines", argv[2 + i]);
		fd[i] = open(text, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (fd[i] < 0) {
			perror(text);
			return 1;
		}
	}
	if (daemon(0, 0))
		return 1;
	f = fopen(argv[1], "w");
	if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
		return 1;
	for (unsigned long number = 1;; number++) {
		clock_gettime(CLOCK_REALTIME, &now);
		int len = snprintf(text, sizeof(text), "%lu %lld.%03ld\n", number, (long long)now.tv_sec, now.tv_nsec / 1000000);

		for (int i = 0; i < n; i++) {
			if (write(fd[i], text, len) == len && !fdatasync(fd[i]))
				continue;
			snprintf(text, sizeof(text), "%s: %s\n", argv[2 + i], strerror(errno));
			f = fopen("/run/writer.failed", "w");
			if (f)
				fputs(text, f), fclose(f);
			return 1;
		}
		nanosleep(&pause, NULL);
	}
}
