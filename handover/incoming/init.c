// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl-incoming: PID 1 of every kernel that khoctl starts.  Order matters: process numbers first
 * (the workloads will want theirs back), then the machine, the module, the agent.  When something
 * fails early it says so in the kernel's log and halts, never resets: the outgoing kernel notices
 * and fences.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover/dev.h"
#include "handover/incoming/agent.h"
#include "handover/incoming/init.h"
#include "handover/kexec/handed.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/sched_events.h"

#define IMAGES_DIR  "/run/khoctl/images"
#define JOURNAL_DIR "/var/lib/khoctl"
/* Where nobody's numbers are: init systems count up from 1 and seldom come this far. */
#define PID_FLOOR 2097152

/* How the kernel before has handed things over ("luo", "initrd"), or NULL: it runs beside this one. */
static const char *handed_by(void)
{
	static char word[16];

	return *word || kho_init_word(KHO_HANDED_WORD, word, sizeof(word)) ? word : NULL;
}

static int boot(struct kho_err *err)
{
	uint64_t floor = PID_FLOOR;
	char word[32];
	int ret = kho_init_proc(err);

	if (ret < 0)
		return ret;
	if (kho_init_word("khoctl.pid_floor", word, sizeof(word)))
		floor = strtoull(word, NULL, 10);
	ret = kho_pid_floor(floor, err);
	if (!ret)
		ret = kho_init_mounts(IMAGES_DIR, err);
	if (ret < 0)
		return ret;
	reboot(RB_DISABLE_CAD);
	kho_init_names();
	/* started by kexec: the whole machine is ours, and the module has nothing to do */
	if (handed_by()) {
		kho_init_host_modules();
		return 0;
	}
	ret = kho_init_module(err);
	if (!ret)
		kho_init_host_modules();
	return ret;
}

/* --- the agent's process --- */

static int to_init[2] = { -1, -1 }; /* PID 1's end, the agent's */

static void enter_root(void)
{
	kill(1, SIGRTMIN + KHO_SIG_ENTER);
}

static int linked_agent(struct kho_agent_conf *conf, struct kho_machine *machine, struct kho_err *err)
{
	struct kho_ioc_info info;
	int ret, fd = kho_dev_open(err);

	if (fd < 0)
		return fd;
	ret = kho_dev_info(fd, &info, err);
	if (!ret)
		ret = kho_machine_init(machine, fd, err);
	if (ret < 0)
		return ret;
	kho_clock_set_tsc_khz(info.tsc_khz);
	conf->instance_id = info.instance_id;
	conf->generation = info.generation;
	ret = kho_dev_link_open(KHO_PEER_OUTGOING, O_NONBLOCK, err);
	if (ret < 0)
		return ret;
	kho_transport_device(&conf->transport, ret);
	kho_init_say("%s is generation %u, agent ready (process %d)", conf->release, info.generation, (int)getpid());
	return kho_agent_run(conf, err);
}

/* Nobody stops it: who wants to stops this kernel. */
static int load(const struct kho_load *l, struct kho_load_result *out, struct kho_err *err)
{
	return kho_load_run(l, NULL, NULL, NULL, out, err);
}

static int agent(struct kho_agent_shared *shared, struct kho_err *err)
{
	static struct kho_machine machine;
	static char loglevel[16];
	static struct utsname u;
	struct kho_agent_conf conf = {
		.machine = &machine,
		.find = kho_serializer_find,
		.measure = kho_init_measure,
		.load = load,
		.replay = kho_replay_run,
		.release = u.release,
		.journal_dir = JOURNAL_DIR,
		.shared = shared,
		.enter_root = enter_root,
		.say = kho_init_say,
		.to_init = to_init[1],
	};
	char word[8];

	uname(&u);
	conf.deputy = true;
	conf.faults = kho_init_word("khoctl.fault", word, sizeof(word)) && !strcmp(word, "1");
	if (!handed_by())
		return linked_agent(&conf, &machine, err);
	if (kho_init_word(KHO_HANDED_LOGLEVEL, loglevel, sizeof(loglevel)))
		conf.loglevel = loglevel;
	kho_machine_whole(&machine);
	conf.instance_id = conf.generation = 1;
	return kho_agent_run_handed(&conf, !strcmp(handed_by(), KHO_HANDED_LUO), err);
}

