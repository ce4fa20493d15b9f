// SPDX-License-Identifier: GPL-2.0-only
/*
 * The verdict on all workloads before anything is touched.
 */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/memfd.h"
#include "lib/pid.h"
#include "state-serializers/netdev.h"
#include "state-serializers/proc/apparmor.h"
#include "state-serializers/proc/container.h"
#include "state-serializers/proc/criu.h"
#include "state-serializers/proc/lazy.h"
#include "state-serializers/proc/place.h"
#include "state-serializers/proc/probe.h"
#include "state-serializers/proc/selftest.h"
#include "state-serializers/proc/sysv.h"

/* Descriptors whose other ends have to be known before one can be judged. */
static int note_fd(struct kho_probe *p, pid_t pid, const char *num)
{
	_cleanup_free_ char *link = NULL, *info = NULL, *text = NULL;
	char target[64] = "";
	unsigned long long ino;
	const char *flags;

	if (asprintf(&link, "%s/proc/%d/fd/%s", p->sysroot, pid, num) < 0 ||
	    asprintf(&info, "%s/proc/%d/fdinfo/%s", p->sysroot, pid, num) < 0)
		return -ENOMEM;
	if (readlink(link, target, sizeof(target) - 1) < 0)
		return 0;
	if (sscanf(target, "socket:[%llu]", &ino) == 1) {
		uint64_t *bigger = realloc(p->inodes, (p->ninodes + 1) * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		p->inodes = bigger;
		p->inodes[p->ninodes++] = ino;
	} else if (sscanf(target, "pipe:[%llu]", &ino) == 1 &&
		   !kho_read_file(info, 65536, &text, NULL, NULL)) {
		struct kho_pipe_end *bigger = realloc(p->pipes, (p->npipes + 1) * sizeof(*bigger));
		int mode;

		if (!bigger)
			return -ENOMEM;
		flags = strstr(text, "flags:");
		mode = flags ? (int)strtol(flags + strlen("flags:"), NULL, 8) & O_ACCMODE : O_RDWR;
		p->pipes = bigger;
		p->pipes[p->npipes++] = (struct kho_pipe_end){ .ino = ino,
							       .reads = mode != O_WRONLY,
							       .writes = mode != O_RDONLY };
	}
	return 0;
}

static int note_fds(struct kho_probe *p, pid_t pid)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *e;
	int rc = 0;

	if (asprintf(&path, "%s/proc/%d/fd", p->sysroot, pid) < 0)
		return -ENOMEM;
	_cleanup_closedir_ DIR *d = opendir(path);

	while (!rc && d && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			rc = note_fd(p, pid, e->d_name);
	return rc;
}

static int say(struct kho_probe *p, enum kho_verdict v, const char *fix, const char *what, struct kho_err *err)
{
	return kho_report_add(p->r, v, "process", p->w->name, fix, "%s", what)
		       ? kho_fail(err, -ENOMEM, "report: out of memory")
		       : 0;
}

/* The bridges that its network is connected to are the netdev serializer's: the first that is not carried, "" for none. */
static int foreign_bridge(const KhoProc__ContainerNet *n, char out[32], struct kho_err *err)
{
	Kho__Netdev *cfg = NULL;
	int rc = kho_netdev_find("", &cfg, err);

	*out = '\0';
	for (size_t i = 0; !rc && !*out && i < n->n_peer; i++) {
		bool there = !*n->peer[i]->master;

		for (size_t k = 0; k < cfg->n_link; k++)
			there |= !strcmp(cfg->link[k]->name, n->peer[i]->master);
		if (!there)
			snprintf(out, 32, "%s", n->peer[i]->master);
	}
	if (cfg)
		kho__netdev__free_unpacked(cfg, NULL);
	return rc;
}

static int probe_container(struct kho_probe *p, struct kho_err *err)
{
	KhoProc__Container *c = NULL;
	struct kho_err why = KHO_ERR_INIT;
	char what[80], bridge[32] = "";
	bool shim;
	pid_t other;
	int rc;

	if (kho_container_read(p->run_dir, p->w, &c, &why))
		return say(p, KHO_V_NO, NULL, why.msg, err);
	shim = c->shim;
	rc = c->net ? foreign_bridge(c->net, bridge, err) : 0;
	kho_proc__container__free_unpacked(c, NULL);
	if (rc)
		return rc;
	snprintf(what, sizeof(what), "its network is connected to %s, which is not carried", bridge);
	if (*bridge)
		return say(p, KHO_V_NO, shim ? "run it on the host's network" : "run it with Network=host", what, err);
	other = kho_pidns_other(p->w->root, p->w->pids, p->w->npids);
	snprintf(what, sizeof(what), "pid %d was started in it from outside", other);
	if (other)
		return say(p, KHO_V_NO, shim ? "let ctr task exec sessions end" : "let podman exec sessions end", what, err);
	return say(p, KHO_V_OK, NULL,
		   shim ? "the container moves; its shim is started anew under its number"
			: "the container moves; conmon is started anew under its number",
		   err);
}

/* Where such a one is, CRIU works by a loader that is executed from memory (worker.c). */
static int probe_loader(struct kho_probe *p, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	bool elsewhere = p->w->container || kho_ns_differs(p->w->root, "mnt") || kho_ns_differs(p->w->root, "uts");
	_cleanup_close_ int fd = elsewhere ? kho_memfd(KHO_CRIU_LOADER, MFD_EXEC, &why) : -1;

	return elsewhere && fd < 0 ? say(p, KHO_V_NO, NULL, why.msg, err) : 0;
}

/* The first process whose profile cannot go with it. */
static int probe_profiles(struct kho_probe *p, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	int rc = 0;

	for (size_t i = 0; !rc && i < p->w->npids; i++)
		rc = kho_aa_check(p->w->pids[i], &why);
	return rc ? say(p, KHO_V_NO, p->w->container ? "run it with apparmor=unconfined" : "run it without AppArmorProfile=", why.msg, err) : 0;
}

/* What a move can make again on the other kernel, and a copy on one that has neither network nor disks cannot. */
static int probe_copy(struct kho_probe *p, struct kho_err *err)
{
	if (p->w->container)
		return say(p, KHO_V_NO, NULL, "no copy is made of a container: its network and its root are not there", err);
	if (!*p->sysroot && kho_ns_differs(p->w->root, "mnt"))
		return say(p, KHO_V_NO, "turn off what its unit asks for (systemctl cat) that leads to it",
			   "it has a mount namespace of its own, of which no copy is made", err);
	return 0;
}

static void count_connections(const struct kho_probe *p)
{
	for (size_t i = 0; i < p->ninodes; i++) {
		const struct kho_sock *s = kho_socks_find(&p->socks, p->inodes[i]);

		p->r->facts[KHO_FACT_CONNECTIONS] += s && s->kind == KHO_SOCK_TCP && s->name;
	}
}

static int probe_workload(struct kho_probe *p, struct kho_err *err)
{
	int rc = kho_socks_read(p->sysroot, p->w->root, &p->socks, err);

	if (rc)
		return rc;
	rc = kho_mcast_read(p->sysroot, p->w->root, &p->mcast);
	for (size_t i = 0; !rc && i < p->w->npids; i++)
		rc = note_fds(p, p->w->pids[i]);
	if (!rc && p->w->monitor) /* the other ends of a container's standard streams */
		rc = note_fds(p, p->w->monitor);
	if (rc)
		kho_fail(err, rc, "look at workload %s: out of memory", p->w->name);
	if (!rc && p->w->container && !*p->sysroot)
		rc = probe_container(p, err);
	if (!rc && !*p->sysroot)
		rc = probe_loader(p, err);
	if (!rc && !*p->sysroot)
		rc = probe_profiles(p, err);
	for (size_t i = 0; !rc && i < p->w->npids; i++)
		rc = kho_probe_task(p, p->w->pids[i], err);
	count_connections(p);
	kho_socks_done(&p->socks);
	kho_mcast_done(&p->mcast);
	free(p->inodes);
	free(p->pipes);
	return rc;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

bool kho_probe_carries(const struct kho_probe *p, uint64_t ino)
{
	return p->nall_inodes && bsearch(&ino, p->all_inodes, p->nall_inodes, sizeof(ino), by_value);
}

/* The sockets of all workloads: they may be connected with each other. */
static int note_all(struct kho_env *env, uint64_t **out, size_t *n, struct kho_err *err)
{
	struct kho_probe p = { .sysroot = env->sysroot };
	int rc = 0;

	for (size_t i = 0; !rc && i < env->workloads->n; i++)
		for (size_t k = 0; !rc && k < env->workloads->w[i].npids; k++)
			rc = note_fds(&p, env->workloads->w[i].pids[k]);
	free(p.pipes);
	*out = p.inodes;
	*n = p.ninodes;
	if (*n)
		qsort(*out, *n, sizeof(**out), by_value);
	return rc ? kho_fail(err, rc, "look at the workloads: out of memory") : 0;
}

/* Memory of an earlier restore that has not come yet lies in images that an upgrade would
 * overwrite. */
static void probe_lazy(struct kho_env *env, struct kho_report *r)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *e;

	if (asprintf(&path, "%s/lazy", env->run_dir) < 0)
		return;
	_cleanup_closedir_ DIR *d = opendir(path);

	while (d && (e = readdir(d))) {
		_cleanup_free_ char *file = NULL;
		struct kho_lazy_progress l;

		if (e->d_name[0] == '.' || asprintf(&file, "%s/%s", path, e->d_name) < 0 ||
		    !kho_lazy_progress_read(file, &l))
			continue;
		kho_report_add(r, KHO_V_NO, "process", e->d_name, "wait a little and try again",
			       "its memory is still being filled after the last upgrade: %llu of "
			       "%llu MiB to go",
			       (unsigned long long)l.remaining >> 20,
			       (unsigned long long)l.total >> 20);
	}
}

static int probe_criu(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;
	struct kho_criu_facts f;

	if (kho_criu_check(env->run_dir, &f, &why)) {
		kho_report_add(r, KHO_V_NO, "process", "criu", NULL, "%s", why.msg);
		return 0;
	}
	if (!f.mem_track)
		kho_report_add(r, KHO_V_LOSS, "process", "criu",
			       "a kernel with CONFIG_MEM_SOFT_DIRTY",
			       "memory cannot be copied ahead: the blackout grows with it");
	return kho_proc_selftest(env->run_dir, r, err);
}

int kho_proc_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	_cleanup_free_ uint64_t *all = NULL;
	size_t nall = 0;
	int rc = 0;

	if (!env->workloads || !env->workloads->n)
		return 0;
	if (!*env->sysroot) {
		probe_lazy(env, r);
		rc = probe_criu(env, r, err);
	}
	if (!rc)
		rc = note_all(env, &all, &nall, err);
	for (size_t i = 0; !rc && i < env->workloads->n; i++) {
		struct kho_probe p = { .sysroot = env->sysroot,
				       .run_dir = env->run_dir,
				       .w = &env->workloads->w[i],
				       .r = r,
				       .all_inodes = all,
				       .nall_inodes = nall };

		r->workload = p.w->name;
		rc = env->copy ? probe_copy(&p, err) : 0;
		if (!rc)
			rc = probe_workload(&p, err);
	}
	r->workload = NULL;
	if (!rc && !*env->sysroot)
		rc = kho_sysv_probe(env->workloads, r, err);
	return rc;
}
