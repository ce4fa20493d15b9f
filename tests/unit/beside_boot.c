// SPDX-License-Identifier: GPL-2.0-only
/*
 * The beside engine's firmware: ACPI tables through iasl's disassembler, memory map, command line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <asm/bootparam.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover/beside/acpi.h"
#include "handover/beside/beside.h"
#include "handover/beside/record.h"
#include "handover/beside/words.h"
#include "handover/beside/boot.h"
#include "handover/beside/image.h"
#include "handover/uapi/khoctl_region.h"
#include "lib/io.h"

#define BASE 0x58000000ULL

static uint8_t acpi[KHO_ACPI_BYTES];

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

static uint64_t le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

static const uint8_t *at(uint64_t phys)
{
	assert_in_range(phys, BASE + KHO_OFF_ACPI, BASE + KHO_OFF_ACPI + sizeof(acpi) - 36);
	return acpi + (phys - BASE - KHO_OFF_ACPI);
}

static void build_acpi(void)
{
	static const uint32_t ids[] = { 0, 1, 2, 3 };
	struct kho_acpi_in in = {
		.region_base = BASE, .low_slot = 1, .boot_apicid = 3, .apicids = ids, .napicids = 4
	};
	struct kho_err err = KHO_ERR_INIT;

	assert_int_equal(kho_acpi_build(&in, acpi, sizeof(acpi), &err), 0);
}

/* iasl -d takes the table and the source has all of `want`. */
static void disassemble(const uint8_t *t, const char *const *want)
{
	char dir[] = "/tmp/kho-acpi-XXXXXX", path[64], command[256], *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	size_t i;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/t.aml", dir);
	assert_int_equal(kho_write_file(path, t, le(t + 4, 4), &err), 0);
	snprintf(command, sizeof(command), "iasl -d %s/t.aml >%s/out 2>&1", dir, dir);
	if (system(command) != 0)
		fail_msg("%.4s: iasl refuses it, see %s", (const char *)t, dir);
	snprintf(path, sizeof(path), "%s/t.dsl", dir);
	assert_int_equal(kho_read_file(path, 1 << 20, &text, NULL, &err), 0);
	for (i = 0; want[i]; i++)
		if (!strstr(text, want[i]))
			fail_msg("%.4s: no '%s' in %s", (const char *)t, want[i], path);
	if (strstr(text, "rror:") || strstr(text, "Incorrect checksum"))
		fail_msg("%.4s: complaint in %s", (const char *)t, path);
	free(text);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

static void test_acpi_sums(void **state)
{
	const uint8_t *x, *t;
	size_t i;

	(void)state;
	build_acpi();
	assert_memory_equal(acpi, "RSD PTR ", 8);
	assert_int_equal(sum(acpi, 20), 0);
	assert_int_equal(sum(acpi, 36), 0);
	x = at(le(acpi + 24, 8));
	assert_memory_equal(x, "XSDT", 4);
	assert_int_equal(sum(x, le(x + 4, 4)), 0);
	for (i = 36; i < le(x + 4, 4); i += 8) {
		t = at(le(x + i, 8));
		assert_int_equal(sum(t, le(t + 4, 4)), 0);
		if (!memcmp(t, "FACP", 4)) {
			t = at(le(t + 140, 8));
			assert_memory_equal(t, "DSDT", 4);
			assert_int_equal(sum(t, le(t + 4, 4)), 0);
		}
	}
}

static void test_acpi_iasl(void **state)
{
	static const char *const xsdt[] = { "[Extended System Description Table]", NULL };
	static const char *const fadt[] = { "Hardware Reduced (V5) : 1",
					    "Reset Register Supported (V2) : 1",
					    "VGA Not Present (V4) : 1",
					    "CMOS RTC Not Present (V5) : 1",
					    "000000005801A000",
					    "Value to cause reset : 01",
					    NULL };
	static const char *const madt[] = {
		"Local Apic ID : FE", "Local Apic ID : 03", "Local Apic ID : 00",
		"Address : 00051000", "Subtable Type : 10", NULL
	}; /* Debian 12's iasl knows no more of it: test_acpi_wakeup */
	static const char *const dsdt[] = { "Device (\\_SB.KHO0)",
					    "Name (_HID, \"KHOC0001\")",
					    "Name (_UID, Zero)",
					    "Name (_STA, 0x0F)",
					    "QWordMemory (ResourceProducer, PosDecode, MinFixed, "
					    "MaxFixed, Cacheable, ReadWrite",
					    "0x0000000058000000",
					    "0x00000000581FFFFF",
					    "0x0000000000200000",
					    NULL };
	static const char *const erst[] = { "Instruction Entry Count : 00000010",
					    "Action : 05 [Execute Operation]",
					    "Instruction : 0F [GoTo]",
					    "000000005801B008",
					    "[QWord Access:64]",
					    NULL };
	const uint8_t *x;

	(void)state;
	if (system("iasl -v >/dev/null 2>&1") != 0) {
		print_message("no iasl (apt install acpica-tools)\n");
		skip();
	}
	build_acpi();
	x = at(le(acpi + 24, 8));
	disassemble(x, xsdt);
	disassemble(at(le(x + 36, 8)), fadt);
	disassemble(at(le(x + 44, 8)), madt);
	disassemble(at(le(x + 52, 8)), erst);
	disassemble(at(le(at(le(x + 36, 8)) + 140, 8)), dsdt);
}

/* What Linux does with the table's EXECUTE entries (drivers/acpi/apei): false when it never ends. */
static bool execute_ends(uint8_t *head)
{
	const uint8_t *x = at(le(acpi + 24, 8)), *e = at(le(x + 52, 8));
	uint64_t value = 0, ip = 0, n = le(e + 44, 4);
	int budget = 1000;

	for (;;) {
		const uint8_t *row = NULL;
		uint8_t *reg;

		for (uint64_t i = 0, k = 0; i < n && !row; i++)
			if (e[48 + 32 * i] == 5 && k++ == ip)
				row = e + 48 + 32 * i;
		if (!row)
			return true;
		if (!budget--)
			return false;
		reg = head + (le(row + 8, 8) - BASE);
		if (row[1] == 3)
			memcpy(reg, row + 16, 8);
		else if (row[1] == 0)
			value = le(reg, 8);
		ip = row[1] == 15 ? value : ip + 1;
	}
}

static void test_record(void **state)
{
	static const char log[] = "Panic#1 Part1\n<6>[    3.141592] clean\n"
				  "<0>[    3.200000] Kernel panic - not syncing: No working init\x01\n"
				  "<0>[    3.300000] CPU: 0 UID: 0 PID: 1\n";
	static uint8_t head[KHO_HEAD_BYTES];
	uint32_t bytes = 200 + sizeof(log) - 1;
	uint8_t *r = head + KHO_OFF_RECORD;
	char text[100], cut[10];

	(void)state;
	build_acpi();
	kho_record_init(head, BASE);
	assert_int_equal(le(head + KHO_OFF_ERST + KHO_ERST_BASE, 8), BASE + KHO_OFF_RECORD);
	assert_false(kho_record_read(head, text, sizeof(text)));
	assert_false(execute_ends(head));
	assert_true(kho_record_read(head, text, sizeof(text))); /* broken, but it has ended */
	assert_string_equal(text, "");
	memcpy(r, "CPER", 4);
	memcpy(r + 20, &bytes, 4);
	memcpy(r + 200, log, sizeof(log) - 1);
	assert_true(kho_record_read(head, text, sizeof(text)));
	assert_string_equal(text, "Kernel panic - not syncing: No working init?");
	assert_true(kho_record_read(head, cut, sizeof(cut)));
	assert_string_equal(cut, "Kernel pa");
	memset(r + 200, ' ', bytes - 200); /* no line makes sense */
	assert_true(kho_record_read(head, text, sizeof(text)));
	assert_string_equal(text, "");
	bytes = UINT32_MAX;
	memcpy(r + 20, &bytes, 4);
	assert_true(kho_record_read(head, text, sizeof(text)));
	head[KHO_OFF_ERST + KHO_ERST_GATE] = KHO_ERST_GATE_OPEN; /* the module is there */
	assert_true(execute_ends(head));
}


/* What led to a panic is told with it. */
static void test_last_words(void **state)
{
	static const struct {
		const char *log, *words;
	} cases[] = {
		{ "", "" },
		{ "\n\n", "" },
		{ "[    1.0] Run /init\n[    2.0] hello\n\n", "hello" },
		{ "<6>[    1.0][    T1] BUG: one\n[    2.0] more\n", "BUG: one" },
		{ "[    1.0] Oops: a\n[    1.0] BUG: b\nx\n", "BUG: b" },
		{ "[    1.0] Kernel panic - not syncing: Attempted to kill init!\n[    1.1] BUG: afterwards\nRIP: 0033:x\n",
		  "Kernel panic - not syncing: Attempted to kill init!" },
		{ "[    9.0] RIP: 0010:older\n[   56.1] BUG: kernel NULL pointer dereference, address: 0000000000000008\n[   56.1] #PF: supervisor read\n"
		  "[   56.2] Oops: Oops: 0000 [#1] SMP\n[   56.3] RIP: 0010:run_timer+0x1/0x20\n[   56.4] RIP: 0010:second\n"
		  "[   56.7] Kernel panic - not syncing: Fatal exception in interrupt\n[   56.8] ---[ end Kernel panic\n",
		  "Kernel panic - not syncing: Fatal exception in interrupt (BUG: kernel NULL pointer dereference, address: 0000000000000008; "
		  "RIP: 0010:run_timer+0x1/0x20)" },
		{ "[   56.2] Oops: int3: 0000 [#1] SMP\nKernel panic - not syncing: Fatal exception in interrupt",
		  "Kernel panic - not syncing: Fatal exception in interrupt (Oops: int3: 0000 [#1] SMP)" },
	};
	char out[300], cut[20];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		kho_last_words(cases[i].log, out, sizeof(out));
		assert_string_equal(out, cases[i].words);
	}
	kho_last_words(cases[6].log, cut, sizeof(cut));
	assert_string_equal(cut, "Kernel panic - not ");
}

