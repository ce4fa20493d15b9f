// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which kernel image --to names: latest, previous, a release, or a file.  See orchestrator/plan.h.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/journal.h"
#include "orchestrator/plan.h"

#define IMAGE "vmlinuz-"

static int no_memory(const char *to, struct kho_err *err)
{
	return kho_fail(err, -ENOMEM, "find the kernel %s: out of memory", to);
}

int kho_plan_latest(const char *sysroot, const char *running, char **out, struct kho_err *err)
{
	_cleanup_free_ char *boot = kho_sysroot_path(sysroot, "/boot");
	_cleanup_closedir_ DIR *dir = boot ? opendir(boot) : NULL;
	_cleanup_free_ char *best = NULL;
	struct dirent *d;

	if (!dir)
		return kho_fail_errno(err, "open %s", boot ? boot : "/boot");
	while ((d = readdir(dir))) {
		const char *release = d->d_name + strlen(IMAGE);

		if (strncmp(d->d_name, IMAGE, strlen(IMAGE)) || !strcmp(release, running))
			continue;
		if (best && kho_version_cmp(release, best) <= 0)
			continue;
		free(best);
		best = strdup(release);
		if (!best)
			return no_memory("latest", err);
	}
	if (!best)
		return kho_fail(err, -ENOENT,
				"no other kernel in %s than the running %s; install one (apt "
				"install linux-image-amd64) or name it with --to FILE",
				boot, running);
	if (kho_version_cmp(best, running) < 0)
		return kho_fail(err, -ENOENT,
				"the running %s is the newest kernel in %s; --to previous goes "
				"back, --to %s takes the next older one",
				running, boot, best);
	return asprintf(out, "%s/" IMAGE "%s", boot, best) < 0 ? no_memory("latest", err) : 0;
}

/* The image that the upgrade came from which led to the kernel that runs now: the last one, or one before it that was undone. */
static int previous(const struct kho_world *w, const char *sysroot, const char *running,
		    char **out, struct kho_err *err)
{
	_cleanup_free_ char *run = kho_sysroot_path(sysroot, w->run_dir),
			    *state = kho_sysroot_path(sysroot, w->state_dir);
	_cleanup_json_ struct json_object *records = NULL;
	const struct json_object *begin;
	const char *image = "";

	if (!run || !state)
		return no_memory("previous", err);
	if (kho_journal_read(run, state, &records, NULL, NULL) < 0)
		return kho_fail(err, -ENOENT,
				"no upgrade is recorded in %s: there is no previous kernel; name "
				"one with --to RELEASE",
				state);
	begin = json_object_array_get_idx(records, 0);
	if (begin && !strcmp(kho_json_get_str(begin, "rec"), "begin")) {
		if (!strcmp(kho_json_get_str(begin, "to"), running))
			image = kho_json_get_str(begin, "old_image");
		else if (!strcmp(kho_json_get_str(begin, "from"), running))
			image = kho_json_get_str(begin, "previous_image");
	}
	if (!*image)
		return kho_fail(err, -ENOENT,
				"the last upgrade did not lead to the running %s: it has no "
				"previous kernel; name one with --to RELEASE",
				running);
	*out = kho_sysroot_path(sysroot, image);
	if (!*out)
		return no_memory("previous", err);
	return kho_exists(*out) ? 0
				: kho_fail(err, -ENOENT,
					   "the previous kernel %s is not installed any more", *out);
}

int kho_plan_target(const struct kho_world *w, const char *sysroot, const char *running,
		    const char *to, char **out, struct kho_err *err)
{
	_cleanup_free_ char *below = NULL, *image = NULL;

	if (!strcmp(to, "latest"))
		return kho_plan_latest(sysroot, running, out, err);
	if (!strcmp(to, "previous"))
		return previous(w, sysroot, running, out, err);
	if (!strchr(to, '/') && !kho_exists(to)) {
		if (asprintf(&image, "/boot/" IMAGE "%s", to) < 0)
			return no_memory(to, err);
		to = image;
	}
	below = kho_sysroot_path(sysroot, to);
	*out = strdup(below && kho_exists(below) ? below : to);
	return *out ? 0 : no_memory(to, err);
}
