// SPDX-License-Identifier: GPL-2.0-only
/*
 * libkmod on the target's module directory.  Devices are matched by their modalias, so a driver
 * that has another name in the target is found; a built-in one counts.
 */
#include "handover/beside/modules.h"

#include <libkmod.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/devices.h"
#include "handover/beside/firmware.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/netmods.h"

/*
 * What an incoming kernel may need besides the drivers of its devices: file systems (vfat with its character sets), packet holding
 * and locking, socket dumps for criu, snapshots of disks.  What the target does not have is skipped
 * here; who needs it says so (gates of the agent).
 */
static const char *const wanted[] = {
	"khoctl",
	"virtio_pci",
	"virtio_net",
	"virtio_blk",
	"virtio_scsi",
	"net_failover",
	"nvme",
	"sd_mod",
	"ext4",
	"xfs",
	"btrfs",
	"vfat",
	"nls_cp437",
	"nls_ascii",
	"nls_iso8859_1",
	"nls_utf8",
	"overlay",
	"loop",
	"brd",
	"dm_mod",
	"dm_snapshot",
	"dm_crypt",
	"crypto-aes",
	"crypto-xts",
	"crypto-cbc",
	"crypto-ecb",
	"crypto-essiv",
	"crypto-sha256",
	"crypto-serpent",
	"crypto-twofish",
	"crypto-adiantum",
	"aesni_intel",
	"xxhash_generic",
	"blake2b_generic",
	"md_mod",
	"nfnetlink",
	"nf_tables",
	"nft_ct",
	"nft_reject",
	"nft_nat",
	"nft_chain_nat",
	"nf_conntrack",
	"nf_conntrack_netlink",
	"x_tables",
	"algif_hash",
	"tcp_diag",
	"udp_diag",
	"inet_diag",
	"unix_diag",
	"netlink_diag",
	"af_packet_diag",
	"raw_diag",
	"sch_plug",
	"sch_ingress",
	"sch_prio",
	"sch_fq_codel",
	"cls_u32",
	"cls_matchall",
	"act_mirred",
	"ifb",
	"veth",
	"bridge",
	"dummy",
	"tun",
	"8021q",
	"bonding",
	"tcp_bbr",
	"tcp_cubic",
	"autofs4",
	"fuse",
	"crc32c",
	"crc32c_intel",
	"crc32c_generic",
};

static struct kmod_ctx *context(const struct kho_target *t, struct kho_err *err)
{
	static const char *const no_config[] = { "/dev/null", NULL };
	struct kmod_ctx *ctx = kmod_new(t->modules_dir, no_config);

	if (!ctx) {
		kho_fail(err, -ENOMEM, "%s: libkmod: out of memory", t->modules_dir);
		return NULL;
	}
	kmod_set_log_priority(ctx, 0);
	kmod_set_userdata(ctx, t->release);
	return ctx;
}

/* First word of khoctl.ko's vermagic must be the target's release. */
static int check_vermagic(const struct kho_target *t, struct kmod_module *mod, struct kho_err *err)
{
	struct kmod_list *info = NULL, *i;
	size_t n = strlen(t->release);
	int ret = kmod_module_get_info(mod, &info);
	const char *magic = NULL;

	if (ret < 0)
		return kho_fail(err, ret,
				"%s: not a kernel module; build it again: dkms install khoctl -k "
				"%s",
				kmod_module_get_path(mod), t->release);
	kmod_list_foreach (i, info)
		if (!strcmp(kmod_module_info_get_key(i), "vermagic"))
			magic = kmod_module_info_get_value(i);
	ret = 0;
	if (!magic || strncmp(magic, t->release, n) || (magic[n] != ' ' && magic[n] != '\0'))
		ret = kho_fail(err, -ENOEXEC,
			       "%s is built for kernel %.64s, not for %s; build it: dkms install "
			       "khoctl -k %s",
			       kmod_module_get_path(mod), magic ? magic : "?", t->release,
			       t->release);
	kmod_module_info_free_list(info);
	return ret;
}

/* By the lists of depmod, else by its place; *out NULL when not there. */
static int find_own(const struct kho_target *t, struct kmod_ctx *ctx, struct kmod_module **out,
		    struct kho_err *err)
{
	static const char *const dirs[] = { "updates/dkms", "updates", "extra",
					    "kernel/drivers/misc" };
	static const char *const ends[] = { "", ".xz", ".zst", ".gz" };
	struct kmod_list *list = NULL;
	size_t i;

