// SPDX-License-Identifier: GPL-2.0-only
/* Named faults.  See lib/fault.h. */
#include "lib/fault.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"

#define PEER_PREFIX "peer-"

const struct kho_fault_word kho_fault_places[KHO_FAULT_NPLACES] = {
#define PLACE(id, text, at) [KHO_FAULT_##id] = { .name = text, .where = at },
#include "lib/faults.def"
};

const struct kho_fault_word kho_fault_kinds[KHO_FAULT_NKINDS] = {
	[KHO_FAULT_NONE] = { .name = "none" },
#define HERE(id, text, at, does) [KHO_FAULT_##id] = { .name = text, .where = at, .what = does },
#define PEER(id, does) \
	[KHO_FAULT_PEER_##id] = { .name = PEER_PREFIX #id, .where = KHO_AT_STEP | KHO_AT_UNDO | KHO_AT_LANE | KHO_AT_END, .what = does },
#define LINK(id, text, does) [KHO_FAULT_##id] = { .name = text, .where = KHO_AT_LINK, .what = does },
#include "lib/faults.def"
};

static int find(const struct kho_fault_word *words, size_t n, size_t first, const char *name)
{
	for (size_t i = first; i < n; i++)
		if (!strcmp(words[i].name, name))
			return (int)i;
	return -1;
}

int kho_fault_place_find(const char *name)
{
	return find(kho_fault_places, KHO_FAULT_NPLACES, 0, name);
}

int kho_fault_kind_find(const char *name)
{
	return find(kho_fault_kinds, KHO_FAULT_NKINDS, 1, name);
}

static bool listed(const char *const *names, const char *name)
{
	for (; names && *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

static int copy_name(char *out, size_t size, const char *name, struct kho_err *err)
{
	if ((size_t)snprintf(out, size, "%s", name) >= size)
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: '%s' is too long", name);
	return 0;
}

/* All names of words that can be there, for a message. */
static void known_words(const struct kho_fault_word *words, size_t n, unsigned where, char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < n; i++)
		if (words[i].where & where && at < size)
			at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", words[i].name);
}

/* NAME[.PLACE], NAME being a step or a serializer. */
static int parse_place(char *word, const struct kho_fault_names *known, struct kho_fault *out, struct kho_err *err)
{
	char *dot = strchr(word, '.'), words[200];
	int place = KHO_FAULT_BEFORE;
	unsigned where;

	if (dot) {
		*dot = '\0';
		place = kho_fault_place_find(dot + 1);
	}
	where = listed(known->steps, word) ? KHO_AT_STEP | KHO_AT_UNDO | KHO_AT_SIGN : listed(known->lanes, word) ? KHO_AT_LANE | KHO_AT_END : 0;
	if (!where)
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: no step or serializer '%s'", word);
	if (place < 0 || !(kho_fault_places[place].where & where)) {
		known_words(kho_fault_places, KHO_FAULT_NPLACES, where, words, sizeof(words));
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: '%s' has no place '%s', but %s", word, dot ? dot + 1 : "before", words);
	}
	out->place = (enum kho_fault_place)place;
	return copy_name(out->at, sizeof(out->at), word, err);
}

/* MESSAGE[.reply][@STEP] */
static int parse_message(char *word, const struct kho_fault_names *known, struct kho_fault *out, struct kho_err *err)
{
	char *at = strchr(word, '@'), *dot;
	int place = KHO_FAULT_REQUEST;

	if (at)
		*at++ = '\0';
	dot = strchr(word, '.');
	if (dot) {
		*dot = '\0';
		place = kho_fault_place_find(dot + 1);
	}
	if (!listed(known->messages, word))
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: the link has no message '%s'", word);
	if (place < 0 || !(kho_fault_places[place].where & KHO_AT_LINK))
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: a message has no place '%s', but request and reply", dot + 1);
	if (at && known->steps && !listed(known->steps, at))
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: no step '%s'", at);
	out->place = (enum kho_fault_place)place;
	if (copy_name(out->from, sizeof(out->from), at ? at : "", err) < 0)
		return -EINVAL;
	return copy_name(out->at, sizeof(out->at), word, err);
}

static int parse_one(char *word, const struct kho_fault_names *known, struct kho_fault *out, struct kho_err *err)
{
	char *colon = strchr(word, ':'), words[200];
	size_t prefix = strlen(KHO_FAULT_LINK);
	int kind, rc;

	*out = (struct kho_fault){ 0 };
	if (!colon)
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: '%s': want PLACE:KIND", word);
	if (copy_name(out->name, sizeof(out->name), word, err) < 0)
		return -EINVAL;
	*colon = '\0';
	kind = kho_fault_kind_find(colon + 1);
	if (!strncmp(word, KHO_FAULT_LINK, prefix))
		rc = parse_message(word + prefix, known, out, err);
	else
		rc = parse_place(word, known, out, err);
	if (rc < 0)
		return rc;
	if (kind < 0 || !(kho_fault_kinds[kind].where & kho_fault_places[out->place].where)) {
		known_words(kho_fault_kinds, KHO_FAULT_NKINDS, kho_fault_places[out->place].where, words, sizeof(words));
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: there it can be %s, not '%s'", words, colon + 1);
	}
	out->kind = (enum kho_fault_kind)kind;
	return 0;
}

int kho_faults_parse(const char *text, const struct kho_fault_names *known, struct kho_faults *out,
		     struct kho_err *err)
{
	_cleanup_free_ char *copy = strdup(text ? text : "");
	char *save, *word;

	*out = (struct kho_faults){ .n = 0 };
	if (!copy)
		return kho_fail(err, -ENOMEM, "KHOCTL_FAULT: out of memory");
	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		int rc;

		if (out->n == KHO_FAULTS_MAX)
			return kho_fail(err, -E2BIG, "KHOCTL_FAULT: more than %d faults",
					KHO_FAULTS_MAX);
		rc = parse_one(word, known, &out->f[out->n], err);
		if (rc < 0)
			return rc;
		out->n++;
	}
	return 0;
}

const struct kho_fault *kho_fault_at(const struct kho_faults *f, const char *at,
				     enum kho_fault_place place)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->f[i].place == place && !strcmp(f->f[i].at, at))
			return &f->f[i];
	return NULL;
}

const char *kho_fault_peer(enum kho_fault_kind kind)
{
	const char *name = kho_fault_kinds[kind].name;
	size_t n = strlen(PEER_PREFIX);

	return strncmp(name, PEER_PREFIX, n) ? NULL : name + n;
}
