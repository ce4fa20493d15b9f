// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables of device mapper: which words of a target's parameters are devices, and which is a key.
 */
#include "state-serializers/block-table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"

/* Words of the parameters, counted from 0. step 0: one device only; key 0: has none. */
static const struct known {
	const char *type;
	unsigned device, step, key;
} known[] = {
	{ "linear", 0, 0, 0 },	/* DEV OFFSET */
	{ "striped", 2, 2, 0 },	/* STRIPES CHUNK [DEV OFFSET]... */
	{ "crypt", 3, 0, 1 },	/* CIPHER KEY IV_OFFSET DEV OFFSET [OPTIONS] */
};

static const struct known *find_type(const char *type)
{
	for (size_t i = 0; i < KHO_ARRAY_SIZE(known); i++)
		if (!strcmp(type, known[i].type))
			return &known[i];
	return NULL;
}

bool kho_table_type_moves(const char *type)
{
	return find_type(type) != NULL;
}

void kho_wipe(char **s)
{
	if (*s) {
		explicit_bzero(*s, strlen(*s));
		free(*s);
	}
	*s = NULL;
}

void kho_dm_table_done(struct kho_dm_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		kho_wipe(&t->target[i].params);
	free(t->target);
	t->target = NULL;
	t->n = 0;
}

int kho_dm_table_add(struct kho_dm_table *t, uint64_t start, uint64_t sectors, const char *type, const char *params)
{
	struct kho_dm_target *p = reallocarray(t->target, t->n + 1, sizeof(*p));
	char *copy = strdup(params);

	if (p)
		t->target = p;
	if (!p || !copy) {
		kho_wipe(&copy);
		return -ENOMEM;
	}
	p[t->n] = (struct kho_dm_target){ .start = start, .sectors = sectors, .params = copy };
	snprintf(p[t->n++].type, sizeof(p->type), "%s", type);
	return 0;
}

int kho_dm_table_recorded(const char *text, const char *name, struct kho_dm_table *out, struct kho_err *err)
{
	size_t len = strlen(name);

	snprintf(out->name, sizeof(out->name), "%s", name);
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		unsigned long long start, sectors;
		char type[16];
		int end = 0;

		if (strncmp(line, name, len) || strncmp(line + len, ": ", 2) ||
		    sscanf(line + len + 2, "%llu %llu %15s%n", &start, &sectors, type, &end) != 3)
			continue;
		const char *params = line + len + 2 + end;
		size_t n = strcspn(params, "\n");
		_cleanup_free_ char *copy = strndup(params + (n > 0), n - (n > 0));

		if (!copy || kho_dm_table_add(out, start, sectors, type, copy))
			return kho_fail(err, -ENOMEM, "table of %s: out of memory", name);
	}
	return out->n ? 0 : kho_fail(err, -ENOENT, "table of %s is not known", name);
}

static bool is_device_word(const struct known *k, unsigned word)
{
	return word >= k->device && (word == k->device || (k->step && !((word - k->device) % k->step)));
}

static bool parse_device(const char *word, dev_t *out)
{
	unsigned maj, min;
	int end = 0;

	if (sscanf(word, "%u:%u%n", &maj, &min, &end) != 2 || word[end])
		return false;
	*out = makedev(maj, min);
	return true;
}

struct split {
	const struct known *k;
	dev_t *under;
	size_t *n;
	char **key;
	FILE *f;
};

/* -EINVAL: not what the kernel writes */
static int split_word(struct split *s, unsigned i, const char *word)
{
	const char *put = word;

	if (is_device_word(s->k, i)) {
		if (*s->n == KHO_TABLE_UNDER || !parse_device(word, &s->under[*s->n]))
			return -EINVAL;
		++*s->n;
		put = "@";
	} else if (s->k->key && i == s->k->key) {
		*s->key = strdup(word);
		if (!*s->key)
			return -ENOMEM;
		put = "#";
	} else if (!strcmp(word, "@") || !strcmp(word, "#")) {
		return -EINVAL;
	}
	fprintf(s->f, "%s%s", i ? " " : "", put);
	return 0;
}

int kho_table_split(const struct kho_dm_target *t, Kho__BlockTarget *out, dev_t under[KHO_TABLE_UNDER], size_t *n, char **key,
		    struct kho_err *err)
{
	_cleanup_(kho_wipe) char *copy = strdup(t->params);
	_cleanup_free_ char *text = NULL;
	struct split s = { .k = find_type(t->type), .under = under, .n = n, .key = key };
	char *save = NULL;
	unsigned i = 0;
	size_t size;
	int ret = 0;

	*n = 0;
	*key = NULL;
	if (!s.k)
		return kho_fail(err, -ENOTSUP, "a mapping of type %s", t->type);
	s.f = open_memstream(&text, &size);
	if (!copy || !s.f)
		return s.f ? fclose(s.f) : 0, kho_fail(err, -ENOMEM, "out of memory");
	/* the copy is not as long as it was when the words have been cut */
	size_t len = strlen(copy);

	for (char *w = strtok_r(copy, " ", &save); w && !ret; w = strtok_r(NULL, " ", &save), i++)
		ret = split_word(&s, i, w);
	explicit_bzero(copy, len);
	fclose(s.f);
	if (!ret && (i <= s.k->device || (s.k->step && (i - s.k->device) % s.k->step)))
		ret = -EINVAL;
	out->start = t->start;
	out->sectors = t->sectors;
	if (!ret && (kho_pb_set(&out->type, t->type) || kho_pb_set(&out->params, text)))
		ret = -ENOMEM;
	if (ret < 0) {
		kho_wipe(key);
		return kho_fail(err, ret, "table of type %s: %s", t->type, ret == -ENOMEM ? "out of memory" : "not understood");
	}
	return 0;
}

/* Into a buffer that is never moved: no copy of a key is left behind. */
int kho_table_join(const Kho__BlockTarget *t, const dev_t *under, const char *key, char **out, struct kho_err *err)
{
	size_t size = strlen(t->params) + t->n_under * 24 + (key ? strlen(key) : 0) + 1, used = 0, len = 0;
	_cleanup_free_ char *copy = strdup(t->params);
	_cleanup_(kho_wipe) char *text = calloc(1, size);
	char *save = NULL;
	bool ok = true;

	if (!copy || !text)
		return kho_fail(err, -ENOMEM, "out of memory");
	for (char *w = strtok_r(copy, " ", &save); w && ok; w = strtok_r(NULL, " ", &save)) {
		const char *space = len ? " " : "";

		if (!strcmp(w, "@") && used < t->n_under) {
			len += snprintf(text + len, size - len, "%s%u:%u", space, major(under[used]), minor(under[used]));
			used++;
		} else if (!strcmp(w, "#") && key) {
			len += snprintf(text + len, size - len, "%s%s", space, key);
			key = NULL;
		} else {
			ok = strcmp(w, "@") && strcmp(w, "#");
			len += snprintf(text + len, size - len, "%s%s", space, w);
		}
	}
	if (!ok || used != t->n_under)
		return kho_fail(err, -EBADMSG, "table of type %s: does not fit together", t->type);
	*out = steal_ptr(text);
	return 0;
}
