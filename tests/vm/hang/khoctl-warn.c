// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loading this makes a kernel report a WARN, and go on: for the tests of who must see that.  Part of no installation.
 */
#include <linux/bug.h>
#include <linux/init.h>
#include <linux/module.h>

static int __init warn_init(void)
{
	WARN(1, "khoctl-warn: asked for\n");
	return 0;
}
module_init(warn_init);

MODULE_DESCRIPTION("reports a warning, for tests");
MODULE_LICENSE("GPL");
