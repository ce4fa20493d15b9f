// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the serializers of disks and NICs find and say on a recorded machine: a VM after an upgrade,
 * so that its disks lie below khoctl's thin layers; with a partition mounted twice, swap, somebody
 * else's mapped device, an overlay, a VLAN on one NIC and an interface without a device.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "lib/cleanup.h"
#include "state-serializers/block.h"
#include "state-serializers/netdev.h"

#define TREE "tests/sysroots/vm-upgraded"

static void said(const struct kho_report *r, enum kho_verdict v, const char *subject,
		 const char *what)
{
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->items[i].subject, subject) && strstr(r->items[i].what, what)) {
			assert_int_equal(r->items[i].verdict, v);
			return;
		}
	fail_msg("nothing says '%s' of %s", what, subject);
}

static void block_finds(void **state)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err e = KHO_ERR_INIT;
	Kho__Block *b = NULL;

	(void)state;
	assert_int_equal(kho_block_find(TREE, &b, &r, &e), 0);
	assert_int_equal(b->n_disk, 2);
	assert_string_equal(b->disk[0]->name, "vda");
	assert_string_equal(b->disk[0]->pci, "0000:00:03.0");
	assert_string_equal(b->disk[0]->serial, "khoctl-lab-data");
	assert_int_equal(b->disk[0]->n_modules, 2);
	assert_string_equal(b->disk[0]->modules[0], "virtio_blk");
	assert_string_equal(b->disk[0]->modules[1], "virtio_pci");
	assert_string_equal(b->disk[1]->name, "vdb");
	assert_string_equal(b->disk[1]->pci, "0000:00:01.0");
	assert_int_equal(b->n_source, 2);
	assert_int_equal(b->source[0]->partition, 0);
	assert_int_equal(b->source[0]->sectors, 16777216);
	assert_int_equal(b->source[1]->partition, 1);
	assert_int_equal(b->source[1]->sectors, 65536);
	assert_string_equal(b->source[1]->options, "rw,errors=remount-ro");
	assert_int_equal(b->n_mount, 3);
	assert_string_equal(b->mount[1]->target, "/mnt/data dir");
	assert_string_equal(b->mount[1]->options, "rw,nosuid,noatime");
	assert_string_equal(b->mount[2]->target, "/bind");
	assert_string_equal(b->mount[2]->root, "/sub");
	assert_int_equal(b->mount[2]->source, 1);
	assert_int_equal(r.n, 5);
	said(&r, KHO_V_OK, "/data", "ext4 on vda");
	said(&r, KHO_V_OK, "/bind", "ext4 on vdb");
	said(&r, KHO_V_NO, "/home", "unknown table");
	said(&r, KHO_V_LOSS, "/net", "not on a local disk");
	kho__block__free_unpacked(b, NULL);
	kho_report_done(&r);
}

static void probes_say(void **state)
{
	struct kho_env env = { .sysroot = TREE };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err e = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_block_probe(&env, &r, &e), 0);
	said(&r, KHO_V_OK, "/dev/vdb3", "turned off for the upgrade");
	kho_report_done(&r);
	r = (struct kho_report)KHO_REPORT_INIT;
	assert_int_equal(kho_netdev_probe(&env, &r, &e), 0);
	assert_int_equal(r.n, 3); /* no word about lo, nor about the VLAN, which is down */
	said(&r, KHO_V_OK, "eth0 0000:00:02.0", "moves");
	said(&r, KHO_V_OK, "eth1 0000:00:04.0", "moves");
	said(&r, KHO_V_UNKNOWN, "dummy0", "virtual");
	kho_report_done(&r);
}

static void netdev_finds(void **state)
{
	struct kho_err e = KHO_ERR_INIT;
	Kho__Netdev *c = NULL;

	(void)state;
	assert_int_equal(kho_netdev_find(TREE, &c, &e), 0);
	assert_int_equal(c->n_link, 3);
	assert_string_equal(c->link[0]->name, "lo");
	assert_string_equal(c->link[1]->name, "eth0");
	assert_string_equal(c->link[1]->pci, "0000:00:02.0");
	assert_int_equal(c->link[1]->n_modules, 2);
	assert_string_equal(c->link[1]->modules[0], "virtio_net");
	kho__netdev__free_unpacked(c, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(block_finds),
		cmocka_unit_test(probes_say),
		cmocka_unit_test(netdev_finds),
	};

	return cmocka_run_group_tests_name("probes", tests, NULL, NULL);
}
