// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets, put together to connections, and these cut into requests.  See bpf/replay.h. Nothing here knows a protocol: what a client sends behind a reply begins a
 * request. A segment that is missing ends what is recorded of its connection, and one that came before is dropped.
 */
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bpf/replay_parts.h"

/* Of what a client sends, a part: in the store, in front of its bytes, at a multiple of 8. */
struct piece {
	uint32_t next; /* where the next one of the request is; 0: this is the last */
	uint32_t bytes;
};

#define STORE_BEGIN 8u /* 0 is no place */

void *kho_private_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_DONTDUMP);
	/* khoctl has locked all that it will have; a test need not be allowed to */
	(void)!mlock2(p, bytes, MLOCK_ONFAULT);
	return p;
}

void kho_private_unmap(void *p, size_t bytes, size_t used)
{
	if (!p)
		return;
	explicit_bzero(p, used);
	munmap(p, bytes);
}

/* --- packets --- */

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

/* Where TCP begins in it, and how long all of it was (a packet may be cut behind its headers); false: not TCP, a fragment, or nonsense. */
static bool parse_ip(const uint8_t *p, size_t have, size_t *out_tcp, size_t *out_len, struct kho_replay_address *from, struct kho_replay_address *to)
{
	bool v4 = have >= 20 && p[0] >> 4 == 4, v6 = have >= 40 && p[0] >> 4 == 6;

	memset(from, 0, sizeof(*from));
	memset(to, 0, sizeof(*to));
	from->family = to->family = v4 ? 4 : 6;
	if (v4) {
		*out_tcp = (size_t)(p[0] & 15) * 4;
		*out_len = be16(p + 2);
		memcpy(from->a, p + 12, 4);
		memcpy(to->a, p + 16, 4);
		return *out_tcp >= 20 && p[9] == IPPROTO_TCP && !(be16(p + 6) & (IP_MF | IP_OFFMASK));
	}
	*out_tcp = 40;
	*out_len = v6 ? 40u + be16(p + 4) : 0;
	if (!v6)
		return false;
	memcpy(from->a, p + 8, 16);
	memcpy(to->a, p + 24, 16);
	return p[6] == IPPROTO_TCP;
}

bool kho_segment_parse(const uint8_t *packet, size_t len, bool to_server, struct kho_segment *out)
{
	struct kho_replay_address from, to;
	size_t at, all, head;
	const uint8_t *t;

	memset(out, 0, sizeof(*out));
	if (!parse_ip(packet, len, &at, &all, &from, &to) || at + 20 > len)
		return false;
	t = packet + at;
	head = (size_t)(t[12] >> 4) * 4;
	if (head < 20 || at + head > all || at + head > len)
		return false;
	from.port = be16(t);
	to.port = be16(t + 2);
	out->to_server = to_server;
	out->server = to_server ? to : from;
	out->client = to_server ? from : to;
	out->seq = be32(t + 4);
	out->ack = be32(t + 8);
	out->flags = t[13];
	out->data = t + head;
	out->len = (uint32_t)(all - at - head);
	/* what is behind it in a frame is padding */
	out->have = (uint32_t)(len < all ? len - at - head : out->len);
	return true;
}

/* --- what is kept --- */

struct kho_streams *kho_streams_new(bool keep, uint64_t begin_ns, struct kho_err *err)
{
	struct kho_streams *s = calloc(1, sizeof(*s));

	if (s) {
		s->keep = keep;
		s->begin_ns = begin_ns;
		s->used = STORE_BEGIN;
		s->rq = calloc(KHO_REPLAY_REQUESTS, sizeof(*s->rq));
		s->store = keep ? kho_private_map(KHO_REPLAY_BYTES) : NULL;
	}
	if (s && s->rq && (s->store || !keep))
		return s;
	kho_streams_free(s);
	kho_fail(err, -ENOMEM, "room for %u MiB of requests", KHO_REPLAY_BYTES >> 20);
	return NULL;
}

void kho_streams_free(struct kho_streams *s)
{
	if (!s)
		return;
	kho_private_unmap(s->store, KHO_REPLAY_BYTES, s->used);
	free(s->rq);
	free(s);
}

/* A piece more of a request; false: there is no room. */
static bool append(struct kho_streams *s, struct kho_stream_request *rq, const uint8_t *data, uint32_t n)
{
	struct piece p = { .bytes = n };
	size_t need = sizeof(p) + ((size_t)n + 7) / 8 * 8;

	if (need > KHO_REPLAY_BYTES - s->used)
		return false;
	if (s->keep) {
		uint32_t at = (uint32_t)s->used;

		memcpy(s->store + at, &p, sizeof(p));
		memcpy(s->store + at + sizeof(p), data, n);
		if (rq->last)
			memcpy(s->store + rq->last, &at, sizeof(at)); /* its `next` */
		else
			rq->first = at;
		rq->last = at;
		s->used += need;
	}
	rq->bytes += n;
	return true;
}

void kho_streams_copy(const struct kho_streams *s, const struct kho_stream_request *rq, uint8_t *out)
{
	struct piece p;

	for (uint32_t at = rq->first; at; at = p.next) {
		memcpy(&p, s->store + at, sizeof(p));
		memcpy(out, s->store + at + sizeof(p), p.bytes);
		out += p.bytes;
	}
}

void kho_streams_times(const struct kho_streams *s, struct kho_hist *out)
{
	for (size_t i = 0; i < s->nrq; i++)
		if (s->rq[i].replied && s->rq[i].bytes && !s->flow[s->rq[i].flow].tls)
			kho_hist_add(out, s->rq[i].reply_ns);
}

