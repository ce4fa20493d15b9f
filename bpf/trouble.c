// SPDX-License-Identifier: GPL-2.0-only
/* What the kernel itself has reported since boot.  See bpf/trouble.h. */
#include "bpf/trouble.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

#define RECORD 8192	     /* one read of the device, CONSOLE_EXT_LOG_MAX of kernel/printk/internal.h */
#define RECORDED (16u << 20) /* a log in a file */

static const struct {
	enum kho_gate_id gate;
	const char *words, *then;
} patterns[] = {
#define X(id, words, then) { KHO_GATE_##id, words, then },
#include "bpf/trouble.def"
#undef X
};

/* Counters of the kernel's own; which of them there are differs (6.2 and newer have the first two). */
static const struct {
	enum kho_gate_id gate;
	const char *path;
} counters[] = {
	{ KHO_GATE_OOPS, "/sys/kernel/oops_count" },
	{ KHO_GATE_WARN, "/sys/kernel/warn_count" },
	{ KHO_GATE_HUNG, "/proc/sys/kernel/hung_task_detect_count" },
	{ KHO_GATE_STALL, "/sys/kernel/rcu_stall_count" },
	{ KHO_GATE_STALL, "/sys/kernel/softlockup_count" },
	{ KHO_GATE_STALL, "/sys/kernel/hardlockup_count" },
};

/* Flags by number (kernel/panic.c, taint_flags); the faults among them. The others say what was loaded or done. */
static const char taint_letters[] = "PFSRMBUDAWCIOELKXTNJ";
static const char taint_faults[] = "MBDWL";

static void count(struct kho_trouble *t, enum kho_gate_id gate, const char *text)
{
	if (t->lines[gate]++)
		return;
	snprintf(t->first[gate], KHO_TROUBLE_LINE, "%s", text);
	for (char *c = t->first[gate]; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static void match(struct kho_trouble *t, const char *text)
{
	for (size_t i = 0; i < sizeof(patterns) / sizeof(*patterns); i++) {
		const char *at = strstr(text, patterns[i].words);

		if (at && strstr(at + strlen(patterns[i].words), patterns[i].then)) {
			count(t, patterns[i].gate, text);
			return;
		}
	}
}

void kho_trouble_line(struct kho_trouble *t, const char *line, size_t len)
{
	char text[1024];
	unsigned prefix;
	uint64_t seq;
	const char *semi;

	snprintf(text, sizeof(text), "%.*s", (int)(len < sizeof(text) ? len : sizeof(text)), line);
	semi = strchr(text, ';');
	if (*text < '0' || *text > '9' || !semi || sscanf(text, "%u,%" SCNu64 ",", &prefix, &seq) != 2)
		return;
	if (seq > t->next)
		t->lost += seq - t->next;
	t->next = seq + 1;
	if (prefix >> 3 == 0) /* the facility: the kernel itself */
		match(t, semi + 1);
}

static void each_line(struct kho_trouble *t, const char *data, size_t len)
{
	while (len) {
		const char *nl = memchr(data, '\n', len);
		size_t n = nl ? (size_t)(nl - data) : len;

		kho_trouble_line(t, data, n);
		n += nl ? 1 : 0;
		data += n;
		len -= n;
	}
}

/* The device gives one record for each read, EPIPE for one that was overwritten meanwhile, EAGAIN at the end. */
static int read_device(int fd, const char *path, struct kho_trouble *t, struct kho_err *err)
{
	char buf[RECORD];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n > 0)
			each_line(t, buf, (size_t)n);
		else if (n == 0 || errno == EAGAIN)
			return 0;
		else if (errno != EPIPE && errno != EINTR)
			return kho_fail_errno(err, "read %s", path);
	}
}

int kho_trouble_read(const char *sysroot, struct kho_trouble *t, struct kho_err *err)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/dev/kmsg"), *text = NULL;
	_cleanup_close_ int fd = -1;
	size_t len;
	int rc;

	if (!path)
		return kho_fail(err, -ENOMEM, "/dev/kmsg");
	if (sysroot && *sysroot) {
		rc = kho_read_file(path, RECORDED, &text, &len, err);
		if (!rc)
			each_line(t, text, len);
	} else {
		fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		rc = fd < 0 ? kho_fail_errno(err, "open %s", path) : read_device(fd, path, t, err);
	}
	t->whole = !rc;
	return rc;
}

