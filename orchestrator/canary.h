/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A canary: the kernel runs beside this one, gets load and is measured, then everything is taken back.  What was found, and
 * what it means.  The steps are those of an upgrade as far as probe, and `load` (steps.def); runner, journal and undo are an upgrade's.
 */
#ifndef KHO_CANARY_H
#define KHO_CANARY_H

#include "bpf/load.h"
#include "bpf/replay.h"
#include "orchestrator/context.h"
#include "orchestrator/runner.h"

#define KHO_CANARY_MSG	480

struct kho_mix_trial {		 /* one load, on both kernels in turn */
	struct kho_load_result there, here; /* all rounds: of the canary, of this kernel */
	unsigned rounds, rounds_worse;	    /* those in which the canary was worse */
	struct kho_difference d;	    /* na, nb 0: not compared */
	enum kho_gate_verdict verdict;
	char msg[KHO_CANARY_MSG];
};

/* How far a shadow has come. */
enum kho_shadow_end {
	KHO_SHADOW_NOT_RUN,	 /* why: it was not worth it; "": it never came to that */
	KHO_SHADOW_NOT_COPIED,	 /* something of this kernel's, or of its place there: it says nothing of the canary */
	KHO_SHADOW_NOT_RESTORED,
	KHO_SHADOW_SICK,	 /* it was not well */
	KHO_SHADOW_WELL,
};

struct kho_shadow { /* the copy of a workload */
	enum kho_shadow_end end;
	char why[KHO_CANARY_MSG];
	uint64_t frozen_us;  /* the workload stood still for so long, at most; 0: it was not stopped */
	uint64_t restore_us; /* 0: it was not restored */
	unsigned looks;	     /* so often it was well */
	struct kho_gate_list dark; /* threads and signals; n 0: not measured */
	enum kho_gate_verdict verdict;
	char msg[KHO_CANARY_MSG];
};

/* Requests that the workload got here, and that its copy gets there. */
struct kho_replay_trial {
	bool recorded, ran;	   /* else why: it could not be; "": it never came to that */
	struct kho_replay_recorded here; /* its message only until it has been sent */
	struct kho_replay_result there;
	struct kho_difference d; /* na, nb 0: not compared */
	char why[KHO_CANARY_MSG];
	enum kho_gate_verdict verdict;
	char msg[KHO_CANARY_MSG];
};

struct kho_canary {
	struct kho_gate_list before, after; /* n 0: not measured */
	struct kho_shadow shadow; /* of a plan that has one */
	struct kho_replay_trial replay; /* likewise */
	struct kho_gate_list end; /* when it has ended */
	unsigned busy; /* percent, of the CPUs of this kernel that the load ran on, before it did */
	unsigned cpus; /* on so many of each kernel */
	bool ours;     /* what failed is this kernel's, or khoctl's: it says nothing of the canary */
	struct kho_mix_trial mix[KHO_NMIXES];
	enum kho_gate_verdict verdict;
	char msg[KHO_CANARY_MSG]; /* why; "" when it has passed */
};

/*
 * What counts as worse: a medium effect (Cliff's delta 0.33) and a median that is so many percent more; the rest is KHO_DIFFERENCE_LIMITS. The
 * slowest hundredth is told and decides nothing: on a machine that is shared it is the neighbours' (seen: 4 times as much with the median as here).
 */
struct kho_difference_limits kho_canary_limits(unsigned slower);
/* By these limits: 1 worse, 0 not, -1: too few samples. */
int kho_canary_is_worse(const struct kho_difference *d, const struct kho_difference_limits *l);

/* One round more. */
void kho_mix_trial_add(struct kho_mix_trial *t, const struct kho_load_result *there, const struct kho_load_result *here,
		       const struct kho_difference_limits *l);
/* After the last one: verdict and msg. too_busy: percent, what this kernel's CPUs had to do besides, when that was too much; else 0. */
void kho_mix_judge(struct kho_mix_trial *t, enum kho_mix mix, const struct kho_difference_limits *l, unsigned too_busy);

/* Something of a step has failed: 0, that is a word of the canary's; negative: the step is to end, or the canary is lost. */
int kho_canary_goes_on(struct kho_upgrade *u, struct kho_err *err) __must_check;

/* verdict and msg of a shadow, which has come so far. */
void kho_shadow_judge(struct kho_shadow *s, const struct kho_gate_policy *p);
/* The same of the requests that it was sent. */
void kho_replay_judge(struct kho_replay_trial *t, const struct kho_difference_limits *l);
struct json_object *kho_replay_json(const struct kho_replay_trial *t);
/* Its part of kho_canary_json(). */
struct json_object *kho_shadow_json(const struct kho_canary *c, const struct kho_plan *p);

/*
 * Of a shadow with --replay: record what the workload gets, before it is copied; and send that to its copy. What goes wrong is its verdict; they fail only when the step is
 * to end, or the canary is lost. The second one lets the recording go; kho_replay_trial_done() does in any case.
 */
int kho_replay_trial_record(struct kho_upgrade *u, struct kho_err *err) __must_check;
int kho_replay_trial_send(struct kho_upgrade *u, struct kho_err *err) __must_check;
void kho_replay_trial_done(struct kho_replay_trial *t);

/* One side of a comparison, as of loads: "operations", "median_ns", "p99_ns" into o. */
void kho_canary_times_json(struct json_object *o, const struct kho_hist *h);
/* How both differ; nothing when they were not compared. */
void kho_canary_difference_json(struct json_object *o, const struct kho_difference *d);

/* "pass", "fail", "undecided" */
const char *kho_canary_name(enum kho_gate_verdict v);

/*
 * verdict and msg of all, so far. failed: the step that did, with why; NULL: none. The worst counts: what the kernel reports of itself, then its
 * loads, its shadow; unknown does not count when the plan allows it, but for a shadow of which there was no copy.
 */
void kho_canary_judge(struct kho_canary *c, const struct kho_plan *p, const char *failed, const struct kho_err *why);

/* For journal, report and khoctl canary --json (docs/formats.md). log: where the canary's messages are kept, or NULL. */
struct json_object *kho_canary_json(const struct kho_canary *c, const struct kho_plan *p, const char *log);

/* Run the steps, judge, take everything back. err says why when it has not passed. */
enum kho_outcome kho_canary_go(struct kho_runner *r, struct kho_err *err);

#endif
