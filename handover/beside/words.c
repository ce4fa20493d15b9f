// SPDX-License-Identifier: GPL-2.0-only
/* See handover/beside/words.h. Words as kernel/panic.c, arch/x86/mm/fault.c and arch/x86/kernel/dumpstack.c have them. */
#include "handover/beside/words.h"

#include <stdio.h>
#include <string.h>

#include "handover/uapi/khoctl_region.h"
#include "lib/format.h"

size_t kho_console_text(const uint8_t *head, char *out, size_t len)
{
	const struct kho_console_ring *c = (const void *)(head + KHO_OFF_CONSOLE);
	uint64_t end = __atomic_load_n(&c->head, __ATOMIC_ACQUIRE);
	size_t most = len < sizeof(c->data) ? len : sizeof(c->data), n = end < most ? end : most, at = (end - n) % sizeof(c->data);
	size_t first = n < sizeof(c->data) - at ? n : sizeof(c->data) - at;

	kho_format_text(out, c->data + at, first);
	kho_format_text(out + first, c->data, n - first);
	return n;
}

struct line {
	const char *at; /* behind "<5>[   12.345678] " or "<5>[   12.345678][    T1] " */
	int len;
};

static struct line line_at(const char *p)
{
	const char *end = p + strcspn(p, "\n"), *q = *p == '<' ? memchr(p, '>', end - p) : NULL;

	p = q ? q + 1 : p;
	while (p < end && *p == '[' && (q = memchr(p, ']', end - p)))
		p = q + 1;
	while (p < end && *p == ' ')
		p++;
	return (struct line){ p, (int)(end - p) };
}

static const char *after(struct line l)
{
	return l.at[l.len] ? l.at + l.len + 1 : NULL;
}

/* The first line of text, before until (NULL: to its end), that begins with one of these words; len 0: there is none. */
static struct line find(const char *text, const char *until, const char *const *words)
{
	for (const char *p = text; p && *p && (!until || p < until); p = after(line_at(p))) {
		struct line l = line_at(p);

		for (const char *const *w = words; *w; w++)
			if ((size_t)l.len >= strlen(*w) && !memcmp(l.at, *w, strlen(*w)))
				return l;
	}
	return (struct line){ text, 0 };
}

static struct line last(const char *text)
{
	struct line best = { text, 0 };

	for (const char *p = text; p && *p; p = after(line_at(p)))
		if (line_at(p).len)
			best = line_at(p);
	return best;
}

void kho_last_words(const char *text, char *out, size_t len)
{
	static const char *const panic[] = { "Kernel panic - not syncing", NULL }, *const bug[] = { "BUG: ", NULL }, *const oops[] = { "Oops", NULL };
	static const char *const fault[] = { "BUG: ", "Oops: ", "kernel BUG at ", "general protection fault", "Internal error", NULL };
	static const char *const where[] = { "RIP: ", NULL };
	struct line l = find(text, NULL, panic), led = { 0 }, rip = { 0 };

	if (l.len)
		led = find(text, l.at, fault);
	if (led.len)
		rip = find(led.at + led.len, l.at, where);
	if (!l.len)
		l = find(text, NULL, bug);
	if (!l.len)
		l = find(text, NULL, oops);
	if (!l.len)
		l = last(text);
	if (led.len)
		snprintf(out, len, "%.*s (%.*s%s%.*s)", l.len, l.at, led.len, led.at, rip.len ? "; " : "", rip.len, rip.at);
	else
		snprintf(out, len, "%.*s", l.len, l.at);
	for (; *out; out++)
		if (*out < ' ' || *out > '~')
			*out = '?';
}
