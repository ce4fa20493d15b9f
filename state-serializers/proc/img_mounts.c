// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounts of ours in a container, which CRIU binds into place, and from which they get what was mounted later in the system
 * ("master"). CRIU takes one of those that have a master in common and gives its group to the others, which the kernel refuses
 * where they show different files of one file system (a container's /etc/hosts and /etc/resolv.conf). They go on without.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/criu_img.pb-c.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/tree.h"

#define HEAD 8 /* two magic words */

struct rewritten {
	uint8_t *data; /* never longer than what was read */
	size_t len;
	bool changed;
};

/* protobuf-c keeps the fields that we do not know. */
static int take_record(const uint8_t *rec, size_t len, void *arg, struct kho_err *err)
{
	CriuImg__MntEntry *m = criu_img__mnt_entry__unpack(NULL, len, rec);
	struct rewritten *w = arg;
	uint32_t n;

	if (!m)
		return kho_fail(err, -EBADMSG, "mountpoints image: a record is not understood");
	if (m->ext_key && m->master_id) {
		m->has_master_id = 0;
		m->master_id = 0;
		w->changed = true;
	}
	n = (uint32_t)criu_img__mnt_entry__get_packed_size(m);
	if (n > len) {
		criu_img__mnt_entry__free_unpacked(m, NULL);
		return kho_fail(err, -EBADMSG, "mountpoints image: a record cannot be written again");
	}
	memcpy(w->data + w->len, &n, sizeof(n));
	criu_img__mnt_entry__pack(m, w->data + w->len + sizeof(n));
	w->len += sizeof(n) + n;
	criu_img__mnt_entry__free_unpacked(m, NULL);
	return 0;
}

static int rewrite(const char *dir, const char *name, void *arg, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL, *path = NULL;
	_cleanup_free_ uint8_t *data = NULL;
	struct rewritten w = { 0 };
	size_t len = 0;
	int rc;

	(void)arg;
	if (strncmp(name, "mountpoints-", 12))
		return 0;
	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return kho_fail(err, -ENOMEM, "%s: out of memory", name);
	rc = kho_read_file(path, 16u << 20, &text, &len, err);
	if (rc || !len)
		return rc;
	w.data = data = malloc(len + 1);
	if (!data)
		return kho_fail(err, -ENOMEM, "%s: out of memory", name);
	w.len = len < HEAD ? len : HEAD;
	memcpy(data, text, w.len);
	rc = kho_img_walk((const uint8_t *)text, len, path, take_record, &w, err);
	return rc || !w.changed ? rc : kho_write_file(path, w.data, w.len, err);
}

int kho_img_drop_masters(const char *dir, struct kho_err *err)
{
	return kho_dir_each(dir, rewrite, NULL, err);
}
