// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables of device mapper taken apart and put together, what crypttab says, and mounts in RAM.  The first three tables are what LVM and
 * cryptsetup made in a test VM, the others have their form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/block-key.h"
#include "state-serializers/block-table.h"

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char recorded[] =
	"luks-c: 0 98304 crypt aes-xts-plain64 :64:logon:cryptsetup:58d76d94-142d-469a-91e6-a48a75599556-d0 0 253:1 32768\n"
	"t-c: 0 131072 linear 254:0 313344\n"
	"t-x: 0 622592 striped 2 128 254:0 2048 254:16 2048\n"
	"luks-c2: 0 98304 crypt aes-xts-plain64 " KEY " 0 253:1 32768 2 allow_discards sector_size:4096\n"
	"t-x--2: 0 8192 linear 254:0 2048\n"
	"t-x--2: 8192 8192 linear 8:17 0\n"
	"thin: 0 8192 thin-pool 254:3 254:4 128 0 0\n";

static void get(const char *name, struct kho_dm_table *t)
{
	struct kho_err e = KHO_ERR_INIT;

	assert_int_equal(kho_dm_table_recorded(recorded, name, t, &e), 0);
}

/* Apart and together, at other numbers. */
static void round_trip(const struct kho_dm_target *t, const char *params, size_t n, const char *key, const char *again)
{
	_cleanup_(kho_wipe) char *got = NULL, *joined = NULL;
	Kho__BlockTarget out = KHO__BLOCK_TARGET__INIT;
	struct kho_err e = KHO_ERR_INIT;
	dev_t under[KHO_TABLE_UNDER];
	Kho__BlockRef *refs[KHO_TABLE_UNDER] = { 0 };
	size_t have;

	assert_int_equal(kho_table_split(t, &out, under, &have, &got, &e), 0);
	assert_string_equal(out.params, params);
	assert_int_equal(have, n);
	if (key)
		assert_string_equal(got, key);
	else
		assert_null(got);
	for (size_t i = 0; i < n; i++)
		under[i] = makedev(major(under[i]) + 1, minor(under[i]));
	out.n_under = n;
	out.under = refs;
	assert_int_equal(kho_table_join(&out, under, got, &joined, &e), 0);
	assert_string_equal(joined, again);
	/* without the key there is no table */
	if (key)
		assert_int_equal(kho_table_join(&out, under, NULL, &joined, &e), -EBADMSG);
	free(out.type);
	free(out.params);
}

static void tables_travel(void **state)
{
	(void)state;
	struct kho_dm_table c = { 0 }, c2 = { 0 }, l = { 0 }, x = { 0 };

	get("luks-c", &c);
	assert_int_equal(c.n, 1);
	assert_int_equal(c.target[0].sectors, 98304);
	round_trip(&c.target[0], "aes-xts-plain64 # 0 @ 32768", 1, ":64:logon:cryptsetup:58d76d94-142d-469a-91e6-a48a75599556-d0",
		   "aes-xts-plain64 :64:logon:cryptsetup:58d76d94-142d-469a-91e6-a48a75599556-d0 0 254:1 32768");
	get("luks-c2", &c2);
	round_trip(&c2.target[0], "aes-xts-plain64 # 0 @ 32768 2 allow_discards sector_size:4096", 1, KEY,
		   "aes-xts-plain64 " KEY " 0 254:1 32768 2 allow_discards sector_size:4096");
	get("t-x--2", &l);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.target[1].start, 8192);
	round_trip(&l.target[1], "@ 0", 1, NULL, "9:17 0");
	get("t-x", &x);
	round_trip(&x.target[0], "2 128 @ 2048 @ 2048", 2, NULL, "2 128 255:0 2048 255:16 2048");
	kho_dm_table_done(&c);
	kho_dm_table_done(&c2);
	kho_dm_table_done(&l);
	kho_dm_table_done(&x);
}

