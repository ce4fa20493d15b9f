// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host's initramfs: archives made by cpio and packed by the real programs, read, cut off, damaged,
 * joined with our own; and the one that initramfs-tools has made of the VM cache's machine (skipped
 * without it).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "into_buffer.h"
#include "handover/beside/initrd_choice.h"
#include "handover/incoming/host_list.h"
#include "lib/io.h"

static char top[] = "/tmp/kho-initrd-XXXXXX";

static const struct {
	const char *name, *command;
} methods[] = {
	{ "none", "cat" },
	{ "zstd", "zstd -q -1 -T0" },
	{ "gzip", "gzip -n" },
	{ "xz", "xz -0 --check=crc32" },
	{ "lz4", "lz4 -q -1 -l" },
	{ "bzip2", "bzip2" },
};
#define NMETHODS (sizeof(methods) / sizeof(*methods))

static bool run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool run(const char *fmt, ...)
{
	char command[4096];
	va_list ap;
	int n = snprintf(command, sizeof(command), "cd %s && { ", top);

	va_start(ap, fmt);
	n += vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	snprintf(command + n, sizeof(command) - (size_t)n, "; }");
	return system(command) == 0;
}

static bool have(size_t method)
{
	char word[32];

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(methods[method].command, " "), methods[method].command);
	if (run("command -v %s > /dev/null", word))
		return true;
	print_message("no %s here\n", word);
	return false;
}

/* What a generator makes: an early archive with microcode and modules, and a main one with everything else. */
static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(top))
		return -1;
	return run("mkdir -p early/kernel/x86/microcode early/usr/lib/modules/6.1/kernel main/usr/bin main/usr/lib main/conf main/run "
		   "&& head -c 5001 /dev/urandom > early/kernel/x86/microcode/GenuineIntel.bin "
		   "&& head -c 3333 /dev/urandom > early/usr/lib/modules/6.1/kernel/a.ko "
		   "&& head -c 200000 /dev/urandom > main/usr/bin/busybox && ln main/usr/bin/busybox main/usr/bin/mount "
		   "&& ln -s usr/bin main/bin && ln -s usr/lib main/lib && echo '#!/bin/sh' > main/init && echo x > main/conf/arch.conf "
		   "&& head -c 300000 /dev/zero > main/usr/lib/zeros "
		   "&& (cd early && find . | LC_ALL=C sort | cpio -o -H newc --quiet) > early.cpio "
		   "&& (cd main && find . | LC_ALL=C sort | cpio -o -H newc --quiet) > main.cpio")
		       ? 0
		       : -1;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static char *made(size_t method)
{
	static char path[64];

	assert_true(run("%s < main.cpio > main.packed && cat early.cpio main.packed > initrd.%s", methods[method].command,
			methods[method].name));
	snprintf(path, sizeof(path), "%s/initrd.%s", top, methods[method].name);
	return path;
}

static const struct kho_initrd_entry *entry(const struct kho_initrd *in, const char *name)
{
	for (size_t i = 0; i < in->nentries; i++)
		if (!strcmp(in->entry[i].name, name))
			return &in->entry[i];
	return NULL;
}

static void check_content(const struct kho_initrd *in)
{
	assert_true(in->early);
	assert_null(entry(in, "kernel/x86/microcode/GenuineIntel.bin"));
	assert_null(entry(in, "kernel"));
	assert_non_null(entry(in, "usr/lib/modules/6.1/kernel/a.ko"));
	assert_string_equal(entry(in, "lib")->target, "usr/lib");
	assert_true(entry(in, "usr/bin/busybox")->hard);
	assert_true(entry(in, "usr/bin/mount")->hard);
	assert_false(entry(in, "init")->hard);
	assert_true(S_ISDIR(entry(in, "conf")->mode));
	/* the contents in whole pages */
	assert_true(in->unpacked >= 4096 + 200704 + 303104 && in->unpacked < 800000);
}

