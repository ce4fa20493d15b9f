/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The error record store of an incoming kernel: its registers, and what a kernel that ended before
 * its khoctl module was loaded has left there.  See acpi.c and khoctl_region.h.
 */
#ifndef KHO_BESIDE_RECORD_H
#define KHO_BESIDE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Registers in head, which lies at physical base: no record yet, gate shut. */
void kho_record_init(uint8_t *head, uint64_t base);

/*
 * Has the kernel ended (and been held there)?  text: the line that says why, printable, at most
 * len bytes with its NUL; "" when the record makes no sense.
 */
bool kho_record_read(const uint8_t *head, char *text, size_t len);

/* All that it has left: bytes at *text (not printable in any case), 0 when there is no record that makes sense. */
size_t kho_record_text(const uint8_t *head, const uint8_t **text);

#endif
