// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model of the blackout, and its calibration.  See orchestrator/predict.h.
 */
#include "orchestrator/predict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/format.h"
#include "lib/json.h"

#define MIB (1ull << 20)

/* Nothing that is counted is so much: what is read from a file may be anything, and costs are added up. */
#define FACT_MAX (1ll << 50)

/* The part in which the memory that was written last is copied: it ends when all is across, or in the hands of the next kernel. */
#define COPY_IN KHO_PART_SHIFT

/* Newer upgrades say more: kernels, programs and load change. */
#define NEWEST 4

/*
 * Thousandths of the time that the self-test takes.  Fitted to upgrades of the lab's machines
 * (tests/reports); what they do not tell apart (a process, its threads) is in one number.
 */
struct cost {
	unsigned base, process, mib, function, mount, connection, container;
};

static const struct cost costs[KHO_NPARTS] = {
	[KHO_PART_FREEZE] = { .base = 150, .process = 20, .function = 60, .mount = 10, .container = 50 },
	[KHO_PART_SHIFT] = { .base = 200, .process = 25, .mib = 1, .function = 60, .mount = 30, .connection = 1, .container = 550 },
	[KHO_PART_RESTORE] = { .base = 200, .process = 60, .container = 800 },
	[KHO_PART_COMMIT] = { .base = 60, .function = 20 },
};

/*
 * The same for one that jumps: here nothing but processes is dumped before it, and all is restored after it. There is no self-test of a
 * jump: only what they are to each other counts. Whether the state stays where it is or goes along in the initramfs is not told apart.
 */
static const struct cost jump_costs[KHO_NPARTS] = {
	[KHO_PART_FREEZE] = { .base = 150, .process = 20, .function = 30, .mount = 10, .container = 50 },
	[KHO_PART_SHIFT] = { .base = 100, .process = 25, .mib = 1, .connection = 1, .container = 300 },
	[KHO_PART_JUMP] = { .base = 5000, .mib = 2, .function = 100 },
	[KHO_PART_RESTORE] = { .base = 300, .process = 60, .function = 60, .mount = 30, .connection = 1, .container = 800 },
	[KHO_PART_COMMIT] = { .base = 60, .function = 20 },
};

static uint64_t cost_of(bool jumps, enum kho_part part, const struct kho_facts *f)
{
	const struct cost *c = jumps ? &jump_costs[part] : &costs[part];

	return c->base + c->process * f->n[KHO_FACT_PROCESSES] +
	       c->mib * (f->n[KHO_FACT_RESIDENT] / MIB) + c->function * f->n[KHO_FACT_FUNCTIONS] +
	       c->mount * f->n[KHO_FACT_MOUNTS] + c->connection * f->n[KHO_FACT_CONNECTIONS] +
	       c->container * f->n[KHO_FACT_CONTAINERS];
}

struct kho_facts kho_facts_of(const struct kho_report *r, const struct kho_workload_list *w,
			      bool root_in_ram)
{
	struct kho_facts f = { .root_in_ram = root_in_ram };

	memcpy(f.n, r->facts, sizeof(f.n));
	for (size_t i = 0; i < w->n; i++) {
		f.n[KHO_FACT_PROCESSES] += w->w[i].npids;
		f.n[KHO_FACT_RESIDENT] += w->w[i].rss_bytes;
		f.n[KHO_FACT_CONTAINERS] += !!w->w[i].container;
	}
	return f;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *k, size_t n)
{
	qsort(k, n, sizeof(*k), by_value);
	return n % 2 ? k[n / 2] : (k[n / 2 - 1] + k[n / 2]) / 2;
}

/* Without copying. Half of a part is none of it: what else is in it was counted as one process's was, and copying is an estimate, too. */
static double part_us(const struct kho_sample *s, enum kho_part part)
{
	uint64_t us = s->us[part], copy = part == COPY_IN ? s->facts.copy_us : 0;

	return (double)(copy < us / 2 ? us - copy : us - us / 2);
}

