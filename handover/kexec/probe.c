// SPDX-License-Identifier: GPL-2.0-only
/*
 * Can the kexec engine work here? As in the beside engine each thing that can be known before becomes one line of the report.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover/beside/initramfs_write.h"
#include "handover/beside/modules.h"
#include "handover/beside/signature.h"
#include "handover/dev.h"
#include "handover/kexec/disk.h"
#include "handover/kexec/kexec.h"
#include "handover/kexec/load.h"
#include "handover/kexec/luo.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/kho_abi.h"

#define MIB (1ULL << 20)
/* On a disk, besides pages: whatever else there is in images, and what the file system takes for itself. */
#define DISK_MARGIN (64 * MIB)
/* The first version of the orchestrator whose sessions hold any number of files (linked blocks); before it: 128, and a workload has more. */
#define LUO_MANY_FILES 5

struct probe {
	struct kho_kexec *k;
	struct kho_engine_plan *out;
	struct kho_report *r;
	struct kho_err *err;
};

static bool is_recorded(const struct kho_kexec *k)
{
	return k->e.req->sysroot && *k->e.req->sysroot;
}

/* A kernel that khoctl has started beside another lives in a region, by tables that a kernel started by kexec would not find. */
static int probe_generation(struct probe *p)
{
	struct kho_ioc_info info;
	int fd = kho_dev_open(NULL), ret;

	if (fd < 0)
		return 0;
	ret = kho_dev_info(fd, &info, NULL);
	close(fd);
	if (ret < 0 || !(info.flags & KHO_INFO_HAS_UP))
		return 0;
	return kho_report_add(p->r, KHO_V_NO, "kexec", "this kernel", "use --engine beside, or restart the machine first",
			      "it was started beside another one (generation %u): no other can take its place by kexec", info.generation);
}

static int probe_kexec(struct probe *p)
{
	_cleanup_free_ char *path = kho_sysroot_path(p->k->e.req->sysroot, "/proc/sys/kernel/kexec_load_disabled"), *off = NULL;

	if (path && kho_read_line(path, &off, NULL) < 0)
		return kho_report_add(p->r, KHO_V_NO, "kexec", "this kernel", NULL, "it has no kexec (CONFIG_KEXEC_FILE)");
	if (off && strcmp(off, "0"))
		return kho_report_add(p->r, KHO_V_NO, "kexec", "this kernel", "restart without kernel.kexec_load_disabled=1",
				      "kexec is switched off (kernel.kexec_load_disabled)");
	/* asked for: the next kernel shall have a part of the machine. It would get all of it, in a blackout of seconds */
	if (p->k->e.req->memory_bytes)
		return kho_report_add(p->r, KHO_V_NO, "kexec", "--memory", "leave --memory out", "it is for a kernel beside this one");
	if (is_recorded(p->k))
		return 0;
	if (kho_kexec_is_loaded())
		return kho_report_add(p->r, KHO_V_NO, "kexec", "this kernel", "unload it: kexec -u", "a kernel is loaded for kexec already");
	return probe_generation(p);
}

static int probe_image(struct probe *p)
{
	const struct kho_bzimage *img = &p->k->img;
	struct kho_err why = KHO_ERR_INIT;
	const char *policy;

	if (!kho_signature_enforced(p->k->e.req->sysroot, &policy))
		return kho_report_add(p->r, KHO_V_OK, "image", img->release, NULL,
				      "a kernel that kexec can start; signature not checked: the running kernel enforces none");
	if (!is_recorded(p->k) && kho_signature_verify(p->k->e.req->image, &why) < 0)
		return kho_report_refuse(p->r, "image", img->release, &why);
	return kho_report_add(p->r, KHO_V_OK, "image", img->release, NULL, "the running kernel takes only signed kernels (%s) and %s this one",
			      policy, is_recorded(p->k) ? "will verify" : "has verified");
}

static int probe_modules(struct probe *p)
{
	const struct kho_engine_request *req = p->k->e.req;
	const struct kho_target t = { .modules_dir = req->modules_dir, .release = p->k->img.release, .sysroot = req->sysroot };
	struct kho_err why = KHO_ERR_INIT;

	if (is_recorded(p->k))
		return 0;
	if (kho_modules_check_lists(&t, &why) < 0)
		return kho_report_refuse(p->r, "modules", t.release, &why);
	return kho_modules_check_devices(&t, &p->k->m, p->r, p->err);
}

