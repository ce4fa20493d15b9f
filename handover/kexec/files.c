// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which files of images_dir are handed over, and, with the carrier "luo", the session that they are preserved in. Preserving takes time by the page.
 * So what comes before the freeze and does not change any more goes into the session at once, while everything runs: the pages of the rounds of
 * pre-copy, which are most of it, and copies. Likewise with a disk (--state-dir), which these pages are written to, and with the initramfs of a kernel that
 * unpacks zstd, which they are packed into.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handover/kexec/handed.h"
#include "handover/kexec/kexec.h"
#include "handover/kexec/luo.h"
#include "handover/link/wire.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

/* In the blackout: the disk must have taken what is left by then, well before the commit's deadline (orchestrator/steps.def). */
#define WRITE_US 40000000ull

static char *path_of(const struct kho_kexec *k, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", k->images_dir, name) < 0 ? NULL : path;
}

int kho_kexec_need_session(struct kho_kexec *k, struct kho_err *err)
{
	if (k->session < 0)
		k->session = kho_luo_create(KHO_HANDED_SESSION, err);
	return k->session < 0 ? k->session : 0;
}

/* CRIU's next dump, which may have other mounts, opens what the round before has written: it gets a link to the file itself. */
static int link_back(const struct kho_kexec *k, const struct kho_kexec_file *f, struct kho_err *err)
{
	_cleanup_free_ char *path = path_of(k, f->name);
	char target[64];

	if (!path)
		return kho_fail(err, -ENOMEM, "hand over %s", f->name);
	snprintf(target, sizeof(target), "/proc/%d/fd/%d", (int)getpid(), f->fd);
	return kho_symlink_up(target, path, err);
}

/*
 * Under the lock. Only a file without a name can be preserved, and its size is what it stays. The session has it then: it stays open
 * here only for a link to it, or there would be as many descriptors as files.
 */
static int preserve(struct kho_kexec *k, struct kho_kexec_file *f, bool linked, struct kho_err *err)
{
	_cleanup_free_ char *path = path_of(k, f->name);
	int ret = path ? kho_kexec_need_session(k, err) : kho_fail(err, -ENOMEM, "hand over %s", f->name);
	struct stat st;

	if (ret < 0)
		return ret;
	f->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->fd < 0 || fstat(f->fd, &st) || unlink(path))
		return kho_fail_errno(err, "hand over %s", f->name);
	ret = kho_luo_preserve(k->session, f->fd, k->tokens + 1, err);
	if (ret < 0)
		return kho_wrap(err, "%s", f->name);
	f->token = ++k->tokens;
	f->bytes = (uint64_t)st.st_size;
	if (linked)
		return link_back(k, f, err);
	close(steal_fd(f->fd));
	return 0;
}

/* Under the lock, or when none comes any more. until_us: as of kho_disk_put(). */
static int put_on_disk(struct kho_kexec *k, struct kho_kexec_file *f, uint64_t until_us, struct kho_err *err)
{
	_cleanup_free_ char *path = path_of(k, f->name);
	int ret = path ? kho_disk_put(k->disk, k->tokens + 1, path, until_us, &f->disk, err) : kho_fail(err, -ENOMEM, "hand over %s", f->name);

	if (ret < 0)
		return kho_wrap(err, "write the state to the disk");
	f->token = ++k->tokens;
	f->bytes = f->disk.bytes;
	return 0;
}

static bool packs_early(const struct kho_kexec *k)
{
	return !k->luo && k->disk < 0 && k->level;
}

/* Under the lock. The kernel is loaded once more behind the freeze, with what is then in there. */
static int put_in_initrd(const struct kho_kexec *k, struct kho_kexec_file *f, struct kho_err *err)
{
	_cleanup_free_ char *path = path_of(k, f->name);
	int ret = path ? kho_handed_append_file(k->initrd, path, f->name, k->level, err) : kho_fail(err, -ENOMEM, "hand over %s", f->name);

	f->early = !ret;
	return ret < 0 ? kho_wrap(err, "pack the state for the next kernel") : 0;
}

static bool is_pages(const char *name)
{
	const char *base = strrchr(name, '/');

	return base && !strncmp(base, "/pages-", 7);
}

static void file_done(struct kho_kexec_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->name);
}

/*
 * What comes once more: what was preserved or written under its name stays in the session, or on the disk, where nobody asks for it; in the initramfs the
 * later one counts.
 */
static void forget(struct kho_kexec *k, const char *name)
{
	for (size_t i = 0; i < k->nfiles; i++) {
		if ((!k->files[i].token && !k->files[i].early) || strcmp(k->files[i].name, name))
			continue;
		file_done(&k->files[i]);
		k->files[i] = k->files[--k->nfiles];
		return;
	}
}

static int add(struct kho_kexec *k, const char *name, bool copied, struct kho_err *err)
{
	struct kho_kexec_file *more = realloc(k->files, (k->nfiles + 1) * sizeof(*more)), *f;

	if (more)
		k->files = more;
	f = more ? &more[k->nfiles] : NULL;
	if (f)
		*f = (struct kho_kexec_file){ .name = strdup(name), .fd = -1, .copied = copied };
	if (!f || !f->name)
		return kho_fail(err, -ENOMEM, "hand over %s", name);
	k->nfiles++;
	if (k->frozen_us || !(copied || is_pages(name)))
		return 0;
	if (k->luo)
		return preserve(k, f, !copied, err);
	if (copied)
		return 0;
	return k->disk >= 0 ? put_on_disk(k, f, 0, err) : packs_early(k) ? put_in_initrd(k, f, err) : 0;
}

