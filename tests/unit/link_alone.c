// SPDX-License-Identifier: GPL-2.0-only
/* The outgoing side ends before the upgrade is through: what the agent does alone, and when it keeps quiet. */
#include "tests/unit/link_fixture.h"

#include "orchestrator/journal.h"
#include "lib/json.h"

static bool fence_fails, bad_verdict;

static int m_fence(void *arg, struct kho_err *err)
{
	(void)arg;
	logf_("fence ");
	return fence_fails ? kho_fail(err, -EIO, "the boot CPU does not answer") : 0;
}

#define SIMPLE(name, op)                                              \
	static int name##_##op(struct kho_env *env, struct kho_err *err) \
	{                                                             \
		(void)env;                                            \
		(void)err;                                            \
		logf_(#op "-" #name " ");                             \
		return 0;                                             \
	}
SIMPLE(gate, finish)
SIMPLE(gate, tidy)
SIMPLE(rest, finish)

static bool cannot_tidy, cannot_pin;

static int rest_cpus(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	logf_("cpus-rest ");
	return cannot_pin ? kho_fail(err, -ENODEV, "web: threads that run on all CPUs now: 1") : 0;
}

static int rest_tidy(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	logf_("tidy-rest ");
	return cannot_tidy ? kho_fail(err, -ETIMEDOUT, "the shim does not answer") : 0;
}

static int verify(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	(void)env;
	(void)err;
	logf_("verify ");
	return kho_report_add(r, bad_verdict ? KHO_V_NO : KHO_V_OK, "health", "redis", NULL, "does it answer");
}

/* the gate is not the first */
static const struct kho_serializer two[] = {
	{ .name = "rest", .retrieve = s_retrieve, .verify = verify, .discard = s_discard, .finish = rest_finish, .tidy = rest_tidy, .cpus = rest_cpus },
	{ .name = "gate", .flags = KHO_SER_GATE, .retrieve = s_retrieve, .verify = verify, .discard = s_discard,
	  .finish = gate_finish, .tidy = gate_tidy },
};

static const struct kho_serializer *find_two(const char *name)
{
	return !strcmp(name, "rest") ? &two[0] : !strcmp(name, "gate") ? &two[1] : NULL;
}

static struct kho_ledger *ledger(void)
{
	return (struct kho_ledger *)fx.ledger;
}

static int op(const char *ser, const char *name)
{
	struct kho_blob none = { 0 };

	return kho_peer_op(fx.peer, ser, name, &none, NULL, NULL, in_ms(2000), NULL);
}

static int entrust(bool complete)
{
	static const char *const names[] = { "rest", "gate", NULL };
	struct kho_blob record = { (void *)"KHOJRNL1", 8 };

	return kho_peer_entrust(fx.peer, names, &record, complete, in_ms(1000), NULL);
}

static int setup_alone(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	fence_fails = bad_verdict = cannot_pin = false;
	setup_bare(state);
	fx.machine.fence = m_fence;
	fx.conf.find = find_two;
	ledger()->tsc_khz = 1000000;
	ledger()->side[KHO_SIDE_OUTGOING].frozen_tsc = 5000000;
	ledger()->side[KHO_SIDE_OUTGOING].link_open = 1;
	snprintf(ledger()->side[KHO_SIDE_OUTGOING].release, 64, "6.12.107");
	start_agent();
	if (connect_peer(&err))
		fail_msg("%s", err.msg);
	return 0;
}

/* The outgoing kernel ends; the agent's thread is joined. */
static void ends(enum kho_instance_state how)
{
	__atomic_store_n(&ledger()->side[KHO_SIDE_OUTGOING].state, how, __ATOMIC_RELEASE);
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	pthread_join(fx.agent, NULL);
	fx.agent_runs = false;
}

static void all_across(void)
{
	assert_int_equal(op("rest", "retrieve"), 0);
	assert_int_equal(op("gate", "retrieve"), 0);
}

static void assert_quiet(const char *why)
{
	expect_log(why);
	expect_log("state4 ");
	assert_null(strstr(fx.log.text, "finish-"));
	assert_null(strstr(fx.log.text, "state7 "));
	assert_false(fx.shared.committed);
}

/* Records of the journal that the agent has written, of one kind: how many, the last one. */
static size_t records(const char *kind, struct json_object **last)
{
	_cleanup_json_ struct json_object *all = NULL;
	size_t n = 0;

	*last = NULL;
	assert_int_equal(kho_journal_read(fx.journal, fx.journal, &all, NULL, NULL), 0);
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *o = json_object_array_get_idx(all, i);

		if (strcmp(kho_json_get_str(o, "rec"), kind))
			continue;
		n++;
		json_object_put(*last);
		*last = json_object_get(o);
	}
	return n;
}

