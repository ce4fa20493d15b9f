// SPDX-License-Identifier: GPL-2.0-only
/* The agent at work, asked over a real link by a real peer: operations, commit, take-over. */
#include "tests/unit/link_fixture.h"

static void echo(void **state)
{
	static const size_t sizes[] = { 0, 1, 1000, 61400, 61440, 100000, 5000000 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_string_equal(kho_peer_release(fx.peer), "7.3.4-test");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct kho_blob in = { malloc(sizes[i] + 1), sizes[i] }, out = { 0 };

		memset(in.data, 0x5a, sizes[i]);
		assert_int_equal(kho_peer_echo(fx.peer, &in, &out, in_ms(5000), &err), 0);
		assert_int_equal(out.len, in.len);
		assert_true(!in.len || !memcmp(in.data, out.data, in.len));
		free(in.data);
		free(out.data);
	}
}

static void operations(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_report r = KHO_REPORT_INIT;

	(void)state;
	assert_int_equal(f_op("s0", "prepare", "hello", 5, 1000, &err), 0);
	assert_int_equal(f_op("s0", "unprepare", NULL, 0, 1000, &err), 0);
	assert_int_equal(f_op("s0", "retrieve", "abc", 3, 1000, &err), -ENOTUNIQ);
	assert_string_equal(err.msg, "retrieve: there are two of it");
	assert_int_equal(f_op("s0", "retrieve", NULL, 0, 1000, &err), 0);
	assert_int_equal(kho_peer_op(fx.peer, "s0", "verify", NULL, &r, NULL, in_ms(1000), &err), 0);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.items[1].verdict, KHO_V_LOSS);
	assert_string_equal(r.items[1].subject, "redis fd 7");
	assert_string_equal(r.items[1].what, "loses 5");
	assert_string_equal(r.items[1].fix, "close it");
	kho_report_done(&r);
	assert_int_equal(f_op("s0", "discard", NULL, 0, 1000, &err), 0);
	assert_int_equal(f_op("s0", "dance", NULL, 0, 1000, &err), -ENOSYS);
	assert_int_equal(f_op("nope", "prepare", NULL, 0, 1000, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "no serializer 'nope'"));
	expect_log("note(prepare got 5 bytes, 0 workloads) phase(warm up 10-20)");
	expect_log("state4 floor5000");
	expect_log("state6 retrieved retrieved pci01:02+ discarded state4");
}

/* The agent measures, and the limits are ours. */
static void gates(void **state)
{
	static const struct kho_gate_usual usual[] = { { 4710, 12 }, { 4711, 250 } };
	const struct kho_gate_ask ready = { .moment = KHO_GATES_READY }, dark = { .moment = KHO_GATES_DARK },
				  restored = { .moment = KHO_GATES_RESTORED, .usual = usual, .nusual = 2 }, unheard = { .moment = (enum kho_gate_moment)99 };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_gate_policy p;
	struct kho_gate_list l;

	(void)state;
	kho_gate_policy_init(&p);
	start_agent();
	assert_int_equal(connect_peer(&err), 0);
	assert_int_equal(kho_peer_gates(fx.peer, &ready, &p, &l, in_ms(1000), &err), -ENOSYS);
	assert_int_equal(kho_gates_worst(&l), KHO_GATE_UNKNOWN);
	fx.conf.measure = f_measure;
	assert_int_equal(kho_peer_gates(fx.peer, &ready, &p, &l, in_ms(1000), &err), 0);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.r[0].gate, KHO_GATE_TIMER);
	assert_int_equal(l.r[0].verdict, KHO_GATE_PASS);
	assert_int_equal(l.r[0].value, 90);
	assert_string_equal(l.r[0].what, "CPU 1");
	assert_int_equal(l.r[1].verdict, KHO_GATE_UNKNOWN);
	assert_string_equal(l.r[1].what, "no BTF");
	p.limit[KHO_GATE_TIMER] = 89;
	assert_int_equal(kho_peer_gates(fx.peer, &ready, &p, &l, in_ms(1000), &err), 0);
	assert_int_equal(l.r[0].verdict, KHO_GATE_FAIL);
	/* by the processes of those serializers that have restored some */
	assert_int_equal(kho_peer_gates(fx.peer, &dark, &p, &l, in_ms(1000), &err), 0);
	assert_int_equal(l.r[0].value, 0);
	assert_int_equal(kho_peer_op(fx.peer, "s1", "retrieve", NULL, NULL, NULL, in_ms(1000), &err), 0);
	assert_int_equal(kho_peer_gates(fx.peer, &restored, &p, &l, in_ms(1000), &err), 0);
	assert_int_equal(l.n, 0);
	assert_int_equal(fx.usual.pid, 4711);
	assert_int_equal(fx.usual.percent, 100);
	assert_int_equal(kho_peer_gates(fx.peer, &dark, &p, &l, in_ms(1000), &err), 0);
	assert_int_equal(l.r[0].value, 1);
	assert_string_equal(l.r[0].what, "first: 4711");
	assert_int_equal(kho_peer_gates(fx.peer, &unheard, &p, &l, in_ms(1000), &err), -EINVAL);
}

