// SPDX-License-Identifier: GPL-2.0-only
/*
 * serializer-check block: a file system is frozen, taken over with a store in memory, discarded,
 * taken again, merged, and seen by the next generation.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "serializer_check.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

static uint64_t checksum(const char *dev)
{
	_cleanup_close_ int fd = open(dev, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint64_t h = 14695981039346656037ull;
	uint64_t *buf = aligned_alloc(4096, 1 << 20);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, 1 << 20)) > 0)
		for (ssize_t i = 0; i < n / 8; i++)
			h = (h ^ buf[i]) * 1099511628211ull;
	free(buf);
	return fd < 0 ? 0 : h;
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	fact(fd >= 0 && kho_write_all(fd, text, strlen(text)) >= 0 && !fsync(fd), "write %s", name);
}

static bool holds(const char *dir, const char *name, const char *text)
{
	_cleanup_free_ char *got = NULL;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return kho_read_line(path, &got, NULL) >= 0 && !strcmp(got, text);
}

static void junk(const char *dir, unsigned mib)
{
	static char buf[1 << 20];
	char path[PATH_MAX];
	unsigned written = 0;

	snprintf(path, sizeof(path), "%s/junk", dir);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	for (unsigned i = 0; i < mib; i++) {
		memset(buf, i + 1, sizeof(buf));
		written += kho_write_all(fd, buf, sizeof(buf)) >= 0;
	}
	fact(written == mib && !fsync(fd), "write %u MiB", mib);
}

static void *writer(void *arg)
{
	put(arg, "blocked", "thawed");
	return NULL;
}

/* no default */
#define STORE_BYTES   (48ull << 20)
#define STORE_SECTORS "98304"

static void probe(struct kho_report *r, const char *what)
{
	struct kho_err e = KHO_ERR_INIT;

	must(kho_block_probe(&check_env, r, &e), &e, what);
	for (size_t i = 0; i < r->n; i++)
		printf("      %s %s: %s: %s\n", kho_verdict_name(r->items[i].verdict),
		       r->items[i].area, r->items[i].subject, r->items[i].what);
}

/* All that the outgoing kernel does; *first and *last are what it tells the incoming one. */
static void outgoing(const char *dir, struct kho_blob *first, struct kho_blob *last)
{
	struct kho_err e = KHO_ERR_INIT;
	pthread_t t;
	bool more;

	must(kho_block_preserve(&check_env, 0, first, &more, &e), &e, "preserve");
	must(kho_block_freeze(&check_env, &e), &e, "freeze");
	pthread_create(&t, NULL, writer, (void *)(uintptr_t)dir);
	sleep_ms(500);
	fact(!holds(dir, "blocked", "thawed"), "a writer waits");
	must(kho_block_unfreeze(&check_env, &e), &e, "unfreeze");
	pthread_join(t, NULL);
	must(kho_block_preserve(&check_env, 1, last, &more, &e), &e, "preserve, round 1");
	must(kho_block_freeze(&check_env, &e), &e, "freeze");
	must(kho_block_drain(&check_env, last, &e), &e, "drain");
	must(kho_block_unfreeze(&check_env, &e), &e, "unfreeze: one kernel only");
	must(kho_block_forget(&check_env, &e), &e, "forget");
	fact(!umount(dir), "unmounted");
}

/* All that the incoming one does until it owns the disk; once in vain, once for good. */
static void incoming(const char *dev, const char *dir, const struct kho_blob *first,
		     const struct kho_blob *last)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err e = KHO_ERR_INIT;
	uint64_t was = checksum(dev);

	must(kho_block_prepare(&check_env, first, &e), &e, "prepare");
	for (int round = 0; round < 2; round++) {
		must(kho_block_retrieve(&check_env, last, &e), &e, "retrieve");
		fact(holds(dir, "old", "by the outgoing kernel"), "old file is there");
		fact(!holds(dir, "new", "by the incoming kernel"), "no file of the round before");
		put(dir, "new", "by the incoming kernel");
		junk(dir, 8);
		must(kho_block_verify(&check_env, &r, &e), &e, "verify");
		fact(r.items[r.n - 1].verdict == KHO_V_OK, "store is fine");
		fact(holds("/sys/block/ram0", "size", STORE_SECTORS), "store is as large as configured");
		printf("      %s: %s\n", r.items[r.n - 1].subject, r.items[r.n - 1].what);
		fact(checksum(dev) == was, "the disk is unchanged");
		if (!round)
			must(kho_block_discard(&check_env, &e), &e, "discard");
	}
	kho_report_done(&r);
	must(kho_block_finish(&check_env, &e), &e, "finish");
	put(dir, "during", "written during the merge");
	must(kho_merge_wait_all(60000000, &e), &e, "merged");
}

static void merged(const char *dir)
{
	_cleanup_free_ char *mounts = NULL;
	struct kho_err e = KHO_ERR_INIT;
	char type[32], params[256];
	uint64_t sectors;

	must(kho_dm_status("khoctl-0", true, type, params, &sectors, &e), &e, "status");
	fact(!strcmp(type, "linear"), "the device is %s %s", type, params);
	put(dir, "after", "written after the merge");
	fact(kho_read_file("/proc/mounts", 1 << 20, &mounts, NULL, &e) >= 0 && strstr(mounts, "/dev"
											      "/map"
											      "per/"
											      "khoc"
											      "tl-"
											      "0"),
	     "mounted from the mapped device");
	fact(!kho_exists("/sys/block/ram0"), "the store is freed");
}

/* The kernel that took over is the outgoing one of the next upgrade. */
static void next_generation(const struct kho_blob *last)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err e = KHO_ERR_INIT;
	struct kho_blob again = { 0 };
	bool more;

	probe(&r, "probe, next generation");
	must(kho_block_preserve(&check_env, 0, &again, &more, &e), &e, "preserve, next generation");
	Kho__Block *b = kho_pb_unpack(&kho__block__descriptor, &again, &e),
		   *a = kho_pb_unpack(&kho__block__descriptor, last, &e);

	fact(a && b && a->n_disk == b->n_disk && b->n_disk == 1 &&
		     !strcmp(a->disk[0]->pci, b->disk[0]->pci),
	     "the next generation sees the disk %s through it",
	     b && b->n_disk ? b->disk[0]->pci : "?");
	must(kho_block_unpreserve(&check_env, &e), &e, "unpreserve");
	kho_report_done(&r);
}

void check_block(const char *dev, const char *dir)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_blob first = { 0 }, last = { 0 };
	struct kho_err e = KHO_ERR_INIT;

	check_env.disk_store_bytes = STORE_BYTES;
	put(dir, "old", "by the outgoing kernel");
	probe(&r, "probe");
	kho_report_done(&r);
	outgoing(dir, &first, &last);
	incoming(dev, dir, &first, &last);
	merged(dir);
	next_generation(&last);
	fact(!umount(dir), "unmounted");
	must(kho_dm_remove("khoctl-0", &e), &e, "removed");
}
