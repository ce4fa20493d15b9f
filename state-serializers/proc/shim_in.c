// SPDX-License-Identifier: GPL-2.0-only
/*
 * Incoming side of a container of containerd: the shim, started anew, learns of the container. See shim.h.
 */
#include "state-serializers/proc/shim.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/patience.h"
#include "state-serializers/proc/ttrpc.h"

#define RUNTIME	 "runc" /* what the shim executes when it was told of no other (go-runc) */
#define SOCKET	 KHO_SHIM_DIR "/ask"
#define ARGS_MAX 65536

struct shim {
	const KhoProc__Container *c; /* the one that is made known now */
	const struct kho_monitor *m; /* and its streams */
	struct kho_ttrpc t;
	int listener; /* where the runtime of ours asks */
	int log;      /* the shim does not start while nobody reads its log */
	uint64_t end_us;
};

static const char *runtime_name(const KhoProc__Container *c)
{
	const char *slash = strrchr(c->shim->runtime, '/');

	return slash ? slash + 1 : *c->shim->runtime ? c->shim->runtime : RUNTIME;
}

/* --- the runtime of ours, for the time of two calls --- */

static int put_runtime(struct shim *s, struct kho_err *err)
{
	char path[PATH_MAX], text[80];
	int n, rc = kho_mkdir(KHO_SHIM_DIR, err);
	_cleanup_close_ int fd = -1;

	if (rc)
		return rc;
	snprintf(path, sizeof(path), KHO_SHIM_DIR "/%s", runtime_name(s->c));
	(void)!unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	n = snprintf(text, sizeof(text), "#!/proc/%d/exe " KHO_ROLE_RUNTIME "\n", getpid());
	if (fd < 0 || kho_write_all(fd, text, (size_t)n))
		return kho_fail_errno(err, "write %s", path);
	s->listener = kho_shim_listen(SOCKET);
	return s->listener < 0 ? kho_fail(err, s->listener, "socket %s: %s", SOCKET, strerror(-s->listener)) : 0;
}

static void take_runtime(struct shim *s)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), KHO_SHIM_DIR "/%s", runtime_name(s->c));
	kho_closep(&s->listener);
	s->listener = -1;
	unlink(path);
	unlink(SOCKET);
	rmdir(KHO_SHIM_DIR);
}

int kho_runtime_main(int argc, char **argv)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = SOCKET };
	_cleanup_close_ int sk = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer = 'n';

	if (sk < 0 || connect(sk, (struct sockaddr *)&sa, sizeof(sa)))
		return 1;
	/* the interpreter, its argument and the file are not the runtime's arguments */
	for (int i = 3; i < argc; i++)
		if (send(sk, argv[i], strlen(argv[i]) + 1, MSG_NOSIGNAL) < 0)
			return 1;
	shutdown(sk, SHUT_WR);
	return recv(sk, &answer, 1, MSG_WAITALL) == 1 && answer == 'y' ? 0 : 1;
}

/* --- its questions --- */

static int inode_of(pid_t pid, const char *fd, uint64_t *out)
{
	char path[300], link[64];
	unsigned long long ino;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, fd);
	n = readlink(path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	if (sscanf(link, "pipe:[%llu]", &ino) != 1)
		return -ENOENT;
	*out = ino;
	return 0;
}

/* The shim's descriptor of that pipe, of the end that it keeps: to write to (standard input) or to read from. */
static int find_end(pid_t shim, uint64_t inode, bool writes)
{
	char path[300];
	struct dirent *e;
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd", shim);
	_cleanup_closedir_ DIR *d = opendir(path);

	while (d && (e = readdir(d))) {
		uint64_t ino;

		/* a link's mode is the descriptor's */
		if (inode_of(shim, e->d_name, &ino) || ino != inode || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !(st.st_mode & (writes ? S_IWUSR : S_IRUSR)))
			continue;
		return atoi(e->d_name);
	}
	return -1;
}

/* The caller has the shim's new pipes: the container's take their places in the shim. */
static int swap_pipes(const struct shim *s, pid_t caller, struct kho_err *err)
{
	struct kho_monitor_move moves[KHO_CONTAINER_PIPES];
	size_t n = 0;

	for (size_t i = 0; i < s->c->n_pipe; i++) {
		uint32_t number = s->c->pipe[i]->number;
		char name[16];
		uint64_t ino;

		snprintf(name, sizeof(name), "%u", number);
		moves[n].from = s->m->base + (int)i;
		moves[n].to = inode_of(caller, name, &ino) ? -1 : find_end(s->m->pid, ino, !number);
		if (moves[n++].to < 0)
			return kho_fail(err, -ENOENT, "the shim has made no pipe for the container's stream %u", number);
	}
	return kho_monitor_move_fds(s->m->pid, moves, n, err);
}

