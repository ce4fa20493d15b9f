// SPDX-License-Identifier: GPL-2.0-only
/* Whose System V objects are: real ones, touched by this process, or by one that has ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state-serializers/proc/sysv.h"

static struct kho_sysv look(pid_t pid)
{
	struct kho_workload w = { .name = (char *)"w", .root = pid, .pids = &pid, .npids = 1 };
	struct kho_sysv s;

	kho_sysv_look(&w, &s);
	return s;
}

/* A set of two semaphores, as nobody has touched it; or skip: there is none to be had here. */
static int new_set(void)
{
	int id = semget(IPC_PRIVATE, 2, 0600);

	if (id < 0)
		skip();
	return id;
}

/* No maps show it. */
static void semaphores(void **state)
{
	size_t was = look(getpid()).touched;
	int id = new_set();

	(void)state;
	assert_int_equal(semctl(id, 1, SETVAL, 1), 0);
	assert_int_equal(look(getpid()).touched, was + 1);
	assert_true(kho_sysv_is_used(&(struct kho_workload){ .root = getpid(), .pids = &(pid_t){ getpid() }, .npids = 1 }));
	assert_int_equal(look(getppid()).touched, 0); /* somebody else's, who lives */
	semctl(id, 0, IPC_RMID);
	assert_int_equal(look(getpid()).touched, was);
}

static void queues(void **state)
{
	struct {
		long type;
		char text;
	} m = { 1, 'x' };
	size_t was = look(getpid()).touched;
	int id = msgget(IPC_PRIVATE, 0600);

	(void)state;
	if (id < 0)
		skip();
	assert_int_equal(msgsnd(id, &m, 1, 0), 0);
	assert_int_equal(look(getpid()).touched, was + 1);
	msgctl(id, IPC_RMID, NULL);
}

static void segments(void **state)
{
	size_t was = look(getpid()).touched;
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	void *at;

	(void)state;
	if (id < 0)
		skip();
	assert_int_equal(look(getpid()).touched, was + 1); /* made, and attached by nobody */
	assert_false(look(getpid()).attached);
	at = shmat(id, NULL, 0);
	assert_true(at != (void *)-1);
	assert_true(look(getpid()).attached);
	shmdt(at);
	shmctl(id, IPC_RMID, NULL);
}

static void left_behind(void **state)
{
	int id = new_set();
	pid_t pid = fork();

	(void)state;
	if (!pid)
		_exit(semctl(id, 0, SETVAL, 1) ? 1 : 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	size_t with = look(getpid()).unknown;

	assert_int_equal(semctl(id, 0, SETVAL, 2), 0);
	assert_int_equal(look(getpid()).unknown, with - 1);
	semctl(id, 0, IPC_RMID);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(semaphores), cmocka_unit_test(queues), cmocka_unit_test(segments),
					    cmocka_unit_test(left_behind) };

	return cmocka_run_group_tests_name("sysv", tests, NULL, NULL);
}