	*out = NULL;
	if (kmod_module_new_from_lookup(ctx, "khoctl", &list) == 0 && list) {
		*out = kmod_module_get_module(list);
		kmod_module_unref_list(list);
		if (kmod_module_get_path(*out))
			return 0;
		kmod_module_unref(*out);
		*out = NULL;
	}
	for (i = 0; i < 16; i++) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s/khoctl.ko%s", t->modules_dir, dirs[i / 4], ends[i % 4]) <
		    0)
			return kho_fail(err, -ENOMEM, "khoctl.ko: out of memory");
		if (kho_exists(path) && kmod_module_new_from_path(ctx, path, out) == 0)
			return 0;
	}
	return 0;
}

static int check_own(const struct kho_target *t, struct kmod_ctx *ctx, struct kho_err *err)
{
	struct kmod_module *own;
	int ret = find_own(t, ctx, &own, err);

	if (ret < 0)
		return ret;
	if (!own)
		return kho_fail(err, -ENOENT,
				"%s has no khoctl.ko; build it: dkms install khoctl -k %s (package "
				"khoctl-dkms and linux-headers-%s)",
				t->modules_dir, t->release, t->release);
	ret = check_vermagic(t, own, err);
	kmod_module_unref(own);
	return ret;
}

int kho_modules_check_lists(const struct kho_target *t, struct kho_err *err)
{
	_cleanup_free_ char *dep = NULL;

	if (!kho_exists(t->modules_dir))
		return kho_fail(err, -ENOENT,
				"no modules for the target kernel: %s is missing; install them: "
				"apt install linux-image-%s",
				t->modules_dir, t->release);
	if (asprintf(&dep, "%s/modules.dep.bin", t->modules_dir) < 0)
		return kho_fail(err, -ENOMEM, "modules: out of memory");
	if (!kho_exists(dep))
		return kho_fail(err, -ENOENT, "%s is missing; make it: depmod %s", dep, t->release);
	return 0;
}

int kho_modules_check(const struct kho_target *t, struct kho_err *err)
{
	int ret = kho_modules_check_lists(t, err);
	struct kmod_ctx *ctx;

	if (ret < 0)
		return ret;
	ctx = context(t, err);
	if (!ctx)
		return -ENOMEM;
	ret = check_own(t, ctx, err);
	kmod_unref(ctx);
	return ret;
}

static int add_module(struct kmod_module *mod, const char *release, struct kho_files *l, struct kho_err *err)
{
	struct kmod_list *deps = kmod_module_get_dependencies(mod), *i;
	const char *path = kmod_module_get_path(mod); /* NULL: built in */
	int ret = path ? kho_files_add(l, path, err) : 0;

	if (!ret && path)
		ret = kho_firmware_add(mod, release, l, err);
	kmod_list_foreach (i, deps) {
		struct kmod_module *dep = kmod_module_get_module(i);

		path = kmod_module_get_path(dep);
		if (!ret && path)
			ret = kho_files_add(l, path, err);
		kmod_module_unref(dep);
	}
	kmod_module_unref_list(deps);
	return ret;
}

/* Name or modalias; *found: the target has it (built in counts). l may be NULL. */
static int lookup(struct kmod_ctx *ctx, const char *alias, bool *found, struct kho_files *l,
		  struct kho_err *err)
{
	struct kmod_list *list = NULL, *i;
	int ret = 0;

	*found = false;
	if (kmod_module_new_from_lookup(ctx, alias, &list) < 0)
		return 0;
	kmod_list_foreach (i, list) {
		struct kmod_module *mod = kmod_module_get_module(i);

		*found = true;
		if (!ret && l)
			ret = add_module(mod, kmod_get_userdata(ctx), l, err);
		kmod_module_unref(mod);
	}
	kmod_module_unref_list(list);
	return ret;
}

struct device_check {
	struct kmod_ctx *ctx;
	struct kho_files *l;
	struct kho_err *err;
	bool seen, missing, used;
	char alias[160]; /* that has no module */
};

/*
 * By modalias, then by the name of the driver that it has here: kernels before 6.18 do not tell
 * which devices their built-in drivers serve.
 */
static int on_device(void *arg, const char *alias, const char *driver)
{
	struct device_check *c = arg;
	char name[KHO_DRIVER_BYTES];
	bool found;
	int ret = lookup(c->ctx, alias, &found, c->l, c->err);

	c->seen = true;
	c->used |= *driver != '\0';
	if (!ret && !found && *driver) {
		kho_driver_module(driver, name);
		ret = lookup(c->ctx, name, &found, c->l, c->err);
	}
	if (!found) {
		c->missing = true;
		snprintf(c->alias, sizeof(c->alias), "%s", alias);
	}
	return ret;
}

