/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Open files between processes, over a UNIX socket (unix(7), SCM_RIGHTS): one with a message.
 */
#ifndef KHO_LIB_FDPASS_H
#define KHO_LIB_FDPASS_H

#include <sys/types.h>

/* Send len bytes and fd (-1: none) as one message. flags: more for sendmsg(2). 0 or -errno; nobody is killed by SIGPIPE. */
int kho_fd_send(int sk, const void *data, size_t len, int fd, int flags);

/*
 * Receive up to len bytes. *out_fd: the caller's, close-on-exec; -1 when none came along. flags: more for recvmsg(2).
 * The number of bytes, 0 at the end of a connection, or -errno (then no descriptor).
 */
ssize_t kho_fd_recv(int sk, void *data, size_t len, int *out_fd, int flags);

#endif