static void completes(void **state)
{
	struct json_object *o;

	(void)state;
	assert_int_equal(entrust(true), 0);
	all_across();
	ends(KHO_STATE_PANICKED);
	/* whole, then stopped, then signed, then open, the gate first */
	expect_log("verify verify fence state7 finish-gate finish-rest tidy-rest tidy-gate ");
	assert_true(fx.shared.committed);
	assert_int_equal(records("signed", &o), 1);
	assert_true(json_object_get_boolean(kho_json_get(o, "alone")));
	json_object_put(o);
	assert_int_equal(records("takeover", &o), 1);
	assert_string_equal(kho_json_get_str(o, "why"), "panicked");
	json_object_put(o);
	assert_int_equal(records("blackout", &o), 2);
	assert_int_equal(kho_json_get_int(o, "begin_us"), 5000);
	assert_true(kho_json_get_int(o, "end_us") > 5000);
	json_object_put(o);
	assert_int_equal(records("end", &o), 1);
	assert_string_equal(kho_json_get_str(o, "outcome"), "upgraded");
	json_object_put(o);
}

static void something_is_missing(void **state)
{
	(void)state;
	assert_int_equal(entrust(true), 0);
	assert_int_equal(op("rest", "retrieve"), 0);
	ends(KHO_STATE_PANICKED);
	assert_quiet("not everything has come across: gate has not");
	assert_null(strstr(fx.log.text, "fence"));
}

static void was_being_undone(void **state)
{
	(void)state;
	assert_int_equal(entrust(true), 0);
	all_across();
	assert_int_equal(op("gate", "discard"), 0);
	ends(KHO_STATE_PANICKED);
	assert_quiet("gate has not");
}

static void a_person_decides(void **state)
{
	(void)state;
	assert_int_equal(entrust(false), 0);
	all_across();
	ends(KHO_STATE_PANICKED);
	assert_quiet("outgoing-panic = wait");
}

static void is_not_well(void **state)
{
	(void)state;
	assert_int_equal(entrust(true), 0);
	all_across();
	bad_verdict = true;
	ends(KHO_STATE_PANICKED);
	assert_quiet("redis: does it answer");
	assert_null(strstr(fx.log.text, "fence"));
}

static void cannot_be_stopped(void **state)
{
	(void)state;
	assert_int_equal(entrust(true), 0);
	all_across();
	fence_fails = true;
	ends(KHO_STATE_PANICKED);
	assert_quiet("the boot CPU does not answer");
}

/* It retires in order or not at all: nothing but a panic or silence is completed. */
static void nothing_entrusted(void **state)
{
	(void)state;
	all_across();
	ends(KHO_STATE_PANICKED);
	assert_quiet("before the workloads were frozen");
}

static void rest_after_commit(void **state)
{
	struct kho_blob record = { (void *)"KHOJRNL1", 8 };
	struct json_object *o;

	(void)state;
	assert_int_equal(entrust(true), 0);
	all_across();
	assert_int_equal(kho_peer_commit(fx.peer, &record, in_ms(1000), NULL), 0);
	assert_int_equal(op("gate", "finish"), 0);
	ends(KHO_STATE_PANICKED);
	/* what was done is not done again; stopped before anything of it is taken */
	expect_log("finish-gate ");
	expect_log("finish-rest tidy-rest tidy-gate fence ");
	assert_ptr_equal(strstr(strstr(fx.log.text, "finish-gate") + 1, "finish-gate"), NULL);
	assert_int_equal(records("end", &o), 1);
	assert_string_equal(kho_json_get_str(o, "outcome"), "upgraded");
	json_object_put(o);
}

/* When it has retired and all CPUs are here serializers are told so, behind everything else; what is lost is in the journal. */
static void all_cpus_are_here(void **state)
{
	struct kho_blob record = { (void *)"KHOJRNL1", 8 };
	struct json_object *o;

	(void)state;
	cannot_pin = true;
	assert_int_equal(entrust(true), 0);
	all_across();
	assert_int_equal(kho_peer_commit(fx.peer, &record, in_ms(1000), NULL), 0);
	assert_int_equal(op("gate", "finish"), 0);
	assert_int_equal(op("rest", "finish"), 0);
	assert_int_equal(op("rest", "tidy"), 0);
	assert_int_equal(op("gate", "tidy"), 0);
	/* the last words of an outgoing kernel */
	assert_int_equal(kho_peer_commit(fx.peer, &record, in_ms(1000), NULL), 0);
	assert_null(strstr(fx.log.text, "cpus-rest"));
	ends(KHO_STATE_RETIRED);
	expect_log("grown ");
	expect_log("cpus-rest ");
	expect_log("[cpus rest: web: threads that run on all CPUs now: 1]");
	assert_true(strstr(fx.log.text, "cpus-rest") > strstr(fx.log.text, "grown "));
	assert_true(fx.shared.settled);
	assert_int_equal(records("loss", &o), 1);
	assert_string_equal(kho_json_get_str(o, "what"), "cpus rest: web: threads that run on all CPUs now: 1");
	json_object_put(o);
}

