// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which memory was written since its bits were cleared: lines of maps, memory that is shared, and real processes that write what the test knows.
 * A kernel that keeps no such bits must say so; with KHOCTL_MUST_DIRTY=1 (in the VM) it has to keep them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "state-serializers/proc/blocks.h"
#include "state-serializers/proc/dirty.h"
#include "state-serializers/proc/out.h"

static void areas(void **state)
{
	struct kho_dirty_area a;

	(void)state;
	assert_true(kho_dirty_area("7f12a4000000-7f12a4021000 rw-p 00000000 00:00 0 \n", &a));
	assert_true(a.start == 0x7f12a4000000 && a.end == 0x7f12a4021000 && a.kind == KHO_DIRTY_PRIVATE);
	assert_true(kho_dirty_area("55d0-65d0 rw-p 00000000 00:00 0", &a) == false); /* no whole pages */
	assert_true(kho_dirty_area("7f0000000000-7f0008a00000 rw-s 00001000 00:01 1029                       /dev/zero (deleted)\n", &a));
	assert_true(a.kind == KHO_DIRTY_SHARED && a.inode == 1029 && a.major == 0 && a.minor == 1 && a.pgoff == 0x1000);
	assert_true(kho_dirty_area("7f0000000000-7f0000001000 rw-s 00000000 00:01 5   /SYSV0052e2c1 (deleted)\n", &a) && a.kind == KHO_DIRTY_SHARED);
	assert_true(kho_dirty_area("7f0000000000-7f0000001000 rw-s 00000000 00:01 6   /memfd:x (deleted)\n", &a) && a.kind == KHO_DIRTY_SHARED);
	/* pages of a file are the file's; a private copy of one is the process's */
	assert_true(kho_dirty_area("7f0000000000-7f0000001000 rw-s 00000000 fe:02 77   /data/db\n", &a) && a.kind == KHO_DIRTY_NONE);
	assert_true(kho_dirty_area("7f0000000000-7f0000001000 rw-p 00003000 fe:02 77   /usr/lib/libc.so.6\n", &a) && a.kind == KHO_DIRTY_PRIVATE);
	assert_true(kho_dirty_area("55d000000000-55d000001000 rw-p 00000000 00:00 0   [heap]\n", &a) && a.kind == KHO_DIRTY_PRIVATE);
	assert_true(kho_dirty_area("7ffe00000000-7ffe00001000 rw-p 00000000 00:00 0   [stack]\n", &a) && a.kind == KHO_DIRTY_PRIVATE);
	assert_true(kho_dirty_area("7ffe00000000-7ffe00001000 rw-p 00000000 00:00 0   [anon:malloc]\n", &a) && a.kind == KHO_DIRTY_PRIVATE);
	assert_true(kho_dirty_area("7ffe00000000-7ffe00001000 r--p 00000000 00:00 0   [vvar]\n", &a) && a.kind == KHO_DIRTY_NONE);
	assert_true(kho_dirty_area("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]\n", &a) && a.kind == KHO_DIRTY_NONE);
	assert_false(kho_dirty_area("", &a));
	assert_false(kho_dirty_area("7f0000001000-7f0000000000 rw-p 00000000 00:00 0\n", &a));
	assert_false(kho_dirty_area("7f0000000000-7f0000001000 rw-p\n", &a));
}

/* Two processes that write the same shared page have changed one page; another piece of memory is another one. */
static void shared(void **state)
{
	struct kho_dirty_area a = { .kind = KHO_DIRTY_SHARED, .minor = 1, .inode = 5 }, b = { .kind = KHO_DIRTY_SHARED, .minor = 1, .inode = 6 };
	struct kho_dirty_count c = { .private_pages = 2 };

	(void)state;
	assert_int_equal(kho_dirty_mark(&c, &a, 10, 20, NULL), 0);
	assert_int_equal(kho_dirty_mark(&c, &a, 25, 100, NULL), 0);
	assert_int_equal(kho_dirty_mark(&c, &b, 0, 1, NULL), 0);
	assert_int_equal(kho_dirty_mark(&c, &a, 0, 64, NULL), 0);
	assert_int_equal(kho_dirty_bytes(&c), (2 + 125 + 1) * KHO_PAGE);
	assert_int_equal(c.n, 2);
	kho_dirty_count_done(&c);
	assert_int_equal(kho_dirty_bytes(&c), 0);
}

