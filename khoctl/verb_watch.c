// SPDX-License-Identifier: GPL-2.0-only
/*
 * khoctl watch: looks after the workloads on this kernel for a while, by their own health checks. With --rollback it goes back to the
 * kernel that this one came from when one of them is not well: that is an upgrade, with the state of now. khoctl upgrade
 * --rollback-on-failure has the new kernel start it when that has become the only one.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "khoctl/cli.h"
#include "khoctl/past.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/json.h"
#include "orchestrator/health.h"

#define FOR_US	  60000000ull
#define EVERY_US  1000000u
#define IN_A_ROW  3 /* a service may be busy for a moment */
#define TRIES	  60
#define BETWEEN_S 5 /* while the new init system still starts, an upgrade may be refused */

/* On the terminal, and in the kernel's log, where it stays when nobody looks. */
static void say(const struct kho_cli *c, const char *text)
{
	_cleanup_close_ int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[800];
	int n = snprintf(line, sizeof(line), "khoctl: watch: %s\n", text);

	if (fd >= 0 && n > 0)
		(void)!write(fd, line, strlen(line)); /* a log may be missing */
	if (!c->json)
		printf("%s\n", text);
}

/* Watches until the time is up (0), or something has not been well three times in a row (1, why); negative: nothing is known. */
static int look(uint64_t for_us, char why[600], struct kho_err *err)
{
	uint64_t end = kho_clock_us() + for_us;
	int bad = 0, rc = 0;

	while (!rc && bad < IN_A_ROW) {
		struct kho_report r = { 0 };
		const char *no;

		rc = kho_health_now(kho_cli_world(), &r, err);
		no = rc ? NULL : kho_report_first_no(&r);
		bad = no ? bad + 1 : 0;
		if (no)
			snprintf(why, 600, "%s", no);
		kho_report_done(&r);
		if (!no && kho_clock_us() >= end)
			break;
		usleep(EVERY_US);
	}
	return rc < 0 ? rc : bad >= IN_A_ROW;
}

static int go_back(const struct kho_cli *c)
{
	struct kho_cli again = *c;
	int code = KHO_EXIT_REFUSED;

	again.to = "previous";
	again.yes = true;
	again.rollback_on_failure = "0s"; /* once */
	for (int i = 0; i < TRIES; i++) {
		code = kho_verb_upgrade(&again);
		if (code != KHO_EXIT_REFUSED && code != KHO_EXIT_BUSY)
			break;
		sleep(BETWEEN_S);
	}
	return code;
}

int kho_verb_watch(const struct kho_cli *c)
{
	struct kho_err err = KHO_ERR_INIT;
	char why[600] = "", text[700];
	uint64_t for_us = FOR_US;
	int rc;

	if (kho_cli_need_root(c, "watch"))
		return KHO_EXIT_REFUSED;
	if (c->watch_for && !kho_parse_duration(c->watch_for, &for_us)) {
		kho_fail(&err, -EINVAL, "--for %s: want a time like 60s", c->watch_for);
		return kho_cli_error(c, KHO_EXIT_USAGE, &err);
	}
	rc = look(for_us, why, &err);
	if (rc < 0)
		return kho_cli_error(c, kho_cli_refusal(rc), &err);
	if (!rc)
		return kho_cli_tell(c, KHO_EXIT_OK, "well", "all workloads, for as long as was asked");
	snprintf(text, sizeof(text), "%s%s", why, c->rollback ? "; going back to the kernel before" : "");
	say(c, text);
	if (!c->rollback)
		return kho_cli_tell(c, KHO_EXIT_PERSON, "not well", "khoctl rollback --yes goes back to the kernel before");
	return go_back(c);
}
