/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Signature policy: where the running kernel takes only signed kernels, it shall itself verify the
 * target image before the image is used.
 */
#ifndef KHO_BESIDE_SIGNATURE_H
#define KHO_BESIDE_SIGNATURE_H

#include <stdbool.h>

#include "lib/err.h"

/* Does this kernel enforce signed images? out_why: "lockdown", "CONFIG_KEXEC_SIG_FORCE" or "". */
bool kho_signature_enforced(const char *sysroot, const char **out_why);

/*
 * Let the kernel verify the image: kexec_file_load(2) and unload at once. -EKEYREJECTED with the
 * fix when it refuses; -EBUSY when somebody has loaded a kernel for kexec, which must not be lost.
 */
int kho_signature_verify(const char *image, struct kho_err *err);

#endif
