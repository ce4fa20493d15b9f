// SPDX-License-Identifier: GPL-2.0-only
/*
 * A recording, from its first packet to its message.  See bpf/replay.h.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf/pinned.h"
#include "bpf/replay_parts.h"
#include "lib/cleanup.h"

#define TICK_US 2000
#define BUNCH	4096 /* packets, before the time is looked at */

struct opening {
	struct kho_capture *c;
	const struct kho_replay_listeners *l;
	pid_t pid;
	struct kho_err err;
};

/* A thread of its own is in another network until it ends. */
static void *open_there(void *arg)
{
	struct opening *o = arg;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", o->pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		kho_fail_errno(&o->err, "enter the network of process %d", o->pid);
	else
		(void)!kho_capture_open(o->c, o->l, &o->err); /* which says so in err */
	return NULL;
}

static int open_in(struct kho_capture *c, const struct kho_replay_listeners *l, pid_t pid, struct kho_err *err)
{
	struct opening o = { .c = c, .l = l, .pid = pid };
	pthread_t t;
	int rc = pthread_create(&t, NULL, open_there, &o);

	if (rc)
		return kho_fail(err, -rc, "a thread to see packets: %s", strerror(rc));
	pthread_join(t, NULL);
	return o.err.code < 0 ? kho_fail(err, o.err.code, "%s", o.err.msg) : 0;
}

static int take_all(struct kho_capture *c, struct kho_streams *s, uint64_t us, bool (*stop)(void *arg), void *arg, uint64_t *out_us, struct kho_err *err)
{
	uint64_t begin = kho_now_ns(), end = begin + us * 1000, now;
	int rc = 0;

	/* not at each packet: they have their times, and who waits for a CPU is the workload */
	for (now = begin; rc == 0 && now < end && !s->full; now = kho_now_ns()) {
		usleep(TICK_US);
		if (stop && stop(arg))
			rc = kho_fail(err, -EINTR, "stopped");
		else
			(void)kho_capture_take(c, s, BUNCH);
	}
	*out_us = (now - begin) / 1000;
	return rc;
}

static void count(const struct kho_streams *s, struct kho_replay_recorded *out)
{
	for (size_t i = 0; i < s->nflows; i++) {
		out->tls += s->flow[i].tls;
		out->cut += s->flow[i].cut;
	}
	out->more = s->more;
	out->full = s->full;
	kho_streams_times(s, &out->ns);
}

int kho_replay_record(const pid_t *pids, size_t n, uint64_t us, bool (*stop)(void *arg), void *arg, struct kho_replay_recorded *out,
		      struct kho_err *err)
{
	struct kho_capture c = KHO_CAPTURE_INIT;
	struct kho_replay_listeners l;
	struct kho_streams *s = NULL;
	int rc = kho_replay_listeners_of(pids, n, &l, err);

	*out = (struct kho_replay_recorded)KHO_REPLAY_RECORDED_INIT;
	if (rc == 0)
		rc = open_in(&c, &l, pids[0], err);
	if (rc == 0) {
		s = kho_streams_new(true, kho_capture_now(), err);
		rc = s ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = take_all(&c, s, us, stop, arg, &out->us, err);
	kho_capture_close(&c);
	if (rc == 0) {
		count(s, out);
		rc = kho_replay_pack(s, out->us, out, err);
	}
	kho_streams_free(s);
	return rc;
}

void kho_replay_recorded_done(struct kho_replay_recorded *r)
{
	if (r->message) {
		explicit_bzero(r->message, r->len);
		munmap(r->message, r->len);
	}
	kho_closep(&r->fd);
	r->fd = -1;
	r->message = NULL;
	r->len = 0;
}
