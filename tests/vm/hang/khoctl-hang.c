// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading this hangs the kernel: all its CPUs spin for ever with interrupts off; with soft=1 interrupts go on, but no
 * CPU schedules any more.  For the tests of what the other kernel does about it; part of no installation.
 */
#include <linux/cpumask.h>
#include <linux/init.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/smp.h>

static bool soft;
module_param(soft, bool, 0);

static void spin(void *unused)
{
	unsigned long flags;

	local_irq_save(flags);
	for (;;)
		cpu_relax();
}

static int spin_softly(void *unused)
{
	preempt_disable();
	for (;;)
		cpu_relax();
	return 0;
}

/* All are made before the first spins: who makes them needs a CPU. */
static int lock_up(void)
{
	static struct task_struct *all[NR_CPUS];
	unsigned int cpu;

	for_each_online_cpu(cpu) {
		all[cpu] = kthread_create_on_node(spin_softly, NULL, cpu_to_node(cpu), "khoctl-hang");
		if (IS_ERR(all[cpu]))
			return PTR_ERR(all[cpu]);
		kthread_bind(all[cpu], cpu);
		sched_set_fifo(all[cpu]);
	}
	preempt_disable();
	for_each_online_cpu(cpu)
		wake_up_process(all[cpu]);
	preempt_enable();
	return 0;
}

static int __init hang_init(void)
{
	pr_emerg("khoctl-hang: %u CPUs stop answering\n", num_online_cpus());
	if (soft)
		return lock_up();
	on_each_cpu(spin, NULL, 0);
	return 0;
}
module_init(hang_init);

MODULE_DESCRIPTION("hangs the kernel, for tests");
MODULE_LICENSE("GPL");
