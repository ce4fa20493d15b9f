// SPDX-License-Identifier: GPL-2.0-only
/* What all verbs share.  See khoctl/cli.h. */
#include <stdio.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "orchestrator/lock.h"

int kho_cli_error(const struct kho_cli *c, enum kho_exit code, const struct kho_err *err)
{
	if (c->json) {
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "error", err->msg);
		kho_json_int(o, "exit", code);
		kho_cli_json(o);
	} else {
		fprintf(stderr, "khoctl: %s\n", err->msg);
	}
	return code;
}

int kho_cli_tell(const struct kho_cli *c, enum kho_exit code, const char *outcome, const char *msg)
{
	if (c->json) {
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "outcome", outcome);
		kho_json_str(o, "msg", msg);
		kho_json_int(o, "exit", code);
		kho_cli_json(o);
	} else {
		printf("%s%s%s\n", outcome, *msg ? ": " : "", msg);
	}
	return code;
}

int kho_cli_need_root(const struct kho_cli *c, const char *what)
{
	struct kho_err err = KHO_ERR_INIT;

	if (geteuid() == 0)
		return KHO_EXIT_OK;
	(void)kho_fail(&err, -EPERM, "%s must be run as root", what);
	return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
}

int kho_cli_need_no_upgrade(const struct kho_cli *c)
{
	struct kho_err err = KHO_ERR_INIT;

	if (c->sysroot || kho_lock_look(KHO_RUN_DIR, &err) == 0)
		return KHO_EXIT_OK;
	return kho_cli_error(c, KHO_EXIT_BUSY, &err);
}

static void print_json(struct json_object *o, bool pretty)
{
	_cleanup_free_ char *text = kho_json_line(o, pretty, NULL);

	if (text)
		fputs(text, stdout);
	json_object_put(o);
}

void kho_cli_json(struct json_object *o)
{
	print_json(o, true);
}

void kho_cli_json_line(struct json_object *o)
{
	print_json(o, false);
}

const struct kho_world *kho_cli_world(void)
{
	static struct kho_world w = { .state_dir = KHO_STATE_DIR, .run_dir = KHO_RUN_DIR };

	w.serializers = kho_serializers;
	w.engines = kho_engines;
	return &w;
}

struct kho_plan_request kho_cli_request(const struct kho_cli *c)
{
	return (struct kho_plan_request){
		.sysroot = c->sysroot ? c->sysroot : "",
		.to = c->kernel ? c->kernel : c->to,
		.canary = c->kernel,
		.cpus = c->cpus,
		.load = c->load,
		.load_for = c->watch_for,
		.slower = c->slower,
		.shadow = c->shadow,
		.replay = c->replay,
		.engine = c->engine,
		.cmdline = c->cmdline,
		.memory = c->memory,
		.state_dir = c->state_dir,
		.outgoing_panic = c->outgoing_panic,
		.gates = c->gates,
		.no_gates = c->no_gates,
		.gate_limits = c->gate_limits,
		.max_blackout = c->max_blackout,
		.any_blackout = c->way_back,
		.allow_unknown = c->allow_unknown,
		.regression = c->regression,
		.rollback_on_failure = c->rollback_on_failure,
	};
}

int kho_cli_request_check(const struct kho_cli *c, const struct kho_plan_request *rq)
{
	struct kho_err err = KHO_ERR_INIT;
	int rc = kho_plan_request_check(kho_cli_world(), rq, &err);

	if (rc == 0)
		return KHO_EXIT_OK;
	return kho_cli_error(c, rc == -ENOMEM ? KHO_EXIT_INTERNAL : KHO_EXIT_USAGE, &err);
}

int kho_cli_gate_policy(const struct kho_cli *c, struct kho_gate_policy *p, struct kho_err *err)
{
	kho_gate_policy_init(p);
	p->allow_unknown = c->allow_unknown;
	return c->gate_limits ? kho_gate_policy_set(p, c->gate_limits, err) : 0;
}

enum kho_exit kho_cli_gate_exit(enum kho_gate_verdict v)
{
	return v == KHO_GATE_PASS ? KHO_EXIT_OK : v == KHO_GATE_FAIL ? KHO_EXIT_FAILED : KHO_EXIT_UNDECIDED;
}

struct kho_cli kho_cli_way_back(const struct kho_cli *c, const char *to)
{
	struct kho_cli back = *c;

	back.to = to;
	back.rollback_on_failure = back.regression = "0s";
	back.way_back = true;
	return back;
}

enum kho_exit kho_cli_refusal(int rc)
{
	return rc == -ENOMEM ? KHO_EXIT_INTERNAL : KHO_EXIT_REFUSED;
}

enum kho_exit kho_cli_exit(enum kho_outcome o)
{
	static const enum kho_exit map[] = {
		[KHO_OUT_UPGRADED] = KHO_EXIT_OK,	 [KHO_OUT_REFUSED] = KHO_EXIT_REFUSED,
		[KHO_OUT_ROLLED_BACK] = KHO_EXIT_ROLLED, [KHO_OUT_PERSON] = KHO_EXIT_PERSON,
		[KHO_OUT_INTERNAL] = KHO_EXIT_INTERNAL,	 [KHO_OUT_BUSY] = KHO_EXIT_BUSY,
		[KHO_OUT_DECLINED] = KHO_EXIT_DECLINED,
		[KHO_OUT_PASSED] = KHO_EXIT_OK,		 [KHO_OUT_FAILED] = KHO_EXIT_FAILED,
		[KHO_OUT_UNDECIDED] = KHO_EXIT_UNDECIDED,
	};

	_Static_assert(sizeof(map) / sizeof(*map) == KHO_NOUTCOMES, "an exit code for each "
								    "outcome");
	return (unsigned)o < KHO_NOUTCOMES ? map[o] : KHO_EXIT_INTERNAL;
}
