/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs for the kernel (*.bpf.c): into it, and when it refuses one, why. Nothing is pinned: they are gone when the
 * skeleton is destroyed, or with this process.
 */
#ifndef KHO_BPF_PROGRAM_H
#define KHO_BPF_PROGRAM_H

#include <stddef.h>

#include "lib/err.h"

struct bpf_object_skeleton;

/* All of a skeleton that was opened into the kernel. The error says which program was refused and the verifier's reason. */
int kho_program_load(struct bpf_object_skeleton *s, struct kho_err *err) __must_check;
/* And to work. */
int kho_program_attach(struct bpf_object_skeleton *s, struct kho_err *err) __must_check;
/* Both. */
int kho_program_start(struct bpf_object_skeleton *s, struct kho_err *err) __must_check;

/*
 * What a verifier's log says is wrong: its last line that is no statistics and no trace of the instructions. "": it says nothing.
 */
void kho_program_reason(const char *log, char *out, size_t len);

#endif
