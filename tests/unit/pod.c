// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pods: names; which containers a recorded machine's pod has, and as which workloads they are carried; and the names of AppArmor's profiles.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/pod.h"
#include "state-serializers/proc/apparmor.h"
#include "state-serializers/proc/cgroup_filter.h"

#define ROOT	"tests/sysroots/pods"
#define SANDBOX "149a4a723f787a8969fbb4f68c3060764c90c514df6adc5408373c677bbba7db"
#define SERVER	"f36f8bd8772b68e9ef80d115e04c1a2b63665751da7b4dac10eaa6d3443feda2"
#define BESIDE	"3f10e667875a804cccea4287586dcca94c04160a159018fb4e739797f18d9a92"
#define SHIM	820

static void names(void **state)
{
	static const char *const bad[] = { "pod://web", "pod:///shop", "pod://web/", "pod://Web/shop", "pod://web/-a", "pod://web/a-",
					   "pod://web/a..b", "pod://web/.a", "pod://web/a/b", "pod://../a", "web/shop", "containerd://web/shop" };
	char longest[6 + 2 * KHO_POD_NAME_LEN];
	struct kho_pod_name n;

	(void)state;
	assert_true(kho_pod_name("pod://kube-system/coredns-5d78c9869d-abcde", &n));
	assert_string_equal(n.ns, "kube-system");
	assert_string_equal(n.name, "coredns-5d78c9869d-abcde");
	assert_true(kho_pod_name("pod://a/b.c", &n));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(kho_pod_name(bad[i], &n));
	memcpy(longest, "pod://a/", 8);
	memset(longest + 8, 'x', KHO_POD_NAME_LEN);
	longest[8 + KHO_POD_NAME_LEN - 1] = '\0';
	assert_true(kho_pod_name(longest, &n));
	longest[8 + KHO_POD_NAME_LEN - 1] = 'x';
	longest[8 + KHO_POD_NAME_LEN] = '\0';
	assert_false(kho_pod_name(longest, &n));
}

static void recorded(void **state)
{
	const struct kho_pod_name shop = { "web", "shop" }, other = { "web", "shops" }, elsewhere = { "default", "shop" };
	char ids[KHO_POD_MAX][KHO_CONTAINERD_ID_LEN], id[KHO_CONTAINERD_ID_LEN];
	struct kho_err err = KHO_ERR_INIT;
	size_t n = 0;

	(void)state;
	assert_int_equal(kho_pod_find(ROOT, &shop, id, &err), 0);
	assert_string_equal(id, SANDBOX);
	assert_int_equal(kho_pod_find(ROOT, &other, id, &err), -ENOENT);
	assert_int_equal(kho_pod_find(ROOT, &elsewhere, id, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "pod shop of namespace default"));
	assert_int_equal(kho_pod_first(ROOT, SHIM, id, &err), 0);
	assert_string_equal(id, SANDBOX);
	assert_int_equal(kho_pod_first(ROOT, 845, id, &err), -EPROTO); /* none of it is a shim */
	assert_int_equal(kho_pod_members(ROOT, "k8s.io", SHIM, ids, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_string_equal(ids[0], SANDBOX);
	assert_string_equal(ids[1], BESIDE);
	assert_string_equal(ids[2], SERVER);
	assert_int_equal(kho_pod_members(ROOT, "k8s.io", 1, ids, &n, &err), 0);
	assert_int_equal(n, 0);
}

static struct kho_workload_list *one(const char *container)
{
	struct kho_workload_list *l = calloc(1, sizeof(*l));

	l->w = calloc(1, sizeof(*l->w));
	l->n = 1;
	l->w->name = strdup("shop");
	l->w->container = strdup(container);
	return l;
}

static void drop(struct kho_workload_list *l)
{
	kho_workloads_done(l);
	free(l);
}

/* By its name and by its sandbox it is the same; another one of its containers is not enough. */
static void workloads(void **state)
{
	static const char *const as[] = { "pod://web/shop", "containerd://k8s.io/" SANDBOX };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_workload_list *l;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		l = one(as[i]);
		assert_int_equal(kho_workloads_add_pods(ROOT, l, &err), 0);
		assert_int_equal(l->n, 3);
		assert_string_equal(l->w[0].name, "shop");
		assert_string_equal(l->w[0].container, "containerd://k8s.io/" SANDBOX);
		assert_string_equal(l->w[1].name, "shop.3f10e667875a");
		assert_string_equal(l->w[2].container, "containerd://k8s.io/" SERVER);
		assert_int_equal(kho_workloads_resolve(ROOT, l, &err), 0);
		assert_int_equal(l->w[0].root, 845);
		assert_int_equal(l->w[1].root, 921);
		assert_int_equal(l->w[2].root, 881);
		for (size_t k = 0; k < 3; k++)
			assert_int_equal(l->w[k].monitor, SHIM);
		drop(l);
	}
	l = one("containerd://k8s.io/" BESIDE);
	assert_int_equal(kho_workloads_add_pods(ROOT, l, &err), 0);
	assert_int_equal(kho_workloads_resolve(ROOT, l, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "name the pod: container = containerd://k8s.io/" SANDBOX));
	drop(l);
	l = one("pod://web/other");
	assert_int_equal(kho_workloads_add_pods(ROOT, l, &err), 0);
	assert_int_equal(l->n, 1);
	assert_int_equal(kho_workloads_resolve(ROOT, l, &err), -ENOENT);
	drop(l);
}

static void profiles(void **state)
{
	_cleanup_free_ char *plain = kho_aa_loaded("cri-containerd.apparmor.d"), *child = kho_aa_loaded("/usr/bin/man//filter//x");

	(void)state;
	assert_string_equal(plain, "cri-containerd.apparmor.d");
	assert_string_equal(child, "/usr/bin/man");
	assert_null(kho_aa_loaded("a//&b"));
	assert_null(kho_aa_loaded(":ns:a"));
}

static void filters(void **state)
{
	(void)state;
	assert_true(kho_filter_is_inits("/"));
	assert_true(kho_filter_is_inits("/system.slice"));
	assert_true(kho_filter_is_inits("/system.slice/web.service"));
	assert_false(kho_filter_is_inits("/system.slice/web.service/libpod-payload-0123"));
	assert_false(kho_filter_is_inits("/kubepods/" SANDBOX));
	assert_false(kho_filter_is_inits("/machine.slice/libpod-0123.scope"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),    cmocka_unit_test(recorded), cmocka_unit_test(workloads),
		cmocka_unit_test(profiles), cmocka_unit_test(filters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
