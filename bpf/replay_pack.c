// SPDX-License-Identifier: GPL-2.0-only
/*
 * A recording as a message: head, then for each connection its head and its requests, each with its bytes behind it. Both kernels run on one machine, so numbers are
 * as this machine has them. The reader trusts none of them.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/replay_parts.h"
#include "lib/memfd.h"

static const char magic[8] = "khorepl1";

struct wire_head {
	char magic[8];
	uint64_t us;
	uint32_t conns, requests; /* of all connections */
};

struct wire_conn {
	uint8_t family, begun; /* 4 or 6; 0 or 1 */
	uint16_t port;
	uint32_t requests;
	uint8_t a[16];
};

struct wire_request {
	uint64_t at_us, reply_ns, reply_bytes;
	uint32_t bytes, pad; /* bytes follow, and zeros up to a multiple of 8 */
};

_Static_assert(sizeof(struct wire_head) == 24 && sizeof(struct wire_conn) == 24 && sizeof(struct wire_request) == 32, "no padding");
_Static_assert(KHO_REPLAY_MESSAGE_MAX >= KHO_REPLAY_BYTES + (size_t)KHO_REPLAY_REQUESTS * (sizeof(struct wire_request) + 8) +
						KHO_REPLAY_CONNS * sizeof(struct wire_conn) + sizeof(struct wire_head),
	       "a message of all that is recorded can be read");

#define US_MOST 60000000ull /* a machine that stalls goes on recording for longer than it was to */

static size_t padded(size_t n)
{
	return (n + 7) / 8 * 8;
}

/* --- writing --- */

/* Only the last one of a connection has no reply. */
static bool is_sent(const struct kho_streams *s, size_t i, size_t flow)
{
	return s->rq[i].flow == flow && s->rq[i].replied && !s->flow[flow].tls;
}

static uint32_t requests_of(const struct kho_streams *s, size_t flow)
{
	uint32_t n = 0;

	for (size_t i = 0; i < s->nrq; i++)
		n += is_sent(s, i, flow);
	return n;
}

