/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The journal: what has been done in an upgrade, so that whoever comes next can go on or undo.
 *
 * File: the 8 bytes "KHOJRNL1", then records: length (u32, little endian), CRC-32 of the payload
 * (u32), payload. A payload is one JSON object (docs/formats.md).  A torn tail (a record cut off or
 * with a wrong CRC) ends the journal; what lies before it is good.
 */
#ifndef KHO_JOURNAL_H
#define KHO_JOURNAL_H

#include <json-c/json.h>

#include "lib/err.h"
#include "lib/record.h"
#include "orchestrator/logfile.h"

#define KHO_JOURNAL_NAME "journal"

struct kho_journal;

/* Begin a new one; the last one becomes journal.prev. */
int kho_journal_create(const char *run_dir, const char *state_dir, struct kho_journal **out,
		       struct kho_err *err) __must_check;
/* Go on in the one in run_dir, whose process has died; a torn tail is cut off, the disk is away. */
int kho_journal_resume(const char *run_dir, const char *state_dir, struct kho_journal **out,
		       struct kho_err *err) __must_check;
/*
 * Append one record (takes the reference) to the copy in state_dir alone: what is learnt when the machine
 * has restarted. A torn tail is cut off. -ENOENT: there is none.
 */
int kho_journal_note(const char *state_dir, struct json_object *record,
		     struct kho_err *err) __must_check;
/* Append a record (takes the reference) and sync it, unless the disk is away. Thread-safe. */
int kho_journal_add(struct kho_journal *j, struct json_object *record,
		    struct kho_err *err) __must_check;
/* All bytes so far with one more record (borrowed), which is not added here: what the peer keeps if it signs. */
int kho_journal_bytes_with(struct kho_journal *j, struct json_object *record, struct kho_blob *out,
			   struct kho_err *err) __must_check;
/* The file both copies are in: away, back and bytes go there. */
struct kho_logfile *kho_journal_file(struct kho_journal *j);
void kho_journal_free(struct kho_journal *j);

/* Bytes -> JSON array of the good records; *out_torn (may be NULL): something follows that is none.
 * -EINVAL: no journal. */
int kho_journal_parse(const void *bytes, size_t len, struct json_object **out, bool *out_torn,
		      struct kho_err *err) __must_check;
/* The newer of the copies in run_dir and state_dir: the one with more bytes of good records. -ENOENT: there was never an
 * upgrade; -EACCES: it is root's. */
int kho_journal_read(const char *run_dir, const char *state_dir, struct json_object **out,
		     bool *out_torn, struct kho_err *err) __must_check;

#endif