static int check_device(const struct kho_target *t, struct kmod_ctx *ctx,
			const struct kho_ledger_pci *p, struct kho_report *r, struct kho_err *err)
{
	struct device_check c = { .ctx = ctx, .err = err };
	char name[32];
	int ret = kho_each_device(t->sysroot, p, on_device, &c);

	if (ret < 0)
		return err->code ? ret : kho_fail(err, ret, "devices: out of memory");
	if (!c.seen)
		return 0; /* of the machine, but this kernel never took it */
	snprintf(name, sizeof(name), "%04x:%02x:%02x.%x", p->segment, p->bus, p->devfn >> 3,
		 p->devfn & 7);
	if (c.missing && !c.used)
		return kho_report_add(r, KHO_V_OK, "device", name, NULL,
				      "not in use here; the target has no driver for it");
	if (c.missing)
		return kho_report_add(r, KHO_V_LOSS, "device", name,
				      "choose a target kernel with this driver (not the cloud "
				      "flavour?)",
				      "the target has no driver for it (%s): it stays unused",
				      c.alias);
	return kho_report_add(r, KHO_V_OK, "device", name, NULL, "the target has a driver for it");
}

int kho_modules_check_devices(const struct kho_target *t, const struct kho_machine *m,
			      struct kho_report *r, struct kho_err *err)
{
	struct kmod_ctx *ctx = context(t, err);
	int ret = 0;
	size_t i;

	if (!ctx)
		return -ENOMEM;
	for (i = 0; i < m->npci && !ret; i++)
		if (!m->pci[i].bridge)
			ret = check_device(t, ctx, &m->pci[i], r, err);
	kmod_unref(ctx);
	return ret;
}

/* depmod's lists as they are: what they name and is not there, is simply not found when asked for.
 */
static int add_lists(const struct kho_target *t, struct kho_files *l, struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = opendir(t->modules_dir);
	struct dirent *e;
	int ret = 0;

	if (!d)
		return kho_fail_errno(err, "%s", t->modules_dir);
	while (!ret && (e = readdir(d))) {
		_cleanup_free_ char *path = NULL;

		if (strncmp(e->d_name, "modules.", 8))
			continue;
		if (asprintf(&path, "%s/%s", t->modules_dir, e->d_name) < 0)
			return kho_fail(err, -ENOMEM, "modules: out of memory");
		ret = kho_files_add(l, path, err);
	}
	return ret;
}

struct loaded {
	struct kmod_ctx *ctx;
	struct kho_files *l;
	struct kho_err *err;
};

static int add_one_loaded(void *arg, const char *name)
{
	struct loaded *a = arg;
	bool found;

	return lookup(a->ctx, name, &found, a->l, a->err);
}

/* What the packet filter and virtual interfaces use here. */
static int add_loaded(const struct kho_target *t, struct kmod_ctx *ctx, struct kho_files *l,
		      struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(t->sysroot, "/proc/modules"), *text = NULL;
	struct loaded a = { .ctx = ctx, .l = l, .err = err };

	if (!path || kho_read_file(path, 1 << 20, &text, NULL, NULL) < 0)
		return 0;
	return kho_network_modules(text, add_one_loaded, &a);
}

int kho_modules_add(const struct kho_target *t, const struct kho_machine *m, struct kho_files *l,
		    struct kho_err *err)
{
	struct kmod_ctx *ctx = context(t, err);
	struct device_check c = { .ctx = ctx, .l = l, .err = err };
	struct kmod_module *own;
	bool found;
	int ret;
	size_t i;

	if (!ctx)
		return -ENOMEM;
	ret = find_own(t, ctx, &own, err);
	if (!ret && own) {
		ret = kho_files_add(l, kmod_module_get_path(own), err);
		kmod_module_unref(own);
	}
	for (i = 0; i < sizeof(wanted) / sizeof(*wanted) && !ret; i++)
		ret = lookup(ctx, wanted[i], &found, l, err);
	for (i = 0; i < m->npci && !ret; i++)
		if (!m->pci[i].bridge)
			ret = kho_each_device(t->sysroot, &m->pci[i], on_device, &c);
	if (!ret)
		ret = add_loaded(t, ctx, l, err);
	kmod_unref(ctx);
	return ret < 0 ? ret : add_lists(t, l, err);
}
