// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outgoing side of descriptor stores: what systemd keeps for a service, and who else has it. What a
 * carried process has open, too, is taken from there again; a memfd that only systemd has is carried with
 * what is in it; the rest is lost, and check says so.
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "state-serializers/units.h"

#define MEMFD_MAX (4 << 20)
#define KEPT_MAX  64

struct look_for {
	dev_t dev;
	ino_t ino;
};

static bool is_same(int dir, const char *name, const struct look_for *f)
{
	struct stat st;

	return isdigit((unsigned char)*name) && !fstatat(dir, name, &st, 0) && st.st_dev == f->dev && st.st_ino == f->ino;
}

/* Its number in that process; -1: it has it not. */
static int find_in(pid_t pid, const struct look_for *f)
{
	char path[64];
	struct dirent *e;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	while (d && (e = readdir(d)))
		if (is_same(dirfd(d), e->d_name, f))
			return atoi(e->d_name);
	return -1;
}

/* Only in systemd: its contents and seals. */
static int read_memfd(Kho__Kept *k, const struct look_for *f)
{
	int n = find_in(1, f), seals;
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/1/fd/%d", n);
	_cleanup_close_ int fd = n < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) || st.st_size > MEMFD_MAX)
		return -ENOENT;
	k->content.data = malloc((size_t)st.st_size + 1);
	if (!k->content.data)
		return -ENOMEM;
	k->content.len = (size_t)st.st_size;
	if (pread(fd, k->content.data, k->content.len, 0) != st.st_size)
		return -ENOENT;
	seals = fcntl(fd, F_GET_SEALS);
	k->seals = seals > 0 ? (uint32_t)seals : 0;
	k->is_memfd = true;
	return 0;
}

/* -ENOENT: nobody has it. */
static int find(Kho__Kept *k, const struct kho_workload *w, const struct look_for *f)
{
	switch (k->mode & S_IFMT) {
	case S_IFSOCK:
	case S_IFIFO:
	case S_IFREG:
		break;
	default: /* events, timers ...: all look the same from outside */
		return -ENOENT;
	}
	for (size_t i = 0; i < w->npids; i++) {
		int fd = find_in(w->pids[i], f);

		if (fd >= 0) {
			k->pid = w->pids[i];
			k->fd = fd;
			return 0;
		}
	}
	return strncmp(k->path, "/memfd:", 7) ? -ENOENT : read_memfd(k, f);
}

static Kho__Kept *read_one(struct json_object *e, const struct kho_workload *w)
{
	struct json_object *dev = kho_json_get(e, "devno");
	Kho__Kept *k = malloc(sizeof(*k));
	struct look_for f = { .ino = (ino_t)kho_json_get_int(e, "inode") };

	if (!k)
		return NULL;
	kho__kept__init(k);
	if (json_object_is_type(dev, json_type_array) && json_object_array_length(dev) == 2)
		f.dev = makedev((unsigned)json_object_get_int64(json_object_array_get_idx(dev, 0)),
				(unsigned)json_object_get_int64(json_object_array_get_idx(dev, 1)));
	k->mode = (uint32_t)kho_json_get_int(e, "type");
	if (!kho_pb_set(&k->name, kho_json_get_str(e, "fdname")) && !kho_pb_set(&k->path, kho_json_get_str(e, "path")) && !find(k, w, &f))
		return k;
	kho__kept__free_unpacked(k, NULL);
	return NULL;
}

int kho_units_kept_read(Kho__State *s, const struct kho_workload *w, const char *shown)
{
	const char *args[] = { "systemd-analyze", "fdstore", "--no-pager", "--json=short", "--", s->unit, NULL };
	_cleanup_free_ char *n = kho_units_value(shown, "NFileDescriptorStore"), *text = NULL, *wrapped = NULL;
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *list;

	if (!n || atoi(n) <= 0)
		return 0;
	text = kho_units_ask(args);
	if (!text || asprintf(&wrapped, "{\"list\":%s}", text) < 0 || kho_json_parse(wrapped, strlen(wrapped), &o, NULL))
		return 0;
	list = kho_json_get(o, "list");
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list) && i < KEPT_MAX; i++) {
		Kho__Kept *k = read_one(json_object_array_get_idx(list, i), w);

		if (k && kho_pb_append(&s->kept, &s->n_kept, k)) {
			kho__kept__free_unpacked(k, NULL);
			return -ENOMEM;
		}
	}
	return 0;
}
