/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of recording and replay, shared by replay*.c: listening sockets, packets, connections put together from them.
 */
#ifndef KHO_BPF_REPLAY_PARTS_H
#define KHO_BPF_REPLAY_PARTS_H

#include "bpf/replay.h"

/* --- who listens (replay_listen.c) --- */

struct kho_replay_listeners {
	struct kho_replay_address a[64];
	size_t n;
	uint16_t port[KHO_REPLAY_PORTS]; /* theirs, each once */
	size_t nports;
};

/* One more; -E2BIG: too many, or too many ports. */
int kho_replay_listeners_add(struct kho_replay_listeners *l, const struct kho_replay_address *a, struct kho_err *err) __must_check;
/* Those in the text of a /proc/PID/net/tcp (family 4) or tcp6 (6) whose inode is one of these (sorted). */
int kho_replay_listeners_parse(const char *text, uint8_t family, const uint64_t *inodes, size_t n, struct kho_replay_listeners *l,
			       struct kho_err *err) __must_check;
/* Of these processes, in the network namespace of the first. -ENOENT: none. */
int kho_replay_listeners_of(const pid_t *pids, size_t n, struct kho_replay_listeners *l, struct kho_err *err) __must_check;

/* --- packets to connections (replay_stream.c) --- */

struct kho_segment {
	struct kho_replay_address server, client;
	bool to_server;
	uint8_t flags; /* TH_ of netinet/tcp.h */
	uint32_t seq, ack;
	uint32_t len, have; /* of its payload; so much of that is here */
	const uint8_t *data;
	uint64_t ns; /* by whatever clock, the same for all */
};

/* An IP packet with a TCP segment, from its IP header on; false: it is none that is understood. *out has pointers into it. ns is left to the caller. */
bool kho_segment_parse(const uint8_t *packet, size_t len, bool to_server, struct kho_segment *out);

struct kho_stream_request {
	uint64_t at_ns, last_ns; /* its first, its last segment */
	uint64_t reply_ns, reply_bytes;
	uint32_t bytes, flow;
	uint32_t first, last; /* of the pieces of its data, in the store */
	bool replied;
};

struct kho_stream_flow {
	struct kho_replay_address server, client;
	uint32_t next[2]; /* sequence number that comes next: of the client, of the server */
	bool known[2];
	uint32_t isn;	 /* of the client, when begun */
	uint32_t acked;	 /* not begun: the server has all before it */
	bool begun, ended, cut, tls;
	int64_t current; /* its last request; -1: none */
};

struct kho_streams {
	bool keep; /* what clients send; else only when and how much */
	uint64_t begin_ns;
	struct kho_stream_flow flow[KHO_REPLAY_CONNS];
	size_t nflows;
	bool more, full;
	struct kho_stream_request *rq; /* in the order in which they begin */
	size_t nrq;
	uint8_t *store; /* KHO_REPLAY_BYTES, locked; used: so much of it */
	size_t used;
};

/* NULL with err: out of memory. begin_ns: by the segments' clock. Wiped by kho_streams_free(). */
struct kho_streams *kho_streams_new(bool keep, uint64_t begin_ns, struct kho_err *err);
void kho_streams_free(struct kho_streams *s);
void kho_streams_add(struct kho_streams *s, const struct kho_segment *g);
/* How long its replies took, but for those to nothing. */
void kho_streams_times(const struct kho_streams *s, struct kho_hist *out);
/* The bytes of a request, into out (its `bytes`). */
void kho_streams_copy(const struct kho_streams *s, const struct kho_stream_request *rq, uint8_t *out);

/* --- packets (replay_capture.c) --- */

struct kho_capture {
	int fd;
	const struct kho_replay_listeners *l;
	struct kho_replay_address *own; /* addresses of this namespace */
	size_t n_own;
	uint8_t *buf; /* locked */
};
#define KHO_CAPTURE_INIT { .fd = -1 }

/* In this thread's network namespace, from now on; l must outlive it. Inverse: kho_capture_close(), which wipes. */
int kho_capture_open(struct kho_capture *c, const struct kho_replay_listeners *l, struct kho_err *err) __must_check;
void kho_capture_close(struct kho_capture *c);
/* What has come, at most so many packets, into s; how many. Does not wait. */
size_t kho_capture_take(struct kho_capture *c, struct kho_streams *s, size_t most);
/* By the clock of the segments, nanoseconds. */
uint64_t kho_capture_now(void);

/* --- memory for what is other people's --- */

/* Zeroed, locked as far as this process may, in no core dump; NULL: none. The second one wipes what was used. */
void *kho_private_map(size_t bytes);
void kho_private_unmap(void *p, size_t bytes, size_t used);

/* --- the message (replay_pack.c) --- */

/* What of s has a reply, as a message: fd, message, len, conns and requests of out; none when there is no request. */
int kho_replay_pack(const struct kho_streams *s, uint64_t us, struct kho_replay_recorded *out, struct kho_err *err) __must_check;

/* --- sending (replay_send.c) --- */

/* In this process and its network namespace; *out is filled. */
void kho_replay_send(const struct kho_replay *r, struct kho_replay_result *out);

#endif
