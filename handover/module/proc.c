// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/multikernel: the kernels of this machine, one line each.  For everybody to read: no
 * addresses. CPUs are APIC ids, the only names of CPUs that all kernels share.
 */
#include "kho.h"

#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/rcupdate.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/utsname.h>

#define IDS	8192		/* APIC ids shown */

static const char * const names[] = {
	[KHO_STATE_NONE] = "none", [KHO_STATE_LOADED] = "loaded", [KHO_STATE_BOOTING] = "booting",
	[KHO_STATE_RUNNING] = "running", [KHO_STATE_READY] = "ready", [KHO_STATE_FROZEN] = "frozen",
	[KHO_STATE_DARK] = "dark", [KHO_STATE_COMMITTED] = "committed",
	[KHO_STATE_RETIRING] = "retiring", [KHO_STATE_RETIRED] = "retired",
	[KHO_STATE_HALTED] = "halted", [KHO_STATE_PANICKED] = "panicked",
	[KHO_STATE_FENCED] = "fenced",
};

static const char *state_name(u32 s)
{
	return s < ARRAY_SIZE(names) ? names[s] : "?";
}

static bool is_listed(u32 state)
{
	return state != KHO_STATE_NONE && state != KHO_STATE_RETIRED;
}

static void row(struct seq_file *m, u32 id, u32 gen, const char *release, const char *state,
		const unsigned long *ids, u64 mib, int devices, long age_ms)
{
	char cpus[64], dev[12] = "-", age[24] = "-";

	snprintf(cpus, sizeof(cpus), "%*pbl", IDS, ids);
	if (bitmap_empty(ids, IDS))
		strscpy(cpus, "-", sizeof(cpus));
	if (devices >= 0)
		snprintf(dev, sizeof(dev), "%d", devices);
	if (age_ms >= 0)
		snprintf(age, sizeof(age), "%ld", age_ms);
	seq_printf(m, "%-4u %-10u %-32s %-10s %-16s %-10llu %-7s %s\n", id, gen, release, state,
		   cpus, mib, dev, age);
}

static int devices(const struct kho_region *r, u8 owner)
{
	int n = 0;
	u32 i;

	for (i = 0; i < r->npci; i++)
		n += READ_ONCE(r->pci[i].owner) == owner && !kho_known(r, &r->pci[i])->bridge;
	return n;
}

/* Having committed is news as long as the other one is there; alone it is a kernel that runs. */
static u32 self_state(struct kho_region *r)
{
	u32 state = READ_ONCE(r->state);

	return state == KHO_STATE_COMMITTED && !is_listed(READ_ONCE(kho_peer(r)->state)) ?
	       KHO_STATE_RUNNING : state;
}

static void show_self(struct seq_file *m, unsigned long *ids)
{
	struct kho_region *r = kho_live(&kho_down) ? &kho_down : kho_live(&kho_up) ? &kho_up : NULL;
	int cpu;

	bitmap_zero(ids, IDS);
	for_each_online_cpu(cpu)
		if (kho_apicid(cpu) < IDS)
			__set_bit(kho_apicid(cpu), ids);
	row(m, kho_instance_id, kho_generation, init_utsname()->release,
	    r ? state_name(self_state(r)) : "running", ids,
	    (u64)totalram_pages() >> (20 - PAGE_SHIFT), r ? devices(r, r->self_owner) : -1, 0);
}

/* What a dead kernel left in its fields is text that it wrote: cut and made printable. */
static void show_peer(struct seq_file *m, struct kho_region *r, unsigned long *ids)
{
	struct kho_ledger_side *p = kho_peer(r);
	u32 state = READ_ONCE(p->state), i;
	char release[32];

	if (!is_listed(state))
		return;
	bitmap_zero(ids, IDS);
	for (i = 0; i < r->ncpus; i++) {
		u32 apicid = kho_known(r, &r->cpus[i])->apicid;

		if (READ_ONCE(r->cpus[i].owner) == r->peer_owner && apicid < IDS)
			__set_bit(apicid, ids);
	}
	memcpy(release, p->release, sizeof(release) - 1);
	release[sizeof(release) - 1] = 0;
	for (i = 0; release[i]; i++)
		if (release[i] <= ' ' || release[i] > '~')
			release[i] = '?';
	row(m, READ_ONCE(p->id), READ_ONCE(p->generation), release[0] ? release : "-",
	    state_name(state), ids, READ_ONCE(p->mem_total_kib) >> 10, devices(r, r->peer_owner),
	    READ_ONCE(p->heartbeat) ? (long)kho_beat_age_ms(r) : -1);
}

static int show(struct seq_file *m, void *v)
{
	unsigned long *ids = bitmap_zalloc(IDS, GFP_KERNEL);
	struct kho_region *r;

	if (!ids)
		return -ENOMEM;
	seq_printf(m, "%-4s %-10s %-32s %-10s %-16s %-10s %-7s %s\n", "ID", "GENERATION", "RELEASE",
		   "STATE", "CPUS", "MEMORY_MIB", "DEVICES", "HEARTBEAT_MS");
	down_read(&kho_life);
	show_self(m, ids);
	for_each_region(r)
		if (kho_live(r))
			show_peer(m, r, ids);
	up_read(&kho_life);
	bitmap_free(ids);
	return 0;
}

int kho_proc_setup(void)
{
	return proc_create_single("multikernel", 0444, NULL, show) ? 0 : -ENOMEM;
}

void kho_proc_cleanup(void)
{
	remove_proc_entry("multikernel", NULL);
}
