// SPDX-License-Identifier: GPL-2.0-only
/* A list of verdicts.  See lib/report.h. */
#include "lib/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

static void item_done(struct kho_report_item *it)
{
	free(it->area);
	free(it->subject);
	free(it->what);
	free(it->fix);
	free(it->workload);
}

int kho_report_add(struct kho_report *r, enum kho_verdict v, const char *area, const char *subject,
		   const char *fix, const char *what_fmt, ...)
{
	struct kho_report_item it = { .verdict = v };
	struct kho_report_item *bigger;
	va_list ap;
	int n;

	it.area = strdup(area);
	it.subject = strdup(subject);
	it.fix = strdup(fix ? fix : "");
	it.workload = strdup(r->workload ? r->workload : "");
	va_start(ap, what_fmt);
	n = vasprintf(&it.what, what_fmt, ap);
	va_end(ap);
	if (n < 0)
		it.what = NULL;
	bigger = realloc(r->items, (r->n + 1) * sizeof(*bigger));
	if (bigger)
		r->items = bigger;
	if (!bigger || !it.area || !it.subject || !it.fix || !it.what || !it.workload) {
		item_done(&it);
		return -ENOMEM;
	}
	r->items[r->n++] = it;
	return 0;
}

int kho_report_refuse(struct kho_report *r, const char *area, const char *subject, const struct kho_err *why)
{
	_cleanup_free_ char *text = strdup(why->msg);
	char *fix = text ? strrchr(text, ';') : NULL;

	if (!text)
		return -ENOMEM;
	if (fix)
		*fix++ = '\0';
	return kho_report_add(r, KHO_V_NO, area, subject, fix ? fix + strspn(fix, " ") : NULL, "%s", text);
}

int kho_report_restarted(struct kho_report *r, const char *unit)
{
	char **bigger = realloc(r->restarted, (r->nrestarted + 1) * sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	r->restarted = bigger;
	bigger[r->nrestarted] = strdup(unit);
	if (!bigger[r->nrestarted])
		return -ENOMEM;
	r->nrestarted++;
	return 0;
}

const char *kho_fact_name(enum kho_fact f)
{
	static const char *const names[KHO_NFACTS] = {
		[KHO_FACT_SELFTEST_US] = "selftest_us",
		[KHO_FACT_PROCESSES] = "processes",
		[KHO_FACT_RESIDENT] = "resident_bytes",
		[KHO_FACT_FUNCTIONS] = "functions",
		[KHO_FACT_MOUNTS] = "mounts",
		[KHO_FACT_CONNECTIONS] = "connections",
		[KHO_FACT_CONTAINERS] = "containers",
	};

	return (unsigned)f < KHO_NFACTS ? names[f] : "?";
}

enum kho_verdict kho_report_worst(const struct kho_report *r)
{
	enum kho_verdict worst = KHO_V_OK;

	for (size_t i = 0; i < r->n; i++)
		if (r->items[i].verdict > worst)
			worst = r->items[i].verdict;
	return worst;
}

const char *kho_report_first_no(const struct kho_report *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->items[i].verdict == KHO_V_NO)
			return r->items[i].what;
	return NULL;
}

const char *kho_verdict_name(enum kho_verdict v)
{
	static const char *const names[] = {
		[KHO_V_OK] = "ok",
		[KHO_V_LOSS] = "loss",
		[KHO_V_UNKNOWN] = "unknown",
		[KHO_V_NO] = "no",
	};

	return (unsigned)v <= KHO_V_NO ? names[v] : "?";
}

void kho_report_done(struct kho_report *r)
{
	for (size_t i = 0; i < r->n; i++)
		item_done(&r->items[i]);
	free(r->items);
	for (size_t i = 0; i < r->nrestarted; i++)
		free(r->restarted[i]);
	free(r->restarted);
	*r = (struct kho_report){ 0 };
}
