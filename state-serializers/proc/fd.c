// SPDX-License-Identifier: GPL-2.0-only
/*
 * One descriptor, one area of memory: can it be carried, why not, what would help.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state-serializers/proc/outside.h"
#include "state-serializers/proc/probe.h"
#include "state-serializers/proc/tree.h"

__attribute__((format(printf, 4, 5))) static void say(struct kho_fd_verdict *v,
						      enum kho_verdict verdict, const char *fix,
						      const char *fmt, ...)
{
	va_list ap;

	v->verdict = verdict;
	v->fix = fix;
	va_start(ap, fmt);
	vsnprintf(v->what, sizeof(v->what), fmt, ap);
	va_end(ap);
}

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static bool ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && !strcmp(s + n - m, with);
}

static const char io_uring_fix[] = "turn io_uring off in the program's configuration, or stop the "
				   "program and start it "
				   "again after the upgrade";

/* Kernel objects behind a descriptor; those not listed are not known to CRIU. */
static const struct anon {
	const char *name;
	enum kho_verdict verdict;
	const char *what, *fix;
} anon[] = {
	{ "[eventfd]", KHO_V_OK, NULL, NULL },
	{ "[eventpoll]", KHO_V_OK, NULL, NULL },
	{ "[signalfd]", KHO_V_OK, NULL, NULL },
	{ "[timerfd]", KHO_V_OK, NULL, NULL },
	{ "inotify", KHO_V_OK, NULL, NULL },
	{ "[io_uring]", KHO_V_NO, "io_uring cannot be checkpointed", io_uring_fix },
	{ "[perf_event]", KHO_V_NO, "a perf event cannot be checkpointed", "stop the profiler" },
	{ "bpf-map", KHO_V_NO, "a BPF map is not carried", "stop the program that uses it" },
	{ "bpf-prog", KHO_V_NO, "a BPF program is not carried", "stop the program that loaded it" },
	{ "bpf_link", KHO_V_NO, "a BPF link is not carried", "stop the program that made it" },
	{ "[userfaultfd]", KHO_V_NO, "userfaultfd cannot be checkpointed",
	  "if it stems from an earlier restore, wait until its memory is filled" },
	{ "[fanotify]", KHO_V_NO, "fanotify marks are not carried", "stop the watcher" },
	{ "kvm-vm", KHO_V_NO, "a virtual machine cannot be checkpointed",
	  "migrate or stop the guest" },
	{ "kvm-vcpu", KHO_V_NO, "a virtual machine cannot be checkpointed",
	  "migrate or stop the guest" },
};

static void pidfd(const struct kho_probe *p, const char *info, struct kho_fd_verdict *v)
{
	const char *line = strstr(info, "Pid:");
	int pid = line ? atoi(line + 4) : 0;

	if (pid <= 0 || !kho_probe_has(p, pid))
		say(v, KHO_V_NO, "close it before the upgrade",
		    "a pidfd of pid %d, which is not in the workload", pid);
}

static void anon_inode(const struct kho_probe *p, const char *name, const char *info,
		       struct kho_fd_verdict *v)
{
	size_t len;

	if (!strcmp(name, "[pidfd]")) {
		pidfd(p, info, v);
		return;
	}
	for (size_t i = 0; i < sizeof(anon) / sizeof(anon[0]); i++) {
		len = strlen(anon[i].name);
		if (strncmp(name, anon[i].name, len) &&
		    !(name[0] == '[' && !strncmp(name + 1, anon[i].name, len)))
			continue;
		if (anon[i].verdict != KHO_V_OK)
			say(v, anon[i].verdict, anon[i].fix, "%s", anon[i].what);
		return;
	}
	say(v, KHO_V_NO, NULL, "%s is not known to CRIU", name);
}

static bool in_tree(const struct kho_probe *p, uint64_t ino)
{
	for (size_t i = 0; i < p->ninodes; i++)
		if (p->inodes[i] == ino)
			return true;
	return false;
}

static void unix_socket(const struct kho_probe *p, const struct kho_sock *s,
			struct kho_fd_verdict *v)
{
	const struct kho_sock *peer;
	const char *name, *fix = "close the connection before the upgrade, or make its other end "
				 "part of the workload";

