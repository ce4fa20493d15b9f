/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tests of plans have in common: a tree with kernels and one workload, and two engines, of which one can do nothing. */
#ifndef TEST_PLAN_RIG_H
#define TEST_PLAN_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_world.h"
#include "kernel_image.h"
#include "tree.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

static char dir[64];

static void put(const char *name, const void *data, size_t len)
{
	test_put(dir, name, data, len);
}

static void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

static void put_kernel(const char *release)
{
	uint8_t head[TEST_IMAGE_BYTES];
	char path[128];

	test_image(head, release);
	snprintf(path, sizeof(path), "/boot/vmlinuz-%s", release);
	put(path, head, sizeof(head));
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", release);
	put_text(path, "");
}

static int no_new(const struct kho_engine_request *rq, struct kho_engine **out, struct kho_err *err)
{
	(void)rq;
	(void)out;
	return kho_fail(err, -ENODEV, "this machine has no second engine");
}

static const struct kho_engine_entry engines[] = { { "broken", no_new },
						   { "fake", fake_new },
						   { NULL, NULL } };

static int setup(void **state)
{
	(void)state;
	fake_reset();
	strcpy(dir, "/tmp/khoctl-plan.XXXXXX");
	assert_non_null(mkdtemp(dir));
	put_text("/proc/sys/kernel/osrelease", "6.12.107\n");
	put_text("/proc/100/stat", "100 (redis-server) S 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 100 "
				   "1000 256 1\n");
	put_text("/proc/cpuinfo", "processor\t: 0\napicid\t\t: 0\n\nprocessor\t: 1\napicid\t\t: "
				  "1\n");
	put_text("/proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\n");
	put_text("/proc/iomem", "00100000-ffffffff : System RAM\n");
	put_text("/run/redis.pid", "100");
	put_text("/etc/khoctl/workloads.d/redis.conf", "pidfile = /run/redis.pid\n");
	put_kernel("6.12.107");
	put_kernel("7.3.4");
	put_kernel("7.10.1");
	put_kernel("6.1.9");
	return 0;
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	return system(cmd);
}

/* Out of the tree, of this request. */
static int make_request(struct kho_plan_request rq, struct kho_plan **p, struct kho_engine **e, struct kho_err *err)
{
	struct kho_world w = { fake_serializers, engines, "/nonexistent", "/nonexistent" };

	rq.sysroot = dir;
	*p = NULL;
	*e = NULL;
	*err = (struct kho_err)KHO_ERR_INIT;
	return kho_plan_make(&w, &rq, p, e, err);
}

static void done(struct kho_plan *p, struct kho_engine *e)
{
	if (e)
		e->ops->free(e);
	kho_plan_free(p);
}

#endif
