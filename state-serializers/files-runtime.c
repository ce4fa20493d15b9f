// SPDX-License-Identifier: GPL-2.0-only
/*
 * Directories below /run that systemd made for carried units (RuntimeDirectory=): they belong to the
 * unit as long as it runs, with what lies in them and nobody holds open.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"
#include "state-serializers/files.h"
#include "state-serializers/units.h"

/* "redis", "a/b", "name:link" */
static int add_words(char *words, char ***out, size_t *n)
{
	char *save = NULL;

	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		char *path;

		w[strcspn(w, ":")] = '\0';
		if (!*w || *w == '/' || strstr(w, ".."))
			continue;
		if (asprintf(&path, "/run/%s", w) < 0)
			return -ENOMEM;
		if (kho_pb_append(out, n, path)) {
			free(path);
			return -ENOMEM;
		}
	}
	return 0;
}

int kho_ramroot_runtime_dirs(const char *sysroot, const struct kho_workload_list *w, char ***out, size_t *n, struct kho_err *err)
{
	for (size_t i = 0; w && kho_units_systemd(sysroot) && i < w->n; i++) {
		_cleanup_free_ char *shown = NULL, *words = NULL;
		char unit[KHO_UNIT_MAX];

		if (!kho_unit_of(&w->w[i], unit))
			continue;
		shown = kho_units_show(sysroot, unit);
		words = kho_units_value(shown, "RuntimeDirectory");
		if (words && add_words(words, out, n))
			return kho_fail(err, -ENOMEM, "runtime directories: out of memory");
	}
	return 0;
}