static size_t measure(const struct kho_streams *s, struct kho_replay_recorded *out)
{
	size_t len = sizeof(struct wire_head);

	for (size_t f = 0; f < s->nflows; f++)
		if (requests_of(s, f)) {
			out->conns++;
			len += sizeof(struct wire_conn);
		}
	for (size_t i = 0; i < s->nrq; i++)
		if (is_sent(s, i, s->rq[i].flow)) {
			out->requests++;
			len += sizeof(struct wire_request) + padded(s->rq[i].bytes);
		}
	return len;
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put_flow(uint8_t *at, const struct kho_streams *s, size_t f, uint64_t us)
{
	const struct kho_stream_flow *flow = &s->flow[f];
	struct wire_conn c = { .family = flow->server.family, .begun = flow->begun, .port = flow->server.port, .requests = requests_of(s, f) };

	uint64_t earliest = 0;

	memcpy(c.a, flow->server.a, sizeof(c.a));
	if (!c.requests)
		return at;
	at = put(at, &c, sizeof(c));
	for (size_t i = 0, n = 0; i < s->nrq && n < c.requests; i++) {
		const struct kho_stream_request *rq = &s->rq[i];
		uint64_t at_us = rq->at_ns > s->begin_ns ? (rq->at_ns - s->begin_ns) / 1000 : 0;
		struct wire_request w = { .at_us = at_us < us ? at_us : us, .reply_ns = rq->reply_ns, .reply_bytes = rq->reply_bytes, .bytes = rq->bytes };

		if (!is_sent(s, i, f))
			continue;
		n++;
		if (w.reply_ns > US_MOST * 1000)
			w.reply_ns = US_MOST * 1000;
		if (w.at_us < earliest) /* the clock was set back */
			w.at_us = earliest;
		earliest = w.at_us;
		at = put(at, &w, sizeof(w));
		kho_streams_copy(s, rq, at);
		at += padded(rq->bytes); /* a new file is all zeros */
	}
	return at;
}

int kho_replay_pack(const struct kho_streams *s, uint64_t us, struct kho_replay_recorded *out, struct kho_err *err)
{
	struct wire_head h = { .us = us < US_MOST ? us : US_MOST };
	uint8_t *at;

	out->len = measure(s, out);
	if (!out->requests)
		return 0;
	out->fd = kho_memfd("khoctl-replay", 0, err);
	if (out->fd < 0)
		return out->fd;
	if (fchmod(out->fd, 0600) || ftruncate(out->fd, (off_t)out->len))
		return kho_fail_errno(err, "a recording in memory");
	at = mmap(NULL, out->len, PROT_READ | PROT_WRITE, MAP_SHARED, out->fd, 0);
	if (at == MAP_FAILED)
		return kho_fail_errno(err, "map a recording");
	out->message = at;
	madvise(at, out->len, MADV_DONTDUMP);
	(void)!mlock(at, out->len); /* khoctl has locked it already; a test need not be allowed to */
	memcpy(h.magic, magic, sizeof(h.magic));
	h.conns = out->conns;
	h.requests = out->requests;
	at = put(at, &h, sizeof(h));
	for (size_t f = 0; f < s->nflows; f++)
		at = put_flow(at, s, f, h.us);
	return 0;
}

/* --- reading --- */

struct reader {
	const uint8_t *at;
	size_t left;
	uint64_t us;
	size_t nrq, bytes; /* so far, of all connections */
};

static int bad(struct kho_err *err, const char *what)
{
	return kho_fail(err, -EPROTO, "a recording of requests: %s", what);
}

static bool take(struct reader *r, void *out, size_t len)
{
	if (len > r->left)
		return false;
	memcpy(out, r->at, len);
	r->at += len;
	r->left -= len;
	return true;
}

static int read_request(struct reader *r, uint64_t earliest, struct kho_replay_request *out, struct kho_err *err)
{
	struct wire_request w;

	if (!take(r, &w, sizeof(w)) || padded(w.bytes) > r->left)
		return bad(err, "it is cut off");
	if (w.pad || !w.reply_bytes || w.at_us < earliest || w.at_us > r->us || w.reply_ns > US_MOST * 1000)
		return bad(err, "a request that cannot be");
	r->bytes += w.bytes;
	if (r->bytes > KHO_REPLAY_BYTES)
		return bad(err, "more bytes than are recorded");
	*out = (struct kho_replay_request){ .at_us = w.at_us, .reply_ns = w.reply_ns, .reply_bytes = w.reply_bytes, .data = r->at, .bytes = w.bytes };
	r->at += padded(w.bytes);
	r->left -= padded(w.bytes);
	return 0;
}

static int read_conn(struct reader *r, size_t most, struct kho_replay *all, struct kho_replay_conn *out, struct kho_err *err)
{
	static const uint8_t zero[12];
	struct wire_conn c;
	uint64_t earliest = 0;

	if (!take(r, &c, sizeof(c)))
		return bad(err, "it is cut off");
	if ((c.family != 4 && c.family != 6) || c.begun > 1 || !c.port || (c.family == 4 && memcmp(c.a + 4, zero, sizeof(zero))))
		return bad(err, "an address that cannot be");
	if (!c.requests || c.requests > most - r->nrq)
		return bad(err, "another number of requests than it says");
	out->server = (struct kho_replay_address){ .family = c.family, .port = c.port };
	memcpy(out->server.a, c.a, sizeof(c.a));
	out->begun = c.begun;
	out->rq = &all->rq[r->nrq];
	out->n = c.requests;
	for (uint32_t i = 0; i < c.requests; i++) {
		struct kho_replay_request *rq = &all->rq[r->nrq++];

		if (read_request(r, earliest, rq, err) < 0)
			return -EPROTO;
		earliest = rq->at_us;
	}
	return 0;
}

static int read_all(struct reader *r, const struct wire_head *h, struct kho_replay *out, struct kho_err *err)
{
	out->us = r->us = h->us;
	out->conn = calloc(h->conns, sizeof(*out->conn));
	out->rq = calloc(h->requests, sizeof(*out->rq));
	if (!out->conn || !out->rq)
		return kho_fail(err, -ENOMEM, "a recording of requests");
	for (out->n = 0; out->n < h->conns; out->n++) {
		int rc = read_conn(r, h->requests, out, &out->conn[out->n], err);

		if (rc < 0)
			return rc;
	}
	return r->left || r->nrq != h->requests ? bad(err, "another length than it says") : 0;
}

int kho_replay_parse(const uint8_t *data, size_t len, struct kho_replay *out, struct kho_err *err)
{
	struct reader r = { data, len, 0, 0, 0 };
	struct wire_head h;
	int rc;

	*out = (struct kho_replay){ 0 };
	if (!take(&r, &h, sizeof(h)) || memcmp(h.magic, magic, sizeof(magic)))
		return bad(err, "it is none of this revision; use the same khoctl for both");
	if (!h.conns || h.conns > KHO_REPLAY_CONNS || !h.requests || h.requests > KHO_REPLAY_REQUESTS || h.us > US_MOST)
		return bad(err, "more of it than can be");
	rc = read_all(&r, &h, out, err);
	if (rc < 0)
		kho_replay_done(out);
	return rc;
}

void kho_replay_done(struct kho_replay *r)
{
	free(r->conn);
	free(r->rq);
	*r = (struct kho_replay){ 0 };
}
