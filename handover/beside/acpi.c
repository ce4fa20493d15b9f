// SPDX-License-Identifier: GPL-2.0-only
/*
 * ACPI tables, ACPI 6.5.  A small writer appends tables to one buffer, 64-byte aligned, and closes
 * each with its length and checksum.  Field offsets are the specification's.
 */
#include "handover/beside/acpi.h"

#include <stdbool.h>
#include <string.h>

#include "handover/uapi/khoctl_region.h"

#define HEADER	     36
#define FADT_BYTES   276
#define DUMMY_APICID 0xfe
#define LAPIC_BASE   0xfee00000u

struct out {
	uint8_t *buf;
	size_t len, pos; /* pos: next free byte */
	size_t table;	 /* start of the open table */
	uint64_t phys;	 /* of buf */
	bool full;
};

static uint8_t *add(struct out *o, size_t bytes)
{
	static uint8_t sink[512];
	uint8_t *p = o->buf + o->pos;

	if (bytes > o->len - o->pos) {
		o->full = true;
		return sink;
	}
	o->pos += bytes;
	return memset(p, 0, bytes);
}

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = v;
}

static void add_int(struct out *o, uint64_t v, unsigned bytes)
{
	put(add(o, bytes), v, bytes);
}

static void add_bytes(struct out *o, const void *data, size_t n)
{
	memcpy(add(o, n), data, n);
}

static void checksum(uint8_t *p, size_t n, uint8_t *sum)
{
	uint8_t s = 0;

	*sum = 0;
	while (n--)
		s += *p++;
	*sum = -s;
}

/* Begin a table; the physical address of it is returned. */
static uint64_t open_table(struct out *o, const char *signature, uint8_t revision)
{
	uint8_t *h;

	add(o, -o->pos & 63);
	o->table = o->pos;
	h = add(o, HEADER);
	memcpy(h, signature, 4);
	h[8] = revision;
	memcpy(h + 10, "KHOCTLBESIDE\0\0", 14); /* OEM id, 6, and OEM table id, 8 */
	put(h + 24, 1, 4);
	memcpy(h + 28, "KHOC", 4);
	put(h + 32, 1, 4);
	return o->phys + o->table;
}

static void close_table(struct out *o)
{
	uint8_t *h = o->buf + o->table;

	if (o->full)
		return;
	put(h + 4, o->pos - o->table, 4);
	checksum(h, o->pos - o->table, h + 9);
}

/*
 * AML of
 *	Device (\_SB.KHO0) { Name (_HID, "KHOC0001") Name (_UID, 0) Name (_STA, 0xF)
 *		Name (_CRS, ResourceTemplate () { QWordMemory (... base, base + 2 MiB - 1 ...) }) }
 * PkgLength of the device and of the buffer takes two bytes (63 < length < 4096).
 */
static void add_name(struct out *o, const char *name)
{
	add_int(o, 0x08, 1); /* NameOp */
	add_bytes(o, name, 4);
}

static void add_pkg_length(struct out *o, size_t at)
{
	size_t n = o->pos - at;

	if (!o->full)
		put(o->buf + at, 0x40 | (n & 0xf) | (n >> 4) << 8, 2);
}

static void add_crs(struct out *o, uint64_t base, uint64_t bytes)
{
	size_t pkg;

	add_name(o, "_CRS");
	add_int(o, 0x11, 1); /* BufferOp */
	pkg = o->pos;
	add(o, 2);
	add_int(o, 0x0a, 1); /* BytePrefix: size of the buffer */
	add_int(o, 46 + 2, 1);
	add_int(o, 0x8a, 1); /* QWord address space descriptor, 43 more bytes */
	add_int(o, 0x2b, 2);
	add_int(o, 0, 1);    /* memory */
	add_int(o, 0x0c, 1); /* producer, positive decode, min and max fixed */
	add_int(o, 0x03, 1); /* read-write, cacheable */
	add_int(o, 0, 8);    /* granularity */
	add_int(o, base, 8);
	add_int(o, base + bytes - 1, 8);
	add_int(o, 0, 8); /* translation */
	add_int(o, bytes, 8);
	add_int(o, 0x79, 1); /* end tag, checksum 0 = not used */
	add_int(o, 0, 1);
	add_pkg_length(o, pkg);
}

