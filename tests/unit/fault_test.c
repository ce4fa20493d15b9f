// SPDX-License-Identifier: GPL-2.0-only
/* lib/fault.h: names of faults, and the table that they are made from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "lib/fault.h"

static const char *const fault_steps[] = { "reserve", "freeze", NULL }, *const fault_lanes[] = { "disk", NULL },
			 *const fault_messages[] = { "op", "note", NULL };
static const struct kho_fault_names fault_names = { fault_steps, fault_lanes, fault_messages };

static enum kho_fault_kind kind_at(const struct kho_faults *f, const char *at, enum kho_fault_place place)
{
	const struct kho_fault *one = kho_fault_at(f, at, place);

	return one ? one->kind : KHO_FAULT_NONE;
}

static void test_faults(void **state)
{
	static const char *const bad[] = { "freeze",	       "thaw:fail",	  "freeze:melt",      "freeze.during:fail",
					   "freeze:none",      "disk:fail",	  "disk.before:fail", "freeze.drain:fail",
					   "freeze:drop",      "disk.drain:late", "link.op:fail",     "link.op:peer-stop",
					   "link.melt:drop",   "op:drop",	  "link.op@thaw:dup", "link.op.undo:dup",
					   "reserve.undo:criu" };
	static const struct kho_fault_names messages_only = { NULL, NULL, fault_messages };
	static const struct kho_fault_names steps_only = { fault_steps, NULL, NULL };
	struct kho_faults f;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_faults_parse(NULL, &fault_names, &f, &err), 0);
	assert_int_equal(f.n, 0);
	assert_int_equal(kho_faults_parse("freeze:fail,reserve.undo:kill,disk.drain:int", &fault_names, &f, &err), 0);
	assert_int_equal(kind_at(&f, "freeze", KHO_FAULT_BEFORE), KHO_FAULT_FAIL);
	assert_int_equal(kind_at(&f, "freeze", KHO_FAULT_AFTER), KHO_FAULT_NONE);
	assert_int_equal(kind_at(&f, "reserve", KHO_FAULT_UNDO), KHO_FAULT_KILL);
	assert_int_equal(kind_at(&f, "disk", KHO_FAULT_DRAIN), KHO_FAULT_INT);
	assert_string_equal(kho_fault_at(&f, "disk", KHO_FAULT_DRAIN)->name, "disk.drain:int");
	assert_null(kho_fault_peer(KHO_FAULT_KILL));
	assert_int_equal(kho_faults_parse("freeze.after:peer-hang", &fault_names, &f, &err), 0);
	assert_string_equal(kho_fault_peer(kind_at(&f, "freeze", KHO_FAULT_AFTER)), "hang");
	/* of messages; the other kernel knows no steps */
	assert_int_equal(kho_faults_parse("link.op.reply@freeze:drop,link.note:late", &fault_names, &f, &err), 0);
	assert_int_equal(f.f[0].place, KHO_FAULT_REPLY);
	assert_string_equal(f.f[0].at, "op");
	assert_string_equal(f.f[0].from, "freeze");
	assert_string_equal(f.f[0].name, "link.op.reply@freeze:drop");
	assert_int_equal(f.f[1].place, KHO_FAULT_REQUEST);
	assert_string_equal(f.f[1].from, "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (kho_faults_parse(bad[i], &fault_names, &f, &err) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	assert_int_equal(kho_faults_parse("link.op.reply@freeze:drop", &messages_only, &f, &err), 0);
	assert_int_equal(kho_faults_parse("freeze:fail", &messages_only, &f, &err), -EINVAL);
	assert_int_equal(kho_faults_parse("link.op:drop", &steps_only, &f, &err), -EINVAL);
	assert_int_equal(kho_faults_parse("disk.drain:fail", &steps_only, &f, &err), -EINVAL);
}

/* Every row of the table is one that the parser takes at its places, and only there. */
static void test_fault_table(void **state)
{
	(void)state;
	for (int p = 0; p < KHO_FAULT_NPLACES; p++) {
		unsigned where = kho_fault_places[p].where;
		const char *at = where & (KHO_AT_LANE | KHO_AT_END) ? "disk" : where & KHO_AT_LINK ? "link.op" : "freeze";

		assert_int_equal(kho_fault_place_find(kho_fault_places[p].name), p);
		for (int k = 1; k < KHO_FAULT_NKINDS; k++) {
			struct kho_faults f;
			char text[64];

			assert_int_equal(kho_fault_kind_find(kho_fault_kinds[k].name), k);
			assert_non_null(kho_fault_kinds[k].what);
			snprintf(text, sizeof(text), "%s.%s:%s", at, kho_fault_places[p].name, kho_fault_kinds[k].name);
			assert_int_equal(kho_faults_parse(text, &fault_names, &f, NULL) == 0, (kho_fault_kinds[k].where & where) != 0);
		}
	}
	assert_int_equal(kho_fault_kind_find("none"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_faults), cmocka_unit_test(test_fault_table) };

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
