// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames to messages and back: the receiving half, the checks, and what both sides share
 * (names, sums, revisions).  The sending half is in wire_send.c.  Allocates at most KHO_MSG_MAX
 * for a message that announces its length, and only for one at a time.
 */
#include "handover/link/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

void kho_msg_free(KhoLink__Msg *m)
{
	if (m)
		kho_link__msg__free_unpacked(m, NULL);
}

const char *kho_msg_name(const KhoLink__Msg *m)
{
	const ProtobufCFieldDescriptor *f;

	if (m->body_case == KHO_LINK__MSG__BODY__NOT_SET)
		return "unknown";
	f = protobuf_c_message_descriptor_get_field(&kho_link__msg__descriptor, m->body_case);
	return f ? f->name : "unknown";
}

static const char *all_names[64];

/* The oneof's members; what else a message has (seq, deadline) is no body. */
static void collect_names(void)
{
	const ProtobufCMessageDescriptor *d = &kho_link__msg__descriptor;
	size_t n = 0;

	for (unsigned i = 0; i < d->n_fields && n < sizeof(all_names) / sizeof(*all_names) - 1; i++)
		if (d->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
			all_names[n++] = d->fields[i].name;
}

const char *const *kho_msg_names(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, collect_names);
	return all_names;
}

KhoLink__Msg__BodyCase kho_msg_find(const char *name)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(&kho_link__msg__descriptor, name);

	return f && f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF ? (KhoLink__Msg__BodyCase)f->id : KHO_LINK__MSG__BODY__NOT_SET;
}

bool kho_seen_first(struct kho_seen *s, uint64_t seq)
{
	uint64_t *word = &s->bits[seq / 64 % (KHO_SEEN_WINDOW / 64)], bit = 1ull << seq % 64;

	if (seq > s->top) {
		/* the numbers that enter the window, or all of it */
		if (!s->top || seq - s->top >= KHO_SEEN_WINDOW)
			memset(s->bits, 0, sizeof(s->bits));
		else
			for (uint64_t i = s->top + 1; i < seq; i++)
				s->bits[i / 64 % (KHO_SEEN_WINDOW / 64)] &= ~(1ull << i % 64);
		s->top = seq;
		*word |= bit;
		return true;
	}
	if (s->top - seq >= KHO_SEEN_WINDOW || *word & bit)
		return false;
	*word |= bit;
	return true;
}

void kho_stream_resync(struct kho_stream *s)
{
	free(s->part);
	s->part = NULL;
	s->part_have = s->part_total = 0;
	s->synced = false;
}

static int unpack(const uint8_t *data, size_t len, KhoLink__Msg **out, struct kho_err *err)
{
	*out = kho_link__msg__unpack(NULL, len, data);
	if (!*out)
		return kho_fail(err, -EPROTO, "peer sent %zu bytes that are no message of the link",
				len);
	return 1;
}

static int check_head(const struct kho_stream *s, const struct kho_frame_head *h, size_t len,
		      struct kho_err *err)
{
	if (h->magic != KHO_FRAME_MAGIC || h->pad ||
	    (h->flags & ~(KHO_FRAME_FIRST | KHO_FRAME_LAST | KHO_FRAME_RESET)))
		return kho_fail(err, -EPROTO,
				"peer sent a frame with a bad head (magic 0x%02x, flags 0x%02x)",
				h->magic, h->flags);
	if (!h->total || h->total > KHO_MSG_MAX)
		return kho_fail(err, -EPROTO,
				"peer announced a message of %" PRIu32 " bytes (1 to %u are "
								       "allowed)",
				h->total, KHO_MSG_MAX);
	if (!!(h->flags & KHO_FRAME_FIRST) == !!s->part)
		return kho_fail(err, -EPROTO,
				s->part ? "peer began a message inside another"
					: "peer went on with a message that it had not begun");
	if (s->part && h->total != s->part_total)
		return kho_fail(err, -EPROTO,
				"peer changed a message's length from %" PRIu32 " to %" PRIu32,
				s->part_total, h->total);
	if (len > h->total - s->part_have)
		return kho_fail(err, -EPROTO,
				"peer sent more than the %" PRIu32 " bytes it had announced",
				h->total);
	if (!!(h->flags & KHO_FRAME_LAST) != (len == h->total - s->part_have))
		return kho_fail(err, -EPROTO, "peer ended a message of %" PRIu32 " bytes after %zu",
				h->total, s->part_have + len);
	return 0;
}

