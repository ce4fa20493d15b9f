// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sides of the link that misbehave: agents of another revision, that send rubbish,
 * stop in the middle, or die during a transfer; a peer that breaks the rules.
 */
#include "tests/unit/link_file.h"

/* --- an agent played by the test --- */

struct fake {
	struct kho_stream s;
	uint32_t min, max;
	unsigned replies; /* then `then` */
	enum { STOP, DIE, HALF, RUBBISH } then;
};

#define LATE_US 15000000ull /* how long a loaded machine may take; less than what is waited for where nothing comes */

static void fake_send(struct fake *f, KhoLink__Msg__BodyCase body, void *sub, uint64_t seq)
{
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	struct kho_err err;

	m.seq = seq;
	m.body_case = body;
	m.hello = sub; /* all members of the union are pointers */
	if (kho_stream_send(&f->s, &m, 0, in_ms(1000), &err))
		fail_msg("%s", err.msg);
}

static void fake_end(struct fake *f)
{
	struct kho_frame_head h = { KHO_FRAME_MAGIC, KHO_FRAME_FIRST, 0, 5000 };
	uint8_t frame[100] = { 0 };

	memcpy(frame, &h, sizeof(h));
	if (f->then == HALF)
		(void)!write(f->s.t.fd, frame, sizeof(frame));
	else if (f->then == RUBBISH)
		(void)!write(f->s.t.fd, "rubbish, not a frame", 20);
	else if (f->then == DIE)
		shutdown(f->s.t.fd, SHUT_RDWR);
}

static void *fake_agent(void *arg)
{
	struct fake *f = arg;
	KhoLink__Reply r = KHO_LINK__REPLY__INIT;
	KhoLink__Hello h = KHO_LINK__HELLO__INIT;
	struct kho_err err = KHO_ERR_INIT;
	KhoLink__Msg *m = NULL;
	unsigned flags;

	h.revision_min = f->min;
	h.revision_max = f->max;
	while (kho_stream_recv(&f->s, -1, 0, &m, &flags, &err) == 1) {
		if (m->body_case == KHO_LINK__MSG__BODY_KNOCK)
			fake_send(f, KHO_LINK__MSG__BODY_HELLO, &h, 0);
		else if (m->body_case == KHO_LINK__MSG__BODY_BYE)
			logf_("bye(%s) ", m->bye->text);
		else if (m->seq && f->replies && f->replies--)
			fake_send(f, KHO_LINK__MSG__BODY_REPLY, &r, m->seq);
		if (m->seq && !f->replies) {
			fake_end(f);
			f->then = STOP;
		}
		kho_msg_free(m);
	}
	return NULL;
}

static struct fake fake;

static int start_fake(uint32_t min, uint32_t max, unsigned replies, int then, struct kho_err *err)
{
	struct kho_transport t;

	fake = (struct fake){ .min = min, .max = max, .replies = replies, .then = then };
	kho_transport_socket(&t, fx.fds[1]);
	assert_int_equal(kho_stream_init(&fake.s, &t, false, err), 0);
	pthread_create(&fx.agent, NULL, fake_agent, &fake);
	return connect_peer(err);
}

static void stop_fake(void)
{
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	pthread_join(fx.agent, NULL);
	kho_stream_done(&fake.s);
}

static void other_revision(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(start_fake(7, 9, 100, STOP, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.msg, "the peer's 7 to 9"));
	stop_fake();
	expect_log("bye(the two sides share no revision");
}

static void newer_agent(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(start_fake(1, 9, 100, STOP, &err), 0);
	assert_int_equal(fx.peer->revision, KHO_LINK_REVISION);
	stop_fake();
}

static void no_agent(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_transport t;
	uint64_t begin = kho_clock_us();

	(void)state;
	kho_transport_socket(&t, fx.fds[0]);
	fx.fds[0] = -1;
	assert_int_equal(kho_peer_connect_on(&fx.peer, &t, fx.bulk, BULK, &fx.setup, in_ms(700),
					     &err),
			 -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "not said hello"));
	assert_in_range(kho_clock_us() - begin, 690000, LATE_US);
	fx.peer = NULL;
	close(fx.fds[1]);
}

