// SPDX-License-Identifier: GPL-2.0-only
/*
 * The initramfs: trees with everything odd in them through the packer and back, libraries of a real
 * program, modules of the real kernels of the VM cache (skipped without it), refusals that name the
 * fix.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "into_buffer.h"
#include "handover/beside/elf.h"
#include "handover/beside/files.h"
#include "handover/beside/initramfs.h"
#include "handover/beside/modules.h"
#include "lib/io.h"

static char top[] = "/tmp/kho-initramfs-XXXXXX";

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("%s", command);
}

static int setup(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char command[1024];
	int s;

	(void)state;
	if (!mkdtemp(top))
		return -1;
	snprintf(command, sizeof(command),
		 "cd %s && mkdir -p root/usr/bin root/etc root/run/khoctl root/empty && ln -s "
		 "usr/bin root/bin && echo hello >root/etc/motd && chmod 640 root/etc/motd && ln "
		 "root/etc/motd root/etc/motd.hard && ln -s ../etc/motd root/usr/motd && mkfifo "
		 "root/fifo && echo x >root/run/khoctl/secret && head -c 300000 /dev/urandom "
		 ">root/usr/bin/big && echo old >root/init",
		 top);
	run(command);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/root/sock", top);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -1;
	close(s);
	return 0;
}

static int teardown(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static void tree(struct kho_files *l)
{
	struct kho_err err = KHO_ERR_INIT;
	char root[64], without[64];
	const char *list[] = { without, NULL };

	snprintf(root, sizeof(root), "%s/root", top);
	snprintf(without, sizeof(without), "%s/run/khoctl", root);
	memset(l, 0, sizeof(*l));
	if (kho_files_add_tree(l, root, root, list, &err) < 0 ||
	    kho_files_add_made(l, "/init", S_IFREG | 0755, "new", 0, &err) < 0 ||
	    kho_files_add_made(l, "/made/below/link", S_IFLNK | 0777, "/init", 0, &err) < 0 ||
	    kho_files_close(l, &err) < 0)
		fail_msg("%s", err.msg);
}

/* The archive's list as text: name, type, mode, size or target, and the content's first byte. */
static char *list_of(const struct buffer *b)
{
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	archive_read_support_format_cpio(a);
	archive_read_support_filter_all(a);
	assert_int_equal(archive_read_open_memory(a, b->p, b->n), ARCHIVE_OK);
	while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
		char first = '-';

		if (archive_entry_size(e) && archive_entry_filetype(e) == AE_IFREG)
			assert_int_equal(archive_read_data(a, &first, 1), 1);
		if (!first) /* it would end the text */
			first = '0';
		fprintf(f, "%s %o %lld %s %c\n", archive_entry_pathname(e), archive_entry_mode(e),
			(long long)archive_entry_size(e),
			archive_entry_symlink(e) ? archive_entry_symlink(e) : "", first);
	}
	archive_read_free(a);
	fclose(f);
	return text;
}

static void check_list(const char *text)
{
	static const char *const want[] = { "init 100755 3  n\n",
					    "bin 120777 7 usr/bin -\n",
					    "empty 40755 0  -\n",
					    "fifo 10644 0  -\n",
					    "usr/motd 120777 11 ../etc/motd -\n",
					    "made/below 40755 0  -\n",
					    "made/below/link 120777 5 /init -\n",
					    NULL };
	const char *parent = strstr(text, "\netc 40755"), *child = strstr(text, "\netc/motd ");
	size_t i;

	for (i = 0; want[i]; i++)
		if (!strstr(text, want[i]))
			fail_msg("no '%s' in\n%s", want[i], text);
	assert_true(parent && child && parent < child);
	assert_null(strstr(text, "secret"));
	assert_null(strstr(text, "sock"));
	assert_non_null(strstr(text, "etc/motd 100640"));
	assert_non_null(strstr(text, "etc/motd.hard 100640"));
	assert_non_null(strstr(text, " 6  h\n")); /* the content is there, once or with each link */
	assert_non_null(strstr(text, "usr/bin/big 100644 300000 "));
}

