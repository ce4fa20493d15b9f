/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers for people.  The result lies in a buffer of the caller's, so that several fit in one
 * line.
 */
#ifndef KHO_LIB_FORMAT_H
#define KHO_LIB_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KHO_FORMAT_MAX 32

/* "0 B", "1.5 MiB", "2.0 GiB" */
const char *kho_format_bytes(uint64_t bytes, char buf[static KHO_FORMAT_MAX]);

/* "850 us", "12.3 ms", "4.56 s" */
const char *kho_format_us(uint64_t us, char buf[static KHO_FORMAT_MAX]);

/* "0-3,8"; an empty list is "-". out_size bytes at out, cut off with "..." when too short. ids need
 * not be sorted. */
const char *kho_format_ids(const uint32_t *ids, size_t n, char *out, size_t out_size);

/* Is id in a list like that (the kernel writes them so, too)? */
bool kho_ids_has(const char *list, unsigned long id);

/* Are all ids of `other` in list? Looks at those below 65536. */
bool kho_ids_cover(const char *list, const char *other);

/*
 * The ids of such a list, in its order: *out malloc'd (NULL when there are none), *out_n of them. One of 65536 or more is left out, and so is
 * what follows that many. 0 or -ENOMEM.
 */
int kho_ids_read(const char *list, uint32_t **out, size_t *out_n) __attribute__((warn_unused_result));

/* As kho_format_ids(), but whole and malloc'd; "" when there are none. NULL: out of memory. */
char *kho_ids_text(const uint32_t *ids, size_t n);

/*
 * len bytes of text from somewhere that is not trusted (another kernel's log): what cannot be printed,
 * but for line ends and tabs, becomes '?'. No NUL is added. out may be in.
 */
void kho_format_text(char *out, const volatile uint8_t *in, size_t len);

/* Is it of printable characters alone, without blanks, and not empty? What a kernel's release must be. */
bool kho_is_word(const char *text);

/*
 * Compare versions as a person sorts them: digits by value, "7.1-rc1" before "7.1", "6.12.107"
 * before "7.3.4". < 0, 0, > 0.
 */
int kho_version_cmp(const char *a, const char *b);

#endif
