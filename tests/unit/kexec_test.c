// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kexec engine without a jump: what is handed over and what of it is refused, requests and their inverses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handover/kexec/handed.h"
#include "handover/kexec/kexec.h"
#include "handover/link/wire.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "tests/unit/kexec_rig.h"

/* Messages of a state: setup, what is entrusted, one operation. */
static ProtobufCBinaryData message[4];
static KhoHanded__File file[2], *files[2] = { &file[0], &file[1] };

static ProtobufCBinaryData packed(KhoLink__Msg *m)
{
	ProtobufCBinaryData d = { .len = kho_link__msg__get_packed_size(m) };

	d.data = malloc(d.len + 1);
	kho_link__msg__pack(m, d.data);
	return d;
}

static KhoHanded__State whole(void)
{
	KhoHanded__State s = KHO_HANDED__STATE__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	KhoLink__Setup setup = KHO_LINK__SETUP__INIT;
	KhoLink__Entrust entrust = KHO_LINK__ENTRUST__INIT;
	KhoLink__Op op = KHO_LINK__OP__INIT;
	KhoLink__Cpu cpu = KHO_LINK__CPU__INIT;

	m.body_case = KHO_LINK__MSG__BODY_SETUP;
	m.setup = &setup;
	message[0] = packed(&m);
	m.body_case = KHO_LINK__MSG__BODY_ENTRUST;
	m.entrust = &entrust;
	message[1] = packed(&m);
	op.serializer = (char *)"proc";
	op.op = (char *)"retrieve";
	m.body_case = KHO_LINK__MSG__BODY_OP;
	m.op = &op;
	message[2] = packed(&m);
	m.body_case = KHO_LINK__MSG__BODY_CPU;
	m.cpu = &cpu;
	message[3] = packed(&m);
	for (int i = 0; i < 2; i++)
		kho_handed__file__init(&file[i]);
	file[0].name = (char *)"redis/final/core-1.img";
	file[1].name = (char *)"redis/final/pages-1.img";
	s.revision = KHO_HANDED_REVISION;
	s.from = (char *)"6.12.107";
	s.to = (char *)"7.3.4";
	s.tsc_khz = 2000000;
	s.message = message;
	s.n_message = 3;
	s.file = files;
	s.n_file = 2;
	return s;
}

/* What unpacking says of it: 0, or its code, with the text. */
static int verdict(const KhoHanded__State *s, bool luo, struct kho_err *err)
{
	_cleanup_free_ void *data = NULL;
	KhoHanded__State *out = NULL;
	size_t len = 0;
	int ret;

	*err = (struct kho_err)KHO_ERR_INIT;
	assert_int_equal(kho_handed_pack(s, &data, &len, err), 0);
	ret = kho_handed_unpack(data, len, luo, &out, err);
	assert_true(ret ? !out && err->code == ret : out != NULL);
	kho_handed_free(out);
	for (int i = 0; i < 4; i++)
		free(message[i].data);
	return ret;
}

#define REFUSED(change, luo, code, words)                        \
	do {                                                     \
		KhoHanded__State s = whole();                    \
		struct kho_err err;                              \
		change;                                          \
		assert_int_equal(verdict(&s, luo, &err), code);  \
		assert_non_null(strstr(err.msg, words));         \
	} while (0)