static uint64_t add_dsdt(struct out *o, const struct kho_acpi_in *in)
{
	uint64_t at = open_table(o, "DSDT", 2);
	size_t pkg;

	add_bytes(o, "\x5b\x82", 2); /* DeviceOp */
	pkg = o->pos;
	add(o, 2);
	add_bytes(o, "\\\x2e_SB_KHO0", 10);
	add_name(o, "_HID");
	add_bytes(o, "\x0dKHOC0001", 10); /* string with its NUL */
	add_name(o, "_UID");
	add_int(o, 0, 1); /* ZeroOp */
	add_name(o, "_STA");
	add_int(o, 0x0f0a, 2); /* BytePrefix 0x0f */
	add_crs(o, in->region_base, KHO_HEAD_BYTES);
	add_pkg_length(o, pkg);
	close_table(o);
	return at;
}

static uint64_t add_fadt(struct out *o, const struct kho_acpi_in *in, uint64_t dsdt)
{
	uint64_t at = open_table(o, "FACP", 6);
	uint8_t *t = add(o, FADT_BYTES - HEADER) - HEADER;

	put(t + 40, dsdt >> 32 ? 0 : dsdt, 4);
	put(t + 109, 1 << 2 | 1 << 5, 2);   /* no VGA, no CMOS RTC; no 8042, no legacy devices */
	put(t + 112, 1 << 10 | 1 << 20, 4); /* RESET_REG_SUP, HW_REDUCED_ACPI */
	put(t + 116, 0 | 8 << 8 | 1u << 24, 4); /* RESET_REG: system memory, 8 bits, byte access */
	put(t + 120, in->region_base + KHO_OFF_RESET_REG, 8);
	t[128] = 1; /* RESET_VALUE */
	t[131] = 5; /* minor revision: 6.5 */
	put(t + 140, dsdt, 8);
	memcpy(t + 268, "KHOCTL", 6); /* hypervisor vendor identity */
	close_table(o);
	return at;
}

static void add_lapic(struct out *o, unsigned *uid, uint32_t apicid)
{
	uint8_t *e = add(o, 8);

	e[1] = 8;
	e[2] = (*uid)++;
	e[3] = apicid;
	put(e + 4, 1, 4); /* enabled */
}

static uint64_t add_madt(struct out *o, const struct kho_acpi_in *in)
{
	uint64_t at = open_table(o, "APIC", 5);
	unsigned uid = 0;
	uint8_t *e;
	size_t i;

	put(add(o, 8), LAPIC_BASE, 4);
	/*
	 * The first id is taken for the machine's BSP by a kernel whose boot CPU has no BSP bit,
	 * and then rejected ("Crash kernel detected"): give it one that no CPU has.
	 */
	add_lapic(o, &uid, DUMMY_APICID);
	add_lapic(o, &uid, in->boot_apicid);
	for (i = 0; i < in->napicids; i++)
		if (in->apicids[i] != in->boot_apicid)
			add_lapic(o, &uid, in->apicids[i]);
	/* Without an I/O APIC entry the kernel stays on one CPU; this one reads all ones and is
	 * skipped. */
	e = add(o, 12);
	e[0] = 1;
	e[1] = 12;
	put(e + 4, KHO_LOW_SLOT(in->low_slot) + KHO_LOW_IOAPIC, 4);
	/* multiprocessor wakeup, version 1: with the reset vector that takes CPUs back */
	e = add(o, 24);
	e[0] = 0x10;
	e[1] = 24;
	e[2] = 1;
	put(e + 8, in->region_base + KHO_OFF_MAILBOX, 8);
	put(e + 16, in->region_base + KHO_OFF_PARK, 8);
	close_table(o);
	return at;
}

/*
 * Error record serialization, used for its side effect: Linux runs it from pstore at every end of a
 * kernel, before the end itself.  EXECUTE says that there is a record, then goes on with the
 * instruction whose number is in the gate: itself, until the module opens it.
 */
