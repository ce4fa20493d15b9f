// SPDX-License-Identifier: GPL-2.0-only
/*
 * The beside engine: the incoming kernel boots next to this one, in memory and on a CPU taken
 * from it.  This file makes the engine and gathers its facts; each pair of act and inverse has its
 * own file.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "handover/beside/beside.h"
#include "handover/link/wire.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/kconfig.h"

struct kho_beside *kho_beside_of(struct kho_engine *e)
{
	return (struct kho_beside *)e;
}

static bool is_recorded(const struct kho_engine_request *req)
{
	return req->sysroot && *req->sysroot;
}

/* A kernel that was itself made sees only what it was given: the ledger it lives by tells the rest.
 */
static int add_ledger_facts(struct kho_beside *b, struct kho_err *err)
{
	void *p;
	int ret;

	if (!(b->info.flags & KHO_INFO_HAS_UP))
		return 0;
	p = kho_dev_map(b->dev, b->info.up_base + KHO_OFF_LEDGER, KHO_LEDGER_BYTES, false, err);
	if (!p)
		return err ? err->code : -EIO;
	ret = kho_machine_from_ledger(&b->m, p, KHO_LEDGER_BYTES, err);
	munmap(p, KHO_LEDGER_BYTES);
	return ret;
}

int kho_beside_facts(struct kho_beside *b, struct kho_err *err)
{
	const struct kho_engine_request *req = b->e.req;
	int ret = 0;

	if (!b->img_buf)
		ret = kho_image_open(req->image, &b->img_buf, &b->img_len, &b->img, err);
	if (ret < 0 || b->have_machine)
		return ret;
	ret = kho_machine_read(req->sysroot, b->dev >= 0 ? (int64_t)b->info.bsp_apicid : -1, &b->m,
			       err);
	if (ret < 0)
		return ret;
	b->have_machine = true;
	b->e.env.root_in_ram = b->m.root_in_ram;
	return b->dev >= 0 ? add_ledger_facts(b, err) : 0;
}

struct kho_initramfs_in kho_beside_initramfs_in(const struct kho_beside *b)
{
	const struct kho_engine_request *req = b->e.req;

	return (struct kho_initramfs_in){
		.target = { .modules_dir = req->modules_dir,
			    .release = b->img.release,
			    .sysroot = req->sysroot },
		.machine = &b->m,
		.workloads = req->workloads,
		.extra_files = req->extra_files,
		.program = req->program,
		.run_dir = req->run_dir,
	};
}

int kho_beside_initramfs(struct kho_beside *b, struct kho_report *r)
{
	const struct kho_engine_request *req = b->e.req;

	return b->initramfs.kind ? 0
				 : kho_initramfs_choose(req->initramfs, req->initrd, req->sysroot, b->img.release,
							b->m.root_in_ram, false, &b->initramfs, r);
}

/* 0 when its configuration is not installed. */
static unsigned target_hz(const struct kho_beside *b)
{
	_cleanup_free_ char *hz = kho_kconfig_get(b->e.req->sysroot, b->img.release, "CONFIG_HZ");

	return hz ? strtoul(hz, NULL, 10) : 0;
}

int kho_beside_cmdline(const struct kho_beside *b, char **out, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(b->e.req->sysroot, "/proc/cmdline"),
			    *running = NULL;
	struct kho_cmdline_in in = {
		.tsc_khz = b->info.tsc_khz,
		.hz = target_hz(b),
		.extra = b->e.req->extra_cmdline,
		.pid_floor = kho_pid_range(b->e.req->workloads),
		.max = b->img.cmdline_max,
	};

	if (path && kho_read_line(path, &running, NULL) == 0)
		in.running = running;
	return kho_cmdline_make(&in, out, err);
}

const struct kho_ledger *kho_beside_ledger(const struct kho_beside *b)
{
	const struct kho_ledger *l = b->head ? (const void *)(b->head + KHO_OFF_LEDGER) : NULL;

	return l && __atomic_load_n(&l->magic, __ATOMIC_ACQUIRE) == KHO_REGION_MAGIC ? l : NULL;
}

int kho_beside_map_head(struct kho_beside *b, struct kho_err *err)
{
	int ret;

	if (b->head || b->dev < 0)
		return 0;
	ret = kho_dev_info(b->dev, &b->info, err);
	if (ret < 0 || !b->info.down_bytes)
		return ret;
	b->head = kho_dev_map(b->dev, b->info.down_base, KHO_HEAD_BYTES, true, err);
	return b->head ? 0 : err ? err->code : -EIO;
}

