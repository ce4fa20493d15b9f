/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of struct kho_peer, shared by peer*.c, and the way for tests
 * to connect over a transport of their own.
 *
 * One receiver thread; a caller sends, then waits for its struct kho_pending.  A slot of the bulk
 * area belongs to its pending until the agent's reply has come, however late: the agent may still
 * read it, so a caller's timeout never frees it.
 */
#ifndef KHO_LINK_PEER_IMPL_H
#define KHO_LINK_PEER_IMPL_H

#include "handover/engine.h"
#include "handover/link/peer.h"
#include "handover/link/wire.h"

#define KHO_SLOT_BYTES (1u << 20)
#define KHO_INLINE_MAX (48u << 10) /* a file up to this size travels in its message */
#define KHO_BATCH_FILE 4096	   /* up to this size with others */
#define KHO_BATCH_FILES 256
#define KHO_FLIGHT_MAX 8	   /* slots one transfer may fill ahead */
#define KHO_ALIVE_US \
	1500000 /* after a timeout: at least so long for the answer to an echo */
#define KHO_PEER_BYE_US 100000 /* for a last word: the peer may not listen any more */
#define KHO_QUIET_US  2000000  /* nothing came for so long while a call waits: ask */
#define KHO_SILENT_US 10000000 /* nothing came since for so long: the link is over */

struct kho_transfer { /* on the stack of kho_peer_put_file */
	unsigned flying;
	struct kho_err err; /* the first failure */
};

struct kho_pending {
	struct kho_pending *next;
	uint64_t seq;
	const char *what;	       /* name of the message */
	KhoLink__Msg *reply;	       /* set by the receiver */
	int64_t slot;		       /* of the bulk area, or -1 */
	struct kho_transfer *transfer; /* or NULL: a caller waits, or nobody (orphan) */
	bool orphan;		       /* nobody waits: the receiver frees it */
};

struct kho_peer {
	struct kho_stream s;
	pthread_t rx;
	bool rx_runs;
	int wake; /* eventfd: receiver, stop */

	pthread_mutex_t lock; /* all below */
	pthread_cond_t cond;  /* a reply, a free slot, or the end */
	struct kho_pending *pending;
	uint64_t next_seq, next_transfer;
	bool dead;
	struct kho_err why; /* with dead */
	uint64_t doubt_us;  /* a call has timed out then and nothing came since; 0: no doubt */
	uint64_t heard_us, asked_us; /* last message; last echo sent because of silence */
	uint64_t deaf_seq; /* calls below it are not answered: their agent has ended, and another process is the agent */
	int64_t agent_pid;
	uint64_t quiet_us, silent_us; /* KHO_QUIET_US, KHO_SILENT_US, or a test's */

	uint8_t *bulk;
	uint64_t bulk_bytes;
	uint32_t slot_bytes, nslots, nfree;
	uint32_t *free_slots;

	char release[65];
	uint32_t revision;
	void (*phase)(void *arg, const char *name, uint64_t begin_us, uint64_t end_us);
	void (*note)(void *arg, const char *text);
	void *event_arg;
};

/* As kho_peer_connect, over t (taken over, also on failure). */
int kho_peer_connect_on(struct kho_peer **out, const struct kho_transport *t, void *bulk,
			uint64_t bulk_bytes, const struct kho_peer_setup *setup,
			uint64_t deadline_us, struct kho_err *err) __must_check;

/*
 * Send m as a request (seq and deadline are set here) and wait for the reply; the agent's error
 * becomes ours. out_reply (may be NULL) only on success: free with kho_msg_free. slot (-1: none) is free again when the agent has
 * answered, whatever we return. until may be NULL; -EINTR when it says stop.
 */
int kho_peer_call_with(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, const struct kho_until *until, uint64_t deadline_us,
		       KhoLink__Msg **out_reply, struct kho_err *err) __must_check;

static inline __must_check int kho_peer_call(struct kho_peer *p, KhoLink__Msg *m, uint64_t deadline_us, KhoLink__Msg **out_reply,
					     struct kho_err *err)
{
	return kho_peer_call_with(p, m, -1, NULL, deadline_us, out_reply, err);
}

static inline __must_check int kho_peer_call_slot(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, uint64_t deadline_us,
						  struct kho_err *err)
{
	return kho_peer_call_with(p, m, slot, NULL, deadline_us, NULL, err);
}

/* Send and do not wait: the reply frees the slot and is counted in tr. */
int kho_peer_post(struct kho_peer *p, KhoLink__Msg *m, int64_t slot, struct kho_transfer *tr,
		  uint64_t deadline_us, struct kho_err *err) __must_check;
/*
 * Wait until at most `left` of the transfer's posts are unanswered; the agent's error becomes ours.
 */
int kho_peer_wait_posts(struct kho_peer *p, struct kho_transfer *tr, unsigned left,
			uint64_t deadline_us, struct kho_err *err) __must_check;
/*
 * Nobody waits for the transfer's posts any more: tr is no longer referenced, slots come back
 * later.
 */
void kho_peer_drop_posts(struct kho_peer *p, struct kho_transfer *tr);
/* A free slot, or a negative errno. */
int64_t kho_peer_slot_get(struct kho_peer *p, uint64_t deadline_us,
			  struct kho_err *err) __must_check;
void kho_peer_slot_put(struct kho_peer *p, int64_t slot);
static inline uint8_t *kho_peer_slot_data(struct kho_peer *p, int64_t slot)
{
	return p->bulk + (uint64_t)slot * p->slot_bytes;
}

/* The receiver thread; arg is the peer. */
void *kho_peer_receive(void *arg);

/* --- of calls, lock held --- */

/* The slot (negative: none) is free again. */
void kho_peer_slot_free(struct kho_peer *p, int64_t slot);
/* false: it was not there any more. */
bool kho_peer_unlink(struct kho_peer *p, struct kho_pending *w);
void kho_peer_pending_free(struct kho_pending *w);
/* The agent's answer as our result. */
int kho_peer_result(const KhoLink__Msg *m, struct kho_err *err);

#endif
