// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drive an engine by hand in a VM, without orchestrator and workloads:
 *	engine-drive ENGINE VMLINUZ [last]	last: probe reserve spawn connect commit rest
 *retire, or undo: only the inverses, for what another process left Runs the acts up to `last` and,
 *when that is before commit, their inverses in reverse.  Prints report, phases and what each act
 *took.  Environment: APPEND (words for the command line), AFTER (command after retirement),
 *EXTRA_MIB (memory beyond the region).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "handover/beside/image.h"
#include "handover/engine.h"
#include "lib/clock.h"
#include "lib/io.h"

static void on_phase(void *arg, const char *name, uint64_t begin_us, uint64_t end_us)
{
	(void)arg;
	printf("phase %-28s %8llu us\n", name, (unsigned long long)(end_us - begin_us));
}

static void on_note(void *arg, const char *text)
{
	(void)arg;
	printf("note  %s\n", text);
}

static int probe(struct kho_engine *e, struct kho_engine_plan *p, struct kho_err *err)
{
	struct kho_report r = KHO_REPORT_INIT;
	int ret = e->ops->probe(e, p, &r, err);
	size_t i;

	for (i = 0; i < r.n; i++)
		printf("%-7s %-10s %-28s %s%s%s\n", kho_verdict_name(r.items[i].verdict),
		       r.items[i].area, r.items[i].subject, r.items[i].what,
		       r.items[i].fix && *r.items[i].fix ? " -> " : "",
		       r.items[i].fix ? r.items[i].fix : "");
	if (!ret && kho_report_worst(&r) == KHO_V_NO)
		ret = kho_fail(err, -EINVAL, "refused");
	kho_report_done(&r);
	if (!ret)
		printf("plan  boot CPU %u, region %llu MiB, extra %llu MiB\nplan  %s\n",
		       p->boot_apicid, (unsigned long long)(p->region_bytes >> 20),
		       (unsigned long long)(p->extra_bytes >> 20), p->cmdline);
	return ret;
}

static int done(const char *what, int ret, uint64_t begin, struct kho_err *err)
{
	printf("%-10s %s%s (%llu ms)\n", what, ret < 0 ? "FAILED: " : "ok", ret < 0 ? err->msg : "",
	       (unsigned long long)((kho_clock_us() - begin) / 1000));
	return ret;
}

static const char *const acts[] = { "reserve", "spawn", "connect", "commit", "rest", "retire" };

static int act(struct kho_engine *e, const struct kho_engine_plan *p, int i, struct kho_err *err)
{
	struct kho_blob none = { 0 };

	switch (i) {
	case 0:
		return e->ops->reserve(e, p, err);
	case 1:
		return e->ops->spawn(e, err);
	case 2:
		return e->ops->connect(e, kho_clock_us() + 120000000, err);
	case 3:
		return e->ops->commit(e, &none, err);
	case 4:
		return e->ops->shift_rest(e, err);
	default:
		return e->ops->retire(e, err);
	}
}

static int undo(struct kho_engine *e, int i, struct kho_err *err)
{
	switch (i) {
	case 0:
		return e->ops->unreserve(e, err);
	case 1:
		return e->ops->stop(e, err);
	case 2:
		return e->ops->disconnect(e, err);
	default:
		return 0;
	}
}

static int undo_all(struct kho_engine *e, int i)
{
	int first = 0;

	while (i-- > 0) {
		struct kho_err one = KHO_ERR_INIT;
		uint64_t begin = kho_clock_us();

		printf("undo ");
		if (done(acts[i], undo(e, i, &one), begin, &one) < 0)
			first = -1;
	}
	return first;
}

int main(int argc, char **argv)
{
	struct kho_engine_request req = { .extra_cmdline = getenv("APPEND"),
					  .after_commit = getenv("AFTER"),
					  .sysroot = "",
					  .run_dir = "/run/khoctl" };
	const struct kho_engine_entry *en = kho_engines;
	struct kho_engine_plan plan = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_bzimage img;
	const uint8_t *buf;
	char modules[256];
	uint64_t begin;
	size_t len;
	int i, last = -1, ret;
	struct kho_engine *e;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3)
		return 2;
	while (en->name && strcmp(en->name, argv[1]))
		en++;
	for (i = 0; argc > 3 && i < 6; i++)
		if (!strcmp(argv[3], acts[i]))
			last = i;
	if (!en->name || kho_mkdir(req.run_dir, &err) < 0 ||
	    kho_image_open(argv[2], &buf, &len, &img, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 2;
	}
	snprintf(modules, sizeof(modules), "/lib/modules/%s", img.release);
	req.image = argv[2];
	req.release = img.release;
	req.modules_dir = modules;
	if (en->new (&req, &e, &err) < 0)
		return done("new", -1, 0, &err);
	e->phase = on_phase;
	e->note = on_note;
	if (argc > 3 && !strcmp(argv[3], "undo"))
		return undo_all(e, 3);
	begin = kho_clock_us();
	ret = done("probe", probe(e, &plan, &err), begin, &err);
	for (i = 0; !ret && i <= last; i++) {
		begin = kho_clock_us();
		if (i == 0 && getenv("EXTRA_MIB"))
			plan.extra_bytes = strtoull(getenv("EXTRA_MIB"), NULL, 0) << 20;
		ret = done(acts[i], act(e, &plan, i, &err), begin, &err);
	}
	if (i <= 3 && undo_all(e, i) < 0)
		ret = -1;
	e->ops->free(e);
	kho_engine_plan_done(&plan);
	return ret < 0;
}
