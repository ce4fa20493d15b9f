// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line of a kernel that takes this one's place on the same machine: it is this one's, but for words that were for this
 * boot, and with ours.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/boot.h"
#include "handover/kexec/handed.h"
#include "handover/kexec/kexec.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/kconfig.h"

#define QUIET 6 /* of the console: what is below this number, up to notices */

static const struct {
	const char *key, *why;
	bool luo; /* with this carrier only */
} dropped[] = {
	{ "BOOT_IMAGE", "the boot loader's: which image it was", false },
	{ "initrd", "the same: which initramfs", false },
	{ "rdinit", "khoctl's init is /init", false },
	{ "init", "the carried root's own /sbin/init is run", false },
	{ "khoctl.pid_floor", "comes anew", false },
	{ KHO_HANDED_WORD, "comes anew", false },
	{ "elfcorehdr", "of a crash kernel", false },
	{ "lpj", "comes anew: it depends on the target's CONFIG_HZ", false },
	{ "kho", "comes anew", true },
	{ "liveupdate", "comes anew", true },
};

static bool has_key(const char *word, size_t len, const char *key)
{
	const char *eq = memchr(word, '=', len);
	size_t n = eq ? (size_t)(eq - word) : len;

	return strlen(key) == n && !memcmp(key, word, n);
}

/* What add_running() has seen. */
struct seen {
	bool panic;    /* what is done after one */
	bool loglevel; /* how much goes to the console */
	bool quieted;  /* by us, when this kernel was started by kexec: our words and not the operator's */
};

static bool is_loglevel(const char *word, size_t len)
{
	static const char *const keys[] = { "loglevel", "quiet", "debug", "ignore_loglevel" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (has_key(word, len, keys[i]))
			return true;
	return false;
}

static bool says_loglevel(const char *words)
{
	while (words && *words) {
		size_t n = strcspn(words, " \n");

		if (is_loglevel(words, n))
			return true;
		words += n;
		words += strspn(words, " \n");
	}
	return false;
}

static bool is_dropped(const char *word, size_t len, bool luo, const struct seen *s)
{
	if (has_key(word, len, KHO_HANDED_LOGLEVEL) || (s->quieted && has_key(word, len, "loglevel")))
		return true;
	for (size_t i = 0; i < sizeof(dropped) / sizeof(*dropped); i++)
		if ((luo || !dropped[i].luo) && has_key(word, len, dropped[i].key))
			return true;
	return false;
}

static struct seen add_running(FILE *f, const char *running, bool luo)
{
	struct seen s = { .quieted = strstr(running, KHO_HANDED_LOGLEVEL "=") };

	while (*running) {
		size_t n = strcspn(running, " \n");

		if (n == 2 && !memcmp(running, "--", 2)) /* the rest is for init */
			break;
		if (n && !is_dropped(running, n, luo, &s)) {
			fprintf(f, "%.*s ", (int)n, running);
			s.panic |= has_key(running, n, "panic");
			s.loglevel |= is_loglevel(running, n);
		}
		running += n;
		running += strspn(running, " \n");
	}
	return s;
}

/*
 * A kernel waits for its serial console, 11 KB/s at the usual speed, and says 50 KB while it boots. What only informs is left to its log, unless the
 * operator wants it otherwise; what khoctl's init says is seen (5). The agent sets it back to what it is here.
 */
static void add_loglevel(FILE *f, const struct kho_kexec *k)
{
	_cleanup_free_ char *path = kho_sysroot_path(k->e.req->sysroot, "/proc/sys/kernel/printk"), *text = NULL;
	int level;

	if (!path || kho_read_line(path, &text, NULL) < 0 || sscanf(text, "%d", &level) != 1 || level < 1)
		return;
	fprintf(f, "loglevel=%d " KHO_HANDED_LOGLEVEL "=%d ", level < QUIET ? level : QUIET, level);
}

/*
 * Else, where the TSC may change its rate or a package has a CPU online for the first time, each CPU is measured against the timer, one after the
 * other, some 50 ms each. It is what the kernel itself works out from its TSC.
 */
static void add_lpj(FILE *f, const struct kho_kexec *k, bool back)
{
	_cleanup_free_ char *text = kho_kconfig_get(k->e.req->sysroot, back ? k->running : k->img.release, "CONFIG_HZ");
	unsigned long hz = text ? strtoul(text, NULL, 10) : 0;

	if (hz && kho_clock_tsc_khz())
		fprintf(f, " lpj=%llu", kho_clock_tsc_khz() * 1000ULL / hz);
}

int kho_kexec_cmdline(const struct kho_kexec *k, bool back, char **out, struct kho_err *err)
{
	const struct kho_engine_request *req = k->e.req;
	_cleanup_free_ char *path = kho_sysroot_path(req->sysroot, "/proc/cmdline"), *running = NULL, *text = NULL;
	struct seen seen;
	size_t len = 0;
	FILE *f;

	if (!path || kho_read_line(path, &running, err) < 0)
		return kho_wrap(err, "command line of this kernel");
	f = open_memstream(&text, &len);
	if (!f)
		return kho_fail_errno(err, "command line");
	/* nobody is beside it: if it panics, let the machine come up again; the host's own setting follows with its other sysctls */
	seen = add_running(f, running, k->luo);
	if (!seen.panic)
		fputs("panic=10 ", f);
	if (!seen.loglevel && (back || !says_loglevel(req->extra_cmdline)))
		add_loglevel(f, k);
	fprintf(f, "rdinit=/init khoctl.pid_floor=%llu " KHO_HANDED_WORD "=%s", (unsigned long long)kho_pid_range(req->workloads),
		k->luo ? KHO_HANDED_LUO : KHO_HANDED_INITRD);
	add_lpj(f, k, back);
	if (!back && req->extra_cmdline && *req->extra_cmdline)
		fprintf(f, " %s", req->extra_cmdline);
	/* by default one kernel may have both and the other one neither; the last word counts */
	if (k->luo)
		fputs(" kho=on liveupdate=on", f);
	if (fclose(f))
		return kho_fail(err, -ENOMEM, "command line: out of memory");
	if (len > k->img.cmdline_max)
		return kho_fail(err, -E2BIG, "the incoming kernel's command line has %zu bytes, it takes %u; shorten this kernel's, or the words of --append",
				len, k->img.cmdline_max);
	*out = steal_ptr(text);
	return 0;
}
