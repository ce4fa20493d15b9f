// SPDX-License-Identifier: GPL-2.0-only
/*
 * The deputy: a copy of the agent that is made when this side signs, and does nothing until the agent ends.
 *
 * Before the commit an agent that ends is the end of its kernel: everything is still there on the other one (init.c). After it there is no
 * way back, and only the agent knows what is left to do: its serializers' state lies in its memory. So that memory exists twice. What
 * the agent does after that, and the deputy must not do again, is noted in memory that both share (struct kho_agent_shared).
 * An agent that is stopped and not continued is killed by its deputy.
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/pid.h"

#define NAME	   "khoctl-deputy"
#define LOOK_US	   250000
#define STOPPED_US 3000000 /* well before the other side takes its silence for the end (KHO_SILENT_US) */

/* Until the agent has ended, in whatever way. */
static void wait_end(pid_t agent)
{
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, agent, 0);
	uint64_t stopped_us = 0;

	/* who is its child is what counts; the descriptor only tells it at once */
	while (getppid() == agent) {
		if (fd < 0 || kho_pidfd_wait(fd, LOOK_US))
			usleep(1000);
		if (kho_pid_state(NULL, agent) != 'T')
			stopped_us = 0;
		else if (!stopped_us)
			stopped_us = kho_clock_us();
		else if (kho_clock_us() - stopped_us > STOPPED_US)
			kill(agent, SIGKILL);
	}
}

/* The module's mappings of shared memory are not a child's (VM_DONTCOPY): what is not mapped anew is not there. */
static void map_anew(struct kho_agent *a)
{
	const struct kho_machine *m = a->conf->machine;
	struct kho_err err = KHO_ERR_INIT;

	a->ledger = m->ledger(m->arg, &err);
	if (!a->ledger)
		a->conf->say("%s", err.msg);
	for (struct kho_agent_told *t = a->told; t; t = t->earlier) {
		t->bulk = m->map_bulk(m->arg, t->bulk_bytes, &err);
		if (!t->bulk)
			t->bulk_bytes = 0; /* no slot is inside */
	}
}

/* Locks may have been held by threads that are not here. */
static int begin_anew(struct kho_agent *a, struct kho_err *err)
{
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->journal_lock, NULL);
	pthread_mutex_init(&a->machine_lock, NULL);
	for (struct kho_ser_slot *s = a->sers; s; s = s->next)
		pthread_mutex_init(&s->busy, NULL);
	kho_link_faults_init(&a->faults, kho_agent_fault_fired, a);
	if (!a->handed) {
		kho_stream_inherit(&a->s);
		map_anew(a);
	}
	a->deputy = 0;
	a->conf->shared->agent = getpid();
	return kho_pool_init(&a->pool, err);
}

static int inherit(struct kho_agent *a, struct kho_err *err)
{
	struct kho_err one = KHO_ERR_INIT;
	int first = 0;

	for (struct kho_ser_slot *s = a->sers; s; s = s->next)
		if (s->done->finished && !s->done->tidied && s->ser->inherit)
			kho_first_failure(s->ser->inherit(&a->env, &one), &one, &first, err);
	return first;
}

/* The agent has ended: this process is it. Whoever waits for the network waits no longer; the rest is done as if nothing had been. */
static void succeed(struct kho_agent *a)
{
	struct kho_err err = KHO_ERR_INIT, late = KHO_ERR_INIT;
	int ret = begin_anew(a, &err);

	if (ret >= 0)
		ret = kho_agent_sign(a, &err);
	/* before this process finishes any itself */
	if (inherit(a, &late) < 0)
		a->conf->say("%s", late.msg);
	if (ret >= 0)
		ret = kho_agent_op_all(a, "finish", KHO_SER_GATE, true, &err);
	a->conf->say("the agent ended after the commit; its deputy goes on%s%s", ret < 0 ? ": " : "", ret < 0 ? err.msg : "");
	if (!a->alone)
		kho_agent_hello(a);
	a->carry_on(a);
}

static void __attribute__((noreturn)) stand_by(struct kho_agent *a, pid_t agent)
{
	prctl(PR_SET_NAME, NAME);
	setsid(); /* nothing that the agent's end does to its session is for this process */
	wait_end(agent);
	if (a->conf->shared->settled)
		_exit(0);
	succeed(a);
	/* as the agent: helpers of serializers are its children */
	for (;;)
		pause();
}

static int make(struct kho_agent *a, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	pid_t agent = getpid();

	if (!a->conf->deputy)
		return 0;
	/* both count on the same places in the memory that they share */
	for (size_t i = 0; i < a->trust.n; i++)
		if (!kho_agent_slot(a, a->conf->find(a->trust.names[i])))
			return kho_fail(err, -ENOMEM, "serializer '%s'", a->trust.names[i]);
	pthread_mutex_lock(&a->lock);
	pthread_mutex_lock(&a->journal_lock);
	a->deputy = fork();
	if (!a->deputy)
		stand_by(a, agent);
	if (a->deputy < 0) {
		kho_fail_errno(err, "start the agent's deputy");
		a->deputy = 0;
	}
	pthread_mutex_unlock(&a->journal_lock);
	pthread_mutex_unlock(&a->lock);
	if (!a->deputy)
		return err->code;
	kho_agent_env_ops.phase(&a->env, "deputy", begin, kho_clock_us());
	return 0;
}

void kho_agent_deputy_end(struct kho_agent *a)
{
	if (a->deputy <= 0)
		return;
	kill(a->deputy, SIGKILL);
	waitpid(a->deputy, NULL, 0);
	a->deputy = 0;
}

/* Who ends between the three of them has signed: the deputy does it once more. */
int kho_agent_sign(struct kho_agent *a, struct kho_err *err)
{
	const struct kho_machine *m = a->conf->machine;
	const struct kho_gate_ask over = { .moment = KHO_GATES_OVER };
	struct kho_gate_list none;
	int ret;

	if (a->conf->measure)
		a->conf->measure(&over, NULL, 0, &none);
	ret = make(a, err);
	if (ret < 0)
		return ret;
	a->conf->shared->committed = true;
	ret = m->state(m->arg, KHO_STATE_COMMITTED, err);
	if (ret < 0) {
		a->conf->shared->committed = false;
		kho_agent_deputy_end(a);
		return ret;
	}
	a->commit_us = kho_clock_us();
	a->committed = true;
	return 0;
}
