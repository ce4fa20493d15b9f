// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading this makes a hostile kernel of an incoming one: for a few seconds it writes noise over all that it shares with the
 * outgoing kernel and that is data: ledger, mailbox, rings, console, error record, bulk area. Not over what CPUs run in the park
 * (page, tables, stacks): that would be a triple fault, which resets any machine. For tests; part of no installation.
 */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/random.h>
#include <linux/sched.h>

#include "khoctl_region.h"

#define SECONDS	4
#define BULK	(16u << 20)

static const struct { u32 from, to; } noisy[] = {
	{ KHO_OFF_MAILBOX, KHO_OFF_IDT },
	{ KHO_OFF_RESET_REG, KHO_OFF_STACKS },
	{ KHO_OFF_BOOT_PARAMS, KHO_HEAD_BYTES },
};

static void noise(void *p, size_t bytes)
{
	static u8 page[PAGE_SIZE];
	size_t n;

	for (; bytes; p += n, bytes -= n) {
		n = min_t(size_t, bytes, sizeof(page));
		get_random_bytes(page, n);
		memcpy(p, page, n);
	}
}

static void *bulk(const struct kho_ledger *l, size_t *bytes)
{
	*bytes = min_t(u64, l->bulk_bytes, BULK);
	return *bytes ? memremap(l->bulk_base, *bytes, MEMREMAP_WB) : NULL;
}

static int __init scribble_init(void)
{
	struct device *d = bus_find_device_by_name(&platform_bus_type, NULL, "KHOC0001:00");
	struct resource *res = d ? platform_get_resource(to_platform_device(d), IORESOURCE_MEM, 0) : NULL;
	void *head = res ? memremap(res->start, resource_size(res), MEMREMAP_WB) : NULL;
	unsigned long end = jiffies + SECONDS * HZ;
	size_t bytes, i;
	void *area;

	if (!head)
		return -ENODEV;
	pr_emerg("khoctl-scribble: noise over the region at %pa\n", &res->start);
	area = bulk(head + KHO_OFF_LEDGER, &bytes);
	while (time_before(jiffies, end)) {
		for (i = 0; i < ARRAY_SIZE(noisy); i++)
			noise(head + noisy[i].from, noisy[i].to - noisy[i].from);
		if (area)
			noise(area, bytes);
		cond_resched();
	}
	pr_emerg("khoctl-scribble: done\n");
	return 0;
}
module_init(scribble_init);

MODULE_DESCRIPTION("writes over what two kernels share, for tests");
MODULE_LICENSE("GPL");
