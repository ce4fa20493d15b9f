// SPDX-License-Identifier: GPL-2.0-only
/*
 * After commit: what was written in the dark goes to the disk, while the file system is in use.  The
 * snapshot becomes a snapshot-merge with the same store; when nothing is left in it, a linear device.
 * The name stays, and with it what mounts show as their source.
 *
 * Power loss or a crash of this kernel before the end loses what is still in the store, which is in RAM;
 * the file system may then have to be checked.  See docs/limits.md.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

#define POLL_US 50000
#define CHUNK 8		/* sectors; small chunks: one written block costs one block */

static pthread_mutex_t merge_lock = PTHREAD_MUTEX_INITIALIZER;

int kho_merge_begin(const char *name, dev_t origin, dev_t cow, uint64_t sectors, struct kho_err *err)
{
	char params[128];

	snprintf(params, sizeof(params), "%u:%u %u:%u P %u", major(origin), minor(origin), major(cow), minor(cow), CHUNK);
	return kho_dm_replace(name, "snapshot-merge", sectors, params, err);
}

/* "254:0 1:0 P 8": the first is the origin. */
static int origin_of(const char *name, char params[64], uint64_t *sectors, struct kho_err *err)
{
	char type[32], table[256];
	unsigned maj, min;
	int ret = kho_dm_status(name, true, type, table, sectors, err);

	if (ret < 0)
		return ret;
	if (sscanf(table, "%u:%u", &maj, &min) != 2)
		return kho_fail(err, -EIO, "%s: table %s", name, table);
	snprintf(params, 64, "%u:%u 0", maj, min);
	return 0;
}

int kho_merge_poll(const char *name, struct kho_err *err)
{
	char type[32], params[256], linear[64];
	unsigned long long used, total, meta;
	struct kho_err e = KHO_ERR_INIT;
	uint64_t sectors;
	int ret = kho_dm_status(name, false, type, params, &sectors, &e);

	if (!ret && !strcmp(type, "linear"))
		return 1;
	if (!ret && strcmp(type, "snapshot-merge"))
		return 0;
	if (ret < 0)
		return *err = e, ret;
	if (sscanf(params, "%llu/%llu %llu", &used, &total, &meta) != 3)
		return kho_fail(err, -EIO, "%s: merge failed: %s", name, params);
	if (used != meta)
		return 0;
	ret = origin_of(name, linear, &sectors, &e);
	if (!ret)
		ret = kho_dm_replace(name, "linear", sectors, linear, &e);
	if (ret < 0)
		return *err = e, ret;
	return 1;
}

/* One look at every device of ours: how many are not linear yet. */
static int look_at_all(struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = opendir("/dev/mapper");
	int left = 0;

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		if (strncmp(e->d_name, KHO_DM_PREFIX, strlen(KHO_DM_PREFIX)))
			continue;
		int ret = kho_merge_poll(e->d_name, err);

		if (ret < 0)
			return ret;
		left += !ret;
	}
	return left;
}

int kho_merge_wait_all(uint64_t timeout_us, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + timeout_us;
	struct kho_err e = KHO_ERR_INIT;

	for (;;) {
		pthread_mutex_lock(&merge_lock);
		int left = look_at_all(&e);

		pthread_mutex_unlock(&merge_lock);
		if (left < 0) {
			if (err)
				*err = e;
			return left;
		}
		if (!left)
			break;
		if (kho_clock_us() > end)
			return kho_fail(err, -EBUSY, "%d disk(s) still take over what was written before commit: try again later", left);
		nanosleep(&(struct timespec){ .tv_nsec = POLL_US * 1000 }, NULL);
	}
	kho_module_unload("brd");
	return 0;
}

static void *watch(void *arg)
{
	(void)arg;
	/* no limit: a later upgrade's preserve waits too, and finds out why it does not end */
	(void)!kho_merge_wait_all(UINT64_MAX / 2, NULL);
	return NULL;
}

int kho_merge_watch(struct kho_err *err)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int ret = pthread_create(&t, &attr, watch, NULL);

	pthread_attr_destroy(&attr);
	return ret ? kho_fail(err, -ret, "watch merging disks: %s", strerror(ret)) : 0;
}
