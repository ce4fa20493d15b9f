// SPDX-License-Identifier: GPL-2.0-only
/*
 * The incoming side: descriptors that the init system is to have beside the restored processes. Their
 * own, taken out of them (the same open sockets, not copies); what systemd keeps for a unit; and where
 * it keeps the number of a dynamic user.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fdpass.h"
#include "lib/io.h"
#include "lib/memfd.h"
#include "state-serializers/units.h"

#define USERS "/run/systemd/dynamic-uid"

static int take_fd(pid_t pid, int fd)
{
	_cleanup_close_ int p = (int)syscall(SYS_pidfd_open, pid, 0);

	return p < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, p, fd, 0);
}

/* --- listening sockets --- */

void kho_units_address(const struct sockaddr_storage *s, size_t len, char out[KHO_UNITS_ADDRESS])
{
	const struct sockaddr_un *un = (const void *)s;
	const struct sockaddr_in *in = (const void *)s;
	const struct sockaddr_in6 *in6 = (const void *)s;
	char ip[INET6_ADDRSTRLEN] = "";
	size_t path = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;

	*out = '\0';
	if (s->ss_family == AF_INET && inet_ntop(AF_INET, &in->sin_addr, ip, sizeof(ip)))
		snprintf(out, KHO_UNITS_ADDRESS, "%s:%u", ip, ntohs(in->sin_port));
	else if (s->ss_family == AF_INET6 && inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof(ip)))
		snprintf(out, KHO_UNITS_ADDRESS, "[%s]:%u", ip, ntohs(in6->sin6_port));
	else if (s->ss_family == AF_UNIX && path && !un->sun_path[0])
		snprintf(out, KHO_UNITS_ADDRESS, "@%.*s", (int)path - 1, un->sun_path + 1);
	else if (s->ss_family == AF_UNIX && path)
		snprintf(out, KHO_UNITS_ADDRESS, "%.*s", (int)path, un->sun_path);
}

static bool is_socket_for(int fd, const Kho__Listen *l)
{
	struct sockaddr_storage s = { 0 };
	socklen_t len = sizeof(s), size = sizeof(int);
	int type = 0, listening = 0;
	char text[KHO_UNITS_ADDRESS];

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || type != l->type || getsockname(fd, (struct sockaddr *)&s, &len))
		return false;
	size = sizeof(int);
	if (type != SOCK_DGRAM && (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) || !listening))
		return false;
	kho_units_address(&s, len, text);
	return !strcmp(text, l->address);
}

static int socket_of_process(pid_t pid, const Kho__Listen *l)
{
	char path[64], target[64];
	struct dirent *e;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	_cleanup_closedir_ DIR *d = opendir(path);

	while (d && (e = readdir(d))) {
		_cleanup_close_ int fd = -1;

		n = isdigit((unsigned char)*e->d_name) ? readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1) : -1;
		if (n < 8 || strncmp(target, "socket:[", 8))
			continue;
		fd = take_fd(pid, atoi(e->d_name));
		if (fd >= 0 && is_socket_for(fd, l))
			return steal_fd(fd);
	}
	return -1;
}

int kho_units_hold_socket(const char *cgroup, const Kho__Listen *l)
{
	char path[PATH_MAX], *line = NULL;
	size_t size = 0;
	int fd = -1;

	if (!kho_path_is_plain(cgroup) || snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cgroup.procs", cgroup) >= (int)sizeof(path))
		return -1;
	_cleanup_fclose_ FILE *f = fopen(path, "re");

	while (f && fd < 0 && getline(&line, &size, f) > 0)
		fd = socket_of_process(atoi(line), l);
	free(line);
	return fd;
}

/* --- descriptor stores --- */

/* It can be executed if it could, but where nothing that is in memory can be any more: then it is better than none. */
static int make_memfd(const Kho__Kept *k)
{
	const char *name = strncmp(k->path, "/memfd:", 7) ? "khoctl" : k->path + 7;
	_cleanup_free_ char *own = strndup(name, strcspn(name, " "));
	_cleanup_close_ int fd = own ? kho_memfd(own, MFD_ALLOW_SEALING | (k->seals & F_SEAL_EXEC ? 0 : MFD_EXEC), NULL) : -1;

	if (fd == -EACCES)
		fd = kho_memfd(own, MFD_ALLOW_SEALING, NULL);
	if (fd < 0 || kho_write_all(fd, k->content.data, k->content.len) || (k->seals && fcntl(fd, F_ADD_SEALS, (int)k->seals)))
		return -1;
	return steal_fd(fd);
}

int kho_units_hold_kept(const Kho__Kept *k)
{
	struct stat st;
	_cleanup_close_ int fd = k->is_memfd && k->pid <= 0 ? make_memfd(k) : take_fd(k->pid, k->fd);

	/* the process may have closed it since */
	if (fd < 0 || fstat(fd, &st) || (k->pid > 0 && (st.st_mode & S_IFMT) != (k->mode & S_IFMT)))
		return -1;
	return steal_fd(fd);
}

/* --- dynamic users --- */

static int lock_file(uint32_t uid, const char *name, struct kho_err *err)
{
	char path[64], line[KHO_UNIT_MAX], link[KHO_UNIT_MAX + 64];
	_cleanup_close_ int fd = -1;
	int n;

	if (kho_make_dirs(USERS, 0755, err))
		return err ? err->code : -EIO;
	snprintf(path, sizeof(path), USERS "/%u", uid);
	n = snprintf(line, sizeof(line), "%s\n", name);
	fd = open(path, O_CREAT | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) || ftruncate(fd, 0) || kho_write_all(fd, line, (size_t)n))
		return kho_fail_errno(err, "dynamic user %s: %s", name, path);
	/* what others look at: both ways */
	snprintf(link, sizeof(link), USERS "/direct:%u", uid);
	unlink(link);
	if (symlink(name, link))
		return kho_fail_errno(err, "dynamic user %s: %s", name, link);
	snprintf(link, sizeof(link), USERS "/direct:%s", name);
	unlink(link);
	snprintf(path, sizeof(path), "%u", uid);
	return symlink(path, link) ? kho_fail_errno(err, "dynamic user %s: %s", name, link) : steal_fd(fd);
}

int kho_units_hold_user(const char *name, uint32_t uid, int sv[2], struct kho_err *err)
{
	_cleanup_close_ int lock = -1;

	if (!*name || strlen(name) > 64 || strpbrk(name, "/ \n"))
		return kho_fail(err, -EPROTO, "units: a dynamic user has no name that can be");
	/* a user of that name that is there anyhow has no lock */
	if (uid >= KHO_UNITS_DYNAMIC_MIN && uid <= KHO_UNITS_DYNAMIC_MAX) {
		lock = lock_file(uid, name, err);
		if (lock < 0)
			return lock;
	}
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sv))
		return kho_fail_errno(err, "dynamic user %s", name);
	if (!kho_fd_send(sv[1], &uid, sizeof(uid), lock, MSG_DONTWAIT))
		return 0;
	close(sv[0]);
	close(sv[1]);
	return kho_fail(err, -EIO, "dynamic user %s: its number cannot be stored", name);
}
