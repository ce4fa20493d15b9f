// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests of a workload: packets are put together to connections and cut into requests, what is recorded survives its message and nothing else is taken
 * for one. (For real: replay_live.c.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf/replay_parts.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/memfd.h"

/* --- packets from a table --- */

#define CLIENT 40000
#define SERVER 6379

/* IPv4 without options, and one more word of TCP options. */
static size_t packet(uint8_t *p, bool to_server, uint32_t seq, uint32_t ack, uint8_t flags, const char *data, size_t n)
{
	uint16_t len = htons((uint16_t)(44 + n)), from = htons(to_server ? CLIENT : SERVER), to = htons(to_server ? SERVER : CLIENT);
	uint32_t s = htonl(seq), a = htonl(ack);

	memset(p, 0, 44);
	p[0] = 0x45;
	memcpy(p + 2, &len, 2);
	p[9] = IPPROTO_TCP;
	memcpy(p + 12, to_server ? "\x0a\0\0\2" : "\x0a\0\0\1", 4);
	memcpy(p + 16, to_server ? "\x0a\0\0\1" : "\x0a\0\0\2", 4);
	memcpy(p + 20, &from, 2);
	memcpy(p + 22, &to, 2);
	memcpy(p + 24, &s, 4);
	memcpy(p + 28, &a, 4);
	p[32] = 6 << 4;
	p[33] = flags;
	memcpy(p + 44, data, n);
	return 44 + n;
}

static struct kho_streams *s;
static uint64_t clock_ns;

/* A segment each microsecond. */
static void send_flags(bool to_server, uint32_t seq, uint32_t ack, uint8_t flags, const char *text)
{
	uint8_t p[256];
	size_t n = packet(p, to_server, seq, ack, flags, text, strlen(text));
	struct kho_segment g;

	assert_true(kho_segment_parse(p, n, to_server, &g));
	g.ns = clock_ns += 1000;
	kho_streams_add(s, &g);
}

static void client(uint32_t seq, const char *text)
{
	send_flags(true, seq, 0, TH_ACK, text);
}

static void server(uint32_t seq, uint32_t ack, const char *text)
{
	send_flags(false, seq, ack, TH_ACK, text);
}

static int begin(void **state)
{
	(void)state;
	clock_ns = 1000000;
	s = kho_streams_new(true, clock_ns, NULL);
	return !s;
}

static int end(void **state)
{
	(void)state;
	kho_streams_free(s);
	return 0;
}

static void assert_request(size_t i, const char *text, uint64_t reply_bytes, uint64_t reply_ns)
{
	char got[64] = "";

	assert_true(i < s->nrq && s->rq[i].bytes == strlen(text));
	kho_streams_copy(s, &s->rq[i], (uint8_t *)got);
	assert_string_equal(got, text);
	assert_int_equal(s->rq[i].reply_bytes, reply_bytes);
	assert_int_equal(s->rq[i].reply_ns, reply_ns);
	assert_int_equal(s->rq[i].replied, reply_bytes > 0);
}

/* What comes twice or overlaps counts once; a request ends with the reply, and numbers go round. */
static void reassembly(void **state)
{
	uint32_t c = 0xfffffffb, r = 0xfffffffe;
	struct kho_hist h = { 0 };

	(void)state;
	send_flags(true, c - 1, 0, TH_SYN, "");
	send_flags(true, c - 1, 0, TH_SYN, "");
	send_flags(false, r - 1, c, TH_SYN | TH_ACK, "");
	client(c, "GET ");
	client(c, "GET ");
	client(c + 2, "T key");
	client(c - 1, "x"); /* asks whether it is still there */
	server(r, c + 7, "");
	server(r, c + 7, "value");
	server(r, c + 7, "value");
	server(r + 4, c + 7, "e of it");
	client(c + 7, "PING");
	server(r + 11, c + 11, "PONG");
	client(c + 11, "what has no reply");
	assert_int_equal(s->nflows, 1);
	assert_int_equal(s->nrq, 3);
	assert_request(0, "GET key", 11, 3000);
	assert_request(1, "PING", 4, 1000);
	assert_request(2, "what has no reply", 0, 0);
	assert_int_equal(s->rq[0].at_ns, 1000000 + 4000);
	kho_streams_times(s, &h);
	assert_int_equal(kho_hist_count(&h), 2);
	/* the same numbers, but another connection */
	send_flags(true, c + 1000, 0, TH_SYN, "");
	assert_int_equal(s->nflows, 2);
	client(c + 1001, "A");
	send_flags(false, 5, c + 1002, TH_ACK | TH_FIN, "B");
	client(c + 1002, "too late");
	assert_int_equal(s->nrq, 4);
	assert_request(3, "A", 1, 1000);
}

/* One that was there begins behind a reply, at what follows all that the server has. */
static void in_the_middle(void **state)
{
	(void)state;
	client(100, "half a request");
	server(500, 114, "");
	assert_int_equal(s->nflows, 0);
	server(500, 114, "reply");
	client(100, "half a request"); /* once more */
	client(120, "not the next one");
	assert_int_equal(s->nrq, 0);
	client(114, "next");
	server(505, 118, "ok");
	assert_int_equal(s->nrq, 1);
	assert_request(0, "next", 2, 1000);
	assert_false(s->flow[0].begun);
}

static void gaps(void **state)
{
	(void)state;
	send_flags(true, 99, 0, TH_SYN, "");
	client(100, "a");
	server(1, 101, "A");
	client(102, "c");
	server(2, 103, "C");
	client(101, "b");
	assert_true(s->flow[0].cut && s->flow[0].ended);
	assert_int_equal(s->nrq, 1);
	/* of a reply, too: what is behind it may be of another request */
	send_flags(true, 1000, 0, TH_SYN, "");
	client(1001, "a");
	server(10, 1002, "A");
	client(1002, "b");
	server(12, 1003, "B");
	assert_true(s->flow[1].cut);
	assert_request(2, "b", 0, 0);
}

/* A server may speak first; one that waits for the client's end cannot be asked again; TLS cannot be replayed. */
static void odd_ones(void **state)
{
	(void)state;
	send_flags(true, 99, 0, TH_SYN, "");
	server(1, 100, "220 hello");
	client(100, "QUIT");
	send_flags(true, 104, 10, TH_FIN | TH_ACK, "");
	server(10, 105, "221 bye");
	assert_request(0, "", 9, 0);
	assert_request(1, "QUIT", 0, 0);
	send_flags(true, 999, 0, TH_SYN, "");
	client(1000, "\x16\x03\x01 hello");
	server(1, 1010, "hello");
	assert_true(s->flow[1].tls && s->flow[1].ended);
	send_flags(true, 1999, 0, TH_SYN, "");
	client(2000, "STARTTLS");
	server(1, 2008, "ok");
	client(2008, "\x17\x03\x03 data");
	assert_true(s->flow[2].tls);
	assert_int_equal(s->nrq, 3);
	/* 0x16 alone is a length like any other */
	send_flags(true, 2999, 0, TH_SYN, "");
	client(3000, "\x16\x05 data");
	assert_false(s->flow[3].tls);
}

static void limits(void **state)
{
	struct kho_segment g;
	uint8_t p[64];

	(void)state;
	for (uint32_t i = 0; i < KHO_REPLAY_CONNS; i++)
		send_flags(true, i * 1000, 0, TH_SYN, "");
	assert_int_equal(s->nflows, KHO_REPLAY_CONNS);
	assert_false(s->more);
	assert_true(kho_segment_parse(p, packet(p, true, 1, 0, TH_SYN, "", 0), true, &g));
	g.client.port++;
	kho_streams_add(s, &g);
	assert_true(s->more && !s->full && s->nflows == KHO_REPLAY_CONNS);
	for (uint32_t i = 0, seq = (KHO_REPLAY_CONNS - 1) * 1000 + 1; i < KHO_REPLAY_REQUESTS + 1; i++) {
		client(seq + i, "a");
		server(1 + i, seq + i + 1, "A");
	}
	assert_int_equal(s->nrq, KHO_REPLAY_REQUESTS);
	assert_true(s->full);
}

/* What is no TCP segment, or not all of one. */
static void no_packets(void **state)
{
	uint8_t p[128], v6[80] = { 0x60, [5] = 21, [6] = IPPROTO_TCP, [40] = CLIENT >> 8, CLIENT & 255, SERVER >> 8, SERVER & 255, [52] = 5 << 4, [60] = 'x' };
	struct kho_segment g;
	size_t n;

	(void)state;
	for (size_t cut = 0; cut < 44; cut++) {
		n = packet(p, true, 1, 1, TH_ACK, "data", 4);
		assert_false(kho_segment_parse(p, cut, true, &g));
	}
	assert_true(kho_segment_parse(p, 45, true, &g));
	assert_true(g.len == 4 && g.have == 1);
	/* a short frame is filled up */
	assert_true(kho_segment_parse(p, n + 10, true, &g));
	assert_true(g.len == 4 && g.have == 4 && g.server.port == SERVER && g.client.port == CLIENT && g.server.a[3] == 1);
	p[7] = 8; /* a later fragment */
	assert_false(kho_segment_parse(p, n, true, &g));
	p[7] = 0;
	p[9] = IPPROTO_UDP;
	assert_false(kho_segment_parse(p, n, true, &g));
	p[9] = IPPROTO_TCP;
	p[32] = 15 << 4; /* a header longer than all of it */
	assert_false(kho_segment_parse(p, n, true, &g));
	assert_true(kho_segment_parse(v6, 61, true, &g));
	assert_true(g.server.family == 6 && g.server.port == SERVER && g.len == 1 && g.data[0] == 'x');
	v6[6] = 0; /* a further header */
	assert_false(kho_segment_parse(v6, 61, true, &g));
}

/* --- the message --- */

static void fill_two(void)
{
	send_flags(true, 99, 0, TH_SYN, "");
	client(100, "first");
	server(1, 105, "A");
	client(105, "second");
	server(2, 111, "BB");
	client(111, "never");
	send_flags(true, 999, 0, TH_SYN, "");
	client(1000, "\x16\x03\x01 hello");
}

static void message(void **state)
{
	struct kho_replay_recorded out = KHO_REPLAY_RECORDED_INIT;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_replay r;

	(void)state;
	fill_two();
	assert_int_equal(kho_replay_pack(s, 4711, &out, &err), 0);
	assert_true(out.fd >= 0 && out.conns == 1 && out.requests == 2);
	assert_int_equal(kho_replay_parse(out.message, out.len, &r, &err), 0);
	assert_true(r.n == 1 && r.us == 4711 && r.conn[0].n == 2 && r.conn[0].begun);
	assert_true(r.conn[0].server.family == 4 && r.conn[0].server.port == SERVER && r.conn[0].server.a[0] == 10 && r.conn[0].server.a[3] == 1);
	assert_true(r.conn[0].rq[1].bytes == 6 && !memcmp(r.conn[0].rq[1].data, "second", 6));
	assert_true(r.conn[0].rq[1].reply_bytes == 2 && r.conn[0].rq[1].reply_ns == 1000 && r.conn[0].rq[1].at_us == 4);
	kho_replay_done(&r);
	/* each way to be cut, each bit that is another: not read, or read within its bounds */
	for (size_t n = 0; n < out.len; n++)
		assert_int_equal(kho_replay_parse(out.message, n, &r, &err), -EPROTO);
	for (size_t bit = 0; bit < out.len * 8; bit++) {
		out.message[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (kho_replay_parse(out.message, out.len, &r, &err) == 0)
			for (size_t i = 0; i < r.conn[0].n; i++)
				assert_true(r.conn[0].rq[i].data + r.conn[0].rq[i].bytes <= out.message + out.len);
		kho_replay_done(&r);
		out.message[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	kho_replay_recorded_done(&out);
	assert_true(out.fd == -1 && !out.message && out.requests == 2);
}

/* Nothing to send is no message. */
static void no_message(void **state)
{
	struct kho_replay_recorded out = KHO_REPLAY_RECORDED_INIT;

	(void)state;
	send_flags(true, 99, 0, TH_SYN, "");
	client(100, "never");
	assert_int_equal(kho_replay_pack(s, 4711, &out, NULL), 0);
	assert_true(out.fd == -1 && !out.requests && !out.conns);
}

static void listeners(void **state)
{
	static const char tcp[] = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
				  "   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n"
				  "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0\n"
				  "   2: 0100007F:18EB 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0\n";
	static const char tcp6[] = "  sl\n"
				   "   0: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 13 1\n"
				   "   1: 00000000000000000000000001000000:18EB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 11 1\n"
				   "   2: short:18EB 0:0 0A 0:0 00:0 0 0 0 11 1\n";
	static const uint64_t inodes[] = { 11, 13 };
	struct kho_replay_listeners l = { 0 };
	char text[KHO_REPLAY_ADDRESS_TEXT];

	(void)state;
	assert_int_equal(kho_replay_listeners_parse(tcp, 4, inodes, 2, &l, NULL), 0);
	assert_int_equal(kho_replay_listeners_parse(tcp6, 6, inodes, 2, &l, NULL), 0);
	assert_int_equal(l.n, 3);
	assert_int_equal(l.nports, 2);
	assert_string_equal(kho_replay_address_text(&l.a[0], text), "127.0.0.1:6379");
	assert_string_equal(kho_replay_address_text(&l.a[1], text), "127.0.0.1:8080");
	assert_string_equal(kho_replay_address_text(&l.a[2], text), "[::1]:6379");
	for (uint16_t i = 0; i < KHO_REPLAY_PORTS - 2; i++)
		assert_int_equal(kho_replay_listeners_add(&l, &(struct kho_replay_address){ .family = 4, .port = 100 + i }, NULL), 0);
	assert_int_equal(kho_replay_listeners_add(&l, &(struct kho_replay_address){ .family = 4, .port = 1 }, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reassembly, begin, end),
		cmocka_unit_test_setup_teardown(in_the_middle, begin, end),
		cmocka_unit_test_setup_teardown(gaps, begin, end),
		cmocka_unit_test_setup_teardown(odd_ones, begin, end),
		cmocka_unit_test_setup_teardown(limits, begin, end),
		cmocka_unit_test_setup_teardown(message, begin, end),
		cmocka_unit_test_setup_teardown(no_message, begin, end),
		cmocka_unit_test(no_packets),
		cmocka_unit_test(listeners),
	};

	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
