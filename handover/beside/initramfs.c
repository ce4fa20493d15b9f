// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which files make up the incoming kernel's first root.  Nothing is packed here (pack.c); a
 * selection errs on the side of too much, it costs some milliseconds outside the blackout.
 */
#include "handover/beside/initramfs.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "handover/beside/elf.h"
#include "lib/cleanup.h"
#include "lib/io.h"

#define AGENT "khoctl-incoming"

/* First of dir/name that is there; malloc'd or NULL. */
static char *find_in(const char *const *dirs, const char *name)
{
	for (; *dirs; dirs++) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s", *dirs, name) >= 0 && kho_exists(path))
			return steal_ptr(path);
	}
	return NULL;
}

/* Beside the running program (a build tree), else where it is installed. */
static char *find_agent(void)
{
	char self[PATH_MAX], *slash;
	const char *dirs[] = { self, "/usr/lib/khoctl", "/usr/sbin", "/usr/local/sbin", NULL };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	return find_in(self[0] ? dirs : dirs + 1, AGENT);
}

static int add_skeleton(const struct kho_initramfs_in *in, struct kho_files *l, struct kho_err *err)
{
	static const struct {
		const char *name;
		mode_t mode;
	} dirs[] = {
		{ "/proc", 0555 }, { "/sys", 0555 },  { "/dev", 0755 },
		{ "/run", 0755 },  { "/tmp", 01777 }, { "/root", 0700 },
	};
	_cleanup_free_ char *agent = find_agent();
	int ret = 0;
	size_t i;

	if (!agent)
		return kho_fail(err, -ENOENT,
				AGENT " is missing (looked beside khoctl and in /usr/lib/khoctl); "
				      "install the khoctl package again");
	for (i = 0; i < sizeof(dirs) / sizeof(*dirs) && !ret; i++)
		ret = kho_files_add_made(l, dirs[i].name, S_IFDIR | dirs[i].mode, NULL, 0, err);
	if (!ret) /* the kernel opens it before anything is mounted */
		ret = kho_files_add_made(l, "/dev/console", S_IFCHR | 0600, NULL, makedev(5, 1),
					 err);
	if (!ret)
		ret = kho_files_add_as(l, agent, "/init", err);
	if (!ret && !in->machine->root_in_ram)
		ret = kho_elf_add(l, (const char *const[]){ agent, NULL }, err);
	return ret;
}

static int add_root_copy(const struct kho_initramfs_in *in, struct kho_files *l,
			 struct kho_err *err)
{
	/* what is mounted on these is not copied anyway; this is for a machine where nothing is */
	const char *without[] = {
		in->run_dir, "/var/cache/khoctl", "/init", "/proc", "/sys", "/dev", NULL
	};

	return kho_files_add_tree(l, "/", "", without, err);
}

/* A file that a workload uses: only of the root file system, and only what will be the same there.
 */
