// SPDX-License-Identifier: GPL-2.0-only
/*
 * Image files go to the peer as CRIU closes them, while it writes the next ones.
 */
#include <poll.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include "lib/cleanup.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/out.h"
#include "state-serializers/proc/tree.h"

static int send_file(struct kho_env *env, const char *dir, const char *prefix, const char *name,
		     struct kho_err *err)
{
	_cleanup_free_ char *local = NULL, *remote = NULL;

	if (asprintf(&local, "%s/%s", dir, name) < 0 ||
	    asprintf(&remote, "%s/%s", prefix, name) < 0)
		return kho_fail(err, -ENOMEM, "send images: out of memory");
	return env->ops->put_file(env, local, remote, err);
}

struct send_dir {
	struct kho_env *env;
	const char *prefix;
};

static int send_one(const char *dir, const char *name, void *arg, struct kho_err *err)
{
	const struct send_dir *s = arg;

	return kho_image_is_carried(name) ? send_file(s->env, dir, s->prefix, name, err) : 0;
}

int kho_proc_send_dir(struct kho_env *env, const char *dir, const char *prefix, struct kho_err *err)
{
	struct send_dir s = { .env = env, .prefix = prefix };

	return kho_dir_each(dir, send_one, &s, err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static bool was_sent(const struct kho_proc_stream *s, const char *prefix, const char *name)
{
	_cleanup_free_ char *key = NULL;

	return asprintf(&key, "%s/%s", prefix, name) > 0 && tfind(key, &s->sent, by_name);
}

static int note_sent(struct kho_proc_stream *s, const char *prefix, const char *name)
{
	char *key;

	if (asprintf(&key, "%s/%s", prefix, name) < 0)
		return -ENOMEM;
	if (tsearch(key, &s->sent, by_name))
		return 0;
	free(key);
	return -ENOMEM;
}

/* --- those that go together: a process with many connections has a file for each --- */

static int flush(struct kho_proc_stream *s, struct kho_err *err)
{
	int rc = s->nqueue ? kho_put_files(s->env, s->dirs[s->queue_of], s->prefixes[s->queue_of], s->queue, s->nqueue, err) : 0;

	while (s->nqueue)
		free(s->queue[--s->nqueue]);
	return rc;
}

static int queue(struct kho_proc_stream *s, size_t i, const char *name, struct kho_err *err)
{
	int rc = s->nqueue && (s->queue_of != i || s->nqueue == KHO_PROC_QUEUE) ? flush(s, err) : 0;

	if (rc)
		return rc;
	s->queue_of = i;
	s->queue[s->nqueue] = strdup(name);
	if (!s->queue[s->nqueue] || note_sent(s, s->prefixes[i], name)) {
		free(s->queue[s->nqueue]);
		return kho_fail(err, -ENOMEM, "send images: out of memory");
	}
	s->nqueue++;
	return 0;
}

static bool is_pagemap(const char *name)
{
	return !strncmp(name, "pagemap-", 8) && strncmp(name, "pagemap-shmem", 13);
}

static int send_pagemap(struct kho_proc_stream *s, size_t i, pid_t pid, struct kho_err *err)
{
	char name[48];
	struct kho_img_task t;
	int rc = kho_img_task_read(s->dirs[i], pid, &t, err);

	if (rc)
		return rc;
	rc = kho_pagemap_mark(s->dirs[i], &t, KHO_PROC_EAGER_PAGES, &s->sum, err);
	free(t.sp);
	snprintf(name, sizeof(name), "pagemap-%d.img", pid);
	return rc ? rc : queue(s, i, name, err);
}

/* Page maps wait for what is needed to mark them. */
static bool is_to_mark(const struct kho_proc_stream *s, size_t i, const char *name)
{
	return is_pagemap(name) && !s->eager[i];
}

static int on_closed(struct kho_proc_stream *s, const struct inotify_event *e)
{
	size_t i = (size_t)e->wd - 1;
	int pid, end = 0, rc;

	if (e->wd < 1 || i >= s->ndirs || !e->len || !kho_image_is_carried(e->name) ||
	    is_to_mark(s, i, e->name) || was_sent(s, s->prefixes[i], e->name))
		return 0;
	rc = queue(s, i, e->name, &s->err);
	/* fs-PID.img is the last one that CRIU closes of a process */
	if (!rc && !s->eager[i] && sscanf(e->name, "fs-%d.img%n", &pid, &end) == 1 && end && !e->name[end])
		rc = send_pagemap(s, i, pid, &s->err);
	return rc;
}

static int read_events(struct kho_proc_stream *s)
{
	char buf[32768] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(s->inotify, buf, sizeof(buf));
	int rc = 0;

	for (ssize_t at = 0; !rc && at < n;) {
		const struct inotify_event *e = (const void *)(buf + at);

		rc = on_closed(s, e);
		at += (ssize_t)sizeof(*e) + e->len;
	}
	return rc ? rc : flush(s, &s->err);
}

static void *stream_thread(void *arg)
{
	struct kho_proc_stream *s = arg;
	struct pollfd p[2] = {
		{ .fd = s->inotify, .events = POLLIN },
		{ .fd = s->stop_fd, .events = POLLIN },
	};

	while (!s->rc) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			s->rc = kho_fail_errno(&s->err, "watch images");
		else if (p[0].revents)
			s->rc = read_events(s);
		else if (p[1].revents)
			break;
	}
	return NULL;
}

int kho_proc_stream_start(struct kho_proc_stream *s, struct kho_env *env, struct kho_err *err)
{
	int rc;

	s->env = env;
	s->rc = 0;
	if (s->inotify < 0)
		return kho_fail(err, -EINVAL, "watch images: no directory");
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->stop_fd < 0)
		return kho_fail_errno(err, "watch images: eventfd");
	rc = pthread_create(&s->thread, NULL, stream_thread, s);
	if (rc)
		return kho_fail(err, -rc, "watch images: thread");
	s->running = true;
	return 0;
}

