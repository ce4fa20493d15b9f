/* SPDX-License-Identifier: GPL-2.0-only */
/* What a kernel that has ended had said about it, for the message of a failure: it is in its ring of messages, or in its error record. */
#ifndef KHO_BESIDE_WORDS_H
#define KHO_BESIDE_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* What is in the ring of messages of the region with this head: the newest len bytes at most, oldest first, printable, no NUL. The kernel that wrote it may be in any state. */
size_t kho_console_text(const uint8_t *head, char *out, size_t len);

/*
 * One line out of the log in text (printable, lines end with \n, time stamps and levels in front): of its panic, and in brackets what led to
 * that (the first BUG, Oops or fault before it, and where: RIP); else of a BUG, of an Oops; else the last one. At most len bytes with the
 * NUL; "" when there is nothing.
 */
void kho_last_words(const char *text, char *out, size_t len);

#endif
