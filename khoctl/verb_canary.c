// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl canary: the worker process of an upgrade, with the plan of a canary; its result is a verdict.
 */
#include <stdio.h>
#include <string.h>

#include "khoctl/canary.h"
#include "khoctl/worker.h"
#include "lib/cleanup.h"
#include "lib/json.h"

static int usage(const struct kho_cli *c, const struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;

	(void)kho_fail(&e, err->code, "canary: %s", err->msg);
	return kho_cli_error(c, KHO_EXIT_USAGE, &e);
}

/* The command line alone; what depends on the machine is the plan's to say. */
static int check_options(const struct kho_cli *c, const struct kho_plan_request *rq, struct kho_err *err)
{
	if (!c->kernel)
		return kho_fail(err, -EINVAL, "--kernel KERNEL (latest, previous, a release or a file) is missing");
	return kho_plan_request_check(kho_cli_world(), rq, err);
}

/* Before minutes are spent on what could not be written then. */
static int try_junit(const struct kho_cli *c, struct kho_err *err)
{
	_cleanup_fclose_ FILE *f = c->junit ? fopen(c->junit, "we") : NULL;

	return c->junit && !f ? kho_fail_errno(err, "--junit %s", c->junit) : 0;
}

int kho_verb_canary(const struct kho_cli *c)
{
	struct kho_plan_request rq = kho_cli_request(c);
	struct kho_err err = KHO_ERR_INIT;

	if (check_options(c, &rq, &err) < 0)
		return usage(c, &err);
	if (c->dry_run)
		return kho_cli_dry_run(c, &rq);
	if (kho_cli_need_root(c, "canary"))
		return KHO_EXIT_REFUSED;
	if (try_junit(c, &err) < 0)
		return usage(c, &err);
	return kho_worker_watch(c, kho_worker_main);
}

struct json_object *kho_canary_verdict(const struct json_object *result, int code)
{
	struct json_object *found = kho_json_get(kho_json_get(result, "report"), "canary");
	bool known = found && json_object_object_length(found);
	struct json_object *o = known ? json_object_get(found) : json_object_new_object();

	if (!known) {
		kho_json_str(o, "verdict", code == KHO_EXIT_UNDECIDED ? "undecided" : code == KHO_EXIT_FAILED ? "fail" : "none");
		kho_json_str(o, "msg", kho_json_get_str(result, "msg"));
	}
	kho_json_str(o, "outcome", kho_json_get_str(result, "outcome"));
	kho_json_str(o, "outcome_msg", kho_json_get_str(result, "msg"));
	kho_json_int(o, "exit", code);
	return o;
}

static int write_junit(const char *path, struct json_object *v, struct kho_err *err)
{
	_cleanup_fclose_ FILE *f = fopen(path, "we");

	if (!f)
		return kho_fail_errno(err, "--junit %s", path);
	kho_junit_canary(v, f);
	return fflush(f) ? kho_fail_errno(err, "--junit %s", path) : 0;
}

int kho_canary_tell(const struct kho_cli *c, const struct json_object *result, int code)
{
	_cleanup_json_ struct json_object *v = kho_canary_verdict(result, code);
	struct kho_err err = KHO_ERR_INIT;

	if (c->junit && write_junit(c->junit, v, &err) < 0)
		fprintf(stderr, "khoctl: %s\n", err.msg);
	if (err.code < 0 && code == KHO_EXIT_OK)
		code = KHO_EXIT_UNDECIDED; /* who reads that file has no verdict */
	if (c->json) {
		kho_json_int(v, "exit", code);
		kho_cli_json(json_object_get(v));
		return code;
	}
	if (kho_json_get(v, "load"))
		kho_text_canary(v, stdout);
	fflush(stdout);
	/* what is not of the kernel: refused, busy, needs a person */
	if (code != KHO_EXIT_OK && code != KHO_EXIT_FAILED && code != KHO_EXIT_UNDECIDED)
		fprintf(stderr, "khoctl: %s: %s\n", kho_json_get_str(v, "outcome"), kho_json_get_str(v, "outcome_msg"));
	else if (!kho_json_get(v, "load"))
		fprintf(stderr, "khoctl: %s: %s\n", kho_json_get_str(v, "verdict"), kho_json_get_str(v, "msg"));
	return code;
}
