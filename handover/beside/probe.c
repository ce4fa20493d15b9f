// SPDX-License-Identifier: GPL-2.0-only
/*
 * Can the beside engine work here?  Everything that can be known before is looked at, and each
 * thing becomes one line of the report; a refusal does not end the looking.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/beside.h"
#include "handover/beside/choice.h"
#include "handover/beside/hardware.h"
#include "handover/beside/initramfs_write.h"
#include "handover/beside/signature.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define MIB (1ULL << 20)

struct probe {
	struct kho_beside *b;
	struct kho_engine_plan *out;
	struct kho_report *r;
	struct kho_err *err;
};

static bool recorded(const struct probe *p)
{
	return p->b->e.req->sysroot && *p->b->e.req->sysroot;
}

static int probe_module(struct probe *p)
{
	struct kho_err why = KHO_ERR_INIT;
	int fd;

	if (recorded(p))
		return kho_report_add(p->r, KHO_V_UNKNOWN, "module", "khoctl", NULL,
				      "a recorded tree tells nothing about it");
	if (p->b->dev < 0) {
		fd = kho_dev_load(&why) < 0 ? -1 : kho_dev_open(&why);
		if (fd >= 0)
			close(fd);
		return fd >= 0 ? -EAGAIN : kho_report_refuse(p->r, "module", "khoctl", &why);
	}
	if (p->b->info.revision != KHO_REGION_REVISION)
		return kho_report_add(p->r, KHO_V_NO, "module", "khoctl",
				      "modprobe -r khoctl && modprobe khoctl",
				      "the loaded module speaks revision %u, this program %u",
				      p->b->info.revision, KHO_REGION_REVISION);
	if (p->b->info.flags & KHO_INFO_HAS_DOWN)
		return kho_report_add(p->r, KHO_V_NO, "module", "khoctl", "khoctl rollback",
				      "a kernel from an earlier upgrade is still there");
	if (p->b->info.flags & KHO_INFO_IRQ_REMAP)
		return kho_report_add(p->r, KHO_V_LOSS, "module", "interrupt remapping",
				      "boot with intremap=off",
				      "interrupts of devices that change hands may be blocked by "
				      "the IOMMU");
	return kho_report_add(p->r, KHO_V_OK, "module", "khoctl", NULL, "loaded, generation %u",
			      p->b->info.generation);
}

/* Where images must be signed, the kernel itself is asked at once: nothing of it stays loaded. */
static int probe_signature(struct probe *p, const char *policy)
{
	const struct kho_bzimage *img = &p->b->img;
	struct kho_err why = KHO_ERR_INIT;

	if (recorded(p))
		return kho_report_add(p->r, KHO_V_OK, "image", img->release, NULL,
				      "the running kernel takes only signed kernels (%s) and will "
				      "verify it before use",
				      policy);
	if (kho_signature_verify(p->b->e.req->image, &why) < 0)
		return kho_report_refuse(p->r, "image", img->release, &why);
	return kho_report_add(p->r, KHO_V_OK, "image", img->release, NULL,
			      "the running kernel takes only signed kernels (%s) and has verified "
			      "this one",
			      policy);
}

static int probe_image(struct probe *p)
{
	const struct kho_bzimage *img = &p->b->img;
	const char *why;

	if (kho_signature_enforced(p->b->e.req->sysroot, &why))
		return probe_signature(p, why);
	return kho_report_add(p->r, KHO_V_OK, "image", img->release, NULL,
			      "64-bit, relocatable, needs %llu MiB to start; signature not "
			      "checked: the running kernel enforces none",
			      (unsigned long long)(img->init_size / MIB));
}

static int probe_target(struct probe *p)
{
	const struct kho_engine_request *req = p->b->e.req;
	struct kho_target t = { .modules_dir = req->modules_dir,
				.release = p->b->img.release,
				.sysroot = req->sysroot };
	struct kho_err why = KHO_ERR_INIT;

	if (recorded(p))
		return 0;
	if (kho_modules_check(&t, &why) < 0)
		return kho_report_refuse(p->r, "modules", t.release, &why);
	if (kho_report_add(p->r, KHO_V_OK, "modules", t.release, NULL,
			   "khoctl.ko is there, built for it") < 0)
		return -ENOMEM;
	return kho_modules_check_devices(&t, &p->b->m, p->r, p->err);
}

