// SPDX-License-Identifier: GPL-2.0-only
/*
 * The journal, when the other side writes no more: because its kernel has ended, or is gone since the jump.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handover/incoming/agent_impl.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/record.h"

void kho_agent_note(struct kho_agent *a, struct json_object *record)
{
	size_t len = 0;
	_cleanup_free_ char *one = kho_record_encode(record, &len);
	char *all;

	json_object_put(record);
	pthread_mutex_lock(&a->journal_lock);
	all = one ? realloc(a->trust.journal, a->trust.len + len) : NULL;
	if (all) {
		memcpy(all + a->trust.len, one, len);
		a->trust.journal = all;
		a->trust.len += len;
	}
	pthread_mutex_unlock(&a->journal_lock);
	if (!all)
		a->conf->say("journal: out of memory");
}

void kho_agent_note_phase(struct kho_agent *a, const char *name, uint64_t begin_us, uint64_t end_us)
{
	struct json_object *rec = kho_record_new("phase");

	kho_json_str(rec, "name", name);
	kho_json_int(rec, "begin_us", (int64_t)begin_us);
	kho_json_int(rec, "us", (int64_t)(end_us - begin_us));
	kho_agent_note(a, rec);
}

void kho_agent_note_takeover(struct kho_agent *a, const char *why)
{
	struct json_object *rec = kho_record_new("takeover");

	kho_json_str(rec, "why", why);
	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	kho_agent_note(a, rec);
}

uint64_t kho_agent_frozen_us(const volatile struct kho_ledger *l)
{
	uint64_t tsc = l ? l->side[KHO_SIDE_OUTGOING].frozen_tsc : 0;

	return tsc && l->tsc_khz ? (uint64_t)((unsigned __int128)tsc * 1000 / l->tsc_khz) : 0;
}

void kho_agent_note_blackout(struct kho_agent *a, uint64_t begin, uint64_t end)
{
	struct json_object *rec = kho_record_new("blackout");

	kho_json_int(rec, "begin_us", (int64_t)begin);
	if (end)
		kho_json_int(rec, "end_us", (int64_t)end);
	kho_agent_note(a, rec);
}

void kho_agent_note_end(struct kho_agent *a, const char *outcome, const char *msg)
{
	struct json_object *rec = kho_record_new("end");

	kho_json_str(rec, "outcome", outcome);
	kho_json_str(rec, "msg", msg);
	kho_agent_note(a, rec);
}

int kho_agent_journal_path(const struct kho_agent *a, char **out, struct kho_err *err)
{
	_cleanup_free_ char *dir = NULL;
	int ret = kho_agent_state_dir(a, &dir, err);

	if (ret < 0)
		return ret;
	return asprintf(out, "%s/journal", dir) < 0 ? kho_fail(err, -ENOMEM, "journal") : 0;
}

int kho_agent_save(struct kho_agent *a, struct kho_err *err)
{
	_cleanup_free_ char *path = NULL;
	int ret = kho_agent_journal_path(a, &path, err);

	return ret < 0 ? ret : kho_write_file(path, a->trust.journal, a->trust.len, err);
}

static int append(struct kho_agent *a, struct json_object *record, struct kho_err *err)
{
	size_t len = 0;
	_cleanup_free_ char *one = kho_record_encode(record, &len), *path = NULL;
	_cleanup_close_ int fd = -1;
	int ret = one ? kho_agent_journal_path(a, &path, err) : kho_fail(err, -ENOMEM, "journal");

	if (ret < 0)
		return ret;
	fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		return kho_fail_errno(err, "open %s", path);
	ret = kho_write_all(fd, one, len);
	return ret < 0 ? kho_fail(err, ret, "write %s: %s", path, strerror(-ret)) : fsync(fd) ? kho_fail_errno(err, "sync %s", path) : 0;
}

void kho_agent_note_loss(struct kho_agent *a, const char *what)
{
	struct json_object *rec = kho_record_new("loss");
	struct kho_err err = KHO_ERR_INIT;

	a->conf->say("%s", what);
	kho_json_str(rec, "what", what);
	kho_json_int(rec, "at_us", (int64_t)kho_clock_us());
	if (append(a, rec, &err) < 0)
		a->conf->say("%s", err.msg);
	json_object_put(rec);
}
