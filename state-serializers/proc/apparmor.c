// SPDX-License-Identifier: GPL-2.0-only
/* See apparmor.h. */
#include "state-serializers/proc/apparmor.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"

#define POLICY	   "/sys/kernel/security/apparmor"
#define SELINUX	   "/sys/fs/selinux/enforce"
#define POLICY_MAX (64u << 20)

char *kho_aa_profile(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *mode;

	/* the other file may be another security module's */
	snprintf(path, sizeof(path), "/proc/%d/attr/apparmor/current", pid);
	if (kho_read_line(path, &text, NULL) < 0) {
		snprintf(path, sizeof(path), "/proc/%d/attr/current", pid);
		free(steal_ptr(text));
		if (!kho_exists(POLICY) || kho_read_line(path, &text, NULL) < 0)
			return NULL;
	}
	if (!*text || !strcmp(text, "unconfined") || !strcmp(text, "kernel"))
		return NULL;
	mode = strrchr(text, ' ');
	if (mode && mode[1] == '(')
		*mode = '\0';
	return steal_ptr(text);
}

char *kho_aa_loaded(const char *label)
{
	const char *child = strstr(label, "//");

	if (*label == ':' || strstr(label, "//&"))
		return NULL;
	return child ? strndup(label, (size_t)(child - label)) : strdup(label);
}

/* The binary policy that a profile came with. -ENOENT: there is none. */
static int read_policy(const char *profile, char **out, size_t *len, struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = opendir(POLICY "/policy/profiles");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_free_ char *name = NULL;
		char path[PATH_MAX];

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), POLICY "/policy/profiles/%s/name", e->d_name);
		if (kho_read_line(path, &name, NULL) < 0 || strcmp(name, profile))
			continue;
		snprintf(path, sizeof(path), POLICY "/policy/profiles/%s/raw_data", e->d_name);
		return kho_read_file(path, POLICY_MAX, out, len, err);
	}
	return kho_fail(err, -ENOENT, "the kernel shows no profile %s", profile);
}

int kho_aa_check(pid_t pid, struct kho_err *err)
{
	_cleanup_free_ char *label = kho_aa_profile(pid), *profile = label ? kho_aa_loaded(label) : NULL, *policy = NULL;
	struct kho_err why = KHO_ERR_INIT;
	size_t len = 0;

	if (kho_exists(SELINUX))
		return kho_fail(err, -ENOTSUP, "the system uses SELinux, whose policy is not carried");
	if (!label)
		return 0;
	if (!profile)
		return kho_fail(err, -ENOTSUP, "it is confined by AppArmor's %.80s, a stack of profiles or one in a namespace of its own", label);
	if (read_policy(profile, &policy, &len, &why) || !len)
		return kho_fail(err, -ENOTSUP, "it is confined by AppArmor's profile %.80s, whose policy the kernel does not give (%.100s)", profile,
				why.code ? why.msg : "it is empty");
	return 0;
}

/* --- outgoing side --- */

/* Another profile out of one that is there already? */
static KhoProc__Policy *find(const KhoProc__Plan *plan, const char *profile, const char *data, size_t len)
{
	for (size_t i = 0; i < plan->n_policies; i++) {
		KhoProc__Policy *p = plan->policies[i];

		for (size_t k = 0; profile && k < p->n_profiles; k++)
			if (!strcmp(p->profiles[k], profile))
				return p;
		if (data && p->data.len == len && !memcmp(p->data.data, data, len))
			return p;
	}
	return NULL;
}

static int add_policy(KhoProc__Plan *plan, KhoProc__Policy **out, char **data, size_t len)
{
	KhoProc__Policy *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	kho_proc__policy__init(p);
	if (kho_pb_append(&plan->policies, &plan->n_policies, p)) {
		free(p);
		return -ENOMEM;
	}
	p->data.data = (uint8_t *)steal_ptr(*data);
	p->data.len = len;
	*out = p;
	return 0;
}

static int add_profile(KhoProc__Plan *plan, const char *profile, struct kho_err *err)
{
	_cleanup_free_ char *data = NULL;
	KhoProc__Policy *p;
	size_t len = 0;
	char *name;
	int rc;

	if (find(plan, profile, NULL, 0))
		return 0;
	rc = read_policy(profile, &data, &len, err);
	if (rc)
		return rc;
	p = find(plan, NULL, data, len);
	name = strdup(profile);
	if (!name || (!p && add_policy(plan, &p, &data, len)) || kho_pb_append(&p->profiles, &p->n_profiles, name)) {
		free(name);
		return kho_fail(err, -ENOMEM, "look at AppArmor's policy: out of memory");
	}
	return 0;
}

int kho_aa_collect(const struct kho_workload_list *l, KhoProc__Plan *plan, struct kho_err *err)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < l->n; i++)
		for (size_t k = 0; !rc && k < l->w[i].npids; k++) {
			_cleanup_free_ char *label = kho_aa_profile(l->w[i].pids[k]), *profile = label ? kho_aa_loaded(label) : NULL;

			if (label)
				rc = profile ? add_profile(plan, profile, err)
					     : kho_fail(err, -ENOTSUP, "pid %d is confined by %.80s, which is not carried", l->w[i].pids[k], label);
			if (rc)
				kho_wrap(err, "workload %s", l->w[i].name);
		}
	return rc;
}

void kho_aa_collected_done(KhoProc__Plan *plan)
{
	for (size_t i = 0; i < plan->n_policies; i++)
		kho_proc__policy__free_unpacked(plan->policies[i], NULL);
	free(plan->policies);
	plan->policies = NULL;
	plan->n_policies = 0;
}

/* --- incoming side --- */

/* It wants all of it in one call. */
static int write_once(const char *path, const void *data, size_t len)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, data, len) == (ssize_t)len ? 0 : -errno;
}

int kho_aa_load(const KhoProc__Plan *plan, struct kho_err *err)
{
	for (size_t i = 0; i < plan->n_policies; i++) {
		const KhoProc__Policy *p = plan->policies[i];
		int rc = p->n_profiles ? write_once(POLICY "/.replace", p->data.data, p->data.len) : -EPROTO;

		if (rc)
			return kho_fail(err, rc, "the incoming kernel does not take AppArmor's profile %s: %s", p->n_profiles ? p->profiles[0] : "",
					rc == -ENOENT ? "it has no AppArmor" : strerror(-rc));
	}
	return 0;
}

void kho_aa_unload(const KhoProc__Plan *plan)
{
	for (size_t i = 0; i < plan->n_policies; i++)
		for (size_t k = 0; k < plan->policies[i]->n_profiles; k++) {
			const char *name = plan->policies[i]->profiles[k];

			(void)!write_once(POLICY "/.remove", name, strlen(name)); /* it may not have been loaded */
		}
}
