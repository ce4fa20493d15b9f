// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page server: one process per restored tree. CRIU hands it a userfaultfd for each process;
 * pages are mapped from the images and copied into the process when it touches them, later all
 * others.
 *
 * "Later" is after the commit. Until then the images may be needed once more (a kernel that kexec has
 * started hands them back when it cannot go on), and filling takes them away piece by piece.
 *
 * If this process died, the kernel would give zeros for the pages not yet there: it allocates
 * nothing after the hand-over but for forks of the workload, and is kept from the OOM killer.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/fdpass.h"
#include "lib/io.h"
#include "state-serializers/proc/blocks.h"
#include "state-serializers/proc/lazy.h"
#include "state-serializers/proc/role.h"
#include "state-serializers/proc/tree.h"

#define SOCK_FD	      3
#define CRIU_RESTORED 0x52535446u /* CRIU: all processes have been handed over and run */
#define FAULT_AROUND  32u	  /* pages */
#define SPACES_MAX    4096

struct server {
	const char *dir, *progress;
	int listen, conn, sigs;
	struct kho_space *s[SPACES_MAX];
	size_t n;
	pid_t agent;	     /* who restores, and tells */
	bool restored, told; /* told: it is committed */
	uint64_t total, reported;
};

static uint64_t pending(const struct server *v)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < v->n; i++)
		sum += v->s[i]->pending;
	return sum;
}

static void report_progress(struct server *v)
{
	_cleanup_close_ int fd = open(v->progress, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char text[96];
	int n = snprintf(text, sizeof(text), "%d %llu %llu\n", getpid(),
			 (unsigned long long)pending(v) * KHO_PAGE,
			 (unsigned long long)v->total * KHO_PAGE);

	if (fd >= 0)
		(void)!write(fd, text, (size_t)n);
	v->reported = pending(v);
}

static int add_space(struct server *v, struct kho_space *sp)
{
	if (v->n == SPACES_MAX)
		return -E2BIG;
	v->s[v->n++] = sp;
	return 0;
}

static void on_fork(struct server *v, struct kho_space *parent, int uffd)
{
	struct kho_space *child = kho_space_clone(parent, uffd);

	if (child && !add_space(v, child))
		return;
	/* its descriptor stays open: until it is ended it sleeps at the first page that it misses, and does not read zeros */
	kho_space_end_all(parent);
	if (child) {
		child->uffd = -1;
		kho_space_free(child);
	}
}

static void on_event(struct server *v, struct kho_space *sp)
{
	struct uffd_msg m;
	ssize_t n = read(sp->uffd, &m, sizeof(m));

	if (n != (ssize_t)sizeof(m)) {
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		/* a fork's descriptor cannot be had (EMFILE, ENOMEM) */
		kho_space_end_all(sp);
		sp->gone = true;
		return;
	}
	switch (m.event) {
	case UFFD_EVENT_PAGEFAULT:
		kho_space_fault(sp, m.arg.pagefault.address & ~(KHO_PAGE - 1), FAULT_AROUND);
		break;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		kho_space_drop(sp, m.arg.remove.start, m.arg.remove.end);
		break;
	case UFFD_EVENT_REMAP:
		kho_space_move(sp, m.arg.remap.from, m.arg.remap.to, m.arg.remap.len);
		break;
	case UFFD_EVENT_FORK:
		on_fork(v, sp, (int)m.arg.fork.ufd);
		break;
	}
}

static int recv_fd(int sk)
{
	char dummy;
	int fd;

	return kho_fd_recv(sk, &dummy, 1, &fd, 0) == 1 ? fd : -1;
}

/* CRIU's side of the socket: a pid, then its userfaultfd (none for a zombie: negative pid); at the
 * end a magic word. */
static int on_criu(struct server *v)
{
	struct kho_space *sp;
	int32_t word;
	ssize_t n = recv(v->conn, &word, sizeof(word), MSG_WAITALL);
	int fd;

	if (n != (ssize_t)sizeof(word) || (uint32_t)word == CRIU_RESTORED) {
		if (n == (ssize_t)sizeof(word)) {
			v->restored = true;
			v->total = pending(v);
			report_progress(v);
		}
		close(v->conn);
		v->conn = -1;
		return v->restored ? 0 : -EPIPE;
	}
	if (word < 0)
		return 0;
	fd = recv_fd(v->conn);
	if (fd < 0)
		return -EPROTO;
	sp = kho_space_load(v->dir, word, fd, NULL);
	return sp ? add_space(v, sp) : -EIO;
}

static void forget_gone(struct server *v)
{
	size_t kept = 0;

	for (size_t i = 0; i < v->n; i++) {
		if (v->s[i]->gone || (v->restored && !v->s[i]->pending))
			kho_space_free(v->s[i]);
		else
			v->s[kept++] = v->s[i];
	}
	v->n = kept;
}

static void fill_some(struct server *v)
{
	for (size_t i = 0; i < v->n; i++)
		kho_space_fill(v->s[i]);
	if (v->reported > pending(v) + 2048)
		report_progress(v);
}

/* An agent that has ended tells nothing any more: it had committed, or its kernel ends with it (handover/incoming/init.c). */
static void look_whether_told(struct server *v, bool signalled)
{
	struct signalfd_siginfo si;

	if (signalled && read(v->sigs, &si, sizeof(si)) > 0)
		v->told = true;
	if (v->restored && getppid() != v->agent)
		v->told = true;
}

static bool fills(const struct server *v)
{
	return v->restored && v->told;
}

/* How long to wait for an event (poll): not at all when there is something to fill. */
static int patience(const struct server *v)
{
	bool hungry = false, fed = false;

	for (size_t i = 0; i < v->n; i++)
		*(v->s[i]->again_us ? &hungry : &fed) = true;
	if (fills(v) && fed)
		return 0;
	return hungry ? KHO_SPACE_AGAIN_US / 1000 : v->restored ? 200 : -1;
}

/* One look at everything that may have happened. */
static int turn(struct server *v)
{
	struct pollfd p[SPACES_MAX + 3];
	size_t n = v->n;
	int rc = 0;

	p[0] = (struct pollfd){ .fd = v->conn >= 0 ? v->conn : v->listen, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = v->sigs, .events = POLLIN };
	for (size_t i = 0; i < n; i++)
		p[i + 2] = (struct pollfd){ .fd = v->s[i]->uffd, .events = POLLIN };
	if (poll(p, n + 2, patience(v)) < 0)
		return errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < n; i++)
		kho_space_again(v->s[i]);
	for (size_t i = 0; i < n; i++)
		if (p[i + 2].revents)
			on_event(v, v->s[i]);
	look_whether_told(v, p[1].revents);
	if (p[0].revents && v->conn >= 0)
		rc = on_criu(v);
	else if (p[0].revents && v->listen >= 0) {
		v->conn = accept4(v->listen, NULL, NULL, SOCK_CLOEXEC);
		close(v->listen);
		v->listen = -1;
	}
	return rc;
}

