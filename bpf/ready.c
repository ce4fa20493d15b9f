// SPDX-License-Identifier: GPL-2.0-only
/* The Ready gate.  See bpf/ready.h. */
#include "bpf/ready.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bpf/trouble.h"
#include "bpf/wakeup.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

#define TRIES	 5 /* of half a second */
#define DRIFT_US 200000 /* in which a microsecond, which a reading may be off by, is 5 ppm */

/* The number behind a word in a file of /proc; false: there is none. */
static bool word(const char *sysroot, const char *name, const char *before, double *out)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, name), *text = NULL;
	const char *at;

	if (!path || kho_read_file(path, 1u << 16, &text, NULL, NULL))
		return false;
	at = strstr(text, before);
	return at && sscanf(at + strlen(before), "%lf", out) == 1;
}

int64_t kho_ready_kernel_kib(const char *sysroot)
{
	/* all but what is free, what processes and files have (Cached: tmpfs, too), and what is given back on demand */
	static const char *const not[] = { "MemFree:", "Buffers:", "\nCached:", "SwapCached:", "AnonPages:", "SReclaimable:" };
	double kib, n;

	if (!word(sysroot, "/proc/meminfo", "MemTotal:", &kib))
		return -1;
	for (size_t i = 0; i < sizeof(not) / sizeof(not[0]); i++) {
		if (!word(sysroot, "/proc/meminfo", not[i], &n))
			return -1;
		kib -= n;
	}
	return kib < 0 ? 0 : (int64_t)kib;
}

static void memory(const char *sysroot, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	double all, left, waited;

	if (word(sysroot, "/proc/meminfo", "MemTotal:", &all) && word(sysroot, "/proc/meminfo", "MemAvailable:", &left) && all > 0)
		kho_gate_measured(out, p, KHO_GATE_MEMORY, (int64_t)(left * 100 / all), "%.0f MiB of %.0f", left / 1024, all / 1024);
	else
		kho_gate_unknown(out, p, KHO_GATE_MEMORY, "/proc/meminfo does not say it");
	/* without PSI the line above is all there is */
	if (word(sysroot, "/proc/pressure/memory", "some avg10=", &waited))
		kho_gate_measured(out, p, KHO_GATE_PRESSURE, (int64_t)(waited + 0.5), "%s", "");
}

/* Only who has the frequency of another kernel can be compared with it. */
static void drift(const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	int64_t ppm;
	int rc = kho_clock_drift(DRIFT_US, &ppm);

	if (!rc)
		kho_gate_measured(out, p, KHO_GATE_DRIFT, ppm < 0 ? -ppm : ppm, "%+lld ppm, the TSC has %u kHz", (long long)ppm, kho_clock_tsc_khz());
	else if (rc != -ENOENT)
		kho_gate_unknown(out, p, KHO_GATE_DRIFT, "the clock does not go on");
}

struct worst {
	int cpu;
	uint64_t p99, median, n;
	size_t cpus;
};

static void worse(struct worst *w, int cpu, const struct kho_hist *h)
{
	uint64_t p99 = kho_hist_quantile(h, 0.99);

	if (!w->cpus++ || p99 > w->p99) {
		w->cpu = cpu;
		w->p99 = p99;
		w->median = kho_hist_quantile(h, 0.5);
		w->n = kho_hist_count(h);
	}
}

static void tell(const struct worst *w, enum kho_gate_id id, const char *what, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	kho_gate_measured(out, p, id, (int64_t)((w->p99 + 999) / 1000), "CPU %d of %zu: median %.1f us of %" PRIu64 " %s", w->cpu, w->cpus,
			  (double)w->median / 1000, w->n, what);
}

void kho_ready_timer(const struct kho_exercise_cpu *c, size_t n, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	struct worst w = { 0 };

	for (size_t i = 0; i < n; i++) {
		if (!c[i].back) {
			kho_gate_measured(out, p, KHO_GATE_TIMER, KHO_EXERCISE_LATE_US, "CPU %d: threads on it have not come back", c[i].cpu);
			return;
		}
		if (!kho_hist_count(&c[i].late)) {
			kho_gate_unknown(out, p, KHO_GATE_TIMER, "CPU %d: its thread did not run in %u s", c[i].cpu, KHO_EXERCISE_US / 1000000);
			return;
		}
		worse(&w, c[i].cpu, &c[i].late);
	}
	if (w.cpus)
		tell(&w, KHO_GATE_TIMER, "timers", p, out);
	else
		kho_gate_unknown(out, p, KHO_GATE_TIMER, "no CPU was tried");
}

void kho_ready_wakeup(const struct kho_exercise_cpu *c, size_t n, const struct kho_hist *hist, size_t ncpus, const struct kho_err *why,
		      const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	struct worst w = { 0 };

	if (!hist) {
		kho_gate_unknown(out, p, KHO_GATE_WAKEUP, "%s", why->msg);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if ((size_t)c[i].cpu >= ncpus || !kho_hist_count(&hist[c[i].cpu])) {
			kho_gate_unknown(out, p, KHO_GATE_WAKEUP, "CPU %d: no wake-up was seen", c[i].cpu);
			return;
		}
		worse(&w, c[i].cpu, &hist[c[i].cpu]);
	}
	if (w.cpus)
		tell(&w, KHO_GATE_WAKEUP, "wake-ups", p, out);
	else
		kho_gate_unknown(out, p, KHO_GATE_WAKEUP, "no CPU was tried");
}

/* One measurement; whether it is worth another one: too late, and every thread came back. */
static bool measure(const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	_cleanup_free_ struct kho_exercise_cpu *c = NULL;
	_cleanup_free_ struct kho_hist *hist = NULL;
	struct kho_err why = KHO_ERR_INIT, err = KHO_ERR_INIT;
	struct kho_wakeup *w = NULL;
	size_t n = 0, ncpus = 0;
	bool back = true;

	(void)!kho_wakeup_start(&w, &why); /* why is the result then */
	if (kho_exercise(&c, &n, &err)) {
		kho_gate_unknown(out, p, KHO_GATE_TIMER, "%s", err.msg);
		kho_gate_unknown(out, p, KHO_GATE_WAKEUP, "%s", err.msg);
	} else {
		if (w)
			(void)!kho_wakeup_read(w, &hist, &ncpus, &why); /* likewise */
		kho_ready_timer(c, n, p, out);
		kho_ready_wakeup(c, n, hist, ncpus, &why, p, out);
	}
	kho_wakeup_stop(w);
	for (size_t i = 0; i < n; i++)
		back &= c[i].back;
	return back && kho_gates_worst(out) == KHO_GATE_FAIL;
}

/* Who shares its CPUs with others (a guest, a kernel that has just started) is late now and then; a kernel that is not fit is so each time. */
static void latency(const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	struct kho_gate_list before = *out;

	for (unsigned i = 0; i < TRIES; i++) {
		*out = before;
		if (!measure(p, out) || kho_gates_worst(&before) == KHO_GATE_FAIL)
			return;
	}
}

void kho_ready(const char *sysroot, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	*out = (struct kho_gate_list){ 0 };
	kho_trouble_gates(sysroot, p, out);
	memory(sysroot, p, out);
	if (!*sysroot) {
		drift(p, out);
		latency(p, out);
		return;
	}
	kho_gate_unknown(out, p, KHO_GATE_TIMER, "not measured: a recorded tree does not run");
	kho_gate_unknown(out, p, KHO_GATE_WAKEUP, "not measured: a recorded tree does not run");
}