	if (!p->socks.peers_known) {
		say(v, KHO_V_UNKNOWN, "load the module unix_diag",
		    "the other end of a UNIX socket cannot be found out");
		return;
	}
	if (!s->peer || in_tree(p, s->peer))
		return;
	peer = kho_socks_find(&p->socks, s->peer);
	if (kho_outside_of(peer) != KHO_OUTSIDE_FOREIGN)
		return;
	name = peer && peer->name ? peer->name : "a process";
	say(v, KHO_V_NO, fix, "a UNIX socket connected to %s outside of the workload", name);
}

/* Both ends must come, or the one that does is answered with a reset. */
static void tcp_socket(const struct kho_probe *p, const struct kho_sock *s, struct kho_fd_verdict *v)
{
	if (s->peer && !in_tree(p, s->peer) && !kho_probe_carries(p, s->peer))
		say(v, KHO_V_LOSS, "make that process a workload, too",
		    "a connection to a process of this machine that is no workload: it is reset");
}

/* A socket that is in no table is not bound or connected yet, or of a kind of its own. */
static void unlisted_socket(const char *proto, struct kho_fd_verdict *v)
{
	static const char *const good[] = { "TCP",	"TCPv6",       "UDP",	 "UDPv6",
					    "UDP-Lite", "UDPLITEv6",   "RAW",	 "RAWv6",
					    "UNIX",	"UNIX-STREAM", "NETLINK" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!strcmp(proto, good[i]))
			return;
	if (*proto)
		say(v, KHO_V_NO, "use TCP, UDP or UNIX sockets",
		    "CRIU does not know sockets of the kind %s", proto);
	else
		say(v, KHO_V_UNKNOWN, NULL, "a socket whose kind cannot be found out");
}

static void socket_fd(const struct kho_probe *p, uint64_t ino, const struct kho_fd *fd, struct kho_fd_verdict *v)
{
	const struct kho_sock *s = kho_socks_find(&p->socks, ino);

	if (fd->group && *fd->group) {
		say(v, KHO_V_LOSS, "let the program join it again, or start it anew, afterwards",
		    "a socket that has joined the multicast group %s: it is in no group afterwards", fd->group);
		return;
	}
	if (!s) {
		unlisted_socket(fd->proto ? fd->proto : "", v);
		return;
	}
	switch (s->kind) {
	case KHO_SOCK_UNIX:
		unix_socket(p, s, v);
		break;
	case KHO_SOCK_PACKET:
		say(v, KHO_V_LOSS, NULL,
		    "a packet socket: what it should have seen during the blackout is missing");
		break;
	case KHO_SOCK_NETLINK:
		say(v, KHO_V_LOSS, NULL,
		    "a netlink socket: messages about the time of the upgrade are missing");
		break;
	case KHO_SOCK_TCP:
		tcp_socket(p, s, v);
		break;
	case KHO_SOCK_UDP:
	case KHO_SOCK_RAW:
		break;
	}
}

static void pipe_fd(const struct kho_probe *p, uint64_t ino, struct kho_fd_verdict *v)
{
	bool reads = false, writes = false;

	for (size_t i = 0; i < p->npipes; i++)
		if (p->pipes[i].ino == ino) {
			reads |= p->pipes[i].reads;
			writes |= p->pipes[i].writes;
		}
	if (!reads || !writes)
		say(v, KHO_V_LOSS, "let it write to a file",
		    "the %s end of the pipe is outside of the workload and is closed by the "
		    "upgrade",
		    reads ? "writing" : "reading");
}

static void device(const char *path, struct kho_fd_verdict *v)
{
	static const char *const good[] = { "null", "zero", "full", "random", "urandom" };
	const char *name = path + strlen("/dev/");

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (!strcmp(name, good[i]))
			return;
	if (starts(name, "shm/"))
		return;
	if (!strcmp(name, "tty") || !strcmp(name, "console") || starts(name, "pts/") ||
	    starts(name, "tty"))
		say(v, KHO_V_NO,
		    "start it without a terminal: as a service, or with setsid and </dev/null "
		    ">FILE",
		    "the terminal %s is not carried", path);
	else
		say(v, KHO_V_NO, "stop the program, or close the device before the upgrade",
		    "the device %s cannot be checkpointed", path);
}

