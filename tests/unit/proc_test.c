// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process serializer without CRIU: verdicts on a recorded tree (tests/sysroots/proc-mixed: a
 * Redis, a process with an io_uring, one with a device and System V memory, one that logs to the
 * journal's socket), page maps, blobs.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/proc.pb-c.h"
#include "state-serializers/proc/blocks.h"
#include "state-serializers/proc/criu.h"
#include "state-serializers/proc/criu_img.pb-c.h"
#include "state-serializers/proc/img.h"
#include "state-serializers/proc/probe.h"
#include "state-serializers/proc/tree.h"

#define TREE "tests/sysroots/proc-mixed"

enum { REDIS = 20004, RING = 20005, DEVICE = 20006, JOURNAL = 20009 };

static struct kho_report probe(pid_t pid)
{
	struct kho_workload w = { .name = (char *)"w", .root = pid, .pids = &pid, .npids = 1 };
	struct kho_workload_list l = { .w = &w, .n = 1 };
	struct kho_env env = { .sysroot = TREE, .workloads = &l, .run_dir = "/nonexistent" };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err err = KHO_ERR_INIT;

	assert_int_equal(kho_proc_probe(&env, &r, &err), 0);
	return r;
}

static const struct kho_report_item *item(const struct kho_report *r, const char *subject,
					  const char *part)
{
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->items[i].subject, subject) && strstr(r->items[i].what, part))
			return &r->items[i];
	return NULL;
}

#define HAS(r, subject, v, part)                                              \
	do {                                                                  \
		const struct kho_report_item *_i = item(&(r), subject, part); \
		if (!_i)                                                      \
			fail_msg("no item of %s with \"%s\"", subject, part); \
		assert_int_equal(_i->verdict, v);                             \
	} while (0)

static void redis_moves(void **state)
{
	struct kho_report r = probe(REDIS);

	(void)state;
	/* started by a shell: only its parent changes */
	HAS(r, "w pid 20004", KHO_V_LOSS, "PID 1 instead of");
	assert_int_equal(kho_report_worst(&r), KHO_V_LOSS);
	assert_int_equal(r.n, 1);
	kho_report_done(&r);
}

/* tests/sysroots/proc-pair: a redis and its replica, connected over the loopback. */
static void connected_workloads(void **state)
{
	pid_t master = 20002, replica = 20009;
	struct kho_workload w[] = { { .name = (char *)"a", .root = master, .pids = &master, .npids = 1 },
				    { .name = (char *)"b", .root = replica, .pids = &replica, .npids = 1 } };
	struct kho_workload_list l = { .w = w, .n = 2 };
	struct kho_env env = { .sysroot = "tests/sysroots/proc-pair", .workloads = &l, .run_dir = "/nonexistent" };
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_proc_probe(&env, &r, &err), 0);
	assert_null(item(&r, "a pid 20002 fd 12", ""));
	assert_null(item(&r, "b pid 20009 fd 12", ""));
	kho_report_done(&r);
	/* only one of them is carried */
	r = (struct kho_report)KHO_REPORT_INIT;
	l.n = 1;
	assert_int_equal(kho_proc_probe(&env, &r, &err), 0);
	HAS(r, "a pid 20002 fd 12", KHO_V_LOSS, "is no workload: it is reset");
	kho_report_done(&r);
}

static void io_uring_is_refused(void **state)
{
	struct kho_report r = probe(RING);

	(void)state;
	HAS(r, "w pid 20005 fd 3", KHO_V_NO, "io_uring");
	HAS(r, "w pid 20005 memory", KHO_V_NO, "io_uring");
	assert_true(*item(&r, "w pid 20005 fd 3", "io_uring")->fix);
	kho_report_done(&r);
}

