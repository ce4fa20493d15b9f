// SPDX-License-Identifier: GPL-2.0-only
/*
 * The lists of modules in a host's initramfs.  See handover/incoming/host_list.h.
 *
 * dracut's are those that systemd-modules-load reads (a file in /etc hides the one of its name in
 * /usr/lib), and rd.driver.pre=A,B in /etc/cmdline.d, which dracut's own hook loads first.
 */
#include "handover/incoming/host_list.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/machine.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define LIST_MAX (1u << 20)
#define PRE "rd.driver.pre="

static int add(struct kho_host_list *l, const char *name, const char *options, struct kho_err *err)
{
	struct kho_host_module *m = kho_array_add(&l->m, &l->n, sizeof(*m));

	if (m) {
		m->name = strdup(name);
		m->options = strdup(options);
	}
	return m && m->name && m->options ? 0 : kho_fail(err, -ENOMEM, "modules of the host's initramfs: out of memory");
}

/* "name options" a line, # comments */
static int add_lines(struct kho_host_list *l, char *text, struct kho_err *err)
{
	char *save = NULL;
	int ret = 0;

	for (char *line = strtok_r(text, "\n", &save); !ret && line; line = strtok_r(NULL, "\n", &save)) {
		char *options;

		line += strspn(line, " \t");
		if (!*line || strchr("#;", *line))
			continue;
		options = line + strcspn(line, " \t");
		if (*options)
			*options++ = '\0';
		ret = add(l, line, options + strspn(options, " \t"), err);
	}
	return ret;
}

/* Words as on a kernel's command line; a name may stand in quotes. */
static int add_words(struct kho_host_list *l, char *text, struct kho_err *err)
{
	char *save = NULL, *inner;
	int ret = 0;

	for (char *word = strtok_r(text, " \t\n\"", &save); !ret && word; word = strtok_r(NULL, " \t\n\"", &save)) {
		if (strncmp(word, PRE, strlen(PRE)))
			continue;
		inner = NULL;
		for (char *name = strtok_r(word + strlen(PRE), ",", &inner); !ret && name; name = strtok_r(NULL, ",", &inner))
			ret = add(l, name, "", err);
	}
	return ret;
}

typedef int (*take_fn)(struct kho_host_list *l, char *text, struct kho_err *err);

static int take(struct kho_host_list *l, const char *path, take_fn fn, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;

	/* what cannot be read is not there for its own init either */
	return kho_read_file(path, LIST_MAX, &text, NULL, NULL) < 0 ? 0 : fn(l, text, err);
}

static int take_all(struct kho_host_list *l, const char *root, const char *pattern, take_fn fn, struct kho_err *err)
{
	char path[PATH_MAX];
	glob_t g = { 0 };
	int ret = 0;

	snprintf(path, sizeof(path), "%s%s", root, pattern);
	if (glob(path, 0, NULL, &g) == 0)
		for (size_t i = 0; !ret && i < g.gl_pathc; i++)
			ret = take(l, g.gl_pathv[i], fn, err);
	globfree(&g);
	return ret;
}

static const char *file_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

static int by_file_name(const void *a, const void *b)
{
	return strcmp(file_name(*(char *const *)a), file_name(*(char *const *)b));
}

/* Sorted by file name whatever folder they lie in, of each name the first folder's. */
static int take_modules_load(struct kho_host_list *l, const char *root, struct kho_err *err)
{
	static const char *const dirs[] = { "/etc", "/usr/local/lib", "/usr/lib" };
	_cleanup_free_ char **path = NULL;
	glob_t g = { 0 };
	size_t n = 0;
	int ret = 0;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		char pattern[PATH_MAX];

		snprintf(pattern, sizeof(pattern), "%s%s/modules-load.d/*.conf", root, dirs[i]);
		(void)!glob(pattern, i ? GLOB_APPEND : 0, NULL, &g); /* nothing there: nothing added */
	}
	path = calloc(g.gl_pathc + 1, sizeof(*path));
	if (!path)
		ret = kho_fail(err, -ENOMEM, "modules of the host's initramfs: out of memory");
	for (size_t i = 0, k; !ret && i < g.gl_pathc; i++) {
		for (k = 0; k < n && by_file_name(&path[k], &g.gl_pathv[i]); k++)
			;
		if (k == n)
			path[n++] = g.gl_pathv[i];
	}
	if (!ret)
		qsort(path, n, sizeof(*path), by_file_name);
	for (size_t i = 0; !ret && i < n; i++)
		ret = take(l, path[i], add_lines, err);
	globfree(&g);
	return ret;
}

static bool has(const char *root, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s", root, name);
	return kho_exists(path);
}

int kho_host_list_read(const char *root, struct kho_host_list *out, struct kho_err *err)
{
	int ret = 0;

	*out = (struct kho_host_list){ 0 };
	if (has(root, "/conf/modules")) {
		out->maker = "initramfs-tools";
		ret = take_all(out, root, "/conf/modules", add_lines, err);
	} else if (has(root, "/etc/initrd-release")) { /* by this name it says that it is no root file system */
		out->maker = "dracut";
		ret = take_all(out, root, "/etc/cmdline.d/*.conf", add_words, err);
		if (!ret)
			ret = take_modules_load(out, root, err);
	}
	if (ret < 0)
		kho_host_list_done(out);
	return ret;
}

void kho_host_list_done(struct kho_host_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->m[i].name);
		free(l->m[i].options);
	}
	free(l->m);
	*l = (struct kho_host_list){ 0 };
}
