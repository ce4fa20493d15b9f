// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what the new systemd is told. Input: one byte; even: a message of the other kernel's, out of which the text
 * must come in which nothing but a unit's name begins a unit; odd: what systemctl prints, and times in it.
 */
#include <stdio.h>

#include "fuzz.h"
#include "state-serializers/units.h"

static char text[1 << 20];

static int to_init(struct kho_env *env, int fd, bool state, struct kho_err *err)
{
	ssize_t n = state ? pread(fd, text, sizeof(text) - 1, 0) : -1;

	(void)env;
	(void)err;
	if (n >= 0)
		text[n] = '\0';
	return 512;
}

static void note(struct kho_env *env, const char *fmt, ...)
{
	(void)env;
	(void)fmt;
}

static bool ends(const char *line, size_t len, const char *with)
{
	size_t n = strlen(with);

	return len > n && !memcmp(line + len - n, with, n);
}

static void check_text(void)
{
	for (char *p = strstr(text, "\n\n"); p; p = strstr(p, "\n\n")) {
		size_t len;

		p += 2;
		len = strcspn(p, "\n");
		fuzz_check(!len || ends(p, len, ".service") || ends(p, len, ".socket") || ends(p, len, ".timer"));
		fuzz_check(!memchr(p, '/', len));
	}
}

/* Nothing of the machine that this runs on may be touched. */
static void tame(Kho__Units *u)
{
	for (size_t i = 0; i < u->n_state; i++) {
		Kho__State *s = u->state[i];

		kho_pb_set(&s->dynamic_user, "");
		kho_pb_set(&s->cgroup, "");
		for (size_t k = 0; k < s->n_exported; k++)
			*s->exported[k] = '\0';
		for (size_t k = 0; k < s->n_kept; k++) {
			s->kept[k]->pid = 0;
			s->kept[k]->is_memfd = true;
		}
	}
}

static void message(const uint8_t *data, size_t size)
{
	const struct kho_env_ops ops = { .to_init = to_init, .note = note };
	struct kho_env env = { .ops = &ops };
	struct kho_blob b = { .data = (void *)(uintptr_t)data, .len = size };
	struct kho_err err = KHO_ERR_INIT;
	Kho__Units *u = kho_pb_unpack(&kho__units__descriptor, &b, &err);

	if (!u)
		return;
	tame(u);
	*text = '\0';
	if (kho_units_text_give(&env, u, &err) < 0)
		fuzz_check(*err.msg);
	check_text();
	kho__units__free_unpacked(u, NULL);
}

static void shown(const uint8_t *data, size_t size)
{
	char *s = strndup((const char *)data, size);
	uint64_t us;

	(void)kho_units_moment(s);
	(void)kho_units_span(s, &us);
	(void)kho_units_socket_is_carried(s);
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] % 2)
		shown(data + 1, size - 1);
	else if (size)
		message(data + 1, size - 1);
	return 0;
}
