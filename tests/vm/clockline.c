/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * clockline: one point of the line that a kernel's wall clock is over the TSC, which both kernels share: "TSC NANOSECONDS", the
 * pair with the least time between its readings. Two points on each side of an upgrade tell step and drift of the clock.
 *   clockline ntp [WORD=NUMBER...]	set (freq, status, maxerror, esterror, constant, tai, zone, offset) and print what the kernel
 *					knows of its clock: what ntpd has told it, and its time zone
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static void point(void)
{
	uint64_t best = UINT64_MAX, at = 0;
	int64_t ns = 0;

	for (int i = 0; i < 2000; i++) {
		struct timespec t;
		unsigned cpu;
		uint64_t a = __rdtscp(&cpu), b;

		clock_gettime(CLOCK_REALTIME, &t);
		b = __rdtscp(&cpu);
		if (b - a >= best)
			continue;
		best = b - a;
		at = a + best / 2;
		ns = t.tv_sec * 1000000000ll + t.tv_nsec;
	}
	printf("%llu %lld\n", (unsigned long long)at, (long long)ns);
}

static int zone(long minutes)
{
	struct timezone tz = { (int)minutes, 0 };

	return (int)syscall(SYS_settimeofday, NULL, &tz);
}

/* The kernel reads `constant` for the time constant or for TAI, one at a time. */
static int set(const char *word, long v)
{
	struct timex t = { 0 };

	if (!strcmp(word, "zone"))
		return zone(v);
	if (!strcmp(word, "freq"))
		t = (struct timex){ .modes = ADJ_FREQUENCY, .freq = v };
	else if (!strcmp(word, "status"))
		t = (struct timex){ .modes = ADJ_STATUS | ADJ_NANO, .status = (int)v };
	else if (!strcmp(word, "maxerror"))
		t = (struct timex){ .modes = ADJ_MAXERROR, .maxerror = v };
	else if (!strcmp(word, "esterror"))
		t = (struct timex){ .modes = ADJ_ESTERROR, .esterror = v };
	else if (!strcmp(word, "constant"))
		t = (struct timex){ .modes = ADJ_TIMECONST, .constant = v };
	else if (!strcmp(word, "tai"))
		t = (struct timex){ .modes = ADJ_TAI, .constant = v };
	else if (!strcmp(word, "offset"))
		t = (struct timex){ .modes = ADJ_OFFSET, .offset = v };
	else
		return -1;
	return adjtimex(&t) < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct timezone tz = { 0, 0 };
	struct timex t = { 0 };

	if (argc < 2 || strcmp(argv[1], "ntp")) {
		point();
		return 0;
	}
	for (int i = 2; i < argc; i++) {
		char *eq = strchr(argv[i], '=');

		if (eq)
			*eq = '\0';
		if (!eq || set(argv[i], strtol(eq + 1, NULL, 0)) < 0) {
			perror(argv[i]);
			return 1;
		}
	}
	if (adjtimex(&t) < 0 || syscall(SYS_gettimeofday, NULL, &tz) < 0)
		return 1;
	printf("freq=%ld status=0x%x constant=%ld tai=%d tick=%ld zone=%d\n", t.freq, (unsigned)t.status, t.constant, t.tai, t.tick,
	       tz.tz_minuteswest);
	printf("maxerror=%ld esterror=%ld offset=%ld\n", t.maxerror, t.esterror, t.offset);
	return 0;
}
