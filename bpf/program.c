// SPDX-License-Identifier: GPL-2.0-only
/* Programs for the kernel, and why it refuses one.  See bpf/program.h. */
#include "bpf/program.h"

#include <bpf/libbpf.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"

/* What libbpf says while one thread loads something. It would print it. */
struct said {
	char first[200];   /* its first warning */
	char program[64];  /* whose verifier's log it has shown */
	char reason[200];  /* the end of that */
};
static _Thread_local struct said *listener;

/* "libbpf: prog 'NAME': -- BEGIN PROG LOAD LOG --\n" LOG "-- END PROG LOAD LOG --\n" (libbpf.c, both 1.1 and 1.5) */
static void hear(struct said *s, const char *text)
{
	static const char begin[] = "-- BEGIN PROG LOAD LOG --";
	const char *log = strstr(text, begin), *name = strstr(text, "prog '");

	if (log && name && !*s->reason) {
		snprintf(s->program, sizeof(s->program), "%.*s", (int)strcspn(name + 6, "'"), name + 6);
		kho_program_reason(log + sizeof(begin) - 1, s->reason, sizeof(s->reason));
	} else if (!log && !*s->first) {
		if (!strncmp(text, "libbpf: ", 8))
			text += 8;
		snprintf(s->first, sizeof(s->first), "%.*s", (int)strcspn(text, "\n"), text);
	}
}

static __attribute__((format(printf, 2, 0))) int listen_to(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	_cleanup_free_ char *text = NULL;

	if (listener && level == LIBBPF_WARN && vasprintf(&text, fmt, ap) > 0)
		hear(listener, text);
	return 0;
}

/* A line about instructions, registers or the verifier's own work. */
static bool is_trace(const char *line, size_t len)
{
	static const char *const begin[] = { "processed ", "verification time ", "stack depth ", "mark_precise", "-- ", ";", "R", "from ", "func#", "arg#" };
	size_t i = 0;

	while (i < len && isdigit((unsigned char)line[i]))
		i++;
	if (i && i < len && line[i] == ':')
		return true;
	for (i = 0; i < sizeof(begin) / sizeof(*begin); i++)
		if (len >= strlen(begin[i]) && !strncmp(line, begin[i], strlen(begin[i])))
			/* "R6 invalid mem access" is what we look for, "R0=ctx() R1=..." a state */
			return strcmp(begin[i], "R") || memchr(line, '=', len);
	return false;
}

void kho_program_reason(const char *log, char *out, size_t len)
{
	out[0] = '\0';
	while (*log) {
		size_t n = strcspn(log, "\n");

		if (n && !is_trace(log, n))
			snprintf(out, len, "%.*s", (int)n, log);
		log += n + (log[n] == '\n');
	}
}

/* One half of the work; what libbpf says of it is the reason. */
static int heard(int (*half)(struct bpf_object_skeleton *), struct bpf_object_skeleton *s, struct kho_err *err)
{
	struct said said = { 0 };
	int rc;

	libbpf_set_print(listen_to); /* of the process: libraries do not print */
	listener = &said;
	rc = half(s);
	listener = NULL;
	if (!rc)
		return 0;
	if (*said.reason)
		return kho_fail(err, rc, "the kernel refuses program %s: %s", said.program, said.reason);
	return kho_fail(err, rc, "programs of %s cannot be loaded: %s", s->name, *said.first ? said.first : strerror(-rc));
}

int kho_program_load(struct bpf_object_skeleton *s, struct kho_err *err)
{
	return heard(bpf_object__load_skeleton, s, err);
}

int kho_program_attach(struct bpf_object_skeleton *s, struct kho_err *err)
{
	return heard(bpf_object__attach_skeleton, s, err);
}

int kho_program_start(struct bpf_object_skeleton *s, struct kho_err *err)
{
	int rc = kho_program_load(s, err);

	return rc < 0 ? rc : kho_program_attach(s, err);
}
