// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keys of mappings whose tables only name one of the kernel's (LUKS2 as cryptsetup opens it): the kernel wipes its copy and no program may
 * read it, so it is taken out of the header again. What opens that is what opens it at boot without a question: the key file in
 * crypttab, a token (TPM2); or a person was asked before (`khoctl unlock`), then root's keyring holds it for some minutes, in the
 * kernel's memory. Never on a disk.
 */
#include "state-serializers/block-key.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

#define CRYPTTAB	 "/etc/crypttab"
#define KEY_SECONDS	 900
#define KEY_FILE_MAX	 (8u << 20)
#define FIX		 "khoctl unlock"

static void key_wipe(struct kho_key *k) { explicit_bzero(k, sizeof(*k)); }

struct bytes {
	char *data;
	size_t len;
};

static void bytes_done(struct bytes *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	free(b->data);
}

static void set_option(char *option, struct kho_crypttab *out)
{
	char *value = strchr(option, '=');

	if (!value)
		return;
	*value++ = '\0';
	if (!strcmp(option, "keyfile-offset"))
		out->offset = strtoull(value, NULL, 10);
	else if (!strcmp(option, "keyfile-size"))
		out->size = strtoull(value, NULL, 10);
	else if (!strcmp(option, "header"))
		snprintf(out->header, sizeof(out->header), "%s", value);
	else if (!strcmp(option, "keyscript"))
		out->script = true;
}

bool kho_crypttab_find(const char *text, const char *name, struct kho_crypttab *out)
{
	_cleanup_free_ char *copy = strdup(text);
	char *save = NULL;

	for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		char got[256], file[512] = "none", options[2048] = "", *o, *at = NULL;

		/* volume name, device, key file, options */
		if (sscanf(line, " %255s %*s %511s %2047s", got, file, options) < 1 || *got == '#' || strcmp(got, name))
			continue;
		*out = (struct kho_crypttab){ 0 };
		if (strcmp(file, "none") && strcmp(file, "-"))
			snprintf(out->key_file, sizeof(out->key_file), "%s", file);
		for (o = strtok_r(options, ",", &at); o; o = strtok_r(NULL, ",", &at))
			set_option(o, out);
		return true;
	}
	return false;
}

/* What crypttab says of a mapping; the key file that lies at systemd's place when none is named. */
static void crypttab_of(const char *sysroot, const char *name, struct kho_crypttab *out)
{
	static const char *const places[] = { "/etc/cryptsetup-keys.d", "/run/cryptsetup-keys.d" };
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, CRYPTTAB), *text = NULL;

	*out = (struct kho_crypttab){ 0 };
	if (path && kho_read_file(path, 1 << 20, &text, NULL, NULL) >= 0)
		(void)kho_crypttab_find(text, name, out);
	for (size_t i = 0; !*out->key_file && i < KHO_ARRAY_SIZE(places); i++) {
		char file[512];

		snprintf(file, sizeof(file), "%s/%s.key", places[i], name);
		_cleanup_free_ char *full = kho_sysroot_path(sysroot, file);

		if (full && kho_exists(full))
			snprintf(out->key_file, sizeof(out->key_file), "%s", file);
	}
}

/* Root's user keyring; linked to this process, for only what one possesses can be read. */
static void possess(void)
{
	(void)!syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_PROCESS_KEYRING);
}

static void key_name(const Kho__BlockLayer *l, char out[160])
{
	snprintf(out, 160, "khoctl:%.140s", *l->uuid ? l->uuid : l->name);
}

static bool keyring_has(const Kho__BlockLayer *l, struct kho_key *out)
{
	char name[160];

	key_name(l, name);
	possess();
	long id = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, "user", name, 0);
	long n = id < 0 ? -1 : out ? syscall(SYS_keyctl, KEYCTL_READ, id, out->byte, sizeof(out->byte)) : 0;

	if (n >= 0 && out)
		out->len = (size_t)n < sizeof(out->byte) ? (size_t)n : 0;
	return n >= 0;
}

static int keyring_put(const Kho__BlockLayer *l, const struct kho_key *key, struct kho_err *err)
{
	char name[160];

	key_name(l, name);
	possess();
	long id = syscall(SYS_add_key, "user", name, key->byte, key->len, KEY_SPEC_USER_KEYRING);

	if (id < 0 || syscall(SYS_keyctl, KEYCTL_SET_TIMEOUT, id, KEY_SECONDS) < 0)
		return kho_fail_errno(err, "%s: keep its key in the kernel", l->name);
	return 0;
}

static int read_key_file(const struct kho_crypttab *c, struct bytes *out, struct kho_err *err)
{
	int ret = kho_read_file(c->key_file, KEY_FILE_MAX, &out->data, &out->len, err);

	if (ret < 0)
		return ret;
	if (c->offset > out->len)
		return kho_fail(err, -EINVAL, "%s: keyfile-offset is beyond its end", c->key_file);
	memmove(out->data, out->data + c->offset, out->len - c->offset);
	explicit_bzero(out->data + out->len - c->offset, c->offset);
	out->len -= c->offset;
	if (c->size && c->size < out->len) {
		explicit_bzero(out->data + c->size, out->len - c->size);
		out->len = c->size;
	}
	return 0;
}

