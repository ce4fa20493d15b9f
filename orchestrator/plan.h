/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The plan: everything an upgrade will do, fixed before anything is done.  Made from the request
 * (argv), /etc/khoctl/khoctl.conf and facts; read-only from then on.  `check` and `upgrade
 * --dry-run` print it.
 */
#ifndef KHO_PLAN_H
#define KHO_PLAN_H

#include <json-c/json.h>

#include "handover/engine.h"
#include "lib/bzimage.h"
#include "lib/err.h"
#include "lib/report.h"
#include "orchestrator/predict.h"
#include "state-serializers/serializer.h"

/* What can be used; the tables of the product, or a test's. */
struct kho_world {
	const struct kho_serializer *const *serializers; /* NULL-terminated, in order */
	const struct kho_engine_entry *engines;		 /* NULL name at the end */
	const char *state_dir;				 /* "/var/lib/khoctl" */
	const char *run_dir;				 /* "/run/khoctl" */
};

/* argv; strings are borrowed until the plan is freed. */
struct kho_plan_request {
	const char *sysroot; /* "" or a recorded tree */
	const char *to;	     /* what kho_plan_target understands */
	const char *engine;  /* "auto" (or NULL) or a name */
	const char *cmdline; /* more words for the incoming kernel, or NULL */
	uint64_t memory;     /* bytes, instead of the configuration's; 0: as configured */
	const char *state_dir; /* struct kho_engine_request's carry_dir, as the operator names it (absolute), or NULL */
	const char *outgoing_panic; /* "complete" or "wait", instead of the configuration's, or NULL */
	bool gates;		 /* the incoming kernel must be measured; also when limits are given; as configured otherwise */
	bool no_gates;		 /* it must not */
	const char *gate_limits; /* over the configuration's; kho_gate_policy_set(), or NULL */
	bool any_blackout;	  /* no limit of the blackout, whatever is configured */
	const char *max_blackout; /* "50ms": the limit of gate blackout, over all others; NULL: as configured */
	bool allow_unknown;	 /* a gate that could not be measured does not hold; as configured otherwise */
	const char *regression; /* "10s": as regression_us, instead of the configuration's; "0s": not at all; NULL: as configured */
	/* of a canary: nothing of the host's is given to the kernel, which is only tried (khoctl canary) */
	bool canary;
	uint64_t cpus;	      /* for it; 0: one */
	const char *load;     /* kho_mixes_parse(); NULL: all that are built in */
	const char *load_for; /* "60s": so long each kernel is under load; NULL: a minute */
	const char *slower;   /* percent, over which its operations are worse than this kernel's; NULL: KHO_CANARY_SLOWER */
	const char *shadow;   /* a copy of the workload of this name runs there for as long; NULL: none */
	bool replay;	      /* and gets what its clients send the workload */
	const char *rollback_on_failure; /* "60s": as rollback_us, instead of the configuration's; "0s": not at all; NULL: as configured */
};

/* /etc/khoctl/khoctl.conf */
struct kho_config {
	char *engine, *initrd, *initramfs, *cmdline, *after_commit;
	char *outgoing_panic; /* what the incoming kernel does when this one ends with the state across: "complete" (or NULL), "wait" */
	char *gate_limits;
	bool gates, allow_unknown;
	char **extra_files;
	uint64_t cpus_before_freeze, memory, precopy_rounds, disk_store;
	uint64_t max_blackout_us;      /* the limit of gate blackout; 0: none */
	uint64_t max_blackout_wait_us; /* so long precopy goes on for it */
	uint64_t rollback_us; /* so long the new kernel looks after the workloads, and goes back when one is not well; 0: it does not */
	uint64_t regression_us; /* so long the workloads are recorded, before and after, and compared; 0: they are not */
	bool boot_default, upgrade_on_install; /* for integration/, which reads them itself */
};

