// SPDX-License-Identifier: GPL-2.0-only
/* Gates without a kernel: slots, quantiles, comparison, verdicts, the kernel's log, a verifier's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "bpf/hist.h"
#include "bpf/program.h"
#include "bpf/ready.h"
#include "bpf/trouble.h"
#include "lib/json.h"

static void slots(void **state)
{
	unsigned seed = 1;

	(void)state;
	assert_int_equal(kho_hist_slot(0), 0);
	assert_int_equal(kho_hist_slot(3), 3);
	assert_int_equal(kho_hist_slot(4), 4);
	assert_int_equal(kho_hist_slot(UINT64_MAX), 251);
	for (unsigned i = 0; i < 251; i++) {
		assert_int_equal(kho_hist_slot(kho_hist_from(i)), i);
		assert_int_equal(kho_hist_slot(kho_hist_to(i) - 1), i);
		assert_true(kho_hist_from(i) < kho_hist_to(i));
	}
	for (int i = 0; i < 100000; i++) {
		uint64_t v = ((uint64_t)rand_r(&seed) << 33 ^ (uint64_t)rand_r(&seed) << 11 ^ (uint64_t)rand_r(&seed)) >> rand_r(&seed) % 64;
		unsigned s = kho_hist_slot(v);

		assert_true(kho_hist_from(s) <= v && (v < kho_hist_to(s) || s == 251));
	}
}

static void quantiles(void **state)
{
	struct kho_hist h = { 0 }, two = { 0 };

	(void)state;
	assert_int_equal(kho_hist_quantile(&h, 0.5), 0);
	for (uint64_t v = 1; v <= 1000; v++)
		kho_hist_add(&h, v * 1000);
	assert_int_equal(kho_hist_count(&h), 1000);
	/* an eighth, and values of one slot are spread evenly here, so it is much better */
	assert_in_range(kho_hist_quantile(&h, 0.5), 490000, 510000);
	assert_in_range(kho_hist_quantile(&h, 0.99), 970000, 1050000);
	assert_in_range(kho_hist_quantile(&h, 0), 900, 1100);
	assert_true(kho_hist_quantile(&h, 1) >= kho_hist_quantile(&h, 0.99));
	kho_hist_merge(&two, &h);
	kho_hist_merge(&two, &h);
	assert_int_equal(kho_hist_count(&two), 2000);
	assert_in_range(kho_hist_quantile(&two, 0.5), 490000, 510000);
	/* one of a hundred is not above the 99th percentile, two are */
	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 99; i++)
		kho_hist_add(&h, 1000);
	kho_hist_add(&h, 1u << 30);
	assert_in_range(kho_hist_quantile(&h, 0.99), 900, 1100);
	kho_hist_add(&h, 1u << 30);
	assert_true(kho_hist_quantile(&h, 0.99) >= 1u << 30);
}

/* n samples around `middle`, spread over a factor of four. */
static void fill(struct kho_hist *h, unsigned n, double middle, unsigned seed)
{
	memset(h, 0, sizeof(*h));
	while (n--)
		kho_hist_add(h, (uint64_t)(middle * exp2((double)rand_r(&seed) / RAND_MAX * 2 - 1)));
}

static void differences(void **state)
{
	struct kho_hist a = { 0 }, b = { 0 };
	struct kho_difference d;

	(void)state;
	assert_false(kho_hist_compare(&a, &b, &d));
	fill(&a, 1000, 20000, 1);
	assert_false(kho_hist_compare(&a, &b, &d));
	assert_true(kho_hist_compare(&a, &a, &d));
	assert_true(d.distance < 1e-12 && d.p > 0.999 && fabs(d.delta) < 1e-12);
	assert_true(fabs(d.median_ratio - 1) < 1e-12 && fabs(d.p99_ratio - 1) < 1e-12);
	/* the distance and delta by hand: a in slots 0 0 1 1, b in 0 1 1 2 */
	a = (struct kho_hist){ .slot = { 2, 2 } };
	b = (struct kho_hist){ .slot = { 1, 2, 1 } };
	assert_true(kho_hist_compare(&a, &b, &d));
	assert_true(fabs(d.distance - 0.25) < 1e-12);
	assert_true(fabs(d.delta - (8 - 2) / 16.0) < 1e-12); /* of 16 pairs b is more in 8, less in 2 */
	/* 2 * (exp(-2 l^2) - exp(-8 l^2)) with l = (sqrt(50) + 0.12 + 0.11 / sqrt(50)) * 0.2 */
	a = (struct kho_hist){ .slot = { 60, 40 } };
	b = (struct kho_hist){ .slot = { 40, 60 } };
	assert_true(kho_hist_compare(&a, &b, &d));
	assert_true(fabs(d.distance - 0.2) < 1e-12 && fabs(d.p - 0.03139) < 0.00005);
}

