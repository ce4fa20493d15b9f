/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Framing of the link: whole protobuf messages over a transport that carries frames of limited
 * size.  A frame begins with 8 bytes (struct kho_frame_head); a message longer than one frame
 * travels in consecutive frames.  Serves peer.c (outgoing side) and the agent (incoming side).
 *
 * What comes in is not trusted: lengths are checked before anything is stored, a frame or message
 * that breaks the rules ends the link with -EPROTO and a text that says what was wrong.
 */
#ifndef KHO_LINK_WIRE_H
#define KHO_LINK_WIRE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "handover/link/link.pb-c.h"
#include "lib/err.h"

/* Revisions of link.proto that this build speaks. */
#define KHO_LINK_REVISION_MIN 1
#define KHO_LINK_REVISION     1

#define KHO_MSG_MAX  (16u << 20) /* longest message, in bytes */
#define KHO_STALL_US 2000000	 /* between two frames of one message */

#define KHO_FRAME_MAGIC 0x4b
#define KHO_FRAME_FIRST (1u << 0) /* first frame of a message */
#define KHO_FRAME_LAST	(1u << 1)
#define KHO_FRAME_RESET (1u << 2) /* with FIRST: sender is a new process, drop what is unfinished \
				   */

struct kho_frame_head {
	uint8_t magic, flags;
	uint16_t pad;	/* zero */
	uint32_t total; /* bytes of the whole message, the same in all its frames */
};

/*
 * Carrier of frames. read and write are non-blocking and give -errno; read gives 0 when the peer is
 * gone.
 */
struct kho_transport {
	int fd; /* to poll */
	size_t frame_max;
	ssize_t (*read)(struct kho_transport *t, void *buf, size_t len);
	ssize_t (*write)(struct kho_transport *t, const void *buf, size_t len);
};

/* /dev/khoctl-link, opened with O_NONBLOCK. */
void kho_transport_device(struct kho_transport *t, int fd);
/* A SOCK_SEQPACKET socket (unit tests); made non-blocking. */
void kho_transport_socket(struct kho_transport *t, int fd);

struct kho_link_faults;

struct kho_stream {
	struct kho_transport t;
	pthread_mutex_t wlock; /* one message at a time goes out */
	uint8_t *out, *in;     /* one frame each */
	uint8_t *part;	       /* message being put together, or NULL */
	uint32_t part_total, part_have;
	uint64_t part_us; /* when its last frame came */
	bool synced;	  /* false: skip frames until one with FIRST comes */
	bool over;	  /* the transport has given the link up: nothing comes any more */
	bool torn;	  /* a message was sent in part: nothing more can be sent */
	bool anew;	  /* the next message is this process's first: it has KHO_FRAME_RESET */
	struct kho_link_faults *faults; /* of a test; NULL: none */
};

/*
 * Take over the transport (the fd is closed by kho_stream_done). resync: begin at the next whole
 * message.
 */
int kho_stream_init(struct kho_stream *s, const struct kho_transport *t, bool resync,
		    struct kho_err *err) __must_check;
void kho_stream_done(struct kho_stream *s);

/*
 * Send one message; waits for room until the deadline (0: none). Any thread.
 * -ETIMEDOUT: no room; when a part was already sent the stream is torn and every later send gives
 * -EPIPE.
 */
int kho_stream_send(struct kho_stream *s, const KhoLink__Msg *m, unsigned flags,
		    uint64_t deadline_us, struct kho_err *err) __must_check;

/* The same for a reply; answers: what it is the reply to. */
int kho_stream_answer(struct kho_stream *s, const KhoLink__Msg *m, KhoLink__Msg__BodyCase answers,
		      uint64_t deadline_us, struct kho_err *err) __must_check;

/* A last word: why this side ends the session (code: negative errno, 0: it is done). Waits so long for room; one that does not get through is no error. */
void kho_stream_bye(struct kho_stream *s, int code, const char *text, uint64_t patience_us);

/*
 * Receive one message, from one thread. 1: *out is set (free with kho_msg_free), *out_flags has
 * KHO_FRAME_RESET when the sender is a new process; 0: the peer is gone and nothing is left;
 * -EAGAIN (err untouched): deadline passed or wake_fd (-1: none) became readable;
 * -ETIMEDOUT: the peer stopped in the middle of a message; -EPROTO: it broke the rules.
 */
int kho_stream_recv(struct kho_stream *s, int wake_fd, uint64_t deadline_us, KhoLink__Msg **out,
		    unsigned *out_flags, struct kho_err *err) __must_check;
/* In a copy of the process whose stream it was, when that has ended: begin anew where it may have been in the middle of something. */
void kho_stream_inherit(struct kho_stream *s);
/* Forget an unfinished message; frames are skipped until the next FIRST one. */
void kho_stream_resync(struct kho_stream *s);

/* One frame into the message being put together: 1 complete (out set), 0 more to come, -EPROTO. */
int kho_stream_feed(struct kho_stream *s, const uint8_t *frame, size_t len, KhoLink__Msg **out,
		    unsigned *out_flags, struct kho_err *err) __must_check;

void kho_msg_free(KhoLink__Msg *m);
/* "setup", "file_chunk" ...; "unknown" for a body this build does not know. */
const char *kho_msg_name(const KhoLink__Msg *m);
/* All of them, in the order of link.proto, NULL-terminated. */
const char *const *kho_msg_names(void);
/* The body of that name, or KHO_LINK__MSG__BODY__NOT_SET. */
KhoLink__Msg__BodyCase kho_msg_find(const char *name);

/*
 * Which requests of a session have come: a window over their numbers, which arrive almost in order. What is
 * so late that it has left the window counts as one that has come.
 */
#define KHO_SEEN_WINDOW 4096
struct kho_seen {
	uint64_t top; /* the highest so far; 0: none */
	uint64_t bits[KHO_SEEN_WINDOW / 64];
};
/* Note this number; false: it was there already. Begin with an empty one, one thread. */
bool kho_seen_first(struct kho_seen *s, uint64_t seq);

/* Revision both ranges have in common, or -EPROTONOSUPPORT with both ranges in the text. */
int kho_link_agree(uint32_t own_min, uint32_t own_max, uint32_t peer_min, uint32_t peer_max,
		   struct kho_err *err) __must_check;

/*
 * A name below images_dir: relative, no empty, "." or ".." component, no control characters,
 * components up to 200 bytes, 1000 in all. -EINVAL otherwise.
 */
int kho_link_name_ok(const char *name, struct kho_err *err) __must_check;

/*
 * Checksum of bulk data: Fletcher over 64-bit words in four lanes. It guards against our own
 * mistakes (a slot used twice, a short copy), not against an enemy, so it runs near the speed of
 * memory.
 */
uint64_t kho_sum64(const void *data, size_t len);
/* Digest of a file: sums of its chunks with their offsets, in any order. */
uint64_t kho_digest_add(uint64_t digest, uint64_t offset, uint32_t bytes, uint64_t sum);

/* Fuzz target: data as frames (16-bit length, bytes). Returns 0. */
int kho_link_fuzz_one(const uint8_t *data, size_t size);

#endif
