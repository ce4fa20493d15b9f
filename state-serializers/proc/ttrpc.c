// SPDX-License-Identifier: GPL-2.0-only
/* Calls of a containerd shim. See ttrpc.h. */
#include "state-serializers/proc/ttrpc.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define HEADER	  10
#define REQUEST	  1
#define RESPONSE  2
#define NAMESPACE "containerd-namespace-ttrpc"

int kho_ttrpc_connect(struct kho_ttrpc *t, const char *path, struct kho_err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const struct timeval limit = { .tv_sec = 10 };
	_cleanup_close_ int at = open(path, O_PATH | O_CLOEXEC);

	if (at < 0)
		return kho_fail_errno(err, "open %s", path);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", at);
	t->sk = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	t->stream = UINT32_MAX; /* the first one is 1 */
	if (t->sk < 0 || setsockopt(t->sk, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(t->sk, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) || connect(t->sk, (struct sockaddr *)&sa, sizeof(sa))) {
		int rc = kho_fail_errno(err, "connect to %s", path);

		kho_ttrpc_close(t);
		return rc;
	}
	return 0;
}

void kho_ttrpc_close(struct kho_ttrpc *t)
{
	kho_closep(&t->sk);
	t->sk = -1;
}

static int send_all(int sk, const void *data, size_t len, struct kho_err *err)
{
	for (const char *p = data; len;) {
		ssize_t n = send(sk, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return kho_fail_errno(err, "ask the shim");
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int recv_all(int sk, void *data, size_t len, struct kho_err *err)
{
	for (char *p = data; len;) {
		ssize_t n = recv(sk, p, len, 0);

		if (n == 0)
			return kho_fail(err, -EPIPE, "the shim has closed its connection");
		if (n < 0 && errno != EINTR)
			return kho_fail_errno(err, "hear of the shim");
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void put32(uint8_t *p, uint32_t n)
{
	n = htonl(n);
	memcpy(p, &n, sizeof(n));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return ntohl(n);
}

static int send_frame(int sk, uint32_t stream, const struct kho_blob *b, struct kho_err *err)
{
	uint8_t header[HEADER] = { [8] = REQUEST };
	int rc;

	put32(header, (uint32_t)b->len);
	put32(header + 4, stream);
	rc = send_all(sk, header, sizeof(header), err);
	return rc ? rc : send_all(sk, b->data, b->len, err);
}

int kho_ttrpc_ask(struct kho_ttrpc *t, const char *method, const ProtobufCMessage *m, struct kho_err *err)
{
	KhoCtd__KeyValue kv = KHO_CTD__KEY_VALUE__INIT, *metadata = &kv;
	KhoCtd__Request r = KHO_CTD__REQUEST__INIT;
	struct kho_blob payload = { 0 }, b = { 0 };
	int rc = kho_pb_pack(m, &payload, err);

	kv.key = (char *)NAMESPACE;
	kv.value = (char *)t->ns;
	r.service = (char *)t->service;
	r.method = (char *)method;
	r.payload.data = payload.data;
	r.payload.len = payload.len;
	r.metadata = &metadata;
	r.n_metadata = 1;
	if (!rc)
		rc = kho_pb_pack(&r.base, &b, err);
	t->stream += 2;
	if (!rc)
		rc = send_frame(t->sk, t->stream, &b, err);
	kho_blob_done(&payload);
	kho_blob_done(&b);
	return rc;
}

int kho_ttrpc_parse(const uint8_t *frame, size_t len, uint32_t stream, struct kho_blob *out, struct kho_err *err)
{
	struct kho_blob body = { .data = (void *)(frame + HEADER), .len = len > HEADER ? len - HEADER : 0 };
	KhoCtd__Response *r;
	int rc = 0;

	*out = (struct kho_blob){ 0 };
	if (len < HEADER || get32(frame) != body.len || get32(frame + 4) != stream || frame[8] != RESPONSE)
		return kho_fail(err, -EPROTO, "the shim's answer is none");
	r = kho_pb_unpack(&kho_ctd__response__descriptor, &body, err);
	if (!r)
		return kho_fail(err, -EPROTO, "the shim's answer is none");
	if (r->status && r->status->code)
		rc = kho_fail(err, -EREMOTEIO, "the shim says: %.200s", r->status->message);
	if (!rc && r->payload.len) {
		out->data = malloc(r->payload.len);
		out->len = r->payload.len;
		if (!out->data)
			rc = kho_fail(err, -ENOMEM, "hear of the shim: out of memory");
		else
			memcpy(out->data, r->payload.data, out->len);
	}
	kho_ctd__response__free_unpacked(r, NULL);
	return rc;
}

static int read_answer(struct kho_ttrpc *t, struct kho_blob *out, struct kho_err *err)
{
	_cleanup_free_ uint8_t *frame = malloc(HEADER);
	uint8_t *bigger;
	uint32_t len;
	int rc = frame ? recv_all(t->sk, frame, HEADER, err) : kho_fail(err, -ENOMEM, "hear of the shim: out of memory");

	if (rc)
		return rc;
	len = get32(frame);
	if (len > KHO_TTRPC_MAX_BYTES)
		return kho_fail(err, -EPROTO, "the shim's answer has %u bytes", len);
	bigger = realloc(frame, HEADER + len);
	if (!bigger)
		return kho_fail(err, -ENOMEM, "hear of the shim: out of memory");
	frame = bigger;
	rc = recv_all(t->sk, frame + HEADER, len, err);
	return rc ? rc : kho_ttrpc_parse(frame, HEADER + len, t->stream, out, err);
}

int kho_ttrpc_answer(struct kho_ttrpc *t, const ProtobufCMessageDescriptor *d, uint64_t timeout_us, void *out, struct kho_err *err)
{
	struct pollfd p = { .fd = t->sk, .events = POLLIN };
	struct kho_blob b = { 0 };
	void *m;
	int rc;

	if (poll(&p, 1, (int)(timeout_us / 1000)) != 1)
		return kho_fail(err, -ETIMEDOUT, "the shim does not answer");
	rc = read_answer(t, &b, err);
	if (rc)
		return rc;
	m = kho_pb_unpack(d, &b, err);
	kho_blob_done(&b);
	if (!m)
		return kho_fail(err, -EPROTO, "the shim's answer is none");
	*(void **)out = m;
	return 0;
}

int kho_ttrpc_call(struct kho_ttrpc *t, const char *method, const ProtobufCMessage *m, const ProtobufCMessageDescriptor *d,
		   uint64_t timeout_us, void *out, struct kho_err *err)
{
	int rc = kho_ttrpc_ask(t, method, m, err);

	return rc ? rc : kho_ttrpc_answer(t, d, timeout_us, out, err);
}
