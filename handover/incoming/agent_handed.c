// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel before has handed everything over and is gone: its requests are carried out in their order, what it would have looked at is looked at
 * here, and this side signs alone. Until then nothing is visible outside, so that going back loses nothing (agent_back.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "handover/incoming/handed.h"
#include "handover/kexec/luo.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/record.h"

#define EXPEDITED "/sys/kernel/rcu_expedited"

/* --- what is there --- */

static int read_fd(int fd, char **out, size_t *out_len, struct kho_err *err)
{
	_cleanup_free_ char *buf = NULL;
	struct stat st;
	size_t done = 0;

	if (fstat(fd, &st) || st.st_size < 0 || (uint64_t)st.st_size > KHO_HANDED_STATE_MAX)
		return kho_fail(err, -EBADMSG, "state of the kernel before: no file that can be");
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return kho_fail(err, -ENOMEM, "state of the kernel before");
	while (done < (size_t)st.st_size) {
		ssize_t n = pread(fd, buf + done, (size_t)st.st_size - done, (off_t)done);

		if (n <= 0)
			return kho_fail(err, n ? -errno : -EBADMSG, "state of the kernel before: cannot be read");
		done += (size_t)n;
	}
	*out = steal_ptr(buf);
	*out_len = done;
	return 0;
}

static int read_state(struct kho_handed *h, struct kho_err *err)
{
	_cleanup_free_ char *data = NULL;
	_cleanup_close_ int fd = -1;
	size_t len = 0;
	int ret = 0;

	if (h->luo) {
		h->session = kho_luo_open(KHO_HANDED_SESSION, err);
		fd = h->session < 0 ? -1 : kho_luo_retrieve(h->session, KHO_HANDED_STATE_TOKEN, err);
		ret = fd < 0 ? (err->code ? err->code : -EIO) : read_fd(fd, &data, &len, err);
	} else {
		ret = kho_read_file(KHO_HANDED_STATE, KHO_HANDED_STATE_MAX, &data, &len, err);
	}
	if (!ret)
		ret = kho_handed_unpack(data, len, h->luo, &h->s, err);
	if (data)
		explicit_bzero(data, len);
	return ret;
}

int kho_handed_take(struct kho_handed *h, size_t i, struct kho_err *err)
{
	if (h->fd[i] < 0)
		h->fd[i] = kho_luo_retrieve(h->session, h->s->file[i]->token, err);
	return h->fd[i] < 0 ? kho_wrap(err, "%s", h->s->file[i]->name) : 0;
}

char *kho_handed_path(const struct kho_handed *h, size_t i)
{
	char *path;

	return asprintf(&path, "%s/%s", h->a.env.images_dir, h->s->file[i]->name) < 0 ? NULL : path;
}

/*
 * A name below images_dir that leads to the file itself: luo, in this process; else, where the initramfs has it. Nothing is copied. The link goes up from
 * its place: CRIU opens images from inside of what it restores, a container with another root and another /proc, by a descriptor of their directory.
 */
static int link_file(struct kho_handed *h, size_t i, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_handed_path(h, i), *dir = NULL, *target = NULL;
	int ret = h->luo ? kho_handed_take(h, i, err) : 0;

	if (ret < 0)
		return ret;
	if ((h->luo ? asprintf(&target, "/proc/%d/fd/%d", (int)getpid(), h->fd[i]) : asprintf(&target, KHO_HANDED_IMAGES "/%s", h->s->file[i]->name)) < 0)
		target = NULL;
	if (!path || !target || !(dir = strdup(path)))
		return kho_fail(err, -ENOMEM, "%s", h->s->file[i]->name);
	*strrchr(dir, '/') = '\0';
	ret = kho_mkdir(dir, err);
	return ret < 0 ? ret : kho_symlink_up(target, path, err);
}

static int check_file(struct kho_handed *h, size_t i, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_handed_path(h, i);
	struct stat st;

	if (!path)
		return kho_fail(err, -ENOMEM, "%s", h->s->file[i]->name);
	if (stat(path, &st))
		return kho_fail_errno(err, "%s", path);
	return (uint64_t)st.st_size == h->s->file[i]->bytes ? 0
		: kho_fail(err, -EBADMSG, "%s has %lld bytes, it had %llu when it was handed over", path, (long long)st.st_size,
			   (unsigned long long)h->s->file[i]->bytes);
}

/* Those on a disk come later (kho_handed_fetch). */
static int place_files(struct kho_handed *h, struct kho_err *err)
{
	bool on_disk = *h->s->dir, links = h->luo || on_disk;
	uint64_t begin = kho_clock_us();
	int ret = 0;

	/* initrd: its folder, over images_dir */
	if (!links && h->s->n_file) {
		if (mount(KHO_HANDED_IMAGES, h->a.env.images_dir, NULL, MS_BIND, NULL))
			return kho_fail_errno(err, "mount " KHO_HANDED_IMAGES " on %s", h->a.env.images_dir);
		h->bound = true;
	}
	for (size_t i = 0; !ret && i < h->s->n_file; i++) {
		if (on_disk && h->s->file[i]->token)
			continue;
		ret = links ? link_file(h, i, err) : 0;
		if (!ret)
			ret = check_file(h, i, err);
	}
	kho_agent_note_phase(&h->a, "files", begin, kho_clock_us());
	return ret;
}

/*
 * For each module, mount, rule and interface the kernel waits until all CPUs have passed by (RCU): some ticks of the clock, or, if it may interrupt them,
 * no time. So it does itself while it boots. A kernel that is so for good (rcupdate.rcu_expedited=1) stays so.
 */
static void hurry(struct kho_handed *h)
{
	_cleanup_free_ char *text = NULL;

	if (kho_read_line(EXPEDITED, &text, NULL) == 0 && !strcmp(text, "0"))
		h->hurried = kho_write_existing(EXPEDITED, "1\n", NULL) == 0;
}

/* And its console is as that of the kernel before. */
static void calm(struct kho_handed *h)
{
	struct kho_err err = KHO_ERR_INIT;

	if (h->a.conf->loglevel && kho_write_existing("/proc/sys/kernel/printk", h->a.conf->loglevel, &err) < 0)
		h->a.conf->say("%s", err.msg);
	if (h->hurried && kho_write_existing(EXPEDITED, "0\n", &err) < 0)
		h->a.conf->say("%s", err.msg);
	h->hurried = false;
}

/* --- its requests --- */

struct job {
	struct kho_handed *h;
	KhoLink__Msg *m;
	struct job *after; /* must be through first; or NULL */
	struct kho_err err;
	int ret;
	pthread_t thread;
	bool started, done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

static int serve(struct kho_agent *a, KhoLink__Msg *m, struct kho_err *err)
{
	struct kho_request rq = { .m = m, .begin_us = kho_clock_us() };
	char name[64];
	int ret;

	kho_link__reply__init(&rq.reply);
	switch (m->body_case) {
	case KHO_LINK__MSG__BODY_SETUP:
		return kho_agent_setup(a, &rq, err);
	case KHO_LINK__MSG__BODY_ENTRUST:
		return kho_agent_entrust(a, &rq, err);
	case KHO_LINK__MSG__BODY_FAULT:
		return kho_agent_fault(a, &rq, err);
	default:
		break;
	}
	snprintf(name, sizeof(name), "%s %s", m->op->op, m->op->serializer);
	ret = kho_agent_op(a, &rq, err);
	kho_agent_note_phase(a, name, rq.begin_us, kho_clock_us());
	return ret < 0 ? kho_wrap(err, "%s", name) : 0;
}

/* Wait until it is through, whoever asks, how often ever. */
static int join(struct job *j, struct kho_err *err)
{
	if (!j->started)
		return 0;
	pthread_mutex_lock(&j->lock);
	while (!j->done)
		pthread_cond_wait(&j->cond, &j->lock);
	pthread_mutex_unlock(&j->lock);
	return j->ret < 0 ? kho_fail(err, j->ret, "%s", j->err.msg) : 0;
}

/* The thread stays when it is through: what it has started may want to end with it. */
static void *work(void *arg)
{
	struct job *j = arg;
	int ret = j->after ? join(j->after, &j->err) : 0;

	if (!ret)
		ret = serve(&j->h->a, j->m, &j->err);
	pthread_mutex_lock(&j->lock);
	j->ret = ret;
	j->done = true;
	pthread_cond_broadcast(&j->cond);
	pthread_mutex_unlock(&j->lock);
	for (;;)
		pause();
	return NULL;
}

static int start(struct job *j, struct kho_err *err)
{
	int ret;

	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->cond, NULL);
	ret = pthread_create(&j->thread, NULL, work, j);
	j->started = !ret;
	return ret ? kho_fail(err, -ret, "thread: %s", strerror(ret)) : 0;
}

static int join_all(struct job *jobs, size_t n, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = 0; i < n; i++)
		kho_first_failure(join(&jobs[i], &one), &one, &first, err);
	return first;
}

