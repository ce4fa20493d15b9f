/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What can be carried of each process, and of each of its descriptors, before anything is touched.
 * Everything is read below env->sysroot/proc, live or recorded.
 */
#ifndef KHO_PROC_PROBE_H
#define KHO_PROC_PROBE_H

#include <limits.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "lib/format.h"
#include "lib/workload.h"
#include "state-serializers/serializer.h"

#define KHO_GHOST_MAX (64ull << 20) /* bytes of a deleted file that are carried in the images */
#define KHO_PID_MIN   300 /* below are the kernel's own threads, on the incoming side too */

enum kho_sock_kind {
	KHO_SOCK_TCP,
	KHO_SOCK_UDP,
	KHO_SOCK_RAW,
	KHO_SOCK_UNIX,
	KHO_SOCK_PACKET,
	KHO_SOCK_NETLINK
};

struct kho_sock {
	uint64_t ino;
	enum kho_sock_kind kind;
	int type;      /* UNIX: SOCK_STREAM ... */
	uint64_t peer; /* inode of the other end, 0 = none or not known; TCP: when it is on this machine, too */
	char *name;    /* UNIX: path or @abstract, or NULL; TCP: "LOCAL REMOTE" of an established one, as in /proc/net/tcp */
};

struct kho_socks {
	struct kho_sock *s; /* sorted by ino */
	size_t n;
	bool peers_known;
};

/* All sockets that the network of process pid knows. */
int kho_socks_read(const char *sysroot, pid_t pid, struct kho_socks *out,
		   struct kho_err *err) __must_check;
const struct kho_sock *kho_socks_find(const struct kho_socks *s, uint64_t ino);
void kho_socks_done(struct kho_socks *s);

/* Multicast groups that the interfaces of a network are in. */
struct kho_mcast {
	struct kho_mcast_group {
		unsigned ifindex;
		struct sockaddr_storage address;
	} * g;
	size_t n;
};

/* Those of the network of process pid. 0 or -ENOMEM; out is for kho_mcast_done() in any case. */
int kho_mcast_read(const char *sysroot, pid_t pid, struct kho_mcast *out) __must_check;
void kho_mcast_done(struct kho_mcast *m);

/* The first of them that the socket behind a descriptor of a process has joined. False: none. Live system only. */
bool kho_mcast_joined(const struct kho_mcast *m, pid_t pid, int fd, char out[INET6_ADDRSTRLEN]);

/* One workload under examination. */
struct kho_probe {
	const char *sysroot, *run_dir;
	const struct kho_workload *w;
	struct kho_report *r;
	struct kho_socks socks;
	struct kho_mcast mcast;
	uint64_t *inodes; /* of all sockets the tree has open */
	size_t ninodes;
	const uint64_t *all_inodes; /* of the sockets of all workloads, sorted */
	size_t nall_inodes;
	struct kho_pipe_end {
		uint64_t ino;
		bool reads, writes;
	} * pipes;
	size_t npipes;
};

/* What is known of one descriptor. */
struct kho_fd {
	const char *target;    /* of the link in /proc/PID/fd */
	const char *info;      /* text of fdinfo, or "" */
	const char *fstype;    /* of the mount it lies on, or "" */
	const char *proto;     /* of a socket: "TCP", "AF_VSOCK" ...; NULL or "" = not known */
	const char *group;     /* a multicast group that a socket has joined; NULL or "" = none */
	const struct stat *st; /* or NULL when only the recorded text is there */
};

struct kho_fd_verdict {
	enum kho_verdict verdict;
	char what[256];
	const char *fix; /* or NULL */
};

/* The verdict on one descriptor; KHO_V_OK leaves what empty. */
void kho_fd_classify(const struct kho_probe *p, const struct kho_fd *fd,
		     struct kho_fd_verdict *out);

/* The same for a line of /proc/PID/maps: path is its last field, bytes its length. */
void kho_map_classify(const char *path, uint64_t bytes, struct kho_fd_verdict *out);

/* Look at one process: adds an item for each trouble, and one that it moves when there is none. */
int kho_probe_task(struct kho_probe *p, pid_t pid, struct kho_err *err) __must_check;

/*
 * The first thread of pid that is pinned to CPUs of which this kernel does not say which they are, so that the next one cannot pin it again, and
 * its CPUs; 0: there is none.
 */
pid_t kho_probe_pinned(const char *sysroot, pid_t pid, char cpus[KHO_FORMAT_MAX]);

/* Is the socket one of any workload's? */
bool kho_probe_carries(const struct kho_probe *p, uint64_t ino);

/* Is pid one of the workload? */
bool kho_probe_has(const struct kho_probe *p, pid_t pid);

/* See struct kho_serializer. */
int kho_proc_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err);

#endif
