/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel itself has reported since boot: its log (trouble.def), its counters, its taint flags.
 */
#ifndef KHO_BPF_TROUBLE_H
#define KHO_BPF_TROUBLE_H

#include "bpf/gate.h"

#define KHO_TROUBLE_LINE 160

struct kho_trouble {
	uint64_t lines[KHO_NGATES];	       /* of the log, by gate */
	char first[KHO_NGATES][KHO_TROUBLE_LINE]; /* the first of them, printable */
	uint64_t lost;			       /* records that are not in the log any more */
	uint64_t next;			       /* sequence number that should come now */
	bool whole;			       /* the log was read to its end */
};

/*
 * One line as /dev/kmsg has it ("6,123,4567,-;text"; without its newline). What user space wrote, and lines that go on with a
 * record (they begin with a blank), count nothing.
 */
void kho_trouble_line(struct kho_trouble *t, const char *line, size_t len);

/* Read SYSROOT/dev/kmsg: as the device, or (recorded) as a file. 0, or why it cannot be read. */
int kho_trouble_read(const char *sysroot, struct kho_trouble *t, struct kho_err *err) __must_check;

/* Everything of gates.def that is reported by the kernel itself, as results: oops to clock. */
void kho_trouble_gates(const char *sysroot, const struct kho_gate_policy *p, struct kho_gate_list *out);

#endif
