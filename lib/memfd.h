/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files in memory.  Since Linux 6.3 one is either sealed against being executed or said to be executable, and with
 * vm.memfd_noexec=2 none but sealed ones are made.
 */
#ifndef KHO_LIB_MEMFD_H
#define KHO_LIB_MEMFD_H

#include <fcntl.h>
#include <sys/mman.h>

#include "lib/err.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

/*
 * An empty file of that name, close-on-exec: its descriptor, the caller's. flags: MFD_EXEC, else it is sealed against being executed (F_SEAL_EXEC);
 * MFD_ALLOW_SEALING. Kernels before 6.3 know no such seal. -EACCES: vm.memfd_noexec=2 and MFD_EXEC.
 */
int kho_memfd(const char *name, unsigned flags, struct kho_err *err) __must_check;

#endif
