// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which file systems lie on disks that can change hands, and where.  Everything comes from mountinfo
 * and sysfs.  Every disk with a mounted file system is carried, whether a workload uses it or not: the
 * outgoing kernel ends without unmounting, so what stayed behind would lose what it had not written.
 */
#include <dirent.h>
#include <libmount/libmount.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/cleanup.h"
#include "lib/containerd.h"
#include "lib/io.h"
#include "state-serializers/block-find.h"
#include "state-serializers/common.h"

/* Where containers have their roots mounted: podman, containerd. */
static const char *const roots[] = { "/var/lib/containers/storage/", KHO_CONTAINERD_TASKS "/" };

static void table_unrefp(struct libmnt_table **t) { mnt_unref_table(*t); }
static void iter_freep(struct libmnt_iter **i) { mnt_free_iter(*i); }

static int say(struct kho_find *f, enum kho_verdict v, const char *area, const char *subject, const char *fix, const char *what)
{
	return f->r ? kho_report_add(f->r, v, area, subject, fix, "%s", what) : 0;
}

bool kho_find_attr(const char *dir, const char *attr, char **out)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s/%s", dir, attr) < (int)sizeof(path) && kho_read_line(path, out, NULL) >= 0;
}

uint64_t kho_find_number(const char *dir, const char *attr)
{
	_cleanup_free_ char *text = NULL;

	return kho_find_attr(dir, attr, &text) ? strtoull(text, NULL, 10) : 0;
}

/* SCSI: page 0x80 as the disk gave it. Not all kernels have it as text, too. */
static char *vpd_serial(const char *dir)
{
	_cleanup_free_ char *page = NULL;
	char path[PATH_MAX];
	size_t len, n;

	snprintf(path, sizeof(path), "%s/device/vpd_pg80", dir);
	if (kho_read_file(path, 4096, &page, &len, NULL) < 0 || len <= 4)
		return NULL;
	const char *text = page + 4;

	n = ((unsigned char)page[2] << 8 | (unsigned char)page[3]);
	n = n < len - 4 ? n : len - 4;
	for (; n && *text == ' '; n--)
		text++;
	while (n && (text[n - 1] == ' ' || !text[n - 1]))
		n--;
	return n ? strndup(text, n) : NULL;
}

char *kho_block_serial(const char *sysroot, const char *name)
{
	static const char *const attrs[] = { "serial", "wwid", "device/serial", "device/wwid" };
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/%s", name);
	_cleanup_free_ char *dir = kho_sysroot_path(sysroot, path);
	char *vpd = dir ? vpd_serial(dir) : NULL;

	if (vpd)
		return vpd;
	for (size_t i = 0; dir && i < KHO_ARRAY_SIZE(attrs); i++) {
		char *text = NULL;

		if (kho_find_attr(dir, attrs[i], &text) && *text)
			return text;
		free(text);
	}
	return strdup("");
}

char *kho_block_lun(const char *sysroot, const char *name)
{
	char path[128], full[PATH_MAX], *colon;
	unsigned h, c, t;
	unsigned long long l;

	snprintf(path, sizeof(path), "/sys/block/%s/device", name);
	_cleanup_free_ char *link = kho_sysroot_path(sysroot, path);

	/* the number of the host is not the same everywhere */
	if (link && realpath(link, full) && sscanf(strrchr(full, '/') + 1, "%u:%u:%u:%llu", &h, &c, &t, &l) == 4 &&
	    (colon = strchr(strrchr(full, '/'), ':')))
		return strdup(colon + 1);
	return strdup("");
}

