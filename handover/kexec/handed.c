// SPDX-License-Identifier: GPL-2.0-only
/* See handover/kexec/handed.h. */
#include "handover/kexec/handed.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "handover/beside/files.h"
#include "handover/link/wire.h"
#include "lib/cleanup.h"
#include "lib/io.h"

int kho_handed_pack(const KhoHanded__State *s, void **out, size_t *out_len, struct kho_err *err)
{
	size_t len = kho_handed__state__get_packed_size(s);
	void *data = len <= KHO_HANDED_STATE_MAX ? malloc(len + 1) : NULL;

	if (!data)
		return kho_fail(err, -ENOMEM, "state for the next kernel: %zu bytes", len);
	*out_len = kho_handed__state__pack(s, data);
	*out = data;
	return 0;
}

void kho_handed_free(KhoHanded__State *s)
{
	if (s)
		kho_handed__state__free_unpacked(s, NULL);
}

static void freep(KhoHanded__State **s)
{
	kho_handed_free(*s);
}

/* luo: every file has one. On a disk: who has none lies in the initramfs. In order: none comes twice. */
static bool is_token(const KhoHanded__State *s, bool luo, uint64_t token, uint64_t last)
{
	if (!luo && (!*s->dir || !token))
		return !token;
	return token > last;
}

static int check_files(const KhoHanded__State *s, bool luo, struct kho_err *err)
{
	uint64_t last = KHO_HANDED_STATE_TOKEN;

	if (s->n_file > KHO_HANDED_FILES_MAX)
		return kho_fail(err, -EBADMSG, "%zu files", s->n_file);
	for (size_t i = 0; i < s->n_file; i++) {
		int ret = kho_link_name_ok(s->file[i]->name, err);

		if (ret < 0)
			return ret;
		if (!is_token(s, luo, s->file[i]->token, last))
			return kho_fail(err, -EBADMSG, "file %s has the number %llu", s->file[i]->name, (unsigned long long)s->file[i]->token);
		if (s->file[i]->token)
			last = s->file[i]->token;
	}
	return 0;
}

static bool is_replayed(KhoLink__Msg__BodyCase body)
{
	return body == KHO_LINK__MSG__BODY_SETUP || body == KHO_LINK__MSG__BODY_OP || body == KHO_LINK__MSG__BODY_ENTRUST ||
	       body == KHO_LINK__MSG__BODY_FAULT;
}

/* The first is the setup, and only that; without what was entrusted nobody knows who takes part. */
static int check_messages(const KhoHanded__State *s, struct kho_err *err)
{
	size_t setups = 0, entrusts = 0;

	for (size_t i = 0; i < s->n_message; i++) {
		KhoLink__Msg *m = kho_link__msg__unpack(NULL, s->message[i].len, s->message[i].data);
		KhoLink__Msg__BodyCase body = m ? m->body_case : KHO_LINK__MSG__BODY__NOT_SET;

		kho_msg_free(m);
		if (!is_replayed(body) || (body == KHO_LINK__MSG__BODY_SETUP) != (i == 0))
			return kho_fail(err, -EBADMSG, "request %zu of %zu is none that can be here", i + 1, s->n_message);
		setups += body == KHO_LINK__MSG__BODY_SETUP;
		entrusts += body == KHO_LINK__MSG__BODY_ENTRUST;
	}
	return setups == 1 && entrusts == 1 ? 0 : kho_fail(err, -EBADMSG, "setup or list of serializers is missing");
}

static int check(const KhoHanded__State *s, bool luo, struct kho_err *err)
{
	int ret;

	if (s->revision != KHO_HANDED_REVISION)
		return kho_fail(err, -EPROTONOSUPPORT, "it has revision %u, this khoctl reads %u; use the same khoctl for both kernels",
				s->revision, KHO_HANDED_REVISION);
	if (!*s->from || strlen(s->from) > 64 || !*s->to || strlen(s->to) > 64 || !s->tsc_khz || s->attempt > 1)
		return kho_fail(err, -EBADMSG, "releases, clock or attempt are none");
	if (*s->back_image && !kho_path_is_plain(s->back_image))
		return kho_fail(err, -EBADMSG, "the way back has no path that can be");
	if (*s->dir && (luo || !kho_path_is_plain(s->dir)))
		return kho_fail(err, -EBADMSG, "it has no directory on a disk that can be");
	ret = check_files(s, luo, err);
	return ret < 0 ? ret : check_messages(s, err);
}

int kho_handed_unpack(const void *data, size_t len, bool luo, KhoHanded__State **out, struct kho_err *err)
{
	_cleanup_(freep) KhoHanded__State *s = NULL;
	int ret;

	if (len <= KHO_HANDED_STATE_MAX)
		s = kho_handed__state__unpack(NULL, len, data);
	ret = s ? check(s, luo, err) : kho_fail(err, -EBADMSG, "%zu bytes that are no state", len);
	if (ret < 0)
		return kho_wrap(err, "state of the kernel before");
	*out = steal_ptr(s);
	return 0;
}

static int list_file(struct kho_files *l, const char *from, const char *name, struct kho_err *err)
{
	_cleanup_free_ char *to = NULL;
	int ret;

	if (asprintf(&to, KHO_HANDED_IMAGES "/%s", name) < 0)
		return kho_fail(err, -ENOMEM, "hand over %s", name);
	ret = kho_files_add_as(l, from, to, err);
	if (!ret && l->f[l->n - 1].bytes > UINT32_MAX)
		ret = kho_fail(err, -EFBIG, "%s has more than the 4 GiB that a file of an initramfs can have; hand it over on a disk (--state-dir)", name);
	return ret;
}

static int list_files(const char *state, const KhoHanded__State *s, const char *dir, const bool *skip, struct kho_files *l, struct kho_err *err)
{
	int ret = kho_files_add_as(l, state, KHO_HANDED_STATE, err);

	for (size_t i = 0; !ret && i < s->n_file; i++) {
		_cleanup_free_ char *from = NULL;

		if (s->file[i]->token || (skip && skip[i])) /* on a disk; there already */
			continue;
		if (asprintf(&from, "%s/%s", dir, s->file[i]->name) < 0)
			return kho_fail(err, -ENOMEM, "hand over %s", s->file[i]->name);
		ret = list_file(l, from, s->file[i]->name, err);
	}
	return ret;
}

/* The kernel wants each plain archive to begin at a multiple of 4. Half of one would end its unpacking: it is cut off again. */
static int append(const char *path, struct kho_files *l, int level, struct kho_err *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	int ret = kho_files_close(l, err);
	struct stat st;

	if (ret < 0)
		return ret;
	if (fd < 0 || fstat(fd, &st) || (st.st_size % 4 && ftruncate(fd, (st.st_size + 3) & ~3L)))
		return kho_fail_errno(err, "%s", path);
	ret = kho_files_pack(l, level, kho_sink_fd, &fd, err);
	if (ret < 0)
		(void)!ftruncate(fd, st.st_size); /* in memory: nothing is written */
	return ret;
}

int kho_handed_append(const char *path, const char *state, const KhoHanded__State *s, const char *dir, const bool *skip, int level, struct kho_err *err)
{
	_cleanup_(kho_files_done) struct kho_files l = { 0 };
	int ret = list_files(state, s, dir, skip, &l, err);

	return ret < 0 ? ret : append(path, &l, level, err);
}

int kho_handed_append_file(const char *path, const char *from, const char *name, int level, struct kho_err *err)
{
	_cleanup_(kho_files_done) struct kho_files l = { 0 };
	int ret = list_file(&l, from, name, err);

	return ret < 0 ? ret : append(path, &l, level, err);
}