/* The request of the same serializer that was started beside the others, or NULL. */
static struct job *before(struct job *jobs, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (jobs[k].started && !strcmp(jobs[k].m->op->serializer, jobs[i].m->op->serializer))
			return &jobs[k];
	return NULL;
}

/*
 * Retrieves run side by side, as the lanes of the other side would ask for them; those marked last when the others are through. Prepares, which on the
 * other engine have time, run beside all that is not their serializer's, where that marks them. A fault comes when all before it is done, as there: one
 * that kills a CRIU must not meet that which a prepare asks for its version.
 */
static int one(struct kho_handed *h, struct job *jobs, size_t i, struct kho_err *err)
{
	KhoLink__Msg *m = jobs[i].m;
	const struct kho_serializer *s = m->body_case == KHO_LINK__MSG__BODY_OP ? h->a.conf->find(m->op->serializer) : NULL;
	bool retrieve = s && !strcmp(m->op->op, "retrieve"), prepare = s && !strcmp(m->op->op, "prepare");

	if ((retrieve && !(s->flags & KHO_SER_LAST)) || (prepare && s->flags & KHO_SER_APART)) {
		jobs[i].after = before(jobs, i);
		return start(&jobs[i], err);
	}
	if (retrieve || m->body_case == KHO_LINK__MSG__BODY_FAULT) {
		int ret = join_all(jobs, i, err);

		if (!ret && retrieve)
			ret = kho_handed_fetch(h, err);
		if (ret < 0)
			return ret;
	}
	return serve(&h->a, m, err);
}

