// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bad first process for an incoming kernel (--cmdline 'rdinit=... badinit=KIND'): ends that kernel before khoctl's module is
 * there to look after it. The kernel puts badinit=KIND into our environment.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

static void hang(void)
{
	struct utsname u;
	char path[300];
	int fd;

	uname(&u);
	snprintf(path, sizeof(path), "/lib/modules/%s/updates/khoctl-hang.ko", u.release);
	fd = open(path, O_RDONLY);
	syscall(SYS_finit_module, fd, "", 0);
}

static void crash(void)
{
	int fd;

	mkdir("/proc", 0555);
	mount("proc", "/proc", "proc", 0, NULL);
	fd = open("/proc/sysrq-trigger", O_WRONLY);
	(void)!write(fd, "c", 1);
}

int main(void)
{
	const char *kind = getenv("badinit");

	if (!kind)
		kind = "exit";
	if (!strcmp(kind, "reboot"))
		reboot(RB_AUTOBOOT);
	else if (!strcmp(kind, "poweroff"))
		reboot(RB_POWER_OFF);
	else if (!strcmp(kind, "hang"))
		hang();
	else if (!strcmp(kind, "panic"))
		crash();
	return 1; /* the first process ends: a panic, too */
}
