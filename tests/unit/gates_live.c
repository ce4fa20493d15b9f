// SPDX-License-Identifier: GPL-2.0-only
/* Gates on the kernel that runs here: real programs, real latencies. Skips what this kernel or user may not do, and says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bpf/program.h"
#include "bpf/ready.h"
#include "bpf/wakeup.h"
#include "lib/clock.h"
#include "tests/unit/bpf_left.h"
#include "tests/unit/refused.skel.h"

static void exercise(void **state)
{
	struct kho_exercise_cpu *c = NULL;
	struct kho_err err = KHO_ERR_INIT;
	size_t n = 0;

	(void)state;
	assert_int_equal(kho_exercise(&c, &n, &err), 0);
	assert_true(n >= 1);
	for (size_t i = 0; i < n; i++) {
		assert_true(c[i].back);
		assert_in_range(kho_hist_count(&c[i].late), 1, KHO_EXERCISE_ROUNDS);
		assert_true(kho_hist_quantile(&c[i].late, 0.5) > 0);
	}
	free(c);
}

static void wakeup(void **state)
{
	struct kho_exercise_cpu *c = NULL;
	struct kho_wakeup *w = NULL;
	struct kho_hist *h = NULL;
	struct kho_err err = KHO_ERR_INIT;
	size_t n, ncpus, nids;
	__u32 ids[OWN_PROGRAMS];

	(void)state;
	need_bpf();
	assert_int_equal(own_programs(ids), 0);
	if (kho_wakeup_start(&w, &err))
		fail_msg("%s", err.msg);
	nids = own_programs(ids);
	assert_true(nids >= 2 && in_kernel("kho_waking") >= 1 && in_kernel("kho_switch") >= 1);
	assert_int_equal(kho_exercise(&c, &n, &err), 0);
	assert_int_equal(kho_wakeup_read(w, &h, &ncpus, &err), 0);
	for (size_t i = 0; i < n; i++) {
		const struct kho_hist *one = &h[c[i].cpu];

		/* each timer that ended woke a thread here; one on another CPU woke one more, if it was asleep */
		assert_in_range(kho_hist_count(one), kho_hist_count(&c[i].late) * 9 / 10, KHO_EXERCISE_ROUNDS * 2 + 10);
		print_message("CPU %d: %llu wake-ups, median %.1f us, p99 %.1f us; timer median %.1f us, p99 %.1f us\n", c[i].cpu,
			      (unsigned long long)kho_hist_count(one), (double)kho_hist_quantile(one, 0.5) / 1000,
			      (double)kho_hist_quantile(one, 0.99) / 1000, (double)kho_hist_quantile(&c[i].late, 0.5) / 1000,
			      (double)kho_hist_quantile(&c[i].late, 0.99) / 1000);
		assert_true(kho_hist_quantile(one, 0.5) > 100);
	}
	kho_wakeup_stop(w);
	expect_gone(ids, nids);
	assert_int_equal(own_programs(ids), 0);
	free(h);
	free(c);
}

static void refused(void **state)
{
	struct refused_bpf *skel;
	struct kho_err err = KHO_ERR_INIT;
	__u32 ids[OWN_PROGRAMS];

	(void)state;
	need_bpf();
	skel = refused_bpf__open();
	assert_non_null(skel);
	assert_true(kho_program_start(skel->skeleton, &err) < 0);
	print_message("%s\n", err.msg);
	assert_non_null(strstr(err.msg, "the kernel refuses program kho_refused: R0 invalid mem access"));
	refused_bpf__destroy(skel);
	assert_int_equal(own_programs(ids), 0);
}

static void ready(void **state)
{
	struct kho_gate_policy p;
	struct kho_gate_list l;
	struct kho_gate_result r[KHO_NGATES] = { 0 };
	bool there[KHO_NGATES] = { false };
	__u32 ids[OWN_PROGRAMS];

	(void)state;
	kho_gate_policy_init(&p);
	kho_ready("", &p, &l);
	for (size_t i = 0; i < l.n; i++) {
		r[l.r[i].gate] = l.r[i];
		there[l.r[i].gate] = true;
		print_message("%-8s %-7s %lld %s\n", kho_gates[l.r[i].gate].name, kho_gate_verdict_name(l.r[i].verdict),
			      (long long)l.r[i].value, l.r[i].what);
	}
	/* those that need another kernel's word, or PSI */
	for (int i = 0; i < KHO_NGATES; i++)
		assert_true(i == KHO_GATE_PRESSURE || i == KHO_GATE_DRIFT || i == KHO_GATE_DRIVERS || i == KHO_GATE_CRIU || i == KHO_GATE_LEAK ||
			    there[i] == !strcmp(kho_gates[i].gate, "ready"));
	assert_int_not_equal(r[KHO_GATE_TIMER].verdict, KHO_GATE_UNKNOWN);
	assert_true(r[KHO_GATE_TIMER].value > 0);
	assert_int_not_equal(r[KHO_GATE_MEMORY].verdict, KHO_GATE_UNKNOWN);
	need_bpf();
	assert_int_not_equal(r[KHO_GATE_WAKEUP].verdict, KHO_GATE_UNKNOWN);
	assert_true(r[KHO_GATE_WAKEUP].value > 0);
	assert_int_equal(own_programs(ids), 0);
	/* any latency is above no latency: the same kernel fails for what it really does */
	assert_int_equal(kho_gate_policy_set(&p, "wakeup=0,timer=0", NULL), 0);
	kho_ready("", &p, &l);
	for (size_t i = 0; i < l.n; i++)
		if (l.r[i].gate == KHO_GATE_WAKEUP || l.r[i].gate == KHO_GATE_TIMER)
			assert_int_equal(l.r[i].verdict, KHO_GATE_FAIL);
}

/* Against what this kernel says itself, and against a frequency that is a tenth off. */
static void drift(void **state)
{
	struct kho_gate_policy p;
	struct kho_gate_list l;
	uint32_t khz;

	(void)state;
	kho_gate_policy_init(&p);
	kho_clock_measure_tsc();
	khz = kho_clock_tsc_khz();
	for (unsigned off = 0; off < 2; off++) {
		size_t seen = 0;

		kho_clock_set_tsc_khz(khz - off * (khz / 10));
		kho_ready("", &p, &l);
		for (size_t i = 0; i < l.n; i++) {
			if (l.r[i].gate != KHO_GATE_DRIFT)
				continue;
			seen++;
			print_message("%s: %s\n", kho_gate_verdict_name(l.r[i].verdict), l.r[i].what);
			/* 30 ms of measuring are good to some hundred, and the second one is 90 % of the first */
			assert_in_range(l.r[i].value, off ? 95000 : 0, off ? 105000 : 5000);
			assert_true(!off || l.r[i].verdict == KHO_GATE_FAIL);
		}
		assert_int_equal(seen, 1);
	}
	kho_clock_set_tsc_khz(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exercise),
		cmocka_unit_test(wakeup),
		cmocka_unit_test(refused),
		cmocka_unit_test(ready),
		cmocka_unit_test(drift),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
