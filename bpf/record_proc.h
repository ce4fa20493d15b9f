/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What /proc says of the processes of a recording, without programs in the kernel.
 */
#ifndef KHO_BPF_RECORD_PROC_H
#define KHO_BPF_RECORD_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of a process, with its threads and with those of its children that have ended. */
struct kho_record_proc {
	uint64_t cpu_ns;
	uint64_t faults; /* minor and major ones */
};

/* TCP in a network namespace, since that was made. */
struct kho_record_tcp {
	uint64_t segments, retrans; /* sent; of these: sent again */
};

/* Add a process's; nothing when it has ended. CPU time to the nanosecond by its clock, of children to a tick. */
void kho_record_proc_add(pid_t pid, struct kho_record_proc *sum);

/* Those of the network namespace that a process is in (/proc/PID/net/snmp); false: it does not say. */
bool kho_record_tcp_of(pid_t pid, struct kho_record_tcp *out);

/* The same, of the text of such a file. */
bool kho_record_tcp_parse(const char *text, struct kho_record_tcp *out);

#endif