/* Every later call gives the same error, long before its own deadline. */
static void expect_dead(int code, const char *text)
{
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();

	assert_int_equal(kho_peer_echo(fx.peer, NULL, NULL, in_ms(20000), &err), code);
	if (!strstr(err.msg, text))
		fail_msg("'%s' does not say '%s'", err.msg, text);
	assert_true(kho_clock_us() - begin < LATE_US);
}

static void sends_rubbish(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(start_fake(1, 1, 2, RUBBISH, &err), 0);
	assert_int_equal(kho_peer_cpu(fx.peer, 1, true, in_ms(5000), &err), 0);
	assert_int_equal(kho_peer_cpu(fx.peer, 1, true, in_ms(5000), &err), -EPROTO);
	expect_dead(-EPROTO, "bad head");
	stop_fake();
	expect_log("bye(peer sent a frame with a bad head");
}

static void stops_in_message(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();

	(void)state;
	assert_int_equal(start_fake(1, 1, 1, HALF, &err), 0);
	assert_int_equal(kho_peer_cpu(fx.peer, 1, true, in_ms(20000), &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "middle of a message (92 of 5000"));
	assert_in_range(kho_clock_us() - begin, KHO_STALL_US - 1000, LATE_US);
	expect_dead(-ETIMEDOUT, "middle of a message");
	stop_fake();
}

static void dies_in_transfer(void **state)
{
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	make_file("big", 30 << 20, 0, 0);
	assert_int_equal(start_fake(1, 1, 5, DIE, &err), 0);
	assert_int_equal(put("big", "big", 20000, &err), -EPIPE);
	expect_dead(-EPIPE, "gone");
	stop_fake();
}

static void stops_in_transfer(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();

	(void)state;
	make_file("big", 30 << 20, 0, 0);
	assert_int_equal(start_fake(1, 1, 5, STOP, &err), 0);
	fx.peer->silent_us = 3000000;
	assert_int_equal(put("big", "big", 2000, &err), -ETIMEDOUT);
	assert_in_range(kho_clock_us() - begin, 1990000, LATE_US);
	/* slots that the agent may still read are not used again */
	assert_int_equal(fx.peer->nfree, fx.peer->nslots - KHO_FLIGHT_MAX);
	expect_dead(-EPIPE, "silent for");
	expect_dead(-EPIPE, "silent for");
	stop_fake();
}

/* A call may wait for minutes, but not for an agent that does not even answer an echo. */
static void falls_silent(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	uint64_t begin = kho_clock_us();

	(void)state;
	assert_int_equal(start_fake(1, 1, 2, STOP, &err), 0);
	fx.peer->quiet_us = 300000;
	fx.peer->silent_us = 500000;
	assert_int_equal(kho_peer_cpu(fx.peer, 1, true, in_ms(5000), &err), 0);
	assert_false(kho_peer_lost(fx.peer, NULL));
	assert_int_equal(kho_peer_cpu(fx.peer, 1, true, in_ms(60000), &err), -EPIPE);
	assert_non_null(strstr(err.msg, "silent for"));
	assert_in_range(kho_clock_us() - begin, 800000, LATE_US);
	err = (struct kho_err)KHO_ERR_INIT;
	assert_true(kho_peer_lost(fx.peer, &err));
	assert_non_null(strstr(err.msg, "silent for"));
	expect_dead(-EPIPE, "silent for");
	stop_fake();
}

/* --- a peer played by the test --- */

static struct kho_stream raw_connect(void)
{
	KhoLink__Knock k = KHO_LINK__KNOCK__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_transport t;
	struct kho_stream s;

	kho_transport_socket(&t, fx.fds[0]);
	fx.fds[0] = -1;
	assert_int_equal(kho_stream_init(&s, &t, false, &err), 0);
	k.revision_min = k.revision_max = 1;
	m.body_case = KHO_LINK__MSG__BODY_KNOCK;
	m.knock = &k;
	assert_int_equal(kho_stream_send(&s, &m, KHO_FRAME_RESET, in_ms(1000), &err), 0);
	return s;
}