static void deleted(const struct kho_fd *fd, const char *path, int len, struct kho_fd_verdict *v)
{
	if (fd->st && fd->st->st_nlink > 0)
		say(v, KHO_V_NO, "restart the program",
		    "%.*s was replaced, and the old file lives on under another name", len, path);
	else if (fd->st && (uint64_t)fd->st->st_size > KHO_GHOST_MAX)
		say(v, KHO_V_NO, "restart the program",
		    "%.*s is deleted and has %llu MiB; up to %llu are carried", len, path,
		    (unsigned long long)fd->st->st_size >> 20, KHO_GHOST_MAX >> 20);
}

static void file(const struct kho_probe *p, const struct kho_fd *fd, struct kho_fd_verdict *v)
{
	static const char *const foreign[] = { "nfs",  "cifs",	  "smb3",     "fuse", "9p",
					       "ceph", "overlay", "virtiofs", "afs" };
	size_t len = strlen(fd->target);
	int pid;

	if (ends(fd->target, " (deleted)")) {
		deleted(fd, fd->target, (int)(len - strlen(" (deleted)")), v);
		return;
	}
	/* in a container they are numbers of its own; those of dead ones CRIU knows */
	if (sscanf(fd->target, "/proc/%d", &pid) == 1 && !p->w->container && !kho_probe_has(p, pid) &&
	    kho_pid_state(p->sysroot, pid)) {
		say(v, KHO_V_NO, "close it before the upgrade, or restart the program",
		    "%.160s is about a process that is not in the workload, and will not be there", fd->target);
		return;
	}
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		/* the root of a container is one: it is mounted again (kho_container_read()) */
		if (starts(fd->fstype, foreign[i]) && !(p->w->container && !strcmp(fd->fstype, "overlay"))) {
			say(v, KHO_V_NO,
			    "move the file to a disk that is carried, or stop the program",
			    "%.160s lies on a file system that is not carried (%s)", fd->target,
			    fd->fstype);
			return;
		}
}

void kho_fd_classify(const struct kho_probe *p, const struct kho_fd *fd, struct kho_fd_verdict *out)
{
	unsigned long long ino;

	*out = (struct kho_fd_verdict){ .verdict = KHO_V_OK };
	if (starts(fd->target, "anon_inode:"))
		anon_inode(p, fd->target + strlen("anon_inode:"), fd->info, out);
	else if (sscanf(fd->target, "socket:[%llu]", &ino) == 1)
		socket_fd(p, ino, fd, out);
	else if (sscanf(fd->target, "pipe:[%llu]", &ino) == 1)
		pipe_fd(p, ino, out);
	else if (starts(fd->target, "/memfd:"))
		return;
	else if (starts(fd->target, "/dev/"))
		device(fd->target, out);
	else if (fd->target[0] == '/')
		file(p, fd, out);
	else if (!strchr(fd->target, ':'))
		say(out, KHO_V_UNKNOWN, NULL, "%.200s is not understood", fd->target);
}

void kho_map_classify(const char *path, uint64_t bytes, struct kho_fd_verdict *out)
{
	*out = (struct kho_fd_verdict){ .verdict = KHO_V_OK };
	if (starts(path, "/anon_hugepage") || starts(path, "/dev/hugepages/") ||
	    starts(path, "/memfd:hugetlb"))
		say(out, KHO_V_NO, "run it without explicit huge pages; transparent ones are fine",
		    "%llu KiB of reserved huge pages, which the incoming kernel does not have",
		    (unsigned long long)bytes >> 10);
	else if (starts(path, "/SYSV"))
		say(out, KHO_V_LOSS, NULL,
		    "its System V shared memory is in an IPC namespace of its own afterwards, "
		    "which programs outside of the workload do not see");
	else if (starts(path, "anon_inode:[io_uring]"))
		say(out, KHO_V_NO, io_uring_fix, "io_uring cannot be checkpointed");
	else if (starts(path, "anon_inode:"))
		say(out, KHO_V_NO, NULL, "a mapping of %.160s cannot be checkpointed", path);
	else if (starts(path, "/dev/") && !starts(path, "/dev/zero") && !starts(path, "/dev/shm/"))
		say(out, KHO_V_NO, "stop the program before the upgrade",
		    "a mapping of the device %.160s cannot be checkpointed", path);
}
