// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's own check, through the normal kexec slot: nothing is ever started from there.
 */
#include "handover/beside/signature.h"

#include <fcntl.h>
#include <linux/kexec.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/kconfig.h"

/* Where nobody has mounted securityfs, what the kernel was started with. */
static bool started_locked(const char *sysroot)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/cmdline"), *text = NULL;

	return path && kho_read_line(path, &text, NULL) == 0 &&
	       (strstr(text, "lockdown=integrity") || strstr(text, "lockdown=confidentiality"));
}

static bool locked_down(const char *sysroot)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/sys/kernel/security/lockdown"),
			    *text = NULL;

	if (!path || kho_read_line(path, &text, NULL) < 0)
		return started_locked(sysroot);
	return strstr(text, "[integrity]") || strstr(text, "[confidentiality]");
}

static bool config_forces(const char *sysroot)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/sys/kernel/osrelease"), *release = NULL, *value = NULL;

	if (!path || kho_read_line(path, &release, NULL) < 0)
		return false;
	value = kho_kconfig_get(sysroot, release, "CONFIG_KEXEC_SIG_FORCE");
	return value && !strcmp(value, "y");
}

bool kho_signature_enforced(const char *sysroot, const char **out_why)
{
	*out_why = locked_down(sysroot)	    ? "lockdown"
		   : config_forces(sysroot) ? "CONFIG_KEXEC_SIG_FORCE"
					    : "";
	return **out_why;
}

static long kexec_file(int fd, unsigned long flags)
{
	return syscall(SYS_kexec_file_load, fd, -1, 1UL, "", flags);
}

int kho_signature_verify(const char *image, struct kho_err *err)
{
	_cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *loaded = NULL, *off = NULL;

	if (fd < 0)
		return kho_fail_errno(err, "%s", image);
	if (kho_read_line("/proc/sys/kernel/kexec_load_disabled", &off, NULL) == 0 &&
	    !strcmp(off, "1"))
		return kho_fail(err, -EPERM,
				"kexec is switched off (kernel.kexec_load_disabled), so this kernel "
				"cannot verify the signature of %s; restart without that setting",
				image);
	if (kho_read_line("/sys/kernel/kexec_loaded", &loaded, NULL) == 0 && !strcmp(loaded, "1"))
		return kho_fail(err, -EBUSY,
				"a kernel is loaded for kexec; unload it (kexec -u), the slot is "
				"needed to verify the signature of %s",
				image);
	if (kexec_file(fd, KEXEC_FILE_NO_INITRAMFS) < 0) {
		if (errno == EKEYREJECTED || errno == ENOKEY || errno == ENODATA ||
		    errno == EPERM || errno == EBADMSG)
			return kho_fail(err, -EKEYREJECTED,
					"%s: this kernel takes only signed kernels and rejects this "
					"one: unsigned, changed since it was signed, or signed with a "
					"key that this kernel does not trust; install the "
					"distribution's signed kernel (apt install linux-image-amd64), "
					"or enroll its key (mokutil --import)",
					image);
		return kho_fail_errno(err,
				      "%s: the running kernel cannot verify its signature: "
				      "kexec_file_load",
				      image);
	}
	(void)kexec_file(-1, KEXEC_FILE_UNLOAD);
	return 0;
}