/* As cryptsetup and the kernel write it in a table. */
static int set_hex(Kho__BlockLayer *l, const struct kho_key *k, struct kho_err *err)
{
	static const char digit[] = "0123456789abcdef";
	uint8_t *hex = malloc(2 * k->len + 1);

	if (!hex)
		return kho_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < k->len; i++) {
		hex[2 * i] = digit[k->byte[i] >> 4];
		hex[2 * i + 1] = digit[k->byte[i] & 15];
	}
	hex[2 * k->len] = '\0';
	l->key.data = hex;
	l->key.len = 2 * k->len;
	return 0;
}

static int get_one(Kho__BlockLayer *l, struct kho_key *k, struct kho_err *err)
{
	_cleanup_(bytes_done) struct bytes file = { 0 };
	struct kho_crypttab c;
	int ret;

	crypttab_of("", l->name, &c);
	if (keyring_has(l, k))
		return kho_luks_verify(l->name, c.header, k, err);
	if (*c.key_file && !c.script && kho_exists(c.key_file)) {
		ret = read_key_file(&c, &file, err);
		return ret ? ret : kho_luks_key(l->name, c.header, file.data, file.len, k, err);
	}
	ret = kho_luks_key(l->name, c.header, NULL, 0, k, err);
	return ret == -EPERM ? kho_fail(err, -ENOKEY, "the key of %s is not known; type: " FIX, l->name) : ret;
}

int kho_key_get_all(Kho__Block *b, struct kho_err *err)
{
	_cleanup_(key_wipe) struct kho_key k = { 0 };
	int ret = 0;

	for (size_t i = 0; !ret && i < b->n_layer; i++) {
		Kho__BlockLayer *l = b->layer[i];
		unsigned want = 0;

		if (!*l->keyring || l->key.len)
			continue;
		ret = get_one(l, &k, err);
		/* ":64:logon:NAME" */
		if (!ret && (sscanf(l->keyring, ":%u:", &want) != 1 || want != k.len))
			ret = kho_fail(err, -EINVAL, "%s: its key has %zu bytes, the mapping uses %u", l->name, k.len, want);
		if (!ret)
			ret = set_hex(l, &k, err);
	}
	return ret;
}

/* Is a key to be asked for? A token is known to work only when it has been tried. */
static bool must_ask(const char *sysroot, const Kho__BlockLayer *l)
{
	_cleanup_(key_wipe) struct kho_key k = { 0 };
	struct kho_crypttab c;

	if (!*l->keyring || l->key.len)
		return false;
	crypttab_of(sysroot, l->name, &c);
	_cleanup_free_ char *file = kho_sysroot_path(sysroot, c.key_file);

	if (*c.key_file && !c.script && file && kho_exists(file))
		return false;
	return sysroot[0] || (!keyring_has(l, NULL) && kho_luks_key(l->name, c.header, NULL, 0, &k, NULL) < 0);
}

int kho_key_probe(const struct kho_env *env, const Kho__Block *b, struct kho_report *r, struct kho_err *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < b->n_layer; i++) {
		const Kho__BlockLayer *l = b->layer[i];

		if (!*l->keyring && !l->key.len)
			continue;
		if (must_ask(env->sysroot ? env->sysroot : "", l))
			ret = kho_report_add(r, KHO_V_NO, "device", l->name, FIX, "the kernel does not give its key out again");
		else
			ret = kho_report_add(r, KHO_V_OK, "device", l->name, NULL,
					     "encrypted: its key is handed over in memory%s",
					     *l->keyring ? ", and is in the mapping's table from then on" : "");
	}
	return ret ? kho_fail(err, ret, "report: out of memory") : 0;
}

int kho_block_unlock(struct kho_env *env, kho_ask_fn *ask, void *arg, struct kho_err *err)
{
	_cleanup_(key_wipe) struct kho_key k = { 0 };
	struct bytes pass = { 0 };
	Kho__Block *b = NULL;
	int ret = kho_block_find("", &b, NULL, err), done = 0;

	(void)env;
	for (size_t i = 0; b && ret >= 0 && i < b->n_layer; i++) {
		const Kho__BlockLayer *l = b->layer[i];
		struct kho_crypttab c;

		if (!must_ask("", l))
			continue;
		crypttab_of("", l->name, &c);
		/* one passphrase often opens all */
		ret = pass.data ? kho_luks_key(l->name, c.header, pass.data, pass.len, &k, err) : -EPERM;
		for (int tries = 0; ret == -EPERM && tries < 3; tries++) {
			bytes_done(&pass);
			pass = (struct bytes){ 0 };
			ret = ask(arg, l->name, &pass.data, &pass.len, err);
			if (!ret)
				ret = kho_luks_key(l->name, c.header, pass.data, pass.len, &k, err);
		}
		if (!ret)
			ret = keyring_put(l, &k, err);
		done += !ret;
	}
	bytes_done(&pass);
	kho_block_free(b);
	return ret < 0 ? ret : done;
}
