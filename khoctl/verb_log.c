// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl log: the kernel log of a generation that has ended, as the kernel after it has kept it
 * (handover/incoming/agent_log.c).
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "khoctl/cli.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"

#define LOG_MAX (16u << 20)

struct kept {
	unsigned long generation;
	char release[128];
	struct timespec when;
};

/* dmesg-GENERATION-RELEASE.txt */
static bool parse(const char *name, struct kept *k)
{
	int end = 0;

	return sscanf(name, "dmesg-%lu-%127[^/]%n", &k->generation, k->release, &end) == 2 &&
	       !name[end] && end > 4 && !strcmp(name + end - 4, ".txt");
}

/* The newest one, or the newest of a generation: numbers begin anew when the machine restarts. */
static bool find(const char *dir_path, const char *generation, struct kept *out)
{
	_cleanup_closedir_ DIR *dir = opendir(dir_path);
	bool found = false;
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		struct kept k = { 0 };
		struct stat st;

		if (!parse(d->d_name, &k) || fstatat(dirfd(dir), d->d_name, &st, 0) < 0 ||
		    (generation && strtoul(generation, NULL, 10) != k.generation))
			continue;
		k.when = st.st_mtim;
		if (!found || kho_is_earlier(&out->when, &k.when))
			*out = k;
		found = true;
	}
	return found;
}

int kho_verb_log(const struct kho_cli *c)
{
	const char *generation = c->nargs ? c->args[0] : NULL;
	_cleanup_free_ char *dir = kho_sysroot_path(c->sysroot ? c->sysroot : "", KHO_STATE_DIR);
	_cleanup_free_ char *path = NULL, *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	struct json_object *o;
	struct kept k = { 0 };

	if (generation && generation[strspn(generation, "0123456789")]) {
		(void)kho_fail(&err, -EINVAL, "'%s' is no generation; khoctl list shows numbers",
			       generation);
		return kho_cli_error(c, KHO_EXIT_USAGE, &err);
	}
	if (!c->sysroot && kho_cli_need_root(c, "log"))
		return KHO_EXIT_REFUSED;
	if (!dir || !find(dir, generation, &k)) {
		(void)kho_fail(&err, -ENOENT, "no log of %s%s is kept in %s",
			       generation ? "generation " : "a retired kernel",
			       generation ? generation : "", dir);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	if (asprintf(&path, "%s/dmesg-%lu-%s", dir, k.generation, k.release) < 0)
		return KHO_EXIT_INTERNAL;
	if (kho_read_file(path, LOG_MAX, &text, NULL, &err) < 0)
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	if (!c->json) {
		fputs(text, stdout);
		return KHO_EXIT_OK;
	}
	k.release[strlen(k.release) - 4] = '\0';
	o = json_object_new_object();
	kho_json_int(o, "generation", (int64_t)k.generation);
	kho_json_str(o, "release", k.release);
	kho_json_str(o, "file", path);
	kho_json_str(o, "text", text);
	kho_cli_json(o);
	return KHO_EXIT_OK;
}
