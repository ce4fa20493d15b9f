/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does every CPU of this machine always wake up? Keeps all CPUs going idle and waking, by their own timers and by each other,
 * and says who slept 5 seconds too long: what a lost timer or inter-processor interrupt looks like. Made to judge an emulator
 * (docs/TESTING.md), so it can be PID 1 of a bare kernel, too (sleepers.sh).
 *   sleepers [SECONDS]	at least; in turns of 10: timers, wakes, both, both while CPUs go offline and come back
 * Ends with 0 if nobody overslept. As PID 1 it takes $SECONDS, and restarts the machine.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#define CPUS 64
#define TURN 10
#define TIMERS 3			/* of each CPU */
#define LATE 5000000000ull
#define NSEC 1000000000ull

enum kind { TIMER, PING, PONG, WATCH, KINDS };
static const char *const kind_names[KINDS] = { "timer", "ping", "pong", "watch" };

struct sleeper {
	pthread_t thread;
	enum kind kind;
	int cpu;
	int in, out;			/* PING, PONG */
	_Atomic uint64_t due;		/* when it has to be awake; 0: nothing to wait for */
	uint64_t runs, worst, late, reported;
};

static struct sleeper all[CPUS * (KINDS + TIMERS)];
static int sleepers, cpus;
static atomic_int stop;
static atomic_int stuck;
static int console = -1;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NSEC + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t due)
{
	struct timespec t = { .tv_sec = (time_t)(due / NSEC), .tv_nsec = (long)(due % NSEC) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void woke(struct sleeper *s)
{
	uint64_t t = now() - s->due;

	s->due = 0;
	s->runs++;
	if (t > s->worst)
		s->worst = t;
	if (t > NSEC)
		s->late++;
}

static void pin(pthread_t thread, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(thread, sizeof(set), &set);
}

/* Every CPU looks at all sleepers: the one that stands still cannot say so. */
static void watch(void)
{
	uint64_t t = now(), due;

	for (int i = 0; i < sleepers; i++) {
		due = all[i].due;
		if (!due || t < due + LATE || all[i].reported == due)
			continue;
		all[i].reported = due;
		stuck++;
		printf("SLEEPERS: STUCK: cpu %d, %s, for %llu ms (seen by cpu %d)\n", all[i].cpu, kind_names[all[i].kind],
		       (unsigned long long)((t - due) / 1000000), sched_getcpu());
	}
}

static void *sleeper(void *arg)
{
	struct sleeper *s = arg;
	unsigned int seed = (unsigned int)(s - all);
	char c = 0;

	while (!stop) {
		switch (s->kind) {
		case TIMER:
		case WATCH:
			s->due = now() + (s->kind == WATCH ? NSEC / 4 : 50000 + (uint64_t)rand_r(&seed) % (rand_r(&seed) % 8 ? 2000000 : 20000000));
			sleep_until(s->due);
			woke(s);
			if (s->kind == WATCH)
				watch();
			break;
		case PING:
			/* some wakes meet a CPU that just goes to sleep, others one that sleeps deeply */
			for (int spin = rand_r(&seed) % 20000; spin > 0; spin--)
				atomic_signal_fence(memory_order_seq_cst);
			s->due = now();
			if (write(s->out, &c, 1) != 1 || read(s->in, &c, 1) != 1)
				return NULL;
			woke(s);
			break;
		default:
			if (read(s->in, &c, 1) != 1 || write(s->out, &c, 1) != 1)
				return NULL;
			s->runs++;
		}
	}
	if (s->kind == PING)
		close(s->out);
	return NULL;
}

static struct sleeper *add(enum kind kind, int cpu)
{
	struct sleeper *s = &all[sleepers++];

	memset(s, 0, sizeof(*s));
	s->kind = kind;
	s->cpu = cpu;
	return s;
}

static void add_all(int timers, int pairs)
{
	struct sleeper *a, *b;
	int to[2], back[2];

	sleepers = 0;
	stop = 0;
	for (int c = 0; c < cpus; c++) {
		add(WATCH, c);
		for (int n = 0; n < timers; n++)
			add(TIMER, c);
		if (!pairs || pipe2(to, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
			continue;
		a = add(PING, c);
		b = add(PONG, (c + 1) % cpus);
		a->out = to[1];
		b->in = to[0];
		b->out = back[1];
		a->in = back[0];
	}
}

/* One CPU after the other goes and comes back (INIT and SIPI); who was pinned to it is pinned anew. */
static void replug(void)
{
	char path[64];
	int f, c = 1 + (int)(now() / 1000 % (uint64_t)(cpus > 1 ? cpus - 1 : 1));

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", c);
	f = open(path, O_WRONLY | O_CLOEXEC);
	if (f < 0)
		return;
	if (write(f, "0", 1) != 1 || write(f, "1", 1) != 1)
		puts("SLEEPERS: a CPU cannot be unplugged or plugged");
	close(f);
	for (int i = 0; i < sleepers; i++)
		if (all[i].cpu == c)
			pin(all[i].thread, c);
}

static void turn(const char *name, int timers, int pairs, int plugs)
{
	uint64_t end, worst = 0, runs = 0, late = 0;
	int replugged = 0;

	add_all(timers, pairs);
	for (int i = 0; i < sleepers; i++) {
		if (pthread_create(&all[i].thread, NULL, sleeper, &all[i]))
			abort();
		pin(all[i].thread, all[i].cpu);
	}
	for (end = now() + TURN * NSEC; now() < end;) {
		if (plugs) {
			replug();
			replugged++;
		}
		sleep_until(now() + NSEC / 2);
	}
	stop = 1;
	for (int i = 0; i < sleepers; i++) {
		pthread_join(all[i].thread, NULL);
		if (all[i].kind == PING)
			close(all[i].in);
		if (all[i].kind == PONG) {
			close(all[i].in);
			close(all[i].out);
		}
		worst = all[i].worst > worst ? all[i].worst : worst;
		runs += all[i].runs;
		late += all[i].late;
	}
	printf("SLEEPERS: %s: %llu wakes, %d replugs, worst %llu ms, %llu late by a second\n", name, (unsigned long long)runs, replugged,
	       (unsigned long long)(worst / 1000000), (unsigned long long)late);
	if (console >= 0)
		dprintf(console, "the console's interrupts work, after %s\n", name);
}

static void run(uint64_t seconds)
{
	uint64_t end = now() + seconds * NSEC;

	while (now() < end) {
		turn("timers", TIMERS, 0, 0);
		turn("wakes", 0, 1, 0);
		turn("both", TIMERS, 1, 0);
		turn("plugs", TIMERS, 1, 1);
	}
	printf("SLEEPERS: END: %d stuck\n", stuck);
}

/* The kernel's log is written by polling: it can say what happens even when the console's interrupts are lost. */
static void become_init(void)
{
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (log < 0 || (console = dup(STDOUT_FILENO)) < 0 || dup2(log, STDOUT_FILENO) < 0)
		puts("SLEEPERS: no kernel log");
	mount("none", "/sys", "sysfs", 0, NULL);
}

int main(int argc, char **argv)
{
	const char *seconds = argc > 1 ? argv[1] : getenv("SECONDS");

	setvbuf(stdout, NULL, _IOLBF, 0);
	cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (cpus > CPUS)
		cpus = CPUS;
	if (getpid() == 1)
		become_init();
	printf("SLEEPERS: %d CPUs\n", cpus);
	run(seconds ? strtoull(seconds, NULL, 10) : 60);
	if (getpid() == 1)
		reboot(RB_AUTOBOOT);
	return stuck ? 1 : 0;
}
