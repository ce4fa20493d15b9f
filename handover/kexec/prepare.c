// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done while everything runs: places in memory for what is handed over, the initramfs, the kernel loaded.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "handover/beside/initramfs_write.h"
#include "handover/kexec/handed.h"
#include "handover/kexec/kexec.h"
#include "handover/kexec/load.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

#define MIB (1ULL << 20)
#define OPTIONS "mode=0700,size=0,nr_inodes=0" /* of a tmpfs without a limit */

/*
 * A tmpfs of its own: /run's is a part of the memory, and what is needed has been counted (probe.c). Of shmem, as the Live Update
 * Orchestrator wants it; a /run that is the first root is not. secret: there may be a key of a disk in it, which is not for any swap (Linux 6.4).
 */
static int mount_place(const char *dir, bool secret, struct kho_err *err)
{
	static const char *const options[] = { OPTIONS ",huge=within_size,noswap", OPTIONS ",noswap", OPTIONS ",huge=within_size", OPTIONS };
	int ret = kho_mkdir(dir, err);

	if (ret < 0 || kho_is_mount_point(dir))
		return ret;
	for (size_t i = secret ? 0 : 2; i < sizeof(options) / sizeof(*options); i++)
		if (!mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options[i]))
			return 0;
	return kho_fail_errno(err, "mount a tmpfs on %s", dir);
}

/* On a kernel that khoctl has started there is one already, and stays. */
static int mount_images(struct kho_kexec *k, struct kho_err *err)
{
	int ret = kho_is_mount_point(k->images_dir) ? 0 : kho_write_file(k->mounted, "", 0, err);

	return ret < 0 ? ret : mount_place(k->images_dir, false, err);
}

/* The mark first: who undoes after a crash removes what may be ours. */
static int make_folder(struct kho_kexec *k, struct kho_err *err)
{
	const char *dir = k->e.req->carry_dir;
	uint64_t room = 0;
	int ret;

	if (!dir)
		return 0;
	ret = kho_disk_judge(dir, kho_kexec_disk_need(k->e.req->workloads), &room, err);
	if (!ret)
		ret = kho_write_file(k->kept, "", 0, err);
	if (ret < 0)
		return ret;
	k->disk = kho_disk_make(dir, err);
	if (k->disk == -EEXIST) /* somebody has made it just now: it is not ours */
		(void)!unlink(k->kept);
	if (k->disk >= 0)
		return 0;
	ret = k->disk;
	k->disk = -1;
	return ret;
}

static int drop_folder(struct kho_kexec *k, struct kho_err *err)
{
	int ret;

	if (k->disk >= 0)
		close(steal_fd(k->disk));
	if (!k->e.req->carry_dir || !kho_exists(k->kept))
		return 0;
	ret = kho_carry_drop(k->e.req->carry_dir, err);
	if (!ret)
		(void)!unlink(k->kept);
	return ret;
}

static int unmount_place(const char *dir, struct kho_err *err)
{
	if (kho_is_mount_point(dir) && umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW))
		return kho_fail_errno(err, "unmount %s", dir);
	if (rmdir(dir) && errno != ENOENT && errno != ENOTEMPTY)
		return kho_fail_errno(err, "remove %s", dir);
	return 0;
}

static int write_initramfs(struct kho_kexec *k, struct kho_err *err)
{
	_cleanup_free_ const char **files = NULL;
	struct kho_initramfs_in in;
	uint64_t begin = kho_clock_us(), bytes = 0, unpacked = 0;
	_cleanup_close_ int fd = open(k->initrd, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ret;

	if (fd < 0)
		return kho_fail_errno(err, "%s", k->initrd);
	ret = kho_kexec_initramfs_in(k, &in, &files, err);
	if (!ret)
		ret = kho_initramfs_write(&in, k->e.req->initramfs, k->e.req->initrd, &k->initramfs, kho_sink_fd, &fd, &bytes, &unpacked, err);
	if (ret < 0)
		return ret;
	k->root_bytes = bytes;
	kho_engine_note(&k->e, "initramfs: %llu MiB (%llu unpacked)", (unsigned long long)(bytes / MIB), (unsigned long long)(unpacked / MIB));
	kho_engine_phase(&k->e, "initramfs", begin);
	return 0;
}

int kho_kexec_reserve(struct kho_engine *e, const struct kho_engine_plan *p, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);
	int ret = kho_kexec_facts(k, err);

	if (!ret)
		ret = kho_kexec_choose_carrier(k, err);
	if (!ret)
		ret = kho_kexec_fix_carrier(k, p->initrd_bytes, err);
	if (k->luo)
		kho_want_descriptors(KHO_HANDED_FDS);
	if (!ret && !k->cmdline)
		ret = kho_kexec_cmdline(k, false, &k->cmdline, err);
	/* not when it is needed: it looks at files of a disk, and that is in the blackout */
	if (!ret && *k->back_image && !k->back_cmdline)
		ret = kho_kexec_cmdline(k, true, &k->back_cmdline, err);
	if (!ret)
		ret = mount_place(k->dir, true, err);
	if (!ret)
		ret = mount_images(k, err);
	if (!ret)
		ret = make_folder(k, err);
	if (ret < 0)
		return ret;
	kho_engine_note(&k->e, "handed over by %s: %s", kho_kexec_carrier_name(k), k->carrier);
	return write_initramfs(k, err);
}

int kho_kexec_unreserve(struct kho_engine *e, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);
	struct kho_err one = KHO_ERR_INIT;
	int first = 0, dropped = drop_folder(k, &one);

	kho_kexec_drop_files(k); /* the session, where nothing was connected */
	kho_first_failure(dropped, &one, &first, err);
	if (kho_exists(k->mounted))
		kho_first_failure(unmount_place(k->images_dir, &one), &one, &first, err);
	/* the marks are in there, for who tries again */
	if (dropped >= 0)
		kho_first_failure(unmount_place(k->dir, &one), &one, &first, err);
	return first;
}

int kho_kexec_spawn(struct kho_engine *e, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);
	uint64_t begin = kho_clock_us();
	int ret;

	if (kho_kexec_is_loaded())
		return kho_fail(err, -EBUSY, "a kernel is loaded for kexec; unload it (kexec -u)");
	/* the mark first: who undoes after a crash unloads what may be ours */
	ret = kho_write_file(k->loaded, "", 0, err);
	if (!ret)
		ret = kho_kexec_load(e->req->image, k->initrd, k->cmdline, err);
	if (!ret)
		kho_engine_phase(&k->e, "load", begin);
	return ret;
}

int kho_kexec_stop(struct kho_engine *e, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);
	int ret = kho_exists(k->loaded) ? kho_kexec_unload(err) : 0;

	if (!ret && unlink(k->loaded) && errno != ENOENT)
		return kho_fail_errno(err, "remove %s", k->loaded);
	return ret;
}