/* The next message of this kind; others are skipped. */
static KhoLink__Msg *next(struct kho_stream *s, KhoLink__Msg__BodyCase body)
{
	struct kho_err err = KHO_ERR_INIT;
	KhoLink__Msg *m = NULL;
	unsigned flags;

	for (;;) {
		int ret = kho_stream_recv(s, -1, in_ms(5000), &m, &flags, &err);

		if (ret != 1)
			fail_msg("no message: %d %s", ret, err.msg);
		if (m->body_case == body)
			return m;
		kho_msg_free(m);
	}
}

static void ask(struct kho_stream *s, const uint8_t *msg, size_t len)
{
	struct kho_frame_head h = { KHO_FRAME_MAGIC, KHO_FRAME_FIRST | KHO_FRAME_LAST, 0, len };
	uint8_t frame[200];

	memcpy(frame, &h, sizeof(h));
	memcpy(frame + sizeof(h), msg, len);
	assert_int_equal(send(s->t.fd, frame, sizeof(h) + len, 0), sizeof(h) + len);
}

static void expect_reply(struct kho_stream *s, uint64_t seq, int code, const char *text)
{
	KhoLink__Msg *m = next(s, KHO_LINK__MSG__BODY_REPLY);

	assert_int_equal(m->seq, seq);
	assert_int_equal(m->reply->error, code);
	if (!strstr(m->reply->text, text))
		fail_msg("'%s' does not say '%s'", m->reply->text, text);
	kho_msg_free(m);
}

static void strange_requests(void **state)
{
	/*
	 * seq 5 and field 99 (a message with one field): a kind of request that comes with a later
	 * revision
	 */
	static const uint8_t unknown[] = { 0x08, 5, 0x9a, 0x06, 2, 0x08, 1 };
	/* seq 6 and field 17 (op), empty */
	static const uint8_t op[] = { 0x08, 6, 0x8a, 0x01, 0 };
	static const uint8_t broken[] = { 0x08, 7, 0x8a, 0x01, 77 };
	struct kho_stream s;
	KhoLink__Msg *m;

	(void)state;
	start_agent();
	s = raw_connect();
	m = next(&s, KHO_LINK__MSG__BODY_HELLO);
	assert_string_equal(m->hello->release, "7.3.4-test");
	kho_msg_free(m);
	ask(&s, unknown, sizeof(unknown));
	expect_reply(&s, 5, -ENOSYS, "knows no request of this kind");
	ask(&s, op, sizeof(op));
	expect_reply(&s, 6, -ENOTCONN, "before setup");
	ask(&s, broken, sizeof(broken));
	m = next(&s, KHO_LINK__MSG__BODY_BYE);
	assert_int_equal(m->bye->error, -EPROTO);
	assert_non_null(strstr(m->bye->text, "no message of the link"));
	kho_msg_free(m);
	/* the session is over: nothing is answered until somebody knocks again */
	ask(&s, unknown, sizeof(unknown));
	fx.fds[0] = dup(s.t.fd);
	kho_stream_done(&s);
	s = raw_connect();
	kho_msg_free(next(&s, KHO_LINK__MSG__BODY_HELLO));
	ask(&s, unknown, sizeof(unknown));
	expect_reply(&s, 5, -ENOSYS, "");
	kho_stream_done(&s);
}

/*
 * The process on the outgoing side was killed in the middle of everything; the next one can
 * connect.
 */
static void second_process(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_frame_head h = { KHO_FRAME_MAGIC, KHO_FRAME_FIRST, 0, 5000 };
	uint8_t frame[100] = { 0 };
	struct kho_stream s;

	(void)state;
	make_file("big", 10 << 20, 0, 0);
	start_agent();
	s = raw_connect();
	memcpy(frame, &h, sizeof(h));
	assert_int_equal(send(s.t.fd, frame, sizeof(frame), 0), sizeof(frame));
	fx.fds[0] = dup(s.t.fd);
	kho_stream_done(&s);
	if (connect_peer(&err))
		fail_msg("%s", err.msg);
	assert_int_equal(put("big", "big", 10000, &err), 0);
	expect_same("big", "big");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(other_revision, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(newer_agent, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(no_agent, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(sends_rubbish, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(stops_in_message, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(dies_in_transfer, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(stops_in_transfer, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(falls_silent, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(strange_requests, setup_bare, teardown),
		cmocka_unit_test_setup_teardown(second_process, setup_bare, teardown),
	};

	return cmocka_run_group_tests_name("link_peer", tests, NULL, NULL);
}
