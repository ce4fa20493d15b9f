/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The outside client's HTTP: GET /n/N for N = 1, 2, ... on one keep-alive connection; the body of each answer is N (nginx of
 * tests/vm/host does that). A "Connection: close" is an error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vm/client.h"

static int fd = -1;
static const char *host;

static int http_open(const char *address, const char *port, const char *key, const char **why)
{
	(void)key;
	host = address;
	fd = client_dial(address, port, why);
	return fd;
}

static bool http_ask(uint64_t n)
{
	char b[256];

	return client_send(fd, b, snprintf(b, sizeof(b), "GET /n/%llu HTTP/1.1\r\nHost: %s\r\n\r\n",
					   (unsigned long long)n, host));
}

/* One answer at p, whose head ends at body; its length in bytes, 0: not all of it is here yet, -1: it is of no use. */
static long answer(char *p, char *body)
{
	static const char want[] = "HTTP/1.1 200 ", length[] = "\r\nContent-Length: ";
	unsigned long len;
	char *field, *end;
	int64_t n;

	body[-2] = 0;
	if (strncmp(p, want, sizeof(want) - 1))
		return client_error("answer:", p) - 1;
	if (strstr(p, "\r\nConnection: close"))
		return client_error("answer:", "the server wants to close the connection") - 1;
	field = strstr(p, length);
	if (!field)
		return client_error("answer:", "no length") - 1;
	len = strtoul(field + sizeof(length) - 1, NULL, 10);
	body[-2] = '\r';
	if (!len || strlen(body) < len)
		return len ? 0 : client_error("answer:", "no body") - 1;
	n = strtoll(body, &end, 10);
	if (end != body + len - 1 || *end != '\n')
		return client_error("not a number:", body) - 1;
	client_number(n);
	return body + len - p;
}

static bool http_receive(void)
{
	static char buf[65536];
	static unsigned long n;
	char *p = buf, *body;
	long used = 1;

	if (!client_recv(fd, buf, sizeof(buf), &n))
		return false;
	while (used > 0 && (body = strstr(p, "\r\n\r\n"))) {
		used = answer(p, body + 4);
		if (used < 0)
			return false;
		p += used;
	}
	n -= (unsigned long)(p - buf);
	memmove(buf, p, n + 1);
	return true;
}

const struct client_protocol client_http = { "http", "8080", http_open, http_ask, http_receive };
