// SPDX-License-Identifier: GPL-2.0-only
#include "state-serializers/common.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

#define STATE_MAX (64u << 20)

const char *const kho_ram_whole[] = { "/tmp", "/var/tmp", "/dev/shm", "/run/lock", NULL };

int kho_pb_pack(const ProtobufCMessage *m, struct kho_blob *out, struct kho_err *err)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *p = malloc(len ? len : 1);

	if (!p)
		return kho_fail(err, -ENOMEM, "pack %s: out of memory", m->descriptor->short_name);
	kho_blob_done(out);
	out->len = protobuf_c_message_pack(m, p);
	out->data = p;
	return 0;
}

/* No field has the number 0; the library takes one that says so, and cannot write it again. */
static bool has_field_zero(const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	for (unsigned i = 0; i < m->n_unknown_fields; i++)
		if (!m->unknown_fields[i].tag)
			return true;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const void *at = (const char *)m + f->offset;
		bool many = f->label == PROTOBUF_C_LABEL_REPEATED;
		size_t n = many ? *(const size_t *)(const void *)((const char *)m + f->quantifier_offset) : 1;
		ProtobufCMessage *const *in = many ? *(ProtobufCMessage *const *const *)at : at;

		for (size_t k = 0; f->type == PROTOBUF_C_TYPE_MESSAGE && k < n; k++)
			if (in[k] && has_field_zero(in[k]))
				return true;
	}
	return false;
}

void *kho_pb_unpack(const ProtobufCMessageDescriptor *d, const struct kho_blob *in,
		    struct kho_err *err)
{
	static const uint8_t none;
	void *m = protobuf_c_message_unpack(d, NULL, in ? in->len : 0,
					    in && in->data ? in->data : &none);

	if (m && has_field_zero(m)) {
		protobuf_c_message_free_unpacked(m, NULL);
		m = NULL;
	}
	if (!m)
		kho_fail(err, -EBADMSG, "state of %s: %zu bytes that are no such message",
			 d->short_name, in ? in->len : 0);
	return m;
}

int kho_pb_append(void *array, size_t *n, void *item)
{
	void ***a = array, **p = *a;

	/* grows at powers of two: an array of n has room for the next power */
	if (!(*n & (*n - 1))) {
		p = reallocarray(*a, *n ? 2 * *n : 1, sizeof(void *));
		if (!p)
			return -ENOMEM;
		*a = p;
	}
	p[(*n)++] = item;
	return 0;
}

int kho_pb_append_bytes(ProtobufCBinaryData **array, size_t *n, const void *data, size_t len)
{
	ProtobufCBinaryData *p = *array;
	uint8_t *copy = malloc(len ? len : 1);

	if (copy && !(*n & (*n - 1))) {
		p = reallocarray(*array, *n ? 2 * *n : 1, sizeof(*p));
		if (p)
			*array = p;
	}
	if (!copy || !p) {
		free(copy);
		return -ENOMEM;
	}
	memcpy(copy, data, len);
	p[(*n)++] = (ProtobufCBinaryData){ .len = len, .data = copy };
	return 0;
}

int kho_pb_set(char **field, const char *value)
{
	char *p = strdup(value);

	if (!p)
		return -ENOMEM;
	if (*field && *field != protobuf_c_empty_string)
		free(*field);
	*field = p;
	return 0;
}

static int state_path(struct kho_env *env, const char *name, char path[PATH_MAX])
{
	if (!env->run_dir ||
	    snprintf(path, PATH_MAX, "%s/%s.state", env->run_dir, name) >= PATH_MAX)
		return -ENAMETOOLONG;
	return 0;
}

int kho_state_save(struct kho_env *env, const char *name, const struct kho_blob *b,
		   struct kho_err *err)
{
	char path[PATH_MAX];

	if (state_path(env, name, path))
		return kho_fail(err, -ENAMETOOLONG, "state of %s: no run directory", name);
	return kho_write_file(path, b->data, b->len, err);
}

void kho_state_drop(struct kho_env *env, const char *name)
{
	char path[PATH_MAX];

	if (!state_path(env, name, path))
		(void)!unlink(path);
}

int kho_state_load(struct kho_env *env, const char *name, struct kho_blob *out, struct kho_err *err)
{
	char path[PATH_MAX], *data = NULL;
	size_t len = 0;
	int ret;

	if (state_path(env, name, path))
		return kho_fail(err, -ENOENT, "state of %s: no run directory", name);
	ret = kho_read_file(path, STATE_MAX, &data, &len, err);
	if (ret < 0)
		return ret;
	kho_blob_done(out);
	*out = (struct kho_blob){ .data = data, .len = len };
	return 0;
}

bool kho_pci_parse(const char *text, struct kho_pci_addr *out)
{
	unsigned seg, bus, dev, fn;
	int end = 0;

	if (sscanf(text, "%4x:%2x:%2x.%1o%n", &seg, &bus, &dev, &fn, &end) != 4 || text[end] ||
	    dev > 31)
		return false;
	*out = (struct kho_pci_addr){ .segment = seg, .bus = bus, .devfn = dev << 3 | fn };
	return true;
}

void kho_pci_format(struct kho_pci_addr a, char out[KHO_PCI_LEN])
{
	snprintf(out, KHO_PCI_LEN, "%04x:%02x:%02x.%o", a.segment, a.bus, a.devfn >> 3,
		 a.devfn & 7u);
}

