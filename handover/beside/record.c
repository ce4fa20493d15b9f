// SPDX-License-Identifier: GPL-2.0-only
/*
 * The error record store.  Linux writes one record: CPER header (128 bytes, its length at 20), one
 * section descriptor (72 bytes), then "REASON#1 Part1" and the end of the kernel's log, oldest line
 * first, each with "<level>[time] " in front.
 */
#include "handover/beside/record.h"

#include <string.h>

#include "handover/uapi/khoctl_region.h"

#define LENGTH_AT 20
#define TEXT_AT	  200

static void put64(uint8_t *regs, unsigned off, uint64_t v)
{
	memcpy(regs + off, &v, sizeof(v));
}

void kho_record_init(uint8_t *head, uint64_t base)
{
	uint8_t *regs = head + KHO_OFF_ERST;

	memset(head + KHO_OFF_RECORD, 0, KHO_RECORD_BYTES);
	put64(regs, KHO_ERST_SIGN, 0);
	put64(regs, KHO_ERST_GATE, KHO_ERST_GATE_SHUT);
	put64(regs, KHO_ERST_ZERO, 0);
	put64(regs, KHO_ERST_BASE, base + KHO_OFF_RECORD);
	put64(regs, KHO_ERST_LENGTH, KHO_RECORD_BYTES);
	put64(regs, KHO_ERST_NONE, UINT64_MAX);
}

/* Behind "<5>[   12.345678] " or "<5>[   12.345678][    T1] ". */
static const char *message(const char *p, const char *end)
{
	const char *q = p < end && *p == '<' ? memchr(p, '>', end - p) : NULL;

	p = q ? q + 1 : p;
	while (p < end && *p == '[' && (q = memchr(p, ']', end - p)))
		p = q + 1;
	while (p < end && *p == ' ')
		p++;
	return p;
}

/* The line that names the reason, else the last one. */
static const char *reason(const char *text, const char *end, const char **out_end)
{
	static const char *const first[] = { "Kernel panic - not syncing", "BUG: ", "Oops" };
	const char *best = text, *best_end = text, *nl;
	size_t rank = sizeof(first) / sizeof(*first);

	for (const char *p = text; p < end; p = nl + 1) {
		const char *m;
		size_t i;

		nl = memchr(p, '\n', end - p);
		if (!nl)
			nl = end;
		m = message(p, nl);
		for (i = 0; i < rank; i++)
			if ((size_t)(nl - m) >= strlen(first[i]) &&
			    !memcmp(m, first[i], strlen(first[i])))
				break;
		if (m == nl || (i == rank && rank < sizeof(first) / sizeof(*first)))
			continue;
		best = m;
		best_end = nl;
		rank = i;
		if (!rank)
			break;
	}
	*out_end = best_end;
	return best;
}

size_t kho_record_text(const uint8_t *head, const uint8_t **text)
{
	const uint8_t *record = head + KHO_OFF_RECORD;
	uint32_t bytes;

	*text = record + TEXT_AT;
	if (!__atomic_load_n((const uint64_t *)(head + KHO_OFF_ERST + KHO_ERST_SIGN),
			     __ATOMIC_ACQUIRE))
		return 0;
	memcpy(&bytes, record + LENGTH_AT, sizeof(bytes));
	if (memcmp(record, "CPER", 4) || bytes < TEXT_AT || bytes > KHO_RECORD_BYTES)
		return 0;
	return bytes - TEXT_AT;
}

bool kho_record_read(const uint8_t *head, char *text, size_t len)
{
	const uint8_t *bytes;
	const char *p, *end;
	size_t n = 0, len_text = kho_record_text(head, &bytes);

	if (!__atomic_load_n((const uint64_t *)(head + KHO_OFF_ERST + KHO_ERST_SIGN),
			     __ATOMIC_ACQUIRE))
		return false;
	p = reason((const char *)bytes, (const char *)bytes + len_text, &end);
	for (; p < end && n + 1 < len; p++)
		text[n++] = *p >= ' ' && *p < 127 ? *p : '?';
	text[n] = '\0';
	return true;
}
