// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list of all serializers, made from serializers.def: whoever walks state walks this table, and
 * nobody names a serializer by hand.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state-serializers/serializer.h"

#define X(n) extern const struct kho_serializer kho_ser_##n;
#include "state-serializers/serializers.def"
#undef X

const struct kho_serializer *const kho_serializers[] = {
#define X(n) &kho_ser_##n,
#include "state-serializers/serializers.def"
#undef X
	NULL
};

const struct kho_serializer *kho_serializer_find(const char *name)
{
	for (size_t i = 0; kho_serializers[i]; i++)
		if (!strcmp(kho_serializers[i]->name, name))
			return kho_serializers[i];
	return NULL;
}

void kho_blob_done(struct kho_blob *b)
{
	if (b->data)
		explicit_bzero(b->data, b->len);
	free(b->data);
	*b = (struct kho_blob){ 0 };
}

void kho_dirty_done(struct kho_dirty *d)
{
	free(d->w);
	*d = (struct kho_dirty){ 0 };
}

void kho_quiet_add(struct kho_quiet_list *l, const char *gate, int64_t value, const char *what)
{
	struct kho_quiet *q = &l->q[l->n];

	if (l->n == KHO_QUIET_MAX)
		return;
	*q = (struct kho_quiet){ .gate = gate, .known = value >= 0, .value = value };
	snprintf(q->what, sizeof(q->what), "%s", what);
	l->n++;
}
