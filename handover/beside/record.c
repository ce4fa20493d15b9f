// SPDX-License-Identifier: GPL-2.0-only
/*
 * The error record store.  Linux writes one record: CPER header (128 bytes, its length at 20), one
 * section descriptor (72 bytes), then "REASON#1 Part1" and the end of the kernel's log, oldest line
 * first, each with "<level>[time] " in front.
 */
#include "handover/beside/record.h"

#include <stdlib.h>
#include <string.h>

#include "handover/beside/words.h"
#include "handover/uapi/khoctl_region.h"
#include "lib/cleanup.h"
#include "lib/format.h"

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
	_cleanup_free_ char *all = NULL;
	const uint8_t *bytes;
	size_t n;

	if (!__atomic_load_n((const uint64_t *)(head + KHO_OFF_ERST + KHO_ERST_SIGN),
			     __ATOMIC_ACQUIRE))
		return false;
	n = kho_record_text(head, &bytes);
	all = malloc(n + 1);
	*text = '\0';
	if (!all)
		return true;
	kho_format_text(all, bytes, n);
	all[n] = '\0';
	kho_last_words(all, text, len);
	return true;
}
