/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Both ends of the link in one process: a peer and an agent with a machine and serializers of the
 * test's own, joined by a SOCK_SEQPACKET pair and a memfd in place of the bulk area.
 */
#ifndef TESTS_LINK_FIXTURE_H
#define TESTS_LINK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <stdatomic.h>
#include <unistd.h>
#include <cmocka.h>

#include "handover/incoming/agent.h"
#include "handover/link/peer_impl.h"
#include "lib/clock.h"

#define BULK (16u << 20)

struct log {
	pthread_mutex_t lock;
	char text[4096];
};

struct fixture {
	char dir[64], run[80], images[96], journal[80];
	int fds[2]; /* [0] outgoing, [1] incoming */
	void *bulk;
	struct kho_peer *peer;
	struct kho_peer_setup setup;
	struct kho_machine machine;
	struct kho_agent_conf conf;
	struct kho_agent_shared shared;
	pthread_t agent;
	bool agent_runs;
	int agent_ret;
	struct kho_err agent_err;
	bool unparked; /* a CPU of the outgoing kernel is not in the park */
	struct kho_gate_usual usual; /* the last one that f_measure() was told */
	atomic_int waiting; /* in s_retrieve() */
	atomic_bool go_on;
	struct log log; /* what machine, serializers and events did */
	uint64_t ledger[KHO_LEDGER_BYTES / 8] __attribute__((aligned(128)));
};

static struct fixture fx;

static __attribute__((format(printf, 1, 2))) void logf_(const char *fmt, ...)
{
	size_t len;
	va_list ap;

	pthread_mutex_lock(&fx.log.lock);
	len = strlen(fx.log.text);
	va_start(ap, fmt);
	vsnprintf(fx.log.text + len, sizeof(fx.log.text) - len, fmt, ap);
	va_end(ap);
	pthread_mutex_unlock(&fx.log.lock);
}

/* Now or within a second: the other end writes it in its own time. */
static inline void expect_log(const char *text)
{
	bool found = false;

	for (int i = 0; i < 100 && !found; i++) {
		pthread_mutex_lock(&fx.log.lock);
		found = strstr(fx.log.text, text);
		pthread_mutex_unlock(&fx.log.lock);
		if (!found)
			usleep(10000);
	}
	if (!found)
		fail_msg("'%s' is not in the log:\n%s", text, fx.log.text);
}

static uint64_t in_ms(unsigned ms)
{
	return kho_clock_us() + ms * 1000ULL;
}

/* --- the machine --- */

static int m_cpu(void *arg, uint32_t apicid, bool take, struct kho_err *err)
{
	(void)arg;
	if (apicid == 99)
		return kho_fail(err, -EPERM, "CPU with APIC id 99: not parked");
	logf_("cpu%u%c ", apicid, take ? '+' : '-');
	return 0;
}

static int m_pci(void *arg, struct kho_pci_addr a, bool take, struct kho_err *err)
{
	(void)arg;
	(void)err;
	logf_("pci%02x:%02x%c ", a.bus, a.devfn, take ? '+' : '-');
	return 0;
}

static int m_mem(void *arg, uint64_t base, uint64_t bytes, bool adopt, struct kho_err *err)
{
	(void)arg;
	if (fx.unparked) {
		logf_("busy%llx ", (unsigned long long)base);
		return kho_fail(err, -EBUSY, "a CPU may still run there");
	}
	/* one bad block */
	if (base <= 0x60000000 && base + bytes > 0x60000000)
		return kho_fail(err, -EEXIST, "block at 0x60000000 is bad");
	logf_("mem%llx+%llx%c ", (unsigned long long)base, (unsigned long long)bytes,
	      adopt ? '+' : '-');
	return 0;
}

static int m_state(void *arg, enum kho_instance_state state, struct kho_err *err)
{
	(void)arg;
	(void)err;
	logf_("state%d ", state);
	return 0;
}

static const void *m_map_bulk(void *arg, uint64_t bytes, struct kho_err *err)
{
	(void)arg;
	if (bytes == BULK)
		return fx.bulk;
	kho_fail(err, -EINVAL, "bulk area is %u bytes", BULK);
	return NULL;
}

static const volatile struct kho_ledger *m_ledger(void *arg, struct kho_err *err)
{
	(void)arg;
	(void)err;
	return (const volatile struct kho_ledger *)fx.ledger;
}