/* The ring of messages has wrapped around; the file begins with the oldest that is left, printable. */
static void test_keep_log(void **state)
{
	char dir[] = "/tmp/kho-log-XXXXXX", path[128], prev[140], *text = NULL;
	struct kho_engine_request req = { .state_dir = dir, .release = "7.3.4+x" };
	struct kho_beside b = { .e.req = &req, .head = calloc(1, KHO_HEAD_BYTES) };
	struct kho_ledger *l = (void *)(b.head + KHO_OFF_LEDGER);
	struct kho_console_ring *c = (void *)(b.head + KHO_OFF_CONSOLE);
	struct kho_err err = KHO_ERR_INIT;
	size_t len;

	(void)state;
	assert_non_null(mkdtemp(dir));
	l->magic = KHO_REGION_MAGIC;
	l->side[1].generation = 5;
	l->side[1].state = KHO_STATE_LOADED;
	memcpy(l->side[1].release, "../x", 5);
	memset(c->data, 'a', sizeof(c->data));
	memcpy(c->data, "end\033", 4);
	c->head = sizeof(c->data) + 4;
	snprintf(path, sizeof(path), "%s/dmesg-5-7.3.4+x.txt", dir); /* not where the other kernel would have it */
	assert_int_equal(kho_beside_keep_log(&b, &err), 0);
	assert_int_equal(access(path, F_OK), -1); /* it never started */
	l->side[1].state = KHO_STATE_PANICKED;
	assert_int_equal(kho_beside_keep_log(&b, &err), 0);
	assert_int_equal(kho_read_file(path, 1 << 20, &text, &len, &err), 0);
	assert_int_equal(len, sizeof(c->data));
	assert_string_equal(text + len - 6, "aaend?");
	assert_int_equal(text[0], 'a');
	free(text);
	/* the next try's is the newest, this one is kept beside it */
	snprintf(prev, sizeof(prev), "%s.prev", path);
	assert_int_equal(access(prev, F_OK), -1);
	assert_int_equal(kho_beside_keep_log(&b, &err), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(prev), 0);
	/* nothing in the ring: the error record, under the name that was asked for */
	c->head = 0;
	l->side[1].release[0] = '\0';
	kho_record_init(b.head, BASE);
	assert_int_equal(kho_beside_keep_log(&b, &err), 0);
	execute_ends(b.head);
	memcpy(b.head + KHO_OFF_RECORD, "CPER", 4);
	memcpy(b.head + KHO_OFF_RECORD + 20, &(uint32_t){ 204 }, 4);
	memcpy(b.head + KHO_OFF_RECORD + 200, "oops", 4);
	assert_int_equal(kho_beside_keep_log(&b, &err), 0);
	snprintf(path, sizeof(path), "%s/dmesg-5-7.3.4+x.txt", dir);
	assert_int_equal(kho_read_file(path, 1 << 20, &text, &len, &err), 0);
	assert_string_equal(text, "oops");
	free(text);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	free(b.head);
}