int kho_proc_stream_watch(struct kho_proc_stream *s, const char *dir, const char *prefix, bool eager,
			  struct kho_err *err)
{
	char **d = realloc(s->dirs, (s->ndirs + 1) * sizeof(*d)), **p;
	bool *e = realloc(s->eager, (s->ndirs + 1) * sizeof(*e));
	int wd;

	if (d)
		s->dirs = d;
	p = realloc(s->prefixes, (s->ndirs + 1) * sizeof(*p));
	if (p)
		s->prefixes = p;
	if (e)
		s->eager = e;
	if (!d || !p || !e)
		return kho_fail(err, -ENOMEM, "watch %s: out of memory", dir);
	if (s->inotify < 0)
		s->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	wd = s->inotify < 0 ? -1 : inotify_add_watch(s->inotify, dir, IN_CLOSE_WRITE);
	if (wd < 0)
		return kho_fail_errno(err, "watch %s", dir);
	/* watches of a fresh inotify descriptor are numbered from 1 */
	if ((size_t)wd != s->ndirs + 1)
		return kho_fail(err, -EPROTO, "watch %s: unexpected number %d", dir, wd);
	s->dirs[s->ndirs] = strdup(dir);
	s->prefixes[s->ndirs] = strdup(prefix);
	s->eager[s->ndirs] = eager;
	if (!s->dirs[s->ndirs] || !s->prefixes[s->ndirs])
		return kho_fail(err, -ENOMEM, "watch %s: out of memory", dir);
	s->ndirs++;
	return 0;
}

struct rest {
	struct kho_proc_stream *s;
	size_t i;
};

static int send_rest(const char *dir, const char *name, void *arg, struct kho_err *err)
{
	const struct rest *r = arg;

	(void)dir;
	if (!kho_image_is_carried(name) || was_sent(r->s, r->s->prefixes[r->i], name))
		return 0;
	return is_to_mark(r->s, r->i, name) ? send_pagemap(r->s, r->i, atoi(name + 8), err)
				: queue(r->s, r->i, name, err);
}

static void join(struct kho_proc_stream *s)
{
	uint64_t one = 1;

	if (!s->running)
		return;
	(void)!write(s->stop_fd, &one, sizeof(one));
	pthread_join(s->thread, NULL);
	s->running = false;
}

int kho_proc_stream_finish(struct kho_proc_stream *s, struct kho_err *err)
{
	int rc = 0;

	join(s);
	if (s->rc) {
		if (err)
			*err = s->err;
		return s->rc;
	}
	for (size_t i = 0; !rc && i < s->ndirs; i++) {
		struct rest r = { .s = s, .i = i };

		rc = kho_dir_each(s->dirs[i], send_rest, &r, err);
	}
	return rc ? rc : flush(s, err);
}

void kho_proc_stream_stop(struct kho_proc_stream *s)
{
	join(s);
	for (size_t i = 0; i < s->ndirs; i++) {
		free(s->dirs[i]);
		free(s->prefixes[i]);
	}
	while (s->nqueue)
		free(s->queue[--s->nqueue]);
	tdestroy(s->sent, free);
	free(s->dirs);
	free(s->prefixes);
	free(s->eager);
	if (s->inotify >= 0)
		close(s->inotify);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	*s = (struct kho_proc_stream){ .inotify = -1, .stop_fd = -1 };
}
