/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The outgoing side's view of the incoming kernel's agent: calls over the link.  Threads may call
 * at the same time; replies are matched by sequence number.  Every call has an absolute deadline
 * (kho_clock_us()); -ETIMEDOUT when it passes, -EPIPE when the peer is gone, -EPROTO when
 * it breaks the protocol; an error of the agent comes back with its own errno and text.  Deadline 0
 * means none.
 */
#ifndef KHO_LINK_PEER_H
#define KHO_LINK_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/gate.h"
#include "bpf/load.h"
#include "bpf/replay.h"
#include "lib/err.h"
#include "lib/report.h"
#include "state-serializers/serializer.h"

struct kho_peer;
struct kho_link_faults;
struct kho_until;

/* What the agent must know before anything else. */
struct kho_peer_setup {
	const struct kho_workload_list
		*workloads;	  /* names, pids and health checks travel; may be NULL */
	const char *after_commit; /* command (argv split at blanks, no shell) run after retirement,
				     or NULL */
	const char *watch;	  /* another one, at the same time */
	const char *run_dir, *images_dir;
	bool root_in_ram;
	uint64_t pid_floor; /* agent's kernel shall number its own processes from here on */
	/*
	 * What the agent's serializers say (env->phase, env->note); may be NULL. Called from the
	 * receiver thread: must be thread-safe, short, and make no call of this peer.
	 */
	void (*phase)(void *arg, const char *name, uint64_t begin_us, uint64_t end_us);
	void (*note)(void *arg, const char *text);
	void *event_arg;
	struct kho_link_faults *faults; /* of a test, on what we send; NULL: none. Outlives the peer */
};

/*
 * Attach, wait for the agent's hello until deadline, agree on a revision, send setup.
 * bulk/bulk_bytes: mapping of the region's bulk area (kept by the caller until close), used in turn
 * by all transfers.
 */
int kho_peer_connect(struct kho_peer **out, void *bulk, uint64_t bulk_bytes,
		     const struct kho_peer_setup *setup, uint64_t deadline_us, struct kho_err *err);
/* Release of the peer's kernel and its process id of the agent's generation, as told in hello. */
const char *kho_peer_release(const struct kho_peer *p);

/* One serializer operation there; see struct kho_engine_ops.peer_op. r and until may be NULL. */
int kho_peer_op(struct kho_peer *p, const char *serializer, const char *op, const struct kho_blob *in, struct kho_report *r,
		const struct kho_until *until, uint64_t deadline_us, struct kho_err *err);
/* The peer measures whether its kernel is fit to be given work, or looks at what was restored there; verdicts by our limits. */
int kho_peer_gates(struct kho_peer *p, const struct kho_gate_ask *ask, const struct kho_gate_policy *policy, struct kho_gate_list *out,
		   uint64_t deadline_us, struct kho_err *err);
/*
 * The peer puts load on its kernel (kho_load_run there). stop, which may be NULL, is asked every 20 ms: -EINTR when it says
 * yes; the peer goes on with it then, and nobody listens.
 */
int kho_peer_load(struct kho_peer *p, const struct kho_load *l, bool (*stop)(void *arg), void *arg, struct kho_load_result *out,
		  uint64_t deadline_us, struct kho_err *err);
/* The peer replays the recording that was put as KHO_REPLAY_FILE to what was restored there (kho_replay_run there). stop as above. */
int kho_peer_replay(struct kho_peer *p, bool (*stop)(void *arg), void *arg, struct kho_replay_result *out, uint64_t deadline_us,
		    struct kho_err *err);
/* Stream a file through the bulk area into the peer's images_dir/name; see kho_env_ops.put_file. */
int kho_peer_put_file(struct kho_peer *p, const char *local, const char *name, uint64_t deadline_us,
		      struct kho_err *err);
/* Files of dir, dir/names[i] as prefix/names[i]: see kho_env_ops.put_files. Each message may take timeout_us, and 1 s for each MB. */
int kho_peer_put_files(struct kho_peer *p, const char *dir, const char *prefix, char *const *names, size_t n,
		       uint64_t timeout_us, uint64_t *out_bytes, struct kho_err *err);
/* The peer takes a CPU that we have given, or gives one back. */
int kho_peer_cpu(struct kho_peer *p, uint32_t apicid, bool take, uint64_t deadline_us,
		 struct kho_err *err);
/* The peer adopts (hot-adds, onlines movable) memory, or gives it back. */
int kho_peer_mem(struct kho_peer *p, uint64_t base, uint64_t bytes, bool adopt,
		 uint64_t deadline_us, struct kho_err *err);
/* The peer signs the commit and keeps record (our journal) as its own. */
int kho_peer_commit(struct kho_peer *p, const struct kho_blob *record, uint64_t deadline_us,
		    struct kho_err *err);
/*
 * We are about to retire: from now on the peer takes last_apicid and the memory by itself when our
 * state says so.
 */
int kho_peer_retiring(struct kho_peer *p, uint32_t last_apicid, uint64_t deadline_us,
		      struct kho_err *err);
/*
 * What the agent needs to complete the upgrade without us (complete: and may): names of the serializers, NULL-terminated, in the
 * order of their finish; the journal so far.
 */
int kho_peer_entrust(struct kho_peer *p, const char *const *names, const struct kho_blob *record, bool complete,
		     uint64_t deadline_us, struct kho_err *err);
/* The upgrade is abandoned; best effort. */
int kho_peer_abandon(struct kho_peer *p, uint64_t deadline_us, struct kho_err *err);

/*
 * Ask for a fault of the peer's kernel, for tests: "panic", "hang", "stop", ... or one of what it sends
 * ("link.op.reply:drop"; agent_fault.c)
 */
int kho_peer_fault(struct kho_peer *p, const char *kind, uint64_t deadline_us, struct kho_err *err);
/* Is the link over (the agent ended it, broke its rules, or is silent)? Fills why. */
bool kho_peer_lost(struct kho_peer *p, struct kho_err *why);
/* All calls, present and future, fail with why: nobody will answer any more. */
void kho_peer_give_up(struct kho_peer *p, const struct kho_err *why);

/* Round trips of an empty call, for the bench. */
int kho_peer_echo(struct kho_peer *p, const struct kho_blob *in, struct kho_blob *out,
		  uint64_t deadline_us, struct kho_err *err);

void kho_peer_close(struct kho_peer *p);

#endif
