// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commit of this engine: everything into its carrier, and the jump. It comes back only with an error: what was added to the initramfs is cut
 * off again then, the session ends with the files when all is undone (kho_kexec_drop_files), and the folder on a disk goes (kho_kexec_unreserve).
 */
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "handover/beside/files.h"
#include "handover/kexec/handed.h"
#include "handover/kexec/kexec.h"
#include "handover/kexec/load.h"
#include "handover/kexec/luo.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

#define MIB (1ULL << 20)
#define JUMP_US 60000000ull /* since the commit has begun */
#define JOURNAL_HEAD 8 /* docs/formats.md: the mark before the first record */

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
	bool *early; /* of each file: struct kho_kexec_file */
};

static void state_done(struct state *st)
{
	free(st->file);
	free(st->files);
	free(st->message);
	free(st->early);
}

static void fill_files(struct kho_kexec *k, struct state *st)
{
	for (size_t i = 0; i < k->nfiles; i++) {
		kho_handed__file__init(&st->file[i]);
		st->file[i].name = k->files[i].name;
		st->file[i].token = k->files[i].token;
		st->file[i].bytes = k->files[i].bytes;
		st->file[i].packed = k->files[i].disk.packed;
		st->file[i].digest = k->files[i].disk.digest;
		st->files[i] = &st->file[i];
		st->early[i] = k->files[i].early;
	}
}

static int fill_state(struct kho_kexec *k, const struct kho_blob *record, struct state *st, struct kho_err *err)
{
	KhoHanded__State *s = &st->s;

	kho_handed__state__init(s);
	st->file = calloc(k->nfiles + 1, sizeof(*st->file));
	st->files = calloc(k->nfiles + 1, sizeof(*st->files));
	st->message = calloc(k->ntape + 1, sizeof(*st->message));
	st->early = calloc(k->nfiles + 1, sizeof(*st->early));
	if (!st->file || !st->files || !st->message || !st->early)
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
	if (k->disk >= 0)
		s->dir = (char *)(uintptr_t)k->e.req->carry_dir;
	if (k->back_cmdline) {
		s->back_image = k->back_image;
		s->back_cmdline = k->back_cmdline;
	}
	fill_files(k, st);
	return 0;
}

/*
 * Who waits for this step gives it up 15 s after its deadline (orchestrator/steps.def) and undoes everything: then there must be no jump any more. A disk
 * may be that slow, and so may be to preserve, or to pack and load, some gigabytes.
 */
static int jump(uint64_t commit_us, struct kho_err *err)
{
	if (kho_clock_us() - commit_us >= JUMP_US)
		return kho_fail(err, -ETIMEDOUT, "the state was not handed over in %llu s; less of it, or a faster machine or disk, is needed",
				JUMP_US / 1000000);
	return kho_kexec_jump(err);
}

/* --- carrier: the Live Update Orchestrator --- */

static int go_by_luo(struct kho_kexec *k, const void *data, size_t len, uint64_t commit_us, struct kho_err *err)
{
	int ret = kho_kexec_preserve_state(k, data, len, err);

	return ret < 0 ? ret : jump(commit_us, err);
}

/* --- carrier: the initramfs, with the images of workloads or without them --- */

static size_t count_early(const struct kho_kexec *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->nfiles; i++)
		n += k->files[i].early;
	return n;
}

/* zstd: what pre-copy has not packed before; by this thread, none is started now. */
static int append(struct kho_kexec *k, const struct state *st, const char *state, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int ret = kho_handed_append(k->initrd, state, &st->s, k->images_dir, st->early, k->level ? k->level | KHO_PACK_ALONE : 0, err);
	struct stat after = { 0 };

	if (ret < 0)
		return ret;
	kho_engine_phase(&k->e, "pack", begin);
	(void)!stat(k->initrd, &after); /* it is only told */
	kho_engine_note(&k->e, "initramfs with it: %llu MiB; %zu files were packed before the freeze", (unsigned long long)after.st_size / MIB,
			count_early(k));
	return 0;
}

static int go_by_initrd(struct kho_kexec *k, const struct state *st, const void *data, size_t len, uint64_t commit_us, struct kho_err *err)
{
	_cleanup_free_ char *state = NULL;
	struct stat before;
	uint64_t begin;
	int ret;

	if (asprintf(&state, "%s/state", k->dir) < 0)
		return kho_fail(err, -ENOMEM, "hand over");
	if (stat(k->initrd, &before))
		return kho_fail_errno(err, "%s", k->initrd);
	ret = kho_write_file(state, data, len, err);
	if (!ret)
		ret = append(k, st, state, err);
	begin = kho_clock_us();
	if (!ret)
		ret = kho_kexec_load(k->e.req->image, k->initrd, k->cmdline, err);
	if (!ret) {
		kho_engine_phase(&k->e, "load", begin);
		ret = jump(commit_us, err);
	}
	(void)!truncate(k->initrd, before.st_size);
	return ret;
}

int kho_kexec_commit(struct kho_engine *e, const struct kho_blob *record, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);
	_cleanup_(state_done) struct state st = { 0 };
	_cleanup_free_ void *data = NULL;
	uint64_t bytes = 0, begin = kho_clock_us();
	size_t len = 0;
	int ret;

	ret = kho_kexec_close_files(k, &bytes, err);
	if (!ret)
		ret = fill_state(k, record, &st, err);
	if (!ret)
		ret = kho_handed_pack(&st.s, &data, &len, err);
	if (ret < 0)
		return ret;
	kho_engine_phase(&k->e, "preserve", begin);
	kho_engine_note(&k->e, "%llu MiB in %zu files are handed over; %s starts now", (unsigned long long)(bytes / MIB), k->nfiles, k->img.release);
	ret = k->luo ? go_by_luo(k, data, len, begin, err) : go_by_initrd(k, &st, data, len, begin, err);
	explicit_bzero(data, len);
	return ret;
}
