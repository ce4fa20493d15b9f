// SPDX-License-Identifier: GPL-2.0-only
/* lib/: parsers, files, versions; good and bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/cpuinfo.h"
#include "lib/fdpass.h"
#include "lib/format.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/memfd.h"
#include "lib/report.h"
#include "tests/unit/tree.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	return test_dir_make(dir, "lib");
}

static int teardown(void **state)
{
	(void)state;
	return test_dir_drop(dir);
}

static void put(const char *name, const char *text)
{
	test_put(dir, name, text, strlen(text));
}

static void test_words(void **state)
{
	(void)state;
	assert_true(kho_is_word("7.3.4+deb13-cloud-amd64"));
	assert_false(kho_is_word("") || kho_is_word("7.3 4") || kho_is_word("7.3\n") || kho_is_word("\0337.3") || kho_is_word("7.3\xff"));
}

static void test_sizes(void **state)
{
	static const char *const bad[] = { "",	   "x", "-1", "1 M", "1MB", "1m", "99999999999G",
					   "0x10", "M" };
	uint64_t v;
	char buf[KHO_FORMAT_MAX];

	(void)state;
	assert_true(kho_parse_size("512M", &v));
	assert_int_equal(v, 512ull << 20);
	assert_true(kho_parse_duration("250ms", &v));
	assert_int_equal(v, 250000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(kho_parse_size(bad[i], &v));
	assert_false(kho_parse_duration("2", &v));
	assert_false(kho_parse_duration("2h", &v));
	assert_string_equal(kho_format_bytes(1536 << 10, buf), "1.5 MiB");
	assert_string_equal(kho_format_us(12345, buf), "12.3 ms");
}

static void test_ids(void **state)
{
	uint32_t ids[] = { 3, 0, 1, 8, 2 };
	char out[64];

	(void)state;
	assert_string_equal(kho_format_ids(ids, 5, out, sizeof(out)), "0-3,8");
	assert_string_equal(kho_format_ids(ids, 0, out, sizeof(out)), "-");
	assert_string_equal(kho_format_ids(ids, 5, out, 8), "0-3...");
	assert_true(kho_ids_has("0-3,8", 2) && kho_ids_has("0-3,8", 8));
	assert_false(kho_ids_has("0-3,8", 4) || kho_ids_has("-", 0) || kho_ids_has("", 0));
	assert_true(kho_ids_cover("0-63", "0-3,8") && kho_ids_cover("0-3,8", "8,0-1") && kho_ids_cover("1", ""));
	assert_false(kho_ids_cover("0-3,8", "0-4") || kho_ids_cover("", "0"));
}

static void read_ids(const char *list, size_t want_n, const char *want)
{
	_cleanup_free_ uint32_t *ids = NULL;
	_cleanup_free_ char *text = NULL;
	size_t n = 0;

	assert_int_equal(kho_ids_read(list, &ids, &n), 0);
	assert_int_equal(n, want_n);
	text = kho_ids_text(ids, n);
	assert_non_null(text);
	assert_string_equal(text, want);
}

static void test_ids_read(void **state)
{
	(void)state;
	read_ids("0-3,8", 5, "0-3,8");
	read_ids("8,0-1", 3, "0-1,8");
	read_ids("", 0, "");
	read_ids("-", 0, "");
	read_ids("x,1", 0, "");
	read_ids("5-2", 0, "");
	read_ids("1,", 1, "1");
	read_ids("65535-4294967295,99999999999999999999", 1, "65535");
	read_ids("0-4294967295,0-4294967295", 65536, "0-65535");
}

/* Numbers of the kernel of one recorded tree -> the same CPUs' of another. */
static void same_cpus(const char *from, const char *list, const char *to, const char *want)
{
	_cleanup_free_ struct kho_cpuinfo *a = NULL, *b = NULL;
	_cleanup_free_ char *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	uint32_t ids[16] = { 0 }, cpus[16] = { 0 };
	size_t na = 0, nb = 0;

	assert_int_equal(kho_cpuinfo_read(from, &a, &na, &err), 0);
	assert_int_equal(kho_cpuinfo_read(to, &b, &nb, &err), 0);
	assert_true(na <= 16 && nb <= 16);
	text = kho_ids_text(cpus, kho_cpuinfo_cpus(b, nb, ids, kho_cpuinfo_apicids(a, na, list, ids), cpus));
	assert_non_null(text);
	assert_string_equal(text, want);
}

