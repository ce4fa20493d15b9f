// SPDX-License-Identifier: GPL-2.0-only
/* See cgroup_filter.h. */
#include "state-serializers/proc/cgroup_filter.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/workload.h"
#include "state-serializers/common.h"

#define CGROUPS	  "/sys/fs/cgroup"
#define INSNS_MAX 65536u

bool kho_filter_is_inits(const char *cg)
{
	size_t len = strlen(cg);

	return !strcmp(cg, "/") || (len > 8 && !strcmp(cg + len - 8, ".service")) || (len > 6 && !strcmp(cg + len - 6, ".slice"));
}

static int open_group(const char *cg, struct kho_err *err)
{
	char path[PATH_MAX];
	int fd;

	if (!kho_cgroup_path_is_valid(cg) || snprintf(path, sizeof(path), CGROUPS "%s", cg) >= (int)sizeof(path))
		return kho_fail(err, -EINVAL, "\"%.200s\" is no path of a control group", cg);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? kho_fail_errno(err, "open %s", path) : fd;
}

/* --- outgoing side --- */

/* The program's instructions. */
static int read_program(uint32_t id, ProtobufCBinaryData *out)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	size_t want;

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	want = info.xlated_prog_len;
	if (!want || want / sizeof(struct bpf_insn) > INSNS_MAX)
		return -EPERM; /* this kernel does not show them */
	out->data = malloc(want);
	if (!out->data)
		return -ENOMEM;
	out->len = want;
	info = (struct bpf_prog_info){ .xlated_prog_len = (uint32_t)want, .xlated_prog_insns = (uintptr_t)out->data };
	len = sizeof(info);
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	return info.xlated_prog_insns && info.xlated_prog_len == want ? 0 : -EPERM;
}

int kho_filter_read(KhoProc__Cgroup *c, struct kho_err *err)
{
	_cleanup_close_ int cg = open_group(c->path, err);
	uint32_t ids[KHO_FILTERS_MAX], n = KHO_FILTERS_MAX, flags = 0;
	int rc;

	if (cg < 0)
		return cg;
	if (bpf_prog_query(cg, BPF_CGROUP_DEVICE, 0, &flags, ids, &n))
		return errno == EINVAL ? 0 : kho_fail_errno(err, "look at the filters of %s", c->path); /* EINVAL: a kernel without */
	c->filters = calloc(n + 1, sizeof(*c->filters));
	if (!c->filters)
		return kho_fail(err, -ENOMEM, "look at the filters of %s: out of memory", c->path);
	for (uint32_t i = 0; i < n; i++) {
		rc = read_program(ids[i], &c->filters[c->n_filters++]);
		if (rc)
			return kho_fail(err, rc, "read the filter of devices of %s: %s", c->path, strerror(-rc));
	}
	return 0;
}

/* --- incoming side --- */

static size_t count(const KhoProc__PlanWorkload *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n_cgroups; i++)
		n += w->cgroups[i]->n_filters;
	return n;
}

static int load(const ProtobufCBinaryData *insns, struct kho_err *err)
{
	int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_DEVICE, "khoctl", "GPL", (const struct bpf_insn *)insns->data,
			       insns->len / sizeof(struct bpf_insn), NULL);

	return fd < 0 ? kho_fail(err, fd, "the incoming kernel does not take a filter of devices: %s", strerror(-fd)) : fd;
}

int kho_filter_load(const KhoProc__PlanWorkload *w, int **out, struct kho_err *err)
{
	size_t n = count(w), at = 0;
	int *fds = malloc((n + 1) * sizeof(*fds));

	if (!fds)
		return kho_fail(err, -ENOMEM, "filters of devices: out of memory");
	for (size_t i = 0; i < n; i++)
		fds[i] = -1;
	*out = fds;
	for (size_t i = 0; i < w->n_cgroups; i++)
		for (size_t k = 0; k < w->cgroups[i]->n_filters; k++) {
			fds[at] = load(&w->cgroups[i]->filters[k], err);
			if (fds[at++] < 0)
				return fds[at - 1];
		}
	return 0;
}

int kho_filter_attach(const KhoProc__PlanWorkload *w, const int *fds, struct kho_err *err)
{
	size_t at = 0;

	for (size_t i = 0; fds && i < w->n_cgroups; i++) {
		_cleanup_close_ int cg = w->cgroups[i]->n_filters ? open_group(w->cgroups[i]->path, err) : -1;

		if (w->cgroups[i]->n_filters && cg < 0)
			return cg;
		for (size_t k = 0; k < w->cgroups[i]->n_filters; k++)
			if (bpf_prog_attach(fds[at++], cg, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI))
				return kho_fail_errno(err, "attach the filter of devices of %s", w->cgroups[i]->path);
	}
	return 0;
}

void kho_filter_done(const KhoProc__PlanWorkload *w, int **fds)
{
	for (size_t i = 0; *fds && i < count(w); i++)
		if ((*fds)[i] >= 0)
			close((*fds)[i]);
	free(*fds);
	*fds = NULL;
}
