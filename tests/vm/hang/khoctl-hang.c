// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading this hangs the kernel: all its CPUs spin for ever with interrupts off.  For the tests of
 * what the other kernel does about it; part of no installation.
 */
#include <linux/cpumask.h>
#include <linux/init.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/smp.h>

static void spin(void *unused)
{
	unsigned long flags;

	local_irq_save(flags);
	for (;;)
		cpu_relax();
}

static int __init hang_init(void)
{
	pr_emerg("khoctl-hang: %u CPUs stop answering\n", num_online_cpus());
	on_each_cpu(spin, NULL, 0);
	return 0;
}
module_init(hang_init);

MODULE_DESCRIPTION("hangs the kernel, for tests");
MODULE_LICENSE("GPL");