static int create(const struct shim *s, pid_t caller, const char *pidfile, struct kho_err *err)
{
	char text[16];
	int rc = swap_pipes(s, caller, err);

	if (rc)
		return rc;
	if (!pidfile || strncmp(pidfile, s->c->bundle, strlen(s->c->bundle)) || !kho_path_is_plain(pidfile))
		return kho_fail(err, -EPROTO, "the shim wants no file with the container's number");
	snprintf(text, sizeof(text), "%d", s->c->root);
	return kho_write_file(pidfile, text, strlen(text), err);
}

/* "create" and "start" of the container that is there already; nothing else is asked before anybody knows of the shim. */
static int obey(const struct shim *s, pid_t caller, const char *args, size_t len, struct kho_err *err)
{
	const char *pidfile = NULL, *what = "";

	for (size_t at = 0; at < len; at += strlen(args + at) + 1) {
		const char *arg = args + at, *next = at + strlen(arg) + 1 < len ? arg + strlen(arg) + 1 : NULL;

		if (!strcmp(arg, "--pid-file"))
			pidfile = next;
		if (!strcmp(arg, "create") || !strcmp(arg, "start"))
			what = arg;
	}
	if (!strcmp(what, "create"))
		return create(s, caller, pidfile, err);
	return !strcmp(what, "start") ? 0 : kho_fail(err, -EPROTO, "the shim calls its runtime with something else than create and start");
}

