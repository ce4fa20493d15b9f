// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a kernel ends that is not alone on the machine: its last CPU goes to a park page instead of
 * resetting, halting or powering off what it shares with another kernel.  (One that is alone:
 * platform.c.)
 *   RETIRE             asked for, everything else given away before
 *   reboot, poweroff   the reboot notifier parks the other CPUs, the syscore shutdown the last one
 *   emergency restart  a message dumper is the last thing called before the machine's reset code
 *   panic              the state is published; a panic with a time-out ends as the line above, when
 *                      an incoming kernel that holds the state has had its time to take over
 *   fenced             an NMI from the incoming kernel that has claimed the fence (fence.c)
 * An outgoing kernel that restarts before commit stops the incoming one and goes on as usual, as
 * the workload is its own; after commit it parks, as the workload is not.
 */
#include "kho.h"

#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/irq.h>
#include <linux/kmsg_dump.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/reboot.h>
#include <linux/smp.h>
#include <linux/syscore_ops.h>
#include <asm/apic.h>
#include <asm/nmi.h>
#include <asm/special_insns.h>

#define STOPPED_MS 100	/* a CPU that a panic has stopped is on its way to the park */
#define HEIR_MS	120000	/* for an incoming kernel to restore, verify and take over */

/* Low half: the identity map of the low slot; high half: this kernel. */
static void make_pgd(struct kho_region *r, bool la57)
{
	u64 *pgd = r->head + KHO_OFF_RETIRE_PGD, *own = __va(read_cr3_pa());
	u64 *ident = (u64 *)(r->low + KHO_LOW_PGTABLE + (la57 ? PAGE_SIZE : 0));

	memcpy(pgd, ident, PAGE_SIZE / 2);
	memcpy(pgd + 256, own + 256, PAGE_SIZE / 2);
}

static void __noreturn leave_cpu(struct kho_region *r)
{
	struct kho_ledger_cpu *c = kho_ledger_cpu(r, kho_apicid(raw_smp_processor_id()));

	local_irq_disable();
	make_pgd(r, __read_cr4() & X86_CR4_LA57);
	apic->write(APIC_LVTT, APIC_LVT_MASKED);
	apic->write(APIC_LVTPC, APIC_LVT_MASKED);
	apic->write(APIC_LVT0, APIC_LVT_MASKED);
	apic->write(APIC_LVT1, APIC_LVT_MASKED);
	apic->write(APIC_SPIV, 0xff);		/* software-disabled */
	if (c)
		kho_give(r, c, r->peer_owner);
	kho_jump(r->base + KHO_OFF_RETIRE_PGD, r->base + KHO_OFF_PARK);
	BUG();
}

void __noreturn kho_leave(struct kho_region *r, u32 state)
{
	local_irq_disable();
	kho_dmesg_write(r);
	WRITE_ONCE(kho_self(r)->doorbell_vector, 0);
	kho_say(r, state);
	leave_cpu(r);
}

static void leave_other(void *arg)
{
	leave_cpu(arg);
}

/* Interrupts of devices that stay behind would reach whoever gets this CPU next. */
static void mask_ioapics(void)
{
	struct irq_data *d;
	unsigned int i;

	for (i = 0; i < 1024; i++) {
		d = irq_get_irq_data(i);
		if (d && d->chip && d->chip->name && d->chip->irq_mask &&
		    strstr(d->chip->name, "IO-APIC"))
			d->chip->irq_mask(d);
	}
}

static u32 cpus_left(const struct kho_region *r)
{
	u32 i, n = 0;

	for (i = 0; i < r->ncpus; i++)
		n += kho_is_ours(r, &r->cpus[i]);
	return n;
}