static void test_handed(void **state)
{
	(void)state;
	REFUSED(s.revision = 99, false, -EPROTONOSUPPORT, "revision 99");
	REFUSED(s.from = (char *)"", false, -EBADMSG, "releases");
	REFUSED(s.tsc_khz = 0, false, -EBADMSG, "clock");
	REFUSED(s.attempt = 2, false, -EBADMSG, "attempt");
	REFUSED(s.back_image = (char *)"/boot/../../etc/x", false, -EBADMSG, "way back");
	REFUSED(file[1].name = (char *)"../../etc/shadow", false, -EINVAL, "etc");
	REFUSED(file[1].name = (char *)"/etc/shadow", false, -EINVAL, "etc");
	REFUSED(file[1].token = 7, false, -EBADMSG, "number 7");
	REFUSED((file[0].token = 2, file[1].token = 1), true, -EBADMSG, "number 1");
	REFUSED((file[0].token = 2, file[1].token = 2), true, -EBADMSG, "number 2");
	REFUSED(file[1].token = 7, true, -EBADMSG, "number 0"); /* the first has the state's */
	REFUSED(file[0].token = 1, false, -EBADMSG, "number 1");
	REFUSED((s.dir = (char *)"/data/../etc", file[0].token = 1), false, -EBADMSG, "directory on a disk");
	REFUSED(s.dir = (char *)"data", false, -EBADMSG, "directory on a disk");
	REFUSED((s.dir = (char *)"/data", file[0].token = 1, file[1].token = 2), true, -EBADMSG, "directory on a disk");
	REFUSED((s.dir = (char *)"/data", file[0].token = 2, file[1].token = 2), false, -EBADMSG, "number 2");
	REFUSED((s.dir = (char *)"/data", file[0].token = 2, file[1].token = 1), false, -EBADMSG, "number 1");
	REFUSED((s.dir = (char *)"/data", file[0].token = 1, file[1].name = (char *)"redis/../../../etc/shadow"), false, -EINVAL, "etc");
	REFUSED(s.n_message = 1, false, -EBADMSG, "missing");
	REFUSED(s.n_message = 0, false, -EBADMSG, "missing");
	REFUSED(s.n_message = 4, false, -EBADMSG, "request 4 of 4");
	REFUSED(({ ProtobufCBinaryData x = message[0]; message[0] = message[2]; message[2] = x; }), false, -EBADMSG, "request 1 of 3");
	REFUSED(message[2].data[0] = 0xff, false, -EBADMSG, "request 3 of 3");
}

static void test_accepted(void **state)
{
	KhoHanded__State s = whole(), *out = NULL;
	struct kho_err err;

	(void)state;
	assert_int_equal(verdict(&s, false, &err), 0);
	s = whole();
	file[0].token = 1;
	file[1].token = 3; /* 2 was one that came again */
	assert_int_equal(verdict(&s, true, &err), 0);
	/* on a disk, some of them, or all */
	s = whole();
	s.dir = (char *)"/data/khoctl";
	file[1].token = 3;
	assert_int_equal(verdict(&s, false, &err), 0);
	s = whole();
	s.dir = (char *)"/data/khoctl";
	file[0].token = 1;
	assert_int_equal(verdict(&s, false, &err), 0);
	s = whole();
	s.dir = (char *)"/data/khoctl";
	file[0].token = 1;
	file[1].token = 2;
	assert_int_equal(verdict(&s, false, &err), 0);
	assert_int_equal(kho_handed_unpack("\xff\xff\xff", 3, false, &out, &err), -EBADMSG);
	assert_null(out);
}

/* --- the engine, on a recorded machine --- */

static const char *const names[] = { "clock", "proc", NULL };

static int setup(void **state)
{
	(void)state;
	return rig_setup("debug");
}

static void op(const char *serializer, const char *what)
{
	struct kho_blob in = { .data = (void *)(uintptr_t)"state", .len = 5 };

	assert_int_equal(engine->ops->peer_op(engine, serializer, what, &in, NULL, NULL, 0, NULL), 0);
}

