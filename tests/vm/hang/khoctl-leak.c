// SPDX-License-Identifier: GPL-2.0-only
/*
 * A driver that takes pages, 10 MiB of them a second, and forgets them: for the tests of who must see that.  Part of no installation.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kthread.h>
#include <linux/module.h>

#define PAGES (256 * 10 / 5) /* in a fifth of a second */

static int forget(void *unused)
{
	for (;;) {
		for (int i = 0; i < PAGES; i++)
			if (!alloc_page(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN))
				break;
		msleep(200);
	}
	return 0;
}

static int __init leak_init(void)
{
	return PTR_ERR_OR_ZERO(kthread_run(forget, NULL, "khoctl-leak"));
}
module_init(leak_init);

MODULE_DESCRIPTION("loses memory, for tests");
MODULE_LICENSE("GPL");
