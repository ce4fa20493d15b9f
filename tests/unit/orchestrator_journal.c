// SPDX-License-Identifier: GPL-2.0-only
/* What the journal is good for: who undoes is killed too, records are torn, the peer keeps the end of it. */
#include "orchestrator_rig.h"

#include <sys/resource.h>

/* Run it in a child, which shall kill itself. */
static void killed(int (*fn)(const struct kho_upgrade_options *o), const char *fault)
{
	struct kho_upgrade_options o = options(fault);
	pid_t pid = fork();
	int st;

	if (pid == 0) {
		(void)fn(&o);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}

static int child_run(const struct kho_upgrade_options *o)
{
	struct kho_err err = KHO_ERR_INIT;

	return (int)kho_upgrade_run(o, &err);
}

static int child_recover(const struct kho_upgrade_options *o)
{
	struct kho_err err = KHO_ERR_INIT;

	return kho_upgrade_recover(o, &err);
}

static unsigned count_records(struct json_object *records, const char *kind)
{
	unsigned n = 0;

	for (size_t i = 0; i < json_object_array_length(records); i++)
		n += !strcmp(kho_json_get_str(json_object_array_get_idx(records, i), "rec"), kind);
	return n;
}

static void assert_same_file(const char *name)
{
	_cleanup_free_ char *a = NULL, *b = NULL, *ram = NULL, *disk = NULL;
	size_t alen, blen;

	assert_true(asprintf(&ram, "%s/%s", run_dir, name) > 0);
	assert_true(asprintf(&disk, "%s/%s", state_dir, name) > 0);
	assert_int_equal(kho_read_file(ram, 1 << 20, &a, &alen, NULL), 0);
	assert_int_equal(kho_read_file(disk, 1 << 20, &b, &blen, NULL), 0);
	assert_int_equal(alen, blen);
	assert_memory_equal(a, b, alen);
}

/* kill -9 of the upgrade, then of the one that undoes it: the third one still knows it all. */
static void test_killed_undo(void **state)
{
	_cleanup_json_ struct json_object *records = NULL, *report = NULL;
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	killed(child_run, "freeze.after:kill");
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), -EBUSY);
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_BUSY);
	killed(child_recover, "spawn.undo:kill");
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), -EBUSY);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), 0);
	assert_quiet_again();
	assert_true(fake_order("unfreeze beta", "engine unreserve"));
	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
	assert_int_equal(count_records(records, "begin"), 1);
	assert_int_equal(count_records(records, "recover"), 2);
	report = kho_report_of_journal(records);
	assert_string_equal(kho_json_get_str(report, "from"), "6.12.1");
	assert_string_equal(kho_json_get_str(report, "outcome"), "rolled back");
	assert_non_null(strstr(kho_json_get_str(report, "msg"), "step freeze"));
	assert_same_file(KHO_JOURNAL_NAME);
	assert_same_file(KHO_EVENTS_NAME);
}

/* A tail that was cut off by the kill is dropped, what is written then is good. */
static void test_killed_in_a_record(void **state)
{
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	_cleanup_free_ char *path = NULL;
	bool torn = true;
	FILE *f;

	(void)state;
	killed(child_run, "precopy.after:kill");
	assert_true(asprintf(&path, "%s/journal", run_dir) > 0);
	f = fopen(path, "a");
	assert_non_null(f);
	assert_int_equal(fwrite("\x40\0\0\0half", 1, 8, f), 8);
	fclose(f);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, &torn, &err), 0);
	assert_false(torn);
	assert_int_equal(count_records(records, "end"), 1);
}

/* The outgoing kernel may fall right after it: what the peer has of the journal says that it was committed. */
static void test_peer_keeps_signed(void **state)
{
	struct kho_upgrade_options o = options("commit.after:fail");
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_PERSON);
	assert_true(fake.first_is_signed);
	assert_true(fake.entrusted);
	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
	assert_int_equal(count_records(records, "signed"), 1);
}

