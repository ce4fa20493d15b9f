/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What goes into the incoming kernel's initramfs.  Root in RAM: a copy of the whole root file
 * system, with the agent as /init.  Root on a disk: the agent, criu, the target's modules and what
 * the workloads use of the root; the disk itself is carried.
 */
#ifndef KHO_BESIDE_INITRAMFS_H
#define KHO_BESIDE_INITRAMFS_H

#include "handover/beside/files.h"
#include "handover/beside/modules.h"
#include "lib/err.h"
#include "lib/workload.h"

struct kho_initramfs_in {
	struct kho_target target;
	const struct kho_machine *machine;
	const struct kho_workload_list *workloads; /* resolved; may be NULL */
	const char *const *extra_files;		   /* NULL-terminated; may be NULL */
	const char *program;			   /* comes with its libraries; may be NULL */
	const struct kho_target *also;		   /* another kernel that starts from the same root: its modules; may be NULL */
	const char *run_dir;			   /* never copied */
	int level;				   /* of zstd, or KHO_PACK_PLAIN, whatever its size; 0: as kho_files_level() says */
};

/* The closed list of files of the running system. */
int kho_initramfs_list(const struct kho_initramfs_in *in, struct kho_files *out,
		       struct kho_err *err);

/* Note in run_dir/packed (CLOCK_REALTIME, ns) that the packing begins now: what changes later is
 * not in it. */
int kho_initramfs_stamp(const char *run_dir, struct kho_err *err);

#endif
