/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A client of CRIU: one worker process (`criu swrk`) per dump or restore, started long before it is
 * needed, spoken to in protobuf over a SOCK_SEQPACKET pair.  Nothing here starts a shell.
 */
#ifndef KHO_PROC_CRIU_H
#define KHO_PROC_CRIU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "state-serializers/proc/criu_rpc.pb-c.h"

struct kho_criu {
	pid_t pid; /* 0: none */
	int sk;
	int pidfd;
};

#define KHO_CRIU_INIT                 \
	{                             \
		.sk = -1, .pidfd = -1 \
	}

/* The empty directory that CRIU takes its plugins from, made if missing; malloc'd path. */
int kho_criu_plugins(const char *run_dir, char **out, struct kho_err *err) __must_check;

/*
 * Start the program at path as a worker: its end of the socket is KHO_SPAWN_FD, fds[0] the
 * descriptor after it, and so on.
 */
int kho_criu_start(struct kho_criu *c, const char *path, char *const argv[], char *const envp[],
		   const int *fds, size_t n, struct kho_err *err) __must_check;

/*
 * Start a worker. run_dir holds an empty plugin directory for it (it is made). The worker waits for
 * a request, has no descriptors of ours and default signals.
 */
int kho_criu_spawn(struct kho_criu *c, const char *run_dir, struct kho_err *err) __must_check;

/* End and reap the worker; what it had seized and not yet let go runs again. */
void kho_criu_kill(struct kho_criu *c);

/* Close the socket and wait for the worker's own end; kills it after timeout_us. */
void kho_criu_finish(struct kho_criu *c, uint64_t timeout_us);

/* Send one request. */
int kho_criu_send(struct kho_criu *c, const CriuRpc__Req *req, struct kho_err *err) __must_check;

/* Receive one message; free it with criu_rpc__resp__free_unpacked(). -ETIMEDOUT, -EPIPE (it died).
 */
int kho_criu_recv(struct kho_criu *c, uint64_t timeout_us, CriuRpc__Resp **out,
		  struct kho_err *err) __must_check;

/* Answer a NOTIFY: go on, or give up and undo. */
int kho_criu_answer(struct kho_criu *c, bool go_on, struct kho_err *err) __must_check;

/*
 * The reason CRIU gave for a refusal as our error; always negative. log (or NULL): path of its log,
 * whose first complaint about the work itself says more than its answer.
 */
int kho_criu_refused(struct kho_err *err, const CriuRpc__Resp *resp, const char *what,
		     const char *log);

struct kho_criu_facts {
	unsigned version; /* 40201 = 4.2.1 */
	bool mem_track, lazy_pages;
};

/*
 * Is there a usable CRIU (4.2.1 or newer)? Asks for version and features with a worker of its own,
 * which also makes the cache of kernel facts (/run/criu.kdat).
 */
int kho_criu_check(const char *run_dir, struct kho_criu_facts *out,
		   struct kho_err *err) __must_check;

#endif
