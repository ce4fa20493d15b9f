// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sending half of the framing, and the two transports.  A message that fits into one frame is
 * packed where it is sent from; a longer one is packed once and cut.  A full ring is waited for,
 * but never longer than the message's deadline.
 */
#include "handover/link/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handover/link/fault.h"
#include "handover/uapi/khoctl_region.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

/* The receiver rings no bell for each byte it takes: look again at least this often. */
#define ROOM_POLL_MS 2

static ssize_t device_read(struct kho_transport *t, void *buf, size_t len)
{
	ssize_t n = read(t->fd, buf, len);

	return n < 0 ? -errno : n;
}

static ssize_t device_write(struct kho_transport *t, const void *buf, size_t len)
{
	ssize_t n = write(t->fd, buf, len);

	return n < 0 ? -errno : n;
}

static ssize_t socket_write(struct kho_transport *t, const void *buf, size_t len)
{
	ssize_t n = send(t->fd, buf, len, MSG_NOSIGNAL);

	return n < 0 ? -errno : n;
}

void kho_transport_device(struct kho_transport *t, int fd)
{
	*t = (struct kho_transport){
		.fd = fd, .frame_max = KHO_FRAME_MAX, .read = device_read, .write = device_write
	};
}

void kho_transport_socket(struct kho_transport *t, int fd)
{
	*t = (struct kho_transport){
		.fd = fd, .frame_max = KHO_FRAME_MAX, .read = device_read, .write = socket_write
	};
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int kho_stream_init(struct kho_stream *s, const struct kho_transport *t, bool resync,
		    struct kho_err *err)
{
	*s = (struct kho_stream){ .t = *t, .synced = !resync };
	pthread_mutex_init(&s->wlock, NULL);
	s->out = malloc(t->frame_max);
	s->in = malloc(t->frame_max);
	if (!s->out || !s->in) {
		kho_stream_done(s);
		return kho_fail(err, -ENOMEM, "buffers of the link");
	}
	return 0;
}

void kho_stream_inherit(struct kho_stream *s)
{
	pthread_mutex_init(&s->wlock, NULL);
	s->torn = false;
	s->anew = true;
	kho_stream_resync(s);
}

void kho_stream_done(struct kho_stream *s)
{
	if (s->t.fd >= 0)
		close(s->t.fd);
	s->t.fd = -1;
	free(s->out);
	free(s->in);
	free(s->part);
	s->out = s->in = s->part = NULL;
	pthread_mutex_destroy(&s->wlock);
}

static int send_frame(struct kho_stream *s, size_t len, uint64_t deadline_us, struct kho_err *err)
{
	for (;;) {
		struct pollfd p = { .fd = s->t.fd, .events = POLLOUT };
		ssize_t n = s->t.write(&s->t, s->out, len);

		if (n == (ssize_t)len)
			return 0;
		if (n >= 0)
			return kho_fail(err, -EIO, "the link took %zd of %zu bytes of a frame", n,
					len);
		if (n == -EPIPE || n == -ECONNRESET || n == -ENOTCONN)
			return kho_fail(err, -EPIPE, "the peer is gone");
		if (n != -EAGAIN && n != -EINTR && n != -ENOBUFS)
			return kho_fail(err, n, "write to the link: %s", strerror(-n));
		if (deadline_us && kho_clock_us() >= deadline_us)
			return kho_fail(err, -ETIMEDOUT,
					"the peer does not take messages (ring full)");
		poll(&p, 1, ROOM_POLL_MS);
	}
}

static int send_cut(struct kho_stream *s, const uint8_t *msg, size_t total, unsigned flags,
		    uint64_t deadline_us, struct kho_err *err)
{
	struct kho_frame_head h = { .magic = KHO_FRAME_MAGIC, .total = total };
	size_t room = s->t.frame_max - sizeof(h), sent = 0;

	while (sent < total) {
		size_t n = total - sent < room ? total - sent : room;
		int ret;

		h.flags = (sent ? 0 : KHO_FRAME_FIRST | flags) |
			  (sent + n == total ? KHO_FRAME_LAST : 0);
		memcpy(s->out, &h, sizeof(h));
		if (msg)
			memcpy(s->out + sizeof(h), msg + sent, n);
		ret = send_frame(s, sizeof(h) + n, deadline_us, err);
		if (ret < 0) {
			s->torn = sent > 0;
			return ret;
		}
		sent += n;
	}
	return 0;
}

/* Take the sender's lock, but not later than the deadline. */
static int lock_out(struct kho_stream *s, uint64_t deadline_us)
{
	uint64_t now = kho_clock_us(), left = deadline_us > now ? deadline_us - now : 0;
	struct timespec ts;

	if (!deadline_us)
		return pthread_mutex_lock(&s->wlock);
	ts = kho_clock_in(left);
	return pthread_mutex_clocklock(&s->wlock, CLOCK_MONOTONIC, &ts);
}

static int send_once(struct kho_stream *s, const KhoLink__Msg *m, unsigned flags,
		     uint64_t deadline_us, struct kho_err *err)
{
	size_t total = kho_link__msg__get_packed_size(m),
	       room = s->t.frame_max - sizeof(struct kho_frame_head);
	_cleanup_free_ uint8_t *big = NULL;
	int ret;

	if (total > KHO_MSG_MAX)
		return kho_fail(err, -EMSGSIZE,
				"message '%s' of %zu bytes is longer than the link's limit of %u",
				kho_msg_name(m), total, KHO_MSG_MAX);
	if (total > room) {
		big = malloc(total);
		if (!big)
			return kho_fail(err, -ENOMEM, "message of %zu bytes", total);
		kho_link__msg__pack(m, big);
	}
	if (lock_out(s, deadline_us))
		return kho_fail(err, -ETIMEDOUT, "other messages did not leave in time");
	if (s->torn) {
		ret = kho_fail(err, -EPIPE, "the link broke in the middle of an earlier message");
	} else {
		if (!big)
			kho_link__msg__pack(m, s->out + sizeof(struct kho_frame_head));
		ret = send_cut(s, big, total, flags | (s->anew ? KHO_FRAME_RESET : 0), deadline_us, err);
		s->anew &= ret < 0;
	}
	pthread_mutex_unlock(&s->wlock);
	/* there may be a key in it */
	if (big)
		explicit_bzero(big, total);
	return ret;
}

/* As often as the fault of a test wants it: one that is late waits here, others overtake it. */
static int send_faulty(struct kho_stream *s, const KhoLink__Msg *m, enum kho_fault_kind kind, unsigned flags,
		       uint64_t deadline_us, struct kho_err *err)
{
	int ret = 0;

	if (kind == KHO_FAULT_DROP)
		return 0;
	if (kind == KHO_FAULT_LATE)
		usleep(KHO_LINK_LATE_US);
	if (kind == KHO_FAULT_DUP)
		ret = send_once(s, m, flags, deadline_us, err);
	return ret < 0 ? ret : send_once(s, m, flags, deadline_us, err);
}

int kho_stream_send(struct kho_stream *s, const KhoLink__Msg *m, unsigned flags,
		    uint64_t deadline_us, struct kho_err *err)
{
	if (!s->faults || kho_link_fault_is_told(m))
		return send_once(s, m, flags, deadline_us, err);
	return send_faulty(s, m, kho_link_fault_take(s->faults, m->body_case, KHO_LINK__MSG__BODY__NOT_SET), flags,
			   deadline_us, err);
}

int kho_stream_answer(struct kho_stream *s, const KhoLink__Msg *m, KhoLink__Msg__BodyCase answers,
		      uint64_t deadline_us, struct kho_err *err)
{
	if (!s->faults)
		return send_once(s, m, 0, deadline_us, err);
	return send_faulty(s, m, kho_link_fault_take(s->faults, m->body_case, answers), 0, deadline_us, err);
}

void kho_stream_bye(struct kho_stream *s, int code, const char *text, uint64_t patience_us)
{
	KhoLink__Bye bye = KHO_LINK__BYE__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	bye.error = code;
	bye.text = (char *)text;
	m.body_case = KHO_LINK__MSG__BODY_BYE;
	m.bye = &bye;
	(void)!kho_stream_send(s, &m, 0, kho_clock_us() + patience_us, NULL);
}
