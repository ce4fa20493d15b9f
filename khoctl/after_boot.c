// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl status --after-boot, for khoctl-resume.service: when the machine starts, the journal alone
 * says whether a reset has cut an upgrade, and how far that had come.  What it cost goes into the
 * journal, where `khoctl status` finds it.  Nothing of an upgrade can be resumed after a reset:
 * memory is gone; what is on the disks is what the file systems' journals make of it. State that was on its
 * way over a disk (--state-dir) is of use to nobody any more, and is removed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "khoctl/past.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/record.h"
#include "orchestrator/journal.h"
#include "orchestrator/steps.h"

#define AGE_S (30 * 24 * 3600)

static const char *cost(const struct kho_past *p)
{
	int step = kho_step_find(p->step);

	if (p->is_signed)
		return "it was committed: the workloads ended with the machine, and of what they "
		       "wrote to disks in the second after the commit a part may be missing";
	if (step >= 0 && kho_steps[step].flags & KHO_STEP_BLACKOUT)
		return "it was not committed: disks hold what was there when the workloads were "
		       "frozen, clients have seen nothing later; the workloads ended with the "
		       "machine";
	return "it had not begun to move anything: the workloads ran on the old kernel and ended "
	       "with the machine, as in any reset";
}

static int note_reset(const struct kho_past *p, struct kho_err *err)
{
	struct json_object *rec = json_object_new_object();

	kho_json_str(rec, "rec", "reset");
	kho_json_str(rec, "step", p->step);
	kho_json_bool(rec, "signed", p->is_signed);
	kho_json_str(rec, "lost", cost(p));
	kho_json_int(rec, "time", (int64_t)time(NULL));
	return kho_journal_note(KHO_STATE_DIR, rec, err);
}

/* What was on a disk for a kernel that never came, did not get to its end, or was reset between that and the removal: the memory of workloads. */
static int drop_state(const struct kho_past *p, struct kho_err *err)
{
	const struct json_object *begin = kho_record_find(p->records, "begin");
	const char *dir = begin ? kho_json_get_str(begin, "state_dir") : "";

	return *dir ? kho_carry_drop(dir, err) : 0;
}

/* Is this kernel one that khoctl has started? Then nothing was reset. */
static bool is_incoming(void)
{
	return kho_exists(KHO_RUN_DIR "/instance.json") || kho_own_generation("") > 1;
}

/* Half-written files, and logs of kernels that ended long ago. */
static void tidy(void)
{
	_cleanup_closedir_ DIR *dir = opendir(KHO_STATE_DIR);
	time_t now = time(NULL);
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		const char *dot = strrchr(d->d_name, '.');
		struct stat st;

		if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		if ((dot && !strcmp(dot, ".new")) ||
		    (!strncmp(d->d_name, "dmesg-", 6) && now - st.st_mtime > AGE_S))
			(void)!unlinkat(dirfd(dir), d->d_name, 0);
	}
}

int kho_after_boot(const struct kho_cli *c)
{
	_cleanup_past_ struct kho_past p = { 0 };
	struct kho_err err = KHO_ERR_INIT;

	if (kho_cli_need_root(c, "status --after-boot"))
		return KHO_EXIT_REFUSED;
	if (is_incoming())
		return KHO_EXIT_OK;
	tidy();
	kho_past_read(&p, "");
	if (p.state == KHO_PAST_REBOOTED && !*p.lost && note_reset(&p, &err) < 0)
		return kho_cli_error(c, KHO_EXIT_INTERNAL, &err);
	/* one that runs, or is to be undone, sees to it itself */
	if (p.state != KHO_PAST_REBOOTED && p.state != KHO_PAST_ENDED)
		return KHO_EXIT_OK;
	return drop_state(&p, &err) < 0 ? kho_cli_error(c, KHO_EXIT_INTERNAL, &err) : KHO_EXIT_OK;
}