/* The order of the CPUs matters: dummy, boot CPU, the others. */
static void test_acpi_cpu_order(void **state)
{
	static const uint8_t order[] = { 0xfe, 3, 0, 1, 2 };
	const uint8_t *madt;
	size_t i;

	(void)state;
	build_acpi();
	madt = at(le(at(le(acpi + 24, 8)) + 44, 8));
	for (i = 0; i < sizeof(order); i++) {
		assert_int_equal(madt[44 + 8 * i], 0);
		assert_int_equal(madt[44 + 8 * i + 3], order[i]);
	}
}

static void test_acpi_wakeup(void **state)
{
	const uint8_t *madt, *e;

	(void)state;
	build_acpi();
	madt = at(le(at(le(acpi + 24, 8)) + 44, 8));
	e = madt + le(madt + 4, 4) - 24; /* the last entry */
	assert_int_equal(e[0], 0x10);
	assert_int_equal(e[1], 24);
	assert_int_equal(le(e + 2, 2), 1);
	assert_int_equal(le(e + 8, 8), BASE + KHO_OFF_MAILBOX);
	assert_int_equal(le(e + 16, 8), BASE + KHO_OFF_PARK);
}

static void test_acpi_limits(void **state)
{
	static const uint32_t ids[] = { 0, 255 };
	struct kho_acpi_in in = { .region_base = BASE, .apicids = ids, .napicids = 2 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_acpi_build(&in, acpi, sizeof(acpi), &err), -EOPNOTSUPP);
	in.napicids = 1;
	assert_int_equal(kho_acpi_build(&in, acpi, 200, &err), -ENOSPC);
}

