/* SPDX-License-Identifier: GPL-2.0-only */
/* The lab's line: whatever is in front of a frame, the frame is found; half of one does not hide the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/vm/frame.c"

static struct lab_rx rx;
static uint8_t data[LAB_DATA];
static struct lab_header h;

static void feed(const void *p, size_t n)
{
	assert_true(rx.n + n <= sizeof(rx.buf));
	memcpy(rx.buf + rx.n, p, n);
	rx.n += n;
}

static int empty(void **state)
{
	(void)state;
	rx.n = 0;
	return 0;
}

static void whole(void **state)
{
	uint8_t f[LAB_FRAME_MAX];
	size_t n = lab_frame(f, 7, 3, LAB_BYTES, "hello", 5);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(lab_next(&rx, &h, data), 0);
		feed(f + i, 1);
	}
	assert_int_equal(lab_next(&rx, &h, data), 1);
	assert_int_equal(h.epoch, 7);
	assert_int_equal(h.id, 3);
	assert_int_equal(h.type, LAB_BYTES);
	assert_int_equal(h.len, 5);
	assert_memory_equal(data, "hello", 5);
	assert_int_equal(rx.n, 0);
}

static void garbage(void **state)
{
	static const uint8_t zero[LAB_DATA];
	uint8_t f[LAB_FRAME_MAX], junk[3000];
	size_t n = lab_frame(f, 1, 1, LAB_EXIT, zero, LAB_DATA);

	(void)state;
	for (unsigned seed = 0; seed < 50; seed++) {
		srand(seed);
		for (size_t i = 0; i < sizeof(junk); i++)
			junk[i] = (uint8_t)(rand() % 4 ? rand() : "\x16KhL"[rand() % 4]);
		feed(junk, sizeof(junk));
		feed(f, n);
		feed(junk, LAB_FRAME_MAX);	/* what a false header in the junk may wait for */
		assert_int_equal(lab_next(&rx, &h, data), 1);
		assert_int_equal(h.type, LAB_EXIT);
		rx.n = 0;
	}
}

static void half_a_frame_then_another_agent(void **state)
{
	static const uint8_t zero[LAB_FRAME_MAX];
	uint8_t f[LAB_FRAME_MAX];

	(void)state;
	for (size_t cut = 1; cut < sizeof(f); cut += 7) {
		size_t m;

		rx.n = 0;
		lab_frame(f, 1, 9, LAB_BYTES, zero, LAB_DATA);
		feed(f, cut);
		feed(zero, sizeof(zero));
		m = lab_frame(f, 2, 0, LAB_BOOT, "7.x", 3);
		feed(f, m);
		do
			assert_int_equal(lab_next(&rx, &h, data), 1);
		while (h.epoch == 1);	/* zeros may complete a frame of zeros: that one is whole */
		assert_int_equal(h.epoch, 2);
		assert_int_equal(h.type, LAB_BOOT);
	}
}

static void damaged(void **state)
{
	uint8_t f[LAB_FRAME_MAX];
	size_t n = lab_frame(f, 1, 1, LAB_BYTES, "abc", 3);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		rx.n = 0;
		f[i] ^= 0x10;
		feed(f, n);
		f[i] ^= 0x10;
		assert_int_equal(lab_next(&rx, &h, data), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(whole, empty),
		cmocka_unit_test_setup(garbage, empty),
		cmocka_unit_test_setup(half_a_frame_then_another_agent, empty),
		cmocka_unit_test_setup(damaged, empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
