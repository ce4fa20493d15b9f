// SPDX-License-Identifier: GPL-2.0-only
/* Helpers on json-c.  See lib/json.h. */
#include "lib/json.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kho_json_str(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

void kho_json_int(struct json_object *o, const char *key, int64_t n)
{
	json_object_object_add(o, key, json_object_new_int64(n));
}

void kho_json_known(struct json_object *o, const char *key, int64_t n)
{
	json_object_object_add(o, key, n > 0 ? json_object_new_int64(n) : NULL);
}

void kho_json_bool(struct json_object *o, const char *key, bool b)
{
	json_object_object_add(o, key, json_object_new_boolean(b));
}

struct json_object *kho_json_get(const struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	if (!json_object_is_type(o, json_type_object))
		return NULL;
	json_object_object_get_ex(o, key, &v);
	return v;
}

void kho_json_number(struct json_object *o, const char *key, double v)
{
	char text[32];

	v = v < 1e9 ? v : 1e9;
	snprintf(text, sizeof(text), "%.4g", v);
	json_object_object_add(o, key, json_object_new_double_s(v, text));
}

/* Bytes of the character at p, 0: there is none (RFC 3629). */
static size_t utf8_char(const unsigned char *p, size_t left)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

void kho_json_clean(char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = utf8_char((const unsigned char *)text + i, len - i);
		if (!n)
			text[i] = '?';
	}
}

char *kho_json_line(struct json_object *o, bool pretty, size_t *out_len)
{
	size_t len = 0;
	const char *text = json_object_to_json_string_length(
		o, (pretty ? JSON_C_TO_STRING_PRETTY : JSON_C_TO_STRING_PLAIN) | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	char *line = text ? malloc(len + 2) : NULL;

	if (!line)
		return NULL;
	memcpy(line, text, len);
	kho_json_clean(line, len);
	memcpy(line + len, "\n", 2);
	if (out_len)
		*out_len = len + 1;
	return line;
}

const char *kho_json_get_str(const struct json_object *o, const char *key)
{
	struct json_object *v = kho_json_get(o, key);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

int64_t kho_json_get_int(const struct json_object *o, const char *key)
{
	struct json_object *v = kho_json_get(o, key);

	return json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
}

int kho_json_parse(const char *text, size_t len, struct json_object **out, struct kho_err *err)
{
	struct json_tokener *tok;
	struct json_object *o;
	enum json_tokener_error jerr;

	if (len > INT_MAX)
		return kho_fail(err, -EFBIG, "JSON text of %zu bytes is too long", len);
	tok = json_tokener_new();
	if (!tok)
		return kho_fail(err, -ENOMEM, "parse JSON: out of memory");
	o = json_tokener_parse_ex(tok, text, (int)len);
	jerr = json_tokener_get_error(tok);
	json_tokener_free(tok);
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		return kho_fail(err, -EINVAL, "not a JSON object: %s",
				json_tokener_error_desc(jerr));
	}
	*out = o;
	return 0;
}

struct json_object *kho_json_report(const struct kho_report *r)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < r->n; i++) {
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "verdict", kho_verdict_name(r->items[i].verdict));
		kho_json_str(o, "area", r->items[i].area);
		kho_json_str(o, "subject", r->items[i].subject);
		kho_json_str(o, "what", r->items[i].what);
		kho_json_str(o, "fix", r->items[i].fix);
		kho_json_str(o, "workload", *r->items[i].workload ? r->items[i].workload : NULL);
		json_object_array_add(list, o);
	}
	return list;
}