/* One machine before and after an upgrade: its fourth CPU is the first one of the next kernel. */
static void test_cpus(void **state)
{
	static const char before[] = "tests/sysroots/vm-4cpu", after[] = "tests/sysroots/vm-upgraded";
	const uint32_t odd[] = { UINT32_MAX, 3, 4, 3 };
	_cleanup_free_ struct kho_cpuinfo *c = NULL;
	struct kho_err err = KHO_ERR_INIT;
	uint32_t cpus[16] = { 0 };
	size_t n = 0;

	(void)state;
	same_cpus(before, "3", after, "0");
	same_cpus(before, "0,3", after, "0-1");
	same_cpus(after, "0-1", before, "0,3");
	same_cpus(before, "0-63", after, "0-3");
	same_cpus(before, "7", after, "");
	same_cpus(before, "", after, "");
	/* one with fewer CPUs */
	same_cpus(before, "2-3", "tests/sysroots/host-2cpu", "");
	same_cpus(before, "1-3", "tests/sysroots/host-2cpu", "1");
	assert_int_equal(kho_cpuinfo_read(after, &c, &n, &err), 0);
	assert_int_equal(kho_cpuinfo_cpus(c, n, odd, 4, cpus), 1);
	assert_int_equal(cpus[0], 0);
	free(steal_ptr(c));
	/* a kernel without APIC ids, and texts that are none */
	assert_int_equal(kho_cpuinfo_parse("processor\t: 0\ncore id\t\t:\nprocessor : 5\n\napicid\n", &c, &n, &err), 0);
	assert_true(n == 2 && !c[0].core && c[1].cpu == 5 && c[1].apicid == 5);
	assert_int_equal(kho_cpuinfo_parse("apicid\t: 1\n", &c, &n, &err), -EINVAL);
	assert_int_equal(kho_cpuinfo_read(dir, &c, &n, &err), -ENOENT);
}

static void test_versions(void **state)
{
	static const char *const rising[] = {
		"6.1.0-18-amd64",
		"6.12.9+deb13-amd64",
		"6.12.107+deb13-amd64",
		"7.1-rc1",
		"7.1",
		"7.3.4+deb13-amd64",
		"7.10.1",
	};

	(void)state;
	for (size_t i = 0; i < 7; i++)
		for (size_t j = 0; j < 7; j++)
			assert_int_equal(kho_version_cmp(rising[i], rising[j]) < 0, i < j);
}

