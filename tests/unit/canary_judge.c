// SPDX-License-Identifier: GPL-2.0-only
/* Canaries: what the numbers of a load on both kernels mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "orchestrator/canary.h"

static struct kho_load_result result(unsigned n, unsigned slot, uint64_t errors)
{
	struct kho_load_result r = { .known = true, .errors = errors };

	/* spread over an octave, so that a shift by one slot is none that counts */
	for (unsigned i = 0; i < n; i++)
		r.ns.slot[slot + i % 4]++;
	if (errors)
		strcpy(r.what, "went wrong");
	return r;
}

/* rounds of the same, of which `bad` rounds have the canary's operations `later` slots later */
static struct kho_mix_trial judged(unsigned rounds, unsigned bad, unsigned n, unsigned later, enum kho_mix mix, unsigned too_busy)
{
	const struct kho_difference_limits l = kho_canary_limits(50);
	struct kho_mix_trial t = { 0 };

	for (unsigned i = 0; i < rounds; i++) {
		struct kho_load_result there = result(n, 40 + (i < bad ? later : 0), 0), here = result(n, 40, 0);

		kho_mix_trial_add(&t, &there, &here, &l);
	}
	kho_mix_judge(&t, mix, &l, too_busy);
	return t;
}

static void numbers(void **state)
{
	struct kho_mix_trial t = judged(3, 0, 500, 0, KHO_MIX_SCHED, 0);

	(void)state;
	assert_int_equal(t.verdict, KHO_GATE_PASS);
	assert_string_equal(t.msg, "median 1.00 times this kernel's, 99th percentile 1.00 times");
	t = judged(3, 3, 500, 4, KHO_MIX_SCHED, 0); /* twice as slow */
	assert_int_equal(t.verdict, KHO_GATE_FAIL);
	assert_non_null(strstr(t.msg, "slower than on this kernel: median 2.00 times, 99th percentile 2.00 times, in 3 of 3 rounds"));
	assert_int_equal(judged(3, 3, 500, 1, KHO_MIX_SCHED, 0).verdict, KHO_GATE_PASS); /* a quarter more is not half as much again */
	assert_int_equal(judged(4, 4, 500, 3, KHO_MIX_NET, 0).verdict, KHO_GATE_FAIL);
	/* a kernel that is slow all the time is so in most rounds; a machine that was disturbed is not */
	assert_int_equal(judged(3, 1, 500, 20, KHO_MIX_SCHED, 0).verdict, KHO_GATE_PASS);
	assert_int_equal(judged(3, 2, 500, 20, KHO_MIX_SCHED, 0).verdict, KHO_GATE_FAIL);
	/* who shares the CPU makes this kernel look slow, and the canary good */
	assert_int_equal(judged(3, 3, 500, 4, KHO_MIX_SCHED, 51).verdict, KHO_GATE_UNKNOWN);
	assert_int_equal(judged(3, 0, 500, 0, KHO_MIX_SCHED, 51).verdict, KHO_GATE_UNKNOWN);
	assert_int_equal(judged(3, 0, 30, 0, KHO_MIX_SCHED, 0).verdict, KHO_GATE_UNKNOWN);
	assert_int_equal(judged(3, 3, 30, 20, KHO_MIX_COMMAND, 0).verdict, KHO_GATE_PASS); /* it ran, and that was asked */
	assert_int_equal(judged(3, 3, 40, 20, KHO_MIX_COMMAND, 0).verdict, KHO_GATE_FAIL);
	assert_int_equal(judged(0, 0, 0, 0, KHO_MIX_SCHED, 0).verdict, KHO_GATE_UNKNOWN);
}

static struct kho_mix_trial pair(struct kho_load_result there, struct kho_load_result here)
{
	const struct kho_difference_limits l = kho_canary_limits(50);
	struct kho_mix_trial t = { 0 };

	kho_mix_trial_add(&t, &there, &here, &l);
	kho_mix_judge(&t, KHO_MIX_CRYPTO, &l, 0);
	return t;
}

/* The slowest fiftieth is a thousand times as slow, and a shift of the rest that is none that counts: the machine's neighbours do that. */
static void tail(void **state)
{
	const struct kho_difference_limits l = kho_canary_limits(50);
	struct kho_load_result here = result(980, 40, 0), there = result(980, 41, 0);
	struct kho_mix_trial t = { 0 };

	(void)state;
	there.ns.slot[82] += 20;
	for (int i = 0; i < 3; i++)
		kho_mix_trial_add(&t, &there, &here, &l);
	kho_mix_judge(&t, KHO_MIX_SCHED, &l, 0);
	assert_true(t.d.p99_ratio > 100);
	assert_int_equal(t.verdict, KHO_GATE_PASS);
	assert_int_equal(t.rounds_worse, 0);
}

