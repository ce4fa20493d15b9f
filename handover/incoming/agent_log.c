// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the outgoing kernel said last: its module has written the whole log into the region's head
 * when it retired, halted or panicked; here it becomes dmesg-GENERATION-RELEASE.txt beside the
 * journal, of the machine's own root where that is on a disk, and the oldest goes.  The text is another kernel's: it is
 * copied once, and only what can be printed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/format.h"
#include "lib/io.h"

#define KEPT	    8	    /* of a machine that is upgraded again and again */
#define PATIENCE_US 2000000 /* a panic is announced before its log is written */

static uint64_t wait_for(const volatile struct kho_dmesg *d)
{
	const struct timespec tick = { .tv_nsec = 20000000 };
	uint64_t until = kho_clock_us() + PATIENCE_US, n;

	while (!(n = __atomic_load_n(&d->bytes, __ATOMIC_ACQUIRE)) && kho_clock_us() < until)
		nanosleep(&tick, NULL);
	return n < sizeof(d->data) ? n : sizeof(d->data);
}

struct kept {
	unsigned long generation;
	struct timespec written;
	char name[NAME_MAX + 1];
};

/* Is it a kept log? */
static bool look_at(DIR *dir, const char *name, struct kept *out)
{
	struct stat st;

	out->generation = strncmp(name, "dmesg-", 6) ? 0 : strtoul(name + 6, NULL, 10);
	if (!out->generation || fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	out->written = st.st_mtim;
	snprintf(out->name, sizeof(out->name), "%s", name);
	return true;
}

/* By time, as generations begin anew when the machine is restarted. */
static bool is_older(const struct kept *a, const struct kept *b)
{
	if (kho_is_earlier(&a->written, &b->written))
		return true;
	return !kho_is_earlier(&b->written, &a->written) && a->generation < b->generation;
}

/* How many there are, and the oldest of them (out). */
static unsigned count(DIR *dir, struct kept *oldest)
{
	struct kept k;
	unsigned n = 0;

	rewinddir(dir);
	for (struct dirent *d; (d = readdir(dir));)
		if (look_at(dir, d->d_name, &k) && (!n++ || is_older(&k, oldest)))
			*oldest = k;
	return n;
}

static void drop_old(const char *path)
{
	_cleanup_closedir_ DIR *dir = opendir(path);
	struct kept oldest;

	while (dir && count(dir, &oldest) > KEPT)
		if (unlinkat(dirfd(dir), oldest.name, 0) < 0)
			return;
}

void kho_agent_wait_log(struct kho_agent *a)
{
	const struct kho_machine *m = a->conf->machine;
	const volatile struct kho_dmesg *d = m->dmesg ? m->dmesg(m->arg, NULL) : NULL;

	if (d)
		(void)wait_for(d);
}

void kho_agent_keep_log(struct kho_agent *a, uint32_t generation, const char *release)
{
	const struct kho_machine *m = a->conf->machine;
	_cleanup_free_ char *text = NULL, *path = NULL, *dir = NULL, *name = strdup(release);
	const volatile struct kho_dmesg *d;
	struct kho_err err = KHO_ERR_INIT;
	uint64_t n;

	if (!m->dmesg)
		return;
	d = m->dmesg(m->arg, &err);
	n = d ? wait_for(d) : 0;
	if (!d || !n) {
		a->conf->say("the log of %s is not kept: %s", release,
			     d ? "it has left none" : err.msg);
		return;
	}
	for (char *p = name; p && (p = strchr(p, '/'));)
		*p = '?';
	text = malloc(n);
	if (!name || !text) {
		a->conf->say("the log of %s is not kept: no memory", release);
		return;
	}
	kho_format_text(text, d->data, n);
	if (kho_agent_state_dir(a, &dir, &err) < 0 ||
	    asprintf(&path, "%s/dmesg-%" PRIu32 "-%s.txt", dir, generation, name) < 0 ||
	    kho_write_file(path, text, n, &err) < 0)
		a->conf->say("the log of %s is not kept: %s", release, err.msg);
	if (dir)
		drop_old(dir);
}
