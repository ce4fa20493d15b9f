// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line of a kernel that takes this one's place: what of this one's stays, what comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "handover/kexec/kexec.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "tests/unit/kexec_rig.h"
#include "tests/unit/tree.h"

static int setup(void **state)
{
	(void)state;
	return rig_setup("audit=0");
}

static void test_cmdline(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	_cleanup_free_ char *there = NULL, *back = NULL, *never = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	k->img.cmdline_max = 2047;
	k->luo = true;
	assert_int_equal(kho_kexec_cmdline(k, false, &there, &err), 0);
	assert_non_null(strstr(there, "console=ttyS0 "));
	assert_non_null(strstr(there, " rdinit=/init khoctl.pid_floor=1000000 khoctl.handed=luo audit=0"));
	assert_null(strstr(there, "BOOT_IMAGE="));
	/* by the same carrier, and the operator's words were for the other kernel */
	assert_int_equal(kho_kexec_cmdline(k, true, &back, &err), 0);
	assert_non_null(strstr(back, "khoctl.handed=luo"));
	assert_null(strstr(back, "audit=0"));
	assert_non_null(strstr(there, " audit=0 kho=on liveupdate=on"));
	assert_non_null(strstr(back, " kho=on liveupdate=on"));
	k->img.cmdline_max = 20;
	assert_int_equal(kho_kexec_cmdline(k, false, &never, &err), -E2BIG);
	assert_null(never);
}

/* What kernel.printk of the machine below is; "": it tells nothing. */
static const char *printk = "";

/* The operator's words. */
static const char *words = "audit=0";

/* Of a machine with that command line. */
static char *cmdline_after(const char *running, bool luo)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	const struct kho_engine_request *was = k->e.req;
	struct kho_engine_request rq = *was;
	char dir[] = "/tmp/khoctl-kexec.XXXXXX", path[64];
	struct kho_err err = KHO_ERR_INIT;
	char *text = NULL;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/proc", dir);
	assert_int_equal(kho_mkdir(path, &err), 0);
	strcat(path, "/cmdline");
	assert_int_equal(kho_write_file(path, running, strlen(running), &err), 0);
	test_put(dir, "/boot/config-7.3.4", "CONFIG_HZ=250\n", 14);
	test_put(dir, "/proc/sys/kernel/printk", printk, strlen(printk));
	rq.sysroot = dir;
	rq.extra_cmdline = words;
	k->e.req = &rq;
	k->img.cmdline_max = 2047;
	strcpy(k->img.release, "7.3.4");
	k->luo = luo;
	assert_int_equal(kho_kexec_cmdline(k, false, &text, &err), 0);
	k->e.req = was;
	kho_remove_tree(dir);
	return text;
}

/* Words are whole: neither a part of another one, nor left behind. */
static void test_cmdline_words(void **state)
{
	_cleanup_free_ char *luo = cmdline_after("BOOT_IMAGE=/x kho kho_scratch=100% liveupdate=off softlockup_panic=1 kho=off quiet\n", true);
	_cleanup_free_ char *initrd = cmdline_after("kho=off panic=30 -- panic=1\n", false);

	(void)state;
	assert_string_equal(luo, "kho_scratch=100% softlockup_panic=1 quiet panic=10 rdinit=/init khoctl.pid_floor=1000000 khoctl.handed=luo audit=0"
				 " kho=on liveupdate=on");
	assert_string_equal(initrd, "kho=off panic=30 rdinit=/init khoctl.pid_floor=1000000 khoctl.handed=initrd audit=0");
}

/* The target's jiffies of this machine's TSC, where both are known. */
static void test_lpj(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	kho_clock_set_tsc_khz(2000000);
	text = cmdline_after("lpj=1 panic=30\n", false);
	kho_clock_set_tsc_khz(0);
	assert_string_equal(text, "panic=30 rdinit=/init khoctl.pid_floor=1000000 khoctl.handed=initrd lpj=8000000 audit=0");
}

/* A console that shows what informs does not while the next kernel boots, and is told what it shows then; not where the operator has said what he wants. */
static void test_loglevel(void **state)
{
	static const struct {
		const char *printk, *running, *want;
	} all[] = {
		{ "7\t4\t1\t7\n", "root=/dev/a", "root=/dev/a panic=10 loglevel=6 khoctl.loglevel=7 " },
		{ "4\t4\t1\t7\n", "a", "a panic=10 loglevel=4 khoctl.loglevel=4 " },
		/* once more: from a kernel that was started so, and whose console the operator has changed */
		{ "5\t4\t1\t7\n", "a panic=10 loglevel=6 khoctl.loglevel=7 b", "a panic=10 b loglevel=5 khoctl.loglevel=5 " },
		{ "4\t4\t1\t7\n", "quiet a", "quiet a panic=10 " },
		{ "7\t4\t1\t7\n", "loglevel=7", "loglevel=7 panic=10 " },
		{ "nothing", "a", "a panic=10 " },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		_cleanup_free_ char *text = NULL, *want = NULL;

		printk = all[i].printk;
		text = cmdline_after(all[i].running, false);
		assert_true(asprintf(&want, "%srdinit=/init khoctl.pid_floor=1000000 khoctl.handed=initrd audit=0", all[i].want) > 0);
		assert_string_equal(text, want);
	}
	printk = "7";
	for (size_t i = 0; i < 2; i++) {
		_cleanup_free_ char *text = NULL;

		words = i ? "audit=0 loglevel=8" : "debug";
		text = cmdline_after("a", false);
		assert_null(strstr(text, "khoctl.loglevel"));
		assert_string_equal(strstr(text, "handed=initrd ") + strlen("handed=initrd "), words);
	}
	words = "audit=0";
	printk = "";
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = { T(test_cmdline), T(test_cmdline_words), T(test_lpj), T(test_loglevel) };

	return cmocka_run_group_tests_name("kexec_cmdline", tests, NULL, NULL);
}
