// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the outgoing kernel said last: its module has written the whole log into the region's head
 * when it retired, halted or panicked; here it becomes dmesg-GENERATION-RELEASE.txt beside the
 * journal, of the machine's own root where that is on a disk.  The text is another kernel's: it is
 * copied once, and only what can be printed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/format.h"
#include "lib/io.h"

#define PATIENCE_US 2000000 /* a panic is announced before its log is written */

static uint64_t wait_for(const volatile struct kho_dmesg *d)
{
	const struct timespec tick = { .tv_nsec = 20000000 };
	uint64_t until = kho_clock_us() + PATIENCE_US, n;

	while (!(n = __atomic_load_n(&d->bytes, __ATOMIC_ACQUIRE)) && kho_clock_us() < until)
		nanosleep(&tick, NULL);
	return n < sizeof(d->data) ? n : sizeof(d->data);
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
}