static bool m_present(void *arg, uint64_t base)
{
	(void)arg;
	return base == 0x50000000;
}

static void m_grown(void *arg)
{
	(void)arg;
	logf_("grown ");
}

static int m_pids(void *arg, uint64_t floor, const struct kho_workload_list *l, struct kho_err *err)
{
	(void)arg;
	(void)l;
	logf_("floor%llu ", (unsigned long long)floor);
	return floor == 13 ? kho_fail(err, -EEXIST, "workload redis: number 13 is taken") : 0;
}

/* --- serializers: one kind with many names --- */

/* What travels of a workload's place, in the log. */
static void log_places(const struct kho_workload_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		logf_("place(%s %s %s) ", l->w[i].unit ? l->w[i].unit : "-",
		      l->w[i].container ? l->w[i].container : "-", l->w[i].cg ? l->w[i].cg : "-");
}

static int s_prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	(void)err;
	env->ops->note(env, "prepare got %zu bytes, %zu workloads", in->len, env->workloads->n);
	env->ops->phase(env, "warm up", 10, 20);
	log_places(env->workloads);
	return 0;
}

static int s_retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	struct kho_pci_addr a = { .bus = 1, .devfn = 2 };

	/* the blob says for how long to sleep, or to wait */
	if (in->len == 4)
		usleep(*(uint32_t *)in->data * 1000);
	if (in->len == 5) {
		atomic_fetch_add(&fx.waiting, 1);
		for (int i = 0; !atomic_load(&fx.go_on) && i < 2000; i++)
			usleep(10000);
	}
	logf_("retrieved ");
	if (in->len == 3)
		return kho_fail(err, -ENOTUNIQ, "retrieve: there are two of it");
	return env->ops->pci_take(env, a, err);
}

static int s_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	(void)env;
	(void)err;
	kho_report_add(r, KHO_V_OK, "process", "redis", NULL, "answers");
	kho_report_add(r, KHO_V_LOSS, "process", "redis fd 7", "close it", "loses %d", 5);
	return 0;
}

static void s_cancel(struct kho_env *env)
{
	(void)env;
	atomic_store(&fx.go_on, true);
}

static size_t s_restored(struct kho_env *env, pid_t **out)
{
	(void)env;
	*out = malloc(sizeof(**out));
	if (*out)
		**out = 4711;
	return *out ? 1 : 0;
}

static int s_discard(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	logf_("discarded ");
	return 0;
}

#define SER(n)                                                                               \
	{                                                                                    \
		.name = n, .prepare = s_prepare, .retrieve = s_retrieve, .verify = s_verify, \
		.restored = s_restored, .cancel = s_cancel, .discard = s_discard                                \
	}
static const struct kho_serializer sers[] = {
	SER("s0"), SER("s1"), SER("s2"), SER("s3"), SER("s4"),
	SER("s5"), SER("s6"), SER("s7"), SER("s8"), SER("s9"),
};

static const struct kho_serializer *find(const char *name)
{
	for (size_t i = 0; i < sizeof(sers) / sizeof(sers[0]); i++)
		if (!strcmp(name, sers[i].name))
			return &sers[i];
	return NULL;
}

/* --- both ends --- */