static int probe_carrier(struct probe *p)
{
	struct kho_err why = KHO_ERR_INIT;

	if (is_recorded(p->k))
		return kho_report_add(p->r, KHO_V_UNKNOWN, "kexec", "carrier", NULL, "a recorded tree tells nothing about it");
	if (kho_kexec_choose_carrier(p->k, &why) < 0)
		return kho_report_refuse(p->r, "kexec", "handover", &why);
	return kho_report_add(p->r, KHO_V_OK, "kexec", "carrier", NULL, "%s%s: %s", kho_kexec_carrier_name(p->k),
			      p->k->luo ? " (in place, nothing is copied)" : "", p->k->carrier);
}

/*
 * Sessions of others go along with any kexec, to a target whose orchestrator has the same version. Whose they are it does not know: systemd does by a list
 * that only systemctl kexec leaves (luo_preserve_fd_stores() of systemd's src/shared/luo-util.c).
 */
static int probe_sessions(struct probe *p)
{
	struct kho_luo_use use;

	if (is_recorded(p->k))
		return 0;
	kho_luo_look(KHO_LUO_DEVICE, &use);
	if (!use.owner.pid)
		return 0;
	return kho_report_add(p->r, KHO_V_LOSS, "kexec", "live update", "their owners have to ask for them by name on the next kernel, or save what is in them first",
			      "others have live update sessions ('%s' of %s, pid %d): no service gets its own back by itself", use.session,
			      use.owner.name, (int)use.owner.pid);
}

static int probe_disk(struct probe *p)
{
	const struct kho_engine_request *req = p->k->e.req;
	struct kho_err why = KHO_ERR_INIT;
	uint64_t need, room = 0;

	if (!req->carry_dir)
		return 0;
	if (is_recorded(p->k))
		return kho_report_add(p->r, KHO_V_UNKNOWN, "kexec", "--state-dir", NULL, "a recorded tree tells nothing about it");
	need = kho_kexec_disk_need(req->workloads);
	if (kho_disk_judge(req->carry_dir, need, &room, &why) < 0)
		return kho_report_refuse(p->r, "kexec", "--state-dir", &why);
	return kho_report_add(p->r, KHO_V_OK, "kexec", "--state-dir", NULL, "%s: %llu MiB of room, at most %llu MiB are written there for a while",
			      req->carry_dir, (unsigned long long)(room / MIB), (unsigned long long)(need / MIB));
}

static uint64_t resident(const struct kho_workload_list *w)
{
	uint64_t rss = 0;

	for (size_t i = 0; w && i < w->n; i++)
		rss += w->w[i].rss_bytes;
	return rss;
}

uint64_t kho_kexec_disk_need(const struct kho_workload_list *w)
{
	return resident(w) * 2 + DISK_MARGIN;
}

/* What the archive takes, from its list: most, as if nothing could be packed; the plan is told about how much it is. */
static int initramfs_bytes(struct probe *p, uint64_t *most, uint64_t *unpacked)
{
	_cleanup_free_ const char **extra = NULL;
	struct kho_initramfs_in in;
	struct kho_initramfs_choice *c = &p->k->initramfs;
	const struct kho_engine_request *req = p->k->e.req;
	int ret = c->kind ? 0
			  : kho_initramfs_choose(req->initramfs, req->initrd, req->sysroot, p->k->img.release,
						 p->k->m.root_in_ram, true, c, p->r);

	if (!ret)
		ret = kho_kexec_initramfs_in(p->k, &in, &extra, p->err);
	if (!ret)
		ret = kho_initramfs_measure(&in, c, most, unpacked, p->r);
	if (ret < 0 || !*most)
		return ret;
	p->out->initrd_bytes = kho_files_packed(*most, kho_initramfs_level(&in, *most)) + c->initrd.packed;
	*most += c->initrd.packed;
	*unpacked += c->initrd.unpacked;
	return ret;
}

static int tell_initramfs(struct probe *p)
{
	const struct kho_initramfs_choice *c = &p->k->initramfs;

	p->out->initramfs = strdup(kho_initramfs_name(c->kind));
	p->out->initramfs_path = c->initrd.len ? strdup(c->path) : NULL;
	p->out->initramfs_reason = strdup(c->reason);
	if (!p->out->initramfs || !p->out->initramfs_reason || (c->initrd.len && !p->out->initramfs_path))
		return -ENOMEM;
	return kho_report_add(p->r, KHO_V_OK, "initramfs", c->initrd.len ? c->path : p->k->img.release, NULL, "%s; about %llu MiB%s", c->reason,
			      (unsigned long long)(p->out->initrd_bytes / MIB), p->k->level ? ", packed" : "; the target's configuration promises no zstd");
}

