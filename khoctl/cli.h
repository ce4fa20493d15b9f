/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The face: tables of verbs, options and exit codes, and what all verbs share.  No mechanism here.
 */
#ifndef KHO_CLI_H
#define KHO_CLI_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/report.h"
#include "orchestrator/plan.h"
#include "orchestrator/upgrade.h"

#define KHO_VERSION   "0.1"
#define KHO_STATE_DIR "/var/lib/khoctl"
#define KHO_RUN_DIR   "/run/khoctl"

enum kho_exit {
#define X(id, number, meaning) KHO_EXIT_##id = number,
#include "khoctl/exitcodes.def"
#undef X
};

enum kho_verb_id {
#define X(id, name, fn, args, least, most, help) KHO_VERB_##id,
#include "khoctl/verbs.def"
#undef X
	KHO_NVERBS,
};

/* The options of all verbs, with their values; each verb may set those its row in options.def
 * allows. */
struct kho_cli {
	const char *to, *engine, *cmdline, *sysroot, *hold_before, *exec, *outgoing_panic, *rollback_on_failure, *watch_for, *gate_limits, *max_blackout;
	const char *workload, *svg, *regression, *before, *state_dir;
	const char *kernel, *load, *slower, *junit, *shadow; /* of a canary: kernel is never NULL */
	uint64_t memory, cpus;
	bool dry_run, yes, follow, after_boot, json, help;
	bool all, rollback, allow_unknown, gates, no_gates, replay;
	bool way_back; /* no option: kho_cli_way_back() */
	char **args; /* positional */
	int nargs;
};

struct kho_verb {
	const char *name;
	int (*run)(const struct kho_cli *c); /* an exit code */
	const char *args;
	int least, most;
	const char *help;
};
extern const struct kho_verb kho_verbs[];

enum kho_opt_type { KHO_OPT_FLAG, KHO_OPT_STRING, KHO_OPT_SIZE };

struct kho_opt {
	unsigned verbs; /* bits: 1 << enum kho_verb_id */
	const char *name;
	enum kho_opt_type type;
	size_t off;
	const char *metavar, *help;
};
extern const struct kho_opt kho_opts[];
extern const size_t kho_nopts;

struct kho_exit_row {
	int number;
	const char *meaning;
};
extern const struct kho_exit_row kho_exits[];
extern const size_t kho_nexits;

#define X(id, name, fn, args, least, most, help) int fn(const struct kho_cli *c);
#include "khoctl/verbs.def"
#undef X

/* Print the error (or {"error": ...} on stdout with --json) and give code back. */
int kho_cli_error(const struct kho_cli *c, enum kho_exit code, const struct kho_err *err);

/* Print how it came out, and what there is to say of it ("": nothing), as a line or as JSON, and give code back. */
int kho_cli_tell(const struct kho_cli *c, enum kho_exit code, const char *outcome, const char *msg);

/* KHO_EXIT_OK for root; else the refusal of what ("upgrade"), told. */
int kho_cli_need_root(const struct kho_cli *c, const char *what);

/*
 * KHO_EXIT_OK; or an upgrade runs, and what the probes of a plan do on this machine could be in its way: KHO_EXIT_BUSY, told. A recorded tree
 * is in nobody's.
 */
int kho_cli_need_no_upgrade(const struct kho_cli *c);

/* Print an object, indented, with a newline. Takes the reference. */
void kho_cli_json(struct json_object *o);
/* The same on one line. */
void kho_cli_json_line(struct json_object *o);

/* The real serializers, engines and directories. */
const struct kho_world *kho_cli_world(void);

/*
 * The options of the upgrade that goes back to a kernel: it is neither watched nor compared, and no limit of the blackout that khoctl.conf
 * has keeps it.
 */
struct kho_cli kho_cli_way_back(const struct kho_cli *c, const char *to);

/* --dry-run: print the plan and touch nothing; an exit code. */
int kho_cli_dry_run(const struct kho_cli *c, const struct kho_plan_request *rq);

/* The plan's request out of the options. */
struct kho_plan_request kho_cli_request(const struct kho_cli *c);

/* KHO_EXIT_OK; or an option of it has a value that cannot be (kho_plan_request_check): the usage code, told. */
int kho_cli_request_check(const struct kho_cli *c, const struct kho_plan_request *rq);

/* The gates' limits out of the options, over the table's. -EINVAL: --gate-limits is wrong. */
int kho_cli_gate_policy(const struct kho_cli *c, struct kho_gate_policy *p, struct kho_err *err) __must_check;

/* What the worst gate comes to, where it is not allowed. */
enum kho_exit kho_cli_gate_exit(enum kho_gate_verdict v);

/* Faults and the longest deadline (0: as in steps.def) that a test has put into the environment. */
int kho_cli_faults(const struct kho_engine *e, struct kho_faults *out, uint64_t *out_cap_us,
		   struct kho_err *err) __must_check;

/* A failure to make a plan or to begin: refused, unless khoctl itself is at fault. */
enum kho_exit kho_cli_refusal(int rc);

/*
 * khoctl status --after-boot: when a reset of the machine has cut an upgrade, write that and what
 * it has cost into the journal, remove state that it has left on a disk, and drop logs of kernels of long ago. An exit code.
 */
int kho_after_boot(const struct kho_cli *c);

/* Outcome of an upgrade -> exit code. */
enum kho_exit kho_cli_exit(enum kho_outcome o);

#endif
