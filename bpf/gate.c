// SPDX-License-Identifier: GPL-2.0-only
/* The table of gates, their results, the decision.  See bpf/gate.h. */
#include "bpf/gate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/json.h"

const struct kho_gate kho_gates[KHO_NGATES] = {
#define X(id, gate, name, where, when, metric, unit, rule, limit, proves) \
	{ gate, name, where, when, metric, unit, KHO_GATE_##rule, limit, proves },
#include "bpf/gates.def"
#undef X
};

int kho_gate_find(const char *name)
{
	for (int i = 0; i < KHO_NGATES; i++)
		if (!strcmp(kho_gates[i].name, name))
			return i;
	return -1;
}

void kho_gate_policy_init(struct kho_gate_policy *p)
{
	*p = (struct kho_gate_policy){ 0 };
	for (int i = 0; i < KHO_NGATES; i++)
		p->limit[i] = kho_gates[i].limit;
}

static int set_one(struct kho_gate_policy *p, char *word, struct kho_err *err)
{
	char *eq = strchr(word, '='), *end = NULL;
	int64_t limit;
	int id;

	if (!eq)
		return kho_fail(err, -EINVAL, "limit '%s': want NAME=NUMBER", word);
	errno = 0;
	limit = strtoll(eq + 1, &end, 10);
	if (errno || end == eq + 1 || *end || limit < 0)
		return kho_fail(err, -EINVAL, "limit '%s': want a whole number", word);
	*eq = '\0';
	id = kho_gate_find(word);
	if (id < 0)
		return kho_fail(err, -EINVAL, "limit '%s=': there is no such gate; khoctl gates shows their names", word);
	p->limit[id] = limit;
	return 0;
}

int kho_gate_policy_set(struct kho_gate_policy *p, const char *text, struct kho_err *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *at = NULL;
	int rc = copy ? 0 : kho_fail(err, -ENOMEM, "limits of gates");

	for (char *w = copy ? strtok_r(copy, ",", &at) : NULL; w && !rc; w = strtok_r(NULL, ",", &at))
		rc = set_one(p, w, err);
	return rc;
}

/* The gate's place in the list: a second result replaces the first. */
static struct kho_gate_result *place(struct kho_gate_list *l, const struct kho_gate_policy *p, enum kho_gate_id id)
{
	size_t i = 0;

	while (i < l->n && l->r[i].gate != id)
		i++;
	if (i == l->n)
		l->n++;
	l->r[i] = (struct kho_gate_result){ .gate = id, .limit = p->limit[id] };
	return &l->r[i];
}

static void __attribute__((format(printf, 4, 0))) fill(struct kho_gate_result *r, int64_t value, enum kho_gate_verdict verdict, const char *fmt, va_list ap)
{
	r->value = value;
	r->verdict = verdict;
	vsnprintf(r->what, sizeof(r->what), fmt, ap);
}

static bool is_good(const struct kho_gate_policy *p, enum kho_gate_id id, int64_t value)
{
	int64_t limit = p->limit[id];

	return limit == KHO_GATE_NO_LIMIT || (kho_gates[id].rule == KHO_GATE_MOST ? value <= limit : value >= limit);
}

void kho_gate_measured(struct kho_gate_list *l, const struct kho_gate_policy *p, enum kho_gate_id id, int64_t value, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(place(l, p, id), value, is_good(p, id, value) ? KHO_GATE_PASS : KHO_GATE_FAIL, fmt, ap);
	va_end(ap);
}

void kho_gate_judged(struct kho_gate_list *l, const struct kho_gate_policy *p, enum kho_gate_id id, int64_t value, enum kho_gate_verdict verdict,
		     const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(place(l, p, id), value, verdict, fmt, ap);
	va_end(ap);
}

void kho_gate_unknown(struct kho_gate_list *l, const struct kho_gate_policy *p, enum kho_gate_id id, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(place(l, p, id), 0, KHO_GATE_UNKNOWN, fmt, ap);
	va_end(ap);
}

void kho_gate_told(struct kho_gate_list *l, const struct kho_gate_policy *p, const char *name, bool known, int64_t value, const char *what)
{
	int id = kho_gate_find(name);

	if (id >= 0 && known)
		kho_gate_measured(l, p, (enum kho_gate_id)id, value, "%s", what);
	else if (id >= 0)
		kho_gate_unknown(l, p, (enum kho_gate_id)id, "%s", what);
}

/* The first of the worst, or NULL. */
static const struct kho_gate_result *worst(const struct kho_gate_list *l)
{
	const struct kho_gate_result *w = NULL;

	for (size_t i = 0; i < l->n; i++)
		if (!w || l->r[i].verdict > w->verdict)
			w = &l->r[i];
	return w;
}

enum kho_gate_verdict kho_gates_worst(const struct kho_gate_list *l)
{
	const struct kho_gate_result *w = worst(l);

	return w ? w->verdict : KHO_GATE_UNKNOWN;
}

/* " (also NAME, NAME)": who else has failed */
static void others(const struct kho_gate_list *l, const struct kho_gate_result *w, char *out, size_t room)
{
	size_t len = 0;

	*out = '\0';
	for (size_t i = 0; i < l->n && len < room; i++)
		if (&l->r[i] != w && l->r[i].verdict == KHO_GATE_FAIL)
			len += (size_t)snprintf(out + len, room - len, "%s%s", len ? ", " : " (also ", kho_gates[l->r[i].gate].name);
	if (len && len < room - 1)
		strcat(out, ")");
}

int kho_gates_decide(const struct kho_gate_list *l, const struct kho_gate_policy *p, struct kho_err *err)
{
	const struct kho_gate_result *w = worst(l);
	char value[KHO_GATE_TEXT], limit[KHO_GATE_TEXT], also[120];

	if (!w)
		return p->allow_unknown ? 0 : kho_fail(err, -EOPNOTSUPP, "no gate was measured");
	if (w->verdict == KHO_GATE_PASS || (w->verdict == KHO_GATE_UNKNOWN && p->allow_unknown))
		return 0;
	if (w->verdict == KHO_GATE_UNKNOWN)
		return kho_fail(err, -EOPNOTSUPP, "gate %s: not known: %s; --allow-unknown goes on without it", kho_gates[w->gate].name, w->what);
	others(l, w, also, sizeof(also));
	return kho_fail(err, -EOPNOTSUPP, "gate %s%s: %s: %s, and %s is allowed%s%s", kho_gates[w->gate].name, also, kho_gates[w->gate].metric,
			kho_gate_value_text(w, value), kho_gate_limit_text(w, limit), *w->what ? ": " : "", w->what);
}

const char *kho_gate_verdict_name(enum kho_gate_verdict v)
{
	return v == KHO_GATE_PASS ? "pass" : v == KHO_GATE_FAIL ? "fail" : "unknown";
}

static const char *with_unit(const struct kho_gate_result *r, const char *before, int64_t n, char out[KHO_GATE_TEXT])
{
	const char *unit = kho_gates[r->gate].unit;

	snprintf(out, KHO_GATE_TEXT, "%s%" PRId64 "%s%s", before, n, *unit ? " " : "", unit);
	return out;
}

const char *kho_gate_value_text(const struct kho_gate_result *r, char out[KHO_GATE_TEXT])
{
	if (r->verdict != KHO_GATE_UNKNOWN)
		return with_unit(r, "", r->value, out);
	snprintf(out, KHO_GATE_TEXT, "-");
	return out;
}

const char *kho_gate_limit_text(const struct kho_gate_result *r, char out[KHO_GATE_TEXT])
{
	if (r->limit == KHO_GATE_NO_LIMIT) {
		snprintf(out, KHO_GATE_TEXT, "none");
		return out;
	}
	return with_unit(r, kho_gates[r->gate].rule == KHO_GATE_MOST ? "at most " : "at least ", r->limit, out);
}

struct json_object *kho_gates_json(const struct kho_gate_list *l)
{
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < l->n; i++) {
		const struct kho_gate_result *r = &l->r[i];
		const struct kho_gate *g = &kho_gates[r->gate];
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "gate", g->gate);
		kho_json_str(o, "name", g->name);
		kho_json_str(o, "where", g->where);
		kho_json_str(o, "when", g->when);
		kho_json_str(o, "metric", g->metric);
		kho_json_str(o, "unit", g->unit);
		if (r->verdict == KHO_GATE_UNKNOWN)
			kho_json_str(o, "value", NULL);
		else
			kho_json_int(o, "value", r->value);
		kho_json_int(o, "limit", r->limit);
		kho_json_str(o, "rule", g->rule == KHO_GATE_MOST ? "most" : "least");
		kho_json_str(o, "verdict", kho_gate_verdict_name(r->verdict));
		kho_json_str(o, "what", r->what);
		json_object_array_add(a, o);
	}
	return a;
}