static void test_requests(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	KhoLink__Msg *m;

	(void)state;
	assert_int_equal(engine->ops->connect(engine, 0, NULL), 0);
	op("clock", "prepare");
	op("proc", "prepare");
	assert_int_equal(engine->ops->entrust(engine, names, &(struct kho_blob){ 0 }, false, NULL), 0);
	op("clock", "retrieve");
	op("proc", "retrieve");
	/* the incoming agent does these by itself */
	op("proc", "verify");
	op("proc", "finish");
	assert_int_equal(k->ntape, 6);
	assert_int_equal(k->tape[0].body, KHO_LINK__MSG__BODY_SETUP);
	m = kho_link__msg__unpack(NULL, k->tape[3].len, k->tape[3].data);
	assert_non_null(m);
	assert_int_equal(m->entrust->n_serializer, 2);
	assert_true(m->entrust->complete);
	kho_msg_free(m);
	m = kho_link__msg__unpack(NULL, k->tape[5].len, k->tape[5].data);
	assert_string_equal(m->op->serializer, "proc");
	assert_int_equal(m->op->in.len, 5);
	kho_msg_free(m);

	/* what is undone here has never been asked for there, and may be asked for anew */
	op("proc", "discard");
	op("proc", "discard");
	op("clock", "discard");
	assert_int_equal(k->ntape, 4);
	op("clock", "unprepare");
	assert_int_equal(k->ntape, 3);
	assert_string_equal(k->tape[1].serializer, "proc");
	assert_string_equal(k->tape[1].op, "prepare");
	op("proc", "retrieve");
	assert_int_equal(k->ntape, 4);
	assert_int_equal(engine->ops->disconnect(engine, NULL), 0);
	assert_int_equal(k->ntape, 0);
	assert_true(engine->ops->peer_alive(engine, NULL));
}

/* What the engine keeps is what the agent takes. */
static void test_both_sides(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	ProtobufCBinaryData m[8];
	KhoHanded__State s = KHO_HANDED__STATE__INIT, *out = NULL;
	_cleanup_free_ void *data = NULL;
	struct kho_err err = KHO_ERR_INIT;
	size_t len = 0;

	(void)state;
	assert_int_equal(engine->ops->connect(engine, 0, NULL), 0);
	op("proc", "prepare");
	assert_int_equal(engine->ops->entrust(engine, names, &(struct kho_blob){ 0 }, true, NULL), 0);
	assert_int_equal(engine->ops->peer_fault(engine, "criu", NULL), 0);
	op("proc", "retrieve");
	assert_int_equal(k->ntape, 5);
	for (size_t i = 0; i < k->ntape; i++)
		m[i] = (ProtobufCBinaryData){ .data = k->tape[i].data, .len = k->tape[i].len };
	s.revision = KHO_HANDED_REVISION;
	s.from = (char *)"a";
	s.to = (char *)"b";
	s.tsc_khz = 1;
	s.message = m;
	s.n_message = k->ntape;
	assert_int_equal(kho_handed_pack(&s, &data, &len, &err), 0);
	assert_int_equal(kho_handed_unpack(data, len, false, &out, &err), 0);
	assert_int_equal(out->n_message, 5);
	kho_handed_free(out);
}

static void test_files(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_kexec_add_file(k, "redis/final/pages-1.img", false, NULL), 0);
	assert_int_equal(kho_kexec_add_file(k, "../run/x", true, &err), -EINVAL);
	assert_int_equal(k->nfiles, 1);
}

/* What is preserved has no name any more, and need not be open: its size is known. */
static void test_close_files(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	struct kho_err err = KHO_ERR_INIT;
	uint64_t bytes = 0;

	(void)state;
	assert_int_equal(kho_kexec_add_file(k, "redis/final/pages-1.img", false, &err), 0);
	k->luo = true;
	k->files[0].token = 1;
	k->files[0].bytes = 8192;
	assert_int_equal(kho_kexec_close_files(k, &bytes, &err), 0);
	assert_int_equal(bytes, 8192);
	k->luo = false;
	k->files[0].token = 0;
	assert_int_equal(kho_kexec_close_files(k, &bytes, &err), -ENOENT);
}

/* Images lie in that directory (mkdtemp), and what goes over a disk goes below it. */
static void with_disk(struct kho_kexec *k, char *dir)
{
	struct kho_err err = KHO_ERR_INIT;

	assert_non_null(mkdtemp(dir));
	free(k->images_dir);
	k->images_dir = strdup(dir);
	k->disk = kho_disk_make(dir, &err);
	assert_true(k->disk >= 0);
}

