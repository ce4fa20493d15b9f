// SPDX-License-Identifier: GPL-2.0-only
/* Whole files in and out.  See lib/io.h. */
#include "lib/io.h"

#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "lib/cleanup.h"

char *kho_sysroot_path(const char *sysroot, const char *path)
{
	char *out;

	if (asprintf(&out, "%s%s%s", sysroot ? sysroot : "", *path == '/' ? "" : "/", path) < 0)
		return NULL;
	return out;
}

int kho_read_fd(int fd, const char *path, size_t max, char **out, size_t *out_len, struct kho_err *err)
{
	_cleanup_free_ char *buf = NULL;
	size_t len = 0, room = 0;

	for (;;) {
		ssize_t n;

		if (len + 1 >= room) {
			char *bigger = realloc(buf, room = room ? room * 2 : 4096);

			if (!bigger)
				return kho_fail(err, -ENOMEM, "read %s: out of memory", path);
			buf = bigger;
		}
		n = read(fd, buf + len, room - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kho_fail_errno(err, "read %s", path);
		if (n == 0)
			break;
		len += n;
		if (len > max)
			return kho_fail(err, -EFBIG, "read %s: more than %zu bytes", path, max);
	}
	buf[len] = '\0';
	*out = steal_ptr(buf);
	if (out_len)
		*out_len = len;
	return 0;
}

int kho_read_file(const char *path, size_t max, char **out, size_t *out_len, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? kho_fail_errno(err, "open %s", path) : kho_read_fd(fd, path, max, out, out_len, err);
}

int kho_read_line(const char *path, char **out, struct kho_err *err)
{
	size_t len;
	int rc = kho_read_file(path, 1 << 20, out, &len, err);

	if (rc < 0)
		return rc;
	while (len && isspace((unsigned char)(*out)[len - 1]))
		(*out)[--len] = '\0';
	return 0;
}

int kho_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

void kho_want_descriptors(unsigned long n)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur >= n)
		return;
	l.rlim_cur = n;
	if (l.rlim_max < n)
		l.rlim_max = n;
	(void)setrlimit(RLIMIT_NOFILE, &l);
}

int kho_write_existing(const char *path, const char *text, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return kho_fail_errno(err, "open %s", path);
	n = write(fd, text, len);
	if (n < 0)
		return kho_fail_errno(err, "write '%s' to %s", text, path);
	if ((size_t)n != len)
		return kho_fail(err, -EIO, "write '%s' to %s: only %zd bytes taken", text, path, n);
	return 0;
}

static int sync_parent(const char *path, struct kho_err *err)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = -1;

	if (!copy)
		return kho_fail(err, -ENOMEM, "sync %s: out of memory", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return kho_fail_errno(err, "sync directory of %s", path);
	return 0;
}

