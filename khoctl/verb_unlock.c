// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl unlock: before an upgrade, the passphrases that only a person knows. What they open is kept in the kernel for some minutes.
 */
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "lib/cleanup.h"
#include "lib/json.h"

/* Longer than any passphrase: the buffer must not grow, that would leave copies behind. */
#define ROOM 4096
#define CTRL_C 3

/* quiet: Ctrl-C is a byte as any other, so that the terminal gets its echo back. */
static int read_secret(char *buf, bool quiet, size_t *out_len)
{
	size_t n = 0;
	ssize_t got;

	/* byte by byte: what follows on standard input is for the next question */
	while (n < ROOM - 1 && (got = read(STDIN_FILENO, buf + n, 1)) == 1 && buf[n] != '\n') {
		if (quiet && buf[n] == CTRL_C)
			return -1;
		n++;
	}
	buf[n] = '\0';
	*out_len = n;
	return n ? 0 : -1;
}

static int ask(void *arg, const char *what, char **out, size_t *out_len, struct kho_err *err)
{
	struct termios old, quiet;
	bool person = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &old);
	char *buf = calloc(1, ROOM);

	(void)arg;
	if (!buf)
		return kho_fail(err, -ENOMEM, "out of memory");
	if (person) {
		fprintf(stderr, "Passphrase of %s: ", what);
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	}
	int ret = read_secret(buf, person, out_len);

	if (person) {
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	if (ret < 0) {
		explicit_bzero(buf, ROOM);
		free(buf);
		return kho_fail(err, -ECANCELED, "no passphrase of %s was given", what);
	}
	*out = buf;
	return 0;
}

int kho_verb_unlock(const struct kho_cli *c)
{
	struct kho_env env = { .sysroot = "", .run_dir = kho_cli_world()->run_dir };
	struct kho_err err = KHO_ERR_INIT;
	int n = 0;

	for (size_t i = 0; kho_serializers[i]; i++) {
		int ret = kho_serializers[i]->unlock ? kho_serializers[i]->unlock(&env, ask, NULL, &err) : 0;

		if (ret < 0)
			return kho_cli_error(c, ret == -ECANCELED ? KHO_EXIT_DECLINED : kho_cli_refusal(ret), &err);
		n += ret;
	}
	if (c->json) {
		struct json_object *o = json_object_new_object();

		kho_json_int(o, "unlocked", n);
		kho_cli_json(o);
	} else if (n) {
		printf("%d key(s) are in the kernel's memory for the next minutes: khoctl upgrade takes them from there\n", n);
	} else {
		printf("no key has to be asked for\n");
	}
	return KHO_EXIT_OK;
}