/* The number in a file of one; false: there is none. */
static bool number(const char *sysroot, const char *name, uint64_t *out)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, name), *text = NULL;

	return path && !kho_read_line(path, &text, NULL) && sscanf(text, "%" SCNu64, out) == 1;
}

/* How often the kernel has reported what belongs to a gate. */
static void reported(const char *sysroot, const struct kho_trouble *t, const struct kho_err *why, enum kho_gate_id id,
		     const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	uint64_t sum = 0, n;
	bool counted = false;

	for (size_t i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		if (counters[i].gate == id && number(sysroot, counters[i].path, &n)) {
			counted = true;
			sum += n;
		}
	n = t->lines[id] > sum ? t->lines[id] : sum;
	if (n || counted || (t->whole && !t->lost))
		kho_gate_measured(out, p, id, (int64_t)n, "%s%s", t->lines[id] ? "first: " : "", t->first[id]);
	else if (!t->whole)
		kho_gate_unknown(out, p, id, "%s", why->msg);
	else
		kho_gate_unknown(out, p, id, "%" PRIu64 " lines of the kernel's log have been overwritten", t->lost);
}

static void taint(const char *sysroot, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	char bad[sizeof(taint_letters) * 2 + 1] = "", other[sizeof(taint_letters) * 2 + 1] = "";
	uint64_t flags, faults = 0;

	if (!number(sysroot, "/proc/sys/kernel/tainted", &flags)) {
		kho_gate_unknown(out, p, KHO_GATE_TAINT, "/proc/sys/kernel/tainted cannot be read");
		return;
	}
	for (size_t i = 0; taint_letters[i]; i++) {
		bool fault = strchr(taint_faults, taint_letters[i]);
		char *to = fault ? bad : other;

		if (!(flags >> i & 1))
			continue;
		faults += fault;
		to[strlen(to)] = taint_letters[i];
	}
	kho_gate_measured(out, p, KHO_GATE_TAINT, (int64_t)faults, "%s%s%s%s", bad, *bad && *other ? "; " : "", other,
			  *other ? " (no fault)" : "");
}

/* What the log says, and that the clock source in use is a real one. */
static void clock_source(const char *sysroot, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/sys/devices/system/clocksource/clocksource0/current_clocksource"), *name = NULL;
	struct kho_err err = KHO_ERR_INIT;
	struct kho_gate_result r = out->r[out->n - 1]; /* of the log */

	if (!path || kho_read_line(path, &name, &err)) {
		kho_gate_unknown(out, p, KHO_GATE_CLOCK, "%s", path ? err.msg : "out of memory");
		return;
	}
	/* all that is left when every other was found unstable (kernel/time/jiffies.c) */
	if (strstr(name, "jiffies"))
		kho_gate_measured(out, p, KHO_GATE_CLOCK, r.value + 1, "nothing better than %s", name);
	else if (r.verdict != KHO_GATE_UNKNOWN)
		kho_gate_measured(out, p, KHO_GATE_CLOCK, r.value, "%s%s%s", name, *r.what ? "; " : "", r.what);
}

void kho_trouble_gates(const char *sysroot, const struct kho_gate_policy *p, struct kho_gate_list *out)
{
	static const enum kho_gate_id ids[] = { KHO_GATE_OOPS,	KHO_GATE_WARN, KHO_GATE_LOCKDEP, KHO_GATE_HUNG,
						KHO_GATE_STALL, KHO_GATE_MCE,  KHO_GATE_CORRUPT };
	struct kho_trouble t = { 0 };
	struct kho_err why = KHO_ERR_INIT;

	(void)!kho_trouble_read(sysroot, &t, &why); /* whole says it */
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		reported(sysroot, &t, &why, ids[i], p, out);
	taint(sysroot, p, out);
	reported(sysroot, &t, &why, KHO_GATE_CLOCK, p, out);
	clock_source(sysroot, p, out);
}
