// SPDX-License-Identifier: GPL-2.0-only
/* An agent that ends after the commit, as a process of its own: its deputy answers on the same link, and does what is left, once. */
#include <signal.h>
#include <sys/wait.h>

#include "handover/incoming/agent_impl.h"
#include "tests/unit/link_fixture.h"

/* What the agent, its deputy and the test see of each other. */
static struct shared {
	struct kho_agent_shared agent;
	atomic_int finished, tidied, inherited, signed_, commands;
	atomic_bool hold, held; /* the next finish does not come back */
} *sh;
static pid_t agent;
static int ledger_fd; /* the ledger's memory */
static struct kho_ledger *ledger; /* as the outgoing side has it */

static int d_finish(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	if (atomic_exchange(&sh->hold, false)) {
		sh->held = true;
		for (;;)
			pause();
	}
	sh->finished++;
	return 0;
}

static int d_tidy(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	sh->tidied++;
	return 0;
}

static int d_inherit(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	sh->inherited++;
	return 0;
}

static const struct kho_serializer d_ser[] = {
	{ .name = "gate", .flags = KHO_SER_GATE, .retrieve = s_retrieve, .finish = d_finish, .tidy = d_tidy, .inherit = d_inherit },
	{ .name = "disk", .retrieve = s_retrieve, .finish = d_finish, .inherit = d_inherit },
};

static const struct kho_serializer *d_find(const char *name)
{
	return !strcmp(name, "gate") ? &d_ser[0] : !strcmp(name, "disk") ? &d_ser[1] : NULL;
}

static int d_state(void *arg, enum kho_instance_state state, struct kho_err *err)
{
	(void)arg;
	(void)err;
	sh->signed_ += state == KHO_STATE_COMMITTED;
	return 0;
}

static const volatile struct kho_ledger *d_ledger(void *arg, struct kho_err *err)
{
	void *p = mmap(NULL, KHO_LEDGER_BYTES, PROT_READ, MAP_SHARED, ledger_fd, 0);

	(void)arg;
	(void)err;
	/* as the module's mappings are (handover/module/mem.c): a child of who has it does not have it */
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(madvise(p, KHO_LEDGER_BYTES, MADV_DONTFORK), 0);
	return p;
}

static void outgoing_is(enum kho_instance_state state)
{
	__atomic_store_n(&ledger->side[KHO_SIDE_OUTGOING].state, state, __ATOMIC_RELEASE);
}

static int ask(const char *ser, const char *name)
{
	struct kho_err err = KHO_ERR_INIT;
	int rc = kho_peer_op(fx.peer, ser, name, NULL, NULL, NULL, in_ms(20000), &err);

	if (rc && rc != -ECONNRESET)
		fail_msg("%s %s: %d (%s)", name, ser, rc, err.msg);
	return rc;
}
static void do_op(const char *ser, const char *name)
{
	assert_int_equal(ask(ser, name), 0);
}

/* An agent in a process of its own, with everything retrieved; signed. */
static int signed_agent(void **state)
{
	static const char *const names[] = { "gate", "disk", NULL };
	struct kho_blob rec = { "journal so far", 14 };
	struct kho_err err = KHO_ERR_INIT;

	setup_bare(state);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(sh, MAP_FAILED);
	ledger_fd = memfd_create("ledger", MFD_CLOEXEC);
	assert_int_equal(ftruncate(ledger_fd, KHO_LEDGER_BYTES), 0);
	ledger = mmap(NULL, KHO_LEDGER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ledger_fd, 0);
	assert_ptr_not_equal(ledger, MAP_FAILED);
	fx.machine.state = d_state;
	fx.machine.ledger = d_ledger;
	fx.conf.find = d_find;
	fx.conf.shared = &sh->agent;
	fx.conf.deputy = true;
	agent = fork();
	if (!agent) {
		close(fx.fds[0]);
		kho_transport_socket(&fx.conf.transport, fx.fds[1]);
		_exit(kho_agent_run(&fx.conf, &err) < 0);
	}
	close(fx.fds[1]);
	if (connect_peer(&err))
		fail_msg("%s", err.msg);
	assert_int_equal(kho_peer_entrust(fx.peer, names, &rec, true, in_ms(1000), &err), 0);
	do_op("gate", "retrieve");
	do_op("disk", "retrieve");
	assert_int_equal(kho_peer_commit(fx.peer, &rec, in_ms(5000), &err), 0);
	assert_int_equal(sh->signed_, 1);
	assert_int_equal(fx.peer->agent_pid, agent);
	return 0;
}

/* Ends what a test has left. */
static int gone(void **state)
{
	/* then a deputy just goes */
	sh->agent.settled = true;
	if (sh->agent.agent)
		kill(sh->agent.agent, SIGKILL);
	kill(agent, SIGKILL);
	waitpid(agent, NULL, 0);
	munmap(sh, sizeof(*sh));
	munmap(ledger, KHO_LEDGER_BYTES);
	close(ledger_fd);
	return teardown(state);
}