static int hand(struct kho_env *env, const char *pci, uint32_t *step, enum kho_handed begun,
		int (*act)(struct kho_env *, struct kho_pci_addr, struct kho_err *),
		kho_save_fn *save, struct kho_err *err)
{
	struct kho_pci_addr a;
	int ret;

	if (!kho_pci_parse(pci, &a))
		return kho_fail(err, -EINVAL, "bad PCI address '%s'", pci);
	*step = begun;
	ret = save(env, err);
	if (!ret)
		ret = act(env, a, err);
	if (ret >= 0)
		*step = begun + 1;
	return ret < 0 ? ret : 0;
}

int kho_hand_quiesce(struct kho_env *env, const char *pci, uint32_t *step, kho_save_fn *save,
		     struct kho_err *err)
{
	return hand(env, pci, step, KHO_HANDED_QUIESCING, env->ops->pci_quiesce, save, err);
}

int kho_hand_give(struct kho_env *env, const char *pci, uint32_t *step, kho_save_fn *save,
		  struct kho_err *err)
{
	if (*step != KHO_HANDED_QUIESCED)
		return 0;
	return hand(env, pci, step, KHO_HANDED_GIVING, env->ops->pci_give, save, err);
}

int kho_hand_back(struct kho_env *env, const char *pci, uint32_t *step, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	struct kho_pci_addr a;
	int first = 0, ret;

	if (!*step || !kho_pci_parse(pci, &a))
		return 0;
	if (*step >= KHO_HANDED_GIVING) {
		ret = env->ops->pci_take(env, a, &e);
		kho_first_failure(*step == KHO_HANDED_GIVEN ? ret : 0, &e, &first, err);
	}
	ret = env->ops->pci_unquiesce(env, a, &e);
	kho_first_failure(*step >= KHO_HANDED_QUIESCED ? ret : 0, &e, &first, err);
	*step = KHO_HANDED_NO;
	return first;
}

/* The resolved path, cut behind the PCI function; -ENOENT when there is none in it. */
static int resolve_to_pci(const char *sysroot, const char *path, char full[PATH_MAX],
			  char name[KHO_PCI_LEN])
{
	_cleanup_free_ char *p = kho_sysroot_path(sysroot, path);
	struct kho_pci_addr a;

	if (!p)
		return -ENOMEM;
	if (!realpath(p, full))
		return -errno;
	for (char *tail = full + strlen(full); tail > full; tail--) {
		if (*tail != '/')
			continue;
		char comp[NAME_MAX + 1];
		size_t len = strcspn(tail + 1, "/");

		if (len >= KHO_PCI_LEN)
			continue;
		memcpy(comp, tail + 1, len);
		comp[len] = '\0';
		if (kho_pci_parse(comp, &a)) {
			memcpy(name, comp, len + 1);
			return tail + 1 + len - full;
		}
	}
	return -ENOENT;
}

int kho_pci_of_sysfs(const char *sysroot, const char *path, char name[KHO_PCI_LEN])
{
	char full[PATH_MAX];
	int ret = resolve_to_pci(sysroot, path, full, name);

	return ret < 0 ? ret : 0;
}

int kho_driver_modules(const char *sysroot, const char *path, char ***out, size_t *n)
{
	char full[PATH_MAX], pci[KHO_PCI_LEN], link[PATH_MAX + 32], target[PATH_MAX];
	int end = resolve_to_pci(sysroot, path, full, pci);

	if (end < 0)
		return end;
	for (size_t len = strlen(full); len >= (size_t)end; len = strrchr(full, '/') - full) {
		full[len] = '\0';
		snprintf(link, sizeof(link), "%s/driver/module", full);
		ssize_t got = readlink(link, target, sizeof(target) - 1);

		if (got <= 0)
			continue;
		target[got] = '\0';
		char *name = strdup(basename(target));

		if (!name || kho_pb_append(out, n, name)) {
			free(name);
			return -ENOMEM;
		}
	}
	return 0;
}

void kho_phase(struct kho_env *env, const char *name, uint64_t begin_us)
{
	if (env->ops && env->ops->phase)
		env->ops->phase(env, name, begin_us, kho_clock_us());
}

bool kho_sysctl_goes_first(const char *key)
{
	const char *name = strrchr(key, '/');

	return name && (!strcmp(name, "/forwarding") || !strcmp(name, "/ip_forward"));
}

int kho_put_files(struct kho_env *env, const char *dir, const char *prefix, char *const *names, size_t n, struct kho_err *err)
{
	uint64_t bytes;
	int ret = 0;

	if (env->ops->put_files)
		return env->ops->put_files(env, dir, prefix, names, n, &bytes, err);
	for (size_t i = 0; !ret && i < n; i++) {
		_cleanup_free_ char *local = NULL, *remote = NULL;

		if (asprintf(&local, "%s/%s", dir, names[i]) < 0 || asprintf(&remote, "%s/%s", prefix, names[i]) < 0)
			return kho_fail(err, -ENOMEM, "send %s", names[i]);
		ret = env->ops->put_file(env, local, remote, err);
	}
	return ret;
}

int64_t kho_meminfo_kib(const char *sysroot, const char *name)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/meminfo"), *text = NULL;
	size_t len = strlen(name);

	if (!path || kho_read_file(path, 1 << 20, &text, NULL, NULL) < 0)
		return -1;
	for (const char *at = text, *end; at && *at; at = end ? end + 1 : NULL) {
		if (!strncmp(at, name, len) && at[len] == ':')
			return strtoll(at + len + 1, NULL, 10);
		end = strchr(at, '\n');
	}
	return -1;
}
