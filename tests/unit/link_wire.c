// SPDX-License-Identifier: GPL-2.0-only
/*
 * The link's framing: whole and cut messages, every rule a frame can break, a peer that stops,
 * names, sums, revisions.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "handover/link/wire.h"
#include "lib/clock.h"

struct pair {
	struct kho_stream a, b;
};

static int setup(void **state)
{
	static struct pair p;
	struct kho_transport t;
	struct kho_err err = KHO_ERR_INIT;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	kho_transport_socket(&t, sv[0]);
	t.frame_max = 1024;
	assert_int_equal(kho_stream_init(&p.a, &t, false, &err), 0);
	kho_transport_socket(&t, sv[1]);
	t.frame_max = 1024;
	assert_int_equal(kho_stream_init(&p.b, &t, false, &err), 0);
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	kho_stream_done(&p->a);
	kho_stream_done(&p->b);
	return 0;
}

static int send_echo(struct kho_stream *s, size_t len, unsigned flags)
{
	KhoLink__Echo e = KHO_LINK__ECHO__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	struct kho_err err = KHO_ERR_INIT;
	uint8_t *data = malloc(len + 1);
	int ret;

	for (size_t i = 0; i < len; i++)
		data[i] = i * 7;
	e.data.data = data;
	e.data.len = len;
	m.seq = 42;
	m.body_case = KHO_LINK__MSG__BODY_ECHO;
	m.echo = &e;
	ret = kho_stream_send(s, &m, flags, kho_clock_us() + 1000000, &err);
	free(data);
	return ret;
}

static void expect_echo(struct kho_stream *s, size_t len)
{
	struct kho_err err = KHO_ERR_INIT;
	KhoLink__Msg *m = NULL;
	unsigned flags;

	assert_int_equal(kho_stream_recv(s, -1, kho_clock_us() + 1000000, &m, &flags, &err), 1);
	assert_int_equal(m->seq, 42);
	assert_string_equal(kho_msg_name(m), "echo");
	assert_int_equal(m->echo->data.len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(m->echo->data.data[i], (uint8_t)(i * 7));
	kho_msg_free(m);
}

static void whole_and_cut(void **state)
{
	static const size_t sizes[] = { 0, 1, 900, 1008, 1016, 1017, 5000, 60000 };
	struct pair *p = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(send_echo(&p->a, sizes[i], 0), 0);
		expect_echo(&p->b, sizes[i]);
	}
}

static void raw(struct pair *p, uint8_t magic, uint8_t flags, uint16_t pad, uint32_t total,
		size_t body)
{
	struct kho_frame_head h = { magic, flags, pad, total };
	uint8_t buf[1024] = { 0 };

	memcpy(buf, &h, sizeof(h));
	assert_int_equal(send(p->a.t.fd, buf, sizeof(h) + body, 0), sizeof(h) + body);
}

static void expect_error(struct pair *p, int code, const char *text)
{
	struct kho_err err = KHO_ERR_INIT;
	KhoLink__Msg *m = NULL;
	unsigned flags;

	assert_int_equal(kho_stream_recv(&p->b, -1, 0, &m, &flags, &err), code);
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, text))
		fail_msg("'%s' does not say '%s'", err.msg, text);
	kho_stream_resync(&p->b);
	p->b.synced = true;
}

static void broken_frames(void **state)
{
	const uint8_t k = KHO_FRAME_MAGIC, first = KHO_FRAME_FIRST, last = KHO_FRAME_LAST,
		      both = first | last;
	struct pair *p = *state;

	raw(p, 0x21, both, 0, 10, 10);
	expect_error(p, -EPROTO, "bad head");
	raw(p, k, both | 0x80, 0, 10, 10);
	expect_error(p, -EPROTO, "bad head");
	raw(p, k, both, 1, 10, 10);
	expect_error(p, -EPROTO, "bad head");
	raw(p, k, both, 0, KHO_MSG_MAX + 1, 10);
	expect_error(p, -EPROTO, "announced");
	raw(p, k, last, 0, 10, 10);
	expect_error(p, -EPROTO, "had not begun");
	raw(p, k, both, 0, 10, 11);
	expect_error(p, -EPROTO, "more than");
	raw(p, k, both, 0, 10, 9);
	expect_error(p, -EPROTO, "ended a message");
	raw(p, k, first, 0, 10, 10);
	expect_error(p, -EPROTO, "ended a message");
	raw(p, k, both, 0, 10, 0);
	expect_error(p, -EPROTO, "too short");
	raw(p, k, first, 0, 30, 10);
	raw(p, k, first, 0, 30, 10);
	expect_error(p, -EPROTO, "inside another");
	raw(p, k, first, 0, 30, 10);
	raw(p, k, 0, 0, 31, 10);
	expect_error(p, -EPROTO, "changed a message's length");
	raw(p, k, both, 0, 10, 10);
	expect_error(p, -EPROTO, "no message");
	assert_int_equal(send_echo(&p->a, 5, 0), 0);
	expect_echo(&p->b, 5);
}

static void stops_in_the_middle(void **state)
{
	struct pair *p = *state;
	uint64_t begin = kho_clock_us();

	raw(p, KHO_FRAME_MAGIC, KHO_FRAME_FIRST, 0, 100, 10);
	expect_error(p, -ETIMEDOUT, "middle of a message (10 of 100");
	assert_in_range(kho_clock_us() - begin, KHO_STALL_US - 1000, 15000000) /* or a loaded machine */;
}

