// SPDX-License-Identifier: GPL-2.0-only
/*
 * Layout, E820, boot_params.  The incoming kernel knows no other memory than its low slot and its
 * region; head and bulk area are reserved, the tables are ACPI memory (type 3) so that the
 * kernel maps them as such.
 */
#include "handover/beside/boot.h"

#include <asm/bootparam.h>
#include <string.h>
#include <sys/random.h>

#include "handover/uapi/khoctl_region.h"

#define E820_RAM      1
#define E820_RESERVED 2
#define E820_ACPI     3
/* newer than some userland headers */
#define TYPE_NONE     0
#define TYPE_RNG_SEED 9

static uint64_t align_up(uint64_t v, uint64_t a)
{
	return (v + a - 1) & ~(a - 1);
}

int kho_layout_make(struct kho_layout *l, const struct kho_bzimage *img, struct kho_err *err)
{
	uint64_t end = l->region_base + l->region_bytes;

	l->bulk_base = end - l->bulk_bytes;
	l->kernel = align_up(l->region_base + KHO_HEAD_BYTES, img->alignment);
	l->initrd = align_up(l->kernel + img->init_size, 4096);
	l->initrd_room = l->bulk_base > l->initrd ? l->bulk_base - l->initrd : 0;
	if (l->bulk_bytes >= l->region_bytes || !l->initrd_room)
		return kho_fail(err, -ENOSPC,
				"a region of %llu MiB has no room for the kernel (%llu MiB); ask "
				"for more memory (--memory)",
				(unsigned long long)(l->region_bytes >> 20),
				(unsigned long long)(img->init_size >> 20));
	return 0;
}

static void e820(struct boot_params *bp, uint64_t start, uint64_t end, uint32_t type)
{
	struct boot_e820_entry *e = &bp->e820_table[bp->e820_entries++];

	e->addr = start;
	e->size = end - start;
	e->type = type;
}

void kho_boot_params(const struct kho_layout *l, const struct kho_bzimage *img,
		     const uint8_t *setup_header, struct boot_params *bp)
{
	uint64_t base = l->region_base, slot = KHO_LOW_SLOT(l->low_slot),
		 cmdline = base + KHO_OFF_CMDLINE;
	uint64_t acpi = base + KHO_OFF_ACPI;
	size_t n = img->header_bytes < sizeof(bp->hdr) ? img->header_bytes : sizeof(bp->hdr);

	memset(bp, 0, sizeof(*bp));
	memcpy(&bp->hdr, setup_header, n);
	bp->hdr.type_of_loader = 0xff;
	bp->hdr.loadflags &= ~CAN_USE_HEAP;
	bp->hdr.setup_data = base + KHO_OFF_SETUP_DATA;
	bp->hdr.code32_start = l->kernel; /* low half; not used by the 64-bit entry */
	bp->hdr.ramdisk_image = l->initrd;
	bp->ext_ramdisk_image = l->initrd >> 32;
	bp->hdr.ramdisk_size = l->initrd_bytes;
	bp->ext_ramdisk_size = l->initrd_bytes >> 32;
	bp->hdr.cmd_line_ptr = cmdline;
	bp->ext_cmd_line_ptr = cmdline >> 32;
	bp->acpi_rsdp_addr = acpi;
	e820(bp, slot + KHO_LOW_RAM, slot + KHO_LOW_BYTES, E820_RAM);
	e820(bp, base, acpi, E820_RESERVED);
	e820(bp, acpi, acpi + KHO_ACPI_BYTES, E820_ACPI);
	e820(bp, acpi + KHO_ACPI_BYTES, base + KHO_HEAD_BYTES, E820_RESERVED);
	e820(bp, base + KHO_HEAD_BYTES, l->bulk_base, E820_RAM);
	e820(bp, l->bulk_base, l->bulk_base + l->bulk_bytes, E820_RESERVED);
}

bool kho_boot_seed(uint8_t *head)
{
	struct setup_data *d = (struct setup_data *)(head + KHO_OFF_SETUP_DATA);

	memset(d, 0, sizeof(*d) + KHO_SEED_BYTES);
	d->len = KHO_SEED_BYTES;
	if (getrandom(d->data, KHO_SEED_BYTES, GRND_NONBLOCK) == KHO_SEED_BYTES) {
		d->type = TYPE_RNG_SEED;
		return true;
	}
	memset(d->data, 0, KHO_SEED_BYTES);
	d->type = TYPE_NONE;
	return false;
}