/*
 * Memory of this kernel: the initramfs as a file and as loaded, the images; by the initramfs carrier they are in the file and loaded, too (packed, but
 * not all memory can be packed).
 */
static uint64_t memory_need(const struct kho_kexec *k, uint64_t packed)
{
	return packed * 2 + resident(k->e.req->workloads) * (k->luo || k->e.req->carry_dir ? 1 : 3);
}

/* That, and in the next kernel: the same, and the workloads. What comes over a disk is there once, and the workloads. */
static int probe_memory(struct probe *p)
{
	const struct kho_workload_list *w = p->k->e.req->workloads;
	uint64_t most = 0, unpacked = 0, rss = resident(w), need, next;
	bool disk = p->k->e.req->carry_dir;
	int ret;

	if (is_recorded(p->k))
		return 0;
	ret = initramfs_bytes(p, &most, &unpacked);
	if (ret < 0 || kho_report_worst(p->r) == KHO_V_NO)
		return ret;
	need = memory_need(p->k, most);
	next = unpacked + rss * (disk ? 2 : 3);
	if (need > p->k->m.available_bytes)
		return kho_report_add(p->r, KHO_V_NO, "memory", "images", "free some memory", "%llu MiB are needed for what is handed over, %llu MiB available",
				      (unsigned long long)(need / MIB), (unsigned long long)(p->k->m.available_bytes / MIB));
	if (next > p->k->m.total_bytes)
		return kho_report_add(p->r, KHO_V_NO, "memory", "next kernel", NULL, "%llu MiB are needed there, this machine has %llu MiB",
				      (unsigned long long)(next / MIB), (unsigned long long)(p->k->m.total_bytes / MIB));
	ret = kho_report_add(p->r, KHO_V_OK, "memory", "images", NULL, "%llu MiB for what is handed over, %llu MiB available",
			     (unsigned long long)(need / MIB), (unsigned long long)(p->k->m.available_bytes / MIB));
	return ret < 0 ? ret : tell_initramfs(p);
}

static int probe_back(struct probe *p)
{
	if (is_recorded(p->k))
		return 0;
	if (*p->k->back_image)
		return kho_report_add(p->r, KHO_V_OK, "kexec", "way back", NULL, "should %s not restore what is handed over, %s is started again with it",
				      p->k->img.release, p->k->running);
	return kho_report_add(p->r, KHO_V_LOSS, "kexec", "way back", "put its image and modules back (package linux-image)",
			      "/boot/vmlinuz-%s or its modules are not there: should the next kernel not restore, the workloads are lost", p->k->running);
}

static int probe_cmdline(struct probe *p)
{
	struct kho_err why = KHO_ERR_INIT;

	if (kho_kexec_cmdline(p->k, false, &p->out->cmdline, &why) < 0)
		return kho_report_refuse(p->r, "image", "command line", &why);
	return 0;
}

int kho_kexec_probe(struct kho_engine *e, struct kho_engine_plan *out, struct kho_report *r, struct kho_err *err)
{
	static int (*const parts[])(struct probe *p) = {
		probe_kexec, probe_image, probe_modules, probe_carrier, probe_sessions, probe_disk, probe_memory, probe_back, probe_cmdline,
	};
	struct probe p = { .k = kho_kexec_of(e), .out = out, .r = r, .err = err };
	struct kho_err why = KHO_ERR_INIT;
	int ret;

	memset(out, 0, sizeof(*out));
	ret = kho_kexec_facts(p.k, &why);
	if (ret < 0)
		return kho_report_refuse(p.r, "image", e->req->image, &why);
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		ret = parts[i](&p);
		if (ret < 0)
			return err && err->code ? ret : kho_fail(err, ret, "look at the machine: %s", strerror(-ret));
	}
	return 0;
}

/* --- carrier --- */