/* A device of an earlier upgrade is a thin layer over the node that really carries the data. */
int kho_find_see_through(char dir[PATH_MAX])
{
	char path[PATH_MAX + 16];
	_cleanup_free_ char *name = NULL;

	if (!kho_find_attr(dir, "dm/name", &name))
		return 0;
	if (strncmp(name, KHO_DM_PREFIX, strlen(KHO_DM_PREFIX)))
		return -ENOTSUP;
	snprintf(path, sizeof(path), "%s/slaves", dir);
	_cleanup_closedir_ DIR *d = opendir(path);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		char link[PATH_MAX + 300], pci[KHO_PCI_LEN], full[PATH_MAX];

		snprintf(link, sizeof(link), "%s/%s", path, e->d_name);
		/* the store in RAM is on no PCI function */
		if (e->d_name[0] == '.' || kho_pci_of_sysfs("", link, pci) < 0 || !realpath(link, full))
			continue;
		strcpy(dir, full);
		return 0;
	}
	return -ENODEV;
}

/* Somebody else's layer (LVM, LUKS, RAID) on the disk or one of its partitions: its name. */
static bool has_foreign_holder(const char *dir, char holder[NAME_MAX + 1])
{
	char path[PATH_MAX + 300];

	snprintf(path, sizeof(path), "%s/holders", dir);
	_cleanup_closedir_ DIR *h = opendir(path);

	for (struct dirent *e = h ? readdir(h) : NULL; e; e = readdir(h)) {
		_cleanup_free_ char *name = NULL;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/holders/%.255s", dir, e->d_name);
		if (kho_find_attr(path, "dm/name", &name) && !strncmp(name, KHO_DM_PREFIX, strlen(KHO_DM_PREFIX)))
			continue;
		snprintf(holder, NAME_MAX + 1, "%s", name ? name : e->d_name);
		return true;
	}
	return false;
}

