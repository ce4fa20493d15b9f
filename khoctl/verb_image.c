// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl image show FILE: a kernel image's header, a journal's records, or a directory of CRIU
 * images.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "khoctl/cli.h"
#include "khoctl/text.h"
#include "lib/bzimage.h"
#include "lib/cleanup.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/journal.h"

static int show_kernel(const struct kho_cli *c, const char *path)
{
	struct kho_err err = KHO_ERR_INIT;
	struct json_object *o;
	struct kho_bzimage b;
	char protocol[16];

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
	if (c->json) {
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	json_object_object_foreach (o, key, value)
		printf("%-12s %s\n", key, json_object_get_string(value));
	json_object_put(o);
	return KHO_EXIT_OK;
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
		puts(json_object_to_json_string_ext(json_object_array_get_idx(records, i),
						    JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	if (torn)
		puts("(the tail is torn)");
	return KHO_EXIT_OK;
}

static int is_img(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > 4 && !strcmp(d->d_name + len - 4, ".img");
}

static struct json_object *dir_files(const char *path, struct dirent **names, int n, int64_t *total)
{
	struct json_object *files = json_object_new_array();

	for (int i = 0; i < n; i++) {
		struct json_object *f = json_object_new_object();
		_cleanup_free_ char *file = NULL;
		struct stat st = { 0 };

		if (asprintf(&file, "%s/%s", path, names[i]->d_name) >= 0)
			(void)stat(file, &st);
		kho_json_str(f, "name", names[i]->d_name);
		kho_json_int(f, "bytes", st.st_size);
		*total += st.st_size;
		json_object_array_add(files, f);
		free(names[i]);
	}
	free(names);
	return files;
}

static int show_dir(const struct kho_cli *c, const char *path)
{
	static const char *const heads[] = { "FILE", "SIZE", NULL };
	struct kho_err err = KHO_ERR_INIT;
	struct json_object *o, *files;
	struct kho_text_table *t;
	struct dirent **names;
	char text[KHO_FORMAT_MAX];
	int64_t total = 0;
	int n = scandir(path, &names, is_img, alphasort);

	if (n <= 0) {
		(void)kho_fail(&err, -ENOENT, "%s: no CRIU images (*.img) in it", path);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	files = dir_files(path, names, n, &total);
	o = json_object_new_object();
	kho_json_str(o, "kind", "criu");
	kho_json_int(o, "bytes", total);
	json_object_object_add(o, "files", files);
	if (c->json) {
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	t = kho_text_table_new(heads);
	for (size_t i = 0; i < json_object_array_length(files); i++) {
		struct json_object *f = json_object_array_get_idx(files, i);

		kho_text_row(t, (const char *const[]){
					kho_json_get_str(f, "name"),
					kho_format_bytes((uint64_t)kho_json_get_int(f, "bytes"),
							 text) });
	}
	kho_text_table_end(t, stdout);
	printf("\n%d CRIU images, %s\n", n, kho_format_bytes((uint64_t)total, text));
	json_object_put(o);
	return KHO_EXIT_OK;
}

int kho_verb_image(const struct kho_cli *c)
{
	_cleanup_free_ char *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	const char *path = c->args[1];
	struct stat st;
	size_t len;

	if (strcmp(c->args[0], "show")) {
		(void)kho_fail(&err, -EINVAL, "image: '%s' is unknown; want: image show FILE",
			       c->args[0]);
		return kho_cli_error(c, KHO_EXIT_USAGE, &err);
	}
	if (stat(path, &st) < 0) {
		(void)kho_fail_errno(&err, "%s", path);
		return kho_cli_error(c, KHO_EXIT_REFUSED, &err);
	}
	if (S_ISDIR(st.st_mode))
		return show_dir(c, path);
	if (kho_read_file(path, 64u << 20, &text, &len, &err) == 0 && len >= 8 &&
	    !memcmp(text, "KHOJRNL1", 8))
		return show_journal(c, text, len);
	return show_kernel(c, path);
}
