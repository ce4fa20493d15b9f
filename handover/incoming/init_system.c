// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a kernel that has just booted lacks: mounts, standard streams, loopback, a name.  Works on a
 * copy of a whole root file system and on an almost empty one: directories are made as needed, a
 * thing that is already mounted is left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handover/incoming/init.h"
#include "lib/cleanup.h"
#include "lib/io.h"

void kho_init_say(const char *fmt, ...)
{
	_cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char text[900];
	int n = snprintf(text, sizeof(text), "<5>khoctl-incoming: ");
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
	/* one write is one record of the log */
	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return;
}

int kho_init_proc(struct kho_err *err)
{
	mkdir("/proc", 0555);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 &&
	    errno != EBUSY)
		return kho_fail_errno(err, "mount /proc");
	return 0;
}

bool kho_init_word(const char *key, char *buf, unsigned room)
{
	_cleanup_free_ char *line = NULL;
	size_t len = strlen(key);
	char *save = NULL;

	if (kho_read_line("/proc/cmdline", &line, NULL) < 0)
		return false;
	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (strncmp(w, key, len) || w[len] != '=')
			continue;
		snprintf(buf, room, "%s", w + len + 1);
		return true;
	}
	return false;
}

/* --- mounts --- */

struct mnt {
	const char *type, *dir, *options; /* what follows a space: only where the kernel knows it */
	unsigned long flags;
	mode_t mode;
	bool must;
};

static int mount_with(const struct mnt *m, bool extra)
{
	char options[128] = "";
	const char *space = m->options ? strchr(m->options, ' ') : NULL;
	int len = space ? (int)(space - m->options) : 127;

	if (!space && !extra)
		return -1;
	if (m->options)
		snprintf(options, sizeof(options), "%.*s%s", len, m->options,
			 space && extra ? space + 1 : "");
	return mount(m->type, m->dir, m->type, m->flags, options);
}

static int mount_one(const struct mnt *m, struct kho_err *err)
{
	struct kho_err why = KHO_ERR_INIT;

	if (kho_mkdir(m->dir, &why) < 0)
		return m->must ? kho_fail(err, why.code, "%s", why.msg) : 0;
	if (kho_is_mount_point(m->dir))
		return 0;
	if (mount_with(m, true) < 0 && (errno != EINVAL || mount_with(m, false) < 0) &&
	    errno != EBUSY) {
		if (m->must)
			return kho_fail_errno(err, "mount %s on %s", m->type, m->dir);
		return 0;
	}
	if (m->mode)
		chmod(m->dir, m->mode);
	return 0;
}

static int mount_all(const char *images_dir, struct kho_err *err)
{
	const unsigned long strict = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	const struct mnt all[] = {
		{ "sysfs", "/sys", NULL, strict, 0, true },
		{ "devtmpfs", "/dev", "mode=0755", MS_NOSUID, 0, true },
		{ "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC, 0,
		  false },
		{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, 01777, false },
		{ "tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV, 0, true },
		{ "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV, 01777, false },
		{ "cgroup2", "/sys/fs/cgroup", "nsdelegate", strict, 0, false },
		{ "securityfs", "/sys/kernel/security", NULL, strict, 0, false },
		{ "bpf", "/sys/fs/bpf", "mode=0700", strict, 0, false },
		/*
		 * No limit: one that is worked out now would be half of the memory that this kernel
		 * boots with, and more memory comes before the images do. The outgoing side has
		 * counted what it needs. Huge pages inside a file's size: writing 4 KiB at a time
		 * costs seven times as much (measured under TCG).
		 */
		{ "tmpfs", images_dir, "mode=0700,size=0,nr_inodes=0 ,huge=within_size", strict, 0,
		  true },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int ret = mount_one(&all[i], err);

		if (ret < 0)
			return ret;
	}
	/* also where only the images' own mode was given: run_dir is root's alone */
	return chmod("/run/khoctl", 0700) < 0 ? kho_fail_errno(err, "chmod /run/khoctl") : 0;
}

static void link_dev(void)
{
	static const char *const links[][2] = {
		{ "/proc/self/fd", "/dev/fd" },	      { "/proc/self/fd/0", "/dev/stdin" },
		{ "/proc/self/fd/1", "/dev/stdout" }, { "/proc/self/fd/2", "/dev/stderr" },
		{ "pts/ptmx", "/dev/ptmx" },
	};

	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
			kho_init_say("link %s: %s", links[i][1], strerror(errno));
}

/* What we and our children print goes into the kernel's log, which the outgoing side can read. */
static int streams(struct kho_err *err)
{
	int in = open("/dev/null", O_RDONLY), out = open("/dev/kmsg", O_WRONLY);
	struct kho_err rate = KHO_ERR_INIT;

	if (in < 0 || out < 0)
		return kho_fail_errno(err, "open /dev/null and /dev/kmsg");
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		return kho_fail_errno(err, "standard streams");
	if (in > 2)
		close(in);
	if (out > 2)
		close(out);
	/* else the kernel drops what comes too fast; a kernel without this switch drops nothing */
	if (kho_write_existing("/proc/sys/kernel/printk_devkmsg", "on\n", &rate) < 0 &&
	    rate.code != -ENOENT && rate.code != -EINVAL)
		kho_init_say("%s", rate.msg);
	return 0;
}

int kho_init_mounts(const char *images_dir, struct kho_err *err)
{
	const struct rlimit files = { 1 << 16, 1 << 19 };
	int ret;

	umask(022);
	ret = mount_all(images_dir, err);
	if (!ret)
		ret = streams(err);
	if (ret < 0)
		return ret;
	link_dev();
	/* the root must not be shared with anybody; restored mount namespaces expect it private */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		kho_init_say("mounts cannot be made private: %s", strerror(errno));
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("LC_ALL", "C", 1);
	setenv("TERM", "linux", 1);
	setrlimit(RLIMIT_NOFILE, &files);
	return chdir("/") < 0 ? kho_fail_errno(err, "chdir /") : 0;
}

/* --- names --- */

static void loopback_up(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) < 0) {
		kho_init_say("loopback: %s", strerror(errno));
		return;
	}
	r.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		kho_init_say("loopback up: %s", strerror(errno));
}

void kho_init_names(void)
{
	_cleanup_free_ char *name = NULL;
	char word[65];

	loopback_up();
	if (kho_init_word("khoctl.hostname", word, sizeof(word)))
		name = strdup(word);
	else if (kho_read_line("/etc/hostname", &name, NULL) < 0)
		return;
	if (name && *name && sethostname(name, strlen(name)) < 0)
		kho_init_say("host name: %s", strerror(errno));
}
