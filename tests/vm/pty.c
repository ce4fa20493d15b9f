/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A person at a terminal: runs a command on a pseudo terminal, copies what it prints, and types one line when it has
 * printed a text. Ends with the command's exit code, 128 + N for a signal, 125 when the text never came.
 *   pty TEXT LINE COMMAND...		LINE "^C" is Ctrl-C, "^D" is the end of file
 */
#include <errno.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char seen[1 << 16];
static size_t len;

static void type(int fd, const char *line)
{
	char text[256];
	int n = snprintf(text, sizeof(text), "%s\n", line);

	if (!strcmp(line, "^C"))
		n = snprintf(text, sizeof(text), "\003");
	else if (!strcmp(line, "^D"))
		n = snprintf(text, sizeof(text), "\004");
	if (write(fd, text, (size_t)n) != n)
		exit(125);
}

/* Keep the end of what was printed; the text may come in pieces. */
static int has_come(const char *text, const char *buf, size_t n)
{
	if (len + n >= sizeof(seen)) {
		memmove(seen, seen + sizeof(seen) / 2, len - sizeof(seen) / 2);
		len -= sizeof(seen) / 2;
	}
	memcpy(seen + len, buf, n);
	len += n;
	seen[len] = '\0';
	return strstr(seen, text) != NULL;
}

int main(int argc, char **argv)
{
	int fd, st, typed = 0;
	char buf[4096];
	ssize_t n;
	pid_t pid;

	if (argc < 4)
		return 125;
	pid = forkpty(&fd, NULL, NULL, NULL);
	if (pid < 0)
		return 125;
	if (pid == 0) {
		execvp(argv[3], argv + 3);
		_exit(127);
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		if (write(1, buf, (size_t)n) != n)
			return 125;
		if (!typed && has_come(argv[1], buf, (size_t)n)) {
			type(fd, argv[2]);
			typed = 1;
		}
	}
	if (waitpid(pid, &st, 0) != pid || !typed)
		return 125;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}