/* --- connections --- */

/* The latest of these two ends. */
static struct kho_stream_flow *find(struct kho_streams *s, const struct kho_segment *g)
{
	for (size_t i = s->nflows; i-- > 0;)
		if (!memcmp(&s->flow[i].client, &g->client, sizeof(g->client)) && !memcmp(&s->flow[i].server, &g->server, sizeof(g->server)))
			return &s->flow[i];
	return NULL;
}

static struct kho_stream_flow *add_flow(struct kho_streams *s, const struct kho_segment *g)
{
	struct kho_stream_flow *f;

	if (s->nflows == KHO_REPLAY_CONNS) {
		s->more = true;
		return NULL;
	}
	f = &s->flow[s->nflows++];
	*f = (struct kho_stream_flow){ .server = g->server, .client = g->client, .current = -1 };
	return f;
}

static void cut(struct kho_stream_flow *f)
{
	f->cut = f->ended = true;
}

static struct kho_stream_request *current(struct kho_streams *s, const struct kho_stream_flow *f)
{
	return f->current < 0 ? NULL : &s->rq[f->current];
}

static struct kho_stream_request *begin_request(struct kho_streams *s, struct kho_stream_flow *f, uint64_t ns)
{
	struct kho_stream_request *rq;

	if (s->nrq == KHO_REPLAY_REQUESTS) {
		s->full = f->ended = true;
		return NULL;
	}
	f->current = (int64_t)s->nrq;
	rq = &s->rq[s->nrq++];
	*rq = (struct kho_stream_request){ .at_ns = ns, .last_ns = ns, .flow = (uint32_t)(f - s->flow) };
	return rq;
}

/* A record of TLS: handshake or data, version 3.x. */
static bool is_tls(const uint8_t *d, uint32_t n)
{
	return n >= 2 && (d[0] == 0x16 || d[0] == 0x17) && d[1] == 3 && (n < 3 || d[2] <= 4);
}

/*
 * How much at the segment's beginning was there before; its length, when that is all of it. Else it is new, and counted; a gap ends the connection. dir: 0, the
 * client's; 1, the server's.
 */
static uint32_t seen(struct kho_stream_flow *f, int dir, const struct kho_segment *g)
{
	int32_t off = (int32_t)(g->seq - f->next[dir]);

	if (off > 0) {
		cut(f);
		return g->len;
	}
	if (g->len <= 0u - (uint32_t)off)
		return g->len;
	f->next[dir] = g->seq + g->len;
	return 0u - (uint32_t)off;
}

static void from_client(struct kho_streams *s, struct kho_stream_flow *f, const struct kho_segment *g)
{
	struct kho_stream_request *rq = current(s, f);
	uint32_t skip;

	/* one that was there before begins with what follows all that the server had when it sent something */
	if (!f->known[0] && g->seq != f->acked)
		return;
	if (!f->known[0])
		f->next[0] = g->seq;
	f->known[0] = true;
	skip = seen(f, 0, g);
	if (skip == g->len)
		return;
	if (g->have < g->len) {
		cut(f);
		return;
	}
	if (!rq || rq->replied) {
		if (is_tls(g->data + skip, g->len - skip)) {
			f->tls = f->ended = true;
			return;
		}
		rq = begin_request(s, f, g->ns);
	}
	if (!rq)
		return;
	rq->last_ns = g->ns;
	if (!append(s, rq, g->data + skip, g->len - skip))
		s->full = f->ended = true;
}

static void from_server(struct kho_streams *s, struct kho_stream_flow *f, const struct kho_segment *g)
{
	struct kho_stream_request *rq = current(s, f);
	uint32_t skip;

	if (!f->known[1])
		f->next[1] = g->seq;
	f->known[1] = true;
	skip = seen(f, 1, g);
	if (skip == g->len)
		return;
	if (!f->known[0]) {
		f->acked = g->ack;
		return;
	}
	if (!rq)
		rq = begin_request(s, f, g->ns);
	if (!rq)
		return;
	if (!rq->replied)
		rq->reply_ns = g->ns > rq->last_ns ? g->ns - rq->last_ns : 0;
	rq->replied = true;
	rq->reply_bytes += g->len - skip;
}

/* A new connection, unless it is the same segment once more. */
static void opened(struct kho_streams *s, struct kho_stream_flow *f, const struct kho_segment *g)
{
	if (f && f->begun && f->isn == g->seq)
		return;
	if (f)
		f->ended = true;
	f = add_flow(s, g);
	if (!f)
		return;
	f->begun = f->known[0] = true;
	f->isn = g->seq;
	f->next[0] = g->seq + 1;
}

void kho_streams_add(struct kho_streams *s, const struct kho_segment *g)
{
	struct kho_stream_flow *f = find(s, g);
	const struct kho_stream_request *rq;

	if (s->full)
		return;
	if (g->flags & TH_SYN) {
		if (g->to_server)
			opened(s, f, g);
		return;
	}
	if (!f && !g->to_server && g->len)
		f = add_flow(s, g);
	if (!f || f->ended)
		return;
	if (g->len && g->to_server)
		from_client(s, f, g);
	else if (g->len)
		from_server(s, f, g);
	rq = current(s, f);
	/* a reply that is given only when the client has said that it is done is none that a replay gets */
	if (g->flags & TH_RST || (g->flags & TH_FIN && (!g->to_server || (rq && !rq->replied))))
		f->ended = true;
}