static void device_is_refused(void **state)
{
	struct kho_report r = probe(DEVICE);

	(void)state;
	HAS(r, "w pid 20006 fd 3", KHO_V_NO, "/dev/net/tun");
	HAS(r, "w pid 20006 memory", KHO_V_LOSS, "System V");
	HAS(r, "w pid 20006 fd 5", KHO_V_LOSS, "packet socket");
	assert_null(item(&r, "w pid 20006 fd 6", "")); /* netlink, not bound */
	HAS(r, "w pid 20006 fd 4", KHO_V_NO, "AF_VSOCK");
	kho_report_done(&r);
}

static void journal_moves(void **state)
{
	struct kho_report r = probe(JOURNAL);

	(void)state;
	/* the journal's socket is carried; the socket pair, the pipe and the small deleted file are
	 * its own */
	for (int fd = 1; fd < 8; fd++) {
		char subject[32];

		snprintf(subject, sizeof(subject), "w pid 20009 fd %d", fd);
		assert_null(item(&r, subject, ""));
	}
	kho_report_done(&r);
}

static void one_descriptor(void **state)
{
	static const struct {
		const char *target, *fstype;
		off_t size;
		nlink_t nlink;
		enum kho_verdict want;
	} row[] = {
		{ "/dev/null", "", 0, 1, KHO_V_OK },
		{ "/dev/pts/3", "", 0, 1, KHO_V_NO },
		{ "/dev/shm/x", "tmpfs", 0, 1, KHO_V_OK },
		{ "/dev/kvm", "", 0, 1, KHO_V_NO },
		{ "/memfd:x (deleted)", "", 0, 0, KHO_V_OK },
		{ "/var/x (deleted)", "ext4", 4096, 0, KHO_V_OK },
		{ "/var/x (deleted)", "ext4", 4096, 1, KHO_V_NO },
		{ "/var/x (deleted)", "ext4", 1ll << 30, 0, KHO_V_NO },
		{ "/home/x", "nfs4", 0, 1, KHO_V_NO },
		{ "/data/x", "ext4", 1ll << 30, 1, KHO_V_OK },
		{ "/proc/1/status", "proc", 0, 1, KHO_V_NO },
		{ "/proc/99999999/status", "proc", 0, 1, KHO_V_OK },
		{ "/proc/meminfo", "proc", 0, 1, KHO_V_OK },
		{ "anon_inode:[eventpoll]", "", 0, 1, KHO_V_OK },
		{ "anon_inode:inotify", "", 0, 1, KHO_V_OK },
		{ "anon_inode:bpf-prog", "", 0, 1, KHO_V_NO },
		{ "anon_inode:[perf_event]", "", 0, 1, KHO_V_NO },
		{ "anon_inode:[something-new]", "", 0, 1, KHO_V_NO },
		{ "anon_inode:[pidfd]", "", 0, 1, KHO_V_NO },
		{ "socket:[99]", "", 0, 1, KHO_V_UNKNOWN },
	};
	struct kho_workload w = { .name = (char *)"w" };
	struct kho_probe p = { .sysroot = "", .w = &w };

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct stat st = { .st_size = row[i].size, .st_nlink = row[i].nlink };
		struct kho_fd fd = { .target = row[i].target,
				     .info = "Pid:\t77\n",
				     .fstype = row[i].fstype,
				     .st = &st };
		struct kho_fd_verdict v;

		kho_fd_classify(&p, &fd, &v);
		if (v.verdict != row[i].want)
			fail_msg("%s (%s): %s: %s", row[i].target, row[i].fstype,
				 kho_verdict_name(v.verdict), v.what);
		if (v.verdict != KHO_V_OK)
			assert_true(*v.what);
	}
}

/* A message of a newer khoctl goes through an older one without loss. */
static void unknown_fields_are_kept(void **state)
{
	KhoProc__Task t = KHO_PROC__TASK__INIT;
	uint8_t buf[64], again[64];
	size_t len;
	KhoProc__Task *p;

	(void)state;
	t.pid = 4711;
	len = kho_proc__task__pack(&t, buf);
	memcpy(buf + len, "\xfa\x06\x03new", 6); /* field 111, bytes */
	len += 6;
	p = kho_proc__task__unpack(NULL, len, buf);
	assert_non_null(p);
	assert_int_equal(p->pid, 4711);
	assert_int_equal(kho_proc__task__get_packed_size(p), len);
	kho_proc__task__pack(p, again);
	assert_memory_equal(buf, again, len);
	kho_proc__task__free_unpacked(p, NULL);
}