/* Microseconds for one unit of cost, as the upgrades have shown it: the median. */
static double unit_us(bool jumps, enum kho_part part, const struct kho_sample *past, size_t n)
{
	double k[NEWEST];

	for (size_t i = 0; i < n; i++)
		k[i] = part_us(&past[i], part) / (double)cost_of(jumps, part, &past[i].facts);
	return median(k, n);
}

/* What they had to copy. */
static uint64_t past_copy_us(const struct kho_sample *past, size_t n)
{
	double k[NEWEST];

	for (size_t i = 0; i < n; i++)
		k[i] = (double)past[i].facts.copy_us;
	return n ? (uint64_t)median(k, n) : 0;
}

void kho_predict(const struct kho_facts *now, bool jumps, const struct kho_sample *past, size_t n,
		 struct kho_prediction *out)
{
	size_t use = n < NEWEST ? n : NEWEST;

	*out = (struct kho_prediction){ .upgrades = (unsigned)use, .jumps = jumps };
	if (jumps && !use)
		return;
	for (int i = 0; i < KHO_NPARTS; i++) {
		uint64_t cost = cost_of(jumps, i, now);

		if (!cost) /* no such part */
			continue;
		out->part_us[i] = (uint64_t)((use ? unit_us(jumps, i, past + n - use, use) : (double)now->n[KHO_FACT_SELFTEST_US] / 1000) * (double)cost);
		out->us += out->part_us[i];
	}
	if (!out->us)
		return;
	out->copy_us = now->copy_known ? now->copy_us : past_copy_us(past + n - use, use);
	out->part_us[COPY_IN] += out->copy_us;
	out->us += out->copy_us;
}

const char *kho_prediction_basis(const struct kho_prediction *p, const struct kho_facts *f,
				 char *buf, size_t len)
{
	char mem[KHO_FORMAT_MAX], us[KHO_FORMAT_MAX];
	const char *kind = p->jumps ? " of this kind" : "";

	if (!p->us && p->jumps)
		snprintf(buf, len, "not known until one like it was seen here: the next kernel boots in the blackout, which takes seconds");
	else if (!p->us)
		snprintf(buf, len, "not known: no upgrade is on record here, and no self-test was made");
	else if (p->upgrades == 1)
		snprintf(buf, len, "from the last upgrade%s", kind);
	else if (p->upgrades)
		snprintf(buf, len, "from the last %u upgrades%s", p->upgrades, kind);
	else
		snprintf(buf, len,
			 "estimated; self-test: %s, processes: %llu with %s, PCI functions: %llu, mounts: %llu, connections: %llu, containers: %llu",
			 kho_format_us(f->n[KHO_FACT_SELFTEST_US], us),
			 (unsigned long long)f->n[KHO_FACT_PROCESSES],
			 kho_format_bytes(f->n[KHO_FACT_RESIDENT], mem),
			 (unsigned long long)f->n[KHO_FACT_FUNCTIONS],
			 (unsigned long long)f->n[KHO_FACT_MOUNTS],
			 (unsigned long long)f->n[KHO_FACT_CONNECTIONS],
			 (unsigned long long)f->n[KHO_FACT_CONTAINERS]);
	return buf;
}

struct json_object *kho_facts_json(const struct kho_facts *f)
{
	struct json_object *o = json_object_new_object();

	for (int i = 0; i < KHO_NFACTS; i++)
		kho_json_int(o, kho_fact_name(i), (int64_t)f->n[i]);
	kho_json_bool(o, "root_in_ram", f->root_in_ram);
	if (f->copy_known)
		kho_json_int(o, "copy_us", (int64_t)f->copy_us);
	return o;
}

static uint64_t fact(const struct json_object *o, const char *name)
{
	int64_t n = kho_json_get_int(o, name);

	return n < 0 ? 0 : n > FACT_MAX ? FACT_MAX : (uint64_t)n;
}

void kho_facts_read(const struct json_object *o, struct kho_facts *out)
{
	for (int i = 0; i < KHO_NFACTS; i++)
		out->n[i] = fact(o, kho_fact_name(i));
	out->copy_known = kho_json_get(o, "copy_us");
	out->copy_us = fact(o, "copy_us");
	out->root_in_ram = json_object_get_boolean(kho_json_get(o, "root_in_ram"));
}
