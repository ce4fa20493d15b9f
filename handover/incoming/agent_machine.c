// SPDX-License-Identifier: GPL-2.0-only
/*
 * The agent's hands: the module's ioctls and sysfs.  No policy, no state of the upgrade.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "handover/dev.h"
#include "handover/incoming/agent.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define MEMORY "/sys/devices/system/memory"

/* What our init mounts without a size: tmpfs takes half of the memory there is then. */
static const char *const limited[] = { "/", "/run", "/tmp", "/dev/shm" };
#define LIMITED (sizeof(limited) / sizeof(limited[0]))

struct real {
	int fd;
	uint64_t base, bytes, block;
	uint64_t limit[LIMITED]; /* of each, in blocks, as it was mounted */
};

static int real_cpu(void *arg, uint32_t apicid, bool take, struct kho_err *err)
{
	struct real *r = arg;

	return take ? kho_dev_cpu_take(r->fd, apicid, KHO_PEER_OUTGOING, false, err)
		    : kho_dev_cpu_give(r->fd, apicid, KHO_PEER_OUTGOING, err);
}

static int real_pci(void *arg, struct kho_pci_addr a, bool take, struct kho_err *err)
{
	struct real *r = arg;

	return take ? kho_dev_pci_take(r->fd, a, KHO_PEER_OUTGOING, NULL, err)
		    : kho_dev_pci_give(r->fd, a, KHO_PEER_OUTGOING, NULL, err);
}

static int real_fence(void *arg, struct kho_err *err)
{
	return kho_dev_fence(((struct real *)arg)->fd, err);
}

static int real_state(void *arg, enum kho_instance_state state, struct kho_err *err)
{
	return kho_dev_state(((struct real *)arg)->fd, state, err);
}

static const void *real_map_bulk(void *arg, uint64_t bytes, struct kho_err *err)
{
	struct real *r = arg;

	if (bytes > r->bytes) {
		kho_fail(err, -EINVAL, "bulk area of %" PRIu64 " bytes is larger than our region",
			 bytes);
		return NULL;
	}
	return kho_dev_map(r->fd, r->base + r->bytes - bytes, bytes, false, err);
}

static const volatile struct kho_ledger *real_ledger(void *arg, struct kho_err *err)
{
	struct real *r = arg;

	return kho_dev_map(r->fd, r->base + KHO_OFF_LEDGER, KHO_LEDGER_BYTES, false, err);
}

static const volatile struct kho_dmesg *real_dmesg(void *arg, struct kho_err *err)
{
	struct real *r = arg;

	return kho_dev_map(r->fd, r->base + KHO_OFF_DMESG, KHO_DMESG_BYTES, false, err);
}

/* --- memory blocks --- */

static bool real_block_present(void *arg, uint64_t base)
{
	struct real *r = arg;
	char path[96];

	snprintf(path, sizeof(path), MEMORY "/memory%" PRIu64, base / r->block);
	return kho_exists(path);
}

static int online_block(uint64_t number, struct kho_err *err)
{
	_cleanup_free_ char *state = NULL;
	char path[96];
	int ret;

	snprintf(path, sizeof(path), MEMORY "/memory%" PRIu64 "/state", number);
	ret = kho_read_line(path, &state, err);
	if (ret < 0 || !strcmp(state, "online"))
		return ret;
	/* movable: the next upgrade must be able to take it away again */
	return kho_write_existing(path, "online_movable", err);
}

static int real_mem(void *arg, uint64_t base, uint64_t bytes, bool adopt, struct kho_err *err)
{
	struct real *r = arg;
	struct kho_err ignored = KHO_ERR_INIT;
	int ret;

	if (!adopt)
		return kho_dev_mem_disown(r->fd, base, bytes, err);
	/*
	 * else hot-added memory is onlined at once, and not movable; absent on kernels that cannot
	 */
	ret = kho_write_existing(MEMORY "/auto_online_blocks", "offline", err);
	if (!ret)
		ret = kho_dev_mem_adopt(r->fd, base, bytes, err);
	if (ret < 0)
		return ret;
	for (uint64_t at = base; !ret && at < base + bytes; at += r->block)
		ret = online_block(at / r->block, err);
	if (ret < 0 && kho_dev_mem_disown(r->fd, base, bytes, &ignored) < 0)
		return kho_wrap(err, "memory at 0x%" PRIx64 " was added and cannot be removed (%s)",
				base, ignored.msg);
	return ret;
}