/* Setup and what was entrusted come first: the rest needs both. */
static int begin(struct kho_handed *h, struct job *jobs, struct kho_err *err)
{
	int ret = serve(&h->a, jobs[0].m, err);

	for (size_t i = 1; !ret && i < h->s->n_message; i++)
		if (jobs[i].m->body_case == KHO_LINK__MSG__BODY_ENTRUST)
			ret = serve(&h->a, jobs[i].m, err);
	return ret < 0 ? ret : kho_agent_keep_journal(&h->a, h->s->record.data, h->s->record.len, err);
}

/* The jobs are never freed: their threads stay. */
static int carry_out(struct kho_handed *h, struct kho_err *err)
{
	struct kho_err late = KHO_ERR_INIT;
	size_t n = h->s->n_message;
	struct job *jobs = calloc(n, sizeof(*jobs));
	int ret = jobs ? 0 : kho_fail(err, -ENOMEM, "requests of the kernel before");

	for (size_t i = 0; !ret && i < n; i++) {
		jobs[i].h = h;
		jobs[i].m = kho_link__msg__unpack(NULL, h->s->message[i].len, h->s->message[i].data);
		if (!jobs[i].m)
			ret = kho_fail(err, -ENOMEM, "requests of the kernel before");
	}
	if (!ret)
		ret = begin(h, jobs, err);
	if (!ret)
		ret = place_files(h, err);
	for (size_t i = 1; !ret && i < n; i++)
		if (jobs[i].m->body_case != KHO_LINK__MSG__BODY_ENTRUST)
			ret = one(h, jobs, i, err);
	if (jobs && join_all(jobs, n, &late) < 0 && !ret)
		ret = kho_fail(err, late.code, "%s", late.msg);
	return ret;
}

/* --- and the end of the upgrade --- */

static void note_boot(struct kho_handed *h, uint64_t started_us)
{
	struct timespec up;
	uint64_t booted;

	clock_gettime(CLOCK_BOOTTIME, &up);
	booted = started_us - ((uint64_t)up.tv_sec * 1000000 + (uint64_t)up.tv_nsec / 1000);
	if (booted < h->s->jumped_us)
		booted = h->s->jumped_us;
	kho_agent_note_phase(&h->a, "shutdown and jump", h->s->jumped_us, booted);
	kho_agent_note_phase(&h->a, "boot", booted, started_us);
}

/* Here and, since that was bound there, in the carried root: a folder that is mounted and then removed would be in the next upgrade's way. */
static void unbind(struct kho_handed *h)
{
	_cleanup_free_ char *there = NULL;

	if (!h->bound)
		return;
	if (*kho_new_root(&h->a.env) && asprintf(&there, "%s%s", kho_new_root(&h->a.env), h->a.env.images_dir) > 0)
		(void)!umount2(there, MNT_DETACH | UMOUNT_NOFOLLOW);
	(void)!umount2(h->a.env.images_dir, MNT_DETACH | UMOUNT_NOFOLLOW);
}

