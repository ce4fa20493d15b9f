// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload that asks for the time all the time, so that it is in the vDSO half the times when it is stopped: THREADS threads, and what they have seen,
 * in FILE: how often they have asked, and the largest step back of the clock, in ns.   clocks PIDFILE FILE THREADS
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MOST 64
#define WORK	40  /* between two questions */

static struct seen {
	uint64_t asked, back_ns;
	volatile uint64_t mixed;
} seen[MOST];

static void *ask(void *arg)
{
	struct seen *s = arg;
	clockid_t clock = (s - seen) % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
	uint64_t last = 0;

	for (;;) {
		struct timespec t;
		uint64_t now;

		if (clock_gettime(clock, &t))
			abort();
		now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
		if (now < last && last - now > s->back_ns)
			s->back_ns = last - now;
		last = now;
		s->asked++;
		for (int i = 0; i < WORK; i++)
			s->mixed = s->mixed * 6364136223846793005u + 1442695040888963407u;
	}
	return NULL;
}

/* In one piece: somebody may be reading it. */
static int tell(const char *path, int threads)
{
	char fresh[256];
	FILE *f;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	f = fopen(fresh, "w");
	if (!f)
		return -1;
	for (int i = 0; i < threads; i++)
		fprintf(f, "%llu %llu\n", (unsigned long long)seen[i].asked, (unsigned long long)seen[i].back_ns);
	return fclose(f) || rename(fresh, path);
}

int main(int argc, char **argv)
{
	int threads = argc == 4 ? atoi(argv[3]) : 0;
	pthread_t t;
	FILE *f;

	if (threads < 1 || threads > MOST || daemon(0, 0))
		return 2;
	for (int i = 0; i < threads; i++)
		if (pthread_create(&t, NULL, ask, &seen[i]))
			return 1;
	f = fopen(argv[1], "w");
	if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
		return 1;
	while (!tell(argv[2], threads))
		usleep(200000);
	return 1;
}
