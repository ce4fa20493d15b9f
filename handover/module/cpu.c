// SPDX-License-Identifier: GPL-2.0-only
/*
 * CPUs change hands.  Giving: offline here, out of the present mask (so that no IPI shorthand of
 * this kernel reaches it), parked in the peer's park page, then written down.  Taking: the other
 * way round.
 *
 * A firmware-booted kernel parks by INIT and start-up IPI; a kernel that was itself made by
 * another one has its offline CPUs in the park page above (stock ACPI wakeup code does that) and
 * sends them on through the mailbox.  A CPU-hotplug state refuses to online what the ledger says
 * is not ours, and keeps the mailbox while the stock code uses it.
 */
#include "kho.h"

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/rcupdate.h>
#include <linux/rwsem.h>
#include <asm/apic.h>
#include <asm/smp.h>

#define TEST_MS	1000

DEFINE_MUTEX(kho_cpu_lock);
static struct cpumask taking, hiding;	/* CPUs in the middle of TAKE, GIVE */
static struct cpumask hidden;		/* given, out of the present mask */
static DECLARE_RWSEM(window);		/* read: hidden CPUs are shown; write: our hot-plug */
static DEFINE_MUTEX(show_lock);
static int shown;
static int mbox_for = -1;		/* CPU whose hot-plug holds the mailbox above */
static enum cpuhp_state state_prepare, state_online;

u32 kho_apicid(int cpu)
{
	return per_cpu(x86_cpu_to_apicid, cpu);
}

int kho_cpu_of(u32 apicid)
{
	int cpu;

	for_each_possible_cpu(cpu)
		if (kho_apicid(cpu) == apicid)
			return cpu;
	return -ENODEV;
}

/* --- hot-plug callbacks: they see every online and offline, whoever asks --- */

static bool ours(unsigned int cpu)
{
	struct kho_ledger_cpu *c;
	struct kho_region *r;
	bool ret = true;

	rcu_read_lock();
	for_each_region(r) {
		if (!kho_live(r))
			continue;
		c = kho_ledger_cpu(r, kho_apicid(cpu));
		if (c ? !kho_is_ours(r, c) : r == &kho_up)
			ret = false;
	}
	rcu_read_unlock();
	return ret;
}

static int hold_mailbox(unsigned int cpu)
{
	int ret;

	if (!kho_live(&kho_up))
		return 0;
	ret = kho_mbox_lock(&kho_up);
	if (!ret)
		mbox_for = cpu;
	return ret;
}

static void release_mailbox(unsigned int cpu)
{
	if (mbox_for != cpu)
		return;
	mbox_for = -1;
	kho_mbox_unlock(&kho_up);
}

/* Before a CPU is started: the stock wakeup would wait for ever for one that is not parked. */
static int prepare_up(unsigned int cpu)
{
	int ret;

	if (!cpumask_test_cpu(cpu, &taking) && !ours(cpu)) {
		pr_warn("CPU %u (APIC id %u) is not ours\n", cpu, kho_apicid(cpu));
		return -EPERM;
	}
	ret = hold_mailbox(cpu);
	if (ret || mbox_for != cpu)
		return ret;
	ret = kho_mbox_send(&kho_up, kho_apicid(cpu), KHO_MBOX_CMD_TEST, 0, 0, TEST_MS);
	if (ret) {
		release_mailbox(cpu);
		pr_warn("CPU %u (APIC id %u) is not parked\n", cpu, kho_apicid(cpu));
		return -EBUSY;
	}
	return 0;
}

/* After a CPU is down, or did not come up.  Hidden here, arch_smt_update() at the end sees it. */
static int prepare_down(unsigned int cpu)
{
	release_mailbox(cpu);
	if (cpumask_test_cpu(cpu, &hiding)) {
		cpumask_set_cpu(cpu, &hidden);
		set_cpu_present(cpu, false);
	}
	return 0;
}

static int online_up(unsigned int cpu)
{
	release_mailbox(cpu);
	return 0;
}

/* The stock code asks the mailbox whether the dying CPU has arrived. */
static int online_down(unsigned int cpu)
{
	return hold_mailbox(cpu);
}