static int add_used(struct kho_files *l, const char *path, dev_t root, struct kho_err *err)
{
	struct stat st;

	if (*path != '/' || lstat(path, &st) < 0 || st.st_dev != root ||
	    (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		return 0;
	return kho_files_add(l, path, err);
}

static int add_link_of(struct kho_files *l, pid_t pid, const char *name, dev_t root,
		       struct kho_err *err)
{
	char path[64], target[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	return add_used(l, target, root, err);
}

static int add_maps(struct kho_files *l, pid_t pid, dev_t root, struct kho_err *err)
{
	char path[64], line[PATH_MAX + 128], last[PATH_MAX] = "";
	_cleanup_fclose_ FILE *f = NULL;
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	while (f && !ret && fgets(line, sizeof(line), f)) {
		char *name = strchr(line, '/');

		if (!name)
			continue;
		name[strcspn(name, "\n")] = '\0';
		if (!strcmp(name, last))
			continue;
		snprintf(last, sizeof(last), "%s", name);
		ret = add_used(l, name, root, err);
	}
	return ret;
}

static int add_fds(struct kho_files *l, pid_t pid, dev_t root, struct kho_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[64], name[300];
	struct dirent *e;
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && !ret && (e = readdir(d))) {
		if (*e->d_name == '.')
			continue;
		snprintf(name, sizeof(name), "fd/%s", e->d_name);
		ret = add_link_of(l, pid, name, root, err);
	}
	return ret;
}

static int add_workloads(const struct kho_initramfs_in *in, struct kho_files *l,
			 struct kho_err *err)
{
	const struct kho_workload *w;
	struct stat st;
	int ret = 0;
	size_t i, j;

	if (stat("/", &st) < 0)
		return kho_fail_errno(err, "/");
	for (i = 0; in->workloads && i < in->workloads->n && !ret; i++) {
		w = &in->workloads->w[i];
		for (j = 0; j < w->npids && !ret; j++) {
			ret = add_maps(l, w->pids[j], st.st_dev, err);
			if (!ret)
				ret = add_fds(l, w->pids[j], st.st_dev, err);
			if (!ret)
				ret = add_link_of(l, w->pids[j], "cwd", st.st_dev, err);
		}
		if (!ret && w->health_command) {
			char *first = strndup(w->health_command, strcspn(w->health_command, " \t"));

			ret = first && kho_exists(first)
				      ? kho_elf_add(l, (const char *const[]){ first, NULL }, err)
				      : 0;
			free(first);
		}
	}
	return ret;
}

static int add_programs(struct kho_files *l, struct kho_err *err)
{
	static const char *const dirs[] = {
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", NULL
	};
	_cleanup_free_ char *criu = find_in(dirs, "criu"), *khoctl = find_in(dirs, "khoctl");
	const char *list[3] = { NULL }, **p = list;

	if (criu) /* whether it is there and good is the process serializer's to say */
		*p++ = criu;
	if (khoctl)
		*p++ = khoctl;
	return list[0] ? kho_elf_add(l, list, err) : 0;
}

/*
 * Options of modules, as they hold here now.  What lies in /run goes to /etc: /run of the incoming
 * kernel is empty.
 */
static int add_module_options(struct kho_files *l, struct kho_err *err)
{
	static const char *const dirs[] = { "/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d",
					    "/usr/lib/modprobe.d", "/lib/modprobe.d" };
	int ret = 0;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		_cleanup_closedir_ DIR *d = opendir(dirs[i]);
		struct dirent *e;

		while (!ret && d && (e = readdir(d))) {
			_cleanup_free_ char *path = NULL, *etc = NULL;
			const char *dot = strrchr(e->d_name, '.');

			if (!dot || strcmp(dot, ".conf"))
				continue;
			if (asprintf(&path, "%s/%s", dirs[i], e->d_name) < 0 || asprintf(&etc, "%s/%s", dirs[0], e->d_name) < 0)
				return kho_fail(err, -ENOMEM, "module options: out of memory");
			if (i != 1)
				ret = kho_exists(path) ? kho_files_add(l, path, err) : 0;
			else if (!kho_exists(etc))
				ret = kho_files_add_as(l, path, etc, err);
		}
	}
	return ret;
}

static int add_selection(const struct kho_initramfs_in *in, struct kho_files *l,
			 struct kho_err *err)
{
	static const char *const etc[] = {
		"/etc/passwd",	    "/etc/group",	  "/etc/hosts",	    "/etc/hostname",
		"/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/localtime", "/etc/ld.so.cache",
		"/etc/os-release",  "/etc/protocols",	  "/etc/services",
	};
	int ret = kho_modules_add(&in->target, in->machine, l, err);
	size_t i;

	if (!ret && in->also)
		ret = kho_modules_add(in->also, in->machine, l, err);
	if (!ret)
		ret = add_module_options(l, err);
	if (!ret)
		ret = add_programs(l, err);
	for (i = 0; i < sizeof(etc) / sizeof(*etc) && !ret; i++)
		if (kho_exists(etc[i]))
			ret = kho_files_add(l, etc[i], err);
	if (!ret && kho_exists("/etc/khoctl"))
		ret = kho_files_add_tree(l, "/etc/khoctl", "", NULL, err);
	return ret ? ret : add_workloads(in, l, err);
}

int kho_initramfs_list(const struct kho_initramfs_in *in, struct kho_files *out,
		       struct kho_err *err)
{
	const char *const *extra;
	int ret;

	memset(out, 0, sizeof(*out));
	ret = add_skeleton(in, out, err);
	if (!ret)
		ret = in->machine->root_in_ram ? add_root_copy(in, out, err)
					       : add_selection(in, out, err);
	if (!ret && in->program && !in->machine->root_in_ram)
		ret = kho_elf_add(out, (const char *const[]){ in->program, NULL }, err);
	for (extra = in->extra_files; !ret && extra && *extra; extra++)
		ret = kho_files_add(out, *extra, err);
	if (!ret)
		ret = kho_files_close(out, err);
	if (ret < 0) {
		kho_files_done(out);
		return kho_wrap(err, "initramfs");
	}
	return 0;
}

int kho_initramfs_stamp(const char *run_dir, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	struct timespec now;
	char text[32];
	int n;

	if (asprintf(&path, "%s/packed", run_dir) < 0)
		return kho_fail(err, -ENOMEM, "initramfs: out of memory");
	clock_gettime(CLOCK_REALTIME, &now);
	n = snprintf(text, sizeof(text), "%" PRIu64 "\n",
		     (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec);
	return kho_write_file(path, text, n, err);
}