/*
 * A device is quiesced as for a hibernation image, by its driver (handover/module/pci.c); a kernel without CONFIG_HIBERNATION has no such callbacks of
 * its buses (CONFIG_HIBERNATE_CALLBACKS, drivers/pci/pci-driver.c), nor this file (kernel/power/hibernate.c). To suspend to RAM is not enough.
 */
static int probe_quiesce(struct probe *p)
{
	if (recorded(p) || p->b->e.req->devices_stay || !p->b->m.npci || kho_exists("/sys/power/disk"))
		return 0;
	return kho_report_add(p->r, KHO_V_NO, "devices", "suspend", "boot a kernel that is built with CONFIG_HIBERNATION (Debian's are), or use --engine kexec",
			      "the running kernel is built without CONFIG_HIBERNATION: no driver can quiesce its device");
}

/* A target that is only tried gets neither devices nor memory that this kernel has had. */
static int probe_hardware(struct probe *p)
{
	return p->b->e.req->devices_stay ? 0 : kho_hardware_check(p->b->e.req->sysroot, &p->b->m, p->r);
}

static int probe_cpus(struct probe *p)
{
	struct kho_cpu_choice c;
	struct kho_err why = KHO_ERR_INIT;

	if (kho_choose_cpus(&p->b->m, p->b->e.req->cpus_before_freeze, &c, &why) < 0)
		return kho_report_refuse(p->r, "cpus", "choice", &why);
	p->out->boot_apicid = c.before[0];
	p->out->apicids_before = c.before;
	p->out->nbefore = c.nbefore;
	p->out->apicids_after = c.after;
	p->out->nafter = c.nafter;
	return kho_report_add(p->r, KHO_V_OK, "cpus", "choice", NULL,
			      "%zu of %zu go before the freeze, the rest at retirement", c.nbefore,
			      p->b->m.ncpus);
}

/* Whose it is, as the plan tells it. */
static int tell_initramfs(struct probe *p, const struct kho_memory_need *need)
{
	const struct kho_initramfs_choice *c = &p->b->initramfs;

	p->out->initramfs = strdup(kho_initramfs_name(c->kind));
	p->out->initramfs_path = c->initrd.len ? strdup(c->path) : NULL;
	p->out->initramfs_reason = strdup(c->reason);
	if (!p->out->initramfs || !p->out->initramfs_reason || (c->initrd.len && !p->out->initramfs_path))
		return -ENOMEM;
	if (recorded(p))
		return 0;
	if (c->initrd.len)
		return kho_report_add(p->r, KHO_V_OK, "initramfs", c->path, NULL,
				      "%s; read to its end and good%s; with khoctl's own behind it about %llu MiB (%llu unpacked)",
				      c->reason, c->initrd.early ? ", its early part (microcode) is left out" : "",
				      (unsigned long long)(need->initrd_packed / MIB),
				      (unsigned long long)(need->initrd_unpacked / MIB));
	return kho_report_add(p->r, KHO_V_OK, "initramfs", p->b->img.release, NULL, "khoctl's own: %s (%s), about %llu MiB (%llu unpacked)",
			      p->b->m.root_in_ram ? "a copy of the root in RAM" : "made from what is needed", c->reason,
			      (unsigned long long)(need->initrd_packed / MIB), (unsigned long long)(need->initrd_unpacked / MIB));
}

/* Archive and unpacked size of the initramfs to be made. */
static int initrd_need(struct probe *p, struct kho_memory_need *need)
{
	struct kho_initramfs_in in = kho_beside_initramfs_in(p->b);
	uint64_t archive = 0;
	int ret = kho_beside_initramfs(p->b, p->r);

	if (ret < 0)
		return ret;
	if (recorded(p)) { /* files are not recorded */
		need->initrd_packed = 128 * MIB;
		need->initrd_unpacked = 320 * MIB;
		return 0;
	}
	ret = kho_initramfs_measure(&in, &p->b->initramfs, &archive, &need->initrd_unpacked, p->r);
	if (ret < 0 || !archive)
		return ret;
	need->initrd_packed = kho_files_packed(archive, kho_files_level(archive));
	need->initrd_packed += p->b->initramfs.initrd.packed;
	need->initrd_unpacked += p->b->initramfs.initrd.unpacked;
	return ret;
}

