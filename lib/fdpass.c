// SPDX-License-Identifier: GPL-2.0-only
/* Descriptors over sockets.  See lib/fdpass.h. */
#include "lib/fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int kho_fd_send(int sk, const void *data, size_t len, int fd, int flags)
{
	struct iovec io = { (void *)data, len };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };
	union control c = { 0 };

	if (fd >= 0) {
		m.msg_control = &c;
		m.msg_controllen = sizeof(c);
		c.align.cmsg_level = SOL_SOCKET;
		c.align.cmsg_type = SCM_RIGHTS;
		c.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&c.align), &fd, sizeof(fd));
	}
	return sendmsg(sk, &m, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t kho_fd_recv(int sk, void *data, size_t len, int *out_fd, int flags)
{
	struct iovec io = { data, len };
	union control c = { 0 };
	struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	ssize_t n = recvmsg(sk, &m, flags | MSG_CMSG_CLOEXEC);
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	*out_fd = -1;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
		memcpy(out_fd, CMSG_DATA(h), sizeof(*out_fd));
	return n < 0 ? -errno : n;
}
