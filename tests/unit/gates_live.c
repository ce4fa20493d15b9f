// SPDX-License-Identifier: GPL-2.0-only
/* Gates on the kernel that runs here: real programs, real latencies. Skips what this kernel or user may not do, and says why. */
#include <bpf/bpf.h>
#include <linux/bpf.h>
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
#include "lib/cleanup.h"
#include "tests/unit/refused.skel.h"

/* Programs of a name in the kernel; negative: it does not say. */
static int in_kernel(const char *name)
{
	struct bpf_prog_info info;
	__u32 id = 0, len = sizeof(info);
	int n = 0, fd;

	while (!bpf_prog_get_next_id(id, &id)) {
		fd = bpf_prog_get_fd_by_id(id);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		if (!bpf_obj_get_info_by_fd(fd, &info, &len) && !strcmp(info.name, name))
			n++;
		close(fd);
	}
	return errno == ENOENT ? n : -errno;
}

static void need_bpf(void)
{
	if (in_kernel("x") >= 0 && !access("/sys/kernel/btf/vmlinux", R_OK))
		return;
	print_message("skipped: programs cannot be loaded here: not root, no bpf(2), or a kernel without BTF\n");
	skip();
}

/* Numbers of the programs that this process has descriptors of; how many. */
static size_t own_programs(__u32 ids[8])
{
	char path[64], line[128];
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		_cleanup_fclose_ FILE *f = fopen(path, "r");

		while (f && n < 8 && fgets(line, sizeof(line), f))
			if (sscanf(line, "prog_id: %u", &ids[n]) == 1)
				n++;
	}
	return n;
}

/* The kernel frees a program a moment after its last descriptor is closed. */
static void expect_gone(const __u32 *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int fd = 0;

		for (int t = 0; t < 300 && (fd = bpf_prog_get_fd_by_id(ids[i])) >= 0; t++) {
			close(fd);
			usleep(10000);
		}
		assert_true(fd < 0);
	}
}

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
	__u32 ids[8];

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
	__u32 ids[8];

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
	__u32 ids[8];

	(void)state;
	kho_gate_policy_init(&p);
	kho_ready("", &p, &l);
	for (size_t i = 0; i < l.n; i++) {
		r[l.r[i].gate] = l.r[i];
		there[l.r[i].gate] = true;
		print_message("%-8s %-7s %lld %s\n", kho_gates[l.r[i].gate].name, kho_gate_verdict_name(l.r[i].verdict),
			      (long long)l.r[i].value, l.r[i].what);
	}
	for (int i = 0; i < KHO_NGATES; i++)
		assert_true(there[i] || i == KHO_GATE_PRESSURE);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exercise),
		cmocka_unit_test(wakeup),
		cmocka_unit_test(refused),
		cmocka_unit_test(ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