/* --- one CPU --- */

static int online(int cpu)
{
	int ret;

	down_write(&window);
	cpumask_clear_cpu(cpu, &hidden);
	set_cpu_present(cpu, true);
	cpumask_set_cpu(cpu, &taking);
	ret = add_cpu(cpu);
	cpumask_clear_cpu(cpu, &taking);
	up_write(&window);
	return ret < 0 ? ret : 0;
}

/*
 * A CPU that was never booted must be online once: present and booted masks could become equal
 * without it, and IPI shorthands would be used that reach it.
 */
static int offline_hidden(int cpu)
{
	int ret = cpu_online(cpu) ? 0 : online(cpu);

	if (ret)
		return ret;
	down_write(&window);
	cpumask_set_cpu(cpu, &hiding);
	ret = remove_cpu(cpu);
	cpumask_clear_cpu(cpu, &hiding);
	up_write(&window);
	return ret < 0 ? ret : 0;
}

/*
 * A driver that thaws gets its interrupt vectors anew, and managed ones are spread over the
 * present CPUs; the block layer keeps its old map of CPUs to queues.  With a CPU missing in the
 * middle the two differ and completions go to a queue whose vector is shut down (seen: reads hang
 * for ever).  So the given CPUs are shown as present meanwhile.  No CPU hot-plug may end in this
 * window: it would see all booted CPUs present and use IPI shorthands again.
 */
void kho_cpus_show(void)
{
	int cpu;

	down_read(&window);
	mutex_lock(&show_lock);
	if (!shown++) {
		cpu_hotplug_disable();
		for_each_cpu(cpu, &hidden)
			set_cpu_present(cpu, true);
	}
	mutex_unlock(&show_lock);
}

void kho_cpus_hide(void)
{
	int cpu;

	mutex_lock(&show_lock);
	if (!--shown) {
		for_each_cpu(cpu, &hidden)
			set_cpu_present(cpu, false);
		cpu_hotplug_enable();
	}
	mutex_unlock(&show_lock);
	up_read(&window);
}

/* From one park page to another. */
static int move(struct kho_region *from, struct kho_region *to, u32 apicid)
{
	int ret = kho_mbox_wake(from, apicid, to->base + KHO_OFF_PARK, 0);

	return ret ?: kho_mbox_test(to, apicid, TEST_MS);
}

static int park(struct kho_region *r, u32 apicid)
{
	if (r == &kho_up)
		return kho_mbox_test(r, apicid, TEST_MS);
	if (kho_live(&kho_up))
		return move(&kho_up, r, apicid);
	return kho_park_by_sipi(r, apicid);
}

int kho_cpu_give_one(struct kho_region *r, u32 apicid)
{
	struct kho_ledger_cpu *c = kho_ledger_cpu(r, apicid);
	int cpu = kho_cpu_of(apicid), ret;

	if (cpu < 0 || !c)
		return -ENODEV;
	if (r == &kho_up && KHO_MAY(r, RETURN, c)) {
		kho_give(r, c, r->peer_owner);
		return 0;
	}
	if (!KHO_MAY(r, GIVE, c) || !cpu)	/* the boot CPU of a kernel is its last one */
		return -EPERM;
	ret = offline_hidden(cpu);
	if (ret)
		return ret;
	ret = park(r, apicid);
	if (ret) {
		pr_err("APIC id %u did not park: %d\n", apicid, ret);
		if (online(cpu))
			pr_err("CPU %d does not come back either\n", cpu);
		return ret;
	}
	kho_give(r, c, r->peer_owner);
	return 0;
}

/* May this side have it?  1: yes, parked for us.  2: only by force.  Else -EPERM. */
static int may_take(struct kho_region *r, struct kho_ledger_cpu *c, u32 flags)
{
	if (KHO_MAY(r, TAKE, c) || KHO_MAY(r, RECLAIM, c))
		return 1;
	if (!(flags & KHO_CPU_FENCE) || kho_known(r, c)->bsp)
		return -EPERM;
	/* the incoming side may stop only a kernel that gives no sign of life */
	return r == &kho_down || kho_peer_silent(r) ? 2 : -EPERM;
}

