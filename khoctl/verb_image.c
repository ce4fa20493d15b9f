// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl image show FILE: a kernel image's header, a journal's records, a serializer's blob, a CRIU
 * image or a directory of them.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "khoctl/blob.h"
#include "khoctl/cli.h"
#include "khoctl/text.h"
#include "lib/bzimage.h"
#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/kho_abi.h"
#include "orchestrator/journal.h"

#define FILE_MAX   (256u << 20)
#define CRIU_MAGIC 0x54564319u /* of all images with records, little endian */

/* Flat: one line for each member. Takes the reference. */
static int show_object(const struct kho_cli *c, struct json_object *o)
{
	if (c->json) {
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	json_object_object_foreach (o, key, value)
		printf("%-12s %s\n", key, json_object_get_string(value));
	json_object_put(o);
	return KHO_EXIT_OK;
}

static int show_kernel(const struct kho_cli *c, const char *path)
{
	struct kho_err err = KHO_ERR_INIT;
	struct json_object *o;
	struct kho_bzimage b;
	char protocol[16], handover[120];
	struct kho_abi abi;

	if (kho_bzimage_read(path, &b, &err) < 0)
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	snprintf(protocol, sizeof(protocol), "%u.%u", b.protocol >> 8, b.protocol & 0xff);
	o = json_object_new_object();
	kho_json_str(o, "kind", "kernel");
	kho_json_str(o, "release", b.release);
	kho_json_str(o, "version", b.version);
	kho_json_str(o, "protocol", protocol);
	kho_json_bool(o, "entry64", b.entry64);
	kho_json_bool(o, "relocatable", b.relocatable);
	kho_json_bool(o, "above_4g", b.above_4g);
	kho_json_int(o, "init_size", (int64_t)b.init_size);
	kho_json_int(o, "pref_address", (int64_t)b.pref_address);
	kho_json_int(o, "file_bytes", (int64_t)b.file_bytes);
	kho_json_int(o, "cmdline_max", b.cmdline_max);
	if (kho_abi_of_image(path, &abi, NULL) == 0)
		kho_abi_format(&abi, handover, sizeof(handover));
	else
		snprintf(handover, sizeof(handover), "unknown (its payload cannot be unpacked)");
	kho_json_str(o, "handover", handover);
	return show_object(c, o);
}

static int show_journal(const struct kho_cli *c, const void *bytes, size_t len)
{
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_err err = KHO_ERR_INIT;
	bool torn = false;

	if (kho_journal_parse(bytes, len, &records, &torn, &err) < 0)
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	if (c->json) {
		struct json_object *o = json_object_new_object();

		kho_json_str(o, "kind", "journal");
		kho_json_bool(o, "torn", torn);
		json_object_object_add(o, "records", json_object_get(records));
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	for (size_t i = 0; i < json_object_array_length(records); i++)
		kho_cli_json_line(json_object_get(json_object_array_get_idx(records, i)));
	if (torn)
		puts("(the tail is torn)");
	return KHO_EXIT_OK;
}

struct listing {
	struct json_object *files;
	int64_t total;
};
static struct listing found; /* nftw() has no argument of ours */

static int add_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
	size_t len = strlen(path);
	struct json_object *o;

	(void)at;
	if (type != FTW_F || len < 5 || strcmp(path + len - 4, ".img"))
		return 0;
	o = json_object_new_object();
	kho_json_str(o, "name", path);
	kho_json_int(o, "bytes", st->st_size);
	found.total += st->st_size;
	json_object_array_add(found.files, o);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(kho_json_get_str(*(struct json_object *const *)a, "name"),
		      kho_json_get_str(*(struct json_object *const *)b, "name"));
}

/* A state image: the directories of CRIU images below path, as they lie in images_dir. */
static int show_dir(const struct kho_cli *c, const char *path)
{
	static const char *const heads[] = { "FILE", "SIZE", NULL };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_text_table *t;
	char text[KHO_FORMAT_MAX];
	struct json_object *o;
	size_t n;

	found = (struct listing){ .files = json_object_new_array() };
	if (nftw(path, add_file, 16, FTW_PHYS) < 0 || !json_object_array_length(found.files)) {
		(void)kho_fail(&err, -ENOENT, "%s: no CRIU images (*.img) in it", path);
		json_object_put(found.files);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	json_object_array_sort(found.files, by_name);
	n = json_object_array_length(found.files);
	o = json_object_new_object();
	kho_json_str(o, "kind", "criu");
	kho_json_int(o, "bytes", found.total);
	json_object_object_add(o, "files", found.files);
	if (c->json) {
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	t = kho_text_table_new(heads);
	for (size_t i = 0; i < n; i++) {
		struct json_object *f = json_object_array_get_idx(found.files, i);

		kho_text_row(t, (const char *const[]){
					kho_json_get_str(f, "name") + strlen(path) +
						(path[strlen(path) - 1] != '/'),
					kho_format_bytes((uint64_t)kho_json_get_int(f, "bytes"),
							 text) });
	}
	kho_text_table_end(t, stdout);
	printf("\n%zu CRIU images, %s\n", n, kho_format_bytes((uint64_t)found.total, text));
	json_object_put(o);
	return KHO_EXIT_OK;
}

/* One CRIU image: magic words, then records of a length and that many bytes. */
static int show_criu(const struct kho_cli *c, const char *path, const char *bytes, size_t len)
{
	struct json_object *o = json_object_new_object();
	size_t at = 8, records = 0;
	uint32_t n;

	while (len - at >= sizeof(n)) {
		memcpy(&n, bytes + at, sizeof(n));
		if (n > len - at - sizeof(n))
			break;
		at += sizeof(n) + n;
		records++;
	}
	kho_json_str(o, "kind", "criu");
	kho_json_str(o, "name", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	kho_json_int(o, "bytes", (int64_t)len);
	kho_json_int(o, "records", (int64_t)records);
	kho_json_bool(o, "torn", at != len);
	return show_object(c, o);
}

static int show_blob(const struct kho_cli *c, const char *path, const char *serializer,
		     const char *bytes, size_t len)
{
	struct kho_err err = KHO_ERR_INIT;
	struct json_object *o;

	if (kho_blob_show(serializer, bytes, len, &o, &err) < 0) {
		(void)kho_wrap(&err, "%s", path);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	if (c->json) {
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	kho_blob_text(o, stdout);
	json_object_put(o);
	return KHO_EXIT_OK;
}

/* By what it begins with; a serializer's blob, which begins with nothing of its own, by its name.
 */
static int show_file(const struct kho_cli *c, const char *path)
{
	const char *serializer = kho_blob_serializer(path);
	_cleanup_free_ char *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	uint32_t magic = 0;
	size_t len;

	if (kho_read_file(path, FILE_MAX, &text, &len, &err) < 0)
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	if (len >= 8 && !memcmp(text, "KHOJRNL1", 8))
		return show_journal(c, text, len);
	if (len >= 8)
		memcpy(&magic, text, sizeof(magic));
	if (magic == CRIU_MAGIC)
		return show_criu(c, path, text, len);
	if (serializer)
		return show_blob(c, path, serializer, text, len);
	if (len >= 0x200 && !memcmp(text + 0x1fe, "\x55\xaa", 2))
		return show_kernel(c, path);
	(void)kho_fail(&err, -ENOEXEC,
		       "%s: neither a kernel image nor a journal nor a CRIU image, and not called "
		       "like a serializer's blob (NAME.state, see khoctl version)",
		       path);
	return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
}

int kho_verb_image(const struct kho_cli *c)
{
	struct kho_err err = KHO_ERR_INIT;
	const char *path = c->args[1];
	struct stat st;

	if (strcmp(c->args[0], "show")) {
		(void)kho_fail(&err, -EINVAL, "image: '%s' is unknown; want: image show FILE",
			       c->args[0]);
		return kho_cli_error(c, KHO_EXIT_USAGE, &err);
	}
	if (stat(path, &st) < 0) {
		(void)kho_fail_errno(&err, "%s", path);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	return S_ISDIR(st.st_mode) ? show_dir(c, path) : show_file(c, path);
}
