/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The verdict on a canary (docs/formats.md, "Canary"), as text, JSON and JUnit XML.
 */
#ifndef KHO_KHOCTL_CANARY_H
#define KHO_KHOCTL_CANARY_H

#include <json-c/json.h>
#include <stdio.h>

#include "khoctl/cli.h"

/* Loads, shadows and replays as tables, gates, then the verdict in one line. */
void kho_text_canary(const struct json_object *canary, FILE *f);

/*
 * JUnit XML: a test for each gate, before and after the load, for each load, shadow and replay, and for the verdict. verdict: as kho_canary_verdict() gives it.
 */
void kho_junit_canary(struct json_object *verdict, FILE *f);

/* What --json prints: what was found ("canary" of a result's report), or only that nothing was; with outcome, msg and exit. The caller's. */
struct json_object *kho_canary_verdict(const struct json_object *result, int code);

/* The result event of a canary: print it as the options say, write --junit's file; the exit code. */
int kho_canary_tell(const struct kho_cli *c, const struct json_object *result, int code);

#endif
