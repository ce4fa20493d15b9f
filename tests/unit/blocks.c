// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages out of images that can be given, and that cannot: userfaultfd on memory of our own, in the name of a process that is there to be ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/clock.h"
#include "state-serializers/proc/blocks.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define PAGES 2

static uint8_t *map(int protection)
{
	uint8_t *p = mmap(NULL, PAGES * KHO_PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static int open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && !ioctl(fd, UFFDIO_API, &api))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* All pages at `area` are to come out of `image`. */
static struct kho_space *space(pid_t pid, uint8_t *area, uint8_t *image)
{
	struct kho_space *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->b = calloc(1, sizeof(*s->b));
	s->files = calloc(1, sizeof(*s->files));
	assert_true(s->b && s->files);
	s->pid = pid;
	s->uffd = open_uffd();
	s->n = s->room = s->nfiles = 1;
	s->pending = PAGES;
	s->b[0] = (struct kho_block){ .va = (uintptr_t)area, .todo = (1u << PAGES) - 1, .nr = PAGES };
	s->files[0] = (struct kho_pages_file){ .fd = -1, .map = image, .len = PAGES * KHO_PAGE };
	if (s->uffd >= 0)
		return s;
	kho_space_free(s);
	return NULL;
}

static void watch(struct kho_space *s, uint8_t *area)
{
	struct uffdio_register r = { .range = { (uintptr_t)area, PAGES * KHO_PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	assert_int_equal(ioctl(s->uffd, UFFDIO_REGISTER, &r), 0);
}

static pid_t victim(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (;;)
		pause();
}

/* Has somebody else ended it? */
static bool was_ended(pid_t pid)
{
	int status;
	bool ended = false;

	for (int i = 0; !ended && i < 20; i++, usleep(10000))
		ended = waitpid(pid, &status, WNOHANG) == pid;
	if (ended)
		return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return false;
}

static void pages_come(void **state)
{
	uint8_t *area = map(PROT_READ | PROT_WRITE), *image = map(PROT_READ | PROT_WRITE);
	struct kho_space *s = space(0, area, image);

	(void)state;
	if (!s)
		skip();
	watch(s, area);
	memset(image, 'x', PAGES * KHO_PAGE);
	/* there was no memory: not before the pause is over */
	s->again_us = kho_clock_us() + 60000000;
	kho_space_again(s);
	kho_space_fill(s);
	assert_int_equal(s->pending, PAGES);
	s->again_us = 1;
	kho_space_again(s);
	kho_space_fill(s);
	assert_int_equal(s->pending, 0);
	assert_int_equal(area[0], 'x');
	assert_int_equal(area[PAGES * KHO_PAGE - 1], 'x');
	kho_space_free(s);
	munmap(area, PAGES * KHO_PAGE);
}

/* One that cannot be read is not taken for one that nobody wants: who would read zeros ends. */
static void lost_page(void **state)
{
	uint8_t *area = map(PROT_READ | PROT_WRITE);
	pid_t pid = victim();
	struct kho_space *s = space(pid, area, map(PROT_NONE));
	bool ended;

	(void)state;
	if (s) {
		watch(s, area);
		kho_space_fill(s);
	}
	ended = was_ended(pid);
	munmap(area, PAGES * KHO_PAGE);
	if (!s)
		skip();
	assert_true(ended);
	assert_true(s->gone);
	assert_int_equal(s->pending, PAGES);
	kho_space_free(s);
}

/* One that has no place any more is nobody's loss. */
static void unwanted_page(void **state)
{
	uint8_t *area = map(PROT_READ | PROT_WRITE);
	pid_t pid = victim();
	struct kho_space *s = space(pid, area, map(PROT_READ));
	bool ended;

	(void)state;
	for (int i = 0; s && i < PAGES; i++)
		kho_space_fill(s);
	ended = was_ended(pid);
	munmap(area, PAGES * KHO_PAGE);
	if (!s)
		skip();
	assert_false(ended);
	assert_false(s->gone);
	assert_int_equal(s->pending, 0);
	kho_space_free(s);
}

static void fork_without_images(void **state)
{
	uint8_t *area = map(PROT_READ | PROT_WRITE);
	struct kho_space *s = space(getpid(), area, map(PROT_READ)), *child;

	(void)state;
	if (!s)
		skip();
	s->files[0].fd = 1 << 20; /* cannot be had twice */
	assert_null(kho_space_clone(s, -1));
	assert_false(s->shared);
	s->files[0].fd = -1;
	child = kho_space_clone(s, -1);
	assert_non_null(child);
	assert_non_null(child->group);
	assert_int_equal(child->pending, PAGES);
	assert_true(s->shared);
	kho_space_free(child);
	kho_space_free(s);
	munmap(area, PAGES * KHO_PAGE);
}

/* In our own control group: the process and its child, which have the pipe's other end. */
static void whole_workload_ends(void **state)
{
	struct kho_space s = { .uffd = -1 };
	int end[2], child[2];
	char c;

	(void)state;
	assert_int_equal(pipe(end) | pipe(child), 0);
	s.pid = fork();
	if (!s.pid) {
		close(end[0]);
		if (!fork() && write(child[1], "x", 1) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	close(end[1]);
	assert_int_equal(read(child[0], &c, 1), 1);
	kho_space_end_all(&s);
	assert_true(was_ended(s.pid));
	assert_int_equal(poll(&(struct pollfd){ .fd = end[0], .events = POLLIN }, 1, 5000), 1);
	assert_int_equal(read(end[0], &c, 1), 0);
	close(end[0]);
	close(child[0]);
	close(child[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_come),	       cmocka_unit_test(lost_page),	     cmocka_unit_test(unwanted_page),
		cmocka_unit_test(fork_without_images), cmocka_unit_test(whole_workload_ends),
	};

	return cmocka_run_group_tests_name("blocks", tests, NULL, NULL);
}
