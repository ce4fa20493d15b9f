// SPDX-License-Identifier: GPL-2.0-only
/*
 * The link between two kernels, measured beside what one kernel does within itself, in one run:
 *
 *   link_bench --to VMLINUZ [--count N] [--mib N] [--engine NAME]
 *
 * Starts an incoming kernel, measures, stops it again; the machine is as before.  Prints one JSON
 * object: round trips in ns (doorbell, polling, an empty call of the agent, a pipe between two
 * processes), transfer of a file into the incoming tmpfs against memcpy and against a copy within
 * this kernel.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handover/beside/image.h"
#include "handover/dev.h"
#include "handover/engine.h"
#include "handover/link/peer.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

#define RUN   "/run/khoctl"
#define FILES "/run/khoctl-link-bench"

struct options {
	const char *image, *engine;
	unsigned count, mib;
};

struct numbers {
	struct kho_ioc_ping irq, poll;
	uint64_t echo[3], pipe[3], small[3]; /* min, median, p99 in ns */
	double memcpy_mib_s, copy_mib_s, bulk_mib_s;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void summarize(uint64_t *t, unsigned n, uint64_t *out)
{
	qsort(t, n, sizeof(*t), compare);
	out[0] = t[0];
	out[1] = t[n / 2];
	out[2] = t[n * 99 / 100];
}

/* --- within this kernel --- */

/* The other end of two pipes: one byte in, one byte out. */
static void __attribute__((noreturn)) answer_bytes(int in, int out)
{
	char c;

	while (read(in, &c, 1) == 1)
		if (write(out, &c, 1) != 1)
			break;
	_exit(0);
}

