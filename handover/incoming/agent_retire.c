// SPDX-License-Identifier: GPL-2.0-only
/*
 * Take-over: wait until the outgoing kernel's last CPU is parked, then take that CPU and every
 * other one that was left for us, adopt all memory that is not ours yet, write the status file and
 * run the command that was asked for.  Serves the step "retire"; the workload is long running by
 * then, so a failure here is told and never stops the rest.
 *
 * A kernel that was halted after the commit has parked its CPUs and shut its devices down like one
 * that retired.  One that did not end in order (panic, hang) is fenced before anything of it is taken; where that
 * fails it keeps its CPUs and memory: it or its devices may still write there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/spawn.h"

#define POLL_US	    1000
#define SILENT_S    10	    /* no heartbeat for so long: it hangs */
#define CPUS_US	    5000000 /* a serializer that still tidies up then keeps nobody waiting */
#define LAST_TRY_US 3000000 /* the state comes some instructions before the CPU is in the park */

struct result {
	unsigned cpus, cpus_failed;
	uint64_t bytes, bytes_failed;
	char outgoing[64];
	const char *how; /* "retired", "panicked" ... */
};

static void rest(unsigned us)
{
	struct timespec ts = { .tv_nsec = us * 1000L };

	nanosleep(&ts, NULL);
}

const char *kho_agent_ended(const volatile struct kho_ledger *l)
{
	const volatile struct kho_ledger_side *s = &l->side[KHO_SIDE_OUTGOING];

	switch (__atomic_load_n(&s->state, __ATOMIC_ACQUIRE)) {
	case KHO_STATE_RETIRED:
		return "retired";
	case KHO_STATE_HALTED:
		return "halted";
	case KHO_STATE_PANICKED:
		return "panicked";
	case KHO_STATE_FENCED:
		return "fenced";
	}
	if (l->tsc_khz &&
	    (int64_t)(__rdtsc() - s->heartbeat_tsc) > (int64_t)l->tsc_khz * 1000 * SILENT_S)
		return "silent";
	return NULL;
}

/* --- CPUs --- */

static int take_cpu(struct kho_agent *a, uint32_t apicid, struct kho_err *err)
{
	const struct kho_machine *m = a->conf->machine;
	uint64_t until = kho_clock_us() + LAST_TRY_US;
	int ret;

	do {
		pthread_mutex_lock(&a->machine_lock);
		ret = m->cpu(m->arg, apicid, true, err);
		pthread_mutex_unlock(&a->machine_lock);
		/* -EPERM: it has not yet written that the CPU is ours to take */
		if (ret == -EAGAIN || ret == -EBUSY || ret == -EPERM || ret == -ETIMEDOUT)
			rest(10 * POLL_US);
		else
			break;
	} while (kho_clock_us() < until);
	return ret;
}

static void take_and_say(struct kho_agent *a, uint32_t apicid, struct result *r)
{
	struct kho_err err = KHO_ERR_INIT;

	if (take_cpu(a, apicid, &err) < 0) {
		r->cpus_failed++;
		a->conf->say("take-over: %s", err.msg);
	} else {
		r->cpus++;
	}
}

static uint32_t cpus_of(const volatile struct kho_ledger *l, const volatile struct kho_ledger_cpu **c)
{
	uint32_t off = l->cpus.off, n = l->cpus.count;

	*c = (const volatile void *)((const volatile uint8_t *)l + off);
	return off > KHO_LEDGER_BYTES || n > (KHO_LEDGER_BYTES - off) / sizeof(**c) ? 0 : n;
}

/* The last one first: it is the one that was running until now. */
static void take_cpus(struct kho_agent *a, const volatile struct kho_ledger *l, struct result *r)
{
	const volatile struct kho_ledger_cpu *c;
	uint32_t n = cpus_of(l, &c);

	if (a->has_last)
		take_and_say(a, a->last_apicid, r);
	for (uint32_t i = 0; i < n; i++)
		if (c[i].owner == KHO_OWNER_PARK && c[i].to == KHO_OWNER_INCOMING &&
		    !(a->has_last && c[i].apicid == a->last_apicid))
			take_and_say(a, c[i].apicid, r);
}