/* Of the running kernel: by its own image, which must still be there. */
static int running_abi(const struct kho_kexec *k, struct kho_abi *out, struct kho_err *err)
{
	char path[128];

	snprintf(path, sizeof(path), "/boot/vmlinuz-%s", k->running);
	if (!kho_exists(path))
		snprintf(path, sizeof(path), "/lib/modules/%s/vmlinuz", k->running);
	if (kho_exists(path))
		return kho_abi_of_image(path, out, err);
	return kho_fail(err, -ENOENT, "the image of this kernel is not in /boot, so that it is not known what it leaves; put vmlinuz-%s there", k->running);
}

static const char *mismatch(const struct kho_abi *now, const struct kho_abi *next)
{
	return strcmp(now->kho, next->kho) ? "KHO" : strcmp(now->luo, next->luo) ? "LUO" : strcmp(now->memfd, next->memfd) ? "memfd" : NULL;
}

/* All versions are known, and its sessions have room. */
static bool can_carry(const struct kho_abi *a)
{
	unsigned version;

	return *a->kho && *a->memfd && sscanf(a->luo, "luo-v%u", &version) == 1 && version >= LUO_MANY_FILES;
}

/*
 * A kernel with liveupdate=on hands its orchestrator's data to whatever kexec starts. One with Kexec HandOver of the same version and
 * another orchestrator panics over it (luo_early_startup()); that must not happen, whichever carrier is used.
 */
static int compare(struct kho_kexec *k, const struct kho_abi *now, const struct kho_abi *next, struct kho_err *err)
{
	char a[100], b[100];
	const char *what = mismatch(now, next);

	kho_abi_format(now, a, sizeof(a));
	kho_abi_format(next, b, sizeof(b));
	if (next->handover && next->liveupdate && !what && can_carry(now)) {
		k->luo = true;
		snprintf(k->carrier, sizeof(k->carrier), "both kernels have %s", a);
		return 0;
	}
	if (next->handover && !strcmp(now->kho, next->kho) && *next->luo && strcmp(now->luo, next->luo))
		return kho_fail(err, -EPROTO,
				"this kernel leaves %s, the target wants %s and would panic over it; start this kernel without liveupdate=on, or take another target",
				a, b);
	if (!next->handover || !next->liveupdate)
		snprintf(k->carrier, sizeof(k->carrier), "the target has no Live Update Orchestrator (%s)", b);
	else if (what)
		snprintf(k->carrier, sizeof(k->carrier), "the versions of %s differ: this kernel has %s, the target %s", what, a, b);
	else
		snprintf(k->carrier, sizeof(k->carrier), "it takes kho, memfd and luo-v%d or later, both kernels have %s", LUO_MANY_FILES, a);
	return 0;
}

int kho_kexec_choose_carrier(struct kho_kexec *k, struct kho_err *err)
{
	struct kho_abi now, next;
	struct kho_err why = KHO_ERR_INIT;
	int there;

	if (*k->carrier)
		return 0;
	there = kho_luo_available(&why);
	/* held by somebody: there is one, and its data goes along */
	if (there != -ENOENT) {
		if (running_abi(k, &now, err) < 0 || kho_abi_of_image(k->e.req->image, &next, err) < 0 || compare(k, &now, &next, err) < 0)
			return err ? err->code : -EIO;
	}
	if (there < 0) {
		k->luo = false;
		snprintf(k->carrier, sizeof(k->carrier), "%.190s", why.msg);
	}
	if (k->e.req->carry_dir) {
		k->luo = false;
		snprintf(k->carrier, sizeof(k->carrier), "%.150s, as asked for (--state-dir)", k->e.req->carry_dir);
	}
	return 0;
}

int kho_kexec_fix_carrier(struct kho_kexec *k, uint64_t initrd_bytes, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	uint64_t need;

	if (!k->luo || kho_kexec_need_session(k, &why) >= 0)
		return 0;
	k->luo = false;
	snprintf(k->carrier, sizeof(k->carrier), "%.190s", why.msg);
	need = memory_need(k, initrd_bytes);
	if (need <= k->m.available_bytes)
		return 0;
	return kho_fail(err, -ENOMEM, "%s; through the initramfs %llu MiB are needed for what is handed over, %llu MiB available; free some memory", why.msg,
			(unsigned long long)(need / MIB), (unsigned long long)(k->m.available_bytes / MIB));
}

const char *kho_kexec_carrier_name(const struct kho_kexec *k)
{
	return k->luo ? "the Live Update Orchestrator" : k->e.req->carry_dir ? "a disk" : "the initramfs";
}