static void test_pack(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	uint64_t archive, unpacked;
	struct kho_files l;
	int level;

	(void)state;
	tree(&l);
	kho_files_size(&l, &archive, &unpacked);
	for (level = 0; level < 2; level++) {
		struct buffer b = { 0 };
		char *text;

		assert_int_equal(kho_files_pack(&l, level, into_buffer, &b, &err), 0);
		if (!level) /* the promise of kho_files_size */
			assert_true(b.n <= archive);
		text = list_of(&b);
		check_list(text);
		free(text);
		free(b.p);
	}
	assert_true(unpacked > 300000);
	kho_files_done(&l);
}

static int full(void *arg, const void *data, size_t len)
{
	size_t *room = arg;

	(void)data;
	if (len > *room)
		return -ENOSPC;
	*room -= len;
	return 0;
}

static void test_no_room(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_files l;
	int level;

	(void)state;
	tree(&l);
	for (level = 0; level < 2; level++) {
		size_t room = 100000;

		assert_int_equal(kho_files_pack(&l, level, full, &room, &err), -ENOSPC);
	}
	kho_files_done(&l);
}

/* A file that shrinks between listing and packing, and one that goes away. */
static void test_changing(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct buffer b = { 0 };
	char path[64], *text;
	struct kho_files l;

	(void)state;
	tree(&l);
	snprintf(path, sizeof(path), "%s/root/fifo", top);
	unlink(path);
	assert_int_equal(kho_files_pack(&l, 0, into_buffer, &b, &err), 0);
	text = list_of(&b);
	assert_null(strstr(text, "fifo"));
	assert_non_null(strstr(text, "usr/bin/big"));
	free(text);
	free(b.p);
	kho_files_done(&l);
	assert_int_equal(mkfifo(path, 0644), 0);
}

static bool listed(const struct kho_files *l, const char *part)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (strstr(l->f[i].dst, part))
			return true;
	return false;
}

static void test_elf(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_files l = { 0 };

	(void)state;
	if (kho_elf_add(&l, (const char *const[]){ "/proc/self/exe", NULL }, &err) < 0 ||
	    kho_files_close(&l, &err) < 0)
		fail_msg("%s", err.msg);
	assert_true(listed(&l, "ld-linux-x86-64.so.2"));
	assert_true(listed(&l, "libc.so.6"));
	assert_true(listed(&l, "libcmocka.so"));
	kho_files_done(&l);
	assert_true(kho_elf_add(&l, (const char *const[]){ "/nonexistent", NULL }, &err) < 0);
	kho_files_done(&l);
}

/* A modules directory of links to the real one, in which khoctl.ko can be changed. */
static bool real_modules(char *dir, size_t len, char *release, size_t release_len)
{
	const char *home = getenv("HOME");
	char pattern[256], command[1024];
	glob_t g = { 0 };

	snprintf(pattern, sizeof(pattern), "%s/.cache/khoctl/kernels/6*/usr/lib/modules/*",
		 home ? home : "/root");
	if (glob(pattern, 0, NULL, &g)) {
		print_message("no modules in the VM cache (make vm-cache)\n");
		return false;
	}
	snprintf(release, release_len, "%s", strrchr(g.gl_pathv[0], '/') + 1);
	snprintf(dir, len, "%s/modules/%s", top, release);
	snprintf(command, sizeof(command), "mkdir -p %s/updates && ln -sf %s/* %s/", dir,
		 g.gl_pathv[0], dir);
	run(command);
	globfree(&g);
	return true;
}

static void refused(const struct kho_target *t, const char *says)
{
	struct kho_err err = KHO_ERR_INIT;

	assert_true(kho_modules_check(t, &err) < 0);
	if (!strstr(err.msg, says) || !strchr(err.msg, ';'))
		fail_msg("'%s' does not say '%s', or no fix", err.msg, says);
}

