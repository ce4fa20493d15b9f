// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of kernel parameters: trees that are carried, and what in them is not.  Files that root
 * may not both read and write are left out by their mode.
 */
#include "state-serializers/host-sysctl.h"

#include <dirent.h>
#include <fnmatch.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"

#define VALUE_MAX 4096

static const char *const trees[] = {
	"fs", "kernel", "net/core", "net/ipv4", "net/ipv6", "net/unix", "net/mptcp", "user", "vm",
};

/* In the order: why not. */
static const char *const never[] = {
	/* of this boot, or written by the boot itself */
	"kernel/random/*",
	"kernel/ns_last_pid",
	"kernel/hostname",
	"kernel/domainname",
	"kernel/cad_pid",
	"kernel/bootloader_*",
	"kernel/usermodehelper/*",
	"kernel/keys/*",
	"kernel/tainted",
	"kernel/modprobe",
	"kernel/hotplug",
	"kernel/poweroff_cmd",
	"kernel/real-root-dev",
	"kernel/acpi_video_flags",
	"kernel/*_next_id",
	"kernel/sem_next_id",
	/* an incoming kernel must neither reset nor stop the machine, nor talk to its hardware
	   consoles */
	"kernel/panic*",
	"kernel/*_panic",
	"kernel/hung_task_*",
	"kernel/softlockup_*",
	"kernel/hardlockup_*",
	"kernel/nmi_watchdog",
	"kernel/watchdog*",
	"kernel/soft_watchdog",
	"kernel/unknown_nmi_panic",
	"kernel/oops_*",
	"kernel/warn_limit",
	"kernel/printk",
	"kernel/printk_devkmsg",
	"kernel/max_rcu_stall_to_panic",
	"kernel/ctrl-alt-del",
	/* no way back, and the hand-over needs it open */
	"kernel/modules_disabled",
	"kernel/kexec_load*",
	/* acts, not values */
	"vm/compact_memory",
	"vm/drop_caches",
	"net/ipv4/route/flush",
	"net/ipv6/route/flush",
	"vm/stat_refresh",
	/* follow from the memory and CPUs a kernel has, which grow after commit */
	"vm/min_free_kbytes",
	"vm/nr_hugepages*",
	"vm/nr_overcommit_hugepages",
	"vm/lowmem_reserve_ratio",
	"vm/*_reserve_kbytes",
	"vm/numa_*",
	"kernel/numa_balancing*",
	"kernel/sched_domain/*",
	"kernel/timer_migration",
	"kernel/perf_cpu_time_max_percent",
	"kernel/perf_event_max_sample_rate",
	"net/core/rps_*",
	"net/core/flow_limit_*",
	/* keys that must not travel */
	"net/ipv4/tcp_fastopen_key",
	"net/ipv6/conf/*/stable_secret",
	"net/ipv6/conf/*/mtu",
	/* old names of the ones beside them, which warn */
	"net/ipv[46]/neigh/default/base_reachable_time",
	"net/ipv[46]/neigh/default/retrans_time",
	"net/ipv[46]/neigh/default/unres_qlen",
	"fs/binfmt_misc/*",
	"fs/epoll/*",
	"fs/nfs/*",
	"fs/verity/*",
	"fs/mount-max",
};

/* They would be in the way of what is restored. */
static const char *const late[] = {
	"kernel/yama/ptrace_scope",   "kernel/unprivileged_bpf_disabled",
	"kernel/perf_event_paranoid", "vm/overcommit_memory",
	"vm/overcommit_ratio",	      "vm/overcommit_kbytes",
	"vm/memfd_noexec",
};

static bool in_table(const char *const *table, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (!fnmatch(table[i], key, 0))
			return true;
	return false;
}

static bool is_of_interface(const char *key)
{
	const char *name = NULL;

	if (!strncmp(key, "net/ipv4/conf/", 14) || !strncmp(key, "net/ipv6/conf/", 14))
		name = key + 14;
	else if (!strncmp(key, "net/ipv4/neigh/", 15) || !strncmp(key, "net/ipv6/neigh/", 15))
		name = key + 15;
	return name && strncmp(name, "all/", 4) && strncmp(name, "default/", 8);
}

bool kho_sysctl_is_carried(const char *key, bool *out_late)
{
	bool found = false;

	for (size_t i = 0; i < KHO_ARRAY_SIZE(trees); i++) {
		size_t len = strlen(trees[i]);

		found |= !strncmp(key, trees[i], len) && key[len] == '/';
	}
	*out_late = in_table(late, KHO_ARRAY_SIZE(late), key);
	return found && !strstr(key, "..") && !is_of_interface(key) &&
	       !in_table(never, KHO_ARRAY_SIZE(never), key);
}

static int add(Kho__Host *h, const char *key, const char *value, bool is_late)
{
	Kho__HostSysctl *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	kho__host_sysctl__init(s);
	/* the permissive kinds help the restore, the strict one could fail it */
	s->late = is_late && (strcmp(key, "vm/overcommit_memory") || !strcmp(value, "2"));
	if (kho_pb_set(&s->key, key) || kho_pb_set(&s->value, value) ||
	    kho_pb_append(&h->sysctl, &h->n_sysctl, s)) {
		kho__host_sysctl__free_unpacked(s, NULL);
		return -ENOMEM;
	}
	return 0;
}

static int read_dir(const char *base, const char *dir, Kho__Host *h)
{
	char path[PATH_MAX], key[512];
	int ret = 0;

	snprintf(path, sizeof(path), "%s/%s", base, dir);
	_cleanup_closedir_ DIR *d = opendir(path);

	for (struct dirent *e = d ? readdir(d) : NULL; e && !ret; e = readdir(d)) {
		_cleanup_free_ char *value = NULL;
		bool is_late;
		size_t len;
		struct stat st;

		if (e->d_name[0] == '.' ||
		    snprintf(key, sizeof(key), "%s/%s", dir, e->d_name) >= (int)sizeof(key))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", base, key) >= (int)sizeof(path) ||
		    lstat(path, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			ret = read_dir(base, key, h);
		if (!S_ISREG(st.st_mode) || (st.st_mode & 0600) != 0600 ||
		    !kho_sysctl_is_carried(key, &is_late))
			continue;
		if (kho_read_file(path, VALUE_MAX, &value, &len, NULL) < 0)
			continue;
		while (len && (value[len - 1] == '\n' || value[len - 1] == ' '))
			value[--len] = '\0';
		ret = add(h, key, value, is_late);
	}
	return ret;
}

int kho_sysctl_read_all(const char *base, Kho__Host *h, struct kho_err *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < KHO_ARRAY_SIZE(trees); i++)
		ret = read_dir(base, trees[i], h);
	return ret ? kho_fail(err, ret, "read kernel parameters: out of memory") : 0;
}
