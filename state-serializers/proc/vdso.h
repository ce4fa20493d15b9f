/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The code that a kernel lends to each process (the vDSO, for the time and the like). CRIU puts another kernel's in its place, and a thread that is in the
 * middle of the old one finds neither its data nor, the second time, itself: it dies when it goes on (criu issue 512).
 */
#ifndef KHO_PROC_VDSO_H
#define KHO_PROC_VDSO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Of these processes, whose threads all stand still: the first thread that is in it, or 0. 32-bit code has none whose data could be missed. */
pid_t kho_proc_in_vdso(const pid_t *pids, size_t n);

/* The class (EI_CLASS of elf.h) of the ELF file that begins there; ELFCLASSNONE: none does. */
typedef int kho_elf_class(void *arg, unsigned long start);
/*
 * A part of that, for tests: is this address in the vDSO, by a text as that of /proc/PID/maps? What CRIU has left of the vDSO of a kernel before counts, too: such a
 * mapping has no name, and begins as a 64-bit ELF file.
 */
bool kho_vdso_has(const char *maps, unsigned long at, kho_elf_class *class_of, void *arg);

#endif
