// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl gates: measures the Ready gate on the kernel that runs here, prints what it found, and leaves nothing behind.
 */
#include <stdio.h>

#include "bpf/ready.h"
#include "khoctl/cli.h"
#include "khoctl/text.h"
#include "lib/json.h"

static void print_table(const struct kho_gate_list *l, FILE *f)
{
	static const char *const heads[] = { "GATE", "MEASURED", "VALUE", "LIMIT", "VERDICT", "MORE", NULL };
	struct kho_text_table *t = kho_text_table_new(heads);
	char value[KHO_GATE_TEXT], limit[KHO_GATE_TEXT];

	for (size_t i = 0; i < l->n; i++) {
		const struct kho_gate_result *r = &l->r[i];

		kho_text_row(t, (const char *const[]){ kho_gates[r->gate].name, kho_gates[r->gate].metric, kho_gate_value_text(r, value),
						       kho_gate_limit_text(r, limit), kho_gate_verdict_name(r->verdict), r->what });
	}
	kho_text_table_end(t, f);
}

static void print_json(const struct kho_gate_list *l, enum kho_exit code, const char *msg)
{
	struct json_object *o = json_object_new_object();

	kho_json_str(o, "verdict", kho_gate_verdict_name(kho_gates_worst(l)));
	kho_json_str(o, "msg", msg);
	kho_json_int(o, "exit", code);
	json_object_object_add(o, "gates", kho_gates_json(l));
	kho_cli_json(o);
}

int kho_verb_gates(const struct kho_cli *c)
{
	struct kho_gate_policy p;
	struct kho_gate_list l;
	struct kho_err err = KHO_ERR_INIT;
	enum kho_exit code = KHO_EXIT_OK;

	if (kho_cli_gate_policy(c, &p, &err))
		return kho_cli_error(c, KHO_EXIT_USAGE, &err);
	if (!c->sysroot && kho_cli_need_root(c, "gates"))
		return KHO_EXIT_REFUSED;
	kho_ready(c->sysroot ? c->sysroot : "", &p, &l);
	if (kho_gates_decide(&l, &p, &err))
		code = kho_cli_gate_exit(kho_gates_worst(&l));
	if (c->json) {
		print_json(&l, code, err.msg);
		return code;
	}
	print_table(&l, stdout);
	printf("\n%s\n", code == KHO_EXIT_OK ? "ready" : err.msg);
	return code;
}