static int take_one(struct kho_region *r, u32 apicid, u32 flags)
{
	struct kho_ledger_cpu *c = kho_ledger_cpu(r, apicid), *below;
	int cpu = kho_cpu_of(apicid), ret;

	if (cpu < 0 || !c)
		return -ENODEV;
	if (kho_is_ours(r, c))	/* perhaps left offline by a failed GIVE */
		return cpu_online(cpu) ? 0 : online(cpu);
	ret = may_take(r, c, flags);
	if (ret < 0)
		return ret;
	ret = ret == 2 ? kho_park_by_sipi(r, apicid) : kho_mbox_test(r, apicid, TEST_MS);
	if (!ret && r == &kho_down && kho_live(&kho_up))
		ret = move(r, &kho_up, apicid);
	if (ret)
		return ret == -ETIMEDOUT ? -EBUSY : ret;
	ret = online(cpu);
	if (ret)
		return ret;
	kho_own(r, c, r->self_owner);
	below = r == &kho_up && kho_live(&kho_down) ? kho_ledger_cpu(&kho_down, apicid) : NULL;
	if (below)
		kho_own(&kho_down, below, KHO_OWNER_OUTGOING);
	return 0;
}

/* It is given some instructions before it is in the park, and one that was stopped by force may not get there. */
int kho_cpus_parked(struct kho_region *r)
{
	int ret = 0;
	u32 i;

	mutex_lock(&kho_cpu_lock);
	for (i = 0; !ret && i < r->ncpus; i++)
		if (!kho_is_ours(r, &r->cpus[i]))
			ret = kho_mbox_test(r, kho_known(r, &r->cpus[i])->apicid, TEST_MS);
	mutex_unlock(&kho_cpu_lock);
	return ret ? -EBUSY : 0;
}

static long cpu_ioctl(struct kho_ioc_cpu *a, bool give)
{
	struct kho_region *r;
	long ret = kho_check_cpu(a, give ? 0 : KHO_CPU_FENCE);

	if (ret)
		return ret;
	down_read(&kho_life);
	r = kho_region_of(a->peer);
	if (!r) {
		ret = -ENODEV;
	} else {
		mutex_lock(&kho_cpu_lock);
		ret = give ? kho_cpu_give_one(r, a->apicid) : take_one(r, a->apicid, a->flags);
		mutex_unlock(&kho_cpu_lock);
	}
	up_read(&kho_life);
	return ret;
}

/**
 * kho_cpu_give - KHO_IOC_CPU_GIVE
 *
 * Context: process.
 * Return: 0; -EINVAL; -ENODEV no region, or CPU unknown; -EPERM not ours, or the boot CPU of this
 * kernel; -ETIMEDOUT it did not park (it is online here again); what CPU hot-plug returns.
 */
long kho_cpu_give(void *arg)
{
	return cpu_ioctl(arg, true);
}

/**
 * kho_cpu_take - KHO_IOC_CPU_TAKE; a CPU that is already ours is only brought online
 *
 * Context: process.
 * Return: 0; -EINVAL; -ENODEV; -EPERM not parked for us; -EBUSY it does not answer TEST (a CPU
 * whose owner does not answer needs KHO_CPU_FENCE); what CPU hot-plug returns.
 */
long kho_cpu_take(void *arg)
{
	return cpu_ioctl(arg, false);
}

int kho_cpu_setup(void)
{
	int ret;

	ret = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "khoctl:prepare", prepare_up,
					prepare_down);
	if (ret < 0)
		return ret;
	state_prepare = ret;
	ret = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "khoctl:online", online_up,
					online_down);
	if (ret < 0) {
		cpuhp_remove_state_nocalls(state_prepare);
		return ret;
	}
	state_online = ret;
	return 0;
}

void kho_cpu_cleanup(void)
{
	cpuhp_remove_state_nocalls(state_online);
	cpuhp_remove_state_nocalls(state_prepare);
}
