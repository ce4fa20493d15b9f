// SPDX-License-Identifier: GPL-2.0-only
/*
 * The plan of a canary: a kernel that is only tried.  What of an upgrade's plan it does not have, and what is asked of it.
 */
#include <string.h>

#include "bpf/load.h"
#include "bpf/replay.h"
#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "orchestrator/plan_parts.h"

#define DEFAULT_US 60000000ull
#define SLICE_US   5000000ull /* of one mix on one kernel: short, so that what disturbs the machine meets both */
#define SLICE_LEAST_US 100000ull
#define SLICE_MOST_US  600000000ull
#define ROUNDS	   3
#define SLOWER_MOST 10000
#define BUSY_MOST  50

const struct kho_serializer *const kho_no_serializers[] = { NULL };

static int take_command(struct kho_canary_plan *c, const char *load, struct kho_err *err)
{
	c->command = strdup(load);
	c->program = strndup(load, strcspn(load, " \t"));
	return c->command && c->program ? 0 : kho_fail(err, -ENOMEM, "canary: out of memory");
}

/* How often each mix gets its turn; a command's turns are longer, so that it can come to its end. */
static int take_time(struct kho_canary_plan *c, const char *text, struct kho_err *err)
{
	unsigned n = (unsigned)__builtin_popcount(c->mixes);
	uint64_t slice;

	c->us = DEFAULT_US;
	if (text && !kho_parse_duration(text, &c->us))
		return kho_fail(err, -EINVAL, "--for %s: want a time like 60s", text);
	slice = c->us / n / ROUNDS;
	c->rounds = ROUNDS;
	if (slice > SLICE_US && !c->command)
		c->rounds = (unsigned)((c->us / n + SLICE_US - 1) / SLICE_US);
	if (slice < SLICE_LEAST_US)
		return kho_fail(err, -EINVAL, "--for %s: %u loads in %u rounds need at least %llu ms", text, n, ROUNDS,
				(unsigned long long)(n * ROUNDS * SLICE_LEAST_US / 1000));
	if (slice > SLICE_MOST_US && c->command)
		return kho_fail(err, -EINVAL, "--for %s: at most 30 minutes of a command", text);
	return c->us > 24 * 3600 * 1000000ull ? kho_fail(err, -EINVAL, "--for %s: at most a day", text) : 0;
}

static int take_slower(struct kho_canary_plan *c, const char *text, struct kho_err *err)
{
	char *end = NULL;
	unsigned long v = text ? strtoul(text, &end, 10) : KHO_CANARY_SLOWER;

	if (text && (*text < '0' || *text > '9' || *end || v > SLOWER_MOST))
		return kho_fail(err, -EINVAL, "--slower %s: want percent, 0 to %d", text, SLOWER_MOST);
	c->slower = (unsigned)v;
	return 0;
}

/* Nothing that khoctl.conf says of an upgrade follows a canary. */
static void strip_config(struct kho_config *c, uint64_t cpus)
{
	free(c->after_commit);
	c->after_commit = NULL;
	c->rollback_us = c->regression_us = 0;
	c->cpus_before_freeze = cpus ? cpus : 1;
}

/* Instead of the world's serializers: those that can copy what goes on. */
static int take_shadow(struct kho_plan *p, const char *name, struct kho_err *err)
{
	const struct kho_serializer *const *all = p->world.serializers;
	struct kho_canary_plan *c = &p->canary;
	size_t n = kho_serializers_count(all), kept = 0;

	c->shadow = strdup(name);
	c->copiers = calloc(n + 1, sizeof(*c->copiers));
	if (!c->shadow || !c->copiers)
		return kho_fail(err, -ENOMEM, "canary: out of memory");
	for (size_t i = 0; i < n; i++)
		if (all[i]->flags & KHO_SER_COPY)
			c->copiers[kept++] = all[i];
	p->world.serializers = c->copiers;
	return 0;
}

