// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUs: whole cores, near the disks and NICs, high numbers first (low ones take most interrupts).
 * Memory: one region that holds the kernel and all that the kernel itself will ever allocate
 * (what is added later is onlined movable: processes and files only), and blocks for the workloads.
 */
#include "handover/beside/choice.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

#define MIB (1ULL << 20)

static bool may_go(const struct kho_machine_cpu *c)
{
	return c->cpu != 0 && !c->bsp;
}

static bool same_core(const struct kho_machine_cpu *a, const struct kho_machine_cpu *b)
{
	return a->package == b->package && a->core == b->core;
}

struct pick {
	const struct kho_machine *m;
	bool *taken; /* by index in m->cpus */
	unsigned want;
	struct kho_cpu_choice *out;
};

static void take(struct pick *p, size_t i)
{
	p->taken[i] = true;
	p->out->before[p->out->nbefore++] = p->m->cpus[i].apicid;
}

/* All threads of the core of CPU i, if all may go and they fit. */
static void take_core(struct pick *p, size_t i)
{
	const struct kho_machine_cpu *cpus = p->m->cpus;
	size_t j, threads = 0;

	for (j = 0; j < p->m->ncpus; j++) {
		if (!same_core(&cpus[i], &cpus[j]))
			continue;
		if (p->taken[j] || !may_go(&cpus[j]))
			return;
		threads++;
	}
	if (p->out->nbefore + threads > p->want)
		return;
	for (j = p->m->ncpus; j--;)
		if (same_core(&cpus[i], &cpus[j]))
			take(p, j);
}

/* near_only: of the devices' node; whole: whole cores, else single threads. */
static void pass(struct pick *p, bool near_only, bool whole)
{
	size_t i;

	for (i = p->m->ncpus; i-- && p->out->nbefore < p->want;) {
		const struct kho_machine_cpu *c = &p->m->cpus[i];

		if (p->taken[i] || !may_go(c) || (near_only && c->node != p->m->device_node))
			continue;
		if (whole)
			take_core(p, i);
		else
			take(p, i);
	}
}

static int refuse_cpus(const struct kho_machine *m, unsigned movable, unsigned want,
		       struct kho_err *err)
{
	if (m->ncpus == 1)
		return kho_fail(err, -EOPNOTSUPP,
				"this machine has one CPU: a second kernel needs one of its own; "
				"give the machine at least 2 CPUs, or use --engine kexec");
	if (!movable)
		return kho_fail(err, -EOPNOTSUPP,
				"no CPU can be given away: CPU 0 runs this kernel and the other is "
				"the boot processor, which moves only at the end; give the machine "
				"a third CPU, or use --engine kexec");
	return kho_fail(err, -EINVAL,
			"%u CPUs before the freeze are asked for, at most %u of %zu can go (CPU 0 "
			"and the boot processor stay until the end); ask for fewer",
			want, movable, m->ncpus);
}

int kho_choose_cpus(const struct kho_machine *m, unsigned want, struct kho_cpu_choice *out,
		    struct kho_err *err)
{
	_cleanup_free_ bool *taken = calloc(m->ncpus + 1, sizeof(*taken));
	struct pick p = { .m = m, .taken = taken, .want = want, .out = out };
	unsigned movable = 0;
	size_t i;

	memset(out, 0, sizeof(*out));
	for (i = 0; i < m->ncpus; i++)
		movable += may_go(&m->cpus[i]);
	if (!movable || want > movable)
		return refuse_cpus(m, movable, want, err);
	out->before = calloc(m->ncpus, sizeof(*out->before));
	out->after = calloc(m->ncpus, sizeof(*out->after));
	if (!taken || !out->before || !out->after) {
		kho_cpu_choice_done(out);
		return kho_fail(err, -ENOMEM, "choice of CPUs: out of memory");
	}
	if (!p.want)
		p.want = m->ncpus / 2 < movable ? m->ncpus / 2 : movable;
	pass(&p, true, true);
	pass(&p, false, true);
	/* siblings part only when there is no other way, or when asked for */
	if (want || !out->nbefore)
		pass(&p, false, false);
	for (i = m->ncpus; i--;)
		if (!taken[i])
			out->after[out->nafter++] = m->cpus[i].apicid;
	return 0;
}

void kho_cpu_choice_done(struct kho_cpu_choice *c)
{
	free(c->before);
	free(c->after);
	memset(c, 0, sizeof(*c));
}

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/*
 * The incoming kernel's own needs: a floor for kernel, agent and criu, and for what grows with the
 * machine: page structs of all memory that it will adopt (1/64) and as much again for its slabs and
 * page tables.
 */
static uint64_t own_need(const struct kho_machine *m)
{
	return 112 * MIB + m->total_bytes / 64 * 2;
}

int kho_choose_memory(const struct kho_machine *m, const struct kho_memory_need *need,
		      struct kho_memory_choice *out, struct kho_err *err)
{
	uint64_t least, all, keep = 64 * MIB + m->total_bytes / 64;

	out->bulk_bytes = 32 * MIB;
	least = KHO_HEAD_BYTES + round_up(need->init_size, 2 * MIB) + need->initrd_packed +
		need->initrd_unpacked + out->bulk_bytes + own_need(m);
	if (need->region_override && need->region_override < least)
		return kho_fail(err, -EINVAL,
				"%llu MiB are asked for, the incoming kernel needs %llu MiB; ask "
				"for more",
				(unsigned long long)(need->region_override / MIB),
				(unsigned long long)(least / MIB + 1));
	out->region_bytes =
		round_up(need->region_override ? need->region_override : least, m->block_bytes);
	/* in both kernels at once: images in tmpfs and restored pages, and some slack (2.2 x) */
	out->extra_bytes = round_up(need->workloads_rss / 10 * 22, m->block_bytes);
	all = out->region_bytes + out->extra_bytes + keep;
	if (all > m->available_bytes)
		return kho_fail(err, -ENOMEM,
				"%llu MiB of free memory are needed (incoming kernel %llu, "
				"workloads %llu, left to this kernel %llu), %llu are available; "
				"stop what is not needed or add memory",
				(unsigned long long)(all / MIB),
				(unsigned long long)(out->region_bytes / MIB),
				(unsigned long long)(out->extra_bytes / MIB),
				(unsigned long long)(keep / MIB),
				(unsigned long long)(m->available_bytes / MIB));
	return 0;
}
