// SPDX-License-Identifier: GPL-2.0-only
/*
 * spawn: image, firmware tables, boot_params and command line go into the region, then the parked
 * boot CPU is sent to the kernel's 64-bit entry.  stop: the module fences it, whatever it does.
 */
#include <asm/bootparam.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "handover/beside/acpi.h"
#include "handover/beside/beside.h"
#include "handover/beside/record.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

static int place_kernel(struct kho_beside *b, struct kho_err *err)
{
	uint64_t bytes = (b->img.code_bytes + 4095) & ~4095ULL;
	void *p = kho_dev_map(b->dev, b->layout.kernel, bytes, true, err);

	if (!p)
		return err ? err->code : -EIO;
	memcpy(p, b->img_buf + b->img.code_off, b->img.code_bytes);
	munmap(p, bytes);
	return 0;
}

static int place_tables(struct kho_beside *b, struct kho_err *err)
{
	_cleanup_free_ struct kho_cpu_info *cpus = NULL;
	_cleanup_free_ uint32_t *ids = NULL;
	struct kho_acpi_in in = { .region_base = b->layout.region_base,
				  .low_slot = b->layout.low_slot,
				  .boot_apicid = b->before[0] };
	size_t n, i;
	int ret = kho_dev_cpus(b->dev, &cpus, &n, err);

	if (ret < 0)
		return ret;
	ids = calloc(n + 1, sizeof(*ids));
	if (!ids)
		return kho_fail(err, -ENOMEM, "ACPI tables: out of memory");
	for (i = 0; i < n; i++)
		if (cpus[i].present || cpus[i].owner_known)
			ids[in.napicids++] = cpus[i].apicid;
	in.apicids = ids;
	kho_record_init(b->head, b->layout.region_base);
	return kho_acpi_build(&in, b->head + KHO_OFF_ACPI, KHO_ACPI_BYTES, err);
}

int kho_beside_spawn(struct kho_engine *e, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	uint64_t begin = kho_clock_us();
	int ret;

	if (!b->head || !b->nbefore || !b->cmdline)
		return kho_fail(err, -EINVAL, "spawn: nothing is reserved");
	ret = place_kernel(b, err);
	if (!ret)
		ret = place_tables(b, err);
	if (ret < 0)
		return ret;
	strcpy((char *)b->head + KHO_OFF_CMDLINE, b->cmdline); /* at most cmdline_max, 2047 */
	if (!kho_boot_seed(b->head))
		kho_engine_note(&b->e, "this kernel's random generator is not ready: no seed for the next");
	kho_boot_params(&b->layout, &b->img, b->img_buf + 0x1f1,
			(struct boot_params *)(b->head + KHO_OFF_BOOT_PARAMS));
	kho_engine_phase(&b->e, "place image", begin);
	b->spawned_us = kho_clock_us();
	return kho_dev_spawn(b->dev, b->before[0], b->layout.kernel + KHO_BZIMAGE_ENTRY_64,
			     b->layout.region_base + KHO_OFF_BOOT_PARAMS, err);
}

int kho_beside_stop(struct kho_engine *e, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);
	struct kho_err one = KHO_ERR_INIT;
	int ret;

	if (b->dev < 0)
		return 0;
	ret = kho_dev_stop(b->dev, &one);
	if (ret < 0 && ret != -ENODEV && err) /* ENODEV: there is none */
		*err = one;
	return ret == -ENODEV ? 0 : ret;
}