/* --- memory --- */

static int by_base(const void *x, const void *y)
{
	const struct kho_ledger_range *a = x, *b = y;

	return a->base < b->base ? -1 : a->base > b->base;
}

/* The ledger's RAM, sorted, neighbours joined. */
static int ram_ranges(const volatile struct kho_ledger *l, struct kho_ledger_range **out,
		      struct kho_err *err)
{
	const volatile struct kho_ledger_range *in =
		(const volatile void *)((const volatile uint8_t *)l + l->ram.off);
	uint32_t n = l->ram.count, k = 0;
	struct kho_ledger_range *r;

	if (l->ram.off > KHO_LEDGER_BYTES || n > (KHO_LEDGER_BYTES - l->ram.off) / sizeof(*in))
		return kho_fail(err, -EPROTO,
				"the ledger's table of memory lies outside the ledger");
	r = calloc(n + 1, sizeof(*r));
	if (!r)
		return kho_fail(err, -ENOMEM, "ranges of memory");
	for (uint32_t i = 0; i < n; i++)
		r[i] = (struct kho_ledger_range){ in[i].base, in[i].bytes };
	qsort(r, n, sizeof(*r), by_base);
	for (uint32_t i = 0; i < n; i++) {
		if (k && r[k - 1].base + r[k - 1].bytes >= r[i].base) {
			uint64_t end = r[i].base + r[i].bytes;

			if (end > r[k - 1].base + r[k - 1].bytes)
				r[k - 1].bytes = end - r[k - 1].base;
		} else {
			r[k++] = r[i];
		}
	}
	*out = r;
	return (int)k;
}

