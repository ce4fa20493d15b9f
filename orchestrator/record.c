// SPDX-License-Identifier: GPL-2.0-only
/* See record.h. */
#include "orchestrator/record.h"

#include <stdlib.h>
#include <string.h>

#include "bpf/recorder.h"
#include "lib/cleanup.h"
#include "lib/pod.h"

int kho_record_workloads(const struct kho_workload_list *l, uint64_t for_us, bool (*go_on)(void *arg), void *arg, struct kho_recording *out,
			 struct kho_err *err)
{
	_cleanup_free_ struct kho_record_target *t = calloc(l->n + 1, sizeof(*t));

	if (!t)
		return kho_fail(err, -ENOMEM, "recording");
	for (size_t i = 0; i < l->n; i++)
		t[i] = (struct kho_record_target){ l->w[i].name, l->w[i].pids, l->w[i].npids };
	return kho_record(t, l->n, for_us, go_on, arg, out, err);
}

/* Is it called that, or a container of a pod that is? */
static bool is_called(const struct kho_workload *w, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(w->name, name, len) && (!w->name[len] || (w->in_pod && w->name[len] == '.'));
}

/* Those of that name (NULL: all), alone in the list. */
static int pick(const struct kho_workload_list *all, const char *name, struct kho_workload_list *out, struct kho_err *err)
{
	out->w = calloc(all->n + 1, sizeof(*out->w));
	if (!out->w)
		return kho_fail(err, -ENOMEM, "recording");
	for (size_t i = 0; i < all->n; i++)
		if (!name || is_called(&all->w[i], name))
			out->w[out->n++] = all->w[i];
	if (out->n)
		return 0;
	return name ? kho_fail(err, -ENOENT, "no workload '%s' is declared in /etc/khoctl/workloads.d", name)
		    : kho_fail(err, -ENOENT, "no workload is declared in /etc/khoctl/workloads.d: there is nothing to record");
}

/* What resolving one puts into it belongs to the list that it came from. */
static void give_back(struct kho_workload_list *all, const struct kho_workload_list *some)
{
	for (size_t i = 0; i < some->n; i++)
		for (size_t k = 0; k < all->n; k++)
			if (all->w[k].name == some->w[i].name)
				all->w[k] = some->w[i];
}

int kho_record_declared(const char *name, uint64_t for_us, bool (*go_on)(void *arg), void *arg, struct kho_recording *out, struct kho_err *err)
{
	struct kho_workload_list all = { 0 }, some = { 0 };
	int rc = kho_workloads_declared("", &all, err);

	*out = (struct kho_recording){ 0 };
	if (!rc)
		rc = pick(&all, name, &some, err);
	if (!rc)
		rc = kho_workloads_resolve("", &some, err);
	give_back(&all, &some);
	if (!rc)
		rc = kho_record_workloads(&some, for_us, go_on, arg, out, err);
	free(some.w);
	kho_workloads_done(&all);
	return rc;
}
