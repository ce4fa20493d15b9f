// SPDX-License-Identifier: GPL-2.0-only
/*
 * The floor of a kexec: from reboot(2) in one kernel to the first process of the next one, whose initramfs holds nothing but this program. Both
 * moments by the TSC, which goes on, into the kernels' logs and so onto the console.
 *   boot_floor go	jumps to the kernel that is loaded; says `boot-floor: down TSC KHZ`
 *   as /init		says `boot-floor: up TSC`, and resets the machine
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <linux/reboot.h>

#define AHEAD_MS 500 /* what is said before the jump is on the console by then */
#define STAY_S	 2

/* Loud: on the console whatever its level is. */
static void say(const char *text)
{
	int fd = open("/dev/kmsg", O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(1);
	close(fd);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t measure_khz(void)
{
	uint64_t tsc = __rdtsc(), ns = now_ns();

	sleep(1);
	return (__rdtsc() - tsc) * 1000000 / (now_ns() - ns);
}

static int go(void)
{
	uint64_t khz = measure_khz(), at = __rdtsc() + khz * AHEAD_MS;
	char text[100];

	snprintf(text, sizeof(text), "<1>boot-floor: down %llu %llu", (unsigned long long)at, (unsigned long long)khz);
	say(text);
	while (__rdtsc() < at)
		;
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	perror("boot_floor: start the kernel that is loaded");
	return 1;
}

int main(int argc, char **argv)
{
	uint64_t up = __rdtsc();
	char text[100];

	if (getpid() != 1)
		return argc == 2 && !strcmp(argv[1], "go") ? go() : 2;
	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL); /* it may be there */
	snprintf(text, sizeof(text), "<1>boot-floor: up %llu", (unsigned long long)up);
	say(text);
	sleep(STAY_S);
	reboot(RB_AUTOBOOT);
	return 1;
}
