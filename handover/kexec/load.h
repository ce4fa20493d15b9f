/* SPDX-License-Identifier: GPL-2.0-only */
/* kexec_file_load(2), and the jump. Used by the engine, and by the agent on the way back. */
#ifndef KHO_KEXEC_LOAD_H
#define KHO_KEXEC_LOAD_H

#include <stdbool.h>

#include "lib/err.h"

/* Is a kernel loaded, by whomever? */
bool kho_kexec_is_loaded(void);

/*
 * Load image with the initramfs in the file at initrd and a command line; replaces one that is loaded. Nobody may have the initrd open for
 * writing. -EKEYREJECTED: this kernel takes only signed ones; -EADDRNOTAVAIL: no room (with Kexec HandOver it must fit into
 * one scratch area, kho_scratch=); -EPERM: kexec is switched off (kernel.kexec_load_disabled, lockdown).
 */
int kho_kexec_load(const char *image, const char *initrd, const char *cmdline, struct kho_err *err) __must_check;

/* Drop it; fine when there is none. */
int kho_kexec_unload(struct kho_err *err) __must_check;

/*
 * Go: reboot(2) with LINUX_REBOOT_CMD_KEXEC. Returns only with an error, and then this kernel goes on: the Live Update Orchestrator
 * refuses a jump with what it cannot carry, before any device is shut down.
 */
int kho_kexec_jump(struct kho_err *err) __must_check;

#endif