/* An initrd of the host that nobody asked for may not be what an upgrade fails of. */
static int choose_memory(struct probe *p, struct kho_memory_need *need, struct kho_memory_choice *c, bool *out_can)
{
	struct kho_initramfs_choice *i = &p->b->initramfs;
	struct kho_err why = KHO_ERR_INIT;
	int ret = initrd_need(p, need);

	*out_can = false;
	if (ret < 0)
		return ret;
	if (kho_choose_memory(&p->b->m, need, c, &why) == 0) {
		*out_can = true;
		return 0;
	}
	if (!i->initrd.len || i->asked)
		return kho_report_refuse(p->r, "memory", "choice", &why);
	ret = kho_initramfs_drop(i, "memory for the host's initrd is not free", NULL, p->r);
	return ret < 0 ? ret : choose_memory(p, need, c, out_can);
}

static int probe_memory(struct probe *p)
{
	const struct kho_workload_list *w = p->b->e.req->workloads;
	struct kho_memory_need need = { .init_size = p->b->img.init_size,
					.region_override = p->b->e.req->memory_bytes };
	struct kho_memory_choice c;
	bool can;
	int ret;

	for (size_t i = 0; w && i < w->n; i++)
		need.workloads_rss += w->w[i].rss_bytes;
	ret = choose_memory(p, &need, &c, &can);
	if (!ret)
		ret = tell_initramfs(p, &need);
	if (ret < 0 || !can)
		return ret;
	p->out->region_bytes = c.region_bytes;
	p->out->bulk_bytes = c.bulk_bytes;
	p->out->extra_bytes = c.extra_bytes;
	p->out->initrd_bytes = need.initrd_packed;
	return kho_report_add(p->r, KHO_V_OK, "memory", "choice", NULL,
			      "%llu MiB for the incoming kernel, %llu MiB more for the workloads, "
			      "%llu MiB available",
			      (unsigned long long)(c.region_bytes / MIB),
			      (unsigned long long)(c.extra_bytes / MIB),
			      (unsigned long long)(p->b->m.available_bytes / MIB));
}

/* Asked for: what goes from kernel to kernel goes over a disk. Here it goes through memory that both see. */
static int probe_carry(struct probe *p)
{
	if (!p->b->e.req->carry_dir)
		return 0;
	return kho_report_add(p->r, KHO_V_NO, "engine", "--state-dir", "leave it out, or take --engine kexec",
			      "it is for a kernel that takes this one's place by kexec");
}

static int probe_cmdline(struct probe *p)
{
	struct kho_err why = KHO_ERR_INIT;

	if (kho_beside_cmdline(p->b, &p->out->cmdline, &why) < 0)
		return kho_report_refuse(p->r, "image", "command line", &why);
	return 0;
}

int kho_beside_probe(struct kho_engine *e, struct kho_engine_plan *out, struct kho_report *r,
		     struct kho_err *err)
{
	static int (*const parts[])(struct probe * p) = {
		probe_module, probe_image, probe_target, probe_quiesce, probe_hardware, probe_cpus, probe_memory, probe_carry, probe_cmdline,
	};
	struct kho_beside *b = kho_beside_of(e);
	struct probe p = { .b = b, .out = out, .r = r, .err = err };
	struct kho_err why = KHO_ERR_INIT;
	size_t i;
	int ret;

	memset(out, 0, sizeof(*out));
	ret = kho_beside_facts(b, &why);
	if (ret < 0)
		return kho_report_refuse(p.r, b->img_buf ? "machine" : "image", b->e.req->image, &why);
	for (i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		ret = parts[i](&p);
		if (ret < 0)
			return err && err->code ? ret
						: kho_fail(err, ret, "look at the machine: %s",
							   strerror(-ret));
	}
	return 0;
}
