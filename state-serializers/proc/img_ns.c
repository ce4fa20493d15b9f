// SPDX-License-Identifier: GPL-2.0-only
/*
 * CRIU compares the number of a namespace of the root process with that of its own, and makes a new
 * one where they differ.  A user namespace that systemd had made (PrivateUsers=) cannot be made again
 * by CRIU without making all other namespaces in it; the process had no use of it but to have less
 * rights, and is restored in the system's.
 */
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/criu_img.pb-c.h"
#include "state-serializers/proc/img.h"

#define HEAD 8 /* the inventory alone has one magic word, then the length of its record */

static int take_number(const uint8_t *rec, size_t len, void *arg, struct kho_err *err)
{
	CriuImg__KobjIds *ids = criu_img__kobj_ids__unpack(NULL, len, rec);
	bool ok = ids && ids->has_user_ns_id;

	if (ok)
		*(uint32_t *)arg = ids->user_ns_id;
	if (ids)
		criu_img__kobj_ids__free_unpacked(ids, NULL);
	return ok ? 1 : kho_fail(err, -EBADMSG, "ids image: its namespaces are not understood");
}

/* protobuf-c keeps the fields that we do not know. */
static int change(const char *path, uint32_t number, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct kho_blob b = { 0 };
	size_t len = 0;
	uint32_t n = 0;
	int rc = kho_read_file(path, 1 << 20, &text, &len, err);

	if (rc)
		return rc;
	if (len > HEAD)
		memcpy(&n, text + 4, sizeof(n));
	CriuImg__Inventory *v =
		len > HEAD && n <= len - HEAD
			? criu_img__inventory__unpack(NULL, n, (uint8_t *)text + HEAD)
			: NULL;

	if (!v || !v->root_ids) {
		if (v)
			criu_img__inventory__free_unpacked(v, NULL);
		return kho_fail(err, -EBADMSG, "%s is not understood", path);
	}
	v->root_ids->has_user_ns_id = 1;
	v->root_ids->user_ns_id = number;
	rc = kho_pb_pack(&v->base, &b, err);
	criu_img__inventory__free_unpacked(v, NULL);

	_cleanup_free_ char *whole = rc ? NULL : malloc(HEAD + b.len);

	if (!rc && !whole)
		rc = kho_fail(err, -ENOMEM, "%s: out of memory", path);
	if (!rc) {
		memcpy(whole, text, 4);
		n = (uint32_t)b.len;
		memcpy(whole + 4, &n, sizeof(n));
		memcpy(whole + HEAD, b.data, b.len);
		rc = kho_write_file(path, whole, HEAD + b.len, err);
	}
	kho_blob_done(&b);
	return rc;
}

int kho_img_same_user_ns(const char *dir, pid_t root, struct kho_err *err)
{
	char path[PATH_MAX];
	uint32_t number = 0;
	int rc;

	snprintf(path, sizeof(path), "%s/ids-%d.img", dir, root);
	rc = kho_img_each(path, take_number, &number, err);
	snprintf(path, sizeof(path), "%s/inventory.img", dir);
	return rc ? rc : change(path, number, err);
}
