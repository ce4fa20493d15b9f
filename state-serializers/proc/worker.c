// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process that becomes CRIU.  Where it goes there may be no CRIU, no libraries, or a mount that
 * nothing can be executed from: so it is the program loader that is executed, by descriptor, and
 * finds CRIU and its libraries through descriptors of directories that were opened before.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/memfd.h"
#include "lib/pid.h"
#include "lib/spawn.h"
#include "state-serializers/common.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/place.h"

#define PLACE_MAX (64u << 20)
#define HIGH	  200

static const char *const lib_dirs[] = { "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
					"/usr/local/lib", "/usr/lib64", "/usr/lib" };

struct tools {
	int loader, criu;
	char libs[256]; /* as the loader takes them */
};

/* Out of the way of what CRIU finds under fixed numbers. */
static int open_high(const char *path, int flags)
{
	_cleanup_close_ int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? fd : fcntl(fd, F_DUPFD, HIGH);
}

/*
 * A copy: what is executed may not be mapped by the processes that CRIU turns its own into (the kernel
 * would refuse to give them another executable), and each of them maps the loader.
 */
static int copy_loader(struct kho_err *err)
{
	_cleanup_close_ int from = open("/lib64/ld-linux-x86-64.so.2", O_RDONLY | O_CLOEXEC), to = -1;
	struct stat st;
	int fd;

	if (from < 0 || fstat(from, &st))
		return kho_fail_errno(err, "open the loader");
	to = kho_memfd(KHO_CRIU_LOADER, MFD_EXEC, err);
	if (to < 0)
		return to;
	while (st.st_size > 0) {
		ssize_t n = sendfile(to, from, NULL, (size_t)st.st_size);

		if (n <= 0)
			return kho_fail(err, n < 0 ? -errno : -EIO, "copy the loader: %s", n < 0 ? strerror(errno) : "it has become shorter");
		st.st_size -= n;
	}
	fd = fcntl(to, F_DUPFD_CLOEXEC, HIGH);
	return fd < 0 ? kho_fail_errno(err, "copy the loader") : fd;
}

static int open_tools(struct tools *t, const char *criu, struct kho_err *err)
{
	size_t at = 0;

	t->loader = copy_loader(err);
	if (t->loader < 0)
		return t->loader;
	t->criu = open_high(criu, O_PATH); /* the loader opens it again */
	if (t->criu < 0)
		return kho_fail_errno(err, "open %s", criu);
	for (size_t i = 0; i < KHO_ARRAY_SIZE(lib_dirs); i++) {
		int fd = open_high(lib_dirs[i], O_PATH | O_DIRECTORY);

		if (fd >= 0)
			at += (size_t)snprintf(t->libs + at, sizeof(t->libs) - at,
					       "%s/proc/self/fd/%d", at ? ":" : "", fd);
	}
	return 0;
}

KhoProc__Place *kho_place_read(int fd, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	size_t len = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (kho_read_file(path, PLACE_MAX, &text, &len, err))
		return NULL;
	return kho_pb_unpack(&kho_proc__place__descriptor,
			     &(struct kho_blob){ .data = text, .len = len }, err);
}

static int open_ns(pid_t pid, const char *kind, struct kho_err *err)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kind);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? kho_fail_errno(err, "open %s", path) : fd;
}

