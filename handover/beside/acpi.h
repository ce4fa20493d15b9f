/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The firmware tables of an incoming kernel: hardware-reduced ACPI that describes its CPUs, the
 * mailbox that wakes them, a watched reset register, an error record store that holds a kernel which
 * ends before its module is loaded, and one device, its region (KHOC0001).
 */
#ifndef KHO_BESIDE_ACPI_H
#define KHO_BESIDE_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct kho_acpi_in {
	uint64_t region_base; /* head at this physical address */
	uint32_t low_slot;
	uint32_t boot_apicid;
	const uint32_t *apicids; /* every CPU of the machine; the boot CPU may be among them */
	size_t napicids;
};

/* Build all tables into buf, which stands for physical region_base + KHO_OFF_ACPI. The RSDP lies at
 * its start. */
int kho_acpi_build(const struct kho_acpi_in *in, uint8_t *buf, size_t len, struct kho_err *err);

#endif
