// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way back from a kernel that kexec has started and that cannot go on. All that was handed over is still here, and nothing of what was done
 * with it was visible: what is restored is discarded, and the kernel before is started once more, with the same requests and files behind a copy of this
 * kernel's own first root (which was made for both).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "handover/beside/files.h"
#include "handover/incoming/handed.h"
#include "handover/kexec/load.h"
#include "handover/kexec/luo.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/record.h"

#define DIR_BACK   "/run/khoctl/back"
#define INITRD	   DIR_BACK "/initrd"
#define STATE	   DIR_BACK "/state"

static void note_failure(struct kho_agent *a, const char *why)
{
	struct json_object *rec = kho_record_new("back");

	kho_json_str(rec, "why", why);
	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	kho_agent_note(a, rec);
}

/* --- the archive --- */

/* This root as it was unpacked; mount points of what was mounted since are made anew. */
static int list_root(struct kho_files *l, struct kho_err *err)
{
	static const char *const without[] = { KHO_HANDED_DIR, "/proc", "/sys", "/dev", "/run", KHO_NEW_ROOT, NULL };
	static const char *const dirs[] = { "/proc", "/sys", "/dev", "/run" };
	int ret = kho_files_add_tree(l, "/", "", without, err);

	for (size_t i = 0; !ret && i < sizeof(dirs) / sizeof(*dirs); i++)
		ret = kho_files_add_made(l, dirs[i], S_IFDIR | 0755, NULL, 0, err);
	if (!ret)
		ret = kho_files_add_made(l, "/dev/console", S_IFCHR | 0600, NULL, makedev(5, 1), err);
	return ret < 0 ? ret : kho_files_close(l, err);
}

static int pack_root(struct kho_err *err)
{
	_cleanup_(kho_files_done) struct kho_files root = { 0 };
	_cleanup_close_ int fd = open(INITRD, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ret = fd < 0 ? kho_fail_errno(err, INITRD) : list_root(&root, err);
	uint64_t archive, unpacked;

	if (ret < 0)
		return ret;
	/* not as it came: whether the kernel before takes zstd nobody knows here. What was unpacked from an archive has room again as one */
	kho_files_size(&root, &archive, &unpacked);
	return kho_files_pack(&root, kho_files_level(archive), kho_sink_fd, &fd, err);
}

/* --- the state, as the one that is started shall read it --- */

static int pack_state(struct kho_handed *h, void **data, size_t *len, struct kho_err *err)
{
	KhoHanded__State s = *h->s;

	s.from = h->s->to;
	s.to = h->s->from;
	s.attempt = 1;
	s.record.data = (uint8_t *)h->a.trust.journal;
	s.record.len = h->a.trust.len;
	s.jumped_us = kho_clock_us();
	return kho_handed_pack(&s, data, len, err);
}

/* What a test has asked for has struck. */
static void drop_faults(KhoHanded__State *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_message; i++) {
		KhoLink__Msg *m = kho_link__msg__unpack(NULL, s->message[i].len, s->message[i].data);
		bool fault = m && m->body_case == KHO_LINK__MSG__BODY_FAULT;

		kho_msg_free(m);
		if (fault)
			free(s->message[i].data);
		else
			s->message[n++] = s->message[i];
	}
	s->n_message = n;
}

/*
 * Carrier "luo": once more in place. The session they came in has to end first, which leaves them to who has them open; what had not been taken
 * out of it by then would be gone.
 */
static int preserve_again(struct kho_handed *h, const void *data, size_t len, struct kho_err *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < h->s->n_file; i++)
		ret = kho_handed_take(h, i, err);
	if (!ret)
		ret = kho_luo_finish(h->session, err);
	if (ret < 0)
		return ret;
	close(h->session);
	h->session = kho_luo_create(KHO_HANDED_SESSION, err);
	ret = h->session < 0 ? h->session : 0;
	for (size_t i = 0; !ret && i < h->s->n_file; i++)
		ret = kho_luo_preserve(h->session, h->fd[i], h->s->file[i]->token, err);
	return ret < 0 ? ret : kho_luo_preserve_bytes(h->session, data, len, KHO_HANDED_STATE_TOKEN, err);
}

/* Carrier "initrd": behind the root, as they came; those on a disk are still there, and are read once more. */
static int append_again(struct kho_handed *h, const void *data, size_t len, struct kho_err *err)
{
	int ret = kho_write_file(STATE, data, len, err);

	return ret < 0 ? ret : kho_handed_append(INITRD, STATE, h->s, KHO_HANDED_IMAGES, NULL, 0, err);
}

static int go(struct kho_handed *h, struct kho_err *err)
{
	_cleanup_free_ void *data = NULL;
	size_t len = 0;
	int ret = kho_mkdir(DIR_BACK, err);

	drop_faults(h->s);
	if (!ret)
		ret = pack_root(err);
	if (!ret)
		ret = pack_state(h, &data, &len, err);
	if (!ret && !h->luo)
		ret = append_again(h, data, len, err);
	if (!ret)
		ret = kho_kexec_load(h->s->back_image, INITRD, h->s->back_cmdline, err);
	if (!ret && h->luo)
		ret = preserve_again(h, data, len, err);
	if (data)
		explicit_bzero(data, len);
	return ret < 0 ? ret : kho_kexec_jump(err);
}

int kho_handed_back(struct kho_handed *h, const struct kho_err *why, struct kho_err *err)
{
	struct kho_agent *a = &h->a;
	struct kho_err one = KHO_ERR_INIT;

	a->conf->say("%s cannot go on with what %s has handed over: %s", h->s->to, h->s->from, why->msg);
	for (size_t i = a->trust.n; i-- > 0;)
		if (kho_agent_one_op(a, a->trust.names[i], "discard", 0, &one) < 0)
			a->conf->say("%s", one.msg);
	note_failure(a, why->msg);
	if (h->s->attempt || !*h->s->back_image)
		return kho_fail(err, why->code, "%s", why->msg);
	return go(h, err);
}