int kho_write_file(const char *path, const void *data, size_t len, struct kho_err *err)
{
	_cleanup_free_ char *tmp = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int rc;

	/* a rename would put a file in the place of /dev/null */
	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return kho_fail(err, -EINVAL, "write %s: it is there, and no regular file", path);
	if (asprintf(&tmp, "%s.new", path) < 0)
		return kho_fail(err, -ENOMEM, "write %s: out of memory", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return kho_fail_errno(err, "create %s", tmp);
	rc = kho_write_all(fd, data, len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlink(tmp);
		return kho_fail(err, rc, "write %s: %s", tmp, strerror(-rc));
	}
	if (rename(tmp, path) < 0)
		return kho_fail_errno(err, "rename %s to %s", tmp, path);
	return sync_parent(path, err);
}

int kho_make_dirs(const char *path, unsigned mode, struct kho_err *err)
{
	_cleanup_free_ char *copy = strdup(path);
	char *p;

	if (!copy)
		return kho_fail(err, -ENOMEM, "mkdir %s: out of memory", path);
	for (p = copy + 1; p[-1]; p++) {
		char keep = *p;

		if (keep != '/' && keep != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return kho_fail_errno(err, "mkdir %s", copy);
		*p = keep;
	}
	return 0;
}

int kho_mkdir(const char *path, struct kho_err *err)
{
	struct stat st;
	int rc = kho_make_dirs(path, 0700, err);

	if (rc < 0)
		return rc;
	if (stat(path, &st) < 0)
		return kho_fail_errno(err, "mkdir %s", path);
	if (!S_ISDIR(st.st_mode))
		return kho_fail(err, -ENOTDIR, "mkdir %s: a file with this name is in the way",
				path);
	return 0;
}

bool kho_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

bool kho_is_in_ram(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

bool kho_is_mount_point(const char *path)
{
	struct stat st, up;
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s/..", path);
	return !stat(path, &st) && !stat(parent, &up) && st.st_dev != up.st_dev;
}

bool kho_path_is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

bool kho_path_is_plain(const char *path)
{
	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		return false;
	for (const char *p = path; p; p = strchr(p + 1, '/'))
		if (!strncmp(p, "/..", 3) && (!p[3] || p[3] == '/'))
			return false;
	return true;
}

static bool number_and_unit(const char *text, uint64_t *out, const char **out_unit)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	*out_unit = end;
	return errno == 0;
}

bool kho_parse_size(const char *text, uint64_t *out_bytes)
{
	static const struct {
		const char *unit;
		unsigned shift;
	} units[] = {
		{ "", 0 }, { "K", 10 }, { "M", 20 }, { "G", 30 }, { "T", 40 },
	};
	const char *unit;
	uint64_t n;

	if (!number_and_unit(text, &n, &unit))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(unit, units[i].unit) || n > UINT64_MAX >> units[i].shift)
			continue;
		*out_bytes = n << units[i].shift;
		return true;
	}
	return false;
}

bool kho_parse_duration(const char *text, uint64_t *out_us)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = {
		{ "us", 1 },
		{ "ms", 1000 },
		{ "s", 1000000 },
		{ "min", 60000000 },
		{ "m", 60000000 },
	};
	const char *unit;
	uint64_t n;

	if (!number_and_unit(text, &n, &unit))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(unit, units[i].unit) || n > UINT64_MAX / units[i].us)
			continue;
		*out_us = n * units[i].us;
		return true;
	}
	return false;
}

int kho_copy_file(const char *from, const char *to, struct kho_err *err)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
	char buf[65536];
	ssize_t n;

	if (in < 0)
		return kho_fail_errno(err, "%s", from);
	out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		return kho_fail_errno(err, "%s", to);
	while ((n = read(in, buf, sizeof(buf))) > 0) {
		int ret = kho_write_all(out, buf, (size_t)n);

		if (ret < 0)
			return kho_fail(err, ret, "write %s: %s", to, strerror(-ret));
	}
	return n < 0 ? kho_fail_errno(err, "read %s", from) : 0;
}

int kho_symlink_up(const char *target, const char *path, struct kho_err *err)
{
	_cleanup_free_ char *dir = strdup(path), *real = NULL, *up = NULL;
	char *slash = dir ? strrchr(dir, '/') : NULL, *at;
	size_t depth = 0;

	if (!slash || *target != '/')
		return kho_fail(err, dir ? -EINVAL : -ENOMEM, "link %s to %s", path, target);
	*slash = '\0';
	/* as it really lies: what is above the end of a link is not what is above the link */
	real = realpath(*dir ? dir : "/", NULL);
	if (!real)
		return kho_fail_errno(err, "link %s: %s", path, dir);
	for (const char *c = real; *c; c++)
		depth += *c == '/' && c[1];
	at = up = malloc(depth * 3 + strlen(target));
	if (!up)
		return kho_fail(err, -ENOMEM, "link %s", path);
	for (; depth; depth--)
		at = stpcpy(at, "../");
	strcpy(at, target + 1);
	return symlink(up, path) ? kho_fail_errno(err, "link %s", path) : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	(void)!remove(path);
	return 0;
}

void kho_remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
