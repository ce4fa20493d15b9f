/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The outside client's PostgreSQL: one session, in libpq's pipeline mode. Question N is a transaction of its own that inserts N into
 * a table and counts up a row of another one; the answer is the row's new number. So what was answered is in the database, in order.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vm/client.h"

static PGconn *conn;

static bool command(const char *sql)
{
	PGresult *r = PQexec(conn, sql);
	bool ok = PQresultStatus(r) == PGRES_COMMAND_OK;

	PQclear(r);
	return ok;
}

/* key: the tables' name */
static int pg_open(const char *address, const char *port, const char *key, const char **why)
{
	const char *const words[] = { "hostaddr", "port", "user", "dbname", NULL };
	const char *const values[] = { address, port, "postgres", "postgres", NULL };
	char sql[1024];

	conn = PQconnectdbParams(words, values, 0);
	*why = conn ? PQerrorMessage(conn) : "out of memory";
	if (PQstatus(conn) != CONNECTION_OK)
		return -1;
	snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS %s, %s_seen; CREATE TABLE %s_seen(n bigint PRIMARY KEY);"
		 "CREATE TABLE %s(n bigint); INSERT INTO %s VALUES(0)", key, key, key, key, key);
	if (!command(sql))
		return -1;
	snprintf(sql, sizeof(sql), "PREPARE ask(bigint) AS WITH i AS (INSERT INTO %s_seen VALUES($1))"
		 "UPDATE %s SET n = n + 1 RETURNING n", key, key);
	if (!command(sql) || PQsetnonblocking(conn, 1) || !PQenterPipelineMode(conn))
		return -1;
	return PQsocket(conn);
}

static bool lost(void)
{
	if (PQstatus(conn) == CONNECTION_BAD && strstr(PQerrorMessage(conn), strerror(ECONNRESET)))
		return client_broken(ECONNRESET);
	return client_error("connection:", PQerrorMessage(conn));
}

static bool pg_ask(uint64_t n)
{
	char b[32];
	const char *const v[] = { b };

	snprintf(b, sizeof(b), "%llu", (unsigned long long)n);
	/* the sync ends the transaction */
	return (PQsendQueryPrepared(conn, "ask", 1, v, NULL, NULL, 0) && PQpipelineSync(conn)) || lost();
}

static bool pg_receive(void)
{
	int nothing = 0;

	if (!PQconsumeInput(conn) || PQflush(conn) < 0)
		return lost();
	/* one NULL follows every result, a second one: there is no more */
	while (nothing < 2 && !PQisBusy(conn)) {
		PGresult *r = PQgetResult(conn);
		ExecStatusType s = PQresultStatus(r);

		nothing = r ? 0 : nothing + 1;
		if (s == PGRES_TUPLES_OK && PQntuples(r) == 1)
			client_number(strtoll(PQgetvalue(r, 0, 0), NULL, 10));
		else if (r && s != PGRES_PIPELINE_SYNC)
			return client_error("answer:", PQresultErrorMessage(r));
		PQclear(r);
	}
	return true;
}

const struct client_protocol client_postgres = { "postgres", "5432", pg_open, pg_ask, pg_receive };
