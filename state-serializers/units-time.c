// SPDX-License-Identifier: GPL-2.0-only
/*
 * Times as systemctl prints them: a moment ("Sat 2026-11-28 09:10:40.123456 UTC", "@1700000000") and a
 * length ("1d 5min 2.5s").
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "state-serializers/units.h"

uint64_t kho_units_moment(const char *text)
{
	struct tm tm = { 0 };
	uint64_t us = 0, unit = 100000;
	const char *end;
	time_t t;

	if (!text || !*text)
		return 0;
	if (*text == '@')
		return strtoull(text + 1, NULL, 10) * 1000000;
	end = strchr(text, ' '); /* the day of the week is not needed */
	end = end ? strptime(end + 1, "%Y-%m-%d %H:%M:%S", &tm) : NULL;
	if (!end)
		return 0;
	if (*end == '.')
		for (end++; isdigit((unsigned char)*end); end++, unit /= 10)
			us += (uint64_t)(*end - '0') * unit;
	t = timegm(&tm);
	return !strcmp(end, " UTC") && t > 0 ? (uint64_t)t * 1000000 + us : 0;
}

static uint64_t unit_of(const char *name, size_t len)
{
	static const struct {
		const char *name;
		uint64_t us;
	} units[] = {
		{ "us", 1 },
		{ "\xce\xbcs", 1 },
		{ "ms", 1000 },
		{ "s", 1000000 },
		{ "min", 60000000ull },
		{ "h", 3600000000ull },
		{ "d", 86400000000ull },
		{ "w", 604800000000ull },
		{ "month", 2629800000000ull },
		{ "y", 31557600000000ull },
	};

	for (size_t i = 0; i < KHO_ARRAY_SIZE(units); i++)
		if (strlen(units[i].name) == len && !strncmp(units[i].name, name, len))
			return units[i].us;
	return 0;
}

bool kho_units_span(const char *text, uint64_t *out_us)
{
	uint64_t sum = 0;

	if (!text || !*text)
		return false;
	if (!strcmp(text, "0")) {
		*out_us = 0;
		return true;
	}
	for (const char *p = text; *p;) {
		uint64_t whole = 0, part = 0, digits = 1, us;
		size_t len;

		if (!isdigit((unsigned char)*p))
			return false;
		for (; isdigit((unsigned char)*p) && whole < UINT32_MAX; p++)
			whole = whole * 10 + (uint64_t)(*p - '0');
		if (*p == '.')
			for (p++; isdigit((unsigned char)*p) && digits < 1000000; p++, digits *= 10)
				part = part * 10 + (uint64_t)(*p - '0');
		len = strcspn(p, " ");
		us = unit_of(p, len);
		if (!us || __builtin_mul_overflow(whole, us, &whole) || __builtin_add_overflow(sum, whole, &sum) ||
		    __builtin_add_overflow(sum, part * (us / digits) + part * (us % digits) / digits, &sum))
			return false;
		p += len;
		p += *p == ' ';
	}
	*out_us = sum;
	return true;
}
