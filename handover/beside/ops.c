// SPDX-License-Identifier: GPL-2.0-only
/*
 * What this side's serializers ask of the engine.
 */
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "handover/beside/beside.h"
#include "lib/clock.h"

#define TRANSFER_US 10000000

/* A quiet bulk transfer does hundreds of MiB a second; this is for one that hangs. */
static uint64_t transfer_deadline(const char *local)
{
	struct stat st;
	uint64_t bytes = stat(local, &st) == 0 ? st.st_size : 0;

	return kho_clock_us() + TRANSFER_US + bytes; /* and 1 s for each MB */
}

static int put_file(struct kho_env *env, const char *local, const char *name, struct kho_err *err)
{
	struct kho_beside *b = env->arg;

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "send %s: not connected to the incoming kernel",
				name);
	return kho_peer_put_file(b->peer, local, name, transfer_deadline(local), err);
}

static int put_files(struct kho_env *env, const char *dir, const char *prefix, char *const *names, size_t n, uint64_t *out_bytes,
		     struct kho_err *err)
{
	struct kho_beside *b = env->arg;

	if (!b->peer)
		return kho_fail(err, -ENOTCONN, "send %s: not connected to the incoming kernel", prefix);
	return kho_peer_put_files(b->peer, dir, prefix, names, n, TRANSFER_US, out_bytes, err);
}

static int timed(struct kho_env *env, const char *what, struct kho_pci_addr a,
		 int (*fn)(int fd, struct kho_pci_addr a, uint32_t *out_us, struct kho_err *err),
		 struct kho_err *err)
{
	struct kho_beside *b = env->arg;
	uint64_t begin = kho_clock_us();
	char name[64];
	int ret = fn(b->dev, a, NULL, err);

	snprintf(name, sizeof(name), "%s %04x:%02x:%02x.%x", what, a.segment, a.bus, a.devfn >> 3,
		 a.devfn & 7);
	if (!ret)
		env->ops->phase(env, name, begin, kho_clock_us());
	return ret;
}

static int give(int fd, struct kho_pci_addr a, uint32_t *out_us, struct kho_err *err)
{
	return kho_dev_pci_give(fd, a, KHO_PEER_INCOMING, out_us, err);
}

static int take(int fd, struct kho_pci_addr a, uint32_t *out_us, struct kho_err *err)
{
	return kho_dev_pci_take(fd, a, KHO_PEER_INCOMING, out_us, err);
}

static int pci_quiesce(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	return timed(env, "quiesce", a, kho_dev_pci_quiesce, err);
}

static int pci_unquiesce(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	return timed(env, "wake", a, kho_dev_pci_unquiesce, err);
}

static int pci_give(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	return timed(env, "give", a, give, err);
}

/*
 * This side takes a function back only in an undo.  Whoever still has it then was asked to give it
 * back and did not, or cannot be asked (this khoctl undoes what another one began): it is stopped,
 * for a disk that does not come back leaves its file systems frozen for ever.
 */
static int pci_take(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	struct kho_beside *b = env->arg;
	struct kho_err first = KHO_ERR_INIT;
	int ret = timed(env, "take back", a, take, &first);

	if (ret != -EPERM) {
		if (ret < 0 && err)
			*err = first;
		return ret;
	}
	if (kho_beside_map_head(b, err) < 0)
		return err ? err->code : -EIO;
	kho_engine_note(&b->e, "%s; stopping the incoming kernel", first.msg);
	kho_beside_give_up(b, &first);
	return timed(env, "take back", a, take, err);
}

static void phase(struct kho_env *env, const char *name, uint64_t begin_us, uint64_t end_us)
{
	struct kho_beside *b = env->arg;

	if (b->e.phase)
		b->e.phase(b->e.event_arg, name, begin_us, end_us);
}

static void note(struct kho_env *env, const char *fmt, ...)
{
	struct kho_beside *b = env->arg;
	char text[256];
	va_list ap;

	if (!b->e.note)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	b->e.note(b->e.event_arg, text);
}

const struct kho_env_ops kho_beside_env_ops = {
	.put_file = put_file,
	.put_files = put_files,
	.pci_quiesce = pci_quiesce,
	.pci_unquiesce = pci_unquiesce,
	.pci_give = pci_give,
	.pci_take = pci_take,
	.phase = phase,
	.note = note,
};
