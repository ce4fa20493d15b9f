/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an engine must do: bring the incoming kernel up and carry CPUs, memory and PCI functions to
 * it.  Two engines: beside (next to the outgoing kernel) and kexec (KHO + LUO).  The orchestrator
 * knows this file and no engine by name.
 *
 * Every act has its inverse beside it.  An inverse accepts a half-done or never-done act, does all it can
 * and reports the first failure.  All calls come from the step runner's thread except those
 * marked [any], which may come from several lanes at once.
 */
#ifndef KHO_ENGINE_H
#define KHO_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gate.h"
#include "bpf/load.h"
#include "bpf/replay.h"
#include "lib/err.h"
#include "lib/fault.h"
#include "lib/report.h"
#include "lib/workload.h"
#include "state-serializers/serializer.h"

/* What is asked for; constant during an upgrade, owned by the plan. */
struct kho_engine_request {
	const char *image;		/* vmlinuz of the target */
	const char *release;		/* of the target, read out of the image */
	const char *initrd;		/* given by the operator, or NULL: as `initramfs` says */
	const char *initramfs;		/* "auto" (or NULL), "khoctl", "host": whose initramfs the incoming kernel starts from */
	const char *modules_dir;	/* /lib/modules/RELEASE */
	const char *extra_cmdline;	/* "" or more words for the incoming command line */
	const char *const *extra_files;	/* NULL-terminated: put into the incoming initramfs */
	const char *after_commit;	/* command the incoming init runs after retirement (host's services), or NULL */
	const char *watch;		/* another one, which looks after the workloads from then on, or NULL */
	const struct kho_workload_list *workloads;	/* resolved */
	const char *program;		/* one that is to run there (an absolute path), or NULL: it is put into the initramfs with its libraries */
	bool devices_stay;		/* the target is only tried: no device changes hands */
	unsigned cpus_before_freeze;	/* 0: engine chooses */
	uint64_t memory_bytes;		/* 0: engine chooses */
	const char *sysroot;		/* "" or a recorded tree (probe only) */
	const char *run_dir;		/* "/run/khoctl" */
	const char *state_dir;		/* "/var/lib/khoctl" */
	const char *carry_dir;	/* the images of workloads go over this directory on a disk (absolute, without links); NULL: they do not */
};

/* What the engine chose and will do; filled by probe, printed by --dry-run. */
struct kho_engine_plan {
	uint32_t boot_apicid;
	uint32_t *apicids_before, nbefore;	/* handed over before the freeze, boot CPU first */
	uint32_t *apicids_after, nafter;	/* handed over at retirement, the CPU that the peer takes first last */
	uint64_t region_bytes, bulk_bytes;
	uint64_t extra_bytes;			/* further ranges for the workloads' memory */
	uint64_t initrd_bytes;			/* estimate until it is built */
	char *initramfs, *initramfs_path, *initramfs_reason;	/* whose it is ("khoctl", "host", "given"); its file, or NULL; why */
	char *cmdline;
};

struct kho_instance_info {		/* one line of `khoctl list` */
	uint32_t id, generation;
	char release[64];
	const char *state;		/* name from enum kho_instance_state, lower case */
	uint32_t *apicids; size_t ncpus;	/* owned */
	uint64_t mem_kib;
	char **devices; size_t ndevices;	/* PCI addresses it owns among those that can change hands */
	uint64_t heartbeat_age_us;
	bool self;
};

struct kho_engine;

/* Who may be told meanwhile to wait no longer for an answer. */
struct kho_until {
	bool (*stop)(void *arg); /* asked every 20 ms; NULL: it never says so */
	void *arg;
};