/* What could not be undone is in the way of the next upgrade, and may be undone once more. */
static void test_undo_again(void **state)
{
	struct kho_upgrade_options o = options("precopy:fail,spawn.undo:fail");
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_PERSON);
	o = options(NULL);
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_BUSY);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_int_equal(kho_upgrade_recover(&o, &err), -ENOENT);
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
}

/* Cut the journal at every byte: what is whole is read, the tail is called torn, nothing crashes.
 */
static void test_torn_journal(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);
	struct json_object *records;
	size_t whole = 0, n = 0;
	bool torn;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(kho_journal_parse(fake.record, 7, &records, &torn, &err), -EINVAL);
	for (size_t len = 8; len <= fake.record_len; len++) {
		assert_int_equal(kho_journal_parse(fake.record, len, &records, &torn, &err), 0);
		whole += !torn;
		assert_true(json_object_array_length(records) >= n);
		n = json_object_array_length(records);
		json_object_put(records);
	}
	assert_int_equal(whole, n + 1);
	fake.record[fake.record_len / 2] ^= 1;
	assert_int_equal(kho_journal_parse(fake.record, fake.record_len, &records, &torn, &err), 0);
	assert_true(torn && json_object_array_length(records) < n);
	json_object_put(records);
	assert_int_equal(kho_crc32("123456789", 9), 0xcbf43926);
}

/* What is learnt at the next boot goes behind the good records, a torn tail goes away. */
static void test_note(void **state)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_upgrade_options o = options(NULL);
	struct json_object *records, *rec = json_object_new_object();
	size_t n;
	bool torn;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	assert_int_equal(kho_journal_parse(fake.record, fake.record_len - 3, &records, &torn, &err), 0);
	n = json_object_array_length(records);
	assert_true(torn);
	json_object_put(records);
	put("state/journal", fake.record, fake.record_len - 3);
	json_object_object_add(rec, "rec", json_object_new_string("reset"));
	assert_int_equal(kho_journal_note(state_dir, rec, &err), 0);
	assert_int_equal(kho_journal_read("/nonexistent", state_dir, &records, &torn, &err), 0);
	assert_int_equal(json_object_array_length(records), n + 1);
	assert_false(torn);
	json_object_put(records);
	assert_int_equal(kho_journal_note("/nonexistent", json_object_new_object(), &err), -ENOENT);
}