int kho_find_disk(struct kho_find *f, const char *dir, const char *pci, uint32_t *out, struct kho_err *err)
{
	const char *name = strrchr(dir, '/') + 1;
	char sysdev[NAME_MAX + 32];

	for (uint32_t i = 0; i < f->b->n_disk; i++)
		if (!strcmp(f->b->disk[i]->name, name))
			return *out = i, 0;
	Kho__BlockDisk *d = malloc(sizeof(*d));

	if (!d)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block_disk__init(d);
	_cleanup_free_ char *serial = kho_block_serial(f->sysroot, name), *lun = kho_block_lun(f->sysroot, name);

	snprintf(sysdev, sizeof(sysdev), "/sys/block/%s/device", name);
	d->sectors = kho_find_number(dir, "size");
	*out = f->b->n_disk;
	if (!serial || !lun || kho_pb_set(&d->lun, lun) || kho_pb_set(&d->name, name) || kho_pb_set(&d->pci, pci) || kho_pb_set(&d->serial, serial) ||
	    kho_driver_modules(f->sysroot, sysdev, &d->modules, &d->n_modules) == -ENOMEM ||
	    kho_pb_append(&f->b->disk, &f->b->n_disk, d)) {
		kho__block_disk__free_unpacked(d, NULL);
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int add_source(struct kho_find *f, const Kho__BlockRef *on, uint64_t sectors, struct libmnt_fs *fs, uint32_t *out,
		      struct kho_err *err)
{
	const char *options = mnt_fs_get_fs_options(fs);

	for (uint32_t i = 0; i < f->b->n_source; i++) {
		const Kho__BlockSource *s = f->b->source[i];

		if (s->layer == on->layer && (on->layer || (s->disk == on->disk && s->partition == on->partition)))
			return *out = i, 0;
	}
	Kho__BlockSource *s = malloc(sizeof(*s));

	if (!s)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block_source__init(s);
	s->disk = on->disk;
	s->partition = on->partition;
	s->layer = on->layer;
	s->sectors = sectors;
	*out = f->b->n_source;
	if (kho_pb_set(&s->fstype, mnt_fs_get_fstype(fs)) || kho_pb_set(&s->options, options ? options : "") ||
	    kho_pb_append(&f->b->source, &f->b->n_source, s)) {
		kho__block_source__free_unpacked(s, NULL);
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int add_mount(struct kho_find *f, uint32_t source, struct libmnt_fs *fs, struct kho_err *err)
{
	const char *options = mnt_fs_get_vfs_options(fs), *root = mnt_fs_get_root(fs);
	Kho__BlockMount *m = malloc(sizeof(*m));
	unsigned long propagation = 0;

	if (!m)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block_mount__init(m);
	m->source = source;
	if (!mnt_fs_get_propagation(fs, &propagation))
		m->propagation = propagation & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE);
	if (kho_pb_set(&m->target, mnt_fs_get_target(fs)) || kho_pb_set(&m->root, root ? root : "/") ||
	    kho_pb_set(&m->options, options ? options : "rw") || kho_pb_append(&f->b->mount, &f->b->n_mount, m)) {
		kho__block_mount__free_unpacked(m, NULL);
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static bool can_freeze(const char *fstype)
{
	static const char *const known[] = { "ext2", "ext3", "ext4", "xfs", "f2fs", "btrfs" };

	for (size_t i = 0; i < KHO_ARRAY_SIZE(known); i++)
		if (!strcmp(fstype, known[i]))
			return true;
	return false;
}

bool kho_block_by_remount(const char *fstype)
{
	static const char *const known[] = { "vfat", "exfat" };

	for (size_t i = 0; i < KHO_ARRAY_SIZE(known); i++)
		if (!strcmp(fstype, known[i]))
			return true;
	return false;
}

static bool is_readonly(struct libmnt_fs *fs)
{
	const char *o = mnt_fs_get_fs_options(fs);

	return o && (!strcmp(o, "ro") || !strncmp(o, "ro,", 3));
}

/* Mounts that hold data but lie on no disk of ours. */
static int note_other(struct kho_find *f, struct libmnt_fs *fs)
{
	static const char *const remote[] = { "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "overlay" };
	const char *type = mnt_fs_get_fstype(fs);

	for (size_t i = 0; !strcmp(type, "overlay") && i < KHO_ARRAY_SIZE(roots); i++)
		if (!strncmp(mnt_fs_get_target(fs), roots[i], strlen(roots[i])))
			return say(f, KHO_V_OK, "mount", mnt_fs_get_target(fs), NULL,
				   "the root of a container: moves with it if it is a workload");
	for (size_t i = 0; i < KHO_ARRAY_SIZE(remote); i++)
		if (!strcmp(type, remote[i]))
			return say(f, KHO_V_LOSS, "mount", mnt_fs_get_target(fs), "mount it again with the after-commit command",
				   "is not on a local disk: not carried");
	if (!strncmp(type, "fuse.", 5) || !strcmp(type, "fuseblk"))
		return say(f, KHO_V_LOSS, "mount", mnt_fs_get_target(fs), NULL, "FUSE file system: not carried");
	return 0;
}

/* More than one device below one btrfs: all would have to be mapped and announced. */
static bool is_spread(const char *fstype, const char *dir)
{
	_cleanup_closedir_ DIR *all = strcmp(fstype, "btrfs") ? NULL : opendir("/sys/fs/btrfs");
	char path[PATH_MAX];
	unsigned n = 0;

	for (struct dirent *e = all ? readdir(all) : NULL; e; e = readdir(all)) {
		snprintf(path, sizeof(path), "/sys/fs/btrfs/%s/devices/%s", e->d_name, strrchr(dir, '/') + 1);
		if (e->d_name[0] == '.' || !kho_exists(path))
			continue;
		*strrchr(path, '/') = '\0';
		_cleanup_closedir_ DIR *d = opendir(path);

		for (struct dirent *m = d ? readdir(d) : NULL; m; m = readdir(d))
			n += m->d_name[0] != '.';
	}
	return n > 1;
}

/* dir: the node in sysfs. What may be a reason not to carry it, when it is known what it lies on. */
static int judge(struct kho_find *f, struct libmnt_fs *fs, const char *dir, const Kho__BlockRef *on)
{
	const char *target = mnt_fs_get_target(fs), *type = mnt_fs_get_fstype(fs);
	char holder[NAME_MAX + 1], whole[PATH_MAX], what[NAME_MAX + 64];
	bool held = !on->layer && has_foreign_holder(dir, holder);

	if (!on->layer && on->partition) {
		snprintf(whole, sizeof(whole), "%.*s", (int)(strrchr(dir, '/') - dir), dir);
		held = held || has_foreign_holder(whole, holder);
	}
	if (held) {
		snprintf(what, sizeof(what), "its disk also carries %s, which is not carried", holder);
		return say(f, KHO_V_NO, "mount", target, NULL, what), -ENOTSUP;
	}
	if (!*f->sysroot && is_spread(type, dir))
		return say(f, KHO_V_NO, "mount", target, "unmount it", "btrfs over several devices is not carried"), -ENOTSUP;
	if (!can_freeze(type) && !kho_block_by_remount(type) && !is_readonly(fs))
		return say(f, KHO_V_NO, "mount", target, "unmount it, or mount it read-only", "this type of file system cannot be frozen"),
		       -ENOTSUP;
	return 0;
}

/* A tmpfs that is mounted by the machine, and not for one unit or session. */
static bool is_ram_of_host(struct libmnt_fs *fs)
{
	static const char *const others[] = { "/run/khoctl/", "/run/user/", "/run/credentials/", "/run/systemd/",
					      "/proc/", "/sys/", "/dev/" };
	const char *target = mnt_fs_get_target(fs);

	if (strcmp(mnt_fs_get_fstype(fs), "tmpfs") || !strcmp(target, "/") || !strcmp(target, "/run"))
		return false;
	if (!strcmp(target, "/dev/shm"))
		return true;
	for (size_t i = 0; i < KHO_ARRAY_SIZE(others); i++)
		if (!strncmp(target, others[i], strlen(others[i])))
			return false;
	return true;
}

static int add_ram(struct kho_find *f, struct libmnt_fs *fs, struct kho_err *err)
{
	const char *vfs = mnt_fs_get_vfs_options(fs), *super = mnt_fs_get_fs_options(fs);
	_cleanup_free_ char *options = NULL;
	Kho__BlockRam *m = malloc(sizeof(*m));

	if (!m)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block_ram__init(m);
	if (asprintf(&options, "%s,%s", vfs ? vfs : "rw", super ? super : "rw") < 0)
		options = NULL;
	if (!options || kho_pb_set(&m->target, mnt_fs_get_target(fs)) || kho_pb_set(&m->options, options) ||
	    kho_pb_append(&f->b->ram, &f->b->n_ram, m)) {
		kho__block_ram__free_unpacked(m, NULL);
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

/* What is carried whole needs no word, nor what is made anew (/run); containers' have a scan of their own. */
static int say_ram(struct kho_find *f, struct libmnt_fs *fs)
{
	const char *target = mnt_fs_get_target(fs);

	if (kho_path_is_below(target, "/run"))
		return 0;
	for (const char *const *p = kho_ram_whole; *p; p++)
		if (!strcmp(target, *p))
			return 0;
	for (size_t i = 0; i < KHO_ARRAY_SIZE(roots); i++)
		if (!strncmp(target, roots[i], strlen(roots[i])))
			return 0;
	return say(f, KHO_V_LOSS, "mount", target, "keep what is needed on a disk", "tmpfs: only files that workloads hold open move");
}

static bool is_mapped(const char *dir)
{
	_cleanup_free_ char *name = NULL;

	return kho_find_attr(dir, "dm/name", &name);
}

static int say_moves(struct kho_find *f, struct libmnt_fs *fs, const Kho__BlockRef *on, uint32_t source)
{
	const Kho__BlockLayer *l = on->layer ? f->b->layer[on->layer - 1] : NULL;
	char what[KHO_DM_NAME + 160], name[KHO_DM_NAME];

	if (l)
		snprintf(what, sizeof(what), "%s on %s (%s) moves", mnt_fs_get_fstype(fs), l->name,
			 !strncmp(l->uuid, "LVM-", 4) ? "LVM" : !strncmp(l->uuid, "CRYPT-", 6) ? "encrypted" : "mapped");
	else
		snprintf(what, sizeof(what), "%s on %s (%s) moves", mnt_fs_get_fstype(fs), kho_block_name(f->b, source, name),
			 f->b->disk[on->disk]->pci);
	return say(f, KHO_V_OK, "mount", mnt_fs_get_target(fs), NULL, what);
}

static int look_at_disk(struct kho_find *f, struct libmnt_fs *fs, dev_t dev, const char *node, struct kho_err *err)
{
	Kho__BlockRef on = KHO__BLOCK_REF__INIT;
	char dir[PATH_MAX], what[300];
	uint32_t source = 0;
	int ret = kho_find_under(f, dev, 0, &on, err);

	if (ret == -ENOTSUP && is_mapped(node))
		return snprintf(what, sizeof(what), "lies on %s", f->why), say(f, KHO_V_NO, "mount", mnt_fs_get_target(fs), "unmount it", what);
	if (ret == -ENOTSUP)
		return say(f, KHO_V_LOSS, "mount", mnt_fs_get_target(fs), NULL, "lies on no PCI disk: not carried");
	if (ret < 0)
		return ret;
	snprintf(dir, sizeof(dir), "%s", node);
	if (!on.layer)
		(void)kho_find_see_through(dir);
	if (judge(f, fs, dir, &on) < 0)
		return 0;
	ret = add_source(f, &on, kho_find_number(dir, "size"), fs, &source, err);
	if (!ret)
		ret = add_mount(f, source, fs, err);
	return ret ? ret : say_moves(f, fs, &on, source);
}

static int look_at(struct kho_find *f, struct libmnt_fs *fs, struct kho_err *err)
{
	dev_t dev = mnt_fs_get_devno(fs);
	const char *src = mnt_fs_get_source(fs);
	char path[64], dir[PATH_MAX];
	struct stat st;

	/* btrfs shows an anonymous device number */
	if (!major(dev) && src && src[0] == '/' && !*f->sysroot && !stat(src, &st) && S_ISBLK(st.st_mode))
		dev = st.st_rdev;
	if (is_ram_of_host(fs)) {
		int ret = add_ram(f, fs, err);

		return ret ? ret : say_ram(f, fs);
	}
	if (!major(dev))
		return note_other(f, fs);
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	_cleanup_free_ char *full = kho_sysroot_path(f->sysroot, path);

	if (!full || !realpath(full, dir))
		return say(f, KHO_V_UNKNOWN, "mount", mnt_fs_get_target(fs), NULL, "its device is not in sysfs");
	return look_at_disk(f, fs, dev, dir, err);
}

int kho_block_find(const char *sysroot, Kho__Block **out, struct kho_report *r, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/self/mountinfo");
	_cleanup_(table_unrefp) struct libmnt_table *t = path ? mnt_new_table_from_file(path) : NULL;
	_cleanup_(iter_freep) struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct kho_find f = { .sysroot = sysroot ? sysroot : "", .r = r };
	struct libmnt_fs *fs;
	int ret = 0;

	if (!t || !it)
		return kho_fail(err, -EIO, "read %s", path ? path : "mountinfo");
	f.b = malloc(sizeof(*f.b));
	if (!f.b)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block__init(f.b);
	while (!ret && !mnt_table_next_fs(t, it, &fs))
		ret = look_at(&f, fs, err);
	if (ret < 0) {
		kho_block_free(f.b);
		return ret;
	}
	*out = f.b;
	return 0;
}