static bool at_once(void *arg)
{
	return ++*(unsigned *)arg > 1;
}

/* Load runs there; its histogram comes whole, its words printable; who wants to wait no longer does not. */
static void load(void **state)
{
	struct kho_load l = { .mix = KHO_MIX_SCHED, .cpus = 1, .us = 4711 };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_load_result r;
	unsigned asked = 0;

	(void)state;
	start_agent();
	assert_int_equal(connect_peer(&err), 0);
	assert_int_equal(kho_peer_load(fx.peer, &l, NULL, NULL, &r, in_ms(1000), &err), -ENOSYS);
	fx.conf.load = f_load;
	assert_int_equal(kho_peer_load(fx.peer, &l, NULL, NULL, &r, in_ms(1000), &err), 0);
	assert_true(r.known && !r.errors);
	assert_int_equal(r.ns.slot[17], 4711);
	assert_int_equal(kho_hist_count(&r.ns), 4711);
	l = (struct kho_load){ .mix = KHO_MIX_COMMAND, .command = "/bin/true", .cpus = 3, .us = 1 };
	assert_int_equal(kho_peer_load(fx.peer, &l, NULL, NULL, &r, in_ms(1000), &err), 0);
	assert_int_equal(r.ns.slot[KHO_HIST_SLOTS - 1], 9);
	assert_int_equal(r.errors, 1);
	assert_string_equal(r.what, "why?\n");
	l.cpus = 2;
	assert_int_equal(kho_peer_load(fx.peer, &l, NULL, NULL, &r, in_ms(1000), &err), 0);
	assert_false(r.known);
	l.cpus = 4;
	assert_int_equal(kho_peer_load(fx.peer, &l, NULL, NULL, &r, in_ms(1000), &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "load command: its threads have not come back"));
	l.cpus = 5;
	assert_int_equal(kho_peer_load(fx.peer, &l, at_once, &asked, &r, in_ms(10000), &err), -EINTR);
	assert_false(kho_peer_lost(fx.peer, NULL));
}

static bool when_it_works(void *arg)
{
	(void)arg;
	return atomic_load(&fx.waiting) > 0;
}

/* Who does not wait any more goes on at once; what works there ends for the discard, and not before. */
static void cancelled(void **state)
{
	const struct kho_blob waits = { (void *)(uintptr_t)"12345", 5 };
	const struct kho_until until = { when_it_works, NULL };
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin;

	(void)state;
	start_agent();
	assert_int_equal(connect_peer(&err), 0);
	atomic_store(&fx.go_on, false);
	begin = kho_clock_us();
	assert_int_equal(kho_peer_op(fx.peer, "s1", "retrieve", &waits, NULL, &until, in_ms(20000), &err), -EINTR);
	assert_true(kho_clock_us() - begin < 10000000);
	assert_int_equal(atomic_load(&fx.waiting), 1);
	assert_null(strstr(fx.log.text, "retrieved"));
	/* a further one cannot begin yet, and then must not any more */
	assert_int_equal(kho_peer_op(fx.peer, "s1", "retrieve", &waits, NULL, &until, in_ms(20000), &err), -EINTR);
	begin = kho_clock_us();
	assert_int_equal(kho_peer_op(fx.peer, "s1", "discard", NULL, NULL, NULL, in_ms(19000), &err), 0);
	assert_true(kho_clock_us() - begin < 10000000);
	/* whoever had its turn last has ended, too */
	assert_int_equal(kho_peer_op(fx.peer, "s1", "verify", NULL, NULL, NULL, in_ms(19000), &err), 0);
	assert_true(strstr(fx.log.text, "retrieved") && strstr(fx.log.text, "retrieved") < strstr(fx.log.text, "discarded"));
	assert_null(strstr(strstr(fx.log.text, "retrieved") + 1, "retrieved"));
}

