// SPDX-License-Identifier: GPL-2.0-only
/*
 * block, outgoing side: freeze the file systems, give the disks away, and all of it back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs_freeze.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

#define STATE		 "block-out"
#define MERGE_TIMEOUT_US (60 * 1000000ull)

static struct {
	Kho__Block *b; /* NULL: nothing preserved by this process */
	int *fd;       /* for each source: its first mount point, -1 */
} o;

static void out_done(struct kho_env *env)
{
	for (size_t i = 0; o.fd && o.b && i < o.b->n_source; i++)
		if (o.fd[i] >= 0)
			close(o.fd[i]);
	free(o.fd);
	kho_block_free(o.b);
	o.b = NULL;
	o.fd = NULL;
	kho_state_drop(env, STATE);
}

/* Keys go nowhere but from this memory to the other kernel's: not into a file, not before they are needed there. */
static int pack(bool with_keys, struct kho_blob *out, struct kho_err *err)
{
	size_t n = o.b->n_layer;
	size_t *len = calloc(n + 1, sizeof(*len));

	if (!len)
		return kho_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		len[i] = o.b->layer[i]->key.len;
		o.b->layer[i]->key.len = with_keys ? len[i] : 0;
	}
	int ret = kho_pb_pack(&o.b->base, out, err);

	for (size_t i = 0; i < n; i++)
		o.b->layer[i]->key.len = len[i];
	free(len);
	return ret;
}

static int save(struct kho_env *env, struct kho_err *err)
{
	struct kho_blob b = { 0 };
	int ret = pack(false, &b, err);

	if (!ret)
		ret = kho_state_save(env, STATE, &b, err);
	kho_blob_done(&b);
	return ret;
}

/* Opened before the freeze: a path walk inside the blackout could wait for a frozen disk. */
static int open_sources(struct kho_err *err)
{
	o.fd = malloc((o.b->n_source + 1) * sizeof(*o.fd));
	if (!o.fd)
		return kho_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < o.b->n_source; i++)
		o.fd[i] = -1;
	for (size_t i = 0; i < o.b->n_mount; i++) {
		const Kho__BlockMount *m = o.b->mount[i];

		/* a bind mount of a single file will do as well */
		if (m->source < o.b->n_source && o.fd[m->source] < 0)
			o.fd[m->source] = open(m->target, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (m->source < o.b->n_source && o.fd[m->source] < 0)
			return kho_fail_errno(err, "open %s", m->target);
	}
	return 0;
}

/* What an earlier process has done, if this one has done nothing. */
static void load(struct kho_env *env)
{
	struct kho_blob b = { 0 };

	if (!o.b && !kho_state_load(env, STATE, &b, NULL)) {
		o.b = kho_pb_unpack(&kho__block__descriptor, &b, NULL);
		if (o.b)
			(void)!open_sources(NULL);
	}
	kho_blob_done(&b);
}

static uint64_t store_bytes(const struct kho_env *env)
{
	return env->disk_store_bytes ? env->disk_store_bytes : KHO_DISK_STORE_DEFAULT;
}

int kho_block_preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more,
		       struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	char name[KHO_DM_NAME];
	int ret = 0;

	*out_more = false;
	if (!round || !o.b) {
		ret = kho_block_unpreserve(env, err);
		if (ret < 0)
			return ret;
		ret = kho_merge_wait_all(MERGE_TIMEOUT_US, err);
		if (!ret)
			ret = kho_block_find("", &o.b, NULL, err);
		for (size_t i = 0; !ret && i < o.b->n_source; i++)
			o.b->source[i]->cow_bytes = store_bytes(env);
		if (!ret)
			ret = kho_key_get_all(o.b, err);
		if (!ret)
			ret = open_sources(err);
		if (!ret)
			ret = save(env, err);
		if (!ret)
			ret = kho_swap_off(env, o.b, save, err);
		if (!ret)
			ret = pack(false, out, err);
	}
	/* so that little is left to write when it is frozen */
	for (size_t i = 0; !ret && i < o.b->n_source; i++)
		if (syncfs(o.fd[i]) < 0)
			ret = kho_fail_errno(err, "sync %s", kho_block_name(o.b, i, name));
	kho_phase(env, "disk sync", begin);
	return ret;
}

int kho_block_unpreserve(struct kho_env *env, struct kho_err *err)
{
	int ret = 0;

	load(env);
	if (o.b)
		ret = kho_swap_on(o.b, err);
	out_done(env);
	return ret;
}

/* The super block, for all its mounts; fails while a file is open for writing. */
static int remount(size_t i, bool readonly, struct kho_err *err)
{
	/* numbers of ST_ and MS_ are the same; what is not given again is dropped from the mount */
	const unsigned long keep = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME;
	struct statvfs st = { 0 };
	char path[64], name[KHO_DM_NAME];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", o.fd[i]);
	if (fstatvfs(o.fd[i], &st) < 0 ||
	    mount(NULL, path, NULL, MS_REMOUNT | (readonly ? MS_RDONLY : 0) | (st.f_flag & keep), NULL) < 0)
		return kho_fail_errno(err, "make %s on %s %s", o.b->source[i]->fstype,
				      kho_block_name(o.b, i, name), readonly ? "read-only" : "writable again");
	return 0;
}