static void __attribute__((noreturn)) agent_process(struct kho_agent_shared *shared)
{
	struct kho_err err = KHO_ERR_INIT;
	sigset_t none;
	int ret;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_IGN);
	setsid();
	if (kho_write_existing("/proc/self/oom_score_adj", "-1000", &err) < 0)
		kho_init_say("%s", err.msg);
	err = (struct kho_err)KHO_ERR_INIT;
	ret = agent(shared, &err);
	if (ret < 0)
		kho_init_say("agent: %s", err.msg);
	if (ret < 0 && !shared->committed)
		_exit(1);
	/*
	 * stays: helpers of serializers (lazy pages) are its children and may live longer than the
	 * link
	 */
	for (;;)
		pause();
}

/* --- PID 1 --- */

/*
 * Who runs beside another kernel halts: that one sees it, and has everything. Who has taken its place has nobody behind it: the machine is restarted,
 * so that it comes up as after any crash.
 */
static int on_failure(void)
{
	return handed_by() ? RB_AUTOBOOT : RB_HALT_SYSTEM;
}

/* A child died; was it the agent? Before the commit nothing is left to do without it. */
static void reap(pid_t agent_pid, const struct kho_agent_shared *shared)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != agent_pid && pid != shared->agent)
			continue;
		if (WIFSIGNALED(status))
			kho_init_say("the agent was killed by signal %d (%s)", WTERMSIG(status),
				     strsignal(WTERMSIG(status)));
		else
			kho_init_say("the agent ended with status %d", WEXITSTATUS(status));
		if (!shared->committed)
			kho_init_stop(on_failure());
	}
}

static void __attribute__((noreturn))
supervise(pid_t agent_pid, const struct kho_agent_shared *shared, const sigset_t *set)
{
	for (;;) {
		int sig = sigwaitinfo(set, NULL);

		if (sig == SIGCHLD)
			reap(agent_pid, shared);
		else if (sig == SIGRTMIN + KHO_SIG_ENTER && shared->root_on_disk)
			kho_init_enter(KHO_NEW_ROOT, to_init[0]);
		else if (sig == SIGUSR1 || sig == SIGRTMIN + 3)
			kho_init_stop(RB_HALT_SYSTEM);
		else if (sig == SIGUSR2 || sig == SIGPWR || sig == SIGRTMIN + 4)
			kho_init_stop(RB_POWER_OFF);
		else if (sig == SIGTERM || sig == SIGINT || sig == SIGRTMIN + 5)
			kho_init_stop(RB_AUTOBOOT);
	}
}

/* Those of busybox and sysvinit, and systemd's real-time ones. Blocked: taken one by one. */
static void block_signals(sigset_t *set)
{
	const int sigs[] = { SIGCHLD, SIGTERM,	    SIGINT,	  SIGUSR1,
			     SIGUSR2, SIGPWR,	    SIGHUP,	  SIGRTMIN + 3,
			     SIGRTMIN + 4, SIGRTMIN + 5, SIGRTMIN + KHO_SIG_ENTER };

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaddset(set, sigs[i]);
	sigprocmask(SIG_BLOCK, set, NULL);
}

/*
 * Without the module nobody would keep reboot(2) from touching the shared machine: just stand
 * still.
 */
static void __attribute__((noreturn)) give_up(const struct kho_err *err)
{
	kho_init_say("cannot go on: %s; %s", err->msg, handed_by() ? "restarts the machine" : "halted");
	if (kho_exists("/dev/khoctl") || handed_by())
		kho_init_stop(on_failure());
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_agent_shared *shared;
	sigset_t set;
	pid_t pid;

	(void)argv;
	if (getpid() != 1 || argc < 1) {
		fputs("khoctl-incoming: is the first process (init) of a kernel that khoctl "
		      "starts, nothing to run by hand\n",
		      stderr);
		return 2;
	}
	block_signals(&set);
	/* while there is one CPU; until this process is another's */
	(void)kho_sched_events_hold();
	if (boot(&err) < 0)
		give_up(&err);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	/* without it the init system knows less, and works */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, to_init))
		kho_init_say("socketpair: %s", strerror(errno));
	pid = shared == MAP_FAILED ? -1 : fork();
	if (pid < 0) {
		kho_fail_errno(&err, "start the agent");
		give_up(&err);
	}
	if (!pid)
		agent_process(shared);
	supervise(pid, shared, &set);
}
