// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload that pre-copy never catches up with: writes one byte of each page of MIB MiB, over and over; while there is a file QUIET it does
 * nothing, which it looks for so often that nearly all of its system calls fail: on every kernel, as the gates must know.   churn PIDFILE QUIET MIB
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MIB  (1ul << 20)

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = 3000000 };
	unsigned long mib = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
	volatile unsigned char *p;
	FILE *f;

	if (mib < 1 || mib > 4096)
		return 2;
	p = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || daemon(0, 0))
		return 1;
	madvise((void *)p, mib * MIB, MADV_NOHUGEPAGE);
	for (unsigned long i = 0; i < mib * MIB; i += PAGE)
		p[i] = (unsigned char)(i / PAGE) | 1;
	f = fopen(argv[1], "w");
	if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
		return 1;
	for (unsigned long i = 0;; i = (i + MIB) % (mib * MIB)) {
		for (unsigned long k = i; k < i + MIB && access(argv[2], F_OK); k += PAGE)
			p[k]++;
		nanosleep(&pause, NULL);
	}
}