/* Read, handed on with an archive of our own behind it, and what has come out read again. */
static void test_methods(void **state)
{
	(void)state;
	for (size_t i = 0; i < NMETHODS; i++) {
		struct kho_err err = KHO_ERR_INIT;
		struct kho_initrd in, again;
		struct buffer b = { 0 };
		struct kho_files ours = { 0 };
		size_t theirs;

		if (!have(i))
			continue;
		if (kho_initrd_open(made(i), &in, &err) < 0)
			fail_msg("%s: %s", methods[i].name, err.msg);
		check_content(&in);
		assert_true(in.packed + 5000 < in.len); /* without the microcode */
		assert_int_equal(kho_initrd_write(&in, into_buffer, &b, &err), 0);
		theirs = b.n;
		assert_true(theirs % 16 == 0 && theirs >= in.packed + 16 && theirs <= in.packed + 32 * in.npieces);
		for (size_t k = 0; k < 8; k++) /* the end that lz4 needs */
			assert_int_equal(b.p[theirs - 1 - k], 0);
		assert_int_equal(kho_files_add_made(&ours, "/init", S_IFREG | 0755, "ours", 0, &err), 0);
		assert_int_equal(kho_files_close(&ours, &err), 0);
		assert_int_equal(kho_files_pack(&ours, 0, into_buffer, &b, &err), 0);
		kho_files_done(&ours);
		kho_initrd_done(&in);
		/* where the others end only the kernel knows */
		if (i < 3) {
			if (kho_initrd_parse(b.p, b.n, &again, &err) < 0)
				fail_msg("%s, joined: %s", methods[i].name, err.msg);
			assert_false(again.early);
			assert_non_null(entry(&again, "usr/bin/busybox"));
			assert_non_null(entry(&again, "usr/lib/modules/6.1/kernel/a.ko"));
			/* of two the last */
			assert_true(entry(&again, "init")->order > entry(&again, "conf/arch.conf")->order);
			kho_initrd_done(&again);
		} else {
			free(b.p);
		}
	}
}

static void refused(const uint8_t *data, size_t len, const char *what)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_initrd in;
	uint8_t *copy = malloc(len + 1);

	assert_non_null(copy);
	memcpy(copy, data, len);
	if (kho_initrd_parse(copy, len, &in, &err) != -EBADMSG)
		fail_msg("%s is taken for good (%s)", what, err.msg);
	assert_true(*err.msg);
}

/* Cut off at many places, and with one byte changed where there is a checksum. */
static void test_damaged(void **state)
{
	(void)state;
	for (size_t i = 0; i < NMETHODS; i++) {
		size_t len, early, main;
		char *data, what[64], path[64], *all = have(i) ? made(i) : NULL;
		struct stat st;

		if (!all)
			continue;
		assert_int_equal(kho_read_file(all, 1 << 24, &data, &len, NULL), 0);
		snprintf(path, sizeof(path), "%s/early.cpio", top);
		assert_int_equal(stat(path, &st), 0);
		early = st.st_size;
		main = len - early;
		for (size_t cut = early + 3; cut < len - (i ? 0 : 512); cut += main / 40 + 1) {
			snprintf(what, sizeof(what), "%s cut off at %zu of %zu", methods[i].name, cut, len);
			refused((uint8_t *)data, cut, what);
		}
		refused((uint8_t *)data, early / 2, "half of the early part");
		if (strcmp(methods[i].name, "none") && strcmp(methods[i].name, "lz4")) {
			data[early + main / 2] ^= 0x40;
			snprintf(what, sizeof(what), "%s with one byte changed", methods[i].name);
			refused((uint8_t *)data, len, what);
		}
		free(data);
	}
	refused((const uint8_t *)"", 0, "nothing");
	refused((const uint8_t *)"\0\0\0\0", 4, "zeros");
	refused((const uint8_t *)"#!/bin/sh\n", 10, "a script");
	refused((const uint8_t *)"0707010000", 10, "a beginning");
}

static const char *moved(const struct kho_files *l, const char *data)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->f[i].data && !strcmp(l->f[i].data, data))
			return l->f[i].dst;
	return "";
}

static void put(struct kho_files *l, const char *dst, mode_t mode, const char *data)
{
	assert_int_equal(kho_files_add_made(l, dst, mode, data, 0, NULL), 0);
}