struct image {
	char path[256];
	FILE *f;
};

static void image_open(struct image *i, const char *dir, const char *name, uint32_t magic)
{
	uint32_t head[2] = { 0x54564319, magic };

	snprintf(i->path, sizeof(i->path), "%s/%s", dir, name);
	i->f = fopen(i->path, "w");
	assert_non_null(i->f);
	fwrite(head, sizeof(head), 1, i->f);
}

static void image_add(struct image *i, const ProtobufCMessage *m)
{
	uint8_t buf[1024];
	uint32_t len = (uint32_t)protobuf_c_message_pack(m, buf);

	fwrite(&len, sizeof(len), 1, i->f);
	fwrite(buf, len, 1, i->f);
}

static void add_pages(struct image *i, uint64_t va, uint64_t nr, uint32_t flags)
{
	CriuImg__PagemapEntry e = CRIU_IMG__PAGEMAP_ENTRY__INIT;

	e.vaddr = va;
	e.has_nr_pages = e.has_flags = 1;
	e.nr_pages = nr;
	e.flags = flags;
	image_add(i, &e.base);
}

static void open_map(struct image *i, const char *dir)
{
	CriuImg__PagemapHead h = CRIU_IMG__PAGEMAP_HEAD__INIT;

	image_open(i, dir, "pagemap-7.img", 0x56084025);
	h.pages_id = 1;
	image_add(i, &h.base);
}

static void add_area(CriuImg__MmEntry *mm, CriuImg__VmaEntry *e, uint64_t start, uint64_t pages,
		     uint32_t flags)
{
	*e = (CriuImg__VmaEntry)CRIU_IMG__VMA_ENTRY__INIT;
	e->start = start;
	e->end = start + pages * 4096;
	e->flags = flags;
	mm->vmas[mm->n_vmas++] = e;
}

static void make_pages(const char *dir, unsigned n)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/pages-1.img", dir);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(truncate(path, n * 4096), 0);
}

/* pre.0 has pages 0-9 of an anonymous area at 1 MiB and 4 of a file mapping at 2 MiB; final changed
 * pages 3 and 4. */
