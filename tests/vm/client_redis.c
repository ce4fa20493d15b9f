/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The outside client's Redis: numbered INCRs of one key, each answered by the next number.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vm/client.h"

static int fd = -1;
static char incr[128];

static int redis_open(const char *address, const char *port, const char *key, const char **why)
{
	snprintf(incr, sizeof(incr), "INCR %s\r\n", key);
	fd = client_dial(address, port, why);
	return fd;
}

static bool redis_ask(uint64_t n)
{
	(void)n;
	return client_send(fd, incr, (int)strlen(incr));
}

static bool line(const char *l)
{
	char *end;
	int64_t n;

	if (l[0] == '-')
		return client_error("reply:", l);
	n = strtoll(l + 1, &end, 10);
	if (l[0] != ':' || *end)
		return client_error("not a number:", l);
	client_number(n);
	return true;
}

static bool redis_receive(void)
{
	static char buf[65536];
	static unsigned long n;
	char *p = buf, *end;

	if (!client_recv(fd, buf, sizeof(buf), &n))
		return false;
	while ((end = strstr(p, "\r\n"))) {
		*end = 0;
		if (!line(p))
			return false;
		p = end + 2;
	}
	n -= (unsigned long)(p - buf);
	memmove(buf, p, n + 1);
	return true;
}

const struct client_protocol client_redis = { "redis", "6379", redis_open, redis_ask, redis_receive };