/* Theirs has /usr merged; ours comes from a machine that has not, and from one that has. */
static void test_join(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_files ours = { 0 }, cut;
	struct kho_initrd in;

	(void)state;
	assert_int_equal(kho_initrd_open(made(0), &in, &err), 0);
	put(&ours, "/lib/modules/6.1/updates/khoctl.ko", S_IFREG | 0644, "module");
	put(&ours, "/lib/deep/../other", S_IFREG | 0644, "dots");
	put(&ours, "/bin", S_IFLNK | 0777, "usr/bin");
	put(&ours, "/usr/bin/mount", S_IFREG | 0755, "over a hard link");
	put(&ours, "/usr/bin/busybox", S_IFLNK | 0777, "a link over a hard link");
	put(&ours, "/init", S_IFREG | 0755, "init");
	put(&ours, "/run", S_IFLNK | 0777, "over an empty folder");
	assert_int_equal(kho_files_close(&ours, &err), 0);
	if (kho_initrd_join(&in, &ours, &cut, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(moved(&ours, "module"), "usr/lib/modules/6.1/updates/khoctl.ko");
	assert_string_equal(moved(&ours, "dots"), "usr/lib/other");
	assert_string_equal(moved(&ours, "usr/bin"), "bin");
	assert_string_equal(moved(&ours, "init"), "init");
	for (size_t i = 0; i < ours.n; i++)
		assert_true(strcmp(ours.f[i].dst, "lib") && strncmp(ours.f[i].dst, "lib/", 4));
	/* the kernel would write into busybox itself */
	assert_int_equal(cut.n, 1);
	assert_string_equal(cut.f[0].dst, "usr/bin/mount");
	assert_true(S_ISLNK(cut.f[0].mode));
	kho_files_done(&cut);
	kho_files_done(&ours);
	put(&ours, "/conf", S_IFLNK | 0777, "etc");
	assert_int_equal(kho_initrd_join(&in, &ours, &cut, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "/conf is a directory with files"));
	kho_files_done(&ours);
	kho_initrd_done(&in);
}

static void test_loop(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_files ours = { 0 }, cut;
	struct kho_initrd in;
	char path[64];

	(void)state;
	assert_true(run("mkdir loop && ln -s b loop/a && ln -s a loop/b && (cd loop && find . | cpio -o -H newc --quiet) > loop.cpio"));
	snprintf(path, sizeof(path), "%s/loop.cpio", top);
	assert_int_equal(kho_initrd_open(path, &in, &err), 0);
	put(&ours, "/a/file", S_IFREG | 0644, "x");
	assert_int_equal(kho_initrd_join(&in, &ours, &cut, &err), -ELOOP);
	kho_files_done(&ours);
	kho_initrd_done(&in);
}

static const char *fix; /* what must be proposed, where something is */
static bool jumps;	/* whether the target boots in the blackout */

static void chosen(const char *mode, const char *given, bool in_ram, enum kho_initramfs kind, enum kho_verdict worst, const char *says)
{
	struct kho_initramfs_choice c;
	struct kho_report r = KHO_REPORT_INIT;

	assert_int_equal(kho_initramfs_choose(mode, given, top, "6.1", in_ram, jumps, &c, &r), 0);
	if (c.kind != kind)
		fail_msg("%s: %s instead of %s (%s)", mode ? mode : "-", kho_initramfs_name(c.kind), kho_initramfs_name(kind), c.reason);
	assert_int_equal(c.initrd.len > 0, kind != KHO_INITRAMFS_KHOCTL);
	assert_int_equal(kho_report_worst(&r), worst);
	if (!strstr(c.reason, says))
		fail_msg("'%s' does not say '%s'", c.reason, says);
	if (worst == KHO_V_NO)
		assert_true(*r.items[0].fix);
	if (worst == KHO_V_NO && fix && !strstr(r.items[0].fix, fix))
		fail_msg("'%s' is no '%s'", r.items[0].fix, fix);
	kho_initramfs_choice_done(&c);
	kho_report_done(&r);
}

static void test_choice(void **state)
{
	char bad[64];

	(void)state;
	chosen("auto", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_OK, "no initrd of 6.1");
	chosen("host", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_NO, "no initrd of 6.1");
	assert_true(run("mkdir -p boot && cp $(basename %s) boot/initrd.img-6.1", made(0)));
	chosen("auto", NULL, false, KHO_INITRAMFS_HOST, KHO_V_OK, "the host's own");
	chosen(NULL, NULL, false, KHO_INITRAMFS_HOST, KHO_V_OK, "the host's own");
	chosen("host", NULL, true, KHO_INITRAMFS_HOST, KHO_V_OK, "asked for");
	chosen("auto", NULL, true, KHO_INITRAMFS_KHOCTL, KHO_V_OK, "in RAM");
	chosen("khoctl", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_OK, "asked for");
	jumps = true;
	chosen("auto", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_OK, "unpacked in the blackout");
	chosen("auto", NULL, true, KHO_INITRAMFS_KHOCTL, KHO_V_OK, "in RAM");
	chosen("host", NULL, false, KHO_INITRAMFS_HOST, KHO_V_OK, "asked for");
	jumps = false;
	chosen(NULL, made(0), true, KHO_INITRAMFS_GIVEN, KHO_V_OK, "initrd in khoctl.conf");
	assert_true(run("mkdir -p boot && head -c 99999 initrd.none > boot/initrd.img-6.1"));
	chosen("auto", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_LOSS, "is cut off");
	chosen("host", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_NO, "is cut off");
	assert_true(run("mkdir -p usr/bin && touch usr/bin/dracut"));
	fix = "boot/initrd.img-6.1 6.1";
	chosen("host", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_NO, "is cut off");
	assert_true(run("mkdir -p boot/efi/id/6.1 && mv boot/initrd.img-6.1 boot/efi/id/6.1/initrd"));
	fix = "boot/efi/id/6.1/initrd 6.1";
	chosen("host", NULL, false, KHO_INITRAMFS_KHOCTL, KHO_V_NO, "is cut off");
	assert_true(run("mv boot/efi/id/6.1/initrd boot/initrd.img-6.1 && rm -r usr/bin/dracut"));
	fix = NULL;
	snprintf(bad, sizeof(bad), "%s/nothing", top);
	chosen(NULL, bad, false, KHO_INITRAMFS_KHOCTL, KHO_V_NO, "nothing");
	assert_true(run("mv boot/initrd.img-6.1 x && cp initrd.none boot/initramfs-6.1.img"));
	chosen("host", NULL, false, KHO_INITRAMFS_HOST, KHO_V_OK, "asked for");
	assert_true(run("rm -r boot"));
}

/*
 * Recorded of an initrd that dracut 106 has made (Debian 13, --hostonly) with force_drivers+=" loop dummy ",
 * modules-load.d files in /etc and /usr/lib, one of which has the same name in both.
 */
static void test_lists(void **state)
{
	static const char *const want[] = { "loop", "dummy", "br_netfilter", "nf_conntrack" };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_host_list l;
	char root[64];

	(void)state;
	assert_int_equal(kho_host_list_read("tests/sysroots/initrd-dracut", &l, &err), 0);
	assert_string_equal(l.maker, "dracut");
	assert_int_equal(l.n, sizeof(want) / sizeof(*want));
	for (size_t i = 0; i < l.n; i++)
		assert_string_equal(l.m[i].name, want[i]);
	kho_host_list_done(&l);

	/* initramfs-tools', with options; and no host's initramfs at all */
	assert_true(run("mkdir -p tools/conf none && printf '# \\n  loop max_loop=3  x=1\\n\\nnvme\\n' > tools/conf/modules"));
	snprintf(root, sizeof(root), "%s/tools", top);
	assert_int_equal(kho_host_list_read(root, &l, &err), 0);
	assert_string_equal(l.maker, "initramfs-tools");
	assert_int_equal(l.n, 2);
	assert_string_equal(l.m[0].name, "loop");
	assert_string_equal(l.m[0].options, "max_loop=3  x=1");
	assert_string_equal(l.m[1].options, "");
	kho_host_list_done(&l);
	snprintf(root, sizeof(root), "%s/none", top);
	assert_int_equal(kho_host_list_read(root, &l, &err), 0);
	assert_null(l.maker);
	kho_host_list_done(&l);
}

static void test_real(void **state)
{
	const char *home = getenv("HOME");
	struct kho_err err = KHO_ERR_INIT;
	struct kho_initrd in;
	char pattern[256];
	glob_t g = { 0 };

	(void)state;
	snprintf(pattern, sizeof(pattern), "%s/.cache/khoctl/host/boot/initrd.img-*", home ? home : "/root");
	if (glob(pattern, 0, NULL, &g)) {
		print_message("no Debian machine in the VM cache (make vm-cache)\n");
		skip();
	}
	for (size_t i = 0; i < g.gl_pathc; i++) {
		char name[200], *release = strstr(g.gl_pathv[i], "initrd.img-") + strlen("initrd.img-");

		if (kho_initrd_open(g.gl_pathv[i], &in, &err) < 0)
			fail_msg("%s", err.msg);
		assert_non_null(entry(&in, "init"));
		assert_true(S_ISLNK(entry(&in, "lib")->mode));
		assert_true(entry(&in, "usr/bin/busybox") && entry(&in, "usr/bin/kmod"));
		snprintf(name, sizeof(name), "usr/lib/modules/%s/kernel/drivers/net/virtio_net.ko.xz", release);
		assert_non_null(entry(&in, name));
		assert_true(in.nentries > 300 && in.unpacked > in.packed);
		kho_initrd_done(&in);
	}
	globfree(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods), cmocka_unit_test(test_damaged), cmocka_unit_test(test_join),
		cmocka_unit_test(test_loop),	cmocka_unit_test(test_choice),	cmocka_unit_test(test_lists),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