static void test_files(void **state)
{
	_cleanup_free_ char *path = kho_sysroot_path(dir, "a/b/c"), *fifo = kho_sysroot_path(dir, "a/b/fifo");
	struct kho_err err = KHO_ERR_INIT;
	char *text;
	struct stat st;
	size_t len;

	(void)state;
	put("/a/b/c", "one\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(kho_read_file(path, 100, &text, &len, &err), 0);
	assert_int_equal(len, 4);
	free(text);
	assert_int_equal(kho_read_line(path, &text, &err), 0);
	assert_string_equal(text, "one");
	free(text);
	assert_int_equal(kho_read_file(path, 3, &text, NULL, &err), -EFBIG);
	assert_int_equal(kho_read_file("/nonexistent/x", 3, &text, NULL, &err), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_int_equal(kho_mkdir(path, &err), -ENOTDIR);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(kho_write_file(fifo, "x", 1, &err), -EINVAL);
	assert_int_equal(stat(fifo, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
}

static void test_report(void **state)
{
	struct kho_report r = KHO_REPORT_INIT;
	_cleanup_json_ struct json_object *j = NULL;

	(void)state;
	assert_int_equal(kho_report_worst(&r), KHO_V_OK);
	assert_int_equal(kho_report_add(&r, KHO_V_LOSS, "process", "a", NULL, "loses %d", 3), 0);
	assert_int_equal(kho_report_add(&r, KHO_V_OK, "device", "b", "fix", "moves"), 0);
	assert_int_equal(kho_report_worst(&r), KHO_V_LOSS);
	assert_string_equal(r.items[0].what, "loses 3");
	j = kho_json_report(&r);
	assert_string_equal(kho_json_get_str(json_object_array_get_idx(j, 0), "verdict"), "loss");
	kho_report_done(&r);
}

static void test_json(void **state)
{
	struct json_object *o = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_json_parse("{\"a\": 7, \"b\": \"x\"}", 18, &o, &err), 0);
	assert_int_equal(kho_json_get_int(o, "a"), 7);
	assert_string_equal(kho_json_get_str(o, "b"), "x");
	assert_string_equal(kho_json_get_str(o, "a"), "");
	assert_int_equal(kho_json_get_int(NULL, "a"), 0);
	json_object_put(o);
	assert_int_equal(kho_json_parse("[1]", 3, &o, &err), -EINVAL);
	assert_int_equal(kho_json_parse("{\"a\":", 5, &o, &err), -EINVAL);
	assert_int_equal(kho_json_parse("", 0, &o, &err), -EINVAL);
}

/* What is no UTF-8 (RFC 3629) goes, what is stays; a number that JSON cannot say is a large one. */
static void test_json_text(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "plain", "plain" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7" },
		{ "a\xe4" "b", "a?b" },
		{ "cut \xe2\x82", "cut ??" },
		{ "\xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xff", "?? ??? ???? ?" },
	};
	_cleanup_json_ struct json_object *o = json_object_new_object(), *back = NULL;
	_cleanup_free_ char *line = NULL;
	struct kho_err err = KHO_ERR_INIT;
	const char *text;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		_cleanup_free_ char *s = strdup(t[i].in);

		kho_json_clean(s, strlen(s));
		assert_string_equal(s, t[i].out);
	}
	kho_json_str(o, "name", "a\xe4" "b");
	line = kho_json_line(o, false, &len);
	assert_string_equal(line, "{\"name\":\"a?b\"}\n");
	assert_int_equal(len, strlen(line));
	kho_json_number(o, "ratio", INFINITY);
	kho_json_number(o, "small", 0.5);
	text = json_object_to_json_string(o);
	assert_int_equal(kho_json_parse(text, strlen(text), &back, &err), 0);
	assert_true(json_object_get_double(kho_json_get(back, "ratio")) >= 1e9 && json_object_get_double(kho_json_get(back, "small")) == 0.5);
	assert_null(strstr(text, "nf"));
}

static void test_clock(void **state)
{
	uint64_t a = kho_clock_us(), b = kho_clock_us();
	struct timespec now, later;

	(void)state;
	assert_true(b >= a);
	kho_clock_set_tsc_khz(2000000);
	a = kho_clock_us();
	b = kho_clock_us();
	assert_true(b >= a);
	kho_clock_set_tsc_khz(0);
	now = kho_clock_in(0);
	later = kho_clock_in(2999999);
	assert_true(later.tv_nsec < 1000000000);
	now.tv_sec += 2;
	assert_true(kho_is_earlier(&now, &later));
	now.tv_sec += 60; /* a test machine may stand still */
	assert_true(kho_is_earlier(&later, &now));
}

/* What is not said to be executable cannot be, whatever vm.memfd_noexec is here. */
static void test_memfd(void **state)
{
	_cleanup_close_ int known = memfd_create("khoctl-test", MFD_CLOEXEC | MFD_NOEXEC_SEAL); /* since Linux 6.3 */
	_cleanup_close_ int data = kho_memfd("khoctl-test", 0, NULL), program = -1;
	struct kho_err err = KHO_ERR_INIT;
	struct stat st;

	(void)state;
	assert_true(data >= 0);
	assert_int_equal(kho_write_all(data, "x", 1), 0);
	assert_int_equal(fstat(data, &st), 0);
	if (known >= 0) {
		assert_true(fcntl(data, F_GET_SEALS) & F_SEAL_EXEC);
		assert_false(st.st_mode & 0111);
	}
	program = kho_memfd("khoctl-test", MFD_EXEC, &err);
	if (program == -EACCES) {
		assert_non_null(strstr(err.msg, "vm.memfd_noexec=2"));
		return;
	}
	assert_int_equal(fstat(program, &st), 0);
	assert_true(st.st_mode & 0111);
}

static void test_fd_pass(void **state)
{
	int sv[2], fd, p[2];
	char text[8];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(kho_fd_send(sv[0], "with", 4, p[1], 0), 0);
	assert_int_equal(kho_fd_send(sv[0], "out", 3, -1, 0), 0);
	assert_int_equal(kho_fd_recv(sv[1], text, sizeof(text), &fd, 0), 4);
	assert_true(fd >= 0 && fd != p[1]);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(p[0], text, sizeof(text)), 1);
	close(fd);
	assert_int_equal(kho_fd_recv(sv[1], text, sizeof(text), &fd, 0), 3);
	assert_int_equal(fd, -1);
	assert_int_equal(kho_fd_recv(sv[1], text, sizeof(text), &fd, MSG_DONTWAIT), -EAGAIN);
	close(sv[1]);
	assert_int_equal(kho_fd_send(sv[0], "x", 1, p[1], 0), -EPIPE);
	close(sv[0]);
	close(p[0]);
	close(p[1]);
}