/* What was taken offline since the plan was made: it waits in this kernel's memory, and must not stay there. */
static int give_offline(struct kho_region *r)
{
	int cpu, ret = 0;
	u32 i;

	for (i = 0; !ret && i < r->ncpus; i++) {
		u32 apicid = kho_known(r, &r->cpus[i])->apicid;

		cpu = kho_cpu_of(apicid);
		if (kho_is_ours(r, &r->cpus[i]) && cpu >= 0 && !cpu_online(cpu))
			ret = kho_cpu_give_one(r, apicid);
	}
	return ret;
}

static int may_retire(struct kho_region *r)
{
	u32 i, s = READ_ONCE(kho_peer(r)->state);
	struct kho_ledger_pci *p;
	int cpu, ret;

	if (s < KHO_STATE_RUNNING || kho_state_terminal(s))
		return -EPERM;
	if (__read_cr4() & X86_CR4_VMXE)
		return -EBUSY;
	for_each_online_cpu(cpu)
		if (!kho_ledger_cpu(r, kho_apicid(cpu)))
			return -ENODEV;
	for (i = 0; i < r->npci; i++) {
		p = kho_known(r, &r->pci[i]);
		if (!p->bridge && p->owner == r->self_owner && kho_pci_masters(p->segment, p->bus, p->devfn))
			return -EBUSY;
	}
	ret = give_offline(r);
	return ret ?: cpus_left(r) == num_online_cpus() ? 0 : -EBUSY;
}

/*
 * The other CPUs go as they are, from an interrupt, not by hotplug: the block layer lets none go offline
 * while a request waits in its queue (blk_mq_hctx_notify_offline), and on a disk that has crossed those
 * of whoever still ran here wait for ever. Nothing may be asked of them afterwards, no lock be taken.
 */
static bool others_left(struct kho_region *r)
{
	unsigned int us;

	smp_call_function(leave_other, r, 0);
	for (us = 0; us < 5 * USEC_PER_SEC && cpus_left(r) > 1; us += 10)
		udelay(10);
	return cpus_left(r) == 1;
}

/**
 * kho_retire - KHO_IOC_RETIRE
 *
 * Context: process.
 * Return: not at all; -EINVAL; -ENODEV no region, or a CPU that the ledger does not know; -EPERM the
 * incoming kernel does not run; -EBUSY a function of the ledger still masters the bus here, a CPU is
 * neither online nor given, or VMX is on; what giving a CPU that is offline returns. Where a CPU does not come, this kernel ends like one that
 * panicked: its memory is left alone.
 */
long kho_retire(void *arg)
{
	struct kho_ioc_u32 *a = arg;
	struct kho_region *r = &kho_down;
	u32 state;
	long ret;

	if (a->value)
		return -EINVAL;
	down_read(&kho_life);
	mutex_lock(&kho_cpu_lock);
	ret = kho_live(r) ? may_retire(r) : -ENODEV;
	if (!ret) {
		pr_emerg("retiring: the last CPUs (%u) go to the park\n", num_online_cpus());
		msleep(200);		/* newer kernels print later */
		kho_pci_quiet();
		preempt_disable();
		state = others_left(r) ? KHO_STATE_RETIRED : KHO_STATE_PANICKED;
		local_irq_disable();
		mask_ioapics();
		kho_leave(r, state);
	}
	mutex_unlock(&kho_cpu_lock);
	up_read(&kho_life);
	return ret;
}

static bool committed(const struct kho_region *down)
{
	u32 s = READ_ONCE(down->state);

	return s == KHO_STATE_COMMITTED || s == KHO_STATE_RETIRING ||
	       (READ_ONCE(down->frozen) && READ_ONCE(kho_peer(down)->state) == KHO_STATE_COMMITTED);
}

/* Where this kernel goes when it ends; NULL: it is alone, or the one that matters. */
static struct kho_region *way_out(void)
{
	if (kho_live(&kho_up) && kho_peer_runs(&kho_up) && !kho_peer_gone(&kho_up))
		return &kho_up;
	if (kho_live(&kho_down) && kho_peer_runs(&kho_down) && committed(&kho_down))
		return &kho_down;
	return NULL;
}

