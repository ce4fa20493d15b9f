// SPDX-License-Identifier: GPL-2.0-only
/*
 * ifupdown's state and DHCP clients, as ifupdown 0.8.44, dhclient 4.4.3 and dhcpcd 10.1.0 of Debian 13 leave them: which files the new
 * system gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "state-serializers/common.h"
#include "state-serializers/netdev.h"
#include "tests/unit/tree.h"

#define GROUPS "/sys/fs/cgroup/system.slice/"

static char root[64];
static Kho__NetLink links[3];
static Kho__NetLink *list[3];
static Kho__Netdev cfg;

static void put(const char *name, const char *text)
{
	test_put(root, name, text, strlen(text));
}

static int setup(void **state)
{
	static const char *const names[] = { "lo", "eth0", "br-lan" };

	(void)state;
	strcpy(root, "/tmp/khoctl-ifupdown-XXXXXX");
	assert_non_null(mkdtemp(root));
	kho__netdev__init(&cfg);
	for (size_t i = 0; i < 3; i++) {
		kho__net_link__init(&links[i]);
		links[i].name = (char *)names[i];
		list[i] = &links[i];
	}
	cfg.link = list;
	cfg.n_link = 3;
	put("/run/systemd/system/x", "");
	put("/proc/574/comm", "dhclient\n");
	put("/proc/574/cgroup", "0::/system.slice/networking.service\n");
	put("/proc/575/comm", "dhcpcd\n");
	put("/proc/575/cgroup", "0::/user.slice/user-0.slice/session-3.scope\n");
	put("/proc/576/comm", "sshd\n");
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	for (size_t i = 0; i < cfg.n_file; i++)
		kho__net_file__free_unpacked(cfg.file[i], NULL);
	free(cfg.file);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	return system(cmd);
}

static const char *file(const char *path)
{
	for (size_t i = 0; i < cfg.n_file; i++)
		if (!strcmp(cfg.file[i]->path, path))
			return cfg.file[i]->text;
	return NULL;
}

static void nothing(void **state)
{
	(void)state;
	assert_int_equal(kho_netdev_ifupdown_collect(&cfg, root), 0);
	assert_int_equal(cfg.n_file, 0);
}

static void no_client(void **state)
{
	(void)state;
	/* what is not carried (tun0) is ifup's to make; lines that nobody could use are left out */
	put("/run/network/ifstate", "lo=lo\neth0=home\neth0:1=eth0:1\ntun0=tun0\n=\nbad;name=x\nbr-lan=../x\n");
	assert_int_equal(kho_netdev_ifupdown_collect(&cfg, root), 0);
	assert_string_equal(file("/run/network/ifstate"), "lo=lo\neth0=home\neth0:1=eth0:1\n");
	assert_string_equal(file("/run/network/ifstate.eth0"), "home\n");
	assert_string_equal(file("/run/network/ifstate.eth0:1"), "eth0:1\n");
	assert_int_equal(cfg.n_file, 4);
	assert_false(links[1].address_stays);
}

static void of_all(void **state)
{
	const char *text;

	(void)state;
	put("/run/network/ifstate", "lo=lo\neth0=eth0\neth0:1=eth0:1\n");
	put(GROUPS "networking.service/cgroup.procs", "576\n574\n");
	assert_int_equal(kho_netdev_ifupdown_collect(&cfg, root), 0);
	text = file("/run/systemd/system/networking.service.d/khoctl.conf");
	assert_non_null(text);
	assert_non_null(strstr(text, "[Service]\nExecStartPost=-/bin/sh -c 'rm /run/khoctl/dhcp-client-eth0 2> /dev/null && "));
	assert_non_null(strstr(text, "ifup --no-act --force --no-scripts eth0=eth0 2>&1"));
	assert_null(strstr(text, "=lo"));
	assert_null(strstr(text, "eth0:1"));
	assert_non_null(file("/run/khoctl/dhcp-client-eth0"));
	assert_true(links[1].address_stays);
	assert_false(links[0].address_stays);
}

static void of_one(void **state)
{
	(void)state;
	put("/run/network/ifstate", "lo=lo\neth0=eth0\nbr-lan=br-lan\n");
	put(GROUPS "ifup@br\\x2dlan.service/cgroup.procs", "575\n");
	put(GROUPS "networking.service/cgroup.procs", "576\n");
	assert_int_equal(kho_netdev_ifupdown_collect(&cfg, root), 0);
	assert_non_null(file("/run/systemd/system/ifup@br\\x2dlan.service.d/khoctl.conf"));
	assert_null(file("/run/systemd/system/networking.service.d/khoctl.conf"));
	assert_null(file("/run/khoctl/dhcp-client-eth0"));
	/* dhcpcd gives the address it finds a new lifetime */
	assert_false(links[2].address_stays);
}

static void without_systemd(void **state)
{
	char cmd[128];

	(void)state;
	put("/run/network/ifstate", "lo=lo\neth0=eth0\n");
	snprintf(cmd, sizeof(cmd), "rm -r %s/run/systemd", root);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(kho_netdev_ifupdown_collect(&cfg, root), 0);
	assert_int_equal(cfg.n_file, 0);
}

static void told(void **state)
{
	struct kho_report r = { 0 };

	(void)state;
	put("/run/network/ifstate", "lo=lo\neth0=eth0\n");
	assert_int_equal(kho_netdev_ifupdown_probe(&cfg, root, &r), 0);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.items[0].verdict, KHO_V_OK);
	assert_int_equal(r.items[1].verdict, KHO_V_LOSS);
	assert_non_null(strstr(r.items[1].what, "process 575"));
	kho_report_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(no_client, setup, teardown),
		cmocka_unit_test_setup_teardown(of_all, setup, teardown),
		cmocka_unit_test_setup_teardown(of_one, setup, teardown),
		cmocka_unit_test_setup_teardown(without_systemd, setup, teardown),
		cmocka_unit_test_setup_teardown(told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
