// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host serializer: host name, NIS domain name and kernel parameters.
 *
 * All carried parameters travel with preserve; the incoming kernel writes those that differ from its own,
 * long before the freeze.  In the blackout only the name is looked at again.  A parameter that the
 * incoming kernel does not have or does not take is said and left.
 */
#include <limits.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/host-sysctl.h"

#define BASE "/proc/sys"

static Kho__Host *before;	/* incoming: what prepare and retrieve have overwritten, for unprepare */
static Kho__Host *pending;	/* incoming: what is written at finish */

static void hostp(Kho__Host **h)
{
	if (*h)
		kho__host__free_unpacked(*h, NULL);
	*h = NULL;
}

static Kho__Host *host_new(void)
{
	Kho__Host *h = malloc(sizeof(*h));

	if (h)
		kho__host__init(h);
	return h;
}

static int read_names(Kho__Host *h, struct kho_err *err)
{
	struct utsname u;

	if (uname(&u) < 0)
		return kho_fail_errno(err, "read host name");
	if (kho_pb_set(&h->hostname, u.nodename) || kho_pb_set(&h->domainname, u.domainname))
		return kho_fail(err, -ENOMEM, "out of memory");
	return 0;
}

static int probe(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	_cleanup_(hostp) Kho__Host *h = host_new();
	_cleanup_free_ char *base = kho_sysroot_path(env->sysroot, BASE);
	int ret = h && base ? kho_sysctl_read_all(base, h, err) : kho_fail(err, -ENOMEM, "out of memory");

	if (ret < 0)
		return ret;
	ret = kho_report_add(r, KHO_V_OK, "host", "host name", NULL, "moves");
	if (!ret)
		ret = kho_report_add(r, KHO_V_OK, "host", "kernel parameters", NULL, "%zu move", h->n_sysctl);
	return ret ? kho_fail(err, ret, "report: out of memory") : 0;
}

static int preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err)
{
	_cleanup_(hostp) Kho__Host *h = host_new();

	(void)env;
	*out_more = false;
	if (round)
		return 0;
	int ret = h ? read_names(h, err) : kho_fail(err, -ENOMEM, "out of memory");

	if (!ret)
		ret = kho_sysctl_read_all(BASE, h, err);
	return ret ? ret : kho_pb_pack(&h->base, out, err);
}

static int drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	_cleanup_(hostp) Kho__Host *h = host_new();

	(void)env;
	int ret = h ? read_names(h, err) : kho_fail(err, -ENOMEM, "out of memory");

	return ret ? ret : kho_pb_pack(&h->base, out, err);
}

static int set_names(const Kho__Host *h, struct kho_err *err)
{
	if (sethostname(h->hostname, strlen(h->hostname)) < 0)
		return kho_fail_errno(err, "set host name %s", h->hostname);
	if (setdomainname(h->domainname, strlen(h->domainname)) < 0)
		return kho_fail_errno(err, "set domain name %s", h->domainname);
	return 0;
}

static bool same(const char *a, const char *b)
{
	while (*a || *b) {
		size_t la = strcspn(a, " \t\n"), lb = strcspn(b, " \t\n");

		if (la != lb || strncmp(a, b, la))
			return false;
		a += la;
		b += lb;
		a += strspn(a, " \t\n");
		b += strspn(b, " \t\n");
	}
	return true;
}

/* Move s from one message to another list. */
static void keep_pending(const Kho__HostSysctl *s)
{
	Kho__HostSysctl *copy = malloc(sizeof(*copy));

	if (!copy)
		return;
	kho__host_sysctl__init(copy);
	if (kho_pb_set(&copy->key, s->key) || kho_pb_set(&copy->value, s->value) ||
	    kho_pb_append(&pending->sysctl, &pending->n_sysctl, copy))
		kho__host_sysctl__free_unpacked(copy, NULL);
}

static void write_one(struct kho_env *env, const Kho__HostSysctl *s, Kho__Host *keep_old)
{
	_cleanup_free_ char *old = NULL;
	struct kho_err e = KHO_ERR_INIT;
	char path[PATH_MAX];
	bool is_late;

	if (!kho_sysctl_is_carried(s->key, &is_late) || snprintf(path, sizeof(path), BASE "/%s", s->key) >= (int)sizeof(path))
		return;
	if (kho_read_line(path, &old, &e) < 0) {
		if (e.code != -ENOENT)
			kho_note(env, "%s", e.msg);
		return;
	}
	if (same(old, s->value))
		return;
	/* the agent has raised it to keep its own processes out of the workloads' numbers */
	if (!strcmp(s->key, "kernel/pid_max") && strtoul(s->value, NULL, 10) < strtoul(old, NULL, 10))
		return;
	if (kho_write_existing(path, s->value, &e) < 0) {
		kho_note(env, "kernel parameter %s stays %s: %s", s->key, old, e.msg);
		return;
	}
	Kho__HostSysctl *was = keep_old ? malloc(sizeof(*was)) : NULL;

	if (!was)
		return;
	kho__host_sysctl__init(was);
	if (kho_pb_set(&was->key, s->key) || kho_pb_set(&was->value, old) || kho_pb_append(&keep_old->sysctl, &keep_old->n_sysctl, was))
		kho__host_sysctl__free_unpacked(was, NULL);
}

static int prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	_cleanup_(hostp) Kho__Host *h = kho_pb_unpack(&kho__host__descriptor, in, err);

	if (!h)
		return -EBADMSG;
	hostp(&before);
	hostp(&pending);
	before = host_new();
	pending = host_new();
	if (!before || !pending || read_names(before, err) < 0)
		return kho_fail(err, -ENOMEM, "out of memory");
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < h->n_sysctl; i++) {
			if (kho_sysctl_goes_first(h->sysctl[i]->key) != !pass)
				continue;
			if (h->sysctl[i]->late)
				keep_pending(h->sysctl[i]);
			else
				write_one(env, h->sysctl[i], before);
		}
	return set_names(h, err);
}

static int unprepare(struct kho_env *env, struct kho_err *err)
{
	int ret = 0;

	/* backwards: some parameters bound others */
	for (size_t i = before ? before->n_sysctl : 0; i-- > 0;)
		write_one(env, before->sysctl[i], NULL);
	if (before)
		ret = set_names(before, err);
	hostp(&before);
	hostp(&pending);
	return ret;
}

static int retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	_cleanup_(hostp) Kho__Host *h = kho_pb_unpack(&kho__host__descriptor, in, err);

	(void)env;
	return h ? set_names(h, err) : -EBADMSG;
}

static int finish(struct kho_env *env, struct kho_err *err)
{
	(void)err;
	for (size_t i = 0; pending && i < pending->n_sysctl; i++)
		write_one(env, pending->sysctl[i], NULL);
	hostp(&before);
	hostp(&pending);
	return 0;
}

extern const struct kho_serializer kho_ser_host;
const struct kho_serializer kho_ser_host = {
	.name = "host",
	.order = 20,
	.flags = KHO_SER_COPY,
	.probe = probe,
	.preserve = preserve,
	.drain = drain,
	.prepare = prepare,
	.unprepare = unprepare,
	.retrieve = retrieve,
	.finish = finish,
};