static __attribute__((format(printf, 1, 2))) void say(const char *fmt, ...)
{
	char text[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	logf_("[%s] ", text);
}

static void on_phase(void *arg, const char *name, uint64_t b, uint64_t e)
{
	(void)arg;
	logf_("phase(%s %llu-%llu) ", name, (unsigned long long)b, (unsigned long long)e);
}

static void on_note(void *arg, const char *text)
{
	(void)arg;
	logf_("note(%s) ", text);
}

static void *agent_main(void *arg)
{
	(void)arg;
	fx.agent_ret = kho_agent_run(&fx.conf, &fx.agent_err);
	return NULL;
}

static void start_agent(void)
{
	kho_transport_socket(&fx.conf.transport, fx.fds[1]);
	assert_int_equal(pthread_create(&fx.agent, NULL, agent_main, NULL), 0);
	fx.agent_runs = true;
}

static int connect_peer(struct kho_err *err)
{
	struct kho_transport t;

	kho_transport_socket(&t, fx.fds[0]);
	fx.fds[0] = -1;
	return kho_peer_connect_on(&fx.peer, &t, fx.bulk, BULK, &fx.setup, in_ms(5000), err);
}

/* Directories, sockets, bulk; nobody talks yet. */
static int setup_bare(void **state)
{
	int fd = memfd_create("bulk", MFD_CLOEXEC);

	(void)state;
	memset(&fx, 0, sizeof(fx));
	pthread_mutex_init(&fx.log.lock, NULL);
	snprintf(fx.dir, sizeof(fx.dir), "%s/kho-link.XXXXXX",
		 getenv("TMPDIR") ? getenv("TMPDIR") : "/dev/shm");
	assert_non_null(mkdtemp(fx.dir));
	snprintf(fx.run, sizeof(fx.run), "%s/run", fx.dir);
	snprintf(fx.images, sizeof(fx.images), "%s/run/images", fx.dir);
	snprintf(fx.journal, sizeof(fx.journal), "%s/lib", fx.dir);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fx.fds), 0);
	assert_int_equal(ftruncate(fd, BULK), 0);
	fx.bulk = mmap(NULL, BULK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(fx.bulk, MAP_FAILED);
	close(fd);
	fx.setup = (struct kho_peer_setup){ .run_dir = fx.run,
					    .images_dir = fx.images,
					    .root_in_ram = true,
					    .pid_floor = 5000,
					    .phase = on_phase,
					    .note = on_note };
	fx.machine = (struct kho_machine){ .cpu = m_cpu,
					   .pci = m_pci,
					   .mem = m_mem,
					   .state = m_state,
					   .map_bulk = m_map_bulk,
					   .ledger = m_ledger,
					   .block_present = m_present,
					   .block_bytes = 0x10000000,
					   .grown = m_grown,
					   .pids = m_pids };
	fx.conf = (struct kho_agent_conf){ .to_init = -1,
					   .machine = &fx.machine,
					   .find = find,
					   .release = "7.3.4-test",
					   .instance_id = 2,
					   .generation = 2,
					   .journal_dir = fx.journal,
					   .shared = &fx.shared,
					   .say = say };
	return 0;
}

static __attribute__((unused)) void f_measure(const struct kho_gate_ask *ask, const pid_t *pids, size_t n, struct kho_gate_list *out)
{
	struct kho_gate_policy p;

	kho_gate_policy_init(&p);
	*out = (struct kho_gate_list){ 0 };
	if (ask->moment == KHO_GATES_DARK)
		kho_gate_measured(out, &p, KHO_GATE_THREADS, (int64_t)n, "first: %d", n ? pids[0] : 0);
	fx.usual = ask->nusual ? ask->usual[ask->nusual - 1] : (struct kho_gate_usual){ 0 };
	if (ask->moment != KHO_GATES_READY)
		return;
	kho_gate_measured(out, &p, KHO_GATE_TIMER, 90, "CPU %d", 1);
	kho_gate_unknown(out, &p, KHO_GATE_WAKEUP, "no BTF");
}

/* What the test wants of a load: by the number of CPUs. */
static __attribute__((unused)) int f_load(const struct kho_load *l, struct kho_load_result *out, struct kho_err *err)
{
	*out = (struct kho_load_result){ .known = l->cpus != 2, .errors = l->cpus == 3 };
	if (l->cpus == 4)
		return kho_fail(err, -ETIMEDOUT, "load %s: its threads have not come back", kho_mixes[l->mix].name);
	if (l->cpus == 5)
		usleep(3000000);
	out->ns.slot[17] = l->us;
	out->ns.slot[KHO_HIST_SLOTS - 1] = l->command ? strlen(l->command) : 0;
	snprintf(out->what, sizeof(out->what), "%s\x01\n", l->cpus == 1 ? "" : "why");
	return 0;
}

static __attribute__((unused)) int setup_both(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	setup_bare(state);
	start_agent();
	if (connect_peer(&err))
		fail_msg("%s", err.msg);
	return 0;
}

/* One operation of a serializer, asked over the link. */
static __attribute__((unused)) int f_op(const char *ser, const char *name, const void *data, size_t len, unsigned ms, struct kho_err *err)
{
	struct kho_blob in = { (void *)data, len };

	return kho_peer_op(fx.peer, ser, name, &in, NULL, NULL, in_ms(ms), err);
}

static int rm(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st;
	(void)flag;
	(void)f;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	if (fx.fds[0] >= 0)
		close(fx.fds[0]);
	if (fx.agent_runs)
		pthread_join(fx.agent, NULL);
	munmap(fx.bulk, BULK);
	nftw(fx.dir, rm, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

#endif