/* Those two kinds that somebody's process is in. */
static int join(const KhoProc__Place *p, struct kho_err *err)
{
	static const struct {
		const char *kind;
		int flag;
	} kinds[] = { { "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS } };

	for (size_t i = 0; p->join && i < KHO_ARRAY_SIZE(kinds); i++) {
		if (!(i ? p->join_uts : p->join_ipc))
			continue;
		_cleanup_close_ int fd = open_ns(p->join, kinds[i].kind, err);

		if (fd < 0)
			return fd;
		if (setns(fd, kinds[i].flag))
			return kho_fail_errno(err, "enter the %s namespace of pid %d", kinds[i].kind, p->join);
	}
	return 0;
}

/* Both are opened before the first is entered: /proc may look different there. */
static int enter(pid_t pid, struct kho_err *err)
{
	_cleanup_close_ int mnt = open_ns(pid, "mnt", err), uts = -1;

	if (mnt < 0)
		return mnt;
	uts = open_ns(pid, "uts", err);
	if (uts < 0)
		return uts;
	if (setns(uts, CLONE_NEWUTS) || setns(mnt, CLONE_NEWNS))
		return kho_fail_errno(err, "enter the namespaces of pid %d", pid);
	return 0;
}

/* What has changed in its own file systems since they were described; each of them once. */
static int refresh(KhoProc__Place *p, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	KhoProc__Namespace *ns;
	size_t len = 0;

	if (!p->mount_ns || !*p->fresh || !kho_exists(p->fresh))
		return 0;
	if (kho_read_file(p->fresh, PLACE_MAX, &text, &len, err))
		return err->code;
	ns = kho_pb_unpack(&kho_proc__namespace__descriptor,
			   &(struct kho_blob){ .data = text, .len = len }, err);
	if (!ns)
		return -EBADMSG;
	for (size_t i = 0; i < ns->n_mounts; i++)
		for (size_t k = 0; k < p->mount_ns->n_mounts; k++) {
			KhoProc__Mount *from = ns->mounts[i], *to = p->mount_ns->mounts[k];
			KhoProc__Node **nodes = to->nodes;
			size_t n = to->n_nodes;

			/* of several at one place the one with something in it is meant */
			if (strcmp(from->target, to->target) || !n)
				continue;
			to->nodes = from->nodes;
			to->n_nodes = from->n_nodes;
			from->nodes = nodes;
			from->n_nodes = n;
			break;
		}
	kho_proc__namespace__free_unpacked(ns, NULL);
	return 0;
}

/* What CRIU is to pass on, from number `at` on. */
static int open_inherited(const KhoProc__Place *p, int at, struct kho_err *err)
{
	for (size_t i = 0; i < p->n_inherit; i++) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s%s", p->new_root, p->inherit[i]->path) < 0)
			return kho_fail(err, -ENOMEM, "start criu: out of memory");
		_cleanup_close_ int fd =
			open(path, (p->inherit[i]->flags & (O_ACCMODE | O_DIRECTORY)) | O_CLOEXEC |
					   O_NOCTTY);

		if (fd < 0 || dup2(fd, at + (int)i) < 0)
			return kho_fail_errno(err, "open %s", path);
		if (fd == at + (int)i)
			fcntl(steal_fd(fd), F_SETFD, 0);
	}
	return 0;
}

static int go(const KhoProc__Place *p, struct kho_err *err)
{
	int flags = (p->new_ipc ? CLONE_NEWIPC : 0) | (p->new_uts ? CLONE_NEWUTS : 0), rc = 0;

	if (flags && unshare(flags))
		return kho_fail_errno(err, "new namespaces");
	rc = join(p, err);
	if (!rc && p->ns_of)
		rc = enter(p->ns_of, err);
	if (rc)
		return rc;
	if (p->container)
		return kho_container_enter(p->container, p->new_root, p->stage, err);
	if (p->mount_ns)
		return kho_ns_build(p->mount_ns, p->new_root, p->stage, err);
	if (*p->new_root && (chroot(p->new_root) || chdir("/")))
		return kho_fail_errno(err, "enter %s", p->new_root);
	return 0;
}

/* Until there is a request, or nobody who could make one. */
static bool asked(void)
{
	struct pollfd p = { .fd = KHO_SPAWN_FD, .events = POLLIN };

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	return p.revents & POLLIN;
}

/* In CRIU's words, as its client expects them. */
static int refuse(const struct kho_err *err)
{
	CriuRpc__Resp resp = CRIU_RPC__RESP__INIT;
	struct kho_blob b = { 0 };

	resp.type = CRIU_RPC__TYPE__EMPTY;
	resp.has_cr_errno = 1;
	resp.cr_errno = -err->code;
	resp.cr_errmsg = (char *)err->msg;
	if (!kho_pb_pack(&resp.base, &b, NULL))
		(void)!send(KHO_SPAWN_FD, b.data, b.len, MSG_NOSIGNAL); /* nobody else to tell */
	asked(); /* the client hears this when it asks */
	return 1;
}

static int become_criu(const KhoProc__Place *p, const struct tools *t, struct kho_err *err)
{
	_cleanup_free_ char *plugins = NULL;
	char program[64];
	char *argv[] = { (char *)"criu",    (char *)"--argv0", (char *)"criu", (char *)"--library-path",
			 (char *)t->libs,   program,	       (char *)"--no-default-config",
			 (char *)"swrk",    (char *)"3",       NULL };

	snprintf(program, sizeof(program), "/proc/self/fd/%d", t->criu);
	if (asprintf(&plugins, "CRIU_LIBS_DIR=%s", p->plugins) < 0)
		return kho_fail(err, -ENOMEM, "start criu: out of memory");
	char *envp[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", plugins, NULL };

	execveat(t->loader, "", argv, envp, AT_EMPTY_PATH);
	return kho_fail_errno(err, "start %s", p->criu);
}

int kho_place_main(int argc, char **argv)
{
	struct kho_err err = KHO_ERR_INIT;
	struct tools t = { -1, -1, "" };
	KhoProc__Place *p;
	int rc;

	if (argc != 2)
		return 2;
	p = kho_place_read(KHO_SPAWN_FD + 1 + atoi(argv[1]), &err);
	if (!p)
		return refuse(&err);
	close(KHO_SPAWN_FD + 1 + atoi(argv[1]));
	rc = open_tools(&t, p->criu, &err);
	if (!rc && *p->cgroup)
		rc = kho_cgroup_enter(p->cgroup, 0, &err);
	if (!rc && p->wait && !asked())
		return 0;
	if (!rc)
		rc = refresh(p, &err);
	if (!rc)
		rc = open_inherited(p, KHO_SPAWN_FD + 1 + atoi(argv[1]), &err);
	if (!rc)
		rc = go(p, &err);
	if (!rc)
		rc = become_criu(p, &t, &err);
	return rc ? refuse(&err) : 0;
}
