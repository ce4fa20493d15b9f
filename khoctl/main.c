// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl: parse argv by the tables, call the verb.  Only verbs print, and each error once.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "khoctl/cli.h"
#include "khoctl/usage.h"
#include "lib/io.h"

static const struct kho_opt *find_option(enum kho_verb_id verb, const char *name, size_t len)
{
	for (size_t i = 0; i < kho_nopts; i++)
		if (kho_opts[i].verbs & 1u << verb && strlen(kho_opts[i].name) == len &&
		    !strncmp(kho_opts[i].name, name, len))
			return &kho_opts[i];
	return NULL;
}

static int __attribute__((format(printf, 2, 3)))
bad_usage(enum kho_verb_id verb, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "khoctl %s: ", kho_verbs[verb].name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (see khoctl %s --help)\n", kho_verbs[verb].name);
	return KHO_EXIT_USAGE;
}

/* One --option at argv[*i]; moves *i over its value. */
static int parse_option(enum kho_verb_id verb, int argc, char **argv, int *i, struct kho_cli *c)
{
	const char *name = argv[*i] + 2, *eq = strchr(name, '='), *value = NULL;
	const struct kho_opt *o = find_option(verb, name, eq ? (size_t)(eq - name) : strlen(name));
	void *field;

	if (!o)
		return bad_usage(verb, "no option '%s'", argv[*i]);
	field = (char *)c + o->off;
	if (o->type == KHO_OPT_FLAG) {
		if (eq)
			return bad_usage(verb, "--%s takes no value", o->name);
		*(bool *)field = true;
		return 0;
	}
	value = eq ? eq + 1 : *i + 1 < argc ? argv[++*i] : NULL;
	if (!value || !*value || (!eq && !strncmp(value, "--", 2)))
		return bad_usage(verb, "--%s needs a value", o->name);
	if (o->type == KHO_OPT_STRING)
		*(const char **)field = value;
	else if (!kho_parse_size(value, field))
		return bad_usage(verb, "'%s' is no size like 512M or 2G", value);
	return 0;
}

static int parse(enum kho_verb_id verb, int argc, char **argv, struct kho_cli *c)
{
	const struct kho_verb *v = &kho_verbs[verb];
	bool only_args = false;

	c->args = argv;
	for (int i = 0; i < argc; i++) {
		int rc;

		if (only_args || argv[i][0] != '-') {
			c->args[c->nargs++] = argv[i];
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			only_args = true;
			continue;
		}
		if (!strcmp(argv[i], "-h")) {
			c->help = true;
			continue;
		}
		rc = strncmp(argv[i], "--", 2) ? bad_usage(verb, "no option '%s'", argv[i])
					       : parse_option(verb, argc, argv, &i, c);
		if (rc)
			return rc;
	}
	if (c->help)
		return 0;
	if (c->nargs < v->least)
		return bad_usage(verb, "wants %s", v->args);
	if (c->nargs > v->most)
		return bad_usage(verb, "'%s' is too much", c->args[v->most]);
	return 0;
}

int main(int argc, char **argv)
{
	struct kho_cli c = { 0 };
	int rc;

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		kho_usage_all(argc < 2 ? stderr : stdout);
		return argc < 2 ? KHO_EXIT_USAGE : KHO_EXIT_OK;
	}
	if (!strcmp(argv[1], "--version"))
		return kho_verb_version(&c);
	for (enum kho_verb_id v = 0; v < KHO_NVERBS; v++) {
		if (strcmp(argv[1], kho_verbs[v].name))
			continue;
		rc = parse(v, argc - 2, argv + 2, &c);
		if (rc)
			return rc;
		if (!c.help)
			return kho_verbs[v].run(&c);
		kho_usage_verb(stdout, v);
		return KHO_EXIT_OK;
	}
	fprintf(stderr, "khoctl: no verb '%s' (see khoctl --help)\n", argv[1]);
	return KHO_EXIT_USAGE;
}