static int split(const char *type, const char *params)
{
	struct kho_dm_target t = { .params = (char *)(uintptr_t)params };
	Kho__BlockTarget out = KHO__BLOCK_TARGET__INIT;
	struct kho_err e = KHO_ERR_INIT;
	dev_t under[KHO_TABLE_UNDER];
	char *key = NULL;
	size_t n;

	strcpy(t.type, type);
	int ret = kho_table_split(&t, &out, under, &n, &key, &e);

	assert_null(ret < 0 ? key : NULL);
	assert_int_equal(ret < 0, *e.msg != '\0');
	kho_wipe(&key);
	if (ret == 0) {
		free(out.type);
		free(out.params);
	}
	return ret;
}

static void tables_refused(void **state)
{
	(void)state;
	struct kho_dm_table t = { 0 };
	struct kho_err e = KHO_ERR_INIT;

	assert_int_equal(kho_dm_table_recorded(recorded, "t", &t, &e), -ENOENT);
	assert_int_equal(kho_dm_table_recorded(recorded, "nobody", &t, &e), -ENOENT);
	get("thin", &t);
	assert_string_equal(t.target[0].type, "thin-pool");
	assert_false(kho_table_type_moves(t.target[0].type));
	assert_int_equal(split("thin-pool", t.target[0].params), -ENOTSUP);
	assert_int_equal(split("linear", ""), -EINVAL);
	assert_int_equal(split("linear", "vda2 0"), -EINVAL);
	assert_int_equal(split("linear", "8:2 @"), -EINVAL);
	assert_int_equal(split("striped", "2 128 8:2 0 vdb"), -EINVAL);
	assert_int_equal(split("striped", "2 128 8:2 0 8:3"), -EINVAL);
	assert_int_equal(split("crypt", "aes-xts-plain64 00 0"), -EINVAL);
	assert_int_equal(split("linear", "8:2 0"), 0);
	kho_dm_table_done(&t);
}

static const char crypttab[] = "# <target name>	<source device>		<key file>	<options>\n"
			       "luks-root UUID=6a6ba5d9-2f0b-4b5b-a4f7-6e4d54a1a3b2 none luks,discard\n"
			       "luks-data	/dev/vdb2	/etc/keys/data.key	luks,keyfile-offset=512,keyfile-size=64,header=/boot/data.hdr\n"
			       "derived /dev/vdb3 luks-root luks,keyscript=/lib/cryptsetup/scripts/decrypt_derived\n"
			       "bare /dev/vdb4\n";

static void crypttab_lines(void **state)
{
	(void)state;
	struct kho_crypttab c;

	assert_true(kho_crypttab_find(crypttab, "luks-root", &c));
	assert_string_equal(c.key_file, "");
	assert_true(kho_crypttab_find(crypttab, "luks-data", &c));
	assert_string_equal(c.key_file, "/etc/keys/data.key");
	assert_string_equal(c.header, "/boot/data.hdr");
	assert_int_equal(c.offset, 512);
	assert_int_equal(c.size, 64);
	assert_false(c.script);
	assert_true(kho_crypttab_find(crypttab, "derived", &c));
	assert_true(c.script);
	assert_true(kho_crypttab_find(crypttab, "bare", &c));
	assert_string_equal(c.key_file, "");
	assert_false(kho_crypttab_find(crypttab, "luks", &c));
	assert_false(kho_crypttab_find(crypttab, "#", &c));
	assert_false(kho_crypttab_find("", "luks-root", &c));
}

static const char mounts_in_ram[] =
	"30 1 0:28 / /dev/shm rw,nosuid,nodev,noexec - tmpfs tmpfs rw,inode64\n"
	"31 1 0:29 / /run rw,nosuid,nodev - tmpfs tmpfs rw,size=204800k,mode=755\n"
	"32 31 0:30 / /run/lock rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=5120k\n"
	"33 31 0:31 / /run/user/1000 rw,nosuid,nodev,relatime - tmpfs tmpfs rw,mode=700,uid=1000\n"
	"34 1 0:32 / /tmp rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=65536k\n"
	"35 1 0:33 / /srv/ramdisk rw,noatime - tmpfs tmpfs rw,size=1024k,mode=700\n"
	"36 1 0:34 / /var/lib/containers/storage/overlay-containers/1/userdata/shm rw - tmpfs shm rw,size=64000k\n";