static bool is_writable_by_remount(size_t i)
{
	return kho_block_by_remount(o.b->source[i]->fstype) &&
	       strncmp(o.b->source[i]->options, "ro", 2);
}

/* Inner ones first: what is mounted on another file system comes behind it in mountinfo. */
static int freeze_sources(struct kho_env *env, struct kho_err *err)
{
	for (size_t i = o.b->n_source; i-- > 0;)
		o.b->source[i]->frozen = true;
	int ret = save(env, err);
	char name[KHO_DM_NAME];

	for (size_t i = o.b->n_source; !ret && i-- > 0;) {
		int rc = kho_fs_freeze(o.fd[i]);

		/* it was given up: what is below o may be gone */
		if (rc == -ECANCELED)
			return kho_fail(err, rc, "a file system has stood still too late");
		/* read-only: nothing to freeze; the others have been looked at by probe */
		if (rc == -EOPNOTSUPP && is_writable_by_remount(i))
			ret = remount(i, true, err);
		else if (rc < 0 && rc != -EOPNOTSUPP)
			ret = kho_fail(err, rc, "freeze file system on %s: %s", kho_block_name(o.b, i, name), strerror(-rc));
	}
	return ret;
}

static int quiesce_disks(struct kho_env *env, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();

	for (size_t i = 0; i < o.b->n_disk; i++) {
		Kho__BlockDisk *d = o.b->disk[i];

		if (kho_block_first_of_function(o.b, i) &&
		    kho_hand_quiesce(env, d->pci, &d->step, save, err) < 0)
			return kho_wrap(err, "%s", d->name);
	}
	kho_phase(env, "disk quiesce", begin);
	return 0;
}

int kho_block_freeze(struct kho_env *env, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int ret;

	if (!o.b)
		return kho_fail(err, -EINVAL, "freeze before preserve");
	if (!o.b->n_disk)
		return 0;
	kho_fs_freeze_allow(true);
	ret = freeze_sources(env, err);
	kho_phase(env, "file system freeze", begin);
	/* with a root on a disk, that is still read while the processes are dumped */
	return ret || !env->root_in_ram ? ret : quiesce_disks(env, err);
}

int kho_block_drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	if (!o.b)
		return kho_fail(err, -EINVAL, "drain before preserve");
	if (!env->root_in_ram && quiesce_disks(env, err) < 0)
		return err ? err->code : -EIO;
	for (size_t i = 0; i < o.b->n_disk; i++) {
		Kho__BlockDisk *d = o.b->disk[i];

		if (kho_hand_give(env, d->pci, &d->step, save, err) < 0)
			return kho_wrap(err, "%s", d->name);
	}
	return pack(true, out, err);
}

/* With a root on a disk, disks are read until the processes are dumped, and stand still only then. */
void kho_block_quiet(struct kho_env *env, bool shifted, struct kho_quiet_list *out)
{
	if (!o.b)
		return;
	if (shifted != env->root_in_ram)
		kho_block_quiet_disks("", o.b, out);
	if (!shifted)
		kho_block_quiet_files("", o.b, out);
}

static int thaw_source(size_t i, struct kho_err *err)
{
	char name[KHO_DM_NAME];
	int rc;

	if (!o.fd || o.fd[i] < 0)
		return 0;
	if (is_writable_by_remount(i))
		return remount(i, false, err);
	rc = kho_fs_thaw(o.fd[i]);
	if (rc == -EINPROGRESS)
		return kho_fail(err, rc, "file system on %s: its disk does not answer; it goes on as soon as it does", kho_block_name(o.b, i, name));
	/* EINVAL: was not frozen */
	if (rc < 0 && rc != -EINVAL && rc != -EOPNOTSUPP)
		return kho_fail(err, rc, "thaw file system on %s: %s", kho_block_name(o.b, i, name), strerror(-rc));
	return 0;
}

int kho_block_unfreeze(struct kho_env *env, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	kho_fs_freeze_allow(false);
	load(env);
	if (!o.b)
		return 0;
	for (size_t i = o.b->n_disk; i-- > 0;)
		if (kho_hand_back(env, o.b->disk[i]->pci, &o.b->disk[i]->step, &e) < 0)
			kho_first_failure(kho_wrap(&e, "%s", o.b->disk[i]->name), &e, &first, err);
	for (size_t i = 0; i < o.b->n_source; i++) {
		if (!o.b->source[i]->frozen)
			continue;
		kho_first_failure(thaw_source(i, &e), &e, &first, err);
		o.b->source[i]->frozen = false;
	}
	(void)!save(env, NULL);
	return first;
}

int kho_block_forget(struct kho_env *env, struct kho_err *err)
{
	(void)err;
	/* the mounts stay, frozen, until this kernel ends: unmounting would write to a disk that is
	 * not ours any more */
	out_done(env);
	return 0;
}