static void test_descriptors(void **state)
{
	struct rlimit before, l;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	l = (struct rlimit){ 100, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
	kho_want_descriptors(200);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	assert_int_equal(l.rlim_cur, 200);
	assert_int_equal(l.rlim_max, before.rlim_max);
	kho_want_descriptors(50); /* it never takes any */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
	assert_int_equal(l.rlim_cur, 200);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* In another root, with a descriptor of the directory that the links are in: which of them lead to the file. */
static bool seen_from(const char *root, int fd, const char *name)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(chroot(root) || chdir("/") ? 2 : faccessat(fd, name, F_OK, 0) != 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
	return !WEXITSTATUS(status);
}

static void test_symlink_up(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	char deep[100], root[100], target[100], up[120], plain[120], alias[100];
	struct stat is, want;

	(void)state;
	put("target", "x");
	snprintf(target, sizeof(target), "%s/target", dir);
	snprintf(root, sizeof(root), "%s/root", dir);
	snprintf(deep, sizeof(deep), "%s/a/b", dir);
	snprintf(up, sizeof(up), "%s/up", deep);
	snprintf(plain, sizeof(plain), "%s/plain", deep);
	assert_int_equal(kho_mkdir(deep, &err), 0);
	assert_int_equal(kho_mkdir(root, &err), 0);
	assert_int_equal(kho_symlink_up(target, up, &err), 0);
	assert_int_equal(kho_symlink_up(target, up, &err), -EEXIST);
	assert_int_equal(kho_symlink_up("target", plain, &err), -EINVAL);
	assert_true(!stat(target, &want) && !stat(up, &is) && is.st_ino == want.st_ino);
	assert_int_equal(symlink(target, plain), 0);
	/* the directory by another name, which is less deep */
	snprintf(alias, sizeof(alias), "%s/alias", dir);
	assert_int_equal(symlink("a/b", alias), 0);
	snprintf(up, sizeof(up), "%s/again", alias);
	assert_int_equal(kho_symlink_up(target, up, &err), 0);
	assert_true(!stat(up, &is) && is.st_ino == want.st_ino);
	if (geteuid()) /* only root has another root */
		return;
	_cleanup_close_ int fd = open(deep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(seen_from(root, fd, "up") && seen_from(root, fd, "again"));
	assert_false(seen_from(root, fd, "plain"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_sizes), T(test_words), T(test_ids), T(test_ids_read), T(test_cpus), T(test_versions), T(test_files), T(test_report), T(test_json),
		T(test_json_text), T(test_clock), T(test_fd_pass), T(test_memfd), T(test_descriptors),
		T(test_symlink_up),
	};

	return cmocka_run_group_tests_name("lib", tests, NULL, NULL);
}
