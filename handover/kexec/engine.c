// SPDX-License-Identifier: GPL-2.0-only
/* The kexec engine. See handover/kexec/kexec.h; this file makes it and gathers its facts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "handover/kexec/kexec.h"
#include "handover/uapi/khoctl_region.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/kconfig.h"

struct kho_kexec *kho_kexec_of(struct kho_engine *e)
{
	return (struct kho_kexec *)e;
}

/*
 * Of each byte that is loaded this kernel makes a digest (SHA-256), and the purgatory behind it another one, with no help of the CPU: both in the
 * blackout. To unpack zstd takes a fraction of that.
 */
int kho_kexec_level(const char *sysroot, const char *release)
{
	_cleanup_free_ char *zstd = kho_kconfig_get(sysroot, release, "CONFIG_RD_ZSTD");

	return zstd && !strcmp(zstd, "y") ? 1 : 0;
}

int kho_kexec_facts(struct kho_kexec *k, struct kho_err *err)
{
	int ret;

	if (k->have_facts)
		return 0;
	ret = kho_bzimage_read(k->e.req->image, &k->img, err);
	if (!ret)
		ret = kho_machine_read(k->e.req->sysroot, -1, &k->m, err);
	if (ret < 0)
		return ret;
	k->have_facts = true;
	k->level = kho_kexec_level(k->e.req->sysroot, k->img.release);
	k->e.env.root_in_ram = k->m.root_in_ram;
	return 0;
}

int kho_kexec_initramfs_in(struct kho_kexec *k, struct kho_initramfs_in *out, const char ***out_files, struct kho_err *err)
{
	const struct kho_engine_request *req = k->e.req;
	size_t n = 0;

	while (req->extra_files && req->extra_files[n])
		n++;
	*out_files = calloc(n + 2, sizeof(**out_files));
	if (!*out_files)
		return kho_fail(err, -ENOMEM, "initramfs: out of memory");
	if (n)
		memcpy(*out_files, req->extra_files, n * sizeof(**out_files));
	if (*k->back_image && !k->m.root_in_ram)
		(*out_files)[n] = k->back_image;
	*out = (struct kho_initramfs_in){
		.target = { .modules_dir = req->modules_dir, .release = k->img.release, .sysroot = req->sysroot },
		.machine = &k->m,
		.workloads = req->workloads,
		.extra_files = *out_files,
		.also = *k->back_image ? &k->back : NULL,
		.run_dir = req->run_dir,
		.level = k->level ? k->level : KHO_PACK_PLAIN,
	};
	return 0;
}

static int set_state(struct kho_engine *e, unsigned state, struct kho_err *err)
{
	(void)err;
	if (state == KHO_STATE_FROZEN)
		kho_kexec_of(e)->frozen_us = kho_clock_us();
	return 0;
}

/* There is none before the jump, and nobody to ask afterwards. */
static bool peer_alive(struct kho_engine *e, struct kho_err *why)
{
	(void)e;
	(void)why;
	return true;
}

static int no_peer(struct kho_engine *e, struct kho_err *err)
{
	(void)e;
	return kho_fail(err, -ENOTCONN, "the kexec engine has no kernel beside this one");
}

static int no_reconnect(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err)
{
	(void)deadline_us;
	return no_peer(e, err);
}

static void kexec_free(struct kho_engine *e)
{
	struct kho_kexec *k = kho_kexec_of(e);

	(void)kho_kexec_disconnect(e, NULL);
	free(k->tape);
	kho_machine_done(&k->m);
	kho_initramfs_choice_done(&k->initramfs);
	pthread_mutex_destroy(&k->lock);
	free(k->files);
	free(k->images_dir);
	free(k->dir);
	free(k->initrd);
	free(k->loaded);
	free(k->mounted);
	free(k->kept);
	kho_closep(&k->disk);
	kho_closep(&k->ingress);
	kho_closep(&k->drop);
	free(k->cmdline);
	free(k->back_cmdline);
	free(k);
}

static const struct kho_engine_ops ops = {
	.name = "kexec",
	.jumps = true,
	.probe = kho_kexec_probe,
	.reserve = kho_kexec_reserve,
	.unreserve = kho_kexec_unreserve,
	.spawn = kho_kexec_spawn,
	.stop = kho_kexec_stop,
	.connect = kho_kexec_connect,
	.disconnect = kho_kexec_disconnect,
	.reconnect = no_reconnect,
	.peer_op = kho_kexec_peer_op,
	.entrust = kho_kexec_entrust,
	.commit = kho_kexec_commit,
	.shift_rest = no_peer,
	.retire = no_peer,
	.set_state = set_state,
	.peer_alive = peer_alive,
	.peer_fault = kho_kexec_peer_fault,
	.free = kexec_free,
};

int kho_kexec_new(const struct kho_engine_request *req, struct kho_engine **out, struct kho_err *err)
{
	struct kho_kexec *k = calloc(1, sizeof(*k));
	struct utsname u;

	if (!k)
		return kho_fail(err, -ENOMEM, "kexec engine: out of memory");
	pthread_mutex_init(&k->lock, NULL);
	k->session = k->disk = k->drop = k->ingress = -1;
	k->e.ops = &ops;
	k->e.req = req;
	uname(&u);
	snprintf(k->running, sizeof(k->running), "%s", u.release);
	snprintf(k->back_image, sizeof(k->back_image), "/boot/vmlinuz-%s", k->running);
	snprintf(k->back_modules, sizeof(k->back_modules), "/lib/modules/%s", k->running);
	k->back = (struct kho_target){ .modules_dir = k->back_modules, .release = k->running, .sysroot = req->sysroot };
	if (!kho_exists(k->back_image) || !kho_exists(k->back_modules))
		*k->back_image = '\0';
	if (asprintf(&k->images_dir, "%s/images", req->run_dir) < 0 || asprintf(&k->dir, "%s/kexec", req->run_dir) < 0 ||
	    asprintf(&k->initrd, "%s/initrd", k->dir) < 0 || asprintf(&k->loaded, "%s/loaded", k->dir) < 0 ||
	    asprintf(&k->mounted, "%s/mounted", k->dir) < 0 || asprintf(&k->kept, "%s/kept", k->dir) < 0) {
		kexec_free(&k->e);
		return kho_fail(err, -ENOMEM, "kexec engine: out of memory");
	}
	k->e.env = (struct kho_env){
		.ops = &kho_kexec_env_ops,
		.arg = k,
		.workloads = req->workloads,
		.run_dir = req->run_dir,
		.images_dir = k->images_dir,
		.sysroot = req->sysroot,
		.in_place = !req->carry_dir, /* pages that are on a disk need not be in memory as well */
	};
	/* one clock for both kernels, as with a kernel beside */
	if (!req->sysroot || !*req->sysroot)
		kho_clock_measure_tsc();
	*out = &k->e;
	return 0;
}
