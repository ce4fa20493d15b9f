// SPDX-License-Identifier: GPL-2.0-only
/*
 * State that has come over a disk (--state-dir). It is read when the file system that it lies on is back, which is what the serializer of disks sees
 * to, with its drivers, LVM and LUKS, and before the first who needs it: the processes. Until this side signs, that file system is seen through a
 * snapshot, so that what lies there is untouched, and still there for the way back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover/engine.h"
#include "handover/incoming/handed.h"
#include "handover/kexec/disk.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

/* The directory that the operator has named, as it is seen here. */
static char *dir_of(const struct kho_handed *h)
{
	char *dir;

	return asprintf(&dir, "%s%s", kho_new_root(&h->a.env), h->s->dir) < 0 ? NULL : dir;
}

static int fetch_one(struct kho_handed *h, size_t i, int folder, struct kho_err *err)
{
	const KhoHanded__File *f = h->s->file[i];
	const struct kho_disk_file what = { .bytes = f->bytes, .packed = f->packed, .digest = f->digest };
	_cleanup_free_ char *path = kho_handed_path(h, i), *parent = path ? strdup(path) : NULL;
	int ret;

	if (!parent)
		return kho_fail(err, -ENOMEM, "%s", f->name);
	*strrchr(parent, '/') = '\0';
	ret = kho_mkdir(parent, err);
	if (!ret)
		ret = kho_disk_get(folder, f->token, &what, path, 0, err);
	return ret < 0 ? kho_wrap(err, "%s", f->name) : 0;
}

int kho_handed_fetch(struct kho_handed *h, struct kho_err *err)
{
	_cleanup_free_ char *dir = NULL;
	_cleanup_close_ int folder = -1;
	uint64_t begin = kho_clock_us();
	int ret = 0;

	if (!*h->s->dir || h->fetched)
		return 0;
	dir = dir_of(h);
	if (!dir)
		return kho_fail(err, -ENOMEM, "%s", h->s->dir);
	folder = kho_disk_open(dir, err);
	if (folder < 0)
		return folder;
	for (size_t i = 0; !ret && i < h->s->n_file; i++)
		if (h->s->file[i]->token)
			ret = fetch_one(h, i, folder, err);
	h->fetched = !ret;
	kho_agent_note_phase(&h->a, "state from disk", begin, kho_clock_us());
	return ret;
}

void kho_handed_drop(struct kho_handed *h)
{
	_cleanup_free_ char *dir = NULL;
	struct kho_err err = KHO_ERR_INIT;

	if (!*h->s->dir)
		return;
	for (size_t i = 0; i < h->s->n_file; i++) {
		_cleanup_free_ char *path = kho_handed_path(h, i);

		if (path)
			(void)!unlink(path);
	}
	dir = dir_of(h);
	if (dir && kho_carry_drop(dir, &err) < 0)
		h->a.conf->say("%s", err.msg);
}
