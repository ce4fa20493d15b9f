// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process that a replay runs in.  See bpf/replay.h.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/child.h"
#include "bpf/pinned.h"
#include "bpf/replay_parts.h"
#include "lib/cleanup.h"

#define GRACE_NS 20000000000ull /* an emulated machine stalls for seconds */

struct shared {
	_Atomic bool over;
	struct kho_replay_result r;
};

static void __attribute__((noreturn)) child(const struct kho_replay *r, pid_t of, struct shared *s, pid_t parent)
{
	const struct sched_param none = { 0 };
	char path[64];
	int fd;

	kho_child_lead(parent);
	prctl(PR_SET_TIMERSLACK, 1); /* else requests that came one after the other would go out together, and wait for each other */
	/* the server, which may have no other CPU, runs as soon as it has something to do */
	(void)!sched_setscheduler(0, SCHED_IDLE, &none);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", of);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		snprintf(s->r.what, sizeof(s->r.what), "the network of process %d: %s", of, strerror(errno));
	else
		kho_replay_send(r, &s->r);
	s->over = true;
	_exit(0);
}

static int in_process(const struct kho_replay *r, pid_t of, struct kho_replay_result *out, struct kho_err *err)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t until = kho_now_ns() + (r->us + KHO_REPLAY_LATE_US) * 1000 + GRACE_NS;
	struct kho_err why = KHO_ERR_INIT;
	pid_t pid, self = getpid();
	int rc;

	if (s == MAP_FAILED)
		return kho_fail_errno(err, "replay");
	pid = fork();
	if (!pid)
		child(r, of, s, self);
	rc = pid < 0 ? kho_fail_errno(err, "replay: fork") : 0;
	if (rc == 0 && kho_child_wait(pid, until, NULL, NULL, &why) < 0)
		snprintf(out->what, sizeof(out->what), "%s", why.msg);
	else if (rc == 0 && s->over)
		*out = s->r;
	else if (rc == 0)
		snprintf(out->what, sizeof(out->what), "its process was killed");
	munmap(s, sizeof(*s));
	return rc;
}

int kho_replay_run(int fd, pid_t of, struct kho_replay_result *out, struct kho_err *err)
{
	struct kho_replay r;
	struct stat st;
	size_t len;
	void *map;
	int rc;

	*out = (struct kho_replay_result){ 0 };
	if (fstat(fd, &st))
		return kho_fail_errno(err, "a recording of requests");
	if (st.st_size <= 0 || (uint64_t)st.st_size > KHO_REPLAY_MESSAGE_MAX)
		return kho_fail(err, -EPROTO, "a recording of requests: %lld bytes", (long long)st.st_size);
	len = (size_t)st.st_size;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return kho_fail_errno(err, "map a recording of requests");
	madvise(map, len, MADV_DONTDUMP);
	rc = kho_replay_parse(map, len, &r, err);
	if (rc == 0)
		rc = in_process(&r, of, out, err);
	kho_replay_done(&r);
	explicit_bzero(map, len);
	munmap(map, len);
	return rc;
}
