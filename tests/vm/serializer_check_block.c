// SPDX-License-Identifier: GPL-2.0-only
/*
 * serializer-check block: a file system on a disk, or on mappings over disks (LVM, LUKS), is frozen, taken over with a store in
 * memory, discarded, taken again, merged, and seen by the next generation.
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

static uint64_t checksum_one(const char *dev, uint64_t h)
{
	_cleanup_close_ int fd = open(dev, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint64_t *buf = aligned_alloc(4096, 1 << 20);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, buf, 1 << 20)) > 0)
		for (ssize_t i = 0; i < n / 8; i++)
			h = (h ^ buf[i]) * 1099511628211ull;
	free(buf);
	return fd < 0 ? 0 : h;
}

/* All disks that are carried. */
static uint64_t checksum(const Kho__Block *b)
{
	uint64_t h = 14695981039346656037ull;
	char dev[64];

	for (size_t i = 0; i < b->n_disk; i++) {
		snprintf(dev, sizeof(dev), "/dev/%s", b->disk[i]->name);
		h = checksum_one(dev, h);
	}
	return h;
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
}

static bool has(const void *data, size_t len, const ProtobufCBinaryData *key)
{
	return memmem(data, len, key->data, key->len);
}

/* Keys are in what the last act tells the other kernel, and nowhere else. With one kernel, its mappings must go as well. */
static void keys_and_layers(const struct kho_blob *first, const Kho__Block *b)
{
	struct kho_err e = KHO_ERR_INIT;
	struct kho_blob state = { 0 };

	must(kho_block_preserve(&check_env, 0, &state, &(bool){ 0 }, &e), &e, "preserve, once more");
	must(kho_state_load(&check_env, "block-out", &state, &e), &e, "state of the outgoing side");
	for (size_t i = b->n_layer; i-- > 0;) {
		const Kho__BlockLayer *l = b->layer[i];

		printf("      %s: %s %s\n", l->name, l->target[0]->type, l->target[0]->params);
		if (!strcmp(l->target[0]->type, "crypt"))
			fact(l->key.len && !has(first->data, first->len, &l->key) && !has(state.data, state.len, &l->key),
			     "its key of %zu digits is only where it must be", l->key.len);
	}
	must(kho_block_unpreserve(&check_env, &e), &e, "unpreserve");
	kho_blob_done(&state);
}

static void remove_layers(const Kho__Block *b)
{
	struct kho_err e = KHO_ERR_INIT;

	for (size_t i = b->n_layer; i-- > 0;)
		must(kho_dm_remove(b->layer[i]->name, &e), &e, "one kernel only: mapping removed");
}

/* All that the incoming one does until it owns the disk; once in vain, once for good. */
static void incoming(const Kho__Block *b, const char *dir, const struct kho_blob *first,
		     const struct kho_blob *last)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err e = KHO_ERR_INIT;
	uint64_t was = checksum(b);

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
		fact(was && checksum(b) == was, "the disks are unchanged");
		if (!round)
			must(kho_block_discard(&check_env, &e), &e, "discard");
	}
	kho_report_done(&r);
	must(kho_block_finish(&check_env, &e), &e, "finish");
	put(dir, "during", "written during the merge");
	must(kho_merge_wait_all(60000000, &e), &e, "merged");
}

static void merged(const char *dir, const char *name, const char *want)
{
	_cleanup_free_ char *mounts = NULL;
	struct kho_err e = KHO_ERR_INIT;
	char type[32], params[256], node[KHO_DM_NAME + 16];
	uint64_t sectors;

	must(kho_dm_status(name, false, type, params, &sectors, &e), &e, "status");
	fact(!strcmp(type, want), "%s is %s", name, type);
	put(dir, "after", "written after the merge");
	snprintf(node, sizeof(node), "/dev/mapper/%s ", name);
	fact(kho_read_file("/proc/mounts", 1 << 20, &mounts, NULL, &e) >= 0 && strstr(mounts, node), "mounted from %s", node);
	fact(!kho_exists("/dev/mapper/" KHO_DM_UNDER "0"), "nothing is left below it");
	fact(!kho_exists("/sys/block/ram0"), "the store is freed");
}

static bool same_layers(const Kho__Block *a, const Kho__Block *b)
{
	bool same = a->n_layer == b->n_layer;

	for (size_t i = 0; same && i < a->n_layer; i++) {
		const Kho__BlockLayer *x = a->layer[i], *y = b->layer[i];

		same = !strcmp(x->name, y->name) && !strcmp(x->uuid, y->uuid) && x->n_target == y->n_target;
		for (size_t k = 0; same && k < x->n_target; k++)
			same = !strcmp(x->target[k]->params, y->target[k]->params) && x->target[k]->sectors == y->target[k]->sectors &&
			       x->target[k]->n_under == y->target[k]->n_under;
	}
	return same;
}

/* The kernel that took over is the outgoing one of the next upgrade. */
static void next_generation(const Kho__Block *a)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err e = KHO_ERR_INIT;
	struct kho_blob again = { 0 };
	bool more;

	probe(&r, "probe, next generation");
	for (size_t i = 0; i < r.n; i++)
		fact(r.items[i].verdict != KHO_V_NO, "%s can go on", r.items[i].subject);
	must(kho_block_preserve(&check_env, 0, &again, &more, &e), &e, "preserve, next generation");
	Kho__Block *b = kho_pb_unpack(&kho__block__descriptor, &again, &e);

	fact(b && a->n_disk == b->n_disk && !strcmp(a->disk[0]->pci, b->disk[0]->pci),
	     "the next generation sees %zu disk(s), the first at %s, through it", a->n_disk,
	     b && b->n_disk ? b->disk[0]->pci : "?");
	fact(b && same_layers(a, b), "and %zu mapping(s) as they were", a->n_layer);
	for (size_t i = 0; b && i < b->n_layer; i++)
		fact(!*b->layer[i]->keyring, "no key is to be asked for");
	must(kho_block_unpreserve(&check_env, &e), &e, "unpreserve");
	kho_report_done(&r);
}

void check_block(const char *dir, const char *name, const char *type)
{
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_blob first = { 0 }, last = { 0 };
	struct kho_err e = KHO_ERR_INIT;

	check_env.disk_store_bytes = STORE_BYTES;
	put(dir, "old", "by the outgoing kernel");
	probe(&r, "probe");
	kho_report_done(&r);
	outgoing(dir, &first, &last);
	Kho__Block *b = kho_pb_unpack(&kho__block__descriptor, &last, &e);

	fact(b != NULL, "what the other kernel is told");
	if (!b)
		return;
	keys_and_layers(&first, b);
	fact(!umount(dir), "unmounted");
	remove_layers(b);
	incoming(b, dir, &first, &last);
	merged(dir, name, type);
	next_generation(b);
	fact(!umount(dir), "unmounted");
	if (!b->n_layer)
		must(kho_dm_remove(name, &e), &e, "removed");
	kho_block_free(b);
}