static void wait_deputy(pid_t before)
{
	for (int i = 0; i < 1000 && fx.peer->agent_pid == before; i++)
		usleep(10000);
	assert_int_not_equal(fx.peer->agent_pid, before);
}

/* The outgoing side ends the upgrade with whoever is the agent now; the link is closed, so that nobody holds it. */
static void to_the_end(void)
{
	struct kho_err err = KHO_ERR_INIT;

	do_op("gate", "finish");
	do_op("disk", "finish");
	do_op("gate", "tidy");
	assert_int_equal(kho_peer_retiring(fx.peer, 0, in_ms(1000), &err), 0);
	outgoing_is(KHO_STATE_RETIRED);
	for (int i = 0; i < 1000 && !sh->agent.settled; i++)
		usleep(10000);
	assert_true(sh->agent.settled);
	assert_int_equal(sh->tidied, 1);
}

/* It waits, and goes when it is not needed. */
static void not_needed(void **state)
{
	int status = 0;

	(void)state;
	to_the_end();
	assert_int_equal(sh->finished, 2);
	assert_int_equal(sh->inherited, 0);
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	assert_int_equal(waitpid(agent, &status, 0), agent);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
	/* were it still there, it would be a child of this process's reaper with the link's other end open */
	assert_int_equal(sh->signed_, 1);
}

static void killed(void **state)
{
	(void)state;
	kill(agent, SIGKILL);
	wait_deputy(agent);
	/* the network at once, without being asked */
	assert_int_equal(sh->finished, 1);
	/* and looks after the outgoing kernel: it stays the agent */
	usleep(4 * KHO_AGENT_TICK_US);
	to_the_end();
	assert_int_equal(sh->finished, 2);
	assert_int_equal(sh->inherited, 0);
	assert_int_equal(sh->signed_, 2);
}

/* What was done is not done again, but for what went on in the background; and the deputy has a deputy. */
static void killed_twice(void **state)
{
	pid_t second;

	(void)state;
	do_op("gate", "finish");
	do_op("disk", "finish");
	kill(agent, SIGKILL);
	wait_deputy(agent);
	second = (pid_t)fx.peer->agent_pid;
	assert_int_equal(sh->inherited, 2);
	kill(second, SIGKILL);
	wait_deputy(second);
	to_the_end();
	assert_int_equal(sh->finished, 2);
	assert_int_equal(sh->inherited, 4);
}

/* In the middle of a request: that is told at once, and asking again helps. */
static void killed_at_work(void **state)
{
	uint64_t begin = kho_clock_us();
	pid_t child;
	int status = 0;

	(void)state;
	sh->hold = true;
	/* another process kills, when it has begun */
	child = fork();
	if (!child) {
		while (!sh->held)
			usleep(1000);
		kill(agent, SIGKILL);
		_exit(0);
	}
	assert_int_equal(ask("disk", "finish"), -ECONNRESET);
	assert_true(kho_clock_us() - begin < 5000000);
	waitpid(child, &status, 0);
	to_the_end();
	assert_int_equal(sh->finished, 2);
}

/* One that stands still is killed, before the other side gives up. */
static void stopped(void **state)
{
	int status = 0;

	(void)state;
	kill(agent, SIGSTOP);
	assert_int_equal(waitpid(agent, &status, WUNTRACED), agent);
	assert_true(WIFSTOPPED(status));
	/* it lies where the deputy finds it, which may answer before it is noticed that it is another one */
	(void)ask("disk", "finish");
	to_the_end();
	assert_int_equal(sh->finished, 2);
}

/* Nobody is on the link any more: it does the rest alone. */
static void killed_alone(void **state)
{
	(void)state;
	kill(agent, SIGKILL);
	wait_deputy(agent);
	kho_peer_close(fx.peer);
	fx.peer = NULL;
	outgoing_is(KHO_STATE_RETIRED);
	for (int i = 0; i < 1000 && !sh->agent.settled; i++)
		usleep(10000);
	assert_true(sh->agent.settled);
	assert_int_equal(sh->finished, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(not_needed, signed_agent, gone),
		cmocka_unit_test_setup_teardown(killed, signed_agent, gone),
		cmocka_unit_test_setup_teardown(killed_twice, signed_agent, gone),
		cmocka_unit_test_setup_teardown(killed_at_work, signed_agent, gone),
		cmocka_unit_test_setup_teardown(stopped, signed_agent, gone),
		cmocka_unit_test_setup_teardown(killed_alone, signed_agent, gone),
	};

	return cmocka_run_group_tests_name("link_deputy", tests, NULL, NULL);
}
