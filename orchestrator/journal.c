// SPDX-License-Identifier: GPL-2.0-only
/* The journal.  See orchestrator/journal.h. */
#include "orchestrator/journal.h"

#include <endian.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

#define MAGIC	    "KHOJRNL1"
#define MAGIC_LEN   8
#define JOURNAL_MAX (64u << 20)
#define RECORD_MAX  (16u << 20) /* a plan has a verdict for each file of each workload */

struct kho_journal {
	struct kho_logfile *file;
};

int kho_journal_create(const char *run_dir, const char *state_dir, struct kho_journal **out,
		       struct kho_err *err)
{
	struct kho_journal *j = calloc(1, sizeof(*j));
	int rc;

	if (!j)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	rc = kho_logfile_create(run_dir, state_dir, KHO_JOURNAL_NAME, &j->file, err);
	if (rc == 0)
		rc = kho_logfile_append(j->file, MAGIC, MAGIC_LEN, true, err);
	if (rc < 0) {
		kho_journal_free(j);
		return kho_wrap(err, "journal");
	}
	*out = j;
	return 0;
}

int kho_journal_add(struct kho_journal *j, struct json_object *record, struct kho_err *err)
{
	_cleanup_json_ struct json_object *own = record;
	size_t len = 0;
	_cleanup_free_ char *buf = kho_record_encode(own, &len);

	if (!buf)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	return kho_logfile_append(j->file, buf, len, true, err);
}

int kho_journal_bytes_with(struct kho_journal *j, struct json_object *record, struct kho_blob *out,
			   struct kho_err *err)
{
	size_t len = 0;
	_cleanup_free_ char *one = kho_record_encode(record, &len);
	int rc = one ? kho_logfile_bytes(j->file, out, err) : -ENOMEM;
	char *all = rc < 0 ? NULL : realloc(out->data, out->len + len);

	if (!all)
		return rc < 0 && one ? rc : kho_fail(err, -ENOMEM, "journal: out of memory");
	memcpy(all + out->len, one, len);
	out->data = all;
	out->len += len;
	return 0;
}

struct kho_logfile *kho_journal_file(struct kho_journal *j)
{
	return j->file;
}

void kho_journal_free(struct kho_journal *j)
{
	if (!j)
		return;
	kho_logfile_free(j->file);
	free(j);
}

/* The record at p, or NULL when what is there is none. */
static struct json_object *one_record(const char *p, size_t left, size_t *out_used)
{
	struct json_object *o;
	uint32_t head[2];
	size_t len;

	if (left < 8)
		return NULL;
	memcpy(head, p, 8);
	len = le32toh(head[0]);
	if (len > RECORD_MAX || len > left - 8 || kho_crc32(p + 8, len) != le32toh(head[1]))
		return NULL;
	*out_used = len + 8;
	return kho_json_parse(p + 8, len, &o, NULL) < 0 ? NULL : o;
}

/* *out_good: bytes up to the end of the last good record. */
static int parse(const void *bytes, size_t len, struct json_object **out, size_t *out_good,
		 struct kho_err *err)
{
	const char *p = bytes, *end = p + len;
	struct json_object *list, *o;
	size_t used;

	if (len < MAGIC_LEN || memcmp(p, MAGIC, MAGIC_LEN))
		return kho_fail(err, -EINVAL, "not a khoctl journal");
	list = json_object_new_array();
	for (p += MAGIC_LEN; (o = one_record(p, (size_t)(end - p), &used)); p += used)
		json_object_array_add(list, o);
	*out_good = (size_t)(p - (const char *)bytes);
	*out = list;
	return 0;
}

int kho_journal_parse(const void *bytes, size_t len, struct json_object **out, bool *out_torn,
		      struct kho_err *err)
{
	size_t good;
	int rc = parse(bytes, len, out, &good, err);

	if (rc == 0 && out_torn)
		*out_torn = good != len;
	return rc;
}

int kho_journal_resume(const char *run_dir, const char *state_dir, struct kho_journal **out,
		       struct kho_err *err)
{
	_cleanup_json_ struct json_object *records = NULL;
	_cleanup_free_ char *path = NULL, *text = NULL;
	struct kho_blob good = { 0 };
	struct kho_journal *j;
	size_t len;
	int rc;

	if (asprintf(&path, "%s/%s", run_dir, KHO_JOURNAL_NAME) < 0)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	rc = kho_read_file(path, JOURNAL_MAX, &text, &len, err);
	if (rc == 0)
		rc = parse(text, len, &records, &good.len, err);
	if (rc < 0)
		return rc;
	j = calloc(1, sizeof(*j));
	if (!j)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	good.data = text;
	rc = kho_logfile_resume(run_dir, state_dir, KHO_JOURNAL_NAME, &good, &j->file, err);
	if (rc < 0) {
		kho_journal_free(j);
		return kho_wrap(err, "journal");
	}
	*out = j;
	return 0;
}

int kho_journal_note(const char *state_dir, struct json_object *record, struct kho_err *err)
{
	_cleanup_json_ struct json_object *own = record, *records = NULL;
	_cleanup_free_ char *path = NULL, *text = NULL, *more = NULL;
	size_t len, good, add = 0;
	_cleanup_free_ char *buf = kho_record_encode(own, &add);
	int rc;

	if (!buf || asprintf(&path, "%s/%s", state_dir, KHO_JOURNAL_NAME) < 0)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	rc = kho_read_file(path, JOURNAL_MAX, &text, &len, err);
	if (rc == 0)
		rc = parse(text, len, &records, &good, err);
	if (rc < 0)
		return rc;
	more = realloc(text, good + add);
	if (!more)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	text = NULL;
	memcpy(more + good, buf, add);
	return kho_write_file(path, more, good + add, err);
}

/* One copy; more: a better one than what is in *out, of which *out_good bytes are good. */
static int read_copy(const char *dir, struct json_object **out, size_t *out_good, bool *out_torn, struct kho_err *err)
{
	_cleanup_json_ struct json_object *records = NULL;
	_cleanup_free_ char *path = NULL, *text = NULL;
	size_t len, good;
	int rc;

	if (asprintf(&path, "%s/%s", dir, KHO_JOURNAL_NAME) < 0)
		return kho_fail(err, -ENOMEM, "journal: out of memory");
	rc = kho_read_file(path, JOURNAL_MAX, &text, &len, err);
	if (rc == 0)
		rc = parse(text, len, &records, &good, err);
	if (rc < 0 || (*out && good <= *out_good))
		return rc;
	json_object_put(*out);
	*out = steal_ptr(records);
	*out_good = good;
	*out_torn = good != len;
	return 0;
}

int kho_journal_read(const char *run_dir, const char *state_dir, struct json_object **out,
		     bool *out_torn, struct kho_err *err)
{
	const char *const dirs[] = { run_dir, state_dir };
	struct json_object *best = NULL;
	struct kho_err why = KHO_ERR_INIT;
	bool torn = false;
	size_t good = 0;

	for (size_t i = 0; i < 2; i++) {
		struct kho_err one = KHO_ERR_INIT;

		if (read_copy(dirs[i], &best, &good, &torn, &one) < 0 && one.code != -ENOENT && !why.code)
			why = one;
	}
	if (!best && !why.code)
		return kho_fail(err, -ENOENT, "no upgrade is recorded in %s", state_dir);
	if (!best)
		return kho_fail(err, why.code, "%s", why.msg);
	*out = best;
	if (out_torn)
		*out_torn = torn;
	return 0;
}