static void workloads(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	pid_t pids[2] = { 20001, 20002 };
	struct kho_workload w = { .name = "redis",
				  .pidfile = "/run/redis.pid",
				  .root = 20001,
				  .pids = pids,
				  .npids = 2,
				  .health_send = "PING\r\n",
				  .health_timeout_us = 7,
				  .cg = "/system.slice/redis.service" };
	struct kho_workload_list l = { &w, 1 };

	fx.setup.workloads = &l;
	start_agent();
	assert_int_equal(connect_peer(&err), 0);
	assert_int_equal(f_op("s0", "prepare", NULL, 0, 1000, &err), 0);
	expect_log("prepare got 0 bytes, 1 workloads");
	expect_log("place(- - /system.slice/redis.service)");
	(void)state;
}

/* A path that would lead out of the cgroup file system is refused. */
static void bad_place(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_workload w = { .name = "redis", .unit = "redis.service", .cg = "/x/../../y" };
	struct kho_workload_list l = { &w, 1 };

	(void)state;
	fx.setup.workloads = &l;
	start_agent();
	assert_int_equal(connect_peer(&err), -EINVAL);
	assert_non_null(strstr(err.msg, "workload redis"));
}

/* Long at work is not silent: its receiver answers meanwhile. */
static void long_operation(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	uint32_t ms = 1500;

	(void)state;
	fx.peer->quiet_us = 100000;
	fx.peer->silent_us = 300000;
	assert_int_equal(f_op("s0", "retrieve", &ms, sizeof(ms), 5000, &err), 0);
	assert_true(fx.peer->asked_us > 0);
	assert_false(kho_peer_lost(fx.peer, NULL));
}

struct job {
	pthread_t t;
	char ser[4];
	int ret;
};

static void *waiter(void *arg)
{
	struct job *j = arg;
	struct kho_err err = KHO_ERR_INIT;

	j->ret = f_op(j->ser, "retrieve", "wait!", 5, 60000, &err);
	return NULL;
}

static void parallel(void **state)
{
	static struct job jobs[10]; /* not on a stack that a failure leaves */
	struct kho_err err = KHO_ERR_INIT;
	int echo;

	(void)state;
	for (int i = 0; i < 10; i++) {
		snprintf(jobs[i].ser, sizeof(jobs[i].ser), "s%d", i);
		pthread_create(&jobs[i].t, NULL, waiter, &jobs[i]);
	}
	for (int i = 0; atomic_load(&fx.waiting) < 2 && i < 1000; i++)
		usleep(10000);
	/* several work at once, and an echo is answered meanwhile */
	echo = kho_peer_echo(fx.peer, NULL, NULL, in_ms(15000), &err);
	atomic_store(&fx.go_on, true);
	for (int i = 0; i < 10; i++)
		pthread_join(jobs[i].t, NULL);
	assert_int_equal(echo, 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(jobs[i].ret, 0);
	assert_int_equal(atomic_load(&fx.waiting), 10);
}

static void one_at_a_time(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	uint32_t ms = 600;
	uint64_t begin = kho_clock_us();
	int ret;

	(void)state;
	assert_int_equal(f_op("s1", "retrieve", &ms, 4, 100, &err), -ETIMEDOUT);
	assert_true(kho_clock_us() - begin >= 99000);
	assert_non_null(strstr(err.msg, "has not answered 'op'"));
	ret = f_op("s1", "discard", NULL, 0, 100, &err);
	assert_true(ret == -ETIMEDOUT || ret == -EBUSY);
	assert_int_equal(f_op("s1", "discard", NULL, 0, 5000, &err), 0);
	assert_true(kho_clock_us() - begin > 590000);
	expect_log("retrieved pci01:02+ discarded");
}

static void hotplug(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_peer_cpu(fx.peer, 3, true, in_ms(1000), &err), 0);
	assert_int_equal(kho_peer_cpu(fx.peer, 3, false, in_ms(1000), &err), 0);
	assert_int_equal(kho_peer_cpu(fx.peer, 99, true, in_ms(1000), &err), -EPERM);
	assert_string_equal(err.msg, "CPU with APIC id 99: not parked");
	assert_int_equal(kho_peer_mem(fx.peer, 0x100000000, 0x10000000, true, in_ms(1000), &err),
			 0);
	expect_log("cpu3+ cpu3- mem100000000+10000000+");
}

