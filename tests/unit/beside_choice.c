// SPDX-License-Identifier: GPL-2.0-only
/*
 * Choice of CPUs and memory on recorded machines (tests/sysroots, made by
 * tests/tools/record-sysroot) and on variations of them that cannot be recorded (little memory,
 * another boot processor).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tree.h"
#include "handover/beside/choice.h"
#include "handover/beside/hardware.h"
#include "handover/beside/machine.h"

#define MIB (1ULL << 20)

static bool load(const char *name, struct kho_machine *m)
{
	struct kho_err err = KHO_ERR_INIT;
	char path[256];

	snprintf(path, sizeof(path), "tests/sysroots/%s", name);
	if (kho_machine_read(path, -1, m, &err) == 0)
		return true;
	print_message("%s: %s\n", path, err.msg);
	return false;
}

static void same_ids(const uint32_t *ids, size_t n, const char *want)
{
	char text[128] = "";
	size_t i, len = 0;

	for (i = 0; i < n; i++)
		len += snprintf(text + len, sizeof(text) - len, "%s%u", i ? "," : "", ids[i]);
	assert_string_equal(text, want);
}

static void chosen(const struct kho_machine *m, unsigned want, const char *before,
		   const char *after)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_cpu_choice c;

	if (kho_choose_cpus(m, want, &c, &err) < 0)
		fail_msg("%s", err.msg);
	same_ids(c.before, c.nbefore, before);
	same_ids(c.after, c.nafter, after);
	kho_cpu_choice_done(&c);
}

static void refused(const struct kho_machine *m, unsigned want, const char *says)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_cpu_choice c;

	assert_true(kho_choose_cpus(m, want, &c, &err) < 0);
	if (!strstr(err.msg, says) || !strchr(err.msg, ';'))
		fail_msg("'%s' does not say '%s', or no fix", err.msg, says);
}

static void test_cpus_4(void **state)
{
	struct kho_machine m;
	size_t i;

	(void)state;
	assert_true(load("vm-4cpu", &m));
	chosen(&m, 0, "3,2", "1,0");
	chosen(&m, 1, "3", "2,1,0");
	chosen(&m, 3, "3,2,1", "0");
	refused(&m, 4, "at most 3 of 4");
	/* the third kernel of a chain: CPU 0 has APIC id 3, the machine's boot processor is its CPU
	 * 3 */
	for (i = 0; i < 4; i++) {
		m.cpus[i].apicid = 3 - i;
		m.cpus[i].bsp = i == 3;
	}
	chosen(&m, 0, "1,2", "0,3");
	m.ncpus = 2;
	m.cpus[1].bsp = true;
	refused(&m, 0, "boot processor");
	kho_machine_done(&m);
}

static void test_cpus_smt(void **state)
{
	struct kho_machine m;

	(void)state;
	assert_true(load("vm-2core-2thread", &m));
	chosen(&m, 0, "3,2", "1,0"); /* the whole second core */
	chosen(&m, 1, "3", "2,1,0"); /* asked for */
	chosen(&m, 3, "3,2,1", "0");
	kho_machine_done(&m);
	assert_true(load("vm-2socket-numa", &m));
	assert_int_equal(m.ncpus, 8);
	m.device_node = 1;
	chosen(&m, 0, "7,6,5,4", "3,2,1,0");
	m.device_node = 0; /* one core of node 0 cannot go; the rest comes from node 1 */
	chosen(&m, 0, "3,2,7,6", "5,4,1,0");
	kho_machine_done(&m);
}

static void test_cpus_1(void **state)
{
	struct kho_machine m;

	(void)state;
	assert_true(load("vm-1cpu", &m));
	refused(&m, 0, "one CPU");
	kho_machine_done(&m);
}

/* Two CPUs; configuration space that firmware lists as a window, too, and for bus 0 only. */
static void test_cpus_2(void **state)
{
	struct kho_machine m;

	(void)state;
	assert_true(load("host-2cpu", &m));
	chosen(&m, 0, "1", "0");
	refused(&m, 2, "at most 1 of 2");
	assert_int_equal(m.necams, 1);
	assert_int_equal(m.ecams[0].bus_last, 0);
	assert_int_equal(m.windows[0].base, 0xc0001000);
	assert_int_equal(m.windows[1].base, 0x4000000000);
	assert_false(m.root_in_ram);
	kho_machine_done(&m);
}