static void errors(void **state)
{
	struct kho_load_result good = result(500, 40, 0), bad = result(500, 40, 3), none = { .what = "no module" };
	struct kho_mix_trial t = pair(bad, good);

	(void)state;
	assert_int_equal(t.verdict, KHO_GATE_FAIL);
	assert_string_equal(t.msg, "3 operations failed on the canary, first: went wrong");
	assert_int_equal(pair(bad, bad).verdict, KHO_GATE_UNKNOWN); /* of the load, not of the kernel */
	assert_int_equal(pair(bad, none).verdict, KHO_GATE_FAIL);
	assert_int_equal(pair(none, none).verdict, KHO_GATE_UNKNOWN);
	t = pair(none, good);
	assert_int_equal(t.verdict, KHO_GATE_UNKNOWN);
	assert_string_equal(t.msg, "cannot be run on the canary: no module");
	t = pair(good, bad);
	assert_int_equal(t.verdict, KHO_GATE_UNKNOWN);
	assert_string_equal(t.msg, "nothing to compare it with, on this kernel: went wrong");
	assert_int_equal(pair(good, none).verdict, KHO_GATE_UNKNOWN);
	/* what could not be run once is not known, whatever came before and after */
	t = (struct kho_mix_trial){ .rounds = 1, .there.known = true };
	kho_load_add(&t.there, &good);
	kho_load_add(&t.there, &none);
	kho_load_add(&t.there, &bad);
	assert_false(t.there.known);
	assert_string_equal(t.there.what, "no module");
}

static void fill(struct kho_hist *h, unsigned n, uint64_t ns)
{
	*h = (struct kho_hist){ 0 };
	for (unsigned i = 0; i < n; i++)
		kho_hist_add(h, ns);
}

/* One that was recorded and sent as it should be. */
static struct kho_replay_trial sent(unsigned n, uint64_t here_ns, uint64_t there_ns)
{
	struct kho_replay_trial t = { .recorded = true, .ran = true, .here = { .fd = -1, .us = 6000000, .conns = 2, .requests = n } };

	t.there = (struct kho_replay_result){ .known = true, .timed = true, .requests = n, .replies = n };
	fill(&t.here.ns, n, here_ns);
	fill(&t.there.ns, n, there_ns);
	return t;
}

static void assert_replay(struct kho_replay_trial t, enum kho_gate_verdict v, const char *says)
{
	const struct kho_difference_limits l = kho_canary_limits(100);

	kho_replay_judge(&t, &l);
	if (t.verdict != v || !strstr(t.msg, says))
		fail_msg("%s: %s", kho_gate_verdict_name(t.verdict), t.msg);
}

static void replays(void **state)
{
	struct kho_replay_trial t = sent(500, 200000, 210000);

	(void)state;
	t.there.other_length = 3;
	assert_replay(t, KHO_GATE_PASS, "500 requests, and 500 replies (3 of another length): median 1.");
	assert_replay(sent(500, 200000, 800000), KHO_GATE_FAIL, "its copy replies later: median 3.");
	assert_replay(sent(500, 2000, 20000), KHO_GATE_PASS, "median 1."); /* ten times next to nothing */
	assert_replay(sent(20, 200000, 800000), KHO_GATE_PASS, "20 requests, and 20 replies (0 of another length); too few");
	/* what goes wrong before a time means anything */
	t.there.silent = 1;
	snprintf(t.there.what, sizeof(t.there.what), "x: no reply in time");
	assert_replay(t, KHO_GATE_FAIL, "of 2 connections 0 were refused, 0 were cut, 1 got no reply, first: x: no reply in time");
	t = sent(500, 1, 1);
	t.there.refused = 2;
	assert_replay(t, KHO_GATE_FAIL, "2 were refused");
	/* what says nothing of the kernel */
	t = sent(500, 200000, 200000);
	t.there.late = 7;
	assert_replay(t, KHO_GATE_UNKNOWN, "the time was over before 7 of 500 requests");
	t.there.timed = false;
	assert_replay(t, KHO_GATE_UNKNOWN, "could not be measured");
	t.there = (struct kho_replay_result){ .known = true, .strange = 2 };
	assert_replay(t, KHO_GATE_UNKNOWN, "that had begun before");
	t.there.known = false;
	assert_replay(t, KHO_GATE_UNKNOWN, "cannot be run on the canary");
	t.ran = false;
	assert_replay(t, KHO_GATE_UNKNOWN, "no copy to send them to");
	t.here.requests = 0;
	assert_replay(t, KHO_GATE_UNKNOWN, "nobody asked it for anything over TCP in 6");
	t.here.tls = 3;
	assert_replay(t, KHO_GATE_UNKNOWN, "looks like TLS (3 connections)");
	snprintf(t.why, sizeof(t.why), "why");
	assert_replay(t, KHO_GATE_UNKNOWN, "not sent: why");
	t.recorded = false;
	assert_replay(t, KHO_GATE_UNKNOWN, "not recorded: why");
	assert_replay((struct kho_replay_trial){ 0 }, KHO_GATE_UNKNOWN, "not run");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(numbers), cmocka_unit_test(tail), cmocka_unit_test(errors), cmocka_unit_test(replays) };

	return cmocka_run_group_tests_name("canary_judge", tests, NULL, NULL);
}