static int worse(unsigned n, double a, double b, unsigned seed)
{
	const struct kho_difference_limits limits = KHO_DIFFERENCE_LIMITS;
	struct kho_hist ha, hb;
	struct kho_difference d;

	fill(&ha, n, a, seed);
	fill(&hb, n, b, seed + 1000);
	kho_hist_compare(&ha, &hb, &d);
	return kho_hist_is_worse(&d, &limits);
}

static void worse_or_not(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 100; seed++) {
		assert_int_equal(worse(1000, 20000, 20000, seed), 0); /* a kernel against itself: always */
		assert_int_equal(worse(1000, 20000, 30000, seed), 1); /* half as much again */
		assert_int_equal(worse(1000, 30000, 20000, seed), 0); /* better is not worse */
	}
	assert_int_equal(worse(99, 20000, 90000, 1), -1);
	/* 3 % are significant with so many, and nothing to go back for */
	assert_int_equal(worse(300000, 20000, 20600, 1), 0);
}

static void verdicts(void **state)
{
	struct kho_gate_policy p;
	struct kho_gate_list l = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	char text[KHO_GATE_TEXT];

	(void)state;
	kho_gate_policy_init(&p);
	assert_int_equal(kho_gates_worst(&l), KHO_GATE_UNKNOWN); /* nothing measured is nothing known */
	assert_int_equal(kho_gates_decide(&l, &p, &err), -EOPNOTSUPP);
	kho_gate_measured(&l, &p, KHO_GATE_TIMER, kho_gates[KHO_GATE_TIMER].limit, "%s", "");
	kho_gate_measured(&l, &p, KHO_GATE_MEMORY, kho_gates[KHO_GATE_MEMORY].limit, "%s", "");
	assert_int_equal(kho_gates_worst(&l), KHO_GATE_PASS);
	assert_int_equal(kho_gates_decide(&l, &p, &err), 0);
	kho_gate_unknown(&l, &p, KHO_GATE_WAKEUP, "no %s", "BTF");
	assert_int_equal(kho_gates_worst(&l), KHO_GATE_UNKNOWN);
	assert_int_equal(kho_gates_decide(&l, &p, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "gate wakeup: not known: no BTF; --allow-unknown"));
	assert_string_equal(kho_gate_value_text(&l.r[2], text), "-");
	p.allow_unknown = true;
	assert_int_equal(kho_gates_decide(&l, &p, &err), 0);
	/* a failure is none that can be allowed, and is what is named */
	kho_gate_measured(&l, &p, KHO_GATE_TIMER, kho_gates[KHO_GATE_TIMER].limit + 1, "CPU %d", 3);
	assert_int_equal(l.n, 3);
	assert_int_equal(kho_gates_worst(&l), KHO_GATE_FAIL);
	assert_int_equal(kho_gates_decide(&l, &p, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "gate timer: "));
	assert_non_null(strstr(err.msg, ": 100001 us, and at most 100000 us is allowed: CPU 3"));
	kho_gate_measured(&l, &p, KHO_GATE_MEMORY, kho_gates[KHO_GATE_MEMORY].limit - 1, "%s", "");
	assert_int_equal(l.r[1].verdict, KHO_GATE_FAIL);
	assert_string_equal(kho_gate_limit_text(&l.r[1], text), "at least 5 %");
	assert_int_equal(kho_gates_decide(&l, &p, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "gate timer (also memory): "));
}

static void policies(void **state)
{
	static const char *const bad[] = { "timer", "timer=", "timer=1x", "timer=-1", "time=1", "timer=1,=2", "timer=99999999999999999999" };
	struct kho_gate_policy p;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	kho_gate_policy_init(&p);
	assert_int_equal(kho_gate_policy_set(&p, "timer=5,memory=0", &err), 0);
	assert_int_equal(p.limit[KHO_GATE_TIMER], 5);
	assert_int_equal(p.limit[KHO_GATE_MEMORY], 0);
	assert_int_equal(p.limit[KHO_GATE_WAKEUP], kho_gates[KHO_GATE_WAKEUP].limit);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(kho_gate_policy_set(&p, bad[i], &err), -EINVAL);
}