static void test_machine(void **state)
{
	struct kho_machine m;
	size_t i, bridges = 0;

	(void)state;
	assert_true(load("vm-4cpu", &m));
	assert_int_equal(m.block_bytes, 128 * MIB);
	assert_true(m.root_in_ram);
	assert_true(m.total_bytes > 3800 * MIB && m.total_bytes < 4096 * MIB);
	assert_int_equal(m.nram, 3);
	assert_int_equal(m.ram[2].base, 0x100000000);
	assert_int_equal(m.necams, 1);
	assert_int_equal(m.ecams[0].base, 0xb0000000);
	assert_int_equal(m.ecams[0].bus_last, 255);
	assert_true(m.nwindows >= 4);
	assert_int_equal(m.npci, 3);
	assert_int_equal(m.pci[0].devfn, 3 << 3);
	kho_machine_done(&m);
	assert_true(load("vm-2socket-numa", &m)); /* its disk lies behind a root port */
	for (i = 0; i < m.npci; i++)
		bridges += m.pci[i].bridge;
	assert_int_equal(bridges, 1);
	kho_machine_done(&m);
}

static void test_memory(void **state)
{
	struct kho_memory_need need = { .init_size = 60 * MIB,
					.initrd_packed = 100 * MIB,
					.initrd_unpacked = 160 * MIB };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_memory_choice c;
	struct kho_machine m;

	(void)state;
	assert_true(load("vm-4cpu", &m));
	assert_int_equal(kho_choose_memory(&m, &need, &c, &err), 0);
	assert_int_equal(c.region_bytes % m.block_bytes, 0);
	assert_in_range(c.region_bytes, 450 * MIB, 768 * MIB);
	assert_int_equal(c.extra_bytes, 0);
	need.workloads_rss = 512 * MIB;
	assert_int_equal(kho_choose_memory(&m, &need, &c, &err), 0);
	assert_in_range(c.extra_bytes, 1126 * MIB, 1280 * MIB);
	need.workloads_rss = 2048 * MIB;
	assert_int_equal(kho_choose_memory(&m, &need, &c, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "are available; stop"));
	need.workloads_rss = 0;
	need.region_override = 256 * MIB;
	assert_int_equal(kho_choose_memory(&m, &need, &c, &err), -EINVAL);
	need.region_override = 1000 * MIB;
	assert_int_equal(kho_choose_memory(&m, &need, &c, &err), 0);
	assert_int_equal(c.region_bytes, 1024 * MIB);
	kho_machine_done(&m);
}

static char dir[64];

static void put_text(const char *name, const char *text)
{
	test_put(dir, name, text, strlen(text));
}

static void make_dir(void)
{
	strcpy(dir, "/tmp/khoctl-choice.XXXXXX");
	assert_non_null(mkdtemp(dir));
}

/* Memory that was adopted counts, and not what another driver manages. */
static void test_ram(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_machine m = { 0 };

	(void)state;
	make_dir();
	put_text("/proc/iomem", "00100000-7fffffff : System RAM\n  01000000-01ffffff : Kernel code\n"
				"100000000-17fffffff : System RAM (virtio_mem)\n180000000-1ffffffff : System RAM (kmem)\n"
				"200000000-27fffffff : System RAM (khoctl)\n");
	put_text("/proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\nHardwareCorrupted:     8 kB\n");
	put_text("/sys/devices/system/memory/block_size_bytes", "8000000\n");
	assert_int_equal(kho_machine_read_memory(dir, &m, &err), 0);
	assert_int_equal(m.nram, 2);
	assert_int_equal(m.ram[0].base, 0x100000);
	assert_int_equal(m.ram[1].base, 0x200000000);
	assert_int_equal(m.broken_bytes, 8192);
	kho_machine_done(&m);
	kho_remove_tree(dir);
	assert_int_equal(kho_machine_read_memory("tests/sysroots/vm-upgraded", &m, &err), 0);
	assert_int_equal(m.nram, 5);
	assert_int_equal(m.broken_bytes, 0);
	kho_machine_done(&m);
}

