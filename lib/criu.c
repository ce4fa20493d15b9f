// SPDX-License-Identifier: GPL-2.0-only
/* See lib/criu.h. */
#include "lib/criu.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/patience.h"
#include "lib/pid.h"
#include "lib/spawn.h"

static bool usable(const char *dir, size_t len, char out[PATH_MAX])
{
	return len && snprintf(out, PATH_MAX, "%.*s/criu", (int)len, dir) < PATH_MAX &&
	       !access(out, X_OK);
}

int kho_criu_find(char **out_path, struct kho_err *err)
{
	const char *path = getenv("PATH");
	char try[PATH_MAX];
	bool found = false;

	while (path && *path && !found) {
		size_t len = strcspn(path, ":");

		found = usable(path, len, try);
		path += len + (path[len] == ':');
	}
	if (!found)
		found = usable("/usr/sbin", 9, try) || usable("/usr/lib/khoctl", 15, try);
	if (!found)
		return kho_fail(err, -ENOENT,
				"criu is not installed; install criu 4.2.1 or newer (Debian: "
				"package criu)");
	*out_path = strdup(try);
	return *out_path ? 0 : kho_fail(err, -ENOMEM, "find criu: out of memory");
}

static const char *const features[] = {
#define X(name, whose) #name,
#include "lib/criu_features.def"
#undef X
};

static bool is_word_of(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
		if ((at == text || at[-1] == ' ') && (!at[n] || at[n] == ' '))
			return true;
	return false;
}

/* 1: this kernel has it; 0: it has not. */
static int has(const char *criu, const char *feature, struct kho_err *err)
{
	char *const argv[] = { (char *)"criu", (char *)"check", (char *)"--feature", (char *)feature, NULL };
	pid_t pid;
	int rc = kho_spawn(criu, argv, NULL, -1, &pid, err), status = 0;
	_cleanup_close_ int fd = rc < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
	bool over;

	if (rc < 0)
		return rc;
	over = fd >= 0 && kho_pidfd_wait(fd, KHO_PATIENCE_US);
	if (!over)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return over ? WIFEXITED(status) && !WEXITSTATUS(status)
		    : kho_fail(err, -ETIMEDOUT, "criu check --feature %s does not come to an end", feature);
}

int kho_criu_misses(const char *only, char *out, size_t size, struct kho_err *err)
{
	_cleanup_free_ char *criu = NULL;
	int n = 0, rc = kho_criu_find(&criu, err);
	size_t at = 0;

	*out = '\0';
	for (size_t i = 0; rc >= 0 && i < sizeof(features) / sizeof(features[0]); i++) {
		if (only && !is_word_of(only, features[i]))
			continue;
		rc = has(criu, features[i], err);
		if (rc)
			continue;
		at += (size_t)snprintf(out + at, size - at, "%s%s", n++ ? " " : "", features[i]);
		if (at >= size)
			at = size - 1;
	}
	return rc < 0 ? rc : n;
}
