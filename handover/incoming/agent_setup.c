// SPDX-License-Identifier: GPL-2.0-only
/*
 * Setup: what the outgoing side tells before anything else, and the workloads rebuilt from it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/workload.h"

void kho_agent_told_free(struct kho_agent_told *t)
{
	kho_workloads_done(&t->workloads);
	if (t->images_fd >= 0)
		close(t->images_fd);
	free(t->run_dir);
	free(t->images_dir);
	free(t->after_commit);
	free(t->watch);
	free(t);
}

static void told_freep(struct kho_agent_told **t)
{
	if (*t)
		kho_agent_told_free(*t);
}

static bool text_in(char **out, const char *s)
{
	*out = *s ? strdup(s) : NULL;
	return !*s || *out;
}

static bool bytes_in(char **out, const ProtobufCBinaryData *b)
{
	*out = b->len ? strndup((const char *)b->data, b->len) : NULL;
	return !b->len || *out;
}

static bool workload_in(struct kho_workload *w, const KhoLink__Workload *in)
{
	w->root = in->root;
	w->rss_bytes = in->rss_bytes;
	w->health_timeout_us = in->health_timeout_us;
	w->pids = calloc(in->n_pids + 1, sizeof(*w->pids));
	if (!w->pids)
		return false;
	w->npids = in->n_pids;
	for (size_t i = 0; i < in->n_pids; i++)
		w->pids[i] = in->pids[i];
	return text_in(&w->name, in->name) && text_in(&w->health_tcp, in->health_tcp) &&
	       bytes_in(&w->health_send, &in->health_send) &&
	       bytes_in(&w->health_expect, &in->health_expect) &&
	       text_in(&w->health_command, in->health_command) &&
	       text_in(&w->pidfile, in->pidfile) && text_in(&w->match, in->match) &&
	       text_in(&w->cgroup, in->cgroup) && text_in(&w->unit, in->unit) &&
	       text_in(&w->container, in->container) && text_in(&w->cg, in->cg);
}

static int workloads_in(struct kho_workload_list *l, const KhoLink__Setup *s, struct kho_err *err)
{
	l->w = calloc(s->n_workloads + 1, sizeof(*l->w));
	if (!l->w)
		return kho_fail(err, -ENOMEM, "list of workloads");
	for (size_t i = 0; i < s->n_workloads; i++) {
		l->n++;
		if (!s->workloads[i]->name[0] || !workload_in(&l->w[i], s->workloads[i]))
			return kho_fail(err, -EINVAL,
					"setup: workload %zu has no name, or memory is short", i);
		if ((l->w[i].unit && !kho_unit_name_is_valid(l->w[i].unit)) ||
		    (l->w[i].cg && !kho_cgroup_path_is_valid(l->w[i].cg)))
			return kho_fail(err, -EINVAL,
					"setup: workload %s: its unit or its cgroup has no name "
					"that can be",
					l->w[i].name);
	}
	return 0;
}

static int check(const KhoLink__Setup *s, struct kho_err *err)
{
	int rev = kho_link_agree(KHO_LINK_REVISION_MIN, KHO_LINK_REVISION, s->revision, s->revision,
				 err);

	if (rev < 0)
		return rev;
	if (s->slot_bytes < 4096 || s->bulk_bytes < s->slot_bytes)
		return kho_fail(err, -EINVAL,
				"setup: bulk area of %" PRIu64 " bytes in slots of %" PRIu32,
				s->bulk_bytes, s->slot_bytes);
	if (s->run_dir[0] != '/' || s->images_dir[0] != '/')
		return kho_fail(err, -EINVAL,
				"setup: run_dir and images_dir must be absolute paths");
	return 0;
}

static int read_setup(struct kho_agent_told *t, const KhoLink__Setup *s, struct kho_err *err)
{
	int ret = check(s, err);

	if (!ret)
		ret = kho_mkdir(s->run_dir, err);
	if (!ret)
		ret = kho_mkdir(s->images_dir, err);
	if (!ret)
		ret = workloads_in(&t->workloads, s, err);
	if (ret < 0)
		return ret;
	if (!text_in(&t->run_dir, s->run_dir) || !text_in(&t->images_dir, s->images_dir) ||
	    !text_in(&t->after_commit, s->after_commit) || !text_in(&t->watch, s->watch))
		return kho_fail(err, -ENOMEM, "setup");
	t->images_fd = open(s->images_dir, O_DIRECTORY | O_PATH | O_CLOEXEC);
	if (t->images_fd < 0)
		return kho_fail_errno(err, "open %s", s->images_dir);
	t->bulk_bytes = s->bulk_bytes;
	t->slot_bytes = s->slot_bytes;
	t->root_in_ram = s->root_in_ram;
	return 0;
}

/* Both kernels as this one sees them: for whoever watches `khoctl console`. */
static void say_instances(struct kho_agent *a)
{
	_cleanup_free_ char *text = NULL;
	char *line, *next;

	if (kho_read_file("/proc/multikernel", 65536, &text, NULL, NULL) < 0)
		return;
	for (line = text; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		a->conf->say("%s", line);
	}
}

int kho_agent_setup(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const struct kho_machine *m = a->conf->machine;
	_cleanup_(told_freep) struct kho_agent_told *t = calloc(1, sizeof(*t));
	const struct kho_workload_list none = { 0 };
	int ret;

	if (!t)
		return kho_fail(err, -ENOMEM, "setup");
	/* a khoctl that does the rest of another's upgrade: what that one has told holds */
	if (a->committed && a->told) {
		pthread_mutex_lock(&a->lock);
		a->set_up = true;
		pthread_mutex_unlock(&a->lock);
		return 0;
	}
	t->images_fd = -1;
	ret = read_setup(t, rq->m->setup, err);
	/* after the first setup the workloads themselves may be here already */
	if (!ret)
		ret = m->pids(m->arg, rq->m->setup->pid_floor, a->told ? &none : &t->workloads,
			      err);
	if (ret < 0)
		return ret;
	t->bulk = m->map_bulk(m->arg, t->bulk_bytes, err);
	if (!t->bulk)
		return err->code ? err->code : -EIO;
	pthread_mutex_lock(&a->lock);
	t->earlier = a->told;
	a->told = t;
	a->env.workloads = &t->workloads;
	a->env.run_dir = t->run_dir;
	a->env.images_dir = t->images_dir;
	a->env.root_in_ram = t->root_in_ram;
	a->env.new_root = t->root_in_ram ? "" : KHO_NEW_ROOT;
	a->set_up = true;
	steal_ptr(t);
	pthread_mutex_unlock(&a->lock);
	say_instances(a);
	return 0;
}