static void refusals(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	fx.setup.pid_floor = 13;
	start_agent();
	assert_int_equal(connect_peer(&err), -EEXIST);
	assert_string_equal(err.msg, "workload redis: number 13 is taken");
	expect_log("session of the link ended: closed");
}

static void fill_ledger(uint32_t state)
{
	struct kho_ledger *l = (struct kho_ledger *)fx.ledger;
	struct kho_ledger_range *ram = (void *)((uint8_t *)l + 4096);
	struct kho_ledger_cpu *cpu = (void *)((uint8_t *)l + 8192);

	l->region_base = 0x20000000;
	l->region_bytes = 0x20000000;
	l->ram = (struct kho_ledger_table){ 4096, 4 };
	ram[0] = (struct kho_ledger_range){ 0x100000000, 0x28000000 };
	ram[1] = (struct kho_ledger_range){ 0, 0x9f000 };
	ram[2] = (struct kho_ledger_range){ 0x100000, 0x5ff00000 };
	ram[3] = (struct kho_ledger_range){ 0x60000000, 0x1fff0000 };
	l->cpus = (struct kho_ledger_table){ 8192, 4 };
	for (int i = 0; i < 4; i++)
		cpu[i] = (struct kho_ledger_cpu){ .apicid = i, .owner = KHO_OWNER_INCOMING };
	cpu[0].owner = cpu[2].owner = KHO_OWNER_PARK;
	cpu[0].to = cpu[2].to = KHO_OWNER_INCOMING;
	strcpy(l->side[KHO_SIDE_OUTGOING].release, "6.12.107");
	l->side[KHO_SIDE_OUTGOING].state = state;
}

static void plan_memory(void **state)
{
	struct kho_ledger_range *runs = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	fill_ledger(0);
	/* block 0 has the low MiB, 2 and 3 are ours, 5 is known, 7 is not whole, 12 is not whole */
	assert_int_equal(kho_plan_memory((void *)fx.ledger, &fx.machine, &runs, &err), 4);
	assert_int_equal(runs[0].base, 0x10000000);
	assert_int_equal(runs[0].bytes, 0x10000000);
	assert_int_equal(runs[1].base, 0x40000000);
	assert_int_equal(runs[1].bytes, 0x10000000);
	assert_int_equal(runs[2].base, 0x60000000);
	assert_int_equal(runs[2].bytes, 0x10000000);
	assert_int_equal(runs[3].base, 0x100000000);
	assert_int_equal(runs[3].bytes, 0x20000000);
	free(runs);
	((struct kho_ledger *)fx.ledger)->ram.count = 100000;
	assert_int_equal(kho_plan_memory((void *)fx.ledger, &fx.machine, &runs, &err), -EPROTO);
}

static void read_text(const char *dir, const char *name, char *out, size_t room)
{
	char path[200];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	n = read(fd, out, room - 1);
	assert_true(n >= 0);
	out[n] = '\0';
	close(fd);
}

