// SPDX-License-Identifier: GPL-2.0-only
/* What became of a canary's shadow, and what it means.  See orchestrator/canary.h. */
#include <stdarg.h>
#include <stdio.h>

#include "lib/format.h"
#include "lib/json.h"
#include "orchestrator/canary.h"

static void __attribute__((format(printf, 3, 4))) say(struct kho_shadow *s, enum kho_gate_verdict v, const char *fmt, ...)
{
	va_list ap;

	s->verdict = v;
	va_start(ap, fmt);
	vsnprintf(s->msg, sizeof(s->msg), fmt, ap);
	va_end(ap);
}

/* It has run. What ended its processes says more than that they do not answer. */
static void judge_run(struct kho_shadow *s, const struct kho_gate_policy *p)
{
	struct kho_err why = KHO_ERR_INIT;
	bool bad = kho_gates_decide(&s->dark, p, &why) < 0;
	char a[KHO_FORMAT_MAX], b[KHO_FORMAT_MAX];

	if (bad && kho_gates_worst(&s->dark) == KHO_GATE_FAIL)
		say(s, KHO_GATE_FAIL, "%s", why.msg);
	else if (s->end == KHO_SHADOW_SICK)
		say(s, KHO_GATE_FAIL, "%s", s->why);
	else if (bad)
		say(s, KHO_GATE_UNKNOWN, "%s", why.msg);
	else
		say(s, KHO_GATE_PASS, "restored in %s and well, %u times; the workload stood still for %s", kho_format_us(s->restore_us, a), s->looks,
		    kho_format_us(s->frozen_us, b));
}

void kho_shadow_judge(struct kho_shadow *s, const struct kho_gate_policy *p)
{
	switch (s->end) {
	case KHO_SHADOW_NOT_RUN:
		say(s, KHO_GATE_UNKNOWN, "not run%s%s", *s->why ? ": " : "", s->why);
		break;
	case KHO_SHADOW_NOT_COPIED:
		say(s, KHO_GATE_UNKNOWN, "not copied: %s", s->why);
		break;
	case KHO_SHADOW_NOT_RESTORED:
		say(s, KHO_GATE_FAIL, "not restored: %s", s->why);
		break;
	case KHO_SHADOW_SICK:
	case KHO_SHADOW_WELL:
		judge_run(s, p);
		break;
	}
}

struct json_object *kho_shadow_json(const struct kho_canary *c, const struct kho_plan *p)
{
	const struct kho_shadow *s = &c->shadow;
	const struct kho_workload *w = p->workloads.n ? &p->workloads.w[0] : NULL;
	struct json_object *list = json_object_new_array(), *o = json_object_new_object();
	bool ran = s->end == KHO_SHADOW_SICK || s->end == KHO_SHADOW_WELL;

	kho_json_str(o, "name", p->canary.shadow);
	kho_json_str(o, "verdict", kho_canary_name(s->verdict));
	kho_json_str(o, "msg", s->msg);
	kho_json_known(o, "frozen_us", (int64_t)s->frozen_us);
	kho_json_bool(o, "restored", ran);
	kho_json_known(o, "restore_us", (int64_t)s->restore_us);
	kho_json_str(o, "health", !w ? NULL : w->health_tcp ? w->health_tcp : w->health_command);
	kho_json_int(o, "looks", s->looks);
	kho_json_bool(o, "well", s->end == KHO_SHADOW_WELL);
	json_object_object_add(o, "gates", kho_gates_json(&s->dark));
	if (p->canary.replay)
		json_object_object_add(o, "replay", kho_replay_json(&c->replay));
	json_object_array_add(list, o);
	return list;
}
