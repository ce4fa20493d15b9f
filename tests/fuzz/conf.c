// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: a configuration file, read with keys of every type and as a workload of its own.
 * Input: the file.
 */
#include "fuzz.h"
#include "lib/conf.h"
#include "lib/io.h"
#include "lib/workload.h"

struct all {
	char *string, *escaped, *path, **paths;
	uint64_t duration, size, number;
};

static const struct kho_conf_key keys[] = {
	{ "string", KHO_CONF_STRING, offsetof(struct all, string) },
	{ "escaped", KHO_CONF_ESCAPED, offsetof(struct all, escaped) },
	{ "path", KHO_CONF_PATH, offsetof(struct all, path) },
	{ "paths", KHO_CONF_PATHS, offsetof(struct all, paths) },
	{ "duration", KHO_CONF_DURATION, offsetof(struct all, duration) },
	{ "size", KHO_CONF_SIZE, offsetof(struct all, size) },
	{ "number", KHO_CONF_UINT, offsetof(struct all, number) },
	{ 0 },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_workload_list l = { 0 };
	struct all a = { 0 };
	char path[96];
	int rc;

	fuzz_put("etc/x.conf", data, size);
	snprintf(path, sizeof(path), "%s/etc/x.conf", fuzz_dir());
	rc = kho_conf_load(path, keys, &a, &err);
	fuzz_check(rc == 0 || (*err.msg && strstr(err.msg, "x.conf")));
	fuzz_check(rc || !a.path || a.path[0] == '/');
	kho_conf_done(keys, &a);
	rc = kho_workloads_load(fuzz_dir(), "/etc", &l, &err);
	fuzz_check(rc == 0 || *err.msg);
	fuzz_check(rc || (l.n == 1 && !strcmp(l.w[0].name, "x") && l.w[0].health_timeout_us));
	kho_workloads_done(&l);
	return 0;
}