int kho_plan_canary(struct kho_plan *p, const struct kho_plan_request *rq, struct kho_err *err)
{
	struct kho_canary_plan *c = &p->canary;
	const char *load = rq->load ? rq->load : "all";
	int rc = kho_mixes_parse(load, &c->mixes, err);

	if (rc == 0 && rq->cpus > 4096)
		rc = kho_fail(err, -EINVAL, "--cpus: no machine has so many");
	if (rc == 0 && c->mixes >> KHO_MIX_COMMAND)
		rc = take_command(c, load, err);
	if (rc == 0)
		rc = take_time(c, rq->load_for, err);
	if (rc == 0)
		rc = take_slower(c, rq->slower, err);
	if (rc == 0 && rq->replay && !rq->shadow)
		rc = kho_fail(err, -EINVAL, "--replay: requests are sent to a copy of a workload; name it (--shadow WORKLOAD)");
	if (rc == 0 && rq->shadow)
		rc = take_shadow(p, rq->shadow, err);
	if (rc < 0)
		return rc;
	c->on = true;
	c->replay = rq->replay;
	c->busy_most = BUSY_MOST;
	if (!c->shadow)
		p->world.serializers = kho_no_serializers;
	strip_config(&p->config, rq->cpus);
	return 0;
}

int kho_plan_shadow(struct kho_plan *p, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	int rc = kho_workloads_load(p->sysroot, NULL, &p->workloads, err);

	if (rc < 0)
		return rc;
	if (!kho_workloads_keep(&p->workloads, p->canary.shadow))
		return kho_fail(err, -ENOENT, "--shadow %s: no workload of that name is declared in /etc/khoctl/workloads.d", p->canary.shadow);
	if (kho_workloads_resolve(p->sysroot, &p->workloads, &why) < 0)
		rc = kho_report_add(&p->report, KHO_V_NO, "workload", "find", NULL, "%s", why.msg);
	return rc < 0 ? kho_fail(err, rc, "plan: out of memory") : 0;
}

int kho_plan_shadow_recall(struct kho_plan *p, const char *name, struct kho_err *err)
{
	int rc = take_shadow(p, name, err);

	if (rc == 0 && kho_workloads_load(p->sysroot, NULL, &p->workloads, NULL) == 0)
		(void)kho_workloads_keep(&p->workloads, name);
	return rc;
}

int kho_plan_shadow_tell(struct kho_plan *p, struct kho_err *err)
{
	uint64_t us = p->prediction.part_us[KHO_PART_FREEZE] + p->prediction.part_us[KHO_PART_SHIFT];
	char t[KHO_FORMAT_MAX];
	int rc = kho_report_add(&p->report, KHO_V_LOSS, "shadow", p->canary.shadow, NULL,
				"stands still while it is copied, %s%s; then it goes on, and its connections with it",
				us ? "for about " : "for how long is not known", us ? kho_format_us(us, t) : "");

	us = p->canary.us < KHO_REPLAY_US_MOST ? p->canary.us : KHO_REPLAY_US_MOST;
	if (rc == 0 && p->canary.replay)
		rc = kho_report_add(&p->report, KHO_V_OK, "replay", p->canary.shadow, NULL,
				    "what its clients send it over TCP is recorded before, for %s and in memory alone, and sent to the copy", kho_format_us(us, t));
	return rc < 0 ? kho_fail(err, rc, "plan: out of memory") : 0;
}

int kho_plan_canary_engine(const struct kho_plan *p, const struct kho_engine *e, const struct kho_engine_plan *ep, struct kho_report *r)
{
	if (e->ops->jumps || !e->ops->load || !e->ops->gates)
		return kho_report_add(r, KHO_V_NO, "engine", e->ops->name, NULL, "a canary runs beside this kernel, and this engine cannot do that");
	if (ep->nbefore > ep->nafter)
		return kho_report_add(r, KHO_V_NO, "cpus", "canary", "give it fewer (--cpus)",
				      "%u CPUs for the canary leave %u to this kernel, which is to run the same load on as many", ep->nbefore, ep->nafter);
	if (p->canary.replay && !e->ops->replay)
		return kho_report_add(r, KHO_V_NO, "engine", e->ops->name, NULL, "it cannot send recorded requests (--replay)");
	if (p->canary.program && access(p->canary.program, X_OK) < 0)
		return kho_report_add(r, KHO_V_NO, "load", p->canary.program, NULL, "there is no such program here");
	return 0;
}
