// SPDX-License-Identifier: GPL-2.0-only
/* See handover/beside/initramfs_write.h. */
#include "handover/beside/initramfs_write.h"

#include <string.h>

struct counted {
	kho_sink_fn sink;
	void *arg;
	uint64_t bytes;
};

static int count(void *arg, const void *data, size_t len)
{
	struct counted *c = arg;

	c->bytes += len;
	return c->sink(c->arg, data, len);
}

/* What was planned; without a plan (a test of the engine alone) it is chosen here. */
static int choose(const struct kho_initramfs_in *in, const char *mode, const char *given, struct kho_initramfs_choice *choice,
		  struct kho_err *err)
{
	struct kho_report r = KHO_REPORT_INIT;
	int ret = choice->kind ? 0
			       : kho_initramfs_choose(mode, given, in->target.sysroot, in->target.release, in->machine->root_in_ram, false, choice, &r);

	for (size_t i = 0; !ret && i < r.n; i++)
		if (r.items[i].verdict == KHO_V_NO)
			ret = kho_fail(err, -EINVAL, "%s: %s; %s", r.items[i].subject, r.items[i].what, r.items[i].fix);
	kho_report_done(&r);
	return ret == -ENOMEM ? kho_fail(err, ret, "initramfs: out of memory") : ret;
}

int kho_initramfs_measure(const struct kho_initramfs_in *in, struct kho_initramfs_choice *choice, uint64_t *out_archive, uint64_t *out_unpacked,
			  struct kho_report *r)
{
	struct kho_err why = KHO_ERR_INIT;
	struct kho_files files, cut;
	int ret = 0;

	if (kho_initramfs_list(in, &files, &why) < 0)
		return kho_report_refuse(r, "initramfs", in->target.release, &why);
	if (choice->initrd.len) {
		if (kho_initrd_join(&choice->initrd, &files, &cut, &why) < 0)
			ret = kho_initramfs_drop(choice, why.msg, "initramfs = khoctl in khoctl.conf", r);
		else
			kho_files_done(&cut);
	}
	kho_files_size(&files, out_archive, out_unpacked);
	kho_files_done(&files);
	return ret;
}

/* The host's (or the operator's) first: where both have a file, the later one wins. */
static int put_before(const struct kho_initrd *initrd, struct kho_files *ours, struct counted *c, struct kho_err *err)
{
	static const uint8_t zeros[4];
	struct kho_files cut;
	int ret = kho_initrd_join(initrd, ours, &cut, err);

	if (ret < 0)
		return ret;
	ret = kho_initrd_write(initrd, count, c, err);
	if (!ret && cut.n)
		ret = kho_files_pack(&cut, 0, count, c, err);
	kho_files_done(&cut);
	return ret < 0 || c->bytes % 4 == 0 ? ret : count(c, zeros, 4 - c->bytes % 4);
}

int kho_initramfs_level(const struct kho_initramfs_in *in, uint64_t archive_bytes)
{
	if (in->level == KHO_PACK_PLAIN)
		return 0;
	return in->level ? in->level : kho_files_level(archive_bytes);
}

int kho_initramfs_write(const struct kho_initramfs_in *in, const char *mode, const char *given, struct kho_initramfs_choice *choice,
			kho_sink_fn sink, void *arg, uint64_t *out_bytes, uint64_t *out_unpacked, struct kho_err *err)
{
	struct counted c = { .sink = sink, .arg = arg };
	struct kho_files files;
	uint64_t archive;
	int ret = kho_initramfs_stamp(in->run_dir, err);

	if (!ret)
		ret = choose(in, mode, given, choice, err);
	if (!ret)
		ret = kho_initramfs_list(in, &files, err);
	if (ret < 0)
		return ret;
	kho_files_size(&files, &archive, out_unpacked);
	*out_unpacked += choice->initrd.unpacked;
	if (choice->initrd.len)
		ret = put_before(&choice->initrd, &files, &c, err);
	if (!ret)
		ret = kho_files_pack(&files, kho_initramfs_level(in, archive), count, &c, err);
	kho_files_done(&files);
	*out_bytes = c.bytes;
	if (!ret)
		kho_initrd_done(&choice->initrd);
	return ret;
}