static void as_json(void **state)
{
	struct kho_gate_policy p;
	struct kho_gate_list l = { 0 };
	struct json_object *a, *o;

	(void)state;
	kho_gate_policy_init(&p);
	kho_gate_measured(&l, &p, KHO_GATE_TIMER, 87, "%s", "");
	kho_gate_unknown(&l, &p, KHO_GATE_WAKEUP, "why");
	a = kho_gates_json(&l);
	assert_int_equal(json_object_array_length(a), 2);
	o = json_object_array_get_idx(a, 0);
	assert_string_equal(kho_json_get_str(o, "name"), "timer");
	assert_int_equal(kho_json_get_int(o, "value"), 87);
	assert_string_equal(kho_json_get_str(o, "verdict"), "pass");
	o = json_object_array_get_idx(a, 1);
	assert_null(kho_json_get(o, "value"));
	assert_string_equal(kho_json_get_str(o, "what"), "why");
	json_object_put(a);
}

static void log_lines(void **state)
{
	static const struct {
		enum kho_gate_id gate; /* KHO_NGATES: none */
		const char *line;
	} rows[] = {
		{ KHO_GATE_WARN, "4,1,5,-;WARNING: CPU: 1 PID: 77 at kernel/x.c:12 f+0x1/0x2" },
		{ KHO_GATE_WARN, "4,1,5,-,caller=T7;WARNING: kernel/x.c:12 at f+0x1/0x2, CPU#1: sh/77" },
		{ KHO_GATE_LOCKDEP, "4,1,5,-;WARNING: possible circular locking dependency detected" },
		{ KHO_GATE_LOCKDEP, "4,1,5,-;WARNING: SOFTIRQ-safe -> SOFTIRQ-unsafe lock order detected" },
		{ KHO_GATE_LOCKDEP, "4,1,5,-;[ BUG: Invalid wait context ]" },
		{ KHO_GATE_OOPS, "4,1,5,-;Oops: Oops: 0002 [#1] SMP NOPTI" },
		{ KHO_GATE_HUNG, "3,1,5,-;INFO: task dd:77 blocked for more than 122 seconds." },
		{ KHO_GATE_HUNG, "3,1,5,-;INFO: task dd:77 blocked in I/O wait for more than 122 seconds." },
		{ KHO_GATE_STALL, "3,1,5,-;rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:" },
		{ KHO_GATE_STALL, "3,1,5,-;rcu: INFO: rcu_sched self-detected stall on CPU" },
		{ KHO_GATE_STALL, "0,1,5,-;watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:77]" },
		{ KHO_GATE_STALL, "0,1,5,-;watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 3" },
		{ KHO_GATE_MCE, "6,1,5,-;mce: [Hardware Error]: Machine check events logged" },
		{ KHO_GATE_CORRUPT, "1,1,5,-;BUG: Bad page state in process sh  pfn:00012" },
		{ KHO_GATE_CORRUPT, "3,1,5,-;list_add corruption. prev is NULL." },
		{ KHO_GATE_CLOCK, "4,1,5,-;clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable because the skew is too large:" },
		{ KHO_GATE_CLOCK, "4,1,5,-;clocksource: Marking clocksource tsc unstable due to frequency skew" },
		/* what every boot says */
		{ KHO_NGATES, "6,1,5,-;clocksource: Switched to clocksource tsc" },
		{ KHO_NGATES, "6,1,5,-;sched_clock: Marking stable (476013405, 1770091)->(505924124, -28140628)" },
		{ KHO_NGATES, "4,1,5,-;khoctl: loading out-of-tree module taints kernel." },
		{ KHO_NGATES, "3,1,5,-;RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!" },
		{ KHO_NGATES, "6,1,5,-;NMI watchdog: Perf NMI watchdog permanently disabled" },
		/* user space (facility 1 and 3), what goes on with a record, no record */
		{ KHO_NGATES, "12,1,5,-;WARNING: CPU: 1 PID: 77 at kernel/x.c:12 f+0x1/0x2" },
		{ KHO_NGATES, "28,1,5,-;BUG: soft lockup - CPU#0 stuck for 22s!" },
		{ KHO_NGATES, " DEVICE=WARNING: CPU: 1 at" },
		{ KHO_NGATES, "WARNING: CPU: 1 PID: 77 at kernel/x.c:12 f+0x1/0x2" },
		{ KHO_NGATES, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct kho_trouble t = { .next = 1 };

		kho_trouble_line(&t, rows[i].line, strlen(rows[i].line));
		for (int g = 0; g < KHO_NGATES; g++)
			if (t.lines[g] != (g == (int)rows[i].gate))
				fail_msg("'%s' counts %llu for %s", rows[i].line, (unsigned long long)t.lines[g], kho_gates[g].name);
		assert_int_equal(t.lost, 0);
	}
}

static void log_gaps(void **state)
{
	static const char first[] = "6,40,5,-;x", then[] = "6,43,5,-;x";
	struct kho_trouble t = { 0 };

	(void)state;
	kho_trouble_line(&t, first, strlen(first));
	assert_int_equal(t.lost, 40);
	kho_trouble_line(&t, then, strlen(then));
	assert_int_equal(t.lost, 42);
}

static void reasons(void **state)
{
	static const struct {
		const char *log, *reason;
	} rows[] = {
		{ "\n0: R1=ctx() R10=fp0\n0: (7a) *(u64 *)(r10 -8) = 0\n; *value = 1; @ refused.bpf.c:24\n5: (63) *(u32 *)(r0 +0) = r1\n"
		  "R0 invalid mem access 'map_value_or_null'\nverification time 43 usec\nstack depth 4\n"
		  "processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n-- END PROG LOAD LOG --\n",
		  "R0 invalid mem access 'map_value_or_null'" },
		{ "R1=ctx() R6=map_value(map=x,ks=4,vs=8)\ninvalid access to map value, value_size=8 off=8 size=8\n"
		  "R6 max value is outside of the allowed memory range\nmark_precise: frame0: x\nfrom 3 to 9: R1=1\n",
		  "R6 max value is outside of the allowed memory range" },
		{ "unknown func bpf_task_storage_get#156\n", "unknown func bpf_task_storage_get#156" },
		{ "", "" },
		{ "processed 6 insns", "" },
	};
	char out[100];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		kho_program_reason(rows[i].log, out, sizeof(out));
		assert_string_equal(out, rows[i].reason);
	}
}

