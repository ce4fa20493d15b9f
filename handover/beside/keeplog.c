// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an incoming kernel had said that was given up: out of the head of its region into
 * dmesg-GENERATION-RELEASE.txt beside the journal, where khoctl log finds it like the log of a
 * kernel that retired.  Part of undoing reserve: the disks are back by then, the region not yet gone.
 * What the try before had left, by the same name, is .prev then: it may have been the one that matters.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/beside.h"
#include "handover/beside/record.h"
#include "handover/beside/words.h"
#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"

static size_t from_record(const uint8_t *head, char *out)
{
	const uint8_t *text;
	size_t n = kho_record_text(head, &text);

	kho_format_text(out, text, n);
	return n;
}

/*
 * The name of a release, as part of a file's. It comes from the other kernel: what is none (its module was never there, or it has
 * written over everything) is what was asked for.
 */
static void name_of(const struct kho_beside *b, const struct kho_ledger *l, char out[64])
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_~";

	snprintf(out, 64, "%.63s", l->side[KHO_SIDE_INCOMING].release);
	if (!*out || out[strspn(out, plain)])
		snprintf(out, 64, "%.63s", b->e.req->release && *b->e.req->release ? b->e.req->release : "unknown");
}

int kho_beside_keep_log(const struct kho_beside *b, struct kho_err *err)
{
	const struct kho_ledger *l = kho_beside_ledger(b);
	_cleanup_free_ char *text = NULL, *path = NULL, *prev = NULL;
	char release[64];
	size_t n;

	if (!l || !b->e.req->state_dir || l->side[KHO_SIDE_INCOMING].state < KHO_STATE_BOOTING)
		return 0;
	text = malloc(KHO_CONSOLE_BYTES + KHO_RECORD_BYTES);
	if (!text)
		return kho_fail(err, -ENOMEM, "keep the incoming kernel's log");
	n = kho_console_text(b->head, text, KHO_CONSOLE_BYTES);
	if (!n)
		n = from_record(b->head, text);
	if (!n)
		return 0;
	name_of(b, l, release);
	if (asprintf(&path, "%s/dmesg-%" PRIu32 "-%s.txt", b->e.req->state_dir,
		     l->side[KHO_SIDE_INCOMING].generation, release) < 0 ||
	    asprintf(&prev, "%s.prev", path) < 0)
		return kho_fail(err, -ENOMEM, "keep the incoming kernel's log");
	if (rename(path, prev) && errno != ENOENT)
		return kho_fail_errno(err, "%s", prev);
	return kho_write_file(path, text, n, err);
}
