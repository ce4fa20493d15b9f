// SPDX-License-Identifier: GPL-2.0-only
/*
 * The orderly end of a kernel whose PID 1 we are.  What reboot(2) does on a machine that is shared
 * with another kernel is the module's business: it parks the CPUs instead of a reset.
 */
#include <mntent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handover/incoming/init.h"
#include "lib/cleanup.h"

#define PATIENCE_MS 5000

static void reap_all(unsigned ms)
{
	struct timespec ten = { .tv_nsec = 10000000 };

	for (unsigned i = 0; i < ms / 10; i++) {
		pid_t pid;

		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			;
		if (pid < 0)
			return; /* no child is left */
		nanosleep(&ten, NULL);
	}
}

/* Those on disks; the others hold nothing that could be lost. Latest first. */
static void unmount_disks(void)
{
	char *dirs[256];
	size_t n = 0;
	struct mntent *e;
	FILE *f = setmntent("/proc/self/mounts", "re");

	while (f && n < 256 && (e = getmntent(f)))
		if (!strncmp(e->mnt_fsname, "/dev/", 5))
			dirs[n++] = strdup(e->mnt_dir);
	if (f)
		endmntent(f);
	while (n--) {
		if (dirs[n] && umount2(dirs[n], 0) < 0 &&
		    mount(NULL, dirs[n], NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
			kho_init_say("%s stays mounted", dirs[n]);
		free(dirs[n]);
	}
}

void kho_init_stop(int cmd)
{
	kho_init_say("stops: %s", cmd == RB_POWER_OFF  ? "power off"
				  : cmd == RB_AUTOBOOT ? "reboot"
						       : "halt");
	kill(-1, SIGTERM);
	kill(-1, SIGCONT);
	reap_all(PATIENCE_MS);
	kill(-1, SIGKILL);
	reap_all(1000);
	sync();
	unmount_disks();
	reboot(cmd);
	for (;;)
		pause();
}