static void latencies(void **state)
{
	struct kho_exercise_cpu c[2] = { { .cpu = 0, .back = true }, { .cpu = 2, .back = true } };
	struct kho_hist h[3] = { 0 };
	struct kho_err why = { .msg = "no BTF" };
	struct kho_gate_policy p;
	struct kho_gate_list l = { 0 };

	(void)state;
	kho_gate_policy_init(&p);
	kho_ready_timer(c, 0, &p, &l);
	assert_int_equal(l.r[0].verdict, KHO_GATE_UNKNOWN);
	kho_ready_timer(c, 2, &p, &l);
	assert_int_equal(l.r[0].verdict, KHO_GATE_UNKNOWN); /* nothing ran */
	fill(&c[0].late, 300, 20000, 1);
	fill(&c[1].late, 300, 5e8, 1);
	kho_ready_timer(c, 2, &p, &l);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.r[0].verdict, KHO_GATE_FAIL);
	assert_in_range(l.r[0].value, 900000, 1100000);
	assert_non_null(strstr(l.r[0].what, "CPU 2 of 2: median "));
	c[0].back = false;
	kho_ready_timer(c, 2, &p, &l);
	assert_int_equal(l.r[0].value, KHO_EXERCISE_LATE_US);
	assert_non_null(strstr(l.r[0].what, "CPU 0"));
	l.n = 0;
	kho_ready_wakeup(c, 2, NULL, 0, &why, &p, &l);
	assert_int_equal(l.r[0].verdict, KHO_GATE_UNKNOWN);
	assert_string_equal(l.r[0].what, "no BTF");
	fill(&h[0], 600, 20000, 2);
	kho_ready_wakeup(c, 2, h, 3, &why, &p, &l);
	assert_int_equal(l.r[0].verdict, KHO_GATE_UNKNOWN);
	assert_string_equal(l.r[0].what, "CPU 2: no wake-up was seen");
	fill(&h[2], 600, 10000, 2);
	kho_ready_wakeup(c, 2, h, 3, &why, &p, &l);
	assert_int_equal(l.r[0].verdict, KHO_GATE_PASS);
	assert_in_range(l.r[0].value, 36, 42);
}

/* By a recorded machine's numbers. */
static void kernel_memory(void **state)
{
	(void)state;
	assert_int_equal(kho_ready_kernel_kib("tests/sysroots/host-2cpu"), 122800);
	assert_int_equal(kho_ready_kernel_kib("tests/sysroots"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots),     cmocka_unit_test(quantiles), cmocka_unit_test(differences), cmocka_unit_test(worse_or_not),
		cmocka_unit_test(verdicts),  cmocka_unit_test(policies),  cmocka_unit_test(as_json),	 cmocka_unit_test(log_lines),
		cmocka_unit_test(log_gaps),  cmocka_unit_test(reasons),	  cmocka_unit_test(latencies), cmocka_unit_test(kernel_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
