// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the new systemd is told of carried units: out of what systemctl printed of the test's units in the lab
 * (tests/sysroots/units-text), and the text that is made of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/units.h"

#define TREE "tests/sysroots/units-text"

static void times(void **state)
{
	uint64_t us;

	(void)state;
	assert_int_equal(kho_units_moment("Sat 2026-11-28 10:11:01.496370 UTC"), 1795860661496370ull);
	assert_int_equal(kho_units_moment("Sat 2026-11-28 10:11:01 UTC"), 1795860661000000ull);
	assert_int_equal(kho_units_moment("@1700000000"), 1700000000000000ull);
	assert_int_equal(kho_units_moment("Sat 2026-11-28 10:11:01 CET"), 0);
	assert_int_equal(kho_units_moment("n/a"), 0);
	assert_int_equal(kho_units_moment(""), 0);
	assert_int_equal(kho_units_moment(NULL), 0);
	assert_true(kho_units_span("1d 5min 2.5s", &us));
	assert_int_equal(us, 86702500000ull);
	assert_true(kho_units_span("33min 46.383639s", &us));
	assert_int_equal(us, 2026383639ull);
	assert_true(kho_units_span("500us", &us));
	assert_int_equal(us, 500);
	assert_true(kho_units_span("1.000003s", &us));
	assert_int_equal(us, 1000003);
	assert_true(kho_units_span("0", &us));
	assert_int_equal(us, 0);
	assert_false(kho_units_span("infinity", &us));
	assert_false(kho_units_span("5", &us));
	assert_false(kho_units_span("5 parsecs", &us));
	assert_false(kho_units_span("99999999999999999999y", &us));
	assert_false(kho_units_span("", &us));
}

static void addresses(void **state)
{
	struct sockaddr_storage s = { 0 };
	struct sockaddr_in *in = (void *)&s;
	struct sockaddr_in6 *in6 = (void *)&s;
	struct sockaddr_un *un = (void *)&s;
	char text[KHO_UNITS_ADDRESS];

	(void)state;
	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(7004) };
	kho_units_address(&s, sizeof(*in), text);
	assert_string_equal(text, "0.0.0.0:7004");
	*in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(80), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	kho_units_address(&s, sizeof(*in6), text);
	assert_string_equal(text, "[::1]:80");
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX, .sun_path = "/run/x.sock" };
	kho_units_address(&s, offsetof(struct sockaddr_un, sun_path) + 12, text);
	assert_string_equal(text, "/run/x.sock");
	memcpy(un->sun_path, "\0abc", 4);
	kho_units_address(&s, offsetof(struct sockaddr_un, sun_path) + 4, text);
	assert_string_equal(text, "@abc");
	kho_units_address(&s, offsetof(struct sockaddr_un, sun_path), text);
	assert_string_equal(text, "");
	s.ss_family = AF_NETLINK;
	kho_units_address(&s, sizeof(s), text);
	assert_string_equal(text, "");
}

/* --- out of what systemctl printed --- */

static const Kho__State *find(const Kho__Units *u, const char *unit)
{
	for (size_t i = 0; i < u->n_state; i++)
		if (!strcmp(u->state[i]->unit, unit))
			return u->state[i];
	fail_msg("nothing is known of %s", unit);
	return NULL;
}

static bool has_line(const Kho__State *s, const char *line)
{
	for (size_t i = 0; i < s->n_line; i++)
		if (!strcmp(s->line[i], line))
			return true;
	return false;
}

static void line(const Kho__State *s, const char *text)
{
	if (!has_line(s, text))
		fail_msg("%s has no %s", s->unit, text);
}

static uint64_t stamp(const Kho__State *s, const char *key)
{
	for (size_t i = 0; i < s->n_stamp; i++)
		if (!strcmp(s->stamp[i]->key, key))
			return s->stamp[i]->us;
	return 0;
}

static struct kho_workload all[] = {
	{ .name = (char *)"dyn", .unit = (char *)"khotest-dyn.service", .root = 185 },
	{ .name = (char *)"act", .unit = (char *)"khotest-act.service", .root = 218 },
	{ .name = (char *)"once", .unit = (char *)"khotest-once.service", .root = 200 },
};
static const struct kho_workload_list list = { all, 3 };

static Kho__Units *read_tree(void)
{
	struct kho_env env = { .sysroot = TREE, .workloads = &list, .run_dir = "/nowhere" };
	struct kho_err err = KHO_ERR_INIT;
	Kho__Units *u = NULL;

	assert_int_equal(kho_units_read(&env, TREE, &u, &err), 0);
	assert_string_equal(u->version, "257.13-1~deb13u1");
	return u;
}

static void states(void **state)
{
	Kho__Units *u = read_tree();
	const Kho__State *s = find(u, "khotest-dyn.service");

	(void)state;
	line(s, "state=running");
	line(s, "result=success");
	line(s, "main-pid=185");
	line(s, "main-pid-known=yes");
	line(s, "n-restarts=0");
	line(s, "ref-uid=65295");
	line(s, "status-text=Ready to accept connections");
	line(s, "invocation-id=7d795dc2b68644b28d36f3847c580263");
	line(s, "cgroup=/khotest.slice/khotest-dyn.service");
	assert_string_equal(s->dynamic_user, "khotest-dyn");
	assert_int_equal(s->uid, 65295);
	assert_int_equal(stamp(s, "active-enter-timestamp"), 1795861900144011ull);
	assert_int_equal(stamp(s, "main-exec-status-start"), 1795861900068462ull);
	assert_int_equal(stamp(s, "inactive-enter-timestamp"), 0);

	s = find(u, "khotest-once.service");
	line(s, "state=exited");
	line(s, "main-pid-known=no");
	assert_string_equal(s->dynamic_user, "");

	s = find(u, "khotest-act.socket");
	line(s, "state=running");
	assert_string_equal(s->service, "khotest-act.service");
	assert_int_equal(s->n_listen, 2);
	assert_int_equal(s->listen[0]->type, SOCK_STREAM);
	assert_string_equal(s->listen[0]->address, "0.0.0.0:7004");
	assert_string_equal(s->listen[1]->address, "/run/khotest-act.sock");
	kho__units__free_unpacked(u, NULL);
}

