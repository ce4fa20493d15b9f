/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the outside client's core (client.c) and its protocols share. A protocol asks numbered questions on ONE connection; every
 * answer must hold the number after that of the answer before it. Only the core counts and judges.
 */
#ifndef LAB_CLIENT_H
#define LAB_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

struct client_protocol {
	const char *name, *port;
	/* Connects, in one blocking go; the descriptor to poll, or -1 with *why set. key: what is counted on the server. */
	int (*open)(const char *address, const char *port, const char *key, const char **why);
	/* Asks question number n (from 1 on). Returns false when the connection is of no more use. */
	bool (*ask)(uint64_t n);
	/* Takes in what has come, with one client_number() for each answer. Returns false when the connection is of no more use. */
	bool (*receive)(void);
};

extern const struct client_protocol client_redis, client_http, client_postgres;

/* An answer holds this number. */
void client_number(int64_t n);

/* The server said that it failed, or something that nobody can understand. Always false. */
bool client_error(const char *what, const char *detail);

/* The connection broke: errno of a send or receive, 0 when the server closed it. Always false. */
bool client_broken(int err);

/* For protocols of lines: a TCP connection without delay; as client_protocol.open. */
int client_dial(const char *address, const char *port, const char **why);

/* Sends all of a short request; as client_protocol.ask. */
bool client_send(int fd, const char *request, int n);

/* Appends what has come to a buffer of room bytes that holds *n, ends it with a NUL; as client_protocol.receive. */
bool client_recv(int fd, char *buf, unsigned long room, unsigned long *n);

#endif