/* With a disk: pages at once, the rest in the blackout, copies never. */
static void test_disk_files(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	char dir[] = "/tmp/khoctl-kexec.XXXXXX", path[96];
	struct kho_err err = KHO_ERR_INIT;
	uint64_t bytes = 0;

	(void)state;
	with_disk(k, dir);
	snprintf(path, sizeof(path), "%s/redis/pre.0", dir);
	assert_int_equal(kho_mkdir(path, &err), 0);
	snprintf(path, sizeof(path), "%s/redis/pre.0/pages-1.img", dir);
	assert_int_equal(kho_write_file(path, "pages", 5, &err), 0);
	assert_int_equal(kho_kexec_add_file(k, "redis/pre.0/pages-1.img", false, &err), 0);
	assert_int_equal(kho_kexec_add_file(k, "redis/pre.0/pagemap-1.img", false, &err), 0);
	assert_int_equal(kho_kexec_add_file(k, "files/0", true, &err), 0);
	assert_int_equal(k->nfiles, 3);
	assert_int_equal(k->files[0].token, 1);
	assert_int_equal(k->files[0].bytes, 5);
	assert_int_equal(k->files[1].token + k->files[2].token, 0);
	/* once more: the newer one counts */
	assert_int_equal(kho_write_file(path, "newer pages", 11, &err), 0);
	assert_int_equal(kho_kexec_add_file(k, "redis/pre.0/pages-1.img", false, &err), 0);
	assert_int_equal(k->nfiles, 3);
	assert_int_equal(k->files[2].token, 2);
	assert_int_equal(kho_kexec_settle_files(k, &err), 0);
	assert_true(k->files[2].checked && !k->files[0].checked);
	/* in the blackout nothing is written before its file system is thawed, and this one is never frozen */
	k->frozen_us = 1;
	assert_int_equal(kho_kexec_add_file(k, "redis/final/pages-1.img", false, &err), 0);
	assert_int_equal(k->files[3].token, 0);
	assert_true(kho_kexec_close_files(k, &bytes, &err) < 0);
	assert_non_null(strstr(err.msg, "file system for the state"));
	assert_int_equal(kho_carry_drop(dir, &err), 0);
	kho_remove_tree(dir);
}

/* What is on the disk is not what was written. */
static void test_disk_damaged(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	char dir[] = "/tmp/khoctl-kexec.XXXXXX", path[96];
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	with_disk(k, dir);
	snprintf(path, sizeof(path), "%s/redis", dir);
	assert_int_equal(kho_mkdir(path, &err), 0);
	snprintf(path, sizeof(path), "%s/redis/pages-1.img", dir);
	assert_int_equal(kho_write_file(path, "pages", 5, &err), 0);
	assert_int_equal(kho_kexec_add_file(k, "redis/pages-1.img", false, &err), 0);
	snprintf(path, sizeof(path), "%s/" KHO_CARRY_NAME "/1.zst", dir);
	assert_int_equal(truncate(path, 3), 0);
	assert_int_equal(engine->ops->entrust(engine, names, &(struct kho_blob){ 0 }, true, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "read the state from the disk again: 1.zst"));
	assert_int_equal(k->ntape, 0);
	kho_remove_tree(dir);
}

/* What the upgrade before has left under the name of a copy is not written to. */
static void test_put_file(void **state)
{
	struct kho_kexec *k = kho_kexec_of(engine);
	char dir[] = "/tmp/khoctl-kexec.XXXXXX", local[64], other[64], path[64];
	_cleanup_free_ char *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	free(k->images_dir);
	k->images_dir = strdup(dir);
	snprintf(local, sizeof(local), "%s/local", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(path, sizeof(path), "%s/files/0", dir);
	assert_int_equal(kho_write_file(local, "new", 3, &err), 0);
	assert_int_equal(kho_write_file(other, "old", 3, &err), 0);
	assert_int_equal(kho_mkdir(dirname(strdupa(path)), &err), 0);
	assert_int_equal(symlink(other, path), 0);
	assert_int_equal(engine->env.ops->put_file(&engine->env, local, "files/0", &err), 0);
	assert_int_equal(kho_read_line(other, &text, &err), 0);
	assert_string_equal(text, "old");
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode) && st.st_size == 3);
	assert_int_equal(k->nfiles, 1);
	kho_remove_tree(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handed),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test_setup_teardown(test_requests, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_both_sides, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_close_files, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_disk_files, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_disk_damaged, setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_put_file, setup, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
