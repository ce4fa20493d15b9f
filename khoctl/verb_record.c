// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl record: how the workloads run on this kernel, for some seconds, into a file that khoctl compare reads.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "bpf/recorder.h"
#include "khoctl/cli.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/record.h"

#define FOR_US 10000000ull

static void print(const struct kho_cli *c, const struct kho_recording *r)
{
	static const char *const parts[KHO_RECORD_NPARTS] = { "system calls, wait for CPUs, context switches", "requests to disks", "round trips of TCP", "" };
	uint64_t n[2] = { 0 };

	if (c->json) {
		kho_cli_json(kho_recording_json(r));
		return;
	}
	for (int m = 0; m < KHO_NMETRICS; m++)
		n[kho_metrics[m].kind == KHO_METRIC_KIND_CALL ? 0 : 1] += kho_hist_count(&r->times[m]);
	printf("%s on %s: %.1f s, %" PRIu64 " system calls, %" PRIu64 " other times: %s\n", r->workloads, r->kernel, (double)r->us / 1e6, n[0], n[1],
	       c->args[0]);
	for (int p = 0; p < KHO_RECORD_NPARTS; p++)
		if (*r->why[p])
			printf("not known: %s: %s\n", parts[p], r->why[p]);
	if (r->lost)
		printf("%" PRIu64 " threads were too many and are not counted\n", r->lost);
}

int kho_verb_record(const struct kho_cli *c)
{
	_cleanup_recording_ struct kho_recording r = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	uint64_t for_us = FOR_US;
	int rc;

	if (c->watch_for && (!kho_parse_duration(c->watch_for, &for_us) || for_us < KHO_RECORD_MIN_US || for_us > KHO_RECORD_MAX_US)) {
		(void)kho_fail(&err, -EINVAL, "--for %s: want a time from 1s to %us", c->watch_for, KHO_RECORDING_SLICES);
		return kho_cli_error(c, KHO_EXIT_USAGE, &err);
	}
	if (kho_cli_need_root(c, "record"))
		return KHO_EXIT_REFUSED;
	rc = kho_record_declared(c->workload, for_us, NULL, NULL, &r, &err);
	if (!rc)
		rc = kho_recording_save(&r, c->args[0], &err);
	if (rc)
		return kho_cli_error(c, kho_cli_refusal(rc), &err);
	print(c, &r);
	return KHO_EXIT_OK;
}
