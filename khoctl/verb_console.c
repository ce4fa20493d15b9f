// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl console: the incoming kernel's messages, from the oldest kept one on, live until it ends.
 */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

#define NODE "/dev/khoctl-console"

/* A message may hold anything; a terminal must not obey it. */
static size_t defuse(char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)buf[i] < 0x20 && buf[i] != '\n' && buf[i] != '\t')
			buf[i] = buf[i] == '\r' ? ' ' : '?';
	return n;
}

static int print_chunk(const struct kho_cli *c, char *buf, size_t n)
{
	if (c->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "text", json_object_new_string_len(buf, (int)n));
		kho_cli_json_line(o);
		return fflush(stdout);
	}
	return kho_write_all(1, buf, defuse(buf, n));
}

int kho_verb_console(const struct kho_cli *c)
{
	_cleanup_close_ int fd = open(NODE, O_RDONLY | O_CLOEXEC);
	struct kho_err err = KHO_ERR_INIT;
	char buf[4096];
	ssize_t n;

	if (fd < 0) {
		(void)kho_fail_errno(&err, "open " NODE " (it is there while an incoming kernel "
					   "is; module: modprobe khoctl)");
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (print_chunk(c, buf, (size_t)n) < 0)
			return KHO_EXIT_OK;
	if (n < 0) {
		(void)kho_fail_errno(&err, "read " NODE);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	return KHO_EXIT_OK;
}