static void commit_and_take_over(void **state)
{
	struct kho_blob rec = { "journal so far", 14 };
	struct kho_err err = KHO_ERR_INIT;
	char text[1000], path[200], command[300], watch[300], too[210];
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "%s/ran", fx.dir);
	snprintf(command, sizeof(command), " touch  %s ", path);
	fx.setup.after_commit = command;
	snprintf(watch, sizeof(watch), "touch %s.too", path);
	fx.setup.watch = watch;
	fill_ledger(KHO_STATE_RETIRING);
	start_agent();
	assert_int_equal(connect_peer(&err), 0);
	assert_int_equal(kho_peer_retiring(fx.peer, 0, in_ms(1000), &err), -EPERM);
	assert_int_equal(kho_peer_commit(fx.peer, &rec, in_ms(1000), &err), 0);
	assert_true(fx.shared.committed);
	expect_log("state7");
	read_text(fx.journal, "journal", text, sizeof(text));
	assert_string_equal(text, "journal so far");
	assert_int_equal(stat(fx.journal, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(kho_peer_abandon(fx.peer, in_ms(1000), &err), -EPERM);
	assert_int_equal(kho_peer_retiring(fx.peer, 0, in_ms(1000), &err), 0);
	usleep(50000);
	assert_false(fx.shared.settled);
	__atomic_store_n(&((struct kho_ledger *)fx.ledger)->side[KHO_SIDE_OUTGOING].state,
			 KHO_STATE_RETIRED, __ATOMIC_RELEASE);
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	pthread_join(fx.agent, NULL);
	fx.agent_runs = false;
	assert_true(fx.shared.settled);
	/* piece by piece: the end of the session is told in between, at any place */
	expect_log("cpu0+ ");
	expect_log("cpu2+ ");
	expect_log("mem10000000+10000000+ ");
	expect_log("mem40000000+10000000+ ");
	expect_log("[take-over: memory at 0x60000000: block at 0x60000000 is bad]");
	expect_log("mem100000000+20000000+ ");
	expect_log("grown ");
	expect_log("[6.12.107 is retired: took 2 CPUs");
	read_text(fx.run, "instance.json", text, sizeof(text));
	assert_non_null(strstr(text, "\"outgoing\":{\"release\":\"6.12.107\",\"end\":\"retired\"},"
				     "\"cpus_taken\":2"));
	snprintf(too, sizeof(too), "%s.too", path);
	for (int i = 0; i < 500 && (stat(path, &st) || stat(too, &st)); i++)
		usleep(20000);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(stat(too, &st), 0);
}

/* Commits, and the outgoing kernel ends in this state. */
static void commit_and_end(uint32_t end)
{
	struct kho_err err = KHO_ERR_INIT;

	fill_ledger(end);
	start_agent();
	assert_int_equal(connect_peer(&err), 0);
	assert_int_equal(kho_peer_commit(fx.peer, NULL, in_ms(1000), &err), 0);
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	pthread_join(fx.agent, NULL);
	fx.agent_runs = false;
}

/* Somebody may still run in the memory: it stays where it is, and is not asked for block by block, which takes a second each. */
static void one_does_not_park(void **state)
{
	char text[1000];

	(void)state;
	fx.unparked = true;
	commit_and_end(KHO_STATE_RETIRED);
	expect_log("[take-over: memory at 0x10000000: a CPU may still run there] ");
	expect_log("busy100000000 ");
	assert_null(strstr(fx.log.text, "busy110000000 "));
	expect_log("[6.12.107 is retired: took 2 CPUs and 0 MiB]");
	read_text(fx.run, "instance.json", text, sizeof(text));
	assert_non_null(strstr(text, "\"memory_adopted_kib\":0,\"memory_failed_kib\":1310720,"));
}

static void outgoing_panics_after_commit(void **state)
{
	(void)state;
	commit_and_end(KHO_STATE_PANICKED);
	expect_log("6.12.107 is panicked: its CPUs and memory stay where they are");
	assert_null(strstr(fx.log.text, "cpu0+"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(echo, setup_both, teardown),
		cmocka_unit_test_setup_teardown(operations, setup_both, teardown),
		cmocka_unit_test_setup_teardown(long_operation, setup_both, teardown),
		cmocka_unit_test_setup_teardown(workloads, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(gates, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(cancelled, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(load, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(bad_place, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(parallel, setup_both, teardown),
		cmocka_unit_test_setup_teardown(one_at_a_time, setup_both, teardown),
		cmocka_unit_test_setup_teardown(hotplug, setup_both, teardown),
		cmocka_unit_test_setup_teardown(refusals, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(plan_memory, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(commit_and_take_over, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(one_does_not_park, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(outgoing_panics_after_commit, setup_bare, teardown),
	};

	return cmocka_run_group_tests_name("link_agent", tests, NULL, NULL);
}
