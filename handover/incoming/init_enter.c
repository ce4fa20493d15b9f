// SPDX-License-Identifier: GPL-2.0-only
/*
 * From khoctl's root in RAM to the carried root on a disk, with the same process: PID 1 becomes the
 * machine's init system, which adopts the restored processes (they are its children already).  The
 * agent keeps the old root; /proc, /sys, /dev and /run are bound below the new one and seen from both.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "handover/incoming/init.h"
#include "lib/cleanup.h"

/* Everything on the file system dev below dir_fd, which is closed. What is open or mapped lives on. */
static void remove_below(int dir_fd, dev_t dev)
{
	_cleanup_closedir_ DIR *d = fdopendir(dir_fd);

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		struct stat st;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev)
			continue;
		if (S_ISDIR(st.st_mode)) {
			int fd = openat(dirfd(d), e->d_name,
					O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (fd >= 0)
				remove_below(fd, dev);
		}
		/* a mount point stays */
		(void)unlinkat(dirfd(d), e->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
	}
}

static void free_old(int old, const struct stat *new_root)
{
	struct stat st;

	/* only a root in RAM, and never the new one */
	if (old >= 0 && !fstat(old, &st) && !major(st.st_dev) && st.st_dev != new_root->st_dev)
		remove_below(dup(old), st.st_dev);
}

static void fresh_process(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	clearenv();
	setenv("TERM", "linux", 1);
	setenv("HOME", "/", 1);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
}

static void streams(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

void kho_init_enter(const char *root)
{
	static const char *const inits[] = { "/sbin/init", "/lib/systemd/systemd" };
	_cleanup_close_ int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (chdir(root) < 0 || stat(".", &st) < 0) {
		kho_init_say("enter %s: %s", root, strerror(errno));
		return;
	}
	if (access("sbin/init", X_OK) < 0 && access("lib/systemd/systemd", X_OK) < 0) {
		kho_init_say("%s has no /sbin/init; staying as the init system", root);
		return;
	}
	kho_init_say("enters the carried root");
	free_old(old, &st);
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) {
		kho_init_say("make %s the root: %s", root, strerror(errno));
		return;
	}
	fresh_process();
	streams();
	for (size_t i = 0; i < sizeof(inits) / sizeof(inits[0]); i++) {
		char *argv[] = { (char *)inits[i], NULL };

		execv(inits[i], argv);
		kho_init_say("%s: %s", inits[i], strerror(errno));
	}
}
