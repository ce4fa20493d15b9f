/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The incoming kernel's agent: answers the outgoing side's requests (handover/link/link.proto),
 * calls the serializers' incoming operations, takes CPUs, memory and PCI functions, signs the
 * commit and, when the outgoing kernel has retired, takes what it left.  Runs as a child of our
 * PID 1.
 */
#ifndef KHO_INCOMING_AGENT_H
#define KHO_INCOMING_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/gate.h"
#include "bpf/load.h"
#include "bpf/replay.h"
#include "handover/link/wire.h"
#include "handover/uapi/khoctl_region.h"
#include "lib/err.h"
#include "state-serializers/serializer.h"

/* What the agent needs of the machine; every call may come from any thread unless noted. */
struct kho_machine {
	void *arg;
	/* Take a CPU that was given to us, or give one back to the outgoing kernel. */
	int (*cpu)(void *arg, uint32_t apicid, bool take, struct kho_err *err);
	int (*pci)(void *arg, struct kho_pci_addr a, bool take, struct kho_err *err);
	/* Hot-add and online movable, or offline and remove. One call at a time. */
	int (*mem)(void *arg, uint64_t base, uint64_t bytes, bool adopt, struct kho_err *err);
	/* Stop the outgoing kernel: nothing of it runs any more, nothing it has started writes to memory. May be NULL: it cannot be. */
	int (*fence)(void *arg, struct kho_err *err);
	/* Own state in the ledger. */
	int (*state)(void *arg, enum kho_instance_state state, struct kho_err *err);
	/* The bulk area of our region, to read; NULL with err. */
	const void *(*map_bulk)(void *arg, uint64_t bytes, struct kho_err *err);
	/* The ledger of our region, to read; NULL with err. */
	const volatile struct kho_ledger *(*ledger)(void *arg, struct kho_err *err);
	/* What the outgoing kernel writes when it ends, to read; NULL with err. May be NULL: none. */
	const volatile struct kho_dmesg *(*dmesg)(void *arg, struct kho_err *err);
	/* Does this kernel already know the memory block at base? */
	bool (*block_present)(void *arg, uint64_t base);
	uint64_t block_bytes;
	/* Memory has grown: what was limited to a part of the memory at boot may grow, too. */
	void (*grown)(void *arg);
	/*
	 * Number our processes from floor on; fails when one of them already has a number in pids.
	 */
	int (*pids)(void *arg, uint64_t floor, const struct kho_workload_list *l,
		    struct kho_err *err);
};

/* Where the carried root is mounted until PID 1 enters it. */
#define KHO_NEW_ROOT "/sysroot"
/* The agent to PID 1: enter it now (SIGRTMIN + this). */
#define KHO_SIG_ENTER 6

#define KHO_AGENT_SERIALIZERS 64 /* more than there are */

/* Shared with PID 1 (MAP_SHARED): what it must know when the agent is gone. */
struct kho_agent_shared {
	_Atomic bool committed, settled;
	_Atomic bool root_on_disk; /* committed: the carried root, mounted at KHO_NEW_ROOT, is the root from now on */
	/* and its deputy, when it is gone (agent_deputy.c) */
	_Atomic bool commands; /* that were asked for have been started */
	_Atomic pid_t agent;   /* the deputy that is the agent now; 0: the first one is */
	_Atomic bool told_end; /* the outgoing side has the result, and this one its journal with it */
	struct kho_ser_done {
		_Atomic bool retrieved, finished, tidied; /* and succeeded */
	} done[KHO_AGENT_SERIALIZERS];			  /* in the order of their first use */
};

struct kho_agent_conf {
	struct kho_transport transport; /* taken over */
	const struct kho_machine *machine;
	const struct kho_serializer *(*find)(const char *name);
	/* measure this kernel, or what was restored on it: these processes; NULL: nobody will ask */
	void (*measure)(const struct kho_gate_ask *ask, const pid_t *pids, size_t n, struct kho_gate_list *out);
	int (*load)(const struct kho_load *l, struct kho_load_result *out, struct kho_err *err); /* put load on it; NULL: likewise */
	int (*replay)(int fd, pid_t of, struct kho_replay_result *out, struct kho_err *err); /* kho_replay_run(); NULL: likewise */
	const char *release;
	uint32_t instance_id, generation;
	bool faults;		 /* tests may ask this kernel to fail */
	const char *loglevel;	 /* handed over: what kernel.printk is set to when all is through; NULL: it stays */
	bool deputy;		 /* a second process stands by from the commit on (agent_deputy.c) */
	const char *journal_dir; /* "/var/lib/khoctl" */
	struct kho_agent_shared *shared;
	void (*enter_root)(void); /* tell PID 1 that the carried root is the root now; NULL: nobody to tell */
	void (*say)(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* kernel log */
	int to_init; /* our end of the socket to PID 1 for what the init system is to have; -1: none */
};

/*
 * On that socket (SOCK_SEQPACKET): one byte with one descriptor. PID 1 has them under numbers from KHO_INIT_FD on, in the order in
 * which they come, when it becomes the init system.
 */
#define KHO_INIT_FD	    512
#define KHO_INIT_FDS_MAX    256
#define KHO_INIT_DESCRIPTOR 'd'
#define KHO_INIT_STATE	    's' /* what the init system reads its state from */

/*
 * Serve until the link is over, then until the take-over (if any) is done. 0, or why the link
 * broke. Returns with all threads gone.
 */
int kho_agent_run(const struct kho_agent_conf *conf, struct kho_err *err) __must_check;

/*
 * The same for what the kernel before this one has left (handover/kexec/handed.h): carried out, verified, signed and finished without anybody to
 * ask. luo: where it lies. 0: the workloads run here; negative: they do not, and the way back has failed as well.
 */
int kho_agent_run_handed(const struct kho_agent_conf *conf, bool luo, struct kho_err *err) __must_check;

/* --- the real machine (agent_machine.c) --- */

/* dev_fd: /dev/khoctl, kept open by the caller. */
int kho_machine_init(struct kho_machine *m, int dev_fd, struct kho_err *err) __must_check;
/* The whole machine, of a kernel that kexec has started: nothing of it is anybody else's, so there is no CPU, memory or ledger to ask for. */
void kho_machine_whole(struct kho_machine *m);
/* See struct kho_machine's pids; arg is not used. */
int kho_machine_pids(void *arg, uint64_t floor, const struct kho_workload_list *l, struct kho_err *err) __must_check;
/*
 * Raise kernel.pid_max and let the next process have a number of at least floor. Called first
 * of all by PID 1, so that our own processes keep out of the way of the workloads' numbers.
 */
int kho_pid_floor(uint64_t floor, struct kho_err *err) __must_check;

/* --- take-over (agent_retire.c), for tests --- */

/*
 * Blocks of block_bytes that the ledger's RAM covers wholly, that are not ours and that this kernel
 * does not know yet, in runs. *out malloc'd. Number of runs or -ENOMEM.
 */
int kho_plan_memory(const volatile struct kho_ledger *l, const struct kho_machine *m,
		    struct kho_ledger_range **out, struct kho_err *err) __must_check;

#endif
