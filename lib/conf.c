// SPDX-License-Identifier: GPL-2.0-only
/* `key = value` files.  See lib/conf.h. */
#include "lib/conf.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define CONF_MAX (64u << 10)

struct place {
	const char *path;
	unsigned line;
};

static char *trim(char *s)
{
	size_t len;

	while (isspace((unsigned char)*s))
		s++;
	len = strlen(s);
	while (len && isspace((unsigned char)s[len - 1]))
		s[--len] = '\0';
	return s;
}

/* One escape sequence at s (behind the backslash); its length, or 0 when it is none. */
static int escape(const char *s, char *out)
{
	static const char from[] = "rnt\\\"", to[] = "\r\n\t\\\"";
	const char *hit = *s ? strchr(from, *s) : NULL;
	char hex[3] = { 0 };

	if (hit) {
		*out = to[hit - from];
		return 1;
	}
	if (*s != 'x' || !isxdigit((unsigned char)s[1]) || !isxdigit((unsigned char)s[2]))
		return 0;
	memcpy(hex, s + 1, 2);
	*out = (char)strtoul(hex, NULL, 16);
	return *out ? 3 : 0;
}

static int unescape(const struct place *at, const char *in, char **out, struct kho_err *err)
{
	_cleanup_free_ char *buf = calloc(1, strlen(in) + 1);
	char *w = buf;

	if (!buf)
		return kho_fail(err, -ENOMEM, "%s:%u: out of memory", at->path, at->line);
	while (*in) {
		int n;

		if (*in != '\\') {
			*w++ = *in++;
			continue;
		}
		n = escape(in + 1, w++);
		if (!n)
			return kho_fail(err, -EINVAL,
					"%s:%u: unknown escape '\\%.1s' (known: \\r \\n \\t \\\\ "
					"\\\" \\xHH)",
					at->path, at->line, in + 1);
		in += n + 1;
	}
	*out = steal_ptr(buf);
	return 0;
}

static int set_string(const struct place *at, const char *value, char **out, struct kho_err *err)
{
	*out = strdup(value);
	return *out ? 0 : kho_fail(err, -ENOMEM, "%s:%u: out of memory", at->path, at->line);
}

static int add_string(const struct place *at, const char *value, char ***list, struct kho_err *err)
{
	size_t n = 0;
	char **bigger;

	while (*list && (*list)[n])
		n++;
	bigger = realloc(*list, (n + 2) * sizeof(*bigger));
	if (!bigger)
		return kho_fail(err, -ENOMEM, "%s:%u: out of memory", at->path, at->line);
	*list = bigger;
	bigger[n + 1] = NULL;
	return set_string(at, value, &bigger[n], err);
}

static int bad(const struct place *at, const struct kho_conf_key *k, const char *value,
	       const char *want, struct kho_err *err)
{
	return kho_fail(err, -EINVAL, "%s:%u: %s = %s: %s", at->path, at->line, k->key, value,
			want);
}

static int set_value(const struct place *at, const struct kho_conf_key *k, const char *value,
		     void *object, struct kho_err *err)
{
	void *field = (char *)object + k->off;
	char *end;

	if (!*value)
		return bad(at, k, value, "the value is missing", err);
	switch (k->type) {
	case KHO_CONF_STRING:
		return set_string(at, value, field, err);
	case KHO_CONF_ESCAPED:
		return unescape(at, value, field, err);
	case KHO_CONF_PATH:
	case KHO_CONF_PATHS:
		if (*value != '/')
			return bad(at, k, value, "want an absolute path", err);
		return k->type == KHO_CONF_PATH ? set_string(at, value, field, err)
						: add_string(at, value, field, err);
	case KHO_CONF_DURATION:
		return kho_parse_duration(value, field)
			       ? 0
			       : bad(at, k, value, "want a time like 2s or 250ms", err);
	case KHO_CONF_SIZE:
		return kho_parse_size(value, field)
			       ? 0
			       : bad(at, k, value, "want a size like 512M or 2G", err);
	case KHO_CONF_BOOL:
		*(bool *)field = !strcmp(value, "yes");
		return *(bool *)field || !strcmp(value, "no") ? 0
							      : bad(at, k, value, "want yes or no", err);
	case KHO_CONF_UINT:
		errno = 0;
		*(uint64_t *)field = strtoull(value, &end, 10);
		return isdigit((unsigned char)*value) && !*end && !errno
			       ? 0
			       : bad(at, k, value, "want a number", err);
	}
	return kho_fail(err, -EINVAL, "%s:%u: %s: type %d is unknown", at->path, at->line, k->key,
			k->type);
}

static int parse_line(const struct place *at, char *line, const struct kho_conf_key *keys,
		      uint64_t *seen, void *object, struct kho_err *err)
{
	char *eq, *key, *value;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return kho_fail(err, -EINVAL, "%s:%u: '%s': want key = value", at->path, at->line,
				line);
	*eq = '\0';
	key = trim(line);
	value = trim(eq + 1);
	for (const struct kho_conf_key *k = keys; k->key; k++) {
		uint64_t bit = 1ull << (k - keys);

		if (strcmp(k->key, key))
			continue;
		if (*seen & bit && k->type != KHO_CONF_PATHS)
			return kho_fail(err, -EINVAL, "%s:%u: %s is given twice", at->path,
					at->line, key);
		*seen |= bit;
		return set_value(at, k, value, object, err);
	}
	return kho_fail(err, -EINVAL, "%s:%u: unknown key '%s'", at->path, at->line, key);
}

int kho_conf_load(const char *path, const struct kho_conf_key *keys, void *object,
		  struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct place at = { .path = path };
	char *line, *next;
	uint64_t seen = 0;
	size_t len;
	int rc = kho_read_file(path, CONF_MAX, &text, &len, err);

	if (rc < 0)
		return rc;
	if (strlen(text) != len)
		return kho_fail(err, -EINVAL, "%s: contains NUL bytes: not a text file", path);
	for (line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		at.line++;
		rc = parse_line(&at, line, keys, &seen, object, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void kho_conf_done(const struct kho_conf_key *keys, void *object)
{
	for (const struct kho_conf_key *k = keys; k->key; k++) {
		char **field = (char **)((char *)object + k->off);

		if (k->type == KHO_CONF_STRING || k->type == KHO_CONF_ESCAPED ||
		    k->type == KHO_CONF_PATH) {
			free(*field);
			*field = NULL;
		} else if (k->type == KHO_CONF_PATHS) {
			char ***list = (char ***)field;

			for (char **s = *list; s && *s; s++)
				free(*s);
			free(*list);
			*list = NULL;
		}
	}
}