static const Kho__Timer *timer(const Kho__Units *u, const char *unit)
{
	for (size_t i = 0; i < u->n_timer; i++)
		if (!strcmp(u->timer[i]->unit, unit))
			return u->timer[i];
	return NULL;
}

static void timers(void **state)
{
	Kho__Units *u = read_tree();
	const Kho__Timer *t = timer(u, "khotest-every.timer");
	const Kho__State *s = find(u, "khotest-every.timer");
	_cleanup_free_ char *text = NULL;
	struct kho_err err = KHO_ERR_INIT;
	char dir[] = "/dev/shm/kho-text.XXXXXX", path[200];

	(void)state;
	line(s, "state=waiting");
	line(s, "last-trigger-realtime=1795861901000000");
	/* the one that has elapsed is over, the other goes on, and once more for the time that is left */
	assert_non_null(t);
	assert_int_equal(t->n_setting, 1);
	assert_string_equal(t->setting[0], "OnUnitActiveSec=7200000000us");
	assert_int_equal(t->n_elapse_us, 1);
	/* nothing is left of this one, and the calendar's need no help */
	assert_null(timer(u, "khotest-boot.timer"));
	line(find(u, "khotest-boot.timer"), "state=elapsed");
	assert_null(timer(u, "khotest-daily.timer"));
	line(find(u, "khotest-daily.timer"), "state=waiting");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(kho_units_timer_write(dir, t, &err), 0);
	snprintf(path, sizeof(path), "%s/run/systemd/system/khotest-every.timer.d/khoctl.conf", dir);
	assert_int_equal(kho_read_file(path, 4096, &text, NULL, &err), 0);
	assert_non_null(strstr(text, "[Timer]\nOnBootSec=\nOnUnitActiveSec=7200000000us\nOnActiveSec="));
	assert_int_equal(remove(path), 0);
	for (char *p = strrchr(path, '/'); p >= path + sizeof(dir) - 1; p = strrchr(path, '/')) {
		*p = '\0';
		assert_int_equal(rmdir(path), 0);
	}
	kho_pb_set(&u->timer[0]->unit, "../../x.timer");
	assert_int_equal(kho_units_timer_write(dir, u->timer[0], &err), -EPROTO);
	kho__units__free_unpacked(u, NULL);
}

/* --- the text --- */

static int given;
static char *told;

static int to_init(struct kho_env *env, int fd, bool is_state, struct kho_err *err)
{
	char path[64];

	(void)env;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (is_state)
		assert_int_equal(kho_read_file(path, 1 << 20, &told, NULL, err), 0);
	return 512 + given++;
}

static void text(void **state)
{
	const struct kho_env_ops ops = { .to_init = to_init };
	struct kho_env env = { .ops = &ops };
	struct kho_err err = KHO_ERR_INIT;
	Kho__Units *u = read_tree();

	(void)state;
	/* the number of a dynamic user and links for journald are files of the system */
	for (size_t i = 0; i < u->n_state; i++) {
		assert_int_equal(kho_pb_set(&u->state[i]->dynamic_user, ""), 0);
		assert_int_equal(u->state[i]->n_exported, 0);
	}
	kho_pb_set(&u->state[0]->tmp_dir, "/tmp/systemd-private-x-khotest-dyn.service-abcdef");
	kho_pb_set(&u->state[0]->var_tmp_dir, "/var/tmp/systemd-private-x-khotest-dyn.service-ghijkl");
	/* a line that would end the unit, and the text */
	kho_pb_set(&u->state[0]->line[0], "result=success\n\nevil.service");
	assert_int_equal(kho_units_text_give(&env, u, &err), 0);
	assert_non_null(told);
	assert_true(!strncmp(told, "exec-runtime=khotest-dyn.service tmp-dir=/tmp/systemd-private-x-khotest-dyn.service-abcdef ", 90));
	assert_non_null(strstr(told, "-ghijkl\n\nkhotest-dyn.service\n"));
	assert_non_null(strstr(told, "\nmain-pid=185\n"));
	assert_non_null(strstr(told, "\nactive-enter-timestamp=1795861900144011 "));
	assert_null(strstr(told, "evil"));
	assert_non_null(strstr(told, "\n\nkhotest-once.service\n"));
	/* nobody listens there: no word of the socket unit */
	assert_null(strstr(told, "khotest-act.socket"));
	assert_non_null(strstr(told, "\n\nkhotest-every.timer\n"));
	assert_string_equal(told + strlen(told) - 2, "\n\n");
	free(told);
	told = NULL;
	/* a systemd of which nobody knows the words */
	kho_pb_set(&u->version, "249.1");
	assert_int_equal(kho_units_text_give(&env, u, &err), 0);
	assert_null(told);
	kho__units__free_unpacked(u, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times),  cmocka_unit_test(addresses), cmocka_unit_test(states),
		cmocka_unit_test(timers), cmocka_unit_test(text),
	};

	return cmocka_run_group_tests_name("units_text", tests, NULL, NULL);
}
