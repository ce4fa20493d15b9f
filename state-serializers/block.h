/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the block serializer: finding, dm devices, mounts, and the operations of both sides.
 */
#ifndef KHO_BLOCK_H
#define KHO_BLOCK_H

#include <sys/types.h>

#include "state-serializers/block.pb-c.h"
#include "state-serializers/serializer.h"

#define KHO_DM_PREFIX "khoctl-"
#define KHO_DM_NAME 32

/* --- what there is (block-find.c); sysroot "" or a recorded tree; r may be NULL: nothing is said --- */
int kho_block_find(const char *sysroot, Kho__Block **out, struct kho_report *r, struct kho_err *err);
/* A file system that knows no FIFREEZE, but can be made read-only for the time (vfat: /boot/efi). */
bool kho_block_by_remount(const char *fstype);
/* Serial number of /sys/block/NAME ("" when it has none), malloc'd or NULL. */
char *kho_block_serial(const char *sysroot, const char *name);

/* --- device mapper by ioctl: no udev, nodes made by us (block-dm.c) --- */
/* Type, status text (or, with table, parameters) and length of the only target of a device; -ENXIO: no such device. */
int kho_dm_status(const char *name, bool table, char type[32], char params[256], uint64_t *out_sectors, struct kho_err *err);
/* Create a device with one target over all sectors and its node /dev/mapper/NAME. */
int kho_dm_create(const char *name, const char *type, uint64_t sectors, const char *params, dev_t *out_dev, struct kho_err *err);
/* Give a live device another table; no file system is frozen, nothing is flushed. */
int kho_dm_replace(const char *name, const char *type, uint64_t sectors, const char *params, struct kho_err *err);
/* Remove device and node; none there: 0. */
int kho_dm_remove(const char *name, struct kho_err *err);
/* Make the control node if there is none; loads nothing. */
int kho_dm_ready(struct kho_err *err);

/* --- mounts (block-mount.c) --- */
/* Mount the super block of a device at a directory of its own (made). note may be NULL: told of options that this kernel refuses. */
int kho_mount_hidden(const char *device, const char *fstype, const char *options, const char *dir,
		     struct kho_env *env, struct kho_err *err);
/* Mount directory root of what is mounted at dir also at target, with options and propagation of its own. */
int kho_mount_at(const char *dir, const char *root, const char *target, const char *options, unsigned long propagation,
		 struct kho_err *err);

/* --- block devices by number (block-node.c) --- */
/* Number of the device whose directory in sysfs is dir. */
int kho_dev_number(const char *dir, dev_t *out, struct kho_err *err);
/* Make it read-only (on) or writable. */
int kho_dev_readonly(dev_t dev, int on, struct kho_err *err);
/* Nothing of it may be left in this kernel's cache when it comes again. */
int kho_dev_drop_cache(dev_t dev, struct kho_err *err);
/* Zero its first block: to dm-snapshot a store whose first chunk is zero is a new one. */
int kho_dev_clear(dev_t dev, struct kho_err *err);

/* --- a carried root (block-root.c), incoming side with a new root only --- */
/* Before the blackout: the place for the new root, and the tmpfs mounts that the outgoing side has, empty. */
int kho_root_prepare(struct kho_env *env, const Kho__Block *b, struct kho_err *err);
/* /proc, /sys, /dev, /run and the tmpfs mounts below the mounted new root. */
int kho_root_furnish(struct kho_env *env, const Kho__Block *b, struct kho_err *err);
/* Its inverse; what was not done is left out. */
void kho_root_strip(struct kho_env *env, const Kho__Block *b);

/* --- after commit (block-merge.c) --- */
/* Begin to merge the snapshot of origin into it; cow is its store. */
int kho_merge_begin(const char *name, dev_t origin, dev_t cow, uint64_t sectors, struct kho_err *err);
/* One look: 1 = merged and now linear, 0 = still at it (or other target), negative = failed. */
int kho_merge_poll(const char *name, struct kho_err *err);
/* Look until all of our devices on this kernel are linear; -EBUSY after timeout. Frees the stores. */
int kho_merge_wait_all(uint64_t timeout_us, struct kho_err *err);
/* The same in a thread of its own. */
int kho_merge_watch(struct kho_err *err);

/* --- operations --- */
int kho_block_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err);
int kho_block_preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err);
int kho_block_unpreserve(struct kho_env *env, struct kho_err *err);
int kho_block_freeze(struct kho_env *env, struct kho_err *err);
int kho_block_drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err);
int kho_block_unfreeze(struct kho_env *env, struct kho_err *err);
int kho_block_forget(struct kho_env *env, struct kho_err *err);
int kho_block_prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_block_unprepare(struct kho_env *env, struct kho_err *err);
int kho_block_retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_block_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err);
int kho_block_discard(struct kho_env *env, struct kho_err *err);
int kho_block_finish(struct kho_env *env, struct kho_err *err);

#endif