/* A link as sysfs has it, to nowhere. */
static void put_link(const char *folder, const char *name)
{
	_cleanup_free_ char *path = kho_sysroot_path(dir, folder);
	struct kho_err err = KHO_ERR_INIT;
	char link[256];

	assert_int_equal(kho_mkdir(path, &err), 0);
	snprintf(link, sizeof(link), "%s/%s", path, name);
	assert_int_equal(symlink("../../nowhere", link), 0);
}

static void found(const struct kho_machine *m, size_t n, enum kho_verdict v, const char *subject)
{
	struct kho_report r = KHO_REPORT_INIT;

	assert_int_equal(kho_hardware_check(dir, m, &r), 0);
	assert_int_equal(r.n, n);
	if (n) {
		assert_int_equal(r.items[n - 1].verdict, v);
		assert_string_equal(r.items[n - 1].subject, subject);
	}
	kho_report_done(&r);
}

static void test_hardware(void **state)
{
	static const char balloon[] = "/sys/bus/virtio/drivers/virtio_balloon";
	struct kho_machine m = { 0 };

	(void)state;
	make_dir();
	found(&m, 0, KHO_V_OK, "");
	put_link("/sys/class/iommu", "dmar0");
	found(&m, 1, KHO_V_NO, "IOMMU");
	kho_remove_tree(dir);
	m.broken_bytes = 4096;
	found(&m, 1, KHO_V_NO, "HardwareCorrupted");
	m.broken_bytes = 0;
	put_link(balloon, "module"); /* loaded, and without a device */
	found(&m, 0, KHO_V_OK, "");
	put_link(balloon, "virtio3");
	found(&m, 1, KHO_V_NO, "virtio3"); /* not known */
	put_text("/proc/vmstat", "nr_free_pages 7\nballoon_inflate 5\nballoon_deflate 4\n");
	found(&m, 1, KHO_V_NO, "virtio3");
	put_text("/proc/vmstat", "nr_free_pages 7\nballoon_inflate 5\nballoon_deflate 5\n");
	found(&m, 1, KHO_V_LOSS, "virtio3");
	put_link("/sys/bus/virtio/drivers/virtio_mem", "virtio4");
	found(&m, 2, KHO_V_NO, "virtio4");
	put_link("/sys/bus/vmbus/drivers/hv_balloon", "1eccfd72-4b41-45ef-b73a-4a6e44c12924");
	found(&m, 3, KHO_V_NO, "1eccfd72-4b41-45ef-b73a-4a6e44c12924");
	kho_remove_tree(dir);
}

/* What a kernel of generation 2 reads out of its ledger; damaged tables are refused. */
static void test_ledger(void **state)
{
	static struct {
		struct kho_ledger l;
		struct kho_ledger_range ram[2];
		struct kho_ledger_pci pci[1];
	} x;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_machine m = { 0 };

	(void)state;
	x.l.magic = KHO_REGION_MAGIC;
	x.l.revision = KHO_REGION_REVISION;
	x.l.ram = (struct kho_ledger_table){ offsetof(__typeof__(x), ram), 2 };
	x.l.pci = (struct kho_ledger_table){ offsetof(__typeof__(x), pci), 1 };
	x.ram[1].base = 0x100000000;
	x.pci[0].devfn = 8;
	assert_int_equal(kho_machine_from_ledger(&m, &x.l, sizeof(x), &err), 0);
	assert_int_equal(m.nram, 2);
	assert_int_equal(m.ram[1].base, 0x100000000);
	assert_int_equal(m.npci, 1);
	x.l.ram.count = 0x10000000;
	assert_int_equal(kho_machine_from_ledger(&m, &x.l, sizeof(x), &err), -EPROTO);
	x.l.ram = (struct kho_ledger_table){ 8, 1 };
	assert_int_equal(kho_machine_from_ledger(&m, &x.l, sizeof(x), &err), -EPROTO);
	x.l.revision++;
	assert_int_equal(kho_machine_from_ledger(&m, &x.l, sizeof(x), &err), -EPROTO);
	kho_machine_done(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpus_4),	cmocka_unit_test(test_cpus_smt),
		cmocka_unit_test(test_cpus_1),	cmocka_unit_test(test_cpus_2),
		cmocka_unit_test(test_machine), cmocka_unit_test(test_memory),
		cmocka_unit_test(test_ledger),	cmocka_unit_test(test_ram),
		cmocka_unit_test(test_hardware),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
