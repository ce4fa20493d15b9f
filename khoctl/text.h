/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text output: tables by libsmartcols, the plan, a report.  Each is made from the JSON form, so
 * that both tell the same.
 */
#ifndef KHO_TEXT_H
#define KHO_TEXT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

struct kho_text_table;

/* heads: NULL-terminated. */
struct kho_text_table *kho_text_table_new(const char *const *heads);
/* One row: as many strings as there are heads. */
void kho_text_row(struct kho_text_table *t, const char *const *cells);
/* Print (nothing when it has no row) and free. */
void kho_text_table_end(struct kho_text_table *t, FILE *f);

/* Plan (kho_plan_json): what `upgrade --dry-run` prints. */
void kho_text_plan(const struct json_object *plan, FILE *f);
/* The verdicts of a plan; only_bad: leave out those that are ok. */
void kho_text_verdicts(const struct json_object *plan, int only_bad, FILE *f);
/* What becomes of each workload and how long it will stand still; all: each service that is started anew by name. */
void kho_text_workloads(const struct json_object *plan, bool all, FILE *f);
/* "moves", "moves with loss" ...: a verdict on a workload in words. */
const char *kho_text_fate(const char *verdict);
/* The upgrades of a machine (verb_history.c). */
void kho_text_history(const struct json_object *history, FILE *f);
/* Report of an upgrade (kho_report_of_journal). */
void kho_text_report(const struct json_object *report, FILE *f);

#endif
