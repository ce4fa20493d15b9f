// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which files of images_dir are handed over, and, with the carrier "luo", the session that they are preserved in. Preserving takes time by the page.
 * So what comes before the freeze and does not change any more goes into the session at once, while everything runs: the pages of the rounds of
 * pre-copy, which are most of it, and copies.
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

static char *path_of(const struct kho_kexec *k, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", k->images_dir, name) < 0 ? NULL : path;
}

static int need_session(struct kho_kexec *k, struct kho_err *err)
{
	if (k->session < 0)
		k->session = kho_luo_create(KHO_HANDED_SESSION, err);
	return k->session < 0 ? k->session : 0;
}

/* CRIU's next dump opens what the round before has written: it gets a link to the file itself. */
static int link_back(const struct kho_kexec *k, const struct kho_kexec_file *f, struct kho_err *err)
{
	_cleanup_free_ char *path = path_of(k, f->name);
	char target[64];

	snprintf(target, sizeof(target), "/proc/%d/fd/%d", (int)getpid(), f->fd);
	return path && !symlink(target, path) ? 0 : kho_fail_errno(err, "hand over %s", f->name);
}

/*
 * Under the lock. Only a file without a name can be preserved, and its size is what it stays. The session has it then: it stays open
 * here only for a link to it, or there would be as many descriptors as files.
 */
static int preserve(struct kho_kexec *k, struct kho_kexec_file *f, bool linked, struct kho_err *err)
{
	_cleanup_free_ char *path = path_of(k, f->name);
	int ret = path ? need_session(k, err) : kho_fail(err, -ENOMEM, "hand over %s", f->name);
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

/* A copy that comes once more: what was preserved under its name stays in the session, where nobody asks for it. */
static void forget(struct kho_kexec *k, const char *name)
{
	for (size_t i = 0; i < k->nfiles; i++) {
		if (!k->files[i].token || strcmp(k->files[i].name, name))
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
		*f = (struct kho_kexec_file){ .name = strdup(name), .fd = -1 };
	if (!f || !f->name)
		return kho_fail(err, -ENOMEM, "hand over %s", name);
	k->nfiles++;
	if (!k->luo || k->frozen_us || !(copied || is_pages(name)))
		return 0;
	return preserve(k, f, !copied, err);
}

int kho_kexec_add_file(struct kho_kexec *k, const char *name, bool copied, struct kho_err *err)
{
	int ret = kho_link_name_ok(name, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&k->lock);
	if (copied)
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

int kho_kexec_close_files(struct kho_kexec *k, uint64_t *out_bytes, struct kho_err *err)
{
	*out_bytes = 0;
	sort(k);
	for (size_t i = 0; i < k->nfiles; i++) {
		struct kho_kexec_file *f = &k->files[i];
		int ret = f->token ? 0 : k->luo ? preserve(k, f, false, err) : measure(k, f, err);

		if (ret < 0)
			return ret;
		*out_bytes += f->bytes;
	}
	return 0;
}

int kho_kexec_preserve_state(struct kho_kexec *k, const void *data, size_t len, struct kho_err *err)
{
	int ret = need_session(k, err);

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
}
