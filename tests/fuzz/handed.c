// SPDX-License-Identifier: GPL-2.0-only
/* Fuzz target: what the kernel before has left (handover/kexec/handed.proto), first byte: by which carrier. */
#include "fuzz.h"
#include "handover/kexec/handed.h"
#include "handover/link/wire.h"
#include "lib/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_err err = KHO_ERR_INIT;
	KhoHanded__State *s = NULL;

	if (!size)
		return 0;
	if (kho_handed_unpack(data + 1, size - 1, data[0] & 1, &s, &err) < 0) {
		if (!err.code || s)
			abort();
		return 0;
	}
	/* what is accepted can be carried out: every message unpacks, every name stays below images_dir */
	for (size_t i = 0; i < s->n_message; i++) {
		KhoLink__Msg *m = kho_link__msg__unpack(NULL, s->message[i].len, s->message[i].data);

		if (!m)
			abort();
		kho_msg_free(m);
	}
	for (size_t i = 0; i < s->n_file; i++)
		if (s->file[i]->name[0] == '/' || strstr(s->file[i]->name, ".."))
			if (kho_link_name_ok(s->file[i]->name, NULL) < 0)
				abort();
	/* a file on a disk has a number of its own, and nothing but that is its name there */
	for (size_t i = 0, n = 0; i < s->n_file; i++) {
		if (*s->dir && s->file[i]->token && s->file[i]->token <= n)
			abort();
		n = s->file[i]->token ? s->file[i]->token : n;
	}
	if (*s->dir && (s->dir[0] != '/' || !kho_path_is_plain(s->dir)))
		abort();
	kho_handed_free(s);
	return 0;
}
