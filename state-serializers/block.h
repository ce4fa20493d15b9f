/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the block serializer: finding, dm devices, mounts, and the operations of both sides.
 */
#ifndef KHO_BLOCK_H
#define KHO_BLOCK_H

#include <sys/types.h>

#include "state-serializers/block-table.h"
#include "state-serializers/block.pb-c.h"
#include "state-serializers/serializer.h"

#define KHO_DM_PREFIX "khoctl-"
/* Below a mapping of the host's while that shows what was written before commit: holds its table until it gets that back. */
#define KHO_DM_UNDER KHO_DM_PREFIX "under-"
#define KHO_DM_NAME 128
#define KHO_BLOCK_FREE_US 30000000u /* how long a device of an undone upgrade may be held by who is already dead */

/* --- what there is (block-find.c); sysroot "" or a recorded tree; r may be NULL: nothing is said --- */
int kho_block_find(const char *sysroot, Kho__Block **out, struct kho_report *r, struct kho_err *err);
/* A file system that knows no FIFREEZE, but can be made read-only for the time (vfat: /boot/efi). */
bool kho_block_by_remount(const char *fstype);
/* Serial number of /sys/block/NAME ("" when it has none), malloc'd or NULL. */
char *kho_block_serial(const char *sysroot, const char *name);
/* "0:0:1": channel, target and unit of a SCSI disk; "" for others; malloc'd or NULL. */
char *kho_block_lun(const char *sysroot, const char *name);
/* Is disk i the first on its PCI function? What is done to the function is done once. */
bool kho_block_first_of_function(const Kho__Block *b, size_t i);
/* What a source is called for people: "vda", "vda2" or the name of its mapping. buf: room for it. */
const char *kho_block_name(const Kho__Block *b, size_t source, char buf[KHO_DM_NAME]);
/* Wipe the keys in it; and free it, too (NULL: nothing). */
void kho_block_wipe_keys(Kho__Block *b);
void kho_block_free(Kho__Block *b);

/* --- keys of LUKS that the kernel does not show (block-key.c) --- */
/* A verdict for each mapping: whether its key can be had without a question. */
int kho_key_probe(const struct kho_env *env, const Kho__Block *b, struct kho_report *r, struct kho_err *err);
/* Get the keys of all mappings that name one of the kernel's: key is set. -ENOKEY: one must be given first (`khoctl unlock`). */
int kho_key_get_all(Kho__Block *b, struct kho_err *err);

/* --- swap (block-swap.c) --- */
int kho_swap_probe(const struct kho_env *env, struct kho_report *r, struct kho_err *err);
/* Turn off what is on a disk or in a file; b->swap says what, and is saved before each act. -ENOMEM: does not fit into memory. */
int kho_swap_off(struct kho_env *env, Kho__Block *b, int (*save)(struct kho_env *env, struct kho_err *err), struct kho_err *err);
/* Its inverse: all in b->swap, which is empty then. */
int kho_swap_on(Kho__Block *b, struct kho_err *err);

/* --- device mapper by ioctl: no udev, nodes made by us (block-dm.c) --- */
/* The active table of a device, by name or ("") by number; with status, the targets' status text instead of parameters. -ENXIO: none. */
int kho_dm_table(const char *name, dev_t dev, bool status, struct kho_dm_table *out, struct kho_err *err);
/* Type, status text (or, with table, parameters) and length of the only target of a device; -ENXIO: no such device. */
int kho_dm_status(const char *name, bool table, char type[32], char params[256], uint64_t *out_sectors, struct kho_err *err);
/* Load a table beside the active one. */
int kho_dm_load(const char *name, const struct kho_dm_table *t, struct kho_err *err);
/* Create a device (uuid may be "") with a table and its node /dev/mapper/NAME. */
int kho_dm_create(const char *name, const char *uuid, const struct kho_dm_table *t, dev_t *out_dev, struct kho_err *err);
/* Give a live device another table; no file system is frozen. */
int kho_dm_replace(const char *name, const struct kho_dm_table *t, struct kho_err *err);
/* Remove device and node; none there: 0. */
int kho_dm_remove(const char *name, struct kho_err *err);
/* Make the control node if there is none; loads nothing. */
int kho_dm_ready(struct kho_err *err);