/* Its khoctl dies after the commit, and its kernel lives: what is left is done, and a new khoctl is served. */
static void khoctl_dies_after_commit(void **state)
{
	struct kho_blob record = { (void *)"KHOJRNL1", 8 };

	(void)state;
	assert_int_equal(entrust(true), 0);
	all_across();
	assert_int_equal(kho_peer_commit(fx.peer, &record, in_ms(1000), NULL), 0);
	ledger()->side[KHO_SIDE_OUTGOING].link_open = 0;
	for (int i = 0; i < 100 && !strstr(fx.log.text, "tidy-gate"); i++)
		usleep(100000);
	expect_log("finish-gate finish-rest tidy-rest tidy-gate ");
	assert_int_equal(op("gate", "finish"), 0);
	assert_int_equal(op("gate", "tidy"), 0);
	ends(KHO_STATE_RETIRED);
	assert_ptr_equal(strstr(strstr(fx.log.text, "tidy-gate") + 1, "tidy-gate"), NULL);
	assert_null(strstr(fx.log.text, "fence"));
}

/* Who asks for a tidy a second time, because the first answer took too long, is told how that ended. */
static void tidy_fails(void **state)
{
	struct kho_blob record = { (void *)"KHOJRNL1", 8 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(entrust(true), 0);
	all_across();
	assert_int_equal(kho_peer_commit(fx.peer, &record, in_ms(1000), NULL), 0);
	cannot_tidy = true;
	assert_int_equal(op("rest", "tidy"), -ETIMEDOUT);
	cannot_tidy = false;
	assert_int_equal(kho_peer_op(fx.peer, "rest", "tidy", NULL, NULL, NULL, in_ms(2000), &err), -ETIMEDOUT);
	assert_string_equal(err.msg, "the shim does not answer");
	assert_ptr_equal(strstr(strstr(fx.log.text, "tidy-rest") + 1, "tidy-rest"), NULL);
	assert_int_equal(op("gate", "tidy"), 0);
	ends(KHO_STATE_RETIRED);
}

static struct kho_dmesg dmesg;

static const volatile struct kho_dmesg *m_dmesg(void *arg, struct kho_err *err)
{
	(void)arg;
	(void)err;
	return &dmesg;
}

static char *log_path(int generation)
{
	static char path[160];

	snprintf(path, sizeof(path), "%s/dmesg-%d-6.12.107.txt", fx.journal, generation);
	return path;
}

/* Logs of these generations are there, and the outgoing kernel, of another one, leaves its own. */
static void leave_log(int first, int last, uint32_t generation)
{
	fx.machine.dmesg = m_dmesg;
	dmesg.bytes = (uint64_t)snprintf((char *)dmesg.data, 64, "Kernel panic\x01\n");
	ledger()->side[KHO_SIDE_OUTGOING].generation = generation;
	assert_int_equal(mkdir(fx.journal, 0700), 0);
	for (int i = first; i <= last; i++)
		fclose(fopen(log_path(i), "w"));
}

/* What the outgoing kernel said last is kept; of a machine that is upgraded again and again, the last eight. */
static void logs_are_kept(void **state)
{
	char text[64] = "";
	unsigned n = 0;
	struct stat st;
	FILE *f;

	(void)state;
	leave_log(2, 11, 12);
	assert_int_equal(entrust(true), 0);
	all_across();
	ends(KHO_STATE_PANICKED);
	for (int i = 1; i <= 12; i++) {
		n += !stat(log_path(i), &st);
		assert_int_equal(!stat(log_path(i), &st), i > 4);
	}
	assert_int_equal(n, 8);
	f = fopen(log_path(12), "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "Kernel panic?\n");
}

/* The machine was restarted since: its first kernel's log is the newest, whatever its number, and the oldest goes. */
static void logs_after_restart(void **state)
{
	const struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct stat st;

	(void)state;
	leave_log(2, 9, 1);
	assert_int_equal(utimensat(AT_FDCWD, log_path(9), old, 0), 0);
	assert_int_equal(entrust(true), 0);
	all_across();
	ends(KHO_STATE_PANICKED);
	for (int i = 1; i <= 9; i++)
		assert_int_equal(!stat(log_path(i), &st), i != 9);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup_alone, teardown)
	const struct CMUnitTest tests[] = {
		T(completes),	     T(something_is_missing), T(was_being_undone),	  T(a_person_decides),
		T(is_not_well),	     T(cannot_be_stopped),    T(nothing_entrusted), T(rest_after_commit),
		T(khoctl_dies_after_commit), T(all_cpus_are_here), T(tidy_fails), T(logs_are_kept),
		T(logs_after_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