static void test_boot_params(void **state)
{
	struct kho_bzimage img = { .init_size = 56 << 20,
				 .alignment = 2 << 20,
				 .header_bytes = 0x7b };
	struct kho_layout l = { .region_base = 0x158000000,
				.region_bytes = 256 << 20,
				.bulk_bytes = 32 << 20,
				.low_slot = 1,
				.initrd_bytes = 1234 };
	static uint8_t header[0x100];
	struct kho_err err = KHO_ERR_INIT;
	struct boot_params bp;
	uint64_t last = 0;
	int i;

	(void)state;
	assert_int_equal(kho_layout_make(&l, &img, &err), 0);
	assert_int_equal(l.kernel, 0x158200000);
	assert_true(l.initrd >= l.kernel + img.init_size && l.initrd % 4096 == 0);
	assert_int_equal(l.initrd + l.initrd_room, l.bulk_base);
	kho_boot_params(&l, &img, header, &bp);
	assert_int_equal(bp.e820_entries, 6);
	assert_int_equal(bp.e820_table[0].addr, 0x70000);
	assert_int_equal(bp.e820_table[0].size, 0x20000);
	for (i = 0; i < bp.e820_entries; i++) { /* rising, no overlap, no gap in the region */
		assert_true(bp.e820_table[i].addr >= last);
		if (i > 1)
			assert_int_equal(bp.e820_table[i].addr, last);
		last = bp.e820_table[i].addr + bp.e820_table[i].size;
	}
	assert_int_equal(last, l.region_base + l.region_bytes);
	assert_int_equal(bp.e820_table[2].type, 3);
	assert_int_equal(bp.e820_table[4].type, 1);
	assert_int_equal(bp.ext_ramdisk_image, 1);
	assert_int_equal(bp.acpi_rsdp_addr, 0x158030000);
	assert_int_equal(bp.hdr.setup_data, 0x158042000);
	l.region_bytes = 32 << 20;
	assert_int_equal(kho_layout_make(&l, &img, &err), -ENOSPC);
}

