// SPDX-License-Identifier: GPL-2.0-only
/* Numbers for people.  See lib/format.h. */
#include "lib/format.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

#define IDS_MAX 65536 /* more than any kernel has CPUs */

const char *kho_format_bytes(uint64_t bytes, char buf[static KHO_FORMAT_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1024 && u + 1 < sizeof(units) / sizeof(*units)) {
		v /= 1024;
		u++;
	}
	snprintf(buf, KHO_FORMAT_MAX, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

const char *kho_format_us(uint64_t us, char buf[static KHO_FORMAT_MAX])
{
	if (us < 1000)
		snprintf(buf, KHO_FORMAT_MAX, "%llu us", (unsigned long long)us);
	else if (us < 1000000)
		snprintf(buf, KHO_FORMAT_MAX, "%.1f ms", (double)us / 1e3);
	else
		snprintf(buf, KHO_FORMAT_MAX, "%.2f s", (double)us / 1e6);
	return buf;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

const char *kho_format_ids(const uint32_t *ids, size_t n, char *out, size_t out_size)
{
	_cleanup_free_ uint32_t *sorted = calloc(n + 1, sizeof(*sorted));
	size_t len = 0;

	snprintf(out, out_size, "-");
	if (!n || !sorted)
		return out;
	memcpy(sorted, ids, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_value);
	for (size_t i = 0, end; i < n; i = end) {
		char part[32];
		int w;

		for (end = i + 1; end < n && sorted[end] <= sorted[end - 1] + 1; end++)
			;
		if (sorted[end - 1] == sorted[i])
			w = snprintf(part, sizeof(part), "%s%u", i ? "," : "", sorted[i]);
		else
			w = snprintf(part, sizeof(part), "%s%u-%u", i ? "," : "", sorted[i],
				     sorted[end - 1]);
		if (len + (size_t)w + 4 > out_size) {
			snprintf(out + len, out_size - len, "...");
			break;
		}
		memcpy(out + len, part, (size_t)w + 1);
		len += (size_t)w;
	}
	return out;
}

/* The next "3" or "0-3" of a list; false: that was all. */
static bool next_range(const char **list, unsigned long *first, unsigned long *last)
{
	char *end;

	*first = *last = strtoul(*list, &end, 10);
	if (end == *list)
		return false;
	if (*end == '-')
		*last = strtoul(end + 1, &end, 10);
	*list = *end == ',' ? end + 1 : "";
	return true;
}

bool kho_ids_has(const char *list, unsigned long id)
{
	unsigned long first, last;

	while (next_range(&list, &first, &last))
		if (id >= first && id <= last)
			return true;
	return false;
}

bool kho_ids_cover(const char *list, const char *other)
{
	unsigned long first, last;

	while (next_range(&other, &first, &last))
		for (; first <= last && first < IDS_MAX; first++)
			if (!kho_ids_has(list, first))
				return false;
	return true;
}

int kho_ids_read(const char *list, uint32_t **out, size_t *out_n)
{
	_cleanup_free_ uint32_t *ids = NULL;
	unsigned long first, last;
	size_t n = 0, room = 0;

	while (n < IDS_MAX && next_range(&list, &first, &last))
		for (; first <= last && first < IDS_MAX && n < IDS_MAX; first++) {
			uint32_t *more = n < room ? ids : reallocarray(ids, room += 64, sizeof(*ids));

			if (!more)
				return -ENOMEM;
			ids = more;
			ids[n++] = (uint32_t)first;
		}
	*out = steal_ptr(ids);
	*out_n = n;
	return 0;
}

char *kho_ids_text(const uint32_t *ids, size_t n)
{
	size_t room = n * sizeof("4294967295") + 16;
	_cleanup_free_ char *text = malloc(room);

	if (!text)
		return NULL;
	*text = '\0';
	/* it says "-" when it is out of memory, too */
	if (n && !strcmp(kho_format_ids(ids, n, text, room), "-"))
		return NULL;
	return steal_ptr(text);
}

/* "-rc1" sorts before the end of the string, everything else behind it */
static int rank(const char *s)
{
	if (!strncmp(s, "-rc", 3) || *s == '~')
		return -1;
	return *s ? 1 + (unsigned char)*s : 0;
}

int kho_version_cmp(const char *a, const char *b)
{
	while (*a || *b) {
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			char *ea, *eb;
			unsigned long long x = strtoull(a, &ea, 10), y = strtoull(b, &eb, 10);

			if (x != y)
				return x < y ? -1 : 1;
			a = ea;
			b = eb;
			continue;
		}
		if (rank(a) != rank(b))
			return rank(a) < rank(b) ? -1 : 1;
		a += *a != '\0';
		b += *b != '\0';
	}
	return 0;
}

void kho_format_text(char *out, const volatile uint8_t *in, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t c = in[i];

		out[i] = (c >= ' ' && c != 0x7f) || c == '\n' || c == '\t' ? (char)c : '?';
	}
}

bool kho_is_word(const char *text)
{
	const char *p = text;

	while (*p > ' ' && *p <= '~')
		p++;
	return p > text && !*p;
}