struct kho_engine_ops {
	const char *name;
	/* Can it work here? Adds items to the report, fills the plan; touches nothing. */
	int (*probe)(struct kho_engine *e, struct kho_engine_plan *out, struct kho_report *r, struct kho_err *err);
	/* Initramfs, memory, CPUs leave this kernel. */
	int (*reserve)(struct kho_engine *e, const struct kho_engine_plan *p, struct kho_err *err);
	int (*unreserve)(struct kho_engine *e, struct kho_err *err);
	/* Place image and tables, send the boot CPU in. */
	int (*spawn)(struct kho_engine *e, struct kho_err *err);
	int (*stop)(struct kho_engine *e, struct kho_err *err);
	/* Wait for its agent, agree on revision and features; gives it the CPUs of apicids_before and extra memory. */
	int (*connect)(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err);
	int (*disconnect)(struct kho_engine *e, struct kho_err *err);
	/* After the commit, by a new khoctl: connect to the agent as it is; gives it nothing. */
	int (*reconnect)(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err);
	/*
	 * One serializer operation on the incoming side: "prepare", "unprepare", "retrieve", "discard", "finish",
	 * "tidy" (blob in, may be NULL) or "verify" (fills r, which else may be NULL). When until (may be NULL) says stop, the caller goes on without an
	 * answer (-EINTR); the peer may still work on it, and after a "retrieve" its "discard" ends that. deadline_us: absolute, kho_clock_us(). [any]
	 */
	int (*peer_op)(struct kho_engine *e, const char *serializer, const char *op, const struct kho_blob *in,
		       struct kho_report *r, const struct kho_until *until, uint64_t deadline_us, struct kho_err *err);
	/*
	 * The incoming kernel measures whether it is fit to be given work (bpf/gates.def); verdicts by the policy's limits. May be NULL: it
	 * does not run yet when it could be asked.
	 */
	int (*gates)(struct kho_engine *e, const struct kho_gate_ask *ask, const struct kho_gate_policy *policy, struct kho_gate_list *out,
		     uint64_t deadline_us, struct kho_err *err);
	/*
	 * Load on the incoming kernel, and what it says of it (kho_load_run). stop is asked every 20 ms; -EINTR when it says yes. May be
	 * NULL, as gates.
	 */
	int (*load)(struct kho_engine *e, const struct kho_load *l, bool (*stop)(void *arg), void *arg, struct kho_load_result *out,
		    uint64_t deadline_us, struct kho_err *err);
	/*
	 * The recording that put_file has put as KHO_REPLAY_FILE is sent to the workload that was restored there, and what came of it (kho_replay_run).
	 * stop as of load. May be NULL.
	 */
	int (*replay)(struct kho_engine *e, bool (*stop)(void *arg), void *arg, struct kho_replay_result *out, uint64_t deadline_us,
		      struct kho_err *err);
	/*
	 * Before the freeze: what the incoming side needs to complete the upgrade alone, should this kernel end with the state
	 * across (complete: and that it may). names: of the serializers, NULL-terminated, in order; record: the journal so far.
	 */
	int (*entrust)(struct kho_engine *e, const char *const *names, const struct kho_blob *record, bool complete,
		       struct kho_err *err);
	/*
	 * Both sides sign; record: the journal so far, kept by the incoming side as its own. Negative: the peer has not
	 * signed. Called again before retire with the complete journal, which replaces the first one.
	 */
	int (*commit)(struct kho_engine *e, const struct kho_blob *record, struct kho_err *err);
	/*
	 * After commit: what no serializer carried; then all CPUs, at once: the caller's process ends here when it works (it prints
	 * before).
	 */
	int (*shift_rest)(struct kho_engine *e, struct kho_err *err);
	int (*retire)(struct kho_engine *e, struct kho_err *err);
	/* Own state in the ledger: enum kho_instance_state. */
	int (*set_state)(struct kho_engine *e, unsigned state, struct kho_err *err);
	/*
	 * false and a reason when the incoming kernel is dead, hung (heartbeat older than 10 s) or fenced, or its agent is
	 * silent. The verdict is final: before the commit such a kernel is fenced at once, and calls that wait for it end. [any]
	 */
	bool (*peer_alive)(struct kho_engine *e, struct kho_err *why);
	/* A test wants the incoming kernel to panic, hang, ... (lib/fault.h); it refuses unless it was started with khoctl.fault=1. */
	int (*peer_fault)(struct kho_engine *e, const char *kind, struct kho_err *err);
	/* A test wants the next message of a kind to be lost, doubled or late (lib/fault.h), on whichever side sends it. May be NULL. */
	int (*link_fault)(struct kho_engine *e, const struct kho_fault *f, struct kho_err *err);
	/* Names of the messages that can be, NULL-terminated; may be NULL: none. */
	const char *const *(*link_messages)(void);
	void (*free)(struct kho_engine *e);
	bool jumps; /* the incoming kernel boots in the blackout, and the commit does not come back when it works */
};

struct kho_engine {
	const struct kho_engine_ops *ops;
	const struct kho_engine_request *req;
	struct kho_env env;		/* for this side's serializers; env.ops set by the engine, phase/note by the orchestrator */
	/* set by the orchestrator before probe; events of the engine itself */
	void (*phase)(void *arg, const char *name, uint64_t begin_us, uint64_t end_us);
	void (*note)(void *arg, const char *text);
	void (*fault_struck)(void *arg, const char *name);	/* one of link_fault's has, on this side */
	void *event_arg;
};

/* Tell the orchestrator, if it listens: a phase that ends now, a line for the operator. */
void kho_engine_phase(struct kho_engine *e, const char *name, uint64_t begin_us);
void kho_engine_note(struct kho_engine *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct kho_engine_entry {
	const char *name;
	int (*new)(const struct kho_engine_request *req, struct kho_engine **out, struct kho_err *err);
};

/* Engines in order of preference, NULL name at the end. */
extern const struct kho_engine_entry kho_engines[];

/*
 * Another kernel is here that has signed an upgrade, or is about to end. Its khoctl may have died before it wrote so into its journal:
 * the ledger tells. false also when that cannot be read.
 */
bool kho_instance_other_signed(const char *sysroot);

/* Every instance on the machine, seen from this one; *out malloc'd (kho_instances_free). No module: one line, self. */
int kho_instances(const char *sysroot, struct kho_instance_info **out, size_t *out_n, struct kho_err *err);
void kho_instances_free(struct kho_instance_info *i, size_t n);

/* On an incoming kernel that has signed: the outgoing one is stopped, whatever it does; what it had is to be taken. */
int kho_instance_end_outgoing(struct kho_err *err);

/* What an upgrade makes below its request's carry_dir. */
#define KHO_CARRY_NAME "khoctl-state"

/*
 * Remove that, with what is in it: the memory of workloads. Fine when there is none. Also for who finds, when the machine starts, that a reset has cut an
 * upgrade. -EIO: something of it is still there.
 */
int kho_carry_drop(const char *carry_dir, struct kho_err *err);

/* Is it one of those that a request's `initramfs` may be? */
bool kho_initramfs_mode_is_known(const char *mode);

void kho_engine_plan_done(struct kho_engine_plan *p);

#endif