static int bench_pipe(unsigned count, uint64_t *out, struct kho_err *err)
{
	_cleanup_free_ uint64_t *t = calloc(count, sizeof(*t));
	int to[2], from[2];
	pid_t pid;
	char c = 0;

	if (!t || pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
		return kho_fail_errno(err, "pipes");
	pid = fork();
	if (pid < 0)
		return kho_fail_errno(err, "fork");
	if (!pid) {
		close(to[1]);
		answer_bytes(to[0], from[1]);
	}
	for (unsigned i = 0; i < count; i++) {
		uint64_t begin = now_ns();

		if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
			return kho_fail_errno(err, "pipe");
		t[i] = now_ns() - begin;
	}
	close(to[0]);
	close(to[1]);
	close(from[0]);
	close(from[1]);
	waitpid(pid, NULL, 0);
	summarize(t, count, out);
	return 0;
}

static double rate(unsigned mib, uint64_t begin_ns)
{
	return mib * 1e9 / (double)(now_ns() - begin_ns);
}

static int bench_memcpy(unsigned mib, double *out, struct kho_err *err)
{
	size_t len = (size_t)mib << 20;
	uint8_t *a = mmap(NULL, len * 2, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (a == MAP_FAILED)
		return kho_fail_errno(err, "memory");
	*out = 0;
	for (int i = 0; i < 3; i++) {
		uint64_t begin = now_ns();
		double r;

		memcpy(a + len, a, len);
		__asm__ volatile("" : : "r"(a) : "memory");
		r = rate(mib, begin);
		if (r > *out)
			*out = r;
	}
	munmap(a, len * 2);
	return 0;
}

static int write_file(const char *path, size_t len, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	_cleanup_free_ uint8_t *block = malloc(1 << 20);
	uint32_t x = 1;

	if (fd < 0 || !block)
		return kho_fail_errno(err, "%s", path);
	for (size_t i = 0; i < 1 << 20; i++)
		block[i] = (x = x * 1103515245 + 12345) >> 16;
	for (size_t at = 0; at < len;) {
		size_t n = len - at < 1 << 20 ? len - at : 1 << 20;

		if (write(fd, block, n) != (ssize_t)n)
			return kho_fail_errno(err, "write %s", path);
		at += n;
	}
	return 0;
}

/* read and write, tmpfs to tmpfs: what a plain copy of the same file costs here. */
static int bench_copy(unsigned mib, double *out, struct kho_err *err)
{
	_cleanup_close_ int in = open(FILES "/big", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int to =
		open(FILES "/copy", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	_cleanup_free_ uint8_t *block = malloc(1 << 20);
	uint64_t begin = now_ns();
	ssize_t n;

	if (in < 0 || to < 0 || !block)
		return kho_fail_errno(err, "copy");
	while ((n = read(in, block, 1 << 20)) > 0)
		if (write(to, block, n) != n)
			return kho_fail_errno(err, "copy");
	*out = rate(mib, begin);
	unlink(FILES "/copy");
	return 0;
}

/* --- across --- */

static int bench_ping(unsigned count, struct numbers *n, struct kho_err *err)
{
	int fd = kho_dev_link_open(KHO_PEER_INCOMING, 0, err), ret;

	if (fd < 0)
		return fd;
	ret = kho_dev_ping(fd, KHO_PING_IRQ, count, &n->irq, err);
	if (!ret)
		ret = kho_dev_ping(fd, KHO_PING_POLL, count, &n->poll, err);
	close(fd);
	return ret;
}

static int bench_echo(struct kho_peer *p, unsigned count, uint64_t *out, struct kho_err *err)
{
	_cleanup_free_ uint64_t *t = calloc(count, sizeof(*t));
	int ret = t ? 0 : kho_fail(err, -ENOMEM, "times");

	for (unsigned i = 0; !ret && i < count; i++) {
		uint64_t begin = now_ns();

		ret = kho_peer_echo(p, NULL, NULL, kho_clock_us() + 5000000, err);
		t[i] = now_ns() - begin;
	}
	if (!ret)
		summarize(t, count, out);
	return ret;
}

static int bench_files(struct kho_peer *p, const struct options *o, struct numbers *n,
		       struct kho_err *err)
{
	_cleanup_free_ uint64_t *t = calloc(o->count, sizeof(*t));
	int ret = t ? 0 : kho_fail(err, -ENOMEM, "times");
	char name[32];

	n->bulk_mib_s = 0;
	for (int i = 0; !ret && i < 3; i++) {
		uint64_t begin = now_ns();
		double r;

		ret = kho_peer_put_file(p, FILES "/big", "bench/big", kho_clock_us() + 300000000,
					err);
		r = rate(o->mib, begin);
		if (r > n->bulk_mib_s)
			n->bulk_mib_s = r;
	}
	for (unsigned i = 0; !ret && i < o->count; i++) {
		uint64_t begin = now_ns();

		snprintf(name, sizeof(name), "bench/%u", i % 100);
		ret = kho_peer_put_file(p, FILES "/small", name, kho_clock_us() + 5000000, err);
		t[i] = now_ns() - begin;
	}
	if (!ret)
		summarize(t, o->count, n->small);
	return ret;
}

static int with_peer(const struct options *o, struct numbers *n, struct kho_err *err)
{
	const struct kho_peer_setup setup = { .run_dir = RUN, .images_dir = RUN "/images" };
	_cleanup_close_ int dev = kho_dev_open(err);
	struct kho_peer *p = NULL;
	struct kho_ioc_info info;
	struct kho_ledger *l;
	void *bulk;
	int ret;

	if (dev < 0)
		return dev;
	ret = kho_dev_info(dev, &info, err);
	if (ret < 0)
		return ret;
	l = kho_dev_map(dev, info.down_base + KHO_OFF_LEDGER, KHO_LEDGER_BYTES, false, err);
	bulk = l ? kho_dev_map(dev, l->bulk_base, l->bulk_bytes, true, err) : NULL;
	if (!bulk)
		return err->code;
	/* until its agent answers; then without it: the ping is answered by the kernel */
	ret = kho_peer_connect(&p, bulk, l->bulk_bytes, &setup, kho_clock_us() + 180000000, err);
	kho_peer_close(p);
	if (!ret)
		ret = bench_ping(o->count, n, err);
	p = NULL;
	if (!ret)
		ret = kho_peer_connect(&p, bulk, l->bulk_bytes, &setup, kho_clock_us() + 10000000,
				       err);
	if (!ret)
		ret = bench_echo(p, o->count, n->echo, err);
	if (!ret)
		ret = bench_files(p, o, n, err);
	if (!ret)
		ret = bench_copy(o->mib, &n->copy_mib_s, err);
	kho_peer_close(p);
	munmap(bulk, l->bulk_bytes);
	munmap(l, KHO_LEDGER_BYTES);
	return ret;
}

/* --- the incoming kernel --- */

static int start(const struct options *o, struct kho_engine_request *req, struct kho_engine **out,
		 struct kho_err *err)
{
	static char modules[256];
	static struct kho_bzimage img;
	const struct kho_engine_entry *en = kho_engines;
	struct kho_engine_plan plan = { 0 };
	struct kho_report r = KHO_REPORT_INIT;
	const uint8_t *buf;
	size_t len;
	int ret;

	while (en->name && strcmp(en->name, o->engine))
		en++;
	if (!en->name)
		return kho_fail(err, -EINVAL, "no engine '%s'", o->engine);
	ret = kho_image_open(o->image, &buf, &len, &img, err);
	if (ret < 0)
		return ret;
	snprintf(modules, sizeof(modules), "/lib/modules/%s", img.release);
	*req = (struct kho_engine_request){ .image = o->image,
					    .release = img.release,
					    .modules_dir = modules,
					    .extra_cmdline = "",
					    .sysroot = "",
					    .run_dir = RUN };
	ret = en->new (req, out, err);
	if (ret < 0)
		return ret;
	ret = (*out)->ops->probe(*out, &plan, &r, err);
	for (size_t i = 0; !ret && i < r.n; i++)
		if (r.items[i].verdict == KHO_V_NO)
			ret = kho_fail(err, -EINVAL, "%s: %s", r.items[i].subject, r.items[i].what);
	kho_report_done(&r);
	if (!ret)
		ret = (*out)->ops->reserve(*out, &plan, err);
	if (!ret)
		ret = (*out)->ops->spawn(*out, err);
	kho_engine_plan_done(&plan);
	return ret;
}

static int stop(struct kho_engine *e, struct kho_err *err)
{
	int ret = e->ops->stop(e, err), undo = e->ops->unreserve(e, ret ? NULL : err);

	e->ops->free(e);
	return ret ? ret : undo;
}

static void print_times(const char *name, uint64_t min, uint64_t median, uint64_t p99)
{
	printf("\"%s\":{\"min_ns\":%" PRIu64 ",\"median_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64 "},",
	       name, min, median, p99);
}

static void print(const struct options *o, const struct numbers *n)
{
	double pipe_ns = n->pipe[1];

	printf("{\"count\":%u,\"mib\":%u,", o->count, o->mib);
	print_times("doorbell", n->irq.min_ns, n->irq.median_ns, n->irq.p99_ns);
	print_times("polling", n->poll.min_ns, n->poll.median_ns, n->poll.p99_ns);
	print_times("call", n->echo[0], n->echo[1], n->echo[2]);
	print_times("small_file", n->small[0], n->small[1], n->small[2]);
	print_times("pipe", n->pipe[0], n->pipe[1], n->pipe[2]);
	printf("\"doorbell_over_pipe\":%.3f,\"polling_over_pipe\":%.3f,\"call_over_pipe\":%.3f,",
	       n->irq.median_ns / pipe_ns, n->poll.median_ns / pipe_ns, n->echo[1] / pipe_ns);
	printf("\"memcpy_mib_s\":%.1f,\"copy_mib_s\":%.1f,\"bulk_mib_s\":%.1f,\"bulk_over_memcpy\":"
	       "%.3f,\"bulk_over_copy\":%.3f}\n",
	       n->memcpy_mib_s, n->copy_mib_s, n->bulk_mib_s, n->bulk_mib_s / n->memcpy_mib_s,
	       n->bulk_mib_s / n->copy_mib_s);
}

static int run(const struct options *o, struct numbers *n, struct kho_err *err)
{
	struct kho_engine_request req;
	struct kho_engine *e = NULL;
	struct kho_err undo = KHO_ERR_INIT;
	int ret = kho_mkdir(RUN, err);

	if (!ret)
		ret = kho_mkdir(FILES, err);
	if (!ret)
		ret = write_file(FILES "/big", (size_t)o->mib << 20, err);
	if (!ret)
		ret = write_file(FILES "/small", 4096, err);
	if (!ret)
		ret = bench_pipe(o->count, n->pipe, err);
	if (!ret)
		ret = bench_memcpy(o->mib, &n->memcpy_mib_s, err);
	if (ret < 0)
		return ret;
	ret = start(o, &req, &e, err);
	if (!ret)
		ret = with_peer(o, n, err);
	if (e && stop(e, &undo) < 0 && !ret)
		ret = kho_fail(err, undo.code, "%s", undo.msg);
	unlink(FILES "/big");
	unlink(FILES "/small");
	rmdir(FILES);
	return ret;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "to", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'n' },
		{ "mib", required_argument, NULL, 'm' },
		{ "engine", required_argument, NULL, 'e' },
		{ 0 },
	};
	struct options o = { .engine = "beside", .count = 1000, .mib = 128 };
	struct numbers n = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 't')
			o.image = optarg;
		else if (c == 'n')
			o.count = strtoul(optarg, NULL, 10);
		else if (c == 'm')
			o.mib = strtoul(optarg, NULL, 10);
		else if (c == 'e')
			o.engine = optarg;
	}
	if (!o.image || !o.count || o.count > 10000 || !o.mib) {
		fputs("usage: link_bench --to VMLINUZ [--count 1..10000] [--mib N] [--engine "
		      "NAME]\n",
		      stderr);
		return 2;
	}
	if (run(&o, &n, &err) < 0) {
		fprintf(stderr, "link_bench: %s\n", err.msg);
		return 1;
	}
	print(&o, &n);
	return 0;
}