int kho_stream_feed(struct kho_stream *s, const uint8_t *frame, size_t len, KhoLink__Msg **out,
		    unsigned *out_flags, struct kho_err *err)
{
	struct kho_frame_head h;
	int ret;

	if (len <= sizeof(h))
		return kho_fail(err, -EPROTO,
				"peer sent a frame of %zu bytes, too short for its head", len);
	memcpy(&h, frame, sizeof(h));
	frame += sizeof(h);
	len -= sizeof(h);
	if ((h.flags & KHO_FRAME_RESET) || !s->synced) {
		if (!(h.flags & KHO_FRAME_FIRST))
			return 0;
		kho_stream_resync(s);
		s->synced = true;
	}
	ret = check_head(s, &h, len, err);
	if (ret < 0)
		return ret;
	*out_flags = h.flags;
	if ((h.flags & KHO_FRAME_FIRST) && (h.flags & KHO_FRAME_LAST))
		return unpack(frame, len, out, err);
	if (!s->part) {
		s->part = malloc(h.total);
		if (!s->part)
			return kho_fail(err, -ENOMEM, "message of %" PRIu32 " bytes from the peer",
					h.total);
		s->part_total = h.total;
		s->part_have = 0;
	}
	memcpy(s->part + s->part_have, frame, len);
	s->part_have += len;
	s->part_us = kho_clock_us();
	if (!(h.flags & KHO_FRAME_LAST))
		return 0;
	ret = unpack(s->part, s->part_total, out, err);
	/* there may be a key in it */
	explicit_bzero(s->part, s->part_total);
	free(s->part);
	s->part = NULL;
	s->part_have = s->part_total = 0;
	return ret;
}

/* Wait for the next frame; 1 readable, -EAGAIN, or -ETIMEDOUT for a message that does not go on. */
static int wait_frame(struct kho_stream *s, int wake_fd, uint64_t deadline_us, struct kho_err *err)
{
	struct pollfd p[2] = { { .fd = s->t.fd, .events = POLLIN },
			       { .fd = wake_fd, .events = POLLIN } };
	uint64_t now = kho_clock_us(), until = deadline_us;

	if (s->part && (!until || until > s->part_us + KHO_STALL_US))
		until = s->part_us + KHO_STALL_US;
	if (!until || now < until) {
		uint64_t ms = until ? (until - now + 999) / 1000 : 0;

		if (poll(p, 2, until ? (int)(ms < 60000 ? ms : 60000) : -1) < 0 && errno != EINTR)
			return kho_fail_errno(err, "poll the link");
	}
	if (p[1].revents)
		return -EAGAIN;
	if (p[0].revents)
		return 1;
	now = kho_clock_us();
	if (s->part && now >= s->part_us + KHO_STALL_US)
		return kho_fail(err, -ETIMEDOUT,
				"peer stopped in the middle of a message (%" PRIu32 " of %" PRIu32
				" bytes)",
				s->part_have, s->part_total);
	return !deadline_us || now < deadline_us ? 0 : -EAGAIN;
}

int kho_stream_recv(struct kho_stream *s, int wake_fd, uint64_t deadline_us, KhoLink__Msg **out,
		    unsigned *out_flags, struct kho_err *err)
{
	for (;;) {
		ssize_t n = s->t.read(&s->t, s->in, s->t.frame_max);
		int ret;

		if (n > 0) {
			ret = kho_stream_feed(s, s->in, n, out, out_flags, err);
		} else if (n == 0 || n == -EPIPE || n == -ECONNRESET) {
			return 0;
		} else if (n == -EPROTO) {
			s->over = true;
			return kho_fail(err, -EPROTO,
					"the link's ring is broken: peer wrote a bad frame length");
		} else if (n != -EAGAIN && n != -EINTR) {
			return kho_fail(err, n, "read from the link: %s", strerror(-n));
		} else {
			ret = wait_frame(s, wake_fd, deadline_us, err);
			if (ret > 0)
				continue;
		}
		if (ret)
			return ret;
	}
}

