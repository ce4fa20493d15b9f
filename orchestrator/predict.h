/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long will the blackout be?  One model: each part of a blackout costs something for itself and
 * something for each thing that is counted (processes, memory, PCI functions, mounts).  What a unit
 * of cost takes on this machine is taken from the upgrades that it has seen, else from the self-test
 * of CRIU.  Copying what was written since the last round of precopy is apart from that: it is measured.  Numbers of
 * the model: orchestrator/predict.c.
 */
#ifndef KHO_PREDICT_H
#define KHO_PREDICT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/report.h"
#include "lib/workload.h"

/*
 * The parts of a blackout, in order; the last one ends it. One that jumps has the third: from the decision until the agent of the next
 * kernel reads what it was handed; state is loaded, this kernel shut down and that one booted. What is taken over there is restored in
 * the fourth, with devices and file systems.
 */
enum kho_part { KHO_PART_FREEZE, KHO_PART_SHIFT, KHO_PART_JUMP, KHO_PART_RESTORE, KHO_PART_COMMIT, KHO_NPARTS };

struct kho_facts {
	uint64_t n[KHO_NFACTS];
	bool root_in_ram;
	bool copy_known;  /* measured, just before the freeze; not when the plan was made */
	uint64_t copy_us; /* what copying the memory that was written since the last round takes */
};

/* One upgrade that this machine has seen. */
struct kho_sample {
	struct kho_facts facts;
	bool jumps; /* says nothing of those that do not, nor the other way round */
	uint64_t us[KHO_NPARTS]; /* of the jump: 0 where there is none */
};

#define KHO_SAMPLES_MAX 8

struct kho_prediction {
	uint64_t us; /* 0: nothing to predict from */
	uint64_t part_us[KHO_NPARTS];
	uint64_t copy_us; /* of it: for memory that was written since the last round, as measured, or else as it was before */
	unsigned upgrades; /* that it is taken from; 0: estimated by the self-test */
	bool jumps;
};

/* What was counted (facts of the report) and the workloads' own numbers. */
struct kho_facts kho_facts_of(const struct kho_report *r, const struct kho_workload_list *w,
			      bool root_in_ram);

/*
 * past: n samples of this kind, the newest last; the newest few count. Without one a jump is not predicted: how long a machine's devices
 * take to be shut down and found again nothing here has measured.
 */
void kho_predict(const struct kho_facts *now, bool jumps, const struct kho_sample *past, size_t n,
		 struct kho_prediction *out);

/* "from the last 2 upgrades", "estimated: ..."; into buf, which is returned. */
const char *kho_prediction_basis(const struct kho_prediction *p, const struct kho_facts *f,
				 char *buf, size_t len);

/* Facts as JSON object, and out of one. */
struct json_object *kho_facts_json(const struct kho_facts *f);
void kho_facts_read(const struct json_object *o, struct kho_facts *out);

/* A report (kho_report_of_journal), or a line of the history, as sample; false: that upgrade did not come to its end, or its facts are not known. */
bool kho_sample_of_report(const struct json_object *report, struct kho_sample *out);

/* Is a phase of this name one that a sample is made of? */
bool kho_sample_needs(const char *phase, bool jumps);

/*
 * The upgrades of this kind that are on record in state_dir, oldest first, at most KHO_SAMPLES_MAX into out; how
 * many. What cannot be read does not count.
 */
size_t kho_samples_load(const char *state_dir, bool jumps, struct kho_sample *out);

#endif
