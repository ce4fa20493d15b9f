/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gates: what must be known to be good about a kernel before anything is handed to it, and after. A table (gates.def), results, and
 * the decision. What could not be measured is unknown, never passed; unknown is "hold" unless the policy allows it.
 */
#ifndef KHO_BPF_GATE_H
#define KHO_BPF_GATE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

enum kho_gate_id {
#define X(id, gate, name, where, when, metric, unit, rule, limit, proves) KHO_GATE_##id,
#include "bpf/gates.def"
#undef X
	KHO_NGATES,
};

#define KHO_GATE_NO_LIMIT (-1)

enum kho_gate_rule { KHO_GATE_MOST, KHO_GATE_LEAST };

struct kho_gate {
	const char *gate, *name, *where, *when, *metric, *unit;
	enum kho_gate_rule rule;
	int64_t limit; /* unless the policy says another; KHO_GATE_NO_LIMIT: every value is passed */
	const char *proves;
};
extern const struct kho_gate kho_gates[KHO_NGATES];

/* When the incoming kernel is asked. */
enum kho_gate_moment {
	KHO_GATES_READY,    /* before anything is copied: the gates "ready" */
	KHO_GATES_RESTORED, /* the workloads are there: what the gates "dark" look at begins; no result */
	KHO_GATES_DARK,	    /* and has been: their results */
	KHO_GATES_OVER,	    /* nobody will ask any more: what is in the kernel for them goes; no result */
};

enum kho_gate_verdict { KHO_GATE_PASS, KHO_GATE_UNKNOWN, KHO_GATE_FAIL }; /* from good to bad */

/* Of a process, and of what it starts: so much of its system calls failed on the other kernel, too. */
struct kho_gate_usual {
	int32_t pid;
	uint32_t percent;
};

/* A device that is to change hands: its modalias, and the name of the driver that it has on the other kernel. */
struct kho_gate_device {
	char *alias, *driver;
};

/* What the incoming kernel is asked; all borrowed. */
struct kho_gate_ask {
	enum kho_gate_moment moment;
	const struct kho_gate_usual *usual; /* with KHO_GATES_RESTORED */
	size_t nusual;
	const struct kho_gate_device *devices; /* with KHO_GATES_READY; an engine adds them */
	size_t ndevices;
};

struct kho_gate_policy {
	int64_t limit[KHO_NGATES];
	bool ask;      /* in an upgrade; else the incoming kernel is not measured */
	bool demanded; /* and one that cannot be measured is refused */
	bool allow_unknown;
};

struct kho_gate_result {
	enum kho_gate_id gate;
	enum kho_gate_verdict verdict;
	int64_t value, limit; /* value: nothing when it is unknown */
	char what[320];	      /* more about it, or why it is unknown; "" */
};

/* At most one for each gate. What does not apply here (no PSI) has none. */
struct kho_gate_list {
	struct kho_gate_result r[KHO_NGATES];
	size_t n;
};

/* The gate of a name; -1: there is none. */
int kho_gate_find(const char *name);
/* The limits of the table; unknown is hold. */
void kho_gate_policy_init(struct kho_gate_policy *p);
/* "wakeup=5000,timer=2000": other limits, in the unit of the table. -EINVAL says what is wrong. */
int kho_gate_policy_set(struct kho_gate_policy *p, const char *text, struct kho_err *err) __must_check;

/* It was measured: pass or fail, by the policy's limit. The text may be "". */
void kho_gate_measured(struct kho_gate_list *l, const struct kho_gate_policy *p, enum kho_gate_id id, int64_t value, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* The same, where more than the limit decides (a test of two samples, whose ratio the value is): pass or fail is the caller's. */
void kho_gate_judged(struct kho_gate_list *l, const struct kho_gate_policy *p, enum kho_gate_id id, int64_t value, enum kho_gate_verdict verdict,
		     const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* It could not be measured, and why. */
void kho_gate_unknown(struct kho_gate_list *l, const struct kho_gate_policy *p, enum kho_gate_id id, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* One of both, by the gate's name, as somebody else has told it. A name that is none is left out. */
void kho_gate_told(struct kho_gate_list *l, const struct kho_gate_policy *p, const char *name, bool known, int64_t value, const char *what);

/* The worst; of an empty list: unknown, because nothing was measured. */
enum kho_gate_verdict kho_gates_worst(const struct kho_gate_list *l);
/*
 * May it go on? -EOPNOTSUPP names the first gate that fails (or, unless allowed, is unknown), its value and limit, and the others that
 * fail.
 */
int kho_gates_decide(const struct kho_gate_list *l, const struct kho_gate_policy *p, struct kho_err *err) __must_check;

/* "pass", "fail", "unknown" */
const char *kho_gate_verdict_name(enum kho_gate_verdict v);
/* "87 us", "0", and of an unknown value "-". Gives out back. */
#define KHO_GATE_TEXT 40
const char *kho_gate_value_text(const struct kho_gate_result *r, char out[KHO_GATE_TEXT]);
/* The same of its limit, with the rule: "at most 100000 us", "none". */
const char *kho_gate_limit_text(const struct kho_gate_result *r, char out[KHO_GATE_TEXT]);

/* [{"gate","name","where","when","metric","unit","value","limit","rule","verdict","what"}]; an unknown value is null. */
struct json_object *kho_gates_json(const struct kho_gate_list *l);

#endif