/* --- mounts (block-mount.c) --- */
/* Mount the super block of a device at a directory of its own (made). note may be NULL: told of options that this kernel refuses. */
int kho_mount_hidden(const char *device, const char *fstype, const char *options, const char *dir,
		     struct kho_env *env, struct kho_err *err);
/* The module of the character set that a vfat with these options has for its short names (its code page), or for all names as we see them. */
void kho_fat_charset(const char *options, bool names, char module[64]);
/* Mount directory root of what is mounted at dir also at target, with options and propagation of its own. */
int kho_mount_at(const char *dir, const char *root, const char *target, const char *options, unsigned long propagation,
		 struct kho_err *err);
/*
 * A tmpfs at target, with the options of mount and super block in one list; one that is mounted there gets them, except what can be told
 * only once (mode, owner). Never read-only: its files are still to come. Told of options that this kernel refuses.
 */
int kho_mount_ram(const char *target, const char *options, struct kho_env *env, struct kho_err *err);

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

/* --- finding again and mapping, incoming side (block-map.c) --- */
struct kho_map;
/* Nodes and stores for what b describes; b stays the caller's and must live as long. NULL: out of memory. */
struct kho_map *kho_map_new(const Kho__Block *b);
/* Only memory. */
void kho_map_free(struct kho_map *m);
/* Take the functions, and find each disk there by serial, size and unit. */
int kho_map_take(struct kho_map *m, struct kho_env *env, struct kho_err *err);
/* The mappings below the file systems, and over each file system's device a snapshot with its store. */
int kho_map_build(struct kho_map *m, struct kho_err *err);
/* Name in /dev/mapper of what source i is mounted from. */
const char *kho_map_name(const struct kho_map *m, size_t i);
/* Undo of build and take: all that was done. */
int kho_map_undo(struct kho_map *m, struct kho_env *env, struct kho_err *err);
/* Make the disks writable and begin to merge. */
int kho_map_merge(struct kho_map *m, struct kho_err *err);

/* --- after commit (block-merge.c) --- */
/* Begin to merge the snapshot of origin into it; cow is its store. What merges already, or has merged, is left as it is. */
int kho_merge_begin(const char *name, dev_t origin, dev_t cow, uint64_t sectors, struct kho_err *err);
/* One look: 1 = merged and now linear, 0 = still at it (or other target), negative = failed. */
int kho_merge_poll(const char *name, struct kho_err *err);
/* Look until all of our devices on this kernel are linear, or have failed; -EBUSY after timeout. Frees the stores. */
int kho_merge_wait_all(uint64_t timeout_us, struct kho_err *err);
/* The same in a thread of its own, which tells the kernel's log of a failure and goes on looking. */
int kho_merge_watch(struct kho_err *err);

/* --- operations --- */
int kho_block_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err);
/* Parts of quiet: requests that the kernel has given to a disk and has no answer for, -1: it does not say; of all disks; what of files is not on them. */
int64_t kho_block_in_flight(const char *sysroot, const char *disk);
void kho_block_quiet_disks(const char *sysroot, const Kho__Block *b, struct kho_quiet_list *out);
void kho_block_quiet_files(const char *sysroot, const Kho__Block *b, struct kho_quiet_list *out);

int kho_block_unlock(struct kho_env *env, kho_ask_fn *ask, void *arg, struct kho_err *err);
int kho_block_preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err);
int kho_block_unpreserve(struct kho_env *env, struct kho_err *err);
int kho_block_freeze(struct kho_env *env, struct kho_err *err);
int kho_block_drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err);
void kho_block_quiet(struct kho_env *env, bool shifted, struct kho_quiet_list *out);
int kho_block_unfreeze(struct kho_env *env, struct kho_err *err);
int kho_block_forget(struct kho_env *env, struct kho_err *err);
int kho_block_prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_block_unprepare(struct kho_env *env, struct kho_err *err);
int kho_block_retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_block_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err);
int kho_block_discard(struct kho_env *env, struct kho_err *err);
int kho_block_finish(struct kho_env *env, struct kho_err *err);
int kho_block_inherit(struct kho_env *env, struct kho_err *err);

#endif
