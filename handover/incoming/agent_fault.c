// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults on request, for tests of what the outgoing side does about them: those of lib/faults.def that are
 * the incoming kernel's, and those of messages that the agent sends.  Only a kernel that was started with
 * khoctl.fault=1 does so.  The answer goes out first.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/fault.h"
#include "lib/fault_criu.h"
#include "lib/io.h"

#define CRIU_MS 60000

static int do_panic(struct kho_agent *a, struct kho_err *err)
{
	(void)a;
	return kho_write_existing("/proc/sysrq-trigger", "c", err);
}

/* By a module that no installation of khoctl has: tests/vm/hang. */
static int load(struct kho_agent *a, const char *name, const char *parameters, struct kho_err *err)
{
	_cleanup_close_ int fd = -1;
	char path[300];

	snprintf(path, sizeof(path), "/lib/modules/%s/updates/%s.ko", a->conf->release, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return kho_fail_errno(err, "open %s", path);
	if (syscall(SYS_finit_module, fd, parameters, 0) < 0)
		return kho_fail_errno(err, "load %s", path);
	return 0;
}

static int do_hang(struct kho_agent *a, struct kho_err *err)
{
	return load(a, "khoctl-hang", "", err);
}

static int do_lockup(struct kho_agent *a, struct kho_err *err)
{
	return load(a, "khoctl-hang", "soft=1", err);
}

static int do_scribble(struct kho_agent *a, struct kho_err *err)
{
	return load(a, "khoctl-scribble", "", err);
}

static int do_warn(struct kho_agent *a, struct kho_err *err)
{
	return load(a, "khoctl-warn", "", err);
}

static int do_leak(struct kho_agent *a, struct kho_err *err)
{
	return load(a, "khoctl-leak", "", err);
}

static int do_stop(struct kho_agent *a, struct kho_err *err)
{
	(void)a;
	return kill(getpid(), SIGSTOP) < 0 ? kho_fail_errno(err, "stop") : 0;
}

static int do_kill(struct kho_agent *a, struct kho_err *err)
{
	(void)a;
	return kill(getpid(), SIGKILL) < 0 ? kho_fail_errno(err, "kill") : 0;
}

static int do_reboot(struct kho_agent *a, struct kho_err *err)
{
	(void)a;
	return reboot(RB_AUTOBOOT) < 0 ? kho_fail_errno(err, "reboot") : 0;
}

static int do_poweroff(struct kho_agent *a, struct kho_err *err)
{
	(void)a;
	return reboot(RB_POWER_OFF) < 0 ? kho_fail_errno(err, "power off") : 0;
}

/* One that is in the middle of a restore, or what it makes: half of a workload is there then. */
static int do_criu(struct kho_agent *a, struct kho_err *err)
{
	(void)a;
	return kho_fault_kill_criu(CRIU_MS, NULL, err);
}

static const struct fault {
	const char *kind;
	int (*run)(struct kho_agent *a, struct kho_err *err);
} faults[] = {
#define PEER(id, what) { #id, do_##id },
#include "lib/faults.def"
};

struct job {
	struct kho_agent *a;
	const struct fault *f;
};

static void *run(void *arg)
{
	_cleanup_free_ struct job *j = arg;
	struct kho_err err = KHO_ERR_INIT;

	usleep(20000);
	j->a->conf->say("fault on request: %s", j->f->kind);
	if (j->f->run(j->a, &err) < 0)
		j->a->conf->say("fault on request: %s", err.msg);
	return NULL;
}

void kho_agent_fault_fired(void *arg, const char *name)
{
	struct kho_agent *a = arg;

	a->conf->say(KHO_FAULT_FIRED "%s", name);
	kho_agent_env_ops.note(&a->env, KHO_FAULT_FIRED "%s", name);
}

/* "link.MESSAGE:KIND": of the next one that we send. */
static int arm(struct kho_agent *a, const char *text, struct kho_err *err)
{
	const struct kho_fault_names known = { .messages = kho_msg_names() };
	struct kho_faults f;
	int rc = kho_faults_parse(text, &known, &f, err);

	for (size_t i = 0; !rc && i < f.n; i++)
		rc = kho_link_fault_arm(&a->faults, &f.f[i], err);
	return rc;
}

int kho_agent_fault(struct kho_agent *a, struct kho_request *rq, struct kho_err *err)
{
	const char *kind = rq->m->fault->kind;
	const struct fault *f = NULL;
	struct job *j;
	pthread_t t;
	int ret;

	if (!a->conf->faults)
		return kho_fail(err, -EPERM,
				"fault '%s' refused: this kernel was not started with "
				"khoctl.fault=1",
				kind);
	if (!strncmp(kind, KHO_FAULT_LINK, strlen(KHO_FAULT_LINK)))
		return arm(a, kind, err);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		if (!strcmp(faults[i].kind, kind))
			f = &faults[i];
	if (!f)
		return kho_fail(err, -EINVAL, "the incoming side knows no fault '%s'", kind);
	j = malloc(sizeof(*j));
	if (!j)
		return kho_fail(err, -ENOMEM, "fault '%s'", kind);
	*j = (struct job){ a, f };
	ret = pthread_create(&t, NULL, run, j);
	if (ret) {
		free(j);
		return kho_fail(err, -ret, "fault '%s': %s", kind, strerror(ret));
	}
	pthread_detach(t);
	return 0;
}
