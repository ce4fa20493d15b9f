// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kernel's configuration, one `KEY=value` a line; what is not set is a comment. See lib/kconfig.h.
 */
#include "lib/kconfig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define CONFIG_MAX (4u << 20)

static char *value_in(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text; p && *p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, key, n) && p[n] == '=')
			return strndup(p + n + 1, strcspn(p + n + 1, "\n"));
	}
	return NULL;
}

char *kho_kconfig_get(const char *sysroot, const char *release, const char *key)
{
	static const char *const places[][2] = { { "/boot/config-", "" }, { "/lib/modules/", "/config" }, { "/usr/lib/modules/", "/config" } };
	char *value = NULL;

	for (size_t i = 0; !value && i < sizeof(places) / sizeof(*places); i++) {
		_cleanup_free_ char *path = NULL, *text = NULL;
		char name[128];

		snprintf(name, sizeof(name), "%s%s%s", places[i][0], release, places[i][1]);
		path = kho_sysroot_path(sysroot, name);
		if (path && kho_read_file(path, CONFIG_MAX, &text, NULL, NULL) == 0)
			value = value_in(text, key);
	}
	return value;
}
