/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Facts about this machine, read below a sysroot: what the choice of CPUs and memory needs, and the
 * tables that go into an incoming kernel's ledger.  Kernels of generation 2 and later see only a
 * part of the machine; the ledger they live by gives them the rest (kho_machine_from_ledger).
 */
#ifndef KHO_BESIDE_MACHINE_H
#define KHO_BESIDE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handover/uapi/khoctl_region.h"
#include "lib/err.h"

struct kho_machine_cpu { /* an online CPU */
	unsigned cpu;
	uint32_t apicid;
	int package, core, node; /* node -1: no NUMA */
	bool bsp;		 /* the machine's boot processor */
};

struct kho_machine {
	struct kho_machine_cpu *cpus; /* in order of cpu */
	size_t ncpus;
	uint64_t block_bytes; /* memory hot-plug block */
	uint64_t total_bytes, available_bytes;
	uint64_t broken_bytes; /* taken out of use after memory errors */
	bool has_1g_pages;
	int device_node;  /* NUMA node of the disks and NICs, or -1 */
	bool root_in_ram; /* / is rootfs, tmpfs or ramfs */
	struct kho_ledger_range *ram;
	size_t nram;
	struct kho_ledger_ecam *ecams;
	size_t necams;
	struct kho_ledger_window *windows;
	size_t nwindows;
	struct kho_ledger_pci *pci; /* disks, NICs, and the bridges on the way to them */
	size_t npci;
};

/* bsp_apicid: from KHO_IOC_INFO, or -1 (then CPU 0 is taken for it). */
int kho_machine_read(const char *sysroot, int64_t bsp_apicid, struct kho_machine *out,
		     struct kho_err *err);

/* Parts of kho_machine_read, also used alone. */
int kho_machine_read_cpus(const char *sysroot, int64_t bsp_apicid, struct kho_machine *m,
			  struct kho_err *err);
int kho_machine_read_memory(const char *sysroot, struct kho_machine *m, struct kho_err *err);
int kho_machine_read_pci(const char *sysroot, struct kho_machine *m, struct kho_err *err);

/* Replace RAM, ECAMs, windows and functions by those of a ledger (bytes of it are mapped). -EPROTO:
 * not plausible. */
int kho_machine_from_ledger(struct kho_machine *m, const struct kho_ledger *l, size_t bytes,
			    struct kho_err *err);

/*
 * A table of a ledger, checked against its bounds: pointer to its entries and *out_n, or NULL with
 * *out_n = 0 when empty, out of bounds or not aligned to 8 bytes.
 */
const void *kho_ledger_entries(const struct kho_ledger *l, size_t bytes,
			       const struct kho_ledger_table *t, size_t entry_bytes, size_t *out_n);

void kho_machine_done(struct kho_machine *m);

/* One more element at the end of a malloc'd array: zeroed, or NULL when out of memory. */
void *kho_array_add(void *parray, size_t *n, size_t element_bytes);

#endif