int kho_kexec_add_file(struct kho_kexec *k, const char *name, bool copied, struct kho_err *err)
{
	int ret = kho_link_name_ok(name, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&k->lock);
	/* of the others there may be 100000, and the list is walked for each */
	if (copied || (!k->luo && is_pages(name)))
		forget(k, name);
	ret = add(k, name, copied, err);
	pthread_mutex_unlock(&k->lock);
	return ret;
}

/* Those that are preserved by their numbers, then the others by name. */
static int in_order(const void *a, const void *b)
{
	const struct kho_kexec_file *x = a, *y = b;

	if (x->token || y->token)
		return (x->token ? x->token : UINT64_MAX) < (y->token ? y->token : UINT64_MAX) ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Each once: a round of precopy may have sent a file again. */
static void sort(struct kho_kexec *k)
{
	size_t n = 0;

	if (k->nfiles)
		qsort(k->files, k->nfiles, sizeof(*k->files), in_order);
	for (size_t i = 0; i < k->nfiles; i++) {
		if (n && !strcmp(k->files[n - 1].name, k->files[i].name))
			file_done(&k->files[i]);
		else
			k->files[n++] = k->files[i];
	}
	k->nfiles = n;
}

static int measure(const struct kho_kexec *k, struct kho_kexec_file *f, struct kho_err *err)
{
	_cleanup_free_ char *path = path_of(k, f->name);
	struct stat st;

	if (!path || stat(path, &st))
		return kho_fail_errno(err, "hand over %s", f->name);
	f->bytes = (uint64_t)st.st_size;
	return 0;
}

/* until_us: as of kho_disk_put() */
static int settle(struct kho_kexec *k, uint64_t until_us, struct kho_err *err)
{
	int ret = 0;

	if (k->disk < 0)
		return 0;
	if (syncfs(k->disk))
		return kho_fail_errno(err, "write the state to the disk");
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; !ret && i < k->nfiles; i++) {
		struct kho_kexec_file *f = &k->files[i];

		if (!f->token || f->checked)
			continue;
		ret = kho_disk_get(k->disk, f->token, &f->disk, NULL, until_us, err);
		f->checked = !ret;
	}
	pthread_mutex_unlock(&k->lock);
	return ret < 0 ? kho_wrap(err, "read the state from the disk again") : 0;
}

int kho_kexec_settle_files(struct kho_kexec *k, struct kho_err *err)
{
	return settle(k, 0, err);
}

static int in_time(uint64_t begin_us, struct kho_err *err)
{
	uint64_t us = kho_clock_us() - begin_us;

	return us <= WRITE_US ? 0
			      : kho_fail(err, -ETIMEDOUT, "the disk is too slow: it has taken %llu s for what was left to write in the blackout",
					 (unsigned long long)(us / 1000000));
}

/*
 * The workloads are dumped. Who else waits for that file system goes on for a moment; what is written meanwhile is on the disk when it is frozen again. What
 * is undone from here on finds it frozen or not. When this is late, it may have been given up and undone already: nobody would thaw it any more.
 */
static int write_rest(struct kho_kexec *k, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int ret = kho_disk_thaw(k->disk, err);

	for (size_t i = 0; !ret && i < k->nfiles; i++)
		if (!k->files[i].token && !k->files[i].copied)
			ret = put_on_disk(k, &k->files[i], begin + WRITE_US, err);
	if (!ret)
		ret = settle(k, begin + WRITE_US, err);
	if (!ret)
		ret = in_time(begin, err);
	if (!ret)
		ret = kho_disk_freeze(k->disk, err);
	if (!ret) {
		ret = in_time(begin, err);
		if (ret < 0)
			(void)!kho_disk_thaw(k->disk, NULL);
	}
	kho_engine_phase(&k->e, "state to disk", begin);
	return ret;
}

int kho_kexec_close_files(struct kho_kexec *k, uint64_t *out_bytes, struct kho_err *err)
{
	int ret = 0;

	*out_bytes = 0;
	sort(k);
	if (k->disk >= 0)
		ret = write_rest(k, err);
	for (size_t i = 0; !ret && i < k->nfiles; i++) {
		struct kho_kexec_file *f = &k->files[i];

		ret = f->token ? 0 : k->luo ? preserve(k, f, false, err) : measure(k, f, err);
		*out_bytes += f->bytes;
	}
	return ret;
}

int kho_kexec_preserve_state(struct kho_kexec *k, const void *data, size_t len, struct kho_err *err)
{
	int ret = kho_kexec_need_session(k, err);

	return ret < 0 ? ret : kho_luo_preserve_bytes(k->session, data, len, KHO_HANDED_STATE_TOKEN, err);
}

void kho_kexec_drop_files(struct kho_kexec *k)
{
	while (k->nfiles)
		file_done(&k->files[--k->nfiles]);
	k->tokens = 0;
	if (k->session >= 0)
		close(k->session);
	k->session = -1;
	if (k->root_bytes) /* a file in memory, which may be gone */
		(void)!truncate(k->initrd, (off_t)k->root_bytes);
}