/* luo: the link first, which the next upgrade would write through: into whatever this process then has under that number. */
static void close_file(struct kho_handed *h, size_t i)
{
	_cleanup_free_ char *path = kho_handed_path(h, i);

	if (path)
		unlink(path);
	close(h->fd[i]);
}

/* Nothing of it is needed any more; the pages of a workload that are still to come have been read, or are held open by who reads them. */
static void let_go(struct kho_handed *h)
{
	struct kho_err err = KHO_ERR_INIT;

	for (size_t i = 0; i < h->s->n_file; i++)
		if (h->fd[i] >= 0)
			close_file(h, i);
	kho_handed_drop(h);
	if (h->session >= 0 && kho_luo_finish(h->session, &err) < 0)
		h->a.conf->say("%s", err.msg);
	if (h->session >= 0)
		close(h->session);
	h->session = -1;
	unbind(h);
	kho_remove_tree(KHO_HANDED_DIR);
	/* there may be the key of a disk among them, and h stays as long as this process */
	for (size_t i = 0; i < h->s->n_message; i++)
		explicit_bzero(h->s->message[i].data, h->s->message[i].len);
}

static void finish(struct kho_agent *a)
{
	struct kho_handed *h = (struct kho_handed *)((char *)a - offsetof(struct kho_handed, a));
	struct kho_err err = KHO_ERR_INIT, late = KHO_ERR_INIT;
	uint64_t gate_us = 0;
	char msg[600];
	int ret = kho_agent_do_rest(a, &gate_us, &err);

	kho_agent_note_blackout(a, h->s->frozen_us, gate_us);
	if (h->s->attempt)
		snprintf(msg, sizeof(msg), "%s could not go on; this kernel was started again and has everything%s%s", h->s->from, ret < 0 ? ": " : "",
			 ret < 0 ? err.msg : "");
	else
		snprintf(msg, sizeof(msg), "%s", ret < 0 ? err.msg : "");
	kho_agent_note_end(a, !ret && h->s->attempt ? "rolled back" : KHO_OUTCOME(ret), msg);
	if (kho_agent_save(a, &late) < 0)
		a->conf->say("journal: %s", late.msg);
	let_go(h);
	calm(h);
	a->conf->say("everything is here, %llu ms after the freeze%s%s", (unsigned long long)((gate_us - h->s->frozen_us) / 1000), *msg ? "; " : "", msg);
	kho_agent_go_on(a, h->s->from, h->s->attempt ? "failed" : "replaced");
	kho_agent_deputy_end(a);
}

static int run(struct kho_handed *h, uint64_t started_us, struct kho_err *err)
{
	int ret = carry_out(h, err);

	if (!ret)
		note_boot(h, started_us);
	if (!ret)
		ret = kho_agent_op_all(&h->a, "verify", 0, true, err);
	return ret < 0 ? ret : kho_agent_sign_alone(&h->a, err);
}

int kho_agent_run_handed(const struct kho_agent_conf *conf, bool luo, struct kho_err *err)
{
	/* never freed: threads of retrieves look at it as long as this process lives */
	struct kho_handed *h = calloc(1, sizeof(*h));
	struct kho_err why = KHO_ERR_INIT;
	int ret;

	if (!h)
		return kho_fail(err, -ENOMEM, "agent");
	h->luo = luo;
	if (luo)
		kho_want_descriptors(KHO_HANDED_FDS);
	h->session = -1;
	kho_agent_init(&h->a, conf);
	h->a.alone = h->a.handed = h->a.env.hurry = true;
	h->a.carry_on = finish;
	hurry(h);
	ret = read_state(h, err);
	if (ret < 0)
		return ret;
	h->fd = malloc((h->s->n_file + 1) * sizeof(*h->fd));
	if (!h->fd)
		return kho_fail(err, -ENOMEM, "files of the kernel before");
	memset(h->fd, -1, (h->s->n_file + 1) * sizeof(*h->fd));
	kho_clock_set_tsc_khz(h->s->tsc_khz);
	ret = run(h, kho_clock_us(), &why);
	if (ret < 0)
		return kho_handed_back(h, &why, err);
	finish(&h->a);
	return 0;
}