static int on_reboot(struct notifier_block *nb, unsigned long action, void *data)
{
	struct kho_region *r = way_out();
	struct kho_ioc_u32 none = { };
	int cpu, ret;

	if (!r) {
		if (kho_live(&kho_down) && kho_peer_runs(&kho_down)) {
			ret = kho_stop(&none);
			pr_notice("incoming kernel stopped before this one ends: %d\n", ret);
		}
		return NOTIFY_DONE;
	}
	pr_notice("the machine is shared: parking instead of a reset\n");
	mutex_lock(&kho_cpu_lock);
	for (cpu = nr_cpu_ids - 1; cpu > 0; cpu--) {
		ret = cpu_online(cpu) ? kho_cpu_give_one(r, kho_apicid(cpu)) : 0;
		if (ret)
			pr_err("CPU %d: %d\n", cpu, ret);
	}
	mutex_unlock(&kho_cpu_lock);
	return NOTIFY_DONE;
}

/* Drivers have shut their devices down; what follows is the machine's reset or halt. */
static void last_cpu(void)
{
	struct kho_region *r = way_out();

	if (!r)
		return;
	pr_emerg("halted: the last CPU (APIC id %u) goes to the park\n",
		 kho_apicid(raw_smp_processor_id()));
	mdelay(200);
	if (r == &kho_down) {
		kho_pci_quiet();
		mask_ioapics();
	}
	smp_call_function(leave_other, r, 0);	/* any that could not be taken offline */
	kho_leave(r, KHO_STATE_HALTED);
}

static bool panicked(void)
{
	return kho_live(&kho_down) && READ_ONCE(kho_down.state) == KHO_STATE_PANICKED;
}

/*
 * CPUs that a panic has stopped count as offline, and such take no NMI (exc_nmi()); this kernel has no other use for the mask any
 * more.
 */
static void hear_nmis(void)
{
	int cpu;

	for_each_present_cpu(cpu) {
		struct kho_ledger_cpu *c = kho_ledger_cpu(&kho_down, kho_apicid(cpu));

		if (c && kho_is_ours(&kho_down, c))
			cpumask_set_cpu(cpu, &__cpu_online_mask);
	}
}

/*
 * This kernel has panicked and is about to reset the machine.  One that holds the state may be about to complete the
 * upgrade; one that does not want to says READY.
 */
static struct kho_region *wait_for_heir(void)
{
	struct kho_region *r = &kho_down;
	u64 beats = 0, now;
	unsigned int ms, still = 0;

	for (ms = 0; ms < HEIR_MS && still < KHO_SILENT_MS; ms++) {
		if (kho_fence_claimed(r) || way_out() == r)
			return r;
		if (READ_ONCE(kho_peer(r)->state) != KHO_STATE_DARK)
			break;
		now = READ_ONCE(kho_peer(r)->heartbeat);
		still = now == beats ? still + 1 : 0;
		beats = now;
		mdelay(1);
	}
	return NULL;
}

static int writer = -1;	/* the CPU that writes the log of a panic */

static void on_dump(struct kmsg_dumper *d, struct kmsg_dump_detail *detail)
{
	struct kho_region *r = way_out();

	if (detail->reason == KMSG_DUMP_PANIC && kho_live(&kho_down)) {
		hear_nmis();		/* first: the other kernel sees the panic, and its NMIs come at once */
		WRITE_ONCE(writer, raw_smp_processor_id());
		kho_dmesg_write(&kho_down);
		WRITE_ONCE(writer, -1);
	}
	if (detail->reason != KMSG_DUMP_EMERG)
		return;
	if (!r && panicked())
		r = wait_for_heir();
	if (r)
		kho_leave(r, panicked() ? KHO_STATE_PANICKED : KHO_STATE_HALTED);
}

/* The incoming kernel stops this one, and cannot send INIT to the machine's boot CPU. */
static int on_nmi(unsigned int type, struct pt_regs *regs)
{
	/* (one that writes the last words goes with the next NMI) */
	if (kho_live(&kho_down) && kho_fence_claimed(&kho_down) && READ_ONCE(writer) != raw_smp_processor_id())
		leave_cpu(&kho_down);
	return NMI_DONE;
}

