/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The upgrades that this machine has begun, however they ended: history.jsonl in the state directory, one line each, the
 * newest last.  The last upgrade is not in it but in the journal: its line is written when the next one begins.  Lines of
 * upgrades that came through hold what a prediction needs, too (orchestrator/predict.h).
 */
#ifndef KHO_HISTORY_H
#define KHO_HISTORY_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/kexec_metadata.h"

#define KHO_HISTORY_NAME "history.jsonl"
#define KHO_HISTORY_MAX	 64

/* A report (kho_report_of_journal) as line of the history; NULL: it does not say which kernels it was about, or is a canary's. */
struct json_object *kho_history_entry(const struct json_object *report);

/* One line (need not end with NUL) -> object, the caller's. -EINVAL: it tells of no upgrade. */
int kho_history_line(const char *line, size_t len, struct json_object **out, struct kho_err *err) __must_check;

/*
 * The lines of state_dir, oldest first, as array; *out_bad (may be NULL): so many are damaged, and left out. No file: none
 * yet. Negative: there is one, and it cannot be read.
 */
int kho_history_load(const char *state_dir, struct json_object **out, unsigned *out_bad, struct kho_err *err) __must_check;

/* Append it (the list takes a reference), unless it is the last one already: an upgrade that got no journal has kept the one before it. */
bool kho_history_add(struct json_object *list, struct json_object *entry);

/*
 * The journal is about to be replaced by that of an upgrade from the running kernel to `generation`: keep what it tells. A
 * file that cannot be read is left as it is. Failure costs a line of the history, no more.
 */
void kho_history_keep(const char *run_dir, const char *state_dir, const char *running, uint32_t generation);

/*
 * Does what the running kernel itself says of how it was started agree with the list (oldest first, the last upgrade in it)? 1: yes.
 * 0: the last upgrade that led to another kernel was none that jumped, or there was none. -1: no, *why says it.
 */
int kho_history_witness(const struct json_object *list, const char *running, const struct kho_kexec_metadata *m, char *why, size_t len);

#endif
