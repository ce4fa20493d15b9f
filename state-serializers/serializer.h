/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a serializer is: the code for ONE kind of state, with the operations of Linux's Live Update
 * Orchestrator and their inverses.  The orchestrator calls them; no serializer calls another.
 *
 *   outgoing kernel                          incoming kernel
 *   ---------------                          ---------------
 *   probe      what can be carried (reads)
 *   preserve   everything runs; may repeat   prepare   with preserve's blob: warm up, load, arm
 *   freeze     BLACKOUT; async work may start
 *   drain      wait for that work            retrieve  with drain's blob
 *                                            verify    in the dark
 *   -- commit --
 *   forget     drop what is now stale here   finish    visible from here on (network unlocked)
 *                                            tidy      what could wait until after the blackout
 *                                            cpus      what needs the last CPUs
 *
 *   unpreserve undoes preserve (and prepare's inverse `unprepare` runs on the incoming side),
 *   unfreeze undoes freeze and drain, discard undoes retrieve.  Every inverse accepts a half-done
 *   or never-done act, never stops at the first failure, and reports the first one.
 *
 * Each serializer runs freeze -> drain -> (peer) retrieve in its own thread ("lane") during the
 * blackout; freeze starts when the freeze of everything in `needs` has returned, drain when that of
 * everything in `drain_needs` has.  Those with KHO_SER_LAST are retrieved after all other lanes are
 * through (processes).
 *
 * A blob is one protobuf message of the serializer's own schema (state-serializers/NAME.proto); it
 * must survive being stored, and unknown fields must be kept.
 */
#ifndef KHO_SERIALIZER_H
#define KHO_SERIALIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/report.h"
#include "lib/workload.h"

struct kho_blob {
	void *data;		/* malloc'd, owned by whoever holds the struct; NULL = empty */
	size_t len;
};

struct kho_pci_addr {
	uint16_t segment;
	uint8_t bus, devfn;
};

struct kho_env;
struct kho_affinity;

/* What surrounds a serializer; filled by the engine (outgoing) or the agent (incoming). */
struct kho_env_ops {
	/*
	 * Copy a local file into the incoming kernel's images_dir under `name` (may have
	 * sub-directories); returns when the peer has all of it in its tmpfs. May be called from
	 * several threads. Outgoing side only.
	 */
	int (*put_file)(struct kho_env *env, const char *local, const char *name, struct kho_err *err);
	/*
	 * The same for n files of a directory, dir/names[i] as prefix/names[i]; small ones go together. *out_bytes: how much they are.
	 * May be NULL: one after the other, then. Serializers call kho_put_files() (common.h).
	 */
	int (*put_files)(struct kho_env *env, const char *dir, const char *prefix, char *const *names, size_t n, uint64_t *out_bytes,
			 struct kho_err *err);
	/*
	 * PCI functions. Outgoing: quiesce (PM freeze, driver stays) -> give; inverse: take -> unquiesce.
	 * Incoming: take (function appears on the filtered bridge, its driver binds; returns when
	 * the driver has bound) ; inverse: give (removed from the bridge, back to the park).
	 */
	int (*pci_quiesce)(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err);
	int (*pci_unquiesce)(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err);
	int (*pci_give)(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err);
	int (*pci_take)(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err);
	/* A measured phase ("criu dump", "nic quiesce"), clock of kho_clock_us(): goes to events and report. */
	void (*phase)(struct kho_env *env, const char *name, uint64_t begin_us, uint64_t end_us);
	/*
	 * Incoming side: fd (which stays the caller's) is open in the init system that PID 1 becomes, under the number that is
	 * returned. state: it is what that init system reads its state from, and comes last. May be NULL: nobody to give it to.
	 */
	int (*to_init)(struct kho_env *env, int fd, bool state, struct kho_err *err);
	/* One line of progress for the operator ("round 2: 1.5 MiB"), not an error. */
	void (*note)(struct kho_env *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
};

struct kho_env {
	const struct kho_env_ops *ops;
	void *arg;			/* of the ops */
	bool incoming;			/* which side this is */
	const struct kho_workload_list *workloads;	/* outgoing: resolved; incoming: as told by prepare's blob */
	const char *run_dir;		/* "/run/khoctl": 0700, tmpfs */
	const char *images_dir;		/* "/run/khoctl/images": 0700, tmpfs */
	const char *sysroot;		/* "" or a recorded tree, for probe only */
	bool in_place;			/* outgoing: what put_file is told of is not copied, it must stay as it is */
	bool last_round;		/* outgoing: preserve is not called again, whatever out_more says */
	bool hurry;			/* incoming: prepare runs in the blackout: nothing that only finds out early what would fail later */
	uint64_t disk_store_bytes;	/* outgoing: room for what is written to each file system until the commit; 0: the default */
	/*
	 * Outgoing, from step reserve on: who was pinned to CPUs, and what CPUs there were, before any of them left this kernel (lib/affinity.h).
	 * NULL: not known.
	 */
	const struct kho_affinity *affinity;
	bool root_in_ram;		/* the root file system is rootfs/tmpfs and is carried as a copy */
	/*
	 * Outgoing: only a copy of the workloads is made, for a kernel that is only tried (khoctl canary --shadow). They go on here, with their connections and
	 * disks, of which the copy has none: what of theirs lies on disks goes along as files of its root.
	 */
	bool copy;
	/*
	 * Incoming side, root on a disk: where block's retrieve mounts the carried root, "/sysroot", with everything else below
	 * it, until PID 1 enters it. "" or NULL when the root is in RAM, and on the outgoing side: see kho_new_root().
	 */
	const char *new_root;
};

/* What a path of the carried machine is prefixed with on this side, before PID 1 has entered the new root: "" or "/sysroot". */
static inline const char *kho_new_root(const struct kho_env *env)
{
	return env->new_root ? env->new_root : "";
}

/* What one workload has written since the last round of preserve. */
struct kho_dirty_workload {
	const char *name; /* borrowed, until the next operation */
	uint64_t bytes;
	uint64_t bytes_per_s; /* not yet written before: memory that is written over and over counts once */
};

/* What the blackout would have to copy if it began now. */
struct kho_dirty {
	struct kho_dirty_workload *w; /* malloc'd */
	size_t n;
	uint64_t bytes;	  /* of all of them */
	uint64_t copy_us; /* how long that takes, as the rounds of preserve have shown */
	unsigned again;	  /* so many more rounds that copy as much would be taken: the peer keeps them all; 0: none would pay */
	const char *how;  /* what the kernel was asked by ("PAGEMAP_SCAN"); static */
};

/* Free the list and make it empty. */
void kho_dirty_done(struct kho_dirty *d);

/* What must not be under way any more, by the names of the gates called "quiescent". */
struct kho_quiet {
	const char *gate; /* static */
	bool known;
	int64_t value;
	char what[120]; /* the first of them, or why it is not known; "" */
};

#define KHO_QUIET_MAX 8

struct kho_quiet_list {
	struct kho_quiet q[KHO_QUIET_MAX];
	size_t n;
};

/* Append; one too many is left out. value < 0: not known. */
void kho_quiet_add(struct kho_quiet_list *l, const char *gate, int64_t value, const char *what);

/* What env's disk_store_bytes may be. Memory is taken only for what is written. */
#define KHO_DISK_STORE_DEFAULT	(256ull << 20)
#define KHO_DISK_STORE_MIN	(16ull << 20)
#define KHO_DISK_STORE_MAX	(64ull << 30)

/*
 * Ask a person for what opens something ("the passphrase of luks-data"): *out is malloc'd, wiped and freed by the caller. 0, or
 * negative: nobody answers.
 */
typedef int kho_ask_fn(void *arg, const char *what, char **out, size_t *out_len, struct kho_err *err);

#define KHO_SER_LAST	(1u << 0)	/* retrieved after every other serializer */
#define KHO_SER_GATE	(1u << 1)	/* its finish opens the network: the blackout ends when it has returned */
#define KHO_SER_THAW	(1u << 2)	/* unfrozen before all others: they may need what it froze (pages of a program on the disk) */
#define KHO_SER_COPY	(1u << 3)	/* takes part in a copy (env's copy): what it freezes is the workloads alone, and drain needs no device to be quiet */
#define KHO_SER_APART	(1u << 4)	/* its prepare needs nothing of what later ones do, and they nothing of it: in a blackout it runs beside them */

struct kho_serializer {
	const char *name;		/* "proc", "netdev", "block", "host", "clock", "files" */
	int order;			/* preserve/finish in rising order, inverses in falling order */
	unsigned flags;
	const char *const *needs;	/* NULL-terminated names whose freeze must have returned before ours starts */
	const char *const *drain_needs;	/* the same for our drain */
	const char *const *root_needs;	/* root on a disk: NULL-terminated names whose drain must have returned before ours starts */

	int (*probe)(struct kho_env *env, struct kho_report *r, struct kho_err *err);
	/* round = 0, 1, 2 ...; out_more: another round would pay; blob of round 0 goes to prepare */
	int (*preserve)(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err);
	/*
	 * Outgoing, after preserve has said that no further round would pay: reads only, everything runs. preserve may be called again (the next round) when
	 * `again` is not 0. -EOPNOTSUPP: the kernel cannot tell.
	 */
	int (*dirty)(struct kho_env *env, struct kho_dirty *out, struct kho_err *err);
	int (*unpreserve)(struct kho_env *env, struct kho_err *err);
	int (*freeze)(struct kho_env *env, struct kho_err *err);
	int (*drain)(struct kho_env *env, struct kho_blob *out, struct kho_err *err);
	/*
	 * Outgoing, in the BLACKOUT, beside the lanes: is anything of ours still under way? Called when all is frozen, and again when all but those with KHO_SER_LAST
	 * is across (shifted). Reads a few files, and changes nothing.
	 */
	void (*quiet)(struct kho_env *env, bool shifted, struct kho_quiet_list *out);
	int (*unfreeze)(struct kho_env *env, struct kho_err *err);
	int (*forget)(struct kho_env *env, struct kho_err *err);

	int (*prepare)(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
	int (*unprepare)(struct kho_env *env, struct kho_err *err);
	int (*retrieve)(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
	int (*verify)(struct kho_env *env, struct kho_report *r, struct kho_err *err);
	/* Incoming, between retrieve and finish: the processes that are back (malloc'd) and what they have started; how many. They run. */
	size_t (*restored)(struct kho_env *env, pid_t **out);
	/* Incoming, by any thread: whoever is in retrieve need not go on, discard comes next. Returns at once. */
	void (*cancel)(struct kho_env *env);
	int (*discard)(struct kho_env *env, struct kho_err *err);
	int (*finish)(struct kho_env *env, struct kho_err *err);
	int (*tidy)(struct kho_env *env, struct kho_err *err);
	/*
	 * Incoming, after the commit: this kernel has all CPUs that it will have (some come only when the outgoing kernel has ended). tidy has been called, or
	 * its time was over. Fails with what could not be restored, in words for the report; nothing waits for it.
	 */
	int (*cpus)(struct kho_env *env, struct kho_err *err);
	/*
	 * The process in which finish succeeded has ended, and this is a copy of it from before that: what went on there in the background
	 * begins anew. finish and tidy may have been broken off there as well, and are called here again.
	 */
	int (*inherit)(struct kho_env *env, struct kho_err *err);

	/* At any time, on any kernel: are env's workloads (resolved) well? A KHO_V_NO item for each that is not. env has no ops. */
	int (*health)(struct kho_env *env, struct kho_report *r, struct kho_err *err);

	/* Before an upgrade, when probe says so: keep what only a person knows for some minutes, in memory. How many were asked for. */
	int (*unlock)(struct kho_env *env, kho_ask_fn *ask, void *arg, struct kho_err *err);
};

/* All serializers, in `order`, NULL-terminated; made from serializers.def. Any op may be NULL (nothing to do). */
extern const struct kho_serializer *const kho_serializers[];

/* How many there are in such a list. */
static inline size_t kho_serializers_count(const struct kho_serializer *const *list)
{
	size_t n = 0;

	while (list[n])
		n++;
	return n;
}

/* By name, or NULL. */
const struct kho_serializer *kho_serializer_find(const char *name);

/* Wipe (there may be a key in it) and free the blob's data and make it empty. */
void kho_blob_done(struct kho_blob *b);

#endif
