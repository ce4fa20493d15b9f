/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests of a workload, recorded on one kernel and sent to a copy of it on another: what its clients send over TCP, in what order and when, and how long the
 * replies take. What clients send is other people's: it is in memory alone (locked, in no core dump), is wiped afterwards, and nobody prints it. Of replies
 * length and time alone are kept. A request is what a client sends between two replies, a connection's first payload of the server's being a reply to nothing.
 */
#ifndef KHO_BPF_REPLAY_H
#define KHO_BPF_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/hist.h"
#include "lib/err.h"

#define KHO_REPLAY_US_MOST  10000000ull /* is recorded, at most */
#define KHO_REPLAY_BYTES    (8u << 20)	/* of what clients send; then a recording ends */
#define KHO_REPLAY_REQUESTS 65536u	/* likewise */
#define KHO_REPLAY_CONNS    64u		/* further connections are left out */
#define KHO_REPLAY_PORTS    16u		/* that a workload listens on; more are refused */
#define KHO_REPLAY_REPLY_US 5000000ull	/* and as long as it took when it was recorded: so long a reply is waited for */
#define KHO_REPLAY_QUIET_US 50000ull	/* after so long a silence a reply of another length is over */
#define KHO_REPLAY_FLOOR_NS 50000ull	/* is added on both sides before how long replies take is divided: next to nothing against nothing is no difference */
#define KHO_REPLAY_LATE_US  30000000ull /* so much longer than the recording a replay may take */

struct kho_replay_address {
	uint8_t family; /* 4, 6 */
	uint8_t zero;	/* so that there is no padding: addresses are compared as bytes */
	uint16_t port;	/* as a number */
	uint8_t a[16];	/* as in a packet; zeros behind the 4 bytes of IPv4 */
};

#define KHO_REPLAY_ADDRESS_TEXT 64
/* "127.0.0.1:6379", "[::1]:80" */
const char *kho_replay_address_text(const struct kho_replay_address *a, char out[KHO_REPLAY_ADDRESS_TEXT]);

/* --- the message: what a recording is sent as (replay_pack.c) --- */

struct kho_replay_request {
	uint64_t at_us;	      /* its first byte came, since the recording began */
	uint64_t reply_ns;    /* from its last byte to the reply's first one; 0 for a reply to nothing */
	uint64_t reply_bytes; /* at least 1 */
	const uint8_t *data;  /* lies in the message */
	uint32_t bytes;	      /* 0: the server speaks first */
};

struct kho_replay_conn {
	struct kho_replay_address server;
	bool begun; /* it is recorded from its beginning; else it was there before */
	const struct kho_replay_request *rq;
	size_t n;
};

struct kho_replay {
	uint64_t us; /* so long it was recorded */
	struct kho_replay_conn *conn;
	size_t n;
	struct kho_replay_request *rq; /* of all connections */
};

#define KHO_REPLAY_FILE "replay" /* it is put as, below images_dir */
/* No longer message is read. */
#define KHO_REPLAY_MESSAGE_MAX (KHO_REPLAY_BYTES + KHO_REPLAY_REQUESTS * 40 + KHO_REPLAY_CONNS * 32 + 64)

/* Read a message, which is not trusted and must stay where it is as long as out is used. -EPROTO says what is wrong with it. */
int kho_replay_parse(const uint8_t *data, size_t len, struct kho_replay *out, struct kho_err *err) __must_check;
void kho_replay_done(struct kho_replay *r);

/* --- recording --- */

struct kho_replay_recorded {
	int fd;		   /* the message, a file in memory (0600); -1: there is none, because there was no request */
	uint8_t *message;  /* its mapping */
	size_t len;
	uint64_t us;	   /* so long it took */
	unsigned conns, requests; /* that are in it */
	unsigned tls;	   /* connections that are not, because they look like TLS */
	unsigned cut;	   /* connections whose recording ended early, at a segment that is missing */
	bool more;	   /* there were more connections than fit */
	bool full;	   /* or more bytes or requests, and it ended for that */
	struct kho_hist ns; /* how long replies took */
};
#define KHO_REPLAY_RECORDED_INIT { .fd = -1 }

/*
 * Record the TCP requests that these processes (pids[0] is their root, in whose network namespace it is done) get at the ports that they listen on, for us, in this thread. stop
 * (may be NULL) is asked every few milliseconds: -EINTR. -ENOENT: they listen on no TCP port. Needs root. *out: kho_replay_recorded_done(), in any case.
 */
int kho_replay_record(const pid_t *pids, size_t n, uint64_t us, bool (*stop)(void *arg), void *arg, struct kho_replay_recorded *out,
		      struct kho_err *err) __must_check;
/* Wipe the message and let it go; what was counted stays. */
void kho_replay_recorded_done(struct kho_replay_recorded *r);

/* --- and sending it --- */

#define KHO_REPLAY_WHAT 200

struct kho_replay_result {
	bool known; /* it could be run at all; else what says why not, and the rest means nothing */
	uint64_t requests, replies; /* sent, and got */
	uint64_t other_length;	    /* of these replies */
	uint64_t refused; /* connections that could not be made */
	uint64_t cut;	  /* that ended (reset, or closed) with a request unanswered */
	uint64_t silent;  /* on which a reply did not come in time */
	uint64_t strange; /* of the last two kinds, that had begun before the recording and never got a reply as recorded: their beginning is missing */
	uint64_t late;	  /* requests for which the time was over */
	struct kho_hist ns; /* how long replies took, measured as when they were recorded */
	bool timed;	  /* ns could be measured */
	char what[KHO_REPLAY_WHAT]; /* the first that went wrong; why it could not be run, or (all went well) not be measured; "" */
};

/*
 * Send what the message in fd (which stays the caller's; its bytes are wiped) says, in a process of its own, in the network namespace of process `of`. It takes as long as the recording, or
 * KHO_REPLAY_LATE_US more. 0: *out is filled, also when it could not be run; -EPROTO: of the message.
 */
int kho_replay_run(int fd, pid_t of, struct kho_replay_result *out, struct kho_err *err) __must_check;

#endif