/* What a byte costs, out of rounds: 60 MiB in 3.1 s and 10 MiB in 0.6 s are 50 ms for each MiB, and 0.1 s for a round. */
static void costs(void **state)
{
	struct kho_proc_out o = { 0 };
	const uint64_t mib = 1 << 20;

	(void)state;
	assert_int_equal(kho_proc_copy_us(&o, 100 * mib), 0);
	kho_proc_copied(&o, 60 * mib, 3100000);
	assert_in_range(kho_proc_copy_us(&o, 6 * mib), 309000, 311000); /* from one round */
	kho_proc_copied(&o, 10 * mib, 600000);
	assert_in_range(kho_proc_copy_us(&o, 20 * mib), 999000, 1001000);
	assert_int_equal(kho_proc_copy_us(&o, 0), 0);
	assert_int_equal(o.all_bytes, 70 * mib);
	/* two like each other: no slope can be told from them */
	kho_proc_copied(&o, 58 * mib, 2800000);
	assert_in_range(kho_proc_copy_us(&o, 118 * mib), 5890000, 5910000);
}

/* The peer keeps them all: those that are asked for, as much as the first one copied; and a chain of images has an end. */
static void rounds(void **state)
{
	struct kho_proc_out_wl w = { .rounds = 2 };
	struct kho_proc_out o = { .w = &w, .n = 1 };
	const uint64_t mib = 1 << 20;

	(void)state;
	assert_int_equal(kho_proc_rounds_left(&o, 2 * mib), 0); /* none was made */
	kho_proc_copied(&o, 60 * mib, 1000000);
	kho_proc_copied(&o, 50 * mib, 900000);
	assert_int_equal(kho_proc_rounds_left(&o, 60 * mib), 1); /* who has written all of it gets one */
	o.paid_bytes = o.all_bytes;
	assert_int_equal(kho_proc_rounds_left(&o, 20 * mib), 3);
	kho_proc_copied(&o, 25 * mib, 400000);
	assert_int_equal(kho_proc_rounds_left(&o, 20 * mib), 1);
	kho_proc_copied(&o, 35 * mib, 400000);
	assert_int_equal(kho_proc_rounds_left(&o, 2 * mib), 0);
	o.paid_bytes = o.all_bytes;
	assert_int_equal(kho_proc_rounds_left(&o, 2 * mib), 14);
	assert_int_equal(kho_proc_rounds_left(&o, mib), 0); /* would not pay */
	assert_int_equal(kho_proc_rounds_left(&o, 0), 0);
	w.rounds = 15;
	assert_int_equal(kho_proc_rounds_left(&o, 20 * mib), 1);
	w.rounds = 16;
	assert_int_equal(kho_proc_rounds_left(&o, 20 * mib), 0);
}

/* --- a process that writes on demand: one byte each of the first `pages` pages of private memory, and of memory shared with its parent --- */

#define PRIVATE 512u
#define SHARED	256u

struct writer {
	pid_t pid;
	int to, from;
	volatile char *shared;
};

static void writer_main(int to, int from, volatile char *sh)
{
	volatile char *p = mmap(NULL, PRIVATE * KHO_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned n[2];

	madvise((void *)(uintptr_t)p, PRIVATE * KHO_PAGE, MADV_NOHUGEPAGE);
	while (read(to, n, sizeof(n)) == sizeof(n)) {
		for (unsigned i = 0; i < n[0]; i++)
			p[i * KHO_PAGE]++;
		for (unsigned i = 0; i < n[1]; i++)
			sh[i * KHO_PAGE]++;
		if (write(from, "k", 1) != 1)
			break;
	}
	_exit(0);
}

static void writer_start(struct writer *w, volatile char *sh)
{
	int to[2], from[2];

	assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
	w->shared = sh;
	w->pid = fork();
	assert_true(w->pid >= 0);
	if (!w->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* whatever becomes of the test */
		writer_main(to[0], from[1], sh);
	}
	close(to[0]);
	close(from[1]);
	w->to = to[1];
	w->from = from[0];
}

static void writes(const struct writer *w, unsigned private, unsigned sh)
{
	unsigned n[2] = { private, sh };
	char c;

	assert_int_equal(write(w->to, n, sizeof(n)), sizeof(n));
	assert_int_equal(read(w->from, &c, 1), 1);
}

static void clears(const struct writer *w)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", w->pid);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "4", 1), 1);
	close(fd);
}

