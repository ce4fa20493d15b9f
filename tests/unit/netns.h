/* SPDX-License-Identifier: GPL-2.0-only */
/* Tests in a network namespace of their own. */
#ifndef TEST_NETNS_H
#define TEST_NETNS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <linux/if_bridge.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io.h"
#include "lib/netmods.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"
#include "state-serializers/netdev.h"
#include "state-serializers/netfilter.h"

static inline void must(int ret, const struct kho_err *e)
{
	if (ret < 0)
		fail_msg("%s", e->msg);
}

/* A namespace with the links that rules name; false: not here. */
static inline bool new_namespace(void)
{
	static const Kho__NetRuleset nothing = KHO__NET_RULESET__INIT;
	struct kho_err e = KHO_ERR_INIT;

	return unshare(CLONE_NEWNET) == 0 && kho_nft_load(&nothing, true, &e) == 0;
}

#endif
