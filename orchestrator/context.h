/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One upgrade, from inside: what runner, steps and lanes share.  For orchestrator/ only.
 */
#ifndef KHO_CONTEXT_H
#define KHO_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/affinity.h"
#include "orchestrator/events.h"
#include "orchestrator/journal.h"
#include "orchestrator/plan.h"
#include "orchestrator/steps.h"
#include "orchestrator/upgrade.h"

struct kho_lanes;
struct kho_canary;

struct kho_upgrade {
	const struct kho_upgrade_options *opt;
	const struct kho_plan *plan;
	struct kho_engine *engine;
	const struct kho_serializer *const *serializers;
	const struct kho_step *steps; /* of an upgrade, or of a canary */
	size_t nsteps;
	struct kho_canary *canary; /* what it has found so far; NULL: it is none, or is only undone */
	struct kho_workload_list copied; /* the workload of its shadow, as it was when it was copied; env's then */
	struct kho_journal *journal;
	struct kho_events *events;
	struct kho_lanes *lanes;
	int lock_fd;

	_Atomic uint64_t deadline_us; /* of the running step; absolute */
	atomic_bool stop;	      /* the running step shall end soon; why is stop_why */
	struct kho_err stop_why;      /* written before stop is set */
	atomic_bool committed;	      /* both sides have signed */
	atomic_bool undoing;

	const struct kho_env_ops *engine_env_ops; /* the engine's own; env->ops is ours, on top */
	struct kho_env_ops env_ops;
	_Atomic uint64_t put_bytes; /* by put_file since the upgrade began */
	uint64_t blackout_begin_us, blackout_end_us;
	const struct kho_fault *criu_fault; /* the one that criu_fault_thread waits for, or NULL */
	pthread_t criu_fault_thread;
	atomic_bool criu_fault_over;
	struct kho_dark *watch;		  /* of the workloads while they are pre-copied; NULL: nobody looks */
	struct kho_gate_usual *usual;	  /* what that has seen, n of them */
	size_t nusual;
	struct json_object *sysctls; /* what reserve has changed: path -> old text */
	struct kho_affinity affinity; /* who was pinned to CPUs, and what CPUs there were, before reserve */
	struct json_object *modules; /* those that were loaded before a canary's load; NULL: it has not begun */
};

/* Replace the engine's phase and note sinks with ours; count what put_file carries. */
void kho_context_wire(struct kho_upgrade *u);
/* The inverse; the engine outlives the upgrade. */
void kho_context_unwire(struct kho_upgrade *u);

/* A measured phase: event and journal. */
void kho_context_phase(struct kho_upgrade *u, const char *name, uint64_t begin_us, uint64_t end_us);

/* The record that the other kernel has signed; the caller's. */
struct json_object *kho_context_signed(uint64_t at_us);

/* A line for the operator. */
void kho_context_note(struct kho_upgrade *u, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Shall the step end? arg: the struct kho_upgrade. For who asks now and then. */
bool kho_context_stopped(void *arg);
/* Fails with stop_why when the step shall end. */
int kho_context_check(struct kho_upgrade *u, struct kho_err *err) __must_check;

/* The peer's "retrieve", which is left when stop says so (-EINTR) and may then go on there until it is discarded. */
int kho_context_retrieve(struct kho_upgrade *u, const struct kho_serializer *s, const struct kho_blob *in, bool (*stop)(void *arg), void *arg,
			 struct kho_err *err) __must_check;
/* Peer operation with the step's deadline, stamped as phase "OP NAME". */
int kho_context_peer(struct kho_upgrade *u, const struct kho_serializer *s, const char *op,
		     const struct kho_blob *in, struct kho_report *r,
		     struct kho_err *err) __must_check;

/*
 * One after the commit, where there is nothing better to do than to try once more: an answer that does not come must
 * leave time for that. place: where a fault can strike before it.
 */
int kho_context_peer_twice(struct kho_upgrade *u, const struct kho_serializer *s, const char *op, enum kho_fault_place place,
			   struct kho_err *err) __must_check;

/* An inverse on the peer ("discard", "unprepare"): a dead peer has nothing left to undo, so that is
 * no failure. */
int kho_context_peer_undo(struct kho_upgrade *u, const struct kho_serializer *s, const char *op,
			  struct kho_err *err) __must_check;

/* Ask the peer to verify everything; -EBADMSG when it says no to anything. */
int kho_context_verify(struct kho_upgrade *u, struct kho_err *err) __must_check;

/*
 * Which of u->serializers is unfrozen in turn 0, 1 ...: those with KHO_SER_THAW first, each kind
 * last to first. There are as many turns as serializers.
 */
size_t kho_context_thaw(const struct kho_upgrade *u, size_t turn);
/* Unfreeze all of them, frozen or not, in that order; the first failure. */
int kho_context_unfreeze(struct kho_upgrade *u, struct kho_err *err) __must_check;

/* The disk goes away from the logs, and comes back. */
void kho_context_disk_away(struct kho_upgrade *u);
int kho_context_disk_back(struct kho_upgrade *u, struct kho_err *err) __must_check;

#endif