static int peer_op(struct kho_engine *e, const char *serializer, const char *op, const struct kho_blob *in, struct kho_report *r,
		   const struct kho_until *until, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "%s %s: not connected to the incoming kernel", op,
				serializer);
	return kho_peer_op(b->peer, serializer, op, in, r, until, deadline_us, err);
}

static int set_state(struct kho_engine *e, unsigned state, struct kho_err *err)
{
	struct kho_beside *b = kho_beside_of(e);

	if (b->dev < 0)
		return kho_fail(err, -ENOTCONN, "set own state: the khoctl module is not loaded");
	int ret = kho_dev_state(b->dev, state, err);

	/* no region any more: who undoes once more has nobody to tell that this kernel runs */
	return ret == -ENODEV && state == KHO_STATE_RUNNING ? 0 : ret;
}

static void beside_free(struct kho_engine *e)
{
	struct kho_beside *b = kho_beside_of(e);

	if (b->peer)
		kho_peer_close(b->peer);
	if (b->bulk)
		munmap(b->bulk, b->layout.bulk_bytes);
	if (b->head)
		munmap(b->head, KHO_HEAD_BYTES);
	if (b->img_buf)
		munmap((void *)b->img_buf, b->img_len);
	if (b->dev >= 0)
		close(b->dev);
	kho_machine_done(&b->m);
	pthread_mutex_destroy(&b->lost_lock);
	kho_link_faults_done(&b->faults);
	free(b->extra);
	free(b->before);
	free(b->after);
	free(b->cmdline);
	free(b->images_dir);
	kho_initramfs_choice_done(&b->initramfs);
	free(b);
}

static const struct kho_engine_ops beside_ops = {
	.name = "beside",
	.probe = kho_beside_probe,
	.reserve = kho_beside_reserve,
	.unreserve = kho_beside_unreserve,
	.spawn = kho_beside_spawn,
	.stop = kho_beside_stop,
	.connect = kho_beside_connect,
	.disconnect = kho_beside_disconnect,
	.reconnect = kho_beside_reconnect,
	.peer_op = peer_op,
	.gates = kho_beside_gates,
	.load = kho_beside_load,
	.replay = kho_beside_replay,
	.entrust = kho_beside_entrust,
	.commit = kho_beside_commit,
	.shift_rest = kho_beside_shift_rest,
	.retire = kho_beside_retire,
	.set_state = set_state,
	.peer_alive = kho_beside_peer_alive,
	.peer_fault = kho_beside_peer_fault,
	.link_fault = kho_beside_link_fault,
	.link_messages = kho_msg_names,
	.free = beside_free,
};

/* No module is no error here: probe says it together with everything else. */
static void open_device(struct kho_beside *b)
{
	if (is_recorded(b->e.req))
		return;
	b->dev = kho_dev_open(NULL);
	if (b->dev == -ENOENT && kho_dev_load(NULL) == 0)
		b->dev = kho_dev_open(NULL);
	if (b->dev >= 0 && kho_dev_info(b->dev, &b->info, NULL) == 0) {
		kho_clock_set_tsc_khz(b->info.tsc_khz);
		return;
	}
	kho_closep(&b->dev);
	b->dev = -1;
}

int kho_beside_new(const struct kho_engine_request *req, struct kho_engine **out,
		   struct kho_err *err)
{
	struct kho_beside *b = calloc(1, sizeof(*b));

	if (!b || asprintf(&b->images_dir, "%s/images", req->run_dir) < 0) {
		free(b);
		return kho_fail(err, -ENOMEM, "beside engine: out of memory");
	}
	b->dev = -1;
	pthread_mutex_init(&b->lost_lock, NULL);
	kho_link_faults_init(&b->faults, kho_beside_fault_struck, b);
	b->e.ops = &beside_ops;
	b->e.req = req;
	b->e.env = (struct kho_env){
		.ops = &kho_beside_env_ops,
		.arg = b,
		.workloads = req->workloads,
		.run_dir = req->run_dir,
		.images_dir = b->images_dir,
		.sysroot = req->sysroot,
	};
	open_device(b);
	*out = &b->e;
	return 0;
}