int kho_link_agree(uint32_t own_min, uint32_t own_max, uint32_t peer_min, uint32_t peer_max,
		   struct kho_err *err)
{
	uint32_t lo = own_min > peer_min ? own_min : peer_min,
		 hi = own_max < peer_max ? own_max : peer_max;

	if (!lo || lo > hi || hi > INT32_MAX)
		return kho_fail(err, -EPROTONOSUPPORT,
				"the two sides share no revision of the link: ours %" PRIu32
				" to %" PRIu32 ", the peer's %" PRIu32 " to %" PRIu32 "; use the "
										      "same khoctl "
										      "for both",
				own_min, own_max, peer_min, peer_max);
	return (int)hi;
}

int kho_link_name_ok(const char *name, struct kho_err *err)
{
	size_t len = strlen(name), start = 0;

	if (!len || len > 1000)
		return kho_fail(err, -EINVAL, "file name of %zu bytes (1 to 1000 are allowed)",
				len);
	for (size_t i = 0; i <= len; i++) {
		const char *part = name + start;
		size_t n = i - start;

		if (name[i] && name[i] != '/') {
			if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
				return kho_fail(err, -EINVAL, "file name with a control character");
			continue;
		}
		if (!n || n > 200 || (part[0] == '.' && (n == 1 || (n == 2 && part[1] == '.'))))
			return kho_fail(err, -EINVAL,
					"file name '%s': must stay below the images directory",
					name);
		start = i + 1;
	}
	return 0;
}

uint64_t kho_sum64(const void *data, size_t len)
{
	uint64_t a[4] = { 1, 2, 3, 4 }, b[4] = { 0 }, h = len, w[4];
	const uint8_t *p = data;

	for (size_t left = len; left;) {
		size_t n = left < sizeof(w) ? left : sizeof(w);

		if (n < sizeof(w)) {
			memset(w, 0, sizeof(w));
			memcpy(w, p, n);
		} else {
			memcpy(w, p, sizeof(w));
		}
		for (int i = 0; i < 4; i++) {
			a[i] += w[i];
			b[i] += a[i];
		}
		p += n;
		left -= n;
	}
	for (int i = 0; i < 4; i++) {
		h = (h ^ a[i]) * 0x9e3779b97f4a7c15ULL;
		h = (h ^ (h >> 32) ^ b[i]) * 0xc2b2ae3d27d4eb4fULL;
	}
	return h ^ (h >> 29);
}

uint64_t kho_digest_add(uint64_t digest, uint64_t offset, uint32_t bytes, uint64_t sum)
{
	uint64_t h = (sum ^ (offset * 0x9e3779b97f4a7c15ULL) ^ bytes) * 0xc2b2ae3d27d4eb4fULL;

	return digest + (h ^ (h >> 32));
}

int kho_link_fuzz_one(const uint8_t *data, size_t size)
{
	struct kho_stream s = { .synced = true };
	KhoLink__Msg *m = NULL;
	unsigned flags;
	int ret = 0;

	while (size > 2 && ret >= 0) {
		size_t len = data[0] | data[1] << 8;

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		ret = kho_stream_feed(&s, data, len, &m, &flags, NULL);
		if (ret == 1) {
			struct kho_err err = KHO_ERR_INIT;

			(void)!*kho_msg_name(m);
			if (m->body_case == KHO_LINK__MSG__BODY_FILE_PUT)
				(void)!kho_link_name_ok(m->file_put->name, &err);
			for (size_t i = 0; m->body_case == KHO_LINK__MSG__BODY_FILE_BATCH && i < m->file_batch->n_file; i++)
				(void)!kho_link_name_ok(m->file_batch->file[i]->name, &err);
			kho_msg_free(m);
		}
		data += len;
		size -= len;
	}
	kho_stream_resync(&s);
	return 0;
}
