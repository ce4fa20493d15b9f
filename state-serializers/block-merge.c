// SPDX-License-Identifier: GPL-2.0-only
/*
 * After commit: what was written in the dark goes to the disk, while the file system is in use.  The
 * snapshot becomes a snapshot-merge with the same store; when nothing is left in it, it becomes what it stands for: a linear device
 * over its disk (the name stays, and with it what mounts show as their source), or the host's own mapping.
 *
 * Power loss or a crash of this kernel before the end loses what is still in the store, which is in RAM;
 * the file system may then have to be checked.  See docs/limits.md.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

#define POLL_US 50000
#define RETRY_S 10
#define CHUNK 8		/* sectors; small chunks: one written block costs one block */

static pthread_mutex_t merge_lock = PTHREAD_MUTEX_INITIALIZER;

static int replace_one(const char *name, const char *type, uint64_t sectors, const char *params, struct kho_err *err)
{
	_cleanup_(kho_dm_table_done) struct kho_dm_table t = { 0 };

	if (kho_dm_table_add(&t, 0, sectors, type, params))
		return kho_fail(err, -ENOMEM, "out of memory");
	return kho_dm_replace(name, &t, err);
}

int kho_merge_begin(const char *name, dev_t origin, dev_t cow, uint64_t sectors, struct kho_err *err)
{
	char params[256], type[32];
	uint64_t now;
	int ret = kho_dm_status(name, true, type, params, &now, err);

	/* once more could be over what has been written since */
	if (ret < 0 || strcmp(type, "snapshot"))
		return ret;
	snprintf(params, sizeof(params), "%u:%u %u:%u P %u", major(origin), minor(origin), major(cow), minor(cow), CHUNK);
	return replace_one(name, "snapshot-merge", sectors, params, err);
}

/* "254:0 1:0 P 8": the first is the origin. */
static int become_linear(const char *name, struct kho_err *err)
{
	char type[32], table[256], params[64];
	uint64_t sectors;
	unsigned maj, min;
	int ret = kho_dm_status(name, true, type, table, &sectors, err);

	if (ret < 0)
		return ret;
	if (sscanf(table, "%u:%u", &maj, &min) != 2)
		return kho_fail(err, -EIO, "%s: table %s", name, table);
	snprintf(params, sizeof(params), "%u:%u 0", maj, min);
	return replace_one(name, "linear", sectors, params, err);
}

/* The mapping gets the table of what was below it, which is not needed any more. */
static int become_itself(const char *name, const char *under, struct kho_err *err)
{
	_cleanup_(kho_dm_table_done) struct kho_dm_table t = { 0 };
	int ret = kho_dm_table(under, 0, false, &t, err);

	if (!ret)
		ret = kho_dm_replace(name, &t, err);
	return ret ? ret : kho_dm_remove(under, err);
}

/* under: where its own table is, or NULL when it becomes a linear device. */
static int poll_one(const char *name, const char *under, struct kho_err *err)
{
	char type[32], params[256];
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
	ret = under ? become_itself(name, under, &e) : become_linear(name, &e);
	if (ret < 0)
		return *err = e, ret;
	return 1;
}

int kho_merge_poll(const char *name, struct kho_err *err)
{
	return poll_one(name, NULL, err);
}

/* The mapping that shows a snapshot of that device, by sysfs. */
static bool holder_of(const char *under, char name[KHO_DM_NAME])
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/mapper/%s", under);
	if (stat(path, &st) < 0)
		return false;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(st.st_rdev), minor(st.st_rdev));
	_cleanup_closedir_ DIR *d = opendir(path);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		_cleanup_free_ char *text = NULL;

		snprintf(path, sizeof(path), "/sys/block/%.64s/dm/name", e->d_name);
		if (e->d_name[0] == '.' || kho_read_line(path, &text, NULL) < 0)
			continue;
		snprintf(name, KHO_DM_NAME, "%s", text);
		return true;
	}
	return false;
}

/* One look at every device of ours: how many still become what they shall be; the first failure, which keeps nobody from the others. */
static int look_at_all(int *left, struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = opendir("/dev/mapper");
	int first = 0;

	*left = 0;
	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		struct kho_err one = KHO_ERR_INIT;
		char holder[KHO_DM_NAME];
		int ret;

		if (strncmp(e->d_name, KHO_DM_PREFIX, strlen(KHO_DM_PREFIX)))
			continue;
		if (strncmp(e->d_name, KHO_DM_UNDER, strlen(KHO_DM_UNDER)))
			ret = kho_merge_poll(e->d_name, &one);
		else if (holder_of(e->d_name, holder))
			ret = poll_one(holder, e->d_name, &one);
		else /* left by a merge that was broken off between the last two acts */
			ret = kho_dm_remove(e->d_name, &one) ? : 1;
		kho_first_failure(ret, &one, &first, err);
		*left += !ret;
	}
	return first;
}

int kho_merge_wait_all(uint64_t timeout_us, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + timeout_us;

	for (;;) {
		struct kho_err e = KHO_ERR_INIT;
		int left, ret;

		pthread_mutex_lock(&merge_lock);
		ret = look_at_all(&left, &e);
		pthread_mutex_unlock(&merge_lock);
		if (ret < 0 && (!left || kho_clock_us() > end)) {
			if (err)
				*err = e;
			return ret;
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

/* Nobody waits for the watching thread: the kernel's log is where a person finds it. */
static void tell(const struct kho_err *e)
{
	char line[700];

	snprintf(line, sizeof(line), "<3>khoctl: what was written before the commit is only in memory, and is lost when this kernel ends: %s\n",
		 e->msg);
	(void)!kho_write_existing("/dev/kmsg", line, NULL); /* a log may be missing */
}

static void *watch(void *arg)
{
	struct kho_err e = KHO_ERR_INIT;

	(void)arg;
	/* no limit: a later upgrade's preserve waits too, and finds out why it does not end; its looks may also make one of ours fail */
	for (unsigned failed = 0; kho_merge_wait_all(UINT64_MAX / 2, &e) < 0; failed++) {
		if (failed == 1)
			tell(&e);
		sleep(RETRY_S);
		e = (struct kho_err)KHO_ERR_INIT;
	}
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
