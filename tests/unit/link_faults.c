// SPDX-License-Identifier: GPL-2.0-only
/* Faults on request, and those of the link's messages, on both sides: what is lost, comes twice, or is told. */
#include "tests/unit/link_fixture.h"
#include "handover/link/fault.h"

/* Only a kernel that was started for it fails on request; the kinds that end it are for a VM. */
static void faults(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_peer_fault(fx.peer, "panic", in_ms(1000), &err), -EPERM);
	assert_non_null(strstr(err.msg, "khoctl.fault=1"));
	fx.conf.faults = true;
	assert_int_equal(kho_peer_fault(fx.peer, "sneeze", in_ms(1000), &err), -EINVAL);
	assert_non_null(strstr(err.msg, "no fault 'sneeze'"));
}

static unsigned times(const char *text)
{
	unsigned n = 0;

	pthread_mutex_lock(&fx.log.lock);
	for (const char *p = fx.log.text; (p = strstr(p, text)); p++)
		n++;
	pthread_mutex_unlock(&fx.log.lock);
	return n;
}

static void on_struck(void *arg, const char *name)
{
	(void)arg;
	logf_("struck(%s) ", name);
}

/* What this side sends: parsed from its name, and armed. */
static void arm(struct kho_link_faults *l, const char *text)
{
	const struct kho_fault_names known = { .messages = kho_msg_names() };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_faults f;

	if (kho_faults_parse(text, &known, &f, &err))
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < f.n; i++) {
		assert_false(kho_link_fault_is_agents(&f.f[i]));
		assert_int_equal(kho_link_fault_arm(l, &f.f[i], &err), 0);
	}
}

/* A lost request runs into its deadline and is not carried out; one that comes twice is, once. */
static void request_faults(void **state)
{
	struct kho_link_faults l;
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin;

	(void)state;
	kho_link_faults_init(&l, on_struck, NULL);
	fx.peer->s.faults = &l;
	arm(&l, "link.cpu:drop,link.op:dup,link.mem:late");
	assert_int_equal(kho_peer_cpu(fx.peer, 7, true, in_ms(300), &err), -ETIMEDOUT);
	expect_log("struck(link.cpu:drop)");
	assert_int_equal(times("cpu7+"), 0);
	assert_int_equal(kho_peer_cpu(fx.peer, 7, true, in_ms(5000), &err), 0);
	assert_int_equal(times("cpu7+"), 1);
	assert_int_equal(f_op("s0", "retrieve", "", 0, 5000, &err), 0);
	expect_log("[request 'op' came twice]");
	assert_int_equal(times("retrieved"), 1);
	begin = kho_clock_us();
	assert_int_equal(kho_peer_mem(fx.peer, 0x80000000, 0x10000000, true, in_ms(20000), &err), 0);
	assert_true(kho_clock_us() - begin >= KHO_LINK_LATE_US);
	assert_int_equal(times("struck"), 3);
	/* each once */
	assert_int_equal(f_op("s1", "retrieve", "", 0, 5000, &err), 0);
	assert_int_equal(times("came twice"), 1);
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	kho_link_faults_done(&l);
}

/* The agent says hello at its start, whether a knock has come or not; a knock that is lost must not leave it deaf. */
static void first_faults(void **state)
{
	struct kho_link_faults l;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	kho_link_faults_init(&l, on_struck, NULL);
	fx.setup.faults = &l;
	arm(&l, "link.knock:drop,link.setup:dup");
	start_agent();
	if (connect_peer(&err))
		fail_msg("%s", err.msg);
	assert_int_equal(times("struck"), 2);
	expect_log("[request 'setup' came twice]");
	assert_int_equal(kho_peer_cpu(fx.peer, 7, true, in_ms(5000), &err), 0);
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	kho_link_faults_done(&l);
}

/* What the agent sends: a lost reply is a deadline, but all was done; one that comes twice harms nobody; it tells. */
static void reply_faults(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_peer_fault(fx.peer, "link.cpu.reply:drop", in_ms(1000), &err), -EPERM);
	fx.conf.faults = true;
	assert_int_equal(kho_peer_fault(fx.peer, "link.melt.reply:drop", in_ms(1000), &err), -EINVAL);
	assert_int_equal(kho_peer_fault(fx.peer, "link.cpu.reply:drop", in_ms(1000), &err), 0);
	assert_int_equal(kho_peer_fault(fx.peer, "link.op.reply:dup", in_ms(1000), &err), 0);
	assert_int_equal(kho_peer_fault(fx.peer, "link.note:drop", in_ms(1000), &err), 0);
	assert_int_equal(kho_peer_cpu(fx.peer, 7, true, in_ms(500), &err), -ETIMEDOUT);
	assert_int_equal(times("cpu7+"), 1);
	expect_log("note(fault struck: link.cpu.reply:drop)");
	assert_int_equal(f_op("s0", "retrieve", "", 0, 5000, &err), 0);
	assert_int_equal(f_op("s1", "retrieve", "", 0, 5000, &err), 0);
	expect_log("note(fault struck: link.op.reply:dup)");
	assert_int_equal(f_op("s0", "prepare", "abc", 3, 5000, &err), 0);
	expect_log("note(fault struck: link.note:drop)");
	assert_int_equal(times("note(prepare got"), 0);
	assert_false(kho_peer_lost(fx.peer, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(faults, setup_both, teardown),
		cmocka_unit_test_setup_teardown(request_faults, setup_both, teardown),
		cmocka_unit_test_setup_teardown(first_faults, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(reply_faults, setup_both, teardown),
	};

	return cmocka_run_group_tests_name("link_faults", tests, NULL, NULL);
}
