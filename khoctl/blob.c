// SPDX-License-Identifier: GPL-2.0-only
/* Blobs of serializers.  See khoctl/blob.h. */
#include "khoctl/blob.h"

#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/json.h"
#include "state-serializers/block.pb-c.h"
#include "state-serializers/clock.pb-c.h"
#include "state-serializers/files.pb-c.h"
#include "state-serializers/host.pb-c.h"
#include "state-serializers/netdev.pb-c.h"
#include "state-serializers/proc.pb-c.h"
#include "state-serializers/units.pb-c.h"

#define DEPTH_MAX 64

static const struct message {
	const char *serializer;
	const ProtobufCMessageDescriptor *d;
} messages[] = {
#define X(name, descriptor) { name, &descriptor },
#include "khoctl/messages.def"
#undef X
};
#define NMESSAGES (sizeof(messages) / sizeof(*messages))

const char *kho_blob_serializer(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t len = strcspn(name, ".-");

	for (size_t i = 0; i < NMESSAGES; i++)
		if (strlen(messages[i].serializer) == len &&
		    !strncmp(messages[i].serializer, name, len))
			return messages[i].serializer;
	return NULL;
}

static struct json_object *hex(const ProtobufCBinaryData *b)
{
	_cleanup_free_ char *text = malloc(b->len * 2 + 1);

	if (!text)
		return NULL;
	for (size_t i = 0; i < b->len; i++)
		sprintf(text + 2 * i, "%02x", b->data[i]);
	return json_object_new_string_len(text, (int)(b->len * 2));
}

static struct json_object *fields(const ProtobufCMessage *m, size_t *unknown);

/* One value at p, as the descriptor's C struct holds it. */
static struct json_object *value(const ProtobufCFieldDescriptor *f, const void *p, size_t *unknown)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_object_new_int64(*(const int32_t *)p);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_ENUM:
		return json_object_new_int64(*(const uint32_t *)p);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_object_new_int64(*(const int64_t *)p);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return json_object_new_uint64(*(const uint64_t *)p);
	case PROTOBUF_C_TYPE_BOOL:
		return json_object_new_boolean(*(const protobuf_c_boolean *)p);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_object_new_double((double)*(const float *)p);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_object_new_double(*(const double *)p);
	case PROTOBUF_C_TYPE_STRING:
		return json_object_new_string(*(char *const *)p ? *(char *const *)p : "");
	case PROTOBUF_C_TYPE_BYTES:
		return hex(p);
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(void *const *)p ? fields(*(void *const *)p, unknown) : NULL;
	}
	return NULL;
}

static size_t size_of(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

static struct json_object *repeated(const ProtobufCFieldDescriptor *f, const char *m,
				    size_t *unknown)
{
	size_t n = *(const size_t *)(m + f->quantifier_offset);
	const char *items = *(char *const *)(m + f->offset);
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, value(f, items + i * size_of(f->type), unknown));
	return list;
}

/* proto3: a member that was not set reads as its default, so all are shown. */
static struct json_object *fields(const ProtobufCMessage *m, size_t *unknown)
{
	struct json_object *o = json_object_new_object();
	const ProtobufCMessageDescriptor *d = m->descriptor;

	*unknown += m->n_unknown_fields;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const char *base = (const char *)m;

		json_object_object_add(o, f->name,
				       f->label == PROTOBUF_C_LABEL_REPEATED
					       ? repeated(f, base, unknown)
					       : value(f, base + f->offset, unknown));
	}
	return o;
}

/* Read the bytes as this message; NULL: they are none. *unknown: members it has no name for. */
static struct json_object *read_as(const ProtobufCMessageDescriptor *d, const void *data,
				   size_t len, size_t *unknown)
{
	ProtobufCMessage *m = protobuf_c_message_unpack(d, NULL, len, data);
	struct json_object *o;
	unsigned n;

	*unknown = 0;
	if (!m)
		return NULL;
	o = fields(m, unknown);
	/* all of it unknown: some other message */
	n = m->n_unknown_fields;
	m->n_unknown_fields = 0;
	if (n && !protobuf_c_message_get_packed_size(m)) {
		json_object_put(o);
		o = NULL;
	}
	m->n_unknown_fields = n;
	protobuf_c_message_free_unpacked(m, NULL);
	return o;
}

int kho_blob_show(const char *serializer, const void *data, size_t len, struct json_object **out,
		  struct kho_err *err)
{
	struct json_object *best = NULL, *o;
	const char *name = NULL;
	size_t least = 0, unknown;

	for (size_t i = 0; i < NMESSAGES; i++) {
		if (strcmp(messages[i].serializer, serializer))
			continue;
		o = read_as(messages[i].d, data, len, &unknown);
		if (!o || (best && unknown >= least)) {
			json_object_put(o);
			continue;
		}
		json_object_put(best);
		best = o;
		least = unknown;
		name = messages[i].d->name;
	}
	if (!best)
		return kho_fail(err, -EBADMSG,
				"%zu bytes that are no message of the serializer %s: damaged, or "
				"not written by it",
				len, serializer);
	o = json_object_new_object();
	kho_json_str(o, "kind", "blob");
	kho_json_str(o, "serializer", serializer);
	kho_json_str(o, "message", name);
	kho_json_int(o, "bytes", (int64_t)len);
	if (least)
		kho_json_int(o, "unknown_fields", (int64_t)least);
	json_object_object_add(o, "fields", best);
	*out = o;
	return 0;
}

static void print_leaf(const char *path, const struct json_object *o, FILE *f)
{
	const char *text = json_object_get_string((struct json_object *)o);

	fprintf(f, "%-28s ", path);
	for (; text && *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, f);
	fputc('\n', f);
}

static void print_tree(const char *path, const struct json_object *o, int depth, FILE *f)
{
	char deeper[512];

	if (depth > DEPTH_MAX)
		return;
	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach (o, key, member) {
			snprintf(deeper, sizeof(deeper), "%s%s%s", path, *path ? "." : "", key);
			print_tree(deeper, member, depth + 1, f);
		}
	} else if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++) {
			snprintf(deeper, sizeof(deeper), "%s[%zu]", path, i);
			print_tree(deeper, json_object_array_get_idx(o, i), depth + 1, f);
		}
	} else {
		print_leaf(path, o, f);
	}
}

void kho_blob_text(const struct json_object *o, FILE *f)
{
	json_object_object_foreach (o, key, member)
		if (!json_object_is_type(member, json_type_object))
			print_leaf(key, member, f);
	fputc('\n', f);
	print_tree("", kho_json_get(o, "fields"), 0, f);
}
