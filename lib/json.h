/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Small helpers on json-c: build and read objects without a check after every call.
 */
#ifndef KHO_LIB_JSON_H
#define KHO_LIB_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/report.h"

/* Add a member; text NULL becomes null. */
void kho_json_str(struct json_object *o, const char *key, const char *text);
void kho_json_int(struct json_object *o, const char *key, int64_t n);
/* The same; 0 or less becomes null: it is not known. */
void kho_json_known(struct json_object *o, const char *key, int64_t n);
void kho_json_bool(struct json_object *o, const char *key, bool b);

/* A ratio or the like, with four digits; JSON has no infinity: at most 1e9. */
void kho_json_number(struct json_object *o, const char *key, double v);

/* JSON is UTF-8: what is none in these bytes, of a name or a log, becomes '?'. */
void kho_json_clean(char *text, size_t len);

/*
 * An object (borrowed) as clean text with a newline at its end, malloc'd; pretty: over several lines, indented. *out_len (may be NULL):
 * bytes without the NUL. NULL: no memory.
 */
char *kho_json_line(struct json_object *o, bool pretty, size_t *out_len);

/* Read a member; a missing one or one of another type gives "" / 0 / NULL. Borrowed from o. */
const char *kho_json_get_str(const struct json_object *o, const char *key);
int64_t kho_json_get_int(const struct json_object *o, const char *key);
struct json_object *kho_json_get(const struct json_object *o, const char *key);

/* Text (need not end with NUL) -> object; -EINVAL when it is no JSON object. *out is the caller's
 * (json_object_put). */
int kho_json_parse(const char *text, size_t len, struct json_object **out,
		   struct kho_err *err) __must_check;

/* A report as array of {"verdict","area","subject","what","fix"}. */
struct json_object *kho_json_report(const struct kho_report *r);

static inline void kho_json_putp(struct json_object **o)
{
	json_object_put(*o);
}
#define _cleanup_json_ __attribute__((cleanup(kho_json_putp)))

#endif