/* Two kernels in turn get two seeds, and nothing lies behind the node. */
static void test_seed(void **state)
{
	static uint8_t head[KHO_OFF_CONSOLE];
	struct setup_data *d = (struct setup_data *)(head + KHO_OFF_SETUP_DATA);
	uint8_t first[KHO_SEED_BYTES];

	(void)state;
	memset(head, 0xa5, sizeof(head));
	assert_true(kho_boot_seed(head));
	assert_int_equal(d->next, 0);
	assert_int_equal(d->type, 9); /* SETUP_RNG_SEED */
	assert_int_equal(d->len, 64);
	assert_int_equal(head[KHO_OFF_SETUP_DATA + sizeof(*d) + 64], 0xa5);
	memcpy(first, d->data, sizeof(first));
	assert_true(kho_boot_seed(head));
	assert_memory_not_equal(first, d->data, sizeof(first));
}

static void test_cmdline(void **state)
{
	struct kho_cmdline_in in = {
		.tsc_khz = 2100000,
		.hz = 250,
		.running = "BOOT_IMAGE=/vmlinuz root=/dev/vda console=ttyS0 mitigations=off quiet "
			   "nvme-core.multipath=N nvme_x.y=1 i915.modeset=0 virtio_net.napi_tx=0 -- loop.max_loop=3",
		.extra = "khoctl.test=1",
		.max = 2047,
	};
	struct kho_err err = KHO_ERR_INIT;
	char *text;

	(void)state;
	assert_int_equal(kho_cmdline_make(&in, &text, &err), 0);
	assert_non_null(strstr(text, "maxcpus=1 cpuhp.parallel=0 pci=off"));
	assert_non_null(strstr(text, " tsc_early_khz=2100000 lpj=8400000 mitigations=off "
				     "nvme-core.multipath=N virtio_net.napi_tx=0 khoctl.test=1"));
	assert_null(strstr(text, "root="));
	assert_null(strstr(text, "console=ttyS"));
	free(text);
	in.max = 20;
	assert_int_equal(kho_cmdline_make(&in, &text, &err), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acpi_sums),
		cmocka_unit_test(test_acpi_iasl),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_last_words),
		cmocka_unit_test(test_keep_log),
		cmocka_unit_test(test_acpi_cpu_order),
		cmocka_unit_test(test_acpi_wakeup),
		cmocka_unit_test(test_acpi_limits),
		cmocka_unit_test(test_boot_params),
		cmocka_unit_test(test_seed),
		cmocka_unit_test(test_cmdline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