/* A tmpfs whose files stay behind is said, and no other. */
static void mounts_in_ram_are_said(void **state)
{
	(void)state;
	char dir[] = "/tmp/kho-block-XXXXXX", path[64];
	struct kho_report r = KHO_REPORT_INIT;
	struct kho_err e = KHO_ERR_INIT;
	Kho__Block *b = NULL;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/proc/self", dir);
	assert_int_equal(kho_mkdir(path, &e), 0);
	strcat(path, "/mountinfo");
	assert_int_equal(kho_write_file(path, mounts_in_ram, strlen(mounts_in_ram), &e), 0);
	assert_int_equal(kho_block_find(dir, &b, &r, &e), 0);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.items[0].verdict, KHO_V_LOSS);
	assert_string_equal(r.items[0].subject, "/srv/ramdisk");
	assert_int_equal(b->n_ram, 5);
	assert_string_equal(b->ram[0]->target, "/dev/shm");
	assert_string_equal(b->ram[0]->options, "rw,nosuid,nodev,noexec,rw,inode64");
	assert_string_equal(b->ram[2]->target, "/tmp");
	assert_string_equal(b->ram[2]->options, "rw,nosuid,nodev,noexec,relatime,rw,size=65536k");
	kho_block_free(b);
	kho_report_done(&r);
	kho_remove_tree(dir);
}

static void ram_is(const char *dir, unsigned long flags, unsigned long kib)
{
	const unsigned long looked_at = ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME | ST_RDONLY;
	struct statvfs fs;
	struct stat st;

	assert_int_equal(statvfs(dir, &fs), 0);
	assert_int_equal(fs.f_flag & looked_at, flags);
	assert_int_equal(fs.f_blocks * fs.f_frsize, kib << 10);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

/* A new one, and one that is there already and has other options. */
static void ram_has_its_options(void **state)
{
	(void)state;
	char dir[] = "/tmp/kho-ram-XXXXXX";
	struct kho_err e = KHO_ERR_INIT;
	struct kho_env env = { 0 };

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		skip();
	assert_non_null(mkdtemp(dir));
	assert_int_equal(kho_mount_ram(dir, "rw,nosuid,nodev,relatime,rw,size=1024k,mode=700", &env, &e), 0);
	ram_is(dir, ST_NOSUID | ST_NODEV, 1024);
	assert_int_equal(kho_mount_ram(dir, "ro,nosuid,noexec,noatime,ro,size=2048k,mode=755,no_such_option", &env, &e), 0);
	ram_is(dir, ST_NOSUID | ST_NOEXEC | ST_NOATIME, 2048);
	assert_int_equal(umount(dir), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* As /proc/self/mountinfo shows them. */
static void charsets(void **state)
{
	static const char esp[] = "rw,fmask=0077,dmask=0077,codepage=437,iocharset=ascii,shortname=mixed,utf8,errors=remount-ro";
	char module[64];

	(void)state;
	kho_fat_charset(esp, false, module);
	assert_string_equal(module, "nls_cp437");
	kho_fat_charset(esp, true, module);
	assert_string_equal(module, "nls_ascii");
	kho_fat_charset("rw,iocharset=iso8859-1,codepage=850", false, module);
	assert_string_equal(module, "nls_cp850");
	kho_fat_charset("rw,iocharset=iso8859-1,codepage=850", true, module);
	assert_string_equal(module, "nls_iso8859-1");
	kho_fat_charset("rw", false, module);
	assert_string_equal(module, "nls_cp437");
	kho_fat_charset("rw", true, module);
	assert_string_equal(module, "nls_ascii");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_travel),
		cmocka_unit_test(tables_refused),
		cmocka_unit_test(crypttab_lines),
		cmocka_unit_test(mounts_in_ram_are_said),
		cmocka_unit_test(ram_has_its_options),
		cmocka_unit_test(charsets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