static void reset_drops_the_rest(void **state)
{
	struct pair *p = *state;

	raw(p, KHO_FRAME_MAGIC, KHO_FRAME_FIRST, 0, 100, 10);
	assert_int_equal(send_echo(&p->a, 3000, KHO_FRAME_RESET), 0);
	expect_echo(&p->b, 3000);
	kho_stream_resync(&p->b);
	raw(p, KHO_FRAME_MAGIC, 0, 0, 100, 10);
	raw(p, KHO_FRAME_MAGIC, KHO_FRAME_LAST, 0, 100, 10);
	assert_int_equal(send_echo(&p->a, 9, 0), 0);
	expect_echo(&p->b, 9);
}

/* A copy of the sender's process goes on where that may have been in the middle of a message: only its first one says so. */
static void inherited(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct pair *p = *state;
	KhoLink__Msg *m = NULL;
	unsigned flags;

	raw(p, KHO_FRAME_MAGIC, KHO_FRAME_FIRST, 0, 3000, 1000);
	kho_stream_inherit(&p->a);
	for (int first = 1; first >= 0; first--) {
		assert_int_equal(send_echo(&p->a, 10, 0), 0);
		assert_int_equal(kho_stream_recv(&p->b, -1, kho_clock_us() + 1000000, &m, &flags, &err), 1);
		assert_int_equal(!!(flags & KHO_FRAME_RESET), first);
		kho_msg_free(m);
	}
}

static void full_ring(void **state)
{
	struct pair *p = *state;
	struct kho_err err = KHO_ERR_INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	KhoLink__Echo e = KHO_LINK__ECHO__INIT;
	int ret;

	m.body_case = KHO_LINK__MSG__BODY_ECHO;
	m.echo = &e;
	do
		ret = kho_stream_send(&p->a, &m, 0, kho_clock_us() + 30000, &err);
	while (!ret);
	assert_int_equal(ret, -ETIMEDOUT);
	assert_false(p->a.torn);
	assert_int_equal(send_echo(&p->a, 20, 0), -ETIMEDOUT);
}

static void peer_gone(void **state)
{
	struct pair *p = *state;
	struct kho_err err = KHO_ERR_INIT;
	KhoLink__Msg *m = NULL;
	unsigned flags;

	shutdown(p->a.t.fd, SHUT_RDWR);
	assert_int_equal(kho_stream_recv(&p->b, -1, 0, &m, &flags, &err), 0);
	assert_int_equal(send_echo(&p->b, 1, 0), -EPIPE);
}

