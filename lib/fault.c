// SPDX-License-Identifier: GPL-2.0-only
/* Named faults.  See lib/fault.h. */
#include "lib/fault.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"

static const char *const places[] = { "before", "after", "undo" };
static const char *const kinds[] = { "none",	    "fail",	 "hang",	"kill",
				     "panic",	    "peer-panic",  "peer-hang", "peer-stop",	"peer-kill",
				     "peer-reboot", "peer-poweroff", "peer-criu", "peer-scribble" };
static const size_t nkinds = sizeof(kinds) / sizeof(*kinds);

static int find(const char *const *names, size_t n, size_t first, const char *name)
{
	for (size_t i = first; i < n && names[i]; i++)
		if (!strcmp(names[i], name))
			return (int)i;
	return -1;
}

static int parse_one(char *word, const char *const *steps, struct kho_fault *out,
		     struct kho_err *err)
{
	char *colon = strchr(word, ':'), *dot;
	int kind, place = KHO_FAULT_BEFORE;

	if (!colon)
		return kho_fail(err, -EINVAL,
				"KHOCTL_FAULT: '%s': want "
				"STEP[.before|.after|.undo]:fail|hang|kill|panic|peer-...",
				word);
	*colon = '\0';
	dot = strchr(word, '.');
	if (dot) {
		*dot = '\0';
		place = find(places, 3, 0, dot + 1);
	}
	kind = find(kinds, nkinds, 1, colon + 1);
	if (find(steps, 1000, 0, word) < 0)
		return kho_fail(err, -EINVAL, "KHOCTL_FAULT: no step '%s'", word);
	if (place < 0)
		return kho_fail(err, -EINVAL,
				"KHOCTL_FAULT: place '%s' is not before, after or undo", dot + 1);
	if (kind < 0)
		return kho_fail(err, -EINVAL,
				"KHOCTL_FAULT: kind '%s' is not fail, hang, kill, panic or one of peer-...",
				colon + 1);
	snprintf(out->step, sizeof(out->step), "%s", word);
	out->place = (enum kho_fault_place)place;
	out->kind = (enum kho_fault_kind)kind;
	return 0;
}

int kho_faults_parse(const char *text, const char *const *steps, struct kho_faults *out,
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
		rc = parse_one(word, steps, &out->f[out->n], err);
		if (rc < 0)
			return rc;
		out->n++;
	}
	return 0;
}

enum kho_fault_kind kho_fault_at(const struct kho_faults *f, const char *step,
				 enum kho_fault_place place)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->f[i].place == place && !strcmp(f->f[i].step, step))
			return f->f[i].kind;
	return KHO_FAULT_NONE;
}

const char *kho_fault_peer(enum kho_fault_kind kind)
{
	return kind >= KHO_FAULT_PEER && kind < nkinds ? kinds[kind] + strlen("peer-") : NULL;
}
