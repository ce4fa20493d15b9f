// SPDX-License-Identifier: GPL-2.0-only
/*
 * libcryptsetup, which a machine with LUKS has; loaded when it is needed, so that others (and every incoming kernel) do without it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <libcryptsetup.h>
#include <string.h>

#include "lib/cleanup.h"
#include "state-serializers/block-key.h"
#include "state-serializers/common.h"

#define LIBRARY "libcryptsetup.so.12"

#define FUNCTIONS(X)                                                                                                             \
	X(crypt_init_by_name_and_header)                                                                                         \
	X(crypt_free)                                                                                                            \
	X(crypt_volume_key_get)                                                                                                  \
	X(crypt_volume_key_verify)                                                                                               \
	X(crypt_keyslot_context_init_by_token)                                                                                   \
	X(crypt_keyslot_context_free)                                                                                            \
	X(crypt_volume_key_get_by_keyslot_context)

static struct {
	void *handle;
#define X(f) __typeof__(f) *f;
	FUNCTIONS(X)
#undef X
} lib;

static int load(struct kho_err *err)
{
	const char *missing = NULL;

	if (lib.handle)
		return 0;
	void *h = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	if (!h)
		return kho_fail(err, -ENOPKG, "%s cannot be loaded; install it: apt install libcryptsetup12", LIBRARY);
#define X(f)                                                                                                                     \
	lib.f = (__typeof__(lib.f))dlsym(h, #f);                                                                                 \
	if (!lib.f)                                                                                                              \
		missing = #f;
	FUNCTIONS(X)
#undef X
	if (missing) {
		dlclose(h);
		return kho_fail(err, -ENOPKG, "%s has no %s; 2.6 or newer is needed", LIBRARY, missing);
	}
	lib.handle = h;
	return 0;
}

static void device_freep(struct crypt_device **cd)
{
	if (*cd)
		lib.crypt_free(*cd);
}

static int open_device(const char *name, const char *header, struct crypt_device **out, struct kho_err *err)
{
	int ret = load(err);

	if (ret < 0)
		return ret;
	ret = lib.crypt_init_by_name_and_header(out, name, *header ? header : NULL);
	return ret < 0 ? kho_fail(err, ret, "%s: its LUKS header cannot be read: %s", name, strerror(-ret)) : 0;
}

static int by_token(struct crypt_device *cd, struct kho_key *out)
{
	struct crypt_keyslot_context *kc = NULL;
	int ret = lib.crypt_keyslot_context_init_by_token(cd, CRYPT_ANY_TOKEN, NULL, NULL, 0, NULL, &kc);

	if (!ret)
		ret = lib.crypt_volume_key_get_by_keyslot_context(cd, CRYPT_ANY_SLOT, (char *)out->byte, &out->len, kc);
	if (kc)
		lib.crypt_keyslot_context_free(kc);
	return ret;
}

int kho_luks_key(const char *name, const char *header, const char *pass, size_t len, struct kho_key *out, struct kho_err *err)
{
	_cleanup_(device_freep) struct crypt_device *cd = NULL;
	int ret = open_device(name, header, &cd, err);

	if (ret < 0)
		return ret;
	out->len = sizeof(out->byte);
	ret = pass ? lib.crypt_volume_key_get(cd, CRYPT_ANY_SLOT, (char *)out->byte, &out->len, pass, len) : by_token(cd, out);
	if (ret >= 0)
		return 0;
	explicit_bzero(out, sizeof(*out));
	if (ret == -EPERM || ret == -ENOENT)
		return kho_fail(err, -EPERM, "%s: %s", name, pass ? "that does not open it" : "no token of its header opens it");
	return kho_fail(err, ret, "%s: its key cannot be had: %s", name, strerror(-ret));
}

int kho_luks_verify(const char *name, const char *header, const struct kho_key *key, struct kho_err *err)
{
	_cleanup_(device_freep) struct crypt_device *cd = NULL;
	int ret = open_device(name, header, &cd, err);

	if (ret < 0)
		return ret;
	ret = lib.crypt_volume_key_verify(cd, (const char *)key->byte, key->len);
	return ret < 0 ? kho_fail(err, -EPERM, "%s: the key is not that of its header", name) : 0;
}
