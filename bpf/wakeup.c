// SPDX-License-Identifier: GPL-2.0-only
/* How long woken threads wait.  See bpf/wakeup.h. */
#include "bpf/wakeup.h"

#include <bpf/bpf.h>
#include <stdlib.h>
#include <unistd.h>

#include "bpf/program.h"
#include "bpf/wakeup.skel.h"
#include "lib/cleanup.h"

struct kho_wakeup {
	struct wakeup_bpf *skel;
};

int kho_wakeup_start(struct kho_wakeup **out, struct kho_err *err)
{
	struct kho_wakeup *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return kho_fail(err, -ENOMEM, "wake-up latency");
	w->skel = wakeup_bpf__open();
	if (!w->skel) {
		rc = kho_fail_errno(err, "wake-up latency: open the programs");
	} else {
		w->skel->rodata->who = getpid();
		rc = kho_program_start(w->skel->skeleton, err);
	}
	if (rc < 0) {
		kho_wakeup_stop(w);
		return rc;
	}
	*out = w;
	return 0;
}

int kho_wakeup_read(struct kho_wakeup *w, struct kho_hist **out, size_t *out_ncpus, struct kho_err *err)
{
	_cleanup_free_ struct kho_hist *all = NULL;
	int n = libbpf_num_possible_cpus();
	__u32 zero = 0;

	if (n < 0)
		return kho_fail(err, n, "number of CPUs");
	all = calloc((size_t)n, sizeof(*all));
	if (!all)
		return kho_fail(err, -ENOMEM, "histograms of %d CPUs", n);
	if (bpf_map_lookup_elem(bpf_map__fd(w->skel->maps.waited), &zero, all))
		return kho_fail_errno(err, "read the wake-up histograms");
	*out = steal_ptr(all);
	*out_ncpus = (size_t)n;
	return 0;
}

void kho_wakeup_stop(struct kho_wakeup *w)
{
	if (!w)
		return;
	wakeup_bpf__destroy(w->skel);
	free(w);
}