static void names(void **state)
{
	static const char *const good[] = { "a", "redis/pages-1.img", "...", "a/..b", ".x", "a b" };
	static const char *const bad[] = { "",	   "/",	     "/etc/passwd", "..",   ".",
					   "a/..", "a/../b", "../a",	    "a//b", "a/",
					   "./a",  "a\nb",   "a\x7f" };
	struct kho_err err = KHO_ERR_INIT;
	char longer[1200];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(kho_link_name_ok(good[i], &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(kho_link_name_ok(bad[i], &err), -EINVAL);
	memset(longer, 'a', sizeof(longer));
	longer[201] = '\0';
	assert_int_equal(kho_link_name_ok(longer, &err), -EINVAL);
	longer[200] = '\0';
	assert_int_equal(kho_link_name_ok(longer, &err), 0);
	for (size_t i = 0; i < sizeof(longer); i++)
		longer[i] = i % 2 ? '/' : 'a';
	longer[1001] = '\0';
	assert_int_equal(kho_link_name_ok(longer, &err), -EINVAL);
}

static void revisions(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_link_agree(1, 3, 2, 5, &err), 3);
	assert_int_equal(kho_link_agree(2, 5, 1, 2, &err), 2);
	assert_int_equal(kho_link_agree(1, 1, 2, 5, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.msg, "ours 1 to 1, the peer's 2 to 5"));
	assert_int_equal(kho_link_agree(0, 1, 0, 0, &err), -EPROTONOSUPPORT);
}

static void sums(void **state)
{
	uint8_t a[100] = { 0 }, b[100] = { 0 };

	(void)state;
	assert_int_equal(kho_sum64(a, 100), kho_sum64(b, 100));
	assert_int_not_equal(kho_sum64(a, 99), kho_sum64(a, 100));
	for (size_t i = 0; i < sizeof(b); i++) {
		b[i] = 1;
		assert_int_not_equal(kho_sum64(a, 100), kho_sum64(b, 100));
		b[i] = 0;
	}
	memset(a, 1, 8);
	memset(b + 32, 1, 8);
	assert_int_not_equal(kho_sum64(a, 100), kho_sum64(b, 100));
	assert_int_equal(kho_digest_add(kho_digest_add(0, 0, 5, 7), 5, 6, 8),
			 kho_digest_add(kho_digest_add(0, 5, 6, 8), 0, 5, 7));
	assert_int_not_equal(kho_digest_add(0, 0, 5, 7), kho_digest_add(0, 1, 5, 7));
}

static void fuzz_target(void **state)
{
	uint8_t data[600];

	(void)state;
	for (unsigned seed = 1; seed < 3000; seed++) {
		unsigned x = seed;
		struct kho_frame_head h = { KHO_FRAME_MAGIC, KHO_FRAME_FIRST | KHO_FRAME_LAST, 0,
					    0 };

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = (x = x * 1103515245 + 12345) >> 16;
		h.total = seed % 300 + 1;
		data[0] = (h.total + sizeof(h)) & 0xff;
		data[1] = (h.total + sizeof(h)) >> 8;
		if (seed % 2)
			memcpy(data + 2, &h, sizeof(h));
		assert_int_equal(kho_link_fuzz_one(data, sizeof(data)), 0);
	}
}

/* Names are those of link.proto, each found again; what is no body is none. */
static void message_names(void **state)
{
	const char *const *all = kho_msg_names();
	size_t n = 0;

	(void)state;
	for (; all[n]; n++)
		assert_int_not_equal(kho_msg_find(all[n]), KHO_LINK__MSG__BODY__NOT_SET);
	assert_true(n >= 21);
	assert_string_equal(all[0], "knock");
	assert_int_equal(kho_msg_find("op"), KHO_LINK__MSG__BODY_OP);
	assert_int_equal(kho_msg_find("seq"), KHO_LINK__MSG__BODY__NOT_SET);
	assert_int_equal(kho_msg_find("deadline_us"), KHO_LINK__MSG__BODY__NOT_SET);
	assert_int_equal(kho_msg_find("nothing"), KHO_LINK__MSG__BODY__NOT_SET);
}

static void seen(void **state)
{
	const uint64_t base = 1ull << 40;
	struct kho_seen s = { 0 };

	(void)state;
	assert_true(kho_seen_first(&s, base));
	assert_false(kho_seen_first(&s, base));
	/* a little out of order, then far ahead, where an old number's place is free again */
	assert_true(kho_seen_first(&s, base + 3));
	assert_true(kho_seen_first(&s, base + 1));
	assert_true(kho_seen_first(&s, base - 1));
	assert_false(kho_seen_first(&s, base + 3));
	assert_true(kho_seen_first(&s, base + KHO_SEEN_WINDOW));
	assert_false(kho_seen_first(&s, base)); /* out of the window */
	assert_false(kho_seen_first(&s, base + 1));
	assert_true(kho_seen_first(&s, base + 2));
	assert_false(kho_seen_first(&s, base + 2));
	for (uint64_t i = 4; i < KHO_SEEN_WINDOW; i++)
		assert_true(kho_seen_first(&s, base + i));
	for (uint64_t i = KHO_SEEN_WINDOW + 1; i < 3 * KHO_SEEN_WINDOW; i++) {
		assert_true(kho_seen_first(&s, base + i));
		assert_false(kho_seen_first(&s, base + i));
		assert_false(kho_seen_first(&s, base + i - KHO_SEEN_WINDOW / 2));
	}
	assert_true(kho_seen_first(&s, base * 2));
	assert_false(kho_seen_first(&s, base + 3 * KHO_SEEN_WINDOW - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_names),
		cmocka_unit_test(seen),
		cmocka_unit_test_setup_teardown(whole_and_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_frames, setup, teardown),
		cmocka_unit_test_setup_teardown(stops_in_the_middle, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_drops_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(inherited, setup, teardown),
		cmocka_unit_test_setup_teardown(full_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(peer_gone, setup, teardown),
		cmocka_unit_test(names),
		cmocka_unit_test(revisions),
		cmocka_unit_test(sums),
		cmocka_unit_test(fuzz_target),
	};

	return cmocka_run_group_tests_name("link_wire", tests, NULL, NULL);
}
