// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl list: every kernel on the machine, seen from this one.
 */
#include <stdio.h>
#include <string.h>

#include "khoctl/cli.h"
#include "khoctl/text.h"
#include "lib/format.h"
#include "lib/json.h"

static struct json_object *one(const struct kho_instance_info *in)
{
	struct json_object *o = json_object_new_object(), *cpus = json_object_new_array(),
			   *devs = json_object_new_array();

	kho_json_int(o, "id", in->id);
	kho_json_int(o, "generation", in->generation);
	kho_json_str(o, "release", in->release);
	kho_json_str(o, "state", in->state);
	for (size_t i = 0; i < in->ncpus; i++)
		json_object_array_add(cpus, json_object_new_int64(in->apicids[i]));
	json_object_object_add(o, "cpus", cpus);
	kho_json_int(o, "mem_kib", (int64_t)in->mem_kib);
	for (size_t i = 0; i < in->ndevices; i++)
		json_object_array_add(devs, json_object_new_string(in->devices[i]));
	json_object_object_add(o, "devices", devs);
	kho_json_int(o, "heartbeat_age_us", (int64_t)in->heartbeat_age_us);
	kho_json_bool(o, "self", in->self);
	return o;
}

static void join(char *const *words, size_t n, char *out, size_t size)
{
	size_t len = 0;

	snprintf(out, size, "-");
	for (size_t i = 0; i < n && len < size; i++)
		len += (size_t)snprintf(out + len, size - len, "%s%s", i ? "," : "", words[i]);
}

static void row(struct kho_text_table *t, const struct kho_instance_info *in)
{
	char id[16], gen[16], cpus[128], mem[KHO_FORMAT_MAX], devs[512], beat[KHO_FORMAT_MAX];

	snprintf(id, sizeof(id), "%u%s", in->id, in->self ? "*" : "");
	snprintf(gen, sizeof(gen), "%u", in->generation);
	join(in->devices, in->ndevices, devs, sizeof(devs));
	kho_text_row(t, (const char *const[]){
				id, gen, in->release, in->state,
				kho_format_ids(in->apicids, in->ncpus, cpus, sizeof(cpus)),
				kho_format_bytes(in->mem_kib * 1024, mem),
				kho_format_us(in->heartbeat_age_us, beat), devs });
}

int kho_verb_list(const struct kho_cli *c)
{
	static const char *const heads[] = { "ID",     "GEN",	    "RELEASE", "STATE", "CPUS",
					     "MEMORY", "HEARTBEAT", "DEVICES", NULL };
	struct kho_instance_info *list = NULL;
	struct kho_err err = KHO_ERR_INIT;
	size_t n = 0;
	int rc = kho_instances(c->sysroot ? c->sysroot : "", &list, &n, &err);

	if (rc < 0)
		return kho_cli_error(c, kho_cli_refusal(rc), &err);
	if (c->json) {
		struct json_object *o = json_object_new_object(), *all = json_object_new_array();

		for (size_t i = 0; i < n; i++)
			json_object_array_add(all, one(&list[i]));
		json_object_object_add(o, "instances", all);
		kho_cli_json(o);
	} else {
		struct kho_text_table *t = kho_text_table_new(heads);

		for (size_t i = 0; i < n; i++)
			row(t, &list[i]);
		kho_text_table_end(t, stdout);
	}
	kho_instances_free(list, n);
	return KHO_EXIT_OK;
}
