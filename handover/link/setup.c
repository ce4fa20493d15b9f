// SPDX-License-Identifier: GPL-2.0-only
/* See handover/link/setup.h. */
#include "handover/link/setup.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/workload.h"

static void set_text(ProtobufCBinaryData *d, const char *text)
{
	d->data = (void *)(uintptr_t)text;
	d->len = strlen(text);
}

static void workload_out(const struct kho_workload *w, KhoLink__Workload *o, uint32_t *pids)
{
	kho_link__workload__init(o);
	o->name = w->name;
	o->root = w->root;
	o->n_pids = w->npids;
	o->pids = pids;
	for (size_t i = 0; i < w->npids; i++)
		pids[i] = w->pids[i];
	o->rss_bytes = w->rss_bytes;
	o->health_timeout_us = w->health_timeout_us;
	/* "" travels as absent: an empty setting means nothing in any of them */
	if (w->health_tcp)
		o->health_tcp = w->health_tcp;
	if (w->health_send)
		set_text(&o->health_send, w->health_send);
	if (w->health_expect)
		set_text(&o->health_expect, w->health_expect);
	if (w->health_command)
		o->health_command = w->health_command;
	if (w->pidfile)
		o->pidfile = w->pidfile;
	if (w->match)
		o->match = w->match;
	if (w->cgroup)
		o->cgroup = w->cgroup;
	if (w->unit)
		o->unit = w->unit;
	if (w->container)
		o->container = w->container;
	if (w->cg)
		o->cg = w->cg;
}

static void fill(KhoLink__Setup *s, const struct kho_peer_setup *in)
{
	if (in->after_commit)
		s->after_commit = (char *)(uintptr_t)in->after_commit;
	if (in->watch)
		s->watch = (char *)(uintptr_t)in->watch;
	s->run_dir = (char *)(uintptr_t)in->run_dir;
	s->images_dir = (char *)(uintptr_t)in->images_dir;
	s->root_in_ram = in->root_in_ram;
	s->pid_floor = in->pid_floor;
}

int kho_setup_make(const struct kho_peer_setup *in, uint32_t revision, uint64_t bulk_bytes, uint32_t slot_bytes, kho_setup_fn *fn, void *arg,
		   struct kho_err *err)
{
	const struct kho_workload_list *l = in->workloads;
	size_t n = l ? l->n : 0, npids = 0;
	_cleanup_free_ KhoLink__Workload *w = calloc(n + 1, sizeof(*w));
	_cleanup_free_ KhoLink__Workload **ptr = calloc(n + 1, sizeof(*ptr));
	_cleanup_free_ uint32_t *pids = NULL;
	KhoLink__Setup s = KHO_LINK__SETUP__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	for (size_t i = 0; i < n; i++)
		npids += l->w[i].npids;
	pids = calloc(npids + 1, sizeof(*pids));
	if (!w || !ptr || !pids)
		return kho_fail(err, -ENOMEM, "setup of the agent");
	npids = 0;
	for (size_t i = 0; i < n; i++) {
		workload_out(&l->w[i], ptr[i] = &w[i], pids + npids);
		npids += l->w[i].npids;
	}
	s.revision = revision;
	s.bulk_bytes = bulk_bytes;
	s.slot_bytes = slot_bytes;
	s.n_workloads = n;
	s.workloads = ptr;
	fill(&s, in);
	m.body_case = KHO_LINK__MSG__BODY_SETUP;
	m.setup = &s;
	return fn(arg, &m, err);
}