static char *make_images(void)
{
	static char dir[] = "/tmp/khoctl-proc-test.XXXXXX";
	CriuImg__MmEntry mm = CRIU_IMG__MM_ENTRY__INIT;
	CriuImg__VmaEntry area[2], *areas[2];
	char pre[64], final[64], link[80];
	struct image i;

	strcpy(strrchr(dir, '.'), ".XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(pre, sizeof(pre), "%s/pre.0", dir);
	snprintf(final, sizeof(final), "%s/final", dir);
	snprintf(link, sizeof(link), "%s/parent", final);
	assert_int_equal(mkdir(pre, 0700) | mkdir(final, 0700) | symlink("../pre.0", link), 0);
	open_map(&i, pre);
	add_pages(&i, 0x100000, 10, KHO_PE_PRESENT | KHO_PE_LAZY);
	add_pages(&i, 0x200000, 4, KHO_PE_PRESENT);
	fclose(i.f);
	open_map(&i, final);
	add_pages(&i, 0x100000, 3, KHO_PE_PARENT);
	add_pages(&i, 0x103000, 2, KHO_PE_PRESENT | KHO_PE_LAZY);
	add_pages(&i, 0x105000, 5, KHO_PE_PARENT);
	add_pages(&i, 0x200000, 4, KHO_PE_PARENT);
	fclose(i.f);
	mm.vmas = areas;
	add_area(&mm, &area[0], 0x100000, 10, MAP_PRIVATE | MAP_ANONYMOUS);
	add_area(&mm, &area[1], 0x200000, 4, MAP_PRIVATE);
	image_open(&i, final, "mm-7.img", 0x57492820);
	image_add(&i, &mm.base);
	fclose(i.f);
	make_pages(pre, 14);
	make_pages(final, 2);
	return dir;
}

static void page_maps_are_turned_round(void **state)
{
	char *dir = make_images(), final[64], pre[64];
	uint64_t sp = 0x107008; /* a stack top in the middle of the last run */
	struct kho_img_task t = { .pid = 7, .sp = &sp, .nthreads = 1 };
	struct kho_lazy_sum sum = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_pagemap m;
	struct kho_space *s;

	(void)state;
	snprintf(final, sizeof(final), "%s/final", dir);
	assert_int_equal(kho_pagemap_mark(final, &t, 100, &sum, &err), 0);
	assert_int_equal(sum.lazy_pages, 3 + 2 + 2);
	assert_int_equal(sum.eager_pages, 2 + 1 + 4);
	assert_int_equal(kho_pagemap_read(final, 7, &m, &err), 0);
	assert_int_equal(m.n, 6);
	assert_int_equal(m.pages_id, 1);
	assert_int_equal(m.e[0].flags, KHO_PE_PARENT | KHO_PE_LAZY);
	assert_int_equal(m.e[1].flags, KHO_PE_PRESENT);
	assert_int_equal(m.e[3].flags, KHO_PE_PARENT);
	assert_int_equal(m.e[3].va, 0x107000);
	assert_int_equal(m.e[5].flags, KHO_PE_PARENT);
	kho_pagemap_done(&m);

	/* what the page server makes of it: three runs, found in the parent directory */
	s = kho_space_load(dir, 7, -1, &err);
	assert_non_null(s);
	assert_int_equal(s->pending, 7);
	assert_int_equal(s->n, 3);
	assert_int_equal(s->b[1].va, 0x105000);
	assert_int_equal(s->b[1].file, 1);
	assert_int_equal(s->b[1].off, 5);
	kho_space_drop(s, 0x101000, 0x106000);
	assert_int_equal(s->pending, 4);
	kho_space_move(s, 0x106000, 0x900000, 0x1000);
	assert_int_equal(s->pending, 4);
	assert_int_equal(s->b[s->n - 1].va, 0x900000);
	assert_int_equal(s->b[s->n - 1].off, 6);
	kho_space_free(s);
	/* a file that is cut off holds what comes behind it no more */
	snprintf(pre, sizeof(pre), "%s/pre.0", dir);
	make_pages(pre, 9);
	assert_null(kho_space_load(dir, 7, -1, &err));
	assert_non_null(strstr(err.msg, "missing in the images"));
	assert_int_equal(kho_tree_remove(dir, &err), 0);
}

static void many_changed_pages_may_be_lazy(void **state)
{
	char *dir = make_images(), final[64];
	struct kho_img_task t = { .pid = 7 };
	struct kho_lazy_sum sum = { 0 };
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	snprintf(final, sizeof(final), "%s/final", dir);
	assert_int_equal(kho_pagemap_mark(final, &t, 1, &sum, &err), 0);
	assert_int_equal(sum.lazy_pages, 10);
	assert_int_equal(sum.eager_pages, 4);
	assert_int_equal(kho_tree_remove(dir, &err), 0);
}

/* A second round that changed pages 1 and 2: they are in use, and come with the ones changed last. */
static void pages_of_later_rounds_come_at_once(void **state)
{
	char *dir = make_images(), final[64], pre1[64], link[80];
	struct kho_img_task t = { .pid = 7 };
	struct kho_lazy_sum sum = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	struct image i;

	(void)state;
	snprintf(final, sizeof(final), "%s/final", dir);
	snprintf(pre1, sizeof(pre1), "%s/pre.1", dir);
	snprintf(link, sizeof(link), "%s/parent", final);
	assert_int_equal(mkdir(pre1, 0700) | unlink(link) | symlink("../pre.1", link), 0);
	snprintf(link, sizeof(link), "%s/parent", pre1);
	assert_int_equal(symlink("../pre.0", link), 0);
	open_map(&i, pre1);
	add_pages(&i, 0x100000, 1, KHO_PE_PARENT);
	add_pages(&i, 0x101000, 2, KHO_PE_PRESENT | KHO_PE_LAZY);
	add_pages(&i, 0x103000, 7, KHO_PE_PARENT);
	add_pages(&i, 0x200000, 4, KHO_PE_PARENT);
	fclose(i.f);
	assert_int_equal(kho_pagemap_mark(final, &t, 100, &sum, &err), 0);
	assert_int_equal(sum.lazy_pages, 1 + 5);
	assert_int_equal(sum.eager_pages, 2 + 2 + 4);
	assert_int_equal(kho_tree_remove(dir, &err), 0);
}

static void broken_images_are_refused(void **state)
{
	static const char *const text[] = {
		"",
		"short",
		"this is not an image at all",
		"\x19\x43\x56\x54\x25\x40\x08\x56\xff\xff\xff\xff",
		"\x19\x43\x56\x54\x25\x40\x08\x56\x01",
	};
	char *dir = make_images(), final[64], path[96];
	struct kho_err err = KHO_ERR_INIT;
	struct kho_pagemap m;

	(void)state;
	snprintf(final, sizeof(final), "%s/final", dir);
	snprintf(path, sizeof(path), "%s/pagemap-7.img", final);
	for (size_t i = 1; i < sizeof(text) / sizeof(text[0]); i++) {
		assert_int_equal(kho_write_file(path, text[i], strlen(text[i]), &err), 0);
		assert_int_equal(kho_pagemap_read(final, 7, &m, &err), -EBADMSG);
	}
	assert_int_equal(kho_pagemap_read(final, 8, &m, &err), -ENOENT);
	assert_int_equal(kho_tree_remove(dir, &err), 0);
}

/* What CRIU says and then goes on is not why it failed. (Its own words, of a dump after pre-dumps.) */
static void complaints(void **state)
{
	static const char log[] = "(00.000172) Error (criu/util.c:1425): rlimit: RLIMIT_NOFILE unlimited for self\n"
				  "(00.104501) Error (criu/page-xfer.c:900): page-xfer: No parent image found, though parent directory is set: No such file or directory\n"
				  "(00.231245) Error (criu/sk-unix.c:934): unix: Can't dump half of stream unix connection.\n"
				  "(00.231300) Error (criu/cr-dump.c:2098): Dumping FAILED.\n";
	CriuRpc__Resp resp = CRIU_RPC__RESP__INIT;
	struct kho_err err = KHO_ERR_INIT;
	char path[] = "/tmp/kho-criu-log.XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(write(fd, log, sizeof(log) - 1), sizeof(log) - 1);
	close(fd);
	assert_int_equal(kho_criu_refused(&err, &resp, "dump", path), -EIO);
	assert_string_equal(err.msg, "criu dump: unix: Can't dump half of stream unix connection.");
	unlink(path);
	assert_int_equal(kho_criu_refused(&err, &resp, "dump", path), -EIO);
	assert_string_equal(err.msg, "criu dump: it failed, and its log names no error");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(complaints),
		cmocka_unit_test(redis_moves), cmocka_unit_test(connected_workloads),
		cmocka_unit_test(io_uring_is_refused),
		cmocka_unit_test(device_is_refused),
		cmocka_unit_test(journal_moves),
		cmocka_unit_test(one_descriptor),
		cmocka_unit_test(unknown_fields_are_kept),
		cmocka_unit_test(page_maps_are_turned_round),
		cmocka_unit_test(many_changed_pages_may_be_lazy),
		cmocka_unit_test(pages_of_later_rounds_come_at_once),
		cmocka_unit_test(broken_images_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
