/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The report of one upgrade, made from its journal alone; so whichever kernel has the journal can
 * print it.
 */
#ifndef KHO_ORCH_REPORT_H
#define KHO_ORCH_REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/* Records (kho_journal_parse) ->
 * {"from","to","generation","engine","blackout_us","floor_us","ratio","phases","precopy",...}; of a canary also "canary": what it found. */
struct json_object *kho_report_of_journal(struct json_object *records);

/*
 * Is the kernel of this generation and release the one that the upgrade led to? Its journal ends before the commit if the outgoing one fell
 * then. A generation of 1 or less is of no upgrade: firmware booted that kernel, or nobody knows.
 */
bool kho_report_led_to(const struct json_object *report, int64_t generation, const char *release);

/* It says "interrupted", and the kernel that it led to (kho_report_led_to) runs: then that is how it came out. */
void kho_report_taken_over(struct json_object *report);

/* Write it to DIR/report.json, whole or not at all. */
int kho_report_save(const char *state_dir, struct json_object *report,
		    struct kho_err *err) __must_check;

#endif