static int serve_runtime(const struct shim *s, struct kho_err *err)
{
	_cleanup_close_ int sk = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	_cleanup_free_ char *args = calloc(1, ARGS_MAX);
	const struct timeval limit = { .tv_sec = 5 };
	struct ucred who = { 0 };
	socklen_t wlen = sizeof(who);
	size_t len = 0;
	ssize_t n = 1;
	int rc;

	if (sk < 0 || !args || setsockopt(sk, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    getsockopt(sk, SOL_SOCKET, SO_PEERCRED, &who, &wlen))
		return kho_fail_errno(err, "hear the shim's runtime");
	while (n > 0 && len < ARGS_MAX - 1) {
		n = recv(sk, args + len, ARGS_MAX - 1 - len, 0);
		len += n > 0 ? (size_t)n : 0;
	}
	rc = obey(s, who.pid, args, len, err);
	(void)!send(sk, rc ? "n" : "y", 1, MSG_NOSIGNAL);
	return rc;
}

/* --- the calls --- */

static int answer(struct shim *s, const ProtobufCMessageDescriptor *d, struct kho_err *err)
{
	struct pollfd p[] = { { .fd = s->t.sk, .events = POLLIN }, { .fd = s->listener, .events = POLLIN } };
	ProtobufCMessage *m = NULL;
	struct kho_err why = KHO_ERR_INIT;
	int rc = 0;

	while (!(p[0].revents & (POLLIN | POLLHUP))) {
		uint64_t now = kho_clock_us();

		if (now >= s->end_us || poll(p, 2, (int)((s->end_us - now) / 1000)) <= 0)
			return kho_fail(err, -ETIMEDOUT, "the shim does not answer");
		if (p[1].revents & POLLIN)
			rc = serve_runtime(s, rc ? NULL : &why);
	}
	if (rc) { /* what the shim will say of it is less */
		*err = why;
		return rc;
	}
	rc = kho_ttrpc_answer(&s->t, d, 0, &m, err);
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
	return rc;
}

static int ask_create(struct shim *s, struct kho_err *err)
{
	/* a mount that changes nothing: the shim unmounts what is there at the container's end */
	char *remount[] = { (char *)"remount" };
	KhoCtd__Mount root = KHO_CTD__MOUNT__INIT, *roots = &root;
	KhoCtd__CreateTaskRequest r = KHO_CTD__CREATE_TASK_REQUEST__INIT;
	KhoCtd__Any any = KHO_CTD__ANY__INIT;
	struct kho_blob b = { 0 };
	const char *runtime = *s->c->shim->runtime ? runtime_name(s->c) : "";
	KhoCtd__Options *o = kho_shim_options(s->c->shim->options, runtime, err);
	int rc = o ? kho_pb_pack(&o->base, &b, err) : -EPROTO;

	root.type = root.source = (char *)"overlay";
	root.options = remount;
	root.n_options = 1;
	any.type_url = (char *)"containerd.runc.v1.Options";
	any.value.data = b.data;
	any.value.len = b.len;
	r.id = s->c->id;
	r.bundle = s->c->bundle;
	r.rootfs = &roots;
	r.n_rootfs = 1;
	r.stdin = s->c->shim->stdin;
	r.stdout = s->c->shim->stdout;
	r.stderr = s->c->shim->stderr;
	r.options = &any;
	if (!rc)
		rc = kho_ttrpc_ask(&s->t, "Create", &r.base, err);
	if (o)
		kho_ctd__options__free_unpacked(o, NULL);
	kho_blob_done(&b);
	return rc ? rc : answer(s, &kho_ctd__create_task_response__descriptor, err);
}

static int ask_start(struct shim *s, struct kho_err *err)
{
	KhoCtd__StartRequest r = KHO_CTD__START_REQUEST__INIT;
	int rc;

	r.id = s->c->id;
	rc = kho_ttrpc_ask(&s->t, "Start", &r.base, err);
	return rc ? rc : answer(s, &kho_ctd__start_response__descriptor, err);
}

/* It makes its socket before it executes the shim. */
static int connect_to(struct shim *s, struct kho_err *err)
{
	int rc;

	while ((rc = kho_ttrpc_connect(&s->t, s->c->shim->address, err)) == -ENOENT || rc == -ECONNREFUSED) {
		if (kho_clock_us() > s->end_us)
			break;
		usleep(2000);
	}
	return rc;
}

/* The bundle's files that Create has written with the name that was right for a moment. */
static int write_back(const KhoProc__Container *c, struct kho_err *err)
{
	const char *const names[] = { "options.json", "runtime" }, *const texts[] = { c->shim->options, c->shim->runtime };
	char path[PATH_MAX];
	int rc = 0;

	for (size_t i = 0; !rc && i < KHO_ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", c->bundle, names[i]);
		if (kho_exists(path))
			rc = kho_write_file(path, texts[i], strlen(texts[i]), err);
	}
	return rc;
}

/*
 * The ends of named pipes that containerd keeps open, for as long as the shim opens its own: without a reader it would wait for one.
 * (containerd is not there yet. What it finds later is what the shim keeps in them.)
 */
struct fifos {
	int fd[KHO_CONTAINER_PIPES];
};

static void open_fifos(const KhoProc__Shim *s, struct fifos *f)
{
	const char *const paths[KHO_CONTAINER_PIPES] = { s->stdin, s->stdout, s->stderr };

	for (size_t i = 0; i < KHO_CONTAINER_PIPES; i++) {
		const char *path = strncmp(paths[i], "fifo://", 7) ? paths[i] : paths[i] + 7;

		f->fd[i] = -1;
		if (!kho_path_is_plain(path))
			continue;
		(void)!mkfifo(path, 0700); /* it is there, as a rule */
		f->fd[i] = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	}
}

static void close_fifos(struct fifos *f)
{
	for (size_t i = 0; i < KHO_CONTAINER_PIPES; i++)
		kho_closep(&f->fd[i]);
}

/* The shim runs: Create and Start of one container. */
static int make_known(struct shim *s, struct kho_err *err)
{
	struct kho_err late = KHO_ERR_INIT;
	struct fifos fifos;
	int rc = put_runtime(s, err);

	open_fifos(s->c->shim, &fifos);
	if (!rc)
		rc = ask_create(s, err);
	if (!rc)
		rc = ask_start(s, err);
	close_fifos(&fifos);
	kho_first_failure(write_back(s->c, &late), &late, &rc, err);
	take_runtime(s);
	return rc;
}

/* Its process becomes the shim. */
static int start(struct shim *s, struct kho_err *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/log", s->c->bundle);
	(void)!mkfifo(path, 0700); /* it is there, as a rule */
	s->log = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (s->log < 0)
		return kho_fail_errno(err, "open %s", path);
	if (send(s->m->control, "g", 1, MSG_NOSIGNAL) != 1)
		return kho_fail_errno(err, "tell process %d", s->m->pid);
	return connect_to(s, err);
}

int kho_shim_become(const struct kho_shim_task *tasks, size_t n, struct kho_err *err)
{
	struct shim s = { .c = tasks->c, .m = tasks->m, .t = KHO_TTRPC_INIT, .listener = -1, .log = -1, .end_us = kho_clock_us() + KHO_PATIENCE_US };
	int rc;

	s.t.service = s.c->shim->service;
	s.t.ns = s.c->shim->namespace_;
	rc = start(&s, err);
	for (size_t i = 0; !rc && i < n; i++) {
		s.c = tasks[i].c;
		s.m = tasks[i].m;
		rc = make_known(&s, err);
		if (rc)
			kho_wrap(err, "container %.12s", s.c->id);
	}
	kho_ttrpc_close(&s.t);
	kho_closep(&s.log);
	return rc;
}