static void add_erst_entry(struct out *o, uint64_t regs, const uint8_t *row)
{
	uint8_t *e = add(o, 32);

	e[0] = row[0];
	e[1] = row[1];
	put(e + 4, 0 | 64 << 8 | 4u << 24, 4); /* system memory, 64 bits, 64-bit access */
	put(e + 8, regs + row[2], 8);
	put(e + 16, row[3], 8);
	put(e + 24, UINT64_MAX, 8);
}

static uint64_t add_erst(struct out *o, const struct kho_acpi_in *in)
{
	enum { READ = 0, WRITE = 2, WRITE_VALUE = 3, NOOP = 4, GOTO = 15 };
	enum { BEGIN_WRITE, BEGIN_READ, BEGIN_CLEAR, END, SET_OFFSET, EXECUTE, BUSY, STATUS,
	       GET_ID, SET_ID, COUNT, RANGE = 13, LENGTH, ATTRIBUTES };
	static const uint8_t rows[][4] = { /* action, instruction, register, value */
		{ BEGIN_WRITE, NOOP, KHO_ERST_SINK, 0 }, { BEGIN_READ, NOOP, KHO_ERST_SINK, 0 },
		{ BEGIN_CLEAR, NOOP, KHO_ERST_SINK, 0 }, { END, NOOP, KHO_ERST_SINK, 0 },
		{ SET_OFFSET, WRITE, KHO_ERST_SINK, 0 },
		{ EXECUTE, WRITE_VALUE, KHO_ERST_SIGN, 1 },
		{ EXECUTE, READ, KHO_ERST_GATE, 0 },	 { EXECUTE, GOTO, KHO_ERST_GATE, 0 },
		{ BUSY, READ, KHO_ERST_ZERO, 0 },	 { STATUS, READ, KHO_ERST_ZERO, 0 },
		{ GET_ID, READ, KHO_ERST_NONE, 0 },	 { SET_ID, WRITE, KHO_ERST_SINK, 0 },
		{ COUNT, READ, KHO_ERST_ZERO, 0 },	 { RANGE, READ, KHO_ERST_BASE, 0 },
		{ LENGTH, READ, KHO_ERST_LENGTH, 0 },	 { ATTRIBUTES, READ, KHO_ERST_ZERO, 0 },
	};
	const size_t n = sizeof(rows) / sizeof(*rows);
	uint64_t at = open_table(o, "ERST", 1);
	size_t i;

	add_int(o, 48, 4); /* length of the header */
	add_int(o, 0, 4);
	add_int(o, n, 4);
	for (i = 0; i < n; i++)
		add_erst_entry(o, in->region_base + KHO_OFF_ERST, rows[i]);
	close_table(o);
	return at;
}

int kho_acpi_build(const struct kho_acpi_in *in, uint8_t *buf, size_t len, struct kho_err *err)
{
	struct out o = { .buf = buf, .len = len, .phys = in->region_base + KHO_OFF_ACPI };
	uint64_t fadt, madt, erst, xsdt;
	uint8_t *rsdp = add(&o, 64);
	size_t i;

	for (i = 0; i < in->napicids; i++)
		if (in->apicids[i] >= DUMMY_APICID)
			return kho_fail(err, -EOPNOTSUPP,
					"CPU with APIC id %u: ids above %u are not supported; "
					"limit the machine's CPUs (nr_cpus=)",
					in->apicids[i], DUMMY_APICID - 1);
	fadt = add_fadt(&o, in, add_dsdt(&o, in));
	madt = add_madt(&o, in);
	erst = add_erst(&o, in);
	xsdt = open_table(&o, "XSDT", 1);
	add_int(&o, fadt, 8);
	add_int(&o, madt, 8);
	add_int(&o, erst, 8);
	close_table(&o);
	if (o.full)
		return kho_fail(err, -ENOSPC, "the ACPI tables do not fit into %zu bytes", len);
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "KHOCTL", 6);
	rsdp[15] = 2;
	put(rsdp + 20, 36, 4);
	put(rsdp + 24, xsdt, 8);
	checksum(rsdp, 20, rsdp + 8);
	checksum(rsdp, 36, rsdp + 32);
	return 0;
}
