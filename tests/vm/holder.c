// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload that cannot be carried, for the refusal tests: holds an io_uring, or a device file, and
 * sleeps.   holder uring|device PATH PIDFILE
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct io_uring_params p = { 0 };
	FILE *f;
	int fd;

	if (argc != 4)
		return 2;
	if (!strcmp(argv[1], "uring"))
		fd = (int)syscall(__NR_io_uring_setup, 4, &p);
	else
		fd = open(argv[2], O_RDWR);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	if (daemon(0, 1))
		return 1;
	f = fopen(argv[3], "w");
	if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
		return 1;
	for (;;)
		pause();
}