static void writer_end(struct writer *w)
{
	close(w->to);
	close(w->from);
	kill(w->pid, SIGKILL);
	assert_int_equal(waitpid(w->pid, NULL, 0), w->pid);
}

static uint64_t pages_of(const struct writer *a, const struct writer *b, enum kho_dirty_way way)
{
	struct kho_dirty_count c = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	uint64_t n;

	assert_int_equal(kho_dirty_add(&c, a->pid, way, UINT64_MAX, &err), 0);
	if (b)
		assert_int_equal(kho_dirty_add(&c, b->pid, way, UINT64_MAX, &err), 0);
	n = kho_dirty_bytes(&c) / KHO_PAGE;
	kho_dirty_count_done(&c);
	return n;
}

/* Its stack, and a page or two of its data; each time. */
#define OWN 16

static void one_way(enum kho_dirty_way way)
{
	volatile char *sh = mmap(NULL, SHARED * KHO_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct writer a, b;
	uint64_t begin, quiet;

	writer_start(&a, sh);
	writer_start(&b, sh);
	writes(&a, PRIVATE, SHARED);
	writes(&b, 0, SHARED);
	assert_true(pages_of(&a, NULL, way) >= PRIVATE + SHARED); /* never cleared: all of it */
	clears(&a);
	clears(&b);
	quiet = pages_of(&a, &b, way);
	assert_true(quiet <= 2 * OWN);
	writes(&a, 100, 0);
	assert_in_range(pages_of(&a, NULL, way), 100, 100 + OWN);
	writes(&a, 100, 0); /* the same again: nothing more to copy */
	assert_in_range(pages_of(&a, NULL, way), 100, 100 + OWN);
	writes(&a, 300, 40);
	assert_in_range(pages_of(&a, NULL, way), 340, 340 + OWN);
	/* what both have written counts once, what one of them has counts too */
	writes(&b, 7, 60);
	assert_in_range(pages_of(&a, &b, way), 300 + 7 + 60, 300 + 7 + 60 + 2 * OWN);
	/* looking has cleared nothing */
	assert_in_range(pages_of(&a, NULL, way), 340, 340 + OWN);
	/* a known rate: 20 pages every 10 ms */
	clears(&a);
	begin = kho_clock_us();
	for (unsigned i = 1; i <= 10; i++) {
		writes(&a, i * 20, 0);
		usleep(10000);
	}
	assert_in_range(pages_of(&a, NULL, way), 200, 200 + OWN);
	assert_true(kho_clock_us() - begin >= 100000);
	writer_end(&a);
	writer_end(&b);
	assert_int_equal(pages_of(&a, NULL, way), 0); /* it has ended */
	munmap((void *)(uintptr_t)sh, SHARED * KHO_PAGE);
}

static void real(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	enum kho_dirty_way best;
	unsigned known = 0;

	(void)state;
	for (int way = 0; way < KHO_DIRTY_NWAYS; way++) {
		int rc = kho_dirty_try((enum kho_dirty_way)way, &err);

		if (rc == 0) {
			one_way((enum kho_dirty_way)way);
			print_message("%s: as written\n", kho_dirty_way_name((enum kho_dirty_way)way));
			known++;
		} else {
			assert_int_equal(rc, -EOPNOTSUPP);
			assert_true(strstr(err.msg, "CONFIG_MEM_SOFT_DIRTY") || strstr(err.msg, "has no PAGEMAP_SCAN"));
			print_message("%s: %s\n", kho_dirty_way_name((enum kho_dirty_way)way), err.msg);
		}
	}
	assert_int_equal(kho_dirty_choose(&best, &err), known ? 0 : -EOPNOTSUPP);
	if (known == KHO_DIRTY_NWAYS)
		assert_int_equal(best, KHO_DIRTY_SCAN);
	if (getenv("KHOCTL_MUST_DIRTY"))
		assert_true(known > 0);
}

/* An address space that is looked through for too long is not known, and says so. */
static void deadline(void **state)
{
	struct kho_dirty_count c = { 0 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_dirty_add(&c, getpid(), KHO_DIRTY_PAGEMAP, 0, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "too large"));
	kho_dirty_count_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(areas), cmocka_unit_test(shared), cmocka_unit_test(costs), cmocka_unit_test(rounds), cmocka_unit_test(real), cmocka_unit_test(deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