/* How a kernel is tried. */
struct kho_canary_plan {
	bool on;	 /* else the plan is one of an upgrade */
	unsigned mixes;	 /* bits of enum kho_mix */
	char *command;	 /* of KHO_MIX_COMMAND, or NULL */
	char *program;	 /* its first word */
	uint64_t us;	 /* each kernel is under load for so long, all mixes together */
	unsigned rounds; /* both kernels in turn, so often each mix */
	unsigned slower; /* percent */
	unsigned busy_most; /* percent: a CPU of this kernel that has more to do besides is no measure */
	char *shadow;	 /* the workload, the plan's only one, of which a copy runs there; NULL: none */
	bool replay;	 /* it gets what the workload's clients send */
	const struct kho_serializer **copiers; /* who makes it: those of the world with KHO_SER_COPY, NULL-terminated */
};

#define KHO_CANARY_SLOWER 100

/* The serializers of a canary without a shadow: none. */
extern const struct kho_serializer *const kho_no_serializers[];

struct kho_plan {
	struct kho_world world;
	struct kho_config config;
	struct kho_bzimage image;
	char *sysroot, *image_path, *modules_dir, *from, *old_image;
	char *watch; /* what the new kernel is to run for these two, or NULL */
	char *previous_image; /* what the running kernel came from; NULL: not known */
	char *carry_dir; /* the request's, without links, or NULL */
	uint32_t generation; /* of the incoming kernel */
	struct kho_workload_list workloads;
	char *engine_name, *engine_reason;
	struct kho_engine_request request;
	struct kho_engine_plan engine_plan;
	struct kho_gate_policy gates;
	struct kho_canary_plan canary;
	struct kho_report report;
	struct kho_facts facts;
	struct kho_prediction prediction;
	char basis[160]; /* of the prediction, in words */
	bool can; /* nothing in the report says no */
};

/*
 * Can the values of the request (argv) be, whatever machine and configuration are like? -EINVAL: no, err says which one. What kernel is
 * asked for (to) is not looked at: whether it is there is the plan's to say.
 */
int kho_plan_request_check(const struct kho_world *world, const struct kho_plan_request *rq, struct kho_err *err) __must_check;

/*
 * Make the plan, and the engine that will carry it out (*out_engine; its ops->free before
 * kho_plan_free). A plan with can == false is a plan too: it says why. Negative: not even a plan
 * (no image, bad configuration, unknown engine).
 */
int kho_plan_make(const struct kho_world *world, const struct kho_plan_request *rq,
		  struct kho_plan **out, struct kho_engine **out_engine,
		  struct kho_err *err) __must_check;

/*
 * The plan of an upgrade whose khoctl died, as far as its journal's records and the configuration
 * tell it; for kho_upgrade_recover. Nothing is probed: workloads may be stopped, file systems
 * frozen. Workloads and image may be gone by now, that is no failure.
 */
int kho_plan_for_undo(const struct kho_world *world, struct json_object *records,
		      struct kho_plan **out, struct kho_engine **out_engine,
		      struct kho_err *err) __must_check;

/* Free the plan; NULL is fine. */
void kho_plan_free(struct kho_plan *p);

/* Is it one of those that outgoing-panic may be? NULL is. */
bool kho_outgoing_panic_is_known(const char *policy);

/* What forbids the upgrade: 0, or -EOPNOTSUPP with the first "no" of the report and its fix. */
int kho_plan_refusal(const struct kho_plan *p, struct kho_err *err) __must_check;

/* The plan as JSON object; the text form is made from this one, so both tell the same facts. */
struct json_object *kho_plan_json(const struct kho_plan *p);

/* What the journal keeps of the plan for the report: facts, prediction, workloads. */
struct json_object *kho_plan_record(const struct kho_plan *p);

/*
 * Path of the image that `to` means, malloc'd: "latest" (kho_plan_latest), "previous" (the one the
 * running kernel came from, by the journal; an upgrade that was undone since does not matter), a release in /boot, or a file, which may lie outside
 * of the sysroot.
 */
int kho_plan_target(const struct kho_world *w, const char *sysroot, const char *running,
		    const char *to, char **out, struct kho_err *err) __must_check;

/* Path (below sysroot) of the newest /boot/vmlinuz-*, if it is newer than the running release;
 * malloc'd. */
int kho_plan_latest(const char *sysroot, const char *running, char **out,
		    struct kho_err *err) __must_check;

/* Release of the running kernel, or of the recorded tree; malloc'd. */
int kho_plan_running(const char *sysroot, char **out, struct kho_err *err) __must_check;

#endif