/*
 * Threads wait for this process: before it fills in the background it runs ahead of everything;
 * afterwards it shares the CPUs, as the first among equals.
 */
static void set_urgent(bool urgent)
{
	struct sched_param p = { .sched_priority = urgent ? 1 : 0 };

	sched_setscheduler(0, urgent ? SCHED_FIFO : SCHED_OTHER, &p);
	if (!urgent)
		setpriority(PRIO_PROCESS, 0, -20);
}

int kho_lazy_main(int argc, char **argv)
{
	static struct server v;
	bool filling = false;
	sigset_t usr1;
	int rc = 0;

	if (argc != 3)
		return 2;
	v = (struct server){ .dir = argv[1], .progress = argv[2], .listen = SOCK_FD, .conn = -1, .agent = getppid() };
	(void)!kho_write_existing("/proc/self/oom_score_adj", "-1000", NULL);
	set_urgent(true);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	v.sigs = signalfd(-1, &usr1, SFD_CLOEXEC | SFD_NONBLOCK);
	while (!rc && (!fills(&v) || v.n)) {
		rc = turn(&v);
		forget_gone(&v);
		if (fills(&v) && !filling) {
			filling = true;
			set_urgent(false);
		}
		if (filling)
			fill_some(&v);
	}
	if (!rc && v.restored)
		(void)kho_tree_remove(v.dir, NULL);
	unlink(v.progress);
	return rc ? 1 : 0;
}
