/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a boot loader leaves for the kernel: memory map, boot_params, command line, and where in the
 * region kernel and initramfs lie.
 */
#ifndef KHO_BESIDE_BOOT_H
#define KHO_BESIDE_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handover/beside/image.h"
#include "lib/err.h"

struct boot_params;

struct kho_layout { /* physical addresses */
	uint64_t region_base, region_bytes;
	uint64_t bulk_base, bulk_bytes;
	uint64_t kernel;	      /* load address */
	uint64_t initrd, initrd_room; /* from behind the kernel's init_size to the bulk area */
	uint64_t initrd_bytes;	      /* set when it is packed */
	uint32_t low_slot;
};

/* Place everything; -ENOSPC when the region is too small. */
int kho_layout_make(struct kho_layout *l, const struct kho_bzimage *img, struct kho_err *err);

/*
 * Fill boot_params at region_base + KHO_OFF_BOOT_PARAMS. setup_header: the image's bytes from 0x1f1
 * on. The command line lies at region_base + KHO_OFF_CMDLINE, kho_boot_seed's at KHO_OFF_SETUP_DATA.
 */
void kho_boot_params(const struct kho_layout *l, const struct kho_bzimage *img,
		     const uint8_t *setup_header, struct boot_params *bp);

/*
 * A seed from this kernel's random generator into the region's head, as setup_data: the incoming
 * kernel's generator is ready with it before anything asks it, and goes its own way from there (what
 * is read out here tells nothing of what this kernel gives to others, before or after; the
 * incoming kernel wipes it). False: this kernel has no randomness yet, and none is passed.
 */
#define KHO_SEED_BYTES 64
bool kho_boot_seed(uint8_t *head);

struct kho_cmdline_in {
	uint32_t tsc_khz;
	unsigned hz;	     /* CONFIG_HZ of the target, or 0 when not known */
	const char *running; /* command line of this kernel: some words are carried over, or NULL */
	const char *extra;   /* words of the operator, last so that they win, or NULL */
	uint64_t pid_floor;  /* where its own processes are numbered from, 0: it chooses */
	uint32_t max;	     /* longest allowed */
};

struct kho_workload_list;
/* First number for the incoming kernel's own processes: a range that no workload's pid lies in. l may be NULL. */
uint64_t kho_pid_range(const struct kho_workload_list *l);

/* malloc'd command line of the incoming kernel. */
int kho_cmdline_make(const struct kho_cmdline_in *in, char **out, struct kho_err *err);

#endif
