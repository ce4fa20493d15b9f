// SPDX-License-Identifier: GPL-2.0-only
/* See handover/kexec/load.h. */
#include "handover/kexec/load.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"

bool kho_kexec_is_loaded(void)
{
	_cleanup_free_ char *text = NULL;

	return kho_read_line("/sys/kernel/kexec_loaded", &text, NULL) == 0 && !strcmp(text, "1");
}

static int refused(const char *image, struct kho_err *err)
{
	switch (errno) {
	case EKEYREJECTED:
	case ENOKEY:
	case ENODATA:
	case EBADMSG:
		return kho_fail(err, -EKEYREJECTED,
				"%s: this kernel takes only signed kernels and rejects this one; install the distribution's "
				"signed kernel, or enroll its key (mokutil --import)",
				image);
	case EPERM:
		return kho_fail(err, -EPERM, "%s: kexec is switched off in this kernel (kernel.kexec_load_disabled, or lockdown); boot without that",
				image);
	case EADDRNOTAVAIL:
		return kho_fail(err, -EADDRNOTAVAIL,
				"%s: no room for it and its initramfs; with Kexec HandOver both must fit into one scratch area: "
				"boot with a larger kho_scratch=",
				image);
	case ENOSYS:
		return kho_fail(err, -ENOSYS, "this kernel has no kexec_file_load (CONFIG_KEXEC_FILE)");
	default:
		return kho_fail_errno(err, "load %s with kexec", image);
	}
}

int kho_kexec_load(const char *image, const char *initrd, const char *cmdline, struct kho_err *err)
{
	_cleanup_close_ int kernel = open(image, O_RDONLY | O_CLOEXEC), ramfs = open(initrd, O_RDONLY | O_CLOEXEC);

	if (kernel < 0)
		return kho_fail_errno(err, "%s", image);
	if (ramfs < 0)
		return kho_fail_errno(err, "%s", initrd);
	if (syscall(SYS_kexec_file_load, kernel, ramfs, strlen(cmdline) + 1, cmdline, 0UL) < 0)
		return refused(image, err);
	return 0;
}

int kho_kexec_unload(struct kho_err *err)
{
	if (!kho_kexec_is_loaded())
		return 0;
	if (syscall(SYS_kexec_file_load, -1, -1, 0UL, NULL, (unsigned long)KEXEC_FILE_UNLOAD) < 0)
		return kho_fail_errno(err, "unload the kernel that was loaded for kexec");
	return 0;
}

int kho_kexec_jump(struct kho_err *err)
{
	(void)!syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	return kho_fail_errno(err, "start the loaded kernel");
}