/*
 * A kernel that was itself started by another one (which is gone) stops its CPUs in that one's park page: smp_ops.stop_this_cpu is
 * acpi_mp_stop_this_cpu() there. The incoming kernel looks for them in its own.
 */
static void bring_stopped(void)
{
	struct kho_region *r = &kho_down;
	u32 i, id, self = kho_apicid(raw_smp_processor_id());

	if (!kho_live(r) || !kho_live(&kho_up) || kho_peer_runs(&kho_up))
		return;
	for (i = 0; i < r->ncpus; i++) {
		id = kho_known(r, &r->cpus[i])->apicid;
		if (id != self && kho_is_ours(r, &r->cpus[i]) && kho_mbox_pass(&kho_up, id, r->base + KHO_OFF_PARK, STOPPED_MS))
			pr_err("APIC id %u did not stop in its park\n", id);
	}
}

static int on_panic(struct notifier_block *nb, unsigned long action, void *data)
{
	struct kho_region *r;

	bring_stopped();	/* first: the other kernel looks for them as soon as it sees the panic */
	for_each_region(r)
		if (kho_live(r))
			kho_say(r, KHO_STATE_PANICKED);
	return NOTIFY_DONE;
}

static struct notifier_block reboot_nb = { .notifier_call = on_reboot, .priority = INT_MIN };
static struct notifier_block panic_nb = { .notifier_call = on_panic, .priority = INT_MAX };
static struct kmsg_dumper dumper = { .dump = on_dump, .max_reason = KMSG_DUMP_EMERG };

#ifdef KHO_HAVE_SYSCORE
static void syscore_last_cpu(void *data)
{
	last_cpu();
}

static const struct syscore_ops ops = { .shutdown = syscore_last_cpu };
static struct syscore syscore = { .ops = &ops };

static void syscore_add(void)
{
	register_syscore(&syscore);
}

static void syscore_del(void)
{
	unregister_syscore(&syscore);
}
#else
static struct syscore_ops ops = { .shutdown = last_cpu };

static void syscore_add(void)
{
	register_syscore_ops(&ops);
}

static void syscore_del(void)
{
	unregister_syscore_ops(&ops);
}
#endif

/* Does a restart or halt of this kernel pass its error record store (ACPI ERST), or is it held there, before it resets the machine? */
static void erst_gate(u64 state)
{
	WRITE_ONCE(*(u64 *)(kho_up.head + KHO_OFF_ERST + KHO_ERST_GATE), state);
}

int kho_leave_setup(void)
{
	int ret = register_reboot_notifier(&reboot_nb);

	if (ret)
		return ret;
	ret = kmsg_dump_register(&dumper);
	if (ret) {
		unregister_reboot_notifier(&reboot_nb);
		return ret;
	}
	ret = register_nmi_handler(NMI_LOCAL, on_nmi, 0, "khoctl");
	if (ret) {
		kmsg_dump_unregister(&dumper);
		unregister_reboot_notifier(&reboot_nb);
		return ret;
	}
	atomic_notifier_chain_register(&panic_notifier_list, &panic_nb);
	syscore_add();
	if (kho_live(&kho_up))
		erst_gate(KHO_ERST_GATE_OPEN);
	return 0;
}

void kho_leave_cleanup(void)
{
	/* nothing here parks this kernel any more: with another one on the machine it is held again (one that is alone may reset it) */
	if (way_out() == &kho_up)
		erst_gate(KHO_ERST_GATE_SHUT);
	syscore_del();
	atomic_notifier_chain_unregister(&panic_notifier_list, &panic_nb);
	unregister_nmi_handler(NMI_LOCAL, "khoctl");
	kmsg_dump_unregister(&dumper);
	unregister_reboot_notifier(&reboot_nb);
}
