// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commit of this engine: everything into its carrier, and the jump. It comes back only with an error, and then nothing has changed here: the
 * session is closed, or what was added to the initramfs is cut off again.
 */
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "handover/kexec/handed.h"
#include "handover/kexec/kexec.h"
#include "handover/kexec/load.h"
#include "handover/kexec/luo.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

#define MIB (1ULL << 20)
#define JOURNAL_HEAD 8 /* docs/formats.md: the mark before the first record */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Each once: a round of precopy may have sent a file again. */
static void unique_files(struct kho_kexec *k)
{
	size_t n = 0;

	if (k->nfiles)
		qsort(k->files, k->nfiles, sizeof(*k->files), by_name);
	for (size_t i = 0; i < k->nfiles; i++) {
		if (n && !strcmp(k->files[n - 1], k->files[i]))
			free(k->files[i]);
		else
			k->files[n++] = k->files[i];
	}
	k->nfiles = n;
}

/* The journal without its last record, which says that the peer has signed: that is for the peer to say. */
static size_t without_last(const struct kho_blob *record)
{
	size_t at = JOURNAL_HEAD, last = record->len < JOURNAL_HEAD ? record->len : JOURNAL_HEAD;
	uint32_t len;

	while (record->len >= at + 8) {
		memcpy(&len, (const char *)record->data + at, sizeof(len));
		len = le32toh(len);
		if (len > record->len - at - 8)
			break;
		last = at;
		at += 8 + (size_t)len;
	}
	return last;
}

/* --- the state --- */

struct state {
	KhoHanded__State s;
	KhoHanded__File *file, **files;
	ProtobufCBinaryData *message;
	char *back_cmdline;
};

static void state_done(struct state *st)
{
	free(st->file);
	free(st->files);
	free(st->message);
	free(st->back_cmdline);
}

static int fill_files(struct kho_kexec *k, struct state *st, uint64_t *bytes, struct kho_err *err)
{
	for (size_t i = 0; i < k->nfiles; i++) {
		_cleanup_free_ char *path = NULL;
		struct stat f;

		if (asprintf(&path, "%s/%s", k->images_dir, k->files[i]) < 0)
			return kho_fail(err, -ENOMEM, "hand over %s", k->files[i]);
		if (stat(path, &f))
			return kho_fail_errno(err, "hand over %s", k->files[i]);
		kho_handed__file__init(&st->file[i]);
		st->file[i].name = k->files[i];
		st->file[i].token = k->luo ? i + 1 : 0;
		st->file[i].bytes = (uint64_t)f.st_size;
		st->files[i] = &st->file[i];
		*bytes += (uint64_t)f.st_size;
	}
	return 0;
}

static int fill_state(struct kho_kexec *k, const struct kho_blob *record, struct state *st, uint64_t *bytes, struct kho_err *err)
{
	KhoHanded__State *s = &st->s;

	kho_handed__state__init(s);
	st->file = calloc(k->nfiles + 1, sizeof(*st->file));
	st->files = calloc(k->nfiles + 1, sizeof(*st->files));
	st->message = calloc(k->ntape + 1, sizeof(*st->message));
	if (!st->file || !st->files || !st->message)
		return kho_fail(err, -ENOMEM, "state for the next kernel");
	s->revision = KHO_HANDED_REVISION;
	s->from = k->running;
	s->to = k->img.release;
	s->tsc_khz = kho_clock_tsc_khz();
	s->frozen_us = k->frozen_us;
	s->message = st->message;
	s->n_message = k->ntape;
	for (size_t i = 0; i < k->ntape; i++)
		st->message[i] = (ProtobufCBinaryData){ .data = k->tape[i].data, .len = k->tape[i].len };
	s->file = st->files;
	s->n_file = k->nfiles;
	s->record.data = record->data;
	s->record.len = without_last(record);
	s->jumped_us = kho_clock_us();
	if (*k->back_image) {
		int ret = kho_kexec_cmdline(k, true, &st->back_cmdline, err);

		if (ret < 0)
			return ret;
		s->back_image = k->back_image;
		s->back_cmdline = st->back_cmdline;
	}
	return fill_files(k, st, bytes, err);
}

/* --- carrier: the Live Update Orchestrator --- */

static int preserve_image(struct kho_kexec *k, int session, size_t i, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;

	if (asprintf(&path, "%s/%s", k->images_dir, k->files[i]) < 0)
		return kho_fail(err, -ENOMEM, "hand over %s", k->files[i]);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	/* only a file without a name can be preserved */
	if (fd < 0 || unlink(path))
		return kho_fail_errno(err, "hand over %s", k->files[i]);
	return kho_luo_preserve(session, fd, i + 1, err) < 0 ? kho_wrap(err, "%s", k->files[i]) : 0;
}

static int preserve_state(int session, const void *data, size_t len, struct kho_err *err)
{
	_cleanup_close_ int fd = memfd_create("khoctl-state", MFD_CLOEXEC);
	int ret;

	if (fd < 0)
		return kho_fail_errno(err, "memfd");
	ret = kho_write_all(fd, data, len);
	if (ret < 0)
		return kho_fail(err, ret, "write the state for the next kernel: %s", strerror(-ret));
	return kho_luo_preserve(session, fd, 0, err);
}

static int go_by_luo(struct kho_kexec *k, const void *data, size_t len, struct kho_err *err)
{
	_cleanup_close_ int session = kho_luo_create(KHO_HANDED_SESSION, err);
	int ret = session < 0 ? session : 0;

	for (size_t i = 0; !ret && i < k->nfiles; i++)
		ret = preserve_image(k, session, i, err);
	if (!ret)
		ret = preserve_state(session, data, len, err);
	return ret < 0 ? ret : kho_kexec_jump(err);
}

/* --- carrier: the initramfs --- */

static int go_by_initrd(struct kho_kexec *k, const KhoHanded__State *s, const void *data, size_t len, struct kho_err *err)
{
	_cleanup_free_ char *state = NULL;
	uint64_t begin = kho_clock_us();
	struct stat before;
	int ret;

	if (asprintf(&state, "%s/state", k->dir) < 0)
		return kho_fail(err, -ENOMEM, "hand over");
	if (stat(k->initrd, &before))
		return kho_fail_errno(err, "%s", k->initrd);
	ret = kho_write_file(state, data, len, err);
	if (!ret)
		ret = kho_handed_append(k->initrd, state, s, k->images_dir, err);
	if (!ret)
		ret = kho_kexec_load(k->e.req->image, k->initrd, k->cmdline, err);
	if (!ret) {
		kho_engine_phase(&k->e, "load", begin);
		ret = kho_kexec_jump(err);
	}
	(void)!truncate(k->initrd, before.st_size);
	return ret;
}

int kho_kexec_commit(struct kho_engine *e, const struct kho_blob *record, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);
	_cleanup_(state_done) struct state st = { 0 };
	_cleanup_free_ void *data = NULL;
	uint64_t bytes = 0;
	size_t len = 0;
	int ret;

	unique_files(k);
	ret = fill_state(k, record, &st, &bytes, err);
	if (!ret)
		ret = kho_handed_pack(&st.s, &data, &len, err);
	if (ret < 0)
		return ret;
	kho_engine_note(&k->e, "%llu MiB in %zu files are handed over; %s starts now", (unsigned long long)(bytes / MIB), k->nfiles, k->img.release);
	ret = k->luo ? go_by_luo(k, data, len, err) : go_by_initrd(k, &st.s, data, len, err);
	explicit_bzero(data, len);
	return ret;
}