/* Append one block to the list of runs. */
static int add_block(struct kho_ledger_range **runs, int *n, uint64_t base, uint64_t block)
{
	struct kho_ledger_range *last = *n ? &(*runs)[*n - 1] : NULL, *more;

	if (last && last->base + last->bytes == base) {
		last->bytes += block;
		return 0;
	}
	more = realloc(*runs, (*n + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	*runs = more;
	more[(*n)++] = (struct kho_ledger_range){ base, block };
	return 0;
}

int kho_plan_memory(const volatile struct kho_ledger *l, const struct kho_machine *m,
		    struct kho_ledger_range **out, struct kho_err *err)
{
	_cleanup_free_ struct kho_ledger_range *ram = NULL, *runs = NULL;
	uint64_t block = m->block_bytes, own = l->region_base, own_end = own + l->region_bytes;
	int n = 0, nram = ram_ranges(l, &ram, err);

	if (nram < 0)
		return nram;
	for (int i = 0; i < nram; i++) {
		uint64_t end = ram[i].base + ram[i].bytes,
			 at = (ram[i].base + block - 1) / block * block;

		/* block 0 holds the first MiB: it is never whole RAM, whatever a table may say */
		for (at = at ? at : block; at + block <= end; at += block) {
			if ((at < own_end && own < at + block) || m->block_present(m->arg, at))
				continue;
			if (add_block(&runs, &n, at, block))
				return kho_fail(err, -ENOMEM, "blocks of memory");
		}
	}
	*out = steal_ptr(runs);
	return n;
}

static int adopt(struct kho_agent *a, uint64_t base, uint64_t bytes, struct kho_err *err)
{
	const struct kho_machine *m = a->conf->machine;
	int ret;

	pthread_mutex_lock(&a->machine_lock);
	ret = m->mem(m->arg, base, bytes, true, err);
	pthread_mutex_unlock(&a->machine_lock);
	return ret;
}

static int adopt_and_say(struct kho_agent *a, uint64_t base, uint64_t bytes, bool last, struct result *r)
{
	struct kho_err err = KHO_ERR_INIT;
	int ret = adopt(a, base, bytes, &err);

	if (!ret) {
		r->bytes += bytes;
	} else if (last || ret == -EBUSY) {
		if (!r->bytes_failed)
			a->conf->say("take-over: memory at 0x%" PRIx64 ": %s", base, err.msg);
		r->bytes_failed += bytes;
	}
	return ret;
}

/*
 * A run at once; when that fails block by block, so that one bad block costs no more than itself. Busy is all of it: a CPU that is
 * not in the park may still run there.
 */
static void adopt_run(struct kho_agent *a, const struct kho_ledger_range *run, struct result *r)
{
	uint64_t block = a->conf->machine->block_bytes;
	int ret = adopt_and_say(a, run->base, run->bytes, false, r);

	for (uint64_t at = run->base; ret < 0 && ret != -EBUSY && at < run->base + run->bytes; at += block)
		(void)adopt_and_say(a, at, block, true, r);
}

static void take_memory(struct kho_agent *a, const volatile struct kho_ledger *l, struct result *r)
{
	_cleanup_free_ struct kho_ledger_range *runs = NULL;
	struct kho_err err = KHO_ERR_INIT;
	int n = kho_plan_memory(l, a->conf->machine, &runs, &err);

	if (n < 0)
		a->conf->say("take-over: %s", err.msg);
	for (int i = 0; i < n; i++)
		adopt_run(a, &runs[i], r);
}

/* --- afterwards --- */

static void write_status(struct kho_agent *a, const struct result *r)
{
	_cleanup_free_ char *path = NULL, *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	struct sysinfo si = { 0 };
	int len;

	sysinfo(&si);
	len = asprintf(&text,
		       "{\"release\":\"%s\",\"instance\":%" PRIu32
		       ",\"generation\":%" PRIu32 ",\"state\":\"running\",\"cpus_online\":%ld,"
						  "\"mem_total_kib\":%" PRIu64 ",\"outgoing\":{"
									       "\"release\":\"%s\","
									       "\"end\":\"%s\"},"
									       "\"cpus_taken\":%u,"
									       "\"cpus_failed\":%u"
		       ",\"memory_adopted_kib\":%" PRIu64 ",\"memory_failed_kib\":%" PRIu64
		       ",\"committed_us\":%" PRIu64 ",\"settled_us\":%" PRIu64 "}\n",
		       a->conf->release, a->conf->instance_id, a->conf->generation,
		       sysconf(_SC_NPROCESSORS_ONLN), (uint64_t)si.totalram * si.mem_unit / 1024,
		       r->outgoing, r->how, r->cpus, r->cpus_failed, r->bytes / 1024,
		       r->bytes_failed / 1024, a->commit_us, kho_clock_us());
	if (len < 0 || asprintf(&path, "%s/instance.json", a->told->run_dir) < 0)
		return;
	if (kho_write_file(path, text, len, &err) < 0)
		a->conf->say("status file: %s", err.msg);
}

/*
 * Twice forked: the command becomes a child of PID 1, which reaps it, and lives whatever becomes of
 * us.
 */
static void run_command(struct kho_agent *a, const char *command)
{
	_cleanup_free_ char *text = command ? strdup(command) : NULL;
	_cleanup_free_ char **argv = text ? kho_split_words(text) : NULL;
	pid_t pid;

	if (!argv || !argv[0])
		return;
	a->conf->say("runs: %s", command);
	pid = fork();
	if (pid < 0)
		a->conf->say("fork for %s: %s", argv[0], strerror(errno));
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	if (pid)
		return;
	setsid();
	signal(SIGPIPE, SIG_DFL);
	if (fork())
		_exit(0);
	if (*kho_new_root(&a->env) && (chroot(kho_new_root(&a->env)) < 0 || chdir("/") < 0))
		_exit(126);
	pid = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (pid >= 0 && write(pid, "0", 1) < 0)
		_exit(126);
	execvp(argv[0], argv);
	_exit(127);
}

static const char *wait_end(const volatile struct kho_ledger *l, struct result *r)
{
	while (!(r->how = kho_agent_ended(l)))
		rest(POLL_US);
	for (size_t i = 0; i < sizeof(r->outgoing) - 1; i++) {
		char ch = l->side[KHO_SIDE_OUTGOING].release[i];

		if (!ch)
			break;
		r->outgoing[i] = ch < ' ' || ch > '~' || ch == '"' || ch == '\\' ? '?' : ch;
	}
	return r->how;
}

/* Did every CPU of it go to the park? One that was to reset the machine has parked its last one only. */
static bool has_cpus(const volatile struct kho_ledger *l)
{
	const volatile struct kho_ledger_cpu *c;
	uint32_t n = cpus_of(l, &c);

	for (uint32_t i = 0; i < n; i++)
		if (c[i].owner == KHO_OWNER_OUTGOING)
			return true;
	return false;
}

/* Is what it had free to be taken? */
static bool is_over(struct kho_agent *a, const volatile struct kho_ledger *l, struct result *r)
{
	const struct kho_machine *m = a->conf->machine;
	struct kho_err err = KHO_ERR_INIT;
	const char *how = wait_end(l, r);

	if (!strcmp(how, "retired") || (!strcmp(how, "halted") && !has_cpus(l)))
		return true;
	/* fenced by us: it is known why */
	if (!strcmp(how, "fenced")) {
		r->how = a->outgoing_end ? a->outgoing_end : how;
		return true;
	}
	if (!strcmp(how, "panicked"))
		kho_agent_wait_log(a);
	if (!m->fence || m->fence(m->arg, &err) < 0) {
		a->conf->say("%s is %s: its CPUs and memory stay where they are%s%s", r->outgoing, how,
			     err.code ? ": " : "", err.msg);
		return false;
	}
	return true;
}

/* All CPUs that there will be are here. The kernel that would have reported what is lost is gone. */
static void tell_cpus(struct kho_agent *a)
{
	for (size_t i = 0; i < a->trust.n; i++) {
		const struct kho_serializer *s = a->conf->find(a->trust.names[i]);
		struct kho_err err = KHO_ERR_INIT;

		if (s && s->cpus && kho_agent_one_op(a, s->name, "cpus", kho_clock_us() + CPUS_US, &err) < 0)
			kho_agent_note_loss(a, err.msg);
	}
}

static void go_on(struct kho_agent *a, const struct result *r)
{
	struct kho_agent_shared *shared = a->conf->shared;

	tell_cpus(a);
	write_status(a, r);
	/* a deputy that has taken over in the middle of this does it once more, but these */
	if (!atomic_exchange(&shared->commands, true)) {
		run_command(a, a->told->after_commit);
		run_command(a, a->told->watch);
	}
	if (*kho_new_root(&a->env)) {
		shared->root_on_disk = true;
		if (a->conf->enter_root)
			a->conf->enter_root();
	}
	shared->settled = true;
}

void kho_agent_go_on(struct kho_agent *a, const char *outgoing, const char *how)
{
	struct result r = { .how = how };

	snprintf(r.outgoing, sizeof(r.outgoing), "%s", outgoing);
	go_on(a, &r);
}

static void *take_over(void *arg)
{
	struct kho_agent *a = arg;
	const struct kho_machine *m = a->conf->machine;
	struct kho_err err = KHO_ERR_INIT;
	struct result r = { .how = "unknown" };
	const volatile struct kho_ledger *l = m->ledger(m->arg, &err);

	if (!l) {
		a->conf->say("take-over: %s", err.msg);
	} else if (is_over(a, l, &r)) {
		take_cpus(a, l, &r);
		take_memory(a, l, &r);
		m->grown(m->arg);
		a->conf->say("%s is %s: took %u CPUs and %" PRIu64 " MiB", r.outgoing, r.how,
			     r.cpus, r.bytes >> 20);
	}
	if (l)
		kho_agent_keep_log(a, l->side[KHO_SIDE_OUTGOING].generation, r.outgoing);
	go_on(a, &r);
	return NULL;
}

int kho_agent_take_over(struct kho_agent *a, struct kho_err *err)
{
	int ret = 0;

	pthread_mutex_lock(&a->lock);
	if (!a->retiring) {
		ret = -pthread_create(&a->retire_thread, NULL, take_over, a);
		a->retiring = !ret;
	}
	pthread_mutex_unlock(&a->lock);
	return ret ? kho_fail(err, ret, "start the take-over: %s", strerror(-ret)) : 0;
}

int kho_agent_retiring(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	if (!a->committed)
		return kho_fail(err, -EPERM,
				"the outgoing kernel cannot retire: nothing is committed here");
	a->last_apicid = rq->m->retiring->last_apicid;
	a->has_last = true;
	return kho_agent_take_over(a, err);
}
