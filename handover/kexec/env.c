// SPDX-License-Identifier: GPL-2.0-only
/*
 * What this side's serializers ask of the engine. Files are already where they are handed over from, or are copied there. Devices stay with their
 * drivers: the kernel shuts them down in the jump, and the next one finds them as after a boot; so an undo before it has nothing to give back.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "handover/kexec/kexec.h"
#include "lib/cleanup.h"
#include "lib/io.h"

/*
 * Its folder below images_dir, from there down: in the blackout the root may be frozen, and who asks for a folder in it waits, even for one that is
 * there.
 */
static int make_place(const struct kho_kexec *k, char *path, struct kho_err *err)
{
	for (char *p = path + strlen(k->images_dir) + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		if (mkdir(path, 0700) && errno != EEXIST)
			return kho_fail_errno(err, "mkdir %s", path);
	}
	return 0;
}

static int put_file(struct kho_env *env, const char *local, const char *name, struct kho_err *err)
{
	struct kho_kexec *k = env->arg;
	_cleanup_free_ char *path = NULL;
	bool copied;
	int ret = 0;

	if (asprintf(&path, "%s/%s", k->images_dir, name) < 0)
		return kho_fail(err, -ENOMEM, "hand over %s", name);
	copied = strcmp(path, local) != 0;
	if (copied) {
		ret = make_place(k, path, err);
		/* never into what is there: it may be a link of the upgrade before, to a file of the agent's */
		if (!ret && unlink(path) && errno != ENOENT)
			ret = kho_fail_errno(err, "remove %s", path);
		if (!ret)
			ret = kho_copy_file(local, path, err);
	}
	return ret < 0 ? ret : kho_kexec_add_file(k, name, copied, err);
}

static int put_files(struct kho_env *env, const char *dir, const char *prefix, char *const *names, size_t n, uint64_t *out_bytes,
		     struct kho_err *err)
{
	struct stat st;

	*out_bytes = 0;
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *local = NULL, *name = NULL;
		int ret;

		if (asprintf(&local, "%s/%s", dir, names[i]) < 0 || asprintf(&name, "%s/%s", prefix, names[i]) < 0)
			return kho_fail(err, -ENOMEM, "hand over %s", names[i]);
		ret = put_file(env, local, name, err);
		if (ret < 0)
			return ret;
		if (!stat(local, &st))
			*out_bytes += (uint64_t)st.st_size;
	}
	return 0;
}

static int stays(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	(void)env;
	(void)a;
	(void)err;
	return 0;
}

static void phase(struct kho_env *env, const char *name, uint64_t begin_us, uint64_t end_us)
{
	struct kho_kexec *k = env->arg;

	if (k->e.phase)
		k->e.phase(k->e.event_arg, name, begin_us, end_us);
}

static void note(struct kho_env *env, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kho_engine_note(&((struct kho_kexec *)env->arg)->e, "%s", text);
}

static void not_kept_out(struct kho_kexec *k, int errnum)
{
	kho_engine_note(&k->e, "packets that come in cannot be kept out while connections are dumped: %s", strerror(errnum));
	kho_kexec_let_in(k);
}

void kho_kexec_keep_out(struct kho_kexec *k)
{
	k->drop = kho_ingress_load();
	if (k->drop < 0)
		not_kept_out(k, -k->drop);
}

void kho_kexec_let_in(struct kho_kexec *k)
{
	kho_closep(&k->drop);
	k->drop = -1;
}

/* The function goes on, what it brings does not come in. A kernel that cannot (no cgroup2, no BPF there): CRIU may give up, rarely. */
static int quiesce(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	struct kho_kexec *k = env->arg;

	(void)a;
	(void)err;
	pthread_mutex_lock(&k->lock);
	if (k->drop >= 0 && k->ingress < 0) {
		k->ingress = kho_ingress_shut(k->drop);
		if (k->ingress < 0)
			not_kept_out(k, -k->ingress);
	}
	pthread_mutex_unlock(&k->lock);
	return 0;
}

static int unquiesce(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	struct kho_kexec *k = env->arg;

	(void)a;
	(void)err;
	pthread_mutex_lock(&k->lock);
	kho_closep(&k->ingress);
	k->ingress = -1;
	pthread_mutex_unlock(&k->lock);
	return 0;
}

const struct kho_env_ops kho_kexec_env_ops = {
	.put_file = put_file,
	.put_files = put_files,
	.pci_quiesce = quiesce,
	.pci_unquiesce = unquiesce,
	.pci_give = stays,
	.pci_take = stays,
	.phase = phase,
	.note = note,
};