static void test_modules(void **state)
{
	struct kho_target t = { .modules_dir = "/nonexistent/6.1",
				.release = "6.1",
				.sysroot = "tests/sysroots/vm-4cpu" };
	struct kho_err err = KHO_ERR_INIT;
	struct kho_machine m = { 0 };
	char dir[128], release[96], other[128], command[512];
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_files l = { 0 };
	size_t i;

	(void)state;
	refused(&t, "no modules for the target kernel");
	if (!real_modules(dir, sizeof(dir), release, sizeof(release)))
		skip();
	t.modules_dir = dir;
	t.release = release;
	refused(&t, "has no khoctl.ko");
	snprintf(other, sizeof(other), "build/module/%s/khoctl.ko", release);
	if (!kho_exists(other)) {
		print_message("no khoctl.ko (make modules)\n");
		skip();
	}
	snprintf(command, sizeof(command),
		 "cp $(ls build/module/*/khoctl.ko | grep -v '%s' | head -n 1) %s/updates/", release, dir);
	run(command);
	refused(&t, "is built for kernel");
	snprintf(command, sizeof(command), "cp %s %s/updates/", other, dir);
	run(command);
	assert_int_equal(kho_modules_check(&t, &err), 0);
	if (kho_machine_read_pci(t.sysroot, &m, &err) < 0 ||
	    kho_modules_check_devices(&t, &m, &r, &err) < 0 ||
	    kho_modules_add(&t, &m, &l, &err) < 0 || kho_files_close(&l, &err) < 0)
		fail_msg("%s", err.msg);
	for (i = 0; i < r.n; i++)
		assert_int_equal(r.items[i].verdict, KHO_V_OK);
	assert_true(r.n >= 2);
	assert_true(listed(&l, "updates/khoctl.ko"));
	assert_true(listed(&l, "virtio_net.ko"));
	assert_true(listed(&l, "net_failover.ko")); /* a dependency */
	assert_true(listed(&l, "sch_plug.ko"));
	assert_true(listed(&l, "xfs.ko"));
	assert_true(listed(&l, "nls_cp437.ko"));
	assert_true(listed(&l, "nls_ascii.ko"));
	assert_true(listed(&l, "modules.dep.bin"));
	assert_false(listed(&l, "wireguard.ko"));
	kho_files_done(&l);
	kho_report_done(&r);
	kho_machine_done(&m);
}

/* Root on a disk: what is needed of this machine, and the target's modules. */
static void test_selection(void **state)
{
	struct kho_workload_list workloads = { .n = 1 };
	char dir[128], release[96], exe[512], *slash;
	struct kho_initramfs_in in = { .workloads = &workloads, .run_dir = "/run/khoctl" };
	struct kho_machine m = { .root_in_ram = false };
	struct kho_err err = KHO_ERR_INIT;
	pid_t pids[1] = { getpid() };
	struct kho_files l;
	ssize_t n;

	(void)state;
	if (!real_modules(dir, sizeof(dir), release, sizeof(release)))
		skip();
	workloads.w = calloc(1, sizeof(*workloads.w));
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 32);
	assert_true(n > 0);
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	strcpy(slash + 1, "khoctl-incoming"); /* found beside the running program; any will do */
	unlink(exe);
	assert_int_equal(symlink("/bin/true", exe), 0);
	in.target = (struct kho_target){ .modules_dir = dir, .release = release, .sysroot = "" };
	in.machine = &m;
	assert_non_null(workloads.w);
	workloads.w[0].pids = pids;
	workloads.w[0].npids = 1;
	if (kho_initramfs_list(&in, &l, &err) < 0)
		fail_msg("%s", err.msg);
	assert_true(listed(&l, "dev/console"));
	assert_true(listed(&l, "etc/passwd"));
	assert_true(listed(&l, "dm-snapshot.ko"));
	assert_true(listed(&l, "libc.so.6"));
	assert_true(listed(&l, "tests/unit/beside_initramfs")); /* what the "workload" maps */
	kho_files_done(&l);
	unlink(exe);
	free(workloads.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pack),	 cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_changing), cmocka_unit_test(test_elf),
		cmocka_unit_test(test_modules),	 cmocka_unit_test(test_selection),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