/* Both copies in a full file system: half a record would hide those that follow when there is room again. */
static void test_full(void **state)
{
	const char *const dirs[] = { run_dir, state_dir };
	struct rlimit was, little;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_journal *j = NULL;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	little = was;
	assert_int_equal(kho_journal_create(run_dir, state_dir, &j, &err), 0);
	assert_int_equal(kho_journal_add(j, kho_record_new("begin"), &err), 0);
	little.rlim_cur = 50; /* the mark, one record, and some of the next */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	assert_int_equal(kho_journal_add(j, kho_record_new("signed"), &err), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(kho_journal_add(j, kho_record_new("end"), &err), 0);
	kho_journal_free(j);
	for (size_t i = 0; i < 2; i++) {
		_cleanup_json_ struct json_object *records = NULL;
		bool torn = true;

		assert_int_equal(kho_journal_read(dirs[i], dirs[i], &records, &torn, &err), 0);
		assert_false(torn);
		assert_int_equal(json_object_array_length(records), 3);
	}
}

/* Of two copies the one that tells more, not the longer one. */
static void test_damaged_copy(void **state)
{
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;
	_cleanup_free_ char *longer = NULL;
	bool torn = true;

	(void)state;
	assert_int_equal(kho_upgrade_run(&o, &err), KHO_OUT_UPGRADED);
	put("state/journal", fake.record, fake.record_len);
	longer = calloc(1, fake.record_len + 16);
	assert_non_null(longer);
	memcpy(longer, fake.record, fake.record_len);
	longer[fake.record_len / 2] ^= 1;
	put("run/journal", longer, fake.record_len + 16);
	assert_int_equal(kho_journal_read(run_dir, state_dir, &records, &torn, &err), 0);
	assert_false(torn);
	assert_int_equal(count_records(records, "signed"), 1);
}

static int child_resume(const struct kho_upgrade_options *o)
{
	struct kho_err err = KHO_ERR_INIT;

	return (int)kho_upgrade_resume(o, &err);
}

/* kill -9 after the commit, also of who does the rest: nothing is signed twice, all that is left is done, told and ends. */
static void test_resume(void **state)
{
	static const char *const faults[] = { "commit.after:kill", "settle:kill", "settle.after:kill", "retire:kill" };

	(void)state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		_cleanup_json_ struct json_object *records = NULL, *report = NULL;
		struct kho_upgrade_options o = options(NULL);
		struct kho_err err = KHO_ERR_INIT;

		killed(child_run, faults[i]);
		assert_int_equal(kho_upgrade_may_begin(&plan.world, &err), -EBUSY);
		assert_int_equal(kho_upgrade_recover(&o, &err), i == 3 ? -ENOENT : -EALREADY);
		if (!i)
			killed(child_resume, "settle:kill");
		fake_reset();
		assert_int_equal(kho_upgrade_resume(&o, &err), KHO_OUT_UPGRADED);
		assert_true(fake.connected && fake.shifted && fake.retired);
		assert_true(fake.finished[0] && fake.finished[2] && fake.forgotten[0] && fake.forgotten[2]);
		/* the one before the end, not the signature */
		assert_int_equal(fake.commits, 1);
		assert_true(fake_order("engine connect", "finish alpha") && fake_order("forget omega", "engine commit"));
		assert_int_equal(kho_journal_parse(fake.record, fake.record_len, &records, NULL, &err), 0);
		assert_int_equal(count_records(records, "begin"), 1);
		assert_int_equal(count_records(records, "signed"), 1);
		assert_int_equal(count_records(records, "resume"), i ? 1 : 2);
		report = kho_report_of_journal(records);
		assert_string_equal(kho_json_get_str(report, "outcome"), "upgraded");
		assert_true(kho_json_get_int(report, "blackout_us") > 0);
		unlink_journal();
	}
}

static void test_nothing_to_resume(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	killed(child_run, "restore.after:kill");
	assert_int_equal(kho_upgrade_resume(&o, &err), KHO_OUT_REFUSED);
	assert_int_equal(err.code, -ECANCELED);
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
}

static bool died_signing(void)
{
	_cleanup_json_ struct json_object *records = NULL;
	struct kho_err err = KHO_ERR_INIT;

	assert_int_equal(kho_journal_read(run_dir, run_dir, &records, NULL, &err), 0);
	return kho_upgrade_died_signing(records);
}

/* Between the two signatures the journal says nothing of them; before, after, and once something was undone it does. */
static void test_died_signing(void **state)
{
	struct kho_upgrade_options o = options(NULL);
	struct kho_err err = KHO_ERR_INIT;

	(void)state;
	run_killed("restore.after:kill");
	assert_false(died_signing());
	unlink_journal();
	run_killed("commit.after:kill");
	assert_false(died_signing());
	unlink_journal();
	run_killed("commit.signed:kill");
	assert_true(died_signing());
	/* the fake one has no ledger: nobody has signed */
	killed(child_recover, "spawn.undo:kill");
	assert_false(died_signing());
	assert_int_equal(kho_upgrade_recover(&o, &err), 0);
	assert_false(died_signing());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_killed_undo), T(test_killed_in_a_record), T(test_undo_again),
		T(test_peer_keeps_signed), T(test_torn_journal), T(test_note), T(test_full), T(test_damaged_copy), T(test_resume), T(test_nothing_to_resume),
		T(test_died_signing),
	};

	return cmocka_run_group_tests_name("orchestrator journal", tests, NULL, NULL);
}
