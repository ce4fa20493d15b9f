// SPDX-License-Identifier: GPL-2.0-only
/* Append-only file, one copy in RAM, one on disk.  See orchestrator/logfile.h. */
#include "orchestrator/logfile.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"

struct kho_logfile {
	pthread_mutex_t lock;
	char *name, *disk_path; /* disk_path: to be made anew when the disk is back */
	int ram_fd, disk_fd;
	bool away;
	char *bytes; /* everything so far; the RAM file is for readers and for who comes after a
			crash */
	size_t len, room, in_ram, on_disk;
};

static int open_copy(const char *dir, const char *name, int *out, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL, *prev = NULL;
	int rc = kho_mkdir(dir, err);

	if (rc < 0)
		return rc;
	if (asprintf(&path, "%s/%s", dir, name) < 0 || asprintf(&prev, "%s/%s.prev", dir, name) < 0)
		return kho_fail(err, -ENOMEM, "open %s/%s: out of memory", dir, name);
	if (rename(path, prev) < 0 && errno != ENOENT)
		return kho_fail_errno(err, "rename %s", path);
	*out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *out < 0 ? kho_fail_errno(err, "create %s", path) : 0;
}

static struct kho_logfile *logfile_new(const char *name)
{
	struct kho_logfile *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	l->ram_fd = l->disk_fd = -1;
	l->name = strdup(name);
	if (l->name)
		return l;
	kho_logfile_free(l);
	return NULL;
}

int kho_logfile_create(const char *run_dir, const char *state_dir, const char *name,
		       struct kho_logfile **out, struct kho_err *err)
{
	struct kho_logfile *l = logfile_new(name);
	int rc = l ? open_copy(run_dir, name, &l->ram_fd, err)
		   : kho_fail(err, -ENOMEM, "open %s: out of memory", name);

	if (rc == 0)
		rc = open_copy(state_dir, name, &l->disk_fd, err);
	if (rc < 0) {
		kho_logfile_free(l);
		return rc;
	}
	*out = l;
	return 0;
}

static int open_resumed(struct kho_logfile *l, const char *run_dir, const char *state_dir,
			const struct kho_blob *bytes, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s/%s", run_dir, l->name) < 0)
		return kho_fail(err, -ENOMEM, "open %s: out of memory", l->name);
	if (asprintf(&l->disk_path, "%s/%s", state_dir, l->name) < 0) {
		l->disk_path = NULL;
		return kho_fail(err, -ENOMEM, "open %s: out of memory", l->name);
	}
	l->bytes = malloc(bytes->len + 1);
	if (!l->bytes)
		return kho_fail(err, -ENOMEM, "open %s: out of memory", l->name);
	memcpy(l->bytes, bytes->data ? bytes->data : "", bytes->len);
	l->len = l->room = l->in_ram = bytes->len;
	l->ram_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->ram_fd < 0 || ftruncate(l->ram_fd, (off_t)bytes->len) < 0)
		return kho_fail_errno(err, "open %s", path);
	return 0;
}

int kho_logfile_resume(const char *run_dir, const char *state_dir, const char *name,
		       const struct kho_blob *bytes, struct kho_logfile **out, struct kho_err *err)
{
	struct kho_logfile *l = logfile_new(name);
	int rc = l ? open_resumed(l, run_dir, state_dir, bytes, err)
		   : kho_fail(err, -ENOMEM, "open %s: out of memory", name);

	if (rc < 0) {
		kho_logfile_free(l);
		return rc;
	}
	l->away = true;
	*out = l;
	return 0;
}

/* What a copy has not yet, from *at on: whole, or nothing of it, for half a record would hide all that follow. */
static int copy_rest(const struct kho_logfile *l, int fd, size_t *at, struct kho_err *err)
{
	int rc = kho_write_all(fd, l->bytes + *at, l->len - *at);

	if (rc < 0) {
		(void)!ftruncate(fd, (off_t)*at);
		return kho_fail(err, rc, "write %s: %s", l->name, strerror(-rc));
	}
	*at = l->len;
	return 0;
}

static int catch_up(struct kho_logfile *l, bool sync, struct kho_err *err)
{
	int rc;

	if (l->disk_fd < 0)
		l->disk_fd = open(l->disk_path,
				  O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
				  0600);
	if (l->disk_fd < 0)
		return kho_fail_errno(err, "open %s", l->disk_path);
	rc = copy_rest(l, l->disk_fd, &l->on_disk, err);
	if (rc < 0)
		return rc;
	if (sync && fdatasync(l->disk_fd) < 0)
		return kho_fail_errno(err, "sync %s", l->name);
	return 0;
}

static int append_locked(struct kho_logfile *l, const void *data, size_t len, bool sync,
			 struct kho_err *err)
{
	int rc;

	if (l->len + len > l->room) {
		size_t room = (l->len + len) * 2;
		char *bigger = realloc(l->bytes, room);

		if (!bigger)
			return kho_fail(err, -ENOMEM, "append to %s: out of memory", l->name);
		l->bytes = bigger;
		l->room = room;
	}
	memcpy(l->bytes + l->len, data, len);
	l->len += len;
	rc = copy_rest(l, l->ram_fd, &l->in_ram, err);
	if (rc < 0)
		return rc;
	return l->away ? 0 : catch_up(l, sync, err);
}

int kho_logfile_append(struct kho_logfile *l, const void *data, size_t len, bool sync,
		       struct kho_err *err)
{
	int rc;

	pthread_mutex_lock(&l->lock);
	rc = append_locked(l, data, len, sync, err);
	pthread_mutex_unlock(&l->lock);
	return rc;
}

void kho_logfile_away(struct kho_logfile *l)
{
	pthread_mutex_lock(&l->lock);
	l->away = true;
	pthread_mutex_unlock(&l->lock);
}

int kho_logfile_back(struct kho_logfile *l, struct kho_err *err)
{
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	if (l->away) {
		l->away = false;
		rc = catch_up(l, true, err);
	}
	pthread_mutex_unlock(&l->lock);
	return rc;
}

int kho_logfile_bytes(struct kho_logfile *l, struct kho_blob *out, struct kho_err *err)
{
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	out->data = malloc(l->len + 1);
	if (out->data) {
		memcpy(out->data, l->bytes, l->len);
		out->len = l->len;
	} else {
		rc = kho_fail(err, -ENOMEM, "copy %s: out of memory", l->name);
	}
	pthread_mutex_unlock(&l->lock);
	return rc;
}

void kho_logfile_free(struct kho_logfile *l)
{
	if (!l)
		return;
	kho_closep(&l->ram_fd);
	kho_closep(&l->disk_fd);
	free(l->name);
	free(l->disk_path);
	free(l->bytes);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