static void note_limits(struct real *r)
{
	struct statfs fs;

	for (size_t i = 0; i < LIMITED; i++)
		r->limit[i] = statfs(limited[i], &fs) < 0 ? 0 : fs.f_blocks;
}

/*
 * Half of what this kernel booted with would soon be too small for the root in RAM, the next upgrade's files included. What has
 * been given a size of its own meanwhile (a /tmp as on the outgoing kernel) keeps it.
 */
static void real_grown(void *arg)
{
	const struct real *r = arg;
	struct sysinfo si;
	struct statfs fs;
	char options[64];

	if (sysinfo(&si) < 0)
		return;
	snprintf(options, sizeof(options), "size=50%%,nr_inodes=%llu",
		 (unsigned long long)si.totalram * si.mem_unit / 8192);
	for (size_t i = 0; i < LIMITED; i++) {
		/* the flags of statfs and mount have the same values for those that matter here */
		if (statfs(limited[i], &fs) < 0 || fs.f_type != TMPFS_MAGIC || fs.f_blocks != r->limit[i])
			continue;
		/* a failure leaves the old limit: not worth a word, whoever meets it sees ENOSPC */
		(void)!mount(NULL, limited[i], NULL,
			     MS_REMOUNT |
				     (fs.f_flags & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)),
			     options);
	}
}

/* --- process numbers --- */

int kho_pid_floor(uint64_t floor, struct kho_err *err)
{
	_cleanup_free_ char *last = NULL;
	char text[24];
	int ret;

	/* first: ns_last_pid refuses a number above pid_max */
	ret = kho_write_existing("/proc/sys/kernel/pid_max", "4194304", err);
	if (!ret)
		ret = kho_read_line("/proc/sys/kernel/ns_last_pid", &last, err);
	if (ret < 0)
		return ret;
	if (floor < 2 || strtoull(last, NULL, 10) >= floor)
		return 0;
	if (floor > 4194000)
		return kho_fail(err, -ERANGE,
				"process numbers from %" PRIu64 " on: the kernel's limit is "
								"4194304",
				floor);
	snprintf(text, sizeof(text), "%" PRIu64, floor - 1);
	return kho_write_existing("/proc/sys/kernel/ns_last_pid", text, err);
}

int kho_machine_pids(void *arg, uint64_t floor, const struct kho_workload_list *l,
		     struct kho_err *err)
{
	int ret = kho_pid_floor(floor, err);

	(void)arg;
	for (size_t i = 0; !ret && i < l->n; i++)
		for (size_t k = 0; k < l->w[i].npids; k++)
			if (!kill(l->w[i].pids[k], 0) || errno != ESRCH)
				return kho_fail(err, -EEXIST,
						"workload %s: the incoming kernel already has a "
						"process %d of its own; "
						"restart the workload to get another number",
						l->w[i].name, (int)l->w[i].pids[k]);
	return ret;
}

int kho_machine_init(struct kho_machine *m, int dev_fd, struct kho_err *err)
{
	static struct real r;
	struct kho_ioc_info info;
	int ret = kho_dev_info(dev_fd, &info, err);

	if (ret < 0)
		return ret;
	if (!(info.flags & KHO_INFO_HAS_UP))
		return kho_fail(err, -ENODEV,
				"this kernel was not started by khoctl: its ACPI tables announce "
				"no region");
	r = (struct real){ .fd = dev_fd,
			   .base = info.up_base,
			   .bytes = info.up_bytes,
			   .block = info.memory_block_bytes };
	note_limits(&r);
	*m = (struct kho_machine){
		.arg = &r,
		.cpu = real_cpu,
		.pci = real_pci,
		.mem = real_mem,
		.fence = real_fence,
		.state = real_state,
		.map_bulk = real_map_bulk,
		.ledger = real_ledger,
		.dmesg = real_dmesg,
		.block_present = real_block_present,
		.block_bytes = info.memory_block_bytes,
		.grown = real_grown,
		.pids = kho_machine_pids,
	};
	return 0;
}
