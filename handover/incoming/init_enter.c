// SPDX-License-Identifier: GPL-2.0-only
/*
 * From khoctl's root in RAM to the carried root on a disk, with the same process: PID 1 becomes the
 * machine's init system, which adopts the restored processes (they are its children already).  The
 * agent keeps the old root; /proc, /sys, /dev and /run are bound below the new one and seen from both.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "handover/incoming/agent.h"
#include "handover/incoming/init.h"
#include "lib/fdpass.h"
#include "lib/io.h"

#define MOUNTS_MAX 4096

/* Only a root in RAM, and never the new one; no other file system. What is open or mapped lives on. */
static void free_old(const struct stat *new_root)
{
	struct stat st;

	if (!stat("/", &st) && !major(st.st_dev) && st.st_dev != new_root->st_dev)
		kho_remove_tree("/");
}

/*
 * What is mounted below /run (network namespaces of containers, a pod's /dev/shm, roots of containers) is so here and, since that was
 * bound, below the new root's. Here nobody sees it any more, and who is through with one there could not remove its place: it would
 * still be mounted on. The last comes first. (Our own processes that go on here look into /run/khoctl.)
 */
static void let_go_of_run(const char *root)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	char *dirs[MOUNTS_MAX];
	struct mntent *m;
	size_t n = 0;

	/* nothing of it is to reach the bound ones */
	if (mount(NULL, "/run", NULL, MS_REC | MS_PRIVATE, NULL))
		kho_init_say("make /run private: %s", strerror(errno));
	while (f && n < MOUNTS_MAX && (m = getmntent(f)))
		if (kho_path_is_below(m->mnt_dir, "/run") && strcmp(m->mnt_dir, "/run") && !kho_path_is_below(m->mnt_dir, "/run/khoctl") &&
		    !kho_path_is_below(m->mnt_dir, root) && !kho_path_is_below(root, m->mnt_dir) && (dirs[n] = strdup(m->mnt_dir)))
			n++;
	if (f)
		endmntent(f);
	while (n--) {
		(void)!umount2(dirs[n], MNT_DETACH | UMOUNT_NOFOLLOW); /* it stays, then */
		free(dirs[n]);
	}
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

/* --- what the init system is to know from the start --- */

/* One message of the agent's: its kind, or 0; the descriptor is close-on-exec. */
static char receive(int socket, int *fd)
{
	char kind = 0;

	return kho_fd_recv(socket, &kind, 1, fd, MSG_DONTWAIT) == 1 && *fd >= 0 ? kind : 0;
}

/* All descriptors under the numbers that were promised; the result is that of the state, or -1. */
static int receive_all(int socket)
{
	int number = KHO_INIT_FD, state = -1, fd;
	char kind;

	for (; socket >= 0 && number < KHO_INIT_FD + KHO_INIT_FDS_MAX && (kind = receive(socket, &fd)); number++) {
		/* without close-on-exec: it is passed on */
		if (dup2(fd, number) < 0) {
			kho_init_say("descriptor %d for init: %s", number, strerror(errno));
			return -1;
		}
		close(fd);
		if (kind == KHO_INIT_STATE)
			state = number;
	}
	return state;
}

/* As systemd does it to itself when it comes out of an initrd: it sets the machine up, and starts what is to be started. */
static void execute(const char *init, int state)
{
	char deserialize[40], path[PATH_MAX];
	char *plain[] = { (char *)init, NULL }, *told[] = { (char *)init, (char *)"--switched-root", deserialize, NULL };
	const char *name = realpath(init, path) ? strrchr(path, '/') : NULL;

	snprintf(deserialize, sizeof(deserialize), "--deserialize=%d", state);
	if (state >= 0 && name && !strcmp(name, "/systemd"))
		execv(init, told);
	execv(init, plain);
	kho_init_say("%s: %s", init, strerror(errno));
}

void kho_init_enter(const char *root, int socket)
{
	static const char *const inits[] = { "/sbin/init", "/lib/systemd/systemd" };
	int state;
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
	free_old(&st);
	let_go_of_run(root);
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0) {
		kho_init_say("make %s the root: %s", root, strerror(errno));
		return;
	}
	fresh_process();
	streams();
	state = receive_all(socket);
	for (size_t i = 0; i < sizeof(inits) / sizeof(inits[0]); i++)
		execute(inits[i], state);
}
