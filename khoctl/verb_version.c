// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl version: what belongs together must agree on these.
 */
#include <stdio.h>

#include "handover/uapi/khoctl_region.h"
#include "khoctl/cli.h"
#include "lib/json.h"

int kho_verb_version(const struct kho_cli *c)
{
	struct json_object *o = json_object_new_object(), *engines = json_object_new_array(),
			   *ser = json_object_new_array();

	for (const struct kho_engine_entry *e = kho_engines; e->name; e++)
		json_object_array_add(engines, json_object_new_string(e->name));
	for (const struct kho_serializer *const *s = kho_serializers; *s; s++)
		json_object_array_add(ser, json_object_new_string((*s)->name));
	kho_json_str(o, "khoctl", KHO_VERSION);
	kho_json_int(o, "region_revision", KHO_REGION_REVISION);
	kho_json_int(o, "journal_format", 1);
	json_object_object_add(o, "engines", engines);
	json_object_object_add(o, "serializers", ser);
	if (c->json) {
		kho_cli_json(o);
		return KHO_EXIT_OK;
	}
	json_object_object_foreach (o, key, value)
		printf("%-16s %s\n", key, json_object_get_string(value));
	json_object_put(o);
	return KHO_EXIT_OK;
}
