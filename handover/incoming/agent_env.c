// SPDX-License-Identifier: GPL-2.0-only
/*
 * What surrounds a serializer on the incoming side: PCI functions by the module, descriptors for the
 * init system through PID 1, phases and notes over the link to whoever watches the upgrade.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "handover/incoming/agent_impl.h"
#include "lib/fdpass.h"

static int no_put_file(struct kho_env *env, const char *local, const char *name,
		       struct kho_err *err)
{
	(void)env;
	(void)local;
	return kho_fail(err, -EOPNOTSUPP, "send %s: only the outgoing side sends files", name);
}

static int no_quiesce(struct kho_env *env, struct kho_pci_addr addr, struct kho_err *err)
{
	(void)env;
	return kho_fail(err, -EOPNOTSUPP, "quiesce %04x:%02x:%02x.%x: only the outgoing side does",
			addr.segment, addr.bus, addr.devfn >> 3, addr.devfn & 7);
}

static int pci_take(struct kho_env *env, struct kho_pci_addr addr, struct kho_err *err)
{
	const struct kho_machine *m = ((struct kho_agent *)env->arg)->conf->machine;

	return m->pci(m->arg, addr, true, err);
}

static int pci_give(struct kho_env *env, struct kho_pci_addr addr, struct kho_err *err)
{
	const struct kho_machine *m = ((struct kho_agent *)env->arg)->conf->machine;

	return m->pci(m->arg, addr, false, err);
}

static void phase(struct kho_env *env, const char *name, uint64_t begin_us, uint64_t end_us)
{
	KhoLink__Phase ph = KHO_LINK__PHASE__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	struct kho_agent *a = env->arg;

	if (a->handed)
		kho_agent_note_phase(a, name, begin_us, end_us);
	if (a->alone)
		return;
	ph.name = (char *)name;
	ph.begin_us = begin_us;
	ph.end_us = end_us;
	m.body_case = KHO_LINK__MSG__BODY_PHASE;
	m.phase = &ph;
	kho_agent_send(env->arg, &m);
}

static void note(struct kho_env *env, const char *fmt, ...)
{
	KhoLink__Note n = KHO_LINK__NOTE__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (((struct kho_agent *)env->arg)->alone)
		return;
	n.text = text;
	m.body_case = KHO_LINK__MSG__BODY_NOTE;
	m.note = &n;
	kho_agent_send(env->arg, &m);
}

/* One thread at a time: only tidy does this. */
static int to_init(struct kho_env *env, int fd, bool state, struct kho_err *err)
{
	struct kho_agent *a = env->arg;
	char kind = state ? KHO_INIT_STATE : KHO_INIT_DESCRIPTOR;
	int rc;

	if (a->conf->to_init < 0 || a->init_fds >= KHO_INIT_FDS_MAX)
		return kho_fail(err, -ENOTSUP, "the init system takes no more descriptors");
	rc = kho_fd_send(a->conf->to_init, &kind, 1, fd, MSG_DONTWAIT);
	if (rc)
		return kho_fail(err, rc, "give init a descriptor: %s", strerror(-rc));
	return KHO_INIT_FD + (int)a->init_fds++;
}

const struct kho_env_ops kho_agent_env_ops = {
	.to_init = to_init,
	.put_file = no_put_file,
	.pci_quiesce = no_quiesce,
	.pci_unquiesce = no_quiesce,
	.pci_give = pci_give,
	.pci_take = pci_take,
	.phase = phase,
	.note = note,
};
