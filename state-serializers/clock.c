// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clock serializer: an incoming kernel has no RTC; its wall clock is the outgoing one's, carried over
 * through the TSC that both read.  Set once early (so that time stamps of its logs are right) and again
 * in the blackout, from a fresh pair, together with what an NTP daemon has told the kernel: setting the
 * clock makes a kernel forget that.
 */
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/clock.pb-c.h"
#include "state-serializers/common.h"

#define NS_PER_S 1000000000ll
#define SAMPLES 200
#define GOOD_US 2
#define AGE_MAX_US (3600ull * 1000000)	/* older: the two clocks are not the same one */

static struct {
	bool set;
	int64_t realtime_ns;	/* before, and when that was */
	uint64_t shared_us;
} undo;

static int64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/*
 * The pair with the least time between its two readings of the shared clock: the CPU may be taken away
 * between them, for milliseconds.
 */
static void sample(uint64_t *out_us, int64_t *out_ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < SAMPLES && best > GOOD_US; i++) {
		uint64_t a = kho_clock_us();
		int64_t ns = realtime_ns();
		uint64_t b = kho_clock_us();

		if (b - a >= best)
			continue;
		best = b - a;
		*out_us = a + (b - a) / 2;
		*out_ns = ns;
	}
}

/* Is the hardware clock in local time? The third line of adjtime(5). */
static bool rtc_is_local(const struct kho_env *env)
{
	_cleanup_free_ char *path = kho_sysroot_path(env->sysroot ? env->sysroot : "", "/etc/adjtime"), *text = NULL;

	return path && kho_read_file(path, 4096, &text, NULL, NULL) == 0 && strstr(text, "\nLOCAL");
}

static int read_adjustment(Kho__Clock *c, struct kho_err *err)
{
	struct timex tx = { 0 }, slew = { .modes = ADJ_OFFSET_SS_READ };

	if (adjtimex(&tx) < 0 || adjtimex(&slew) < 0)
		return kho_fail_errno(err, "read clock adjustment");
	c->freq = tx.freq;
	c->tick = tx.tick;
	c->tai = tx.tai;
	c->status = tx.status;
	c->constant = tx.constant;
	c->offset = tx.offset;
	c->maxerror_us = tx.maxerror;
	c->esterror_us = tx.esterror;
	c->slew_us = slew.offset;
	return 0;
}

static int read_clock(Kho__Clock *c, struct kho_blob *out, struct kho_err *err)
{
	int64_t ns = 0;
	int ret = read_adjustment(c, err);

	if (ret < 0)
		return ret;
	sample(&c->shared_us, &ns);
	c->realtime_ns = ns;
	return kho_pb_pack(&c->base, out, err);
}

static int preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err)
{
	Kho__Clock c = KHO__CLOCK__INIT;
	struct timezone tz = { 0 };

	*out_more = false;
	if (round)
		return 0;
	/* the C library's own gettimeofday knows no zone */
	if (syscall(SYS_gettimeofday, NULL, &tz) < 0)
		return kho_fail_errno(err, "read the kernel's time zone");
	c.minutes_west = tz.tz_minuteswest;
	c.dst_time = tz.tz_dsttime;
	c.rtc_local = rtc_is_local(env);
	return read_clock(&c, out, err);
}

static int drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	Kho__Clock c = KHO__CLOCK__INIT;

	(void)env;
	return read_clock(&c, out, err);
}

/*
 * The clock shall show realtime_ns at shared_us.  It is moved by what it is off, not set: that stays right
 * when the CPU is taken away just before the call (18 ms were seen).
 */
static int set_realtime(int64_t realtime_ns, uint64_t shared_us, struct kho_err *err)
{
	struct timex tx = { .modes = ADJ_SETOFFSET | ADJ_NANO };
	uint64_t us = 0;
	int64_t ns = 0, off;

	if (realtime_ns < 0 || realtime_ns > INT64_MAX / 2)
		return kho_fail(err, -EBADMSG, "state of clock: not a time");
	sample(&us, &ns);
	off = realtime_ns + (int64_t)(us - shared_us) * 1000 - ns;
	tx.time.tv_sec = off / NS_PER_S;
	tx.time.tv_usec = off % NS_PER_S; /* nanoseconds, by ADJ_NANO */
	if (tx.time.tv_usec < 0) {
		tx.time.tv_sec--;
		tx.time.tv_usec += NS_PER_S;
	}
	return adjtimex(&tx) < 0 ? kho_fail_errno(err, "set the clock") : 0;
}

/*
 * A kernel takes the first zone it is told, if it comes alone, for a sign that its clock was set from a
 * hardware clock in local time: it moves the clock, and writes local time to the hardware from then on.
 * The next init system would tell it so; here it happens before the clock is set.
 */
static int set_zone(const Kho__Clock *c, struct kho_err *err)
{
	struct timezone tz = { c->minutes_west, c->dst_time }, utc = { 0 };

	/* it moves a clock that shows 1970: that may fail, and what it keeps in mind is kept */
	if (syscall(SYS_settimeofday, NULL, c->rtc_local ? &tz : &utc) < 0 && errno != EINVAL)
		return kho_fail_errno(err, "set the kernel's time zone");
	if (syscall(SYS_settimeofday, NULL, &tz) < 0)
		return kho_fail_errno(err, "set the kernel's time zone");
	return 0;
}

/* In the kernel's order: it looks at the flags first, and reads `constant` for one thing at a time. */
static int adjust(const Kho__Clock *c, struct kho_err *err)
{
	const int keep = STA_PLL | STA_FLL | STA_INS | STA_DEL | STA_UNSYNC | STA_FREQHOLD;
	bool nano = c->status & STA_NANO;
	struct timex all = {
		.modes = ADJ_STATUS | (nano ? ADJ_NANO : ADJ_MICRO) | ADJ_FREQUENCY | ADJ_MAXERROR | ADJ_ESTERROR |
			 ADJ_TIMECONST | ADJ_TICK | (c->status & STA_PLL ? ADJ_OFFSET : 0),
		.status = c->status & keep,
		.freq = c->freq,
		.tick = c->tick,
		.maxerror = c->maxerror_us,
		.esterror = c->esterror_us,
		/* told in one way and taken in another */
		.constant = nano || c->constant < 4 ? c->constant : c->constant - 4,
		.offset = c->offset,
	};
	struct timex tai = { .modes = ADJ_TAI, .constant = c->tai };
	struct timex slew = { .modes = ADJ_OFFSET_SINGLESHOT, .offset = c->slew_us };

	if (adjtimex(&all) < 0 || (c->tai && adjtimex(&tai) < 0) || (c->slew_us && adjtimex(&slew) < 0))
		return kho_fail_errno(err, "set clock adjustment");
	return 0;
}

/* How far the clock is from where it should be, for whoever wants to know. */
static void tell(struct kho_env *env, const Kho__Clock *c)
{
	uint64_t us = 0;
	int64_t ns = 0;

	sample(&us, &ns);
	if (env->ops && env->ops->note)
		env->ops->note(env, "wall clock: carried, %+lld us off",
			       (long long)(ns - c->realtime_ns - (int64_t)(us - c->shared_us) * 1000) / 1000);
}

static int apply(const struct kho_blob *in, bool early, struct kho_env *env, struct kho_err *err)
{
	Kho__Clock *c = kho_pb_unpack(&kho__clock__descriptor, in, err);
	uint64_t now = kho_clock_us();
	int ret = 0;

	if (!c)
		return -EBADMSG;
	if (now < c->shared_us || now - c->shared_us > AGE_MAX_US) {
		ret = kho_fail(err, -ERANGE, "the clocks of the two kernels do not go together (%llu us here, %llu us there)",
			       (unsigned long long)now, (unsigned long long)c->shared_us);
	} else {
		if (!undo.set) {
			sample(&undo.shared_us, &undo.realtime_ns);
			undo.set = true;
		}
		if (early)
			ret = set_zone(c, err);
		if (!ret)
			ret = set_realtime(c->realtime_ns, c->shared_us, err);
	}
	if (!ret && !early) {
		ret = adjust(c, err);
		tell(env, c);
	}
	kho__clock__free_unpacked(c, NULL);
	return ret;
}

static int prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	return apply(in, true, env, err);
}

static int retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	return apply(in, false, env, err);
}

/* Back to what this kernel had before prepare, moved on by the time that has passed. */
static int unprepare(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	if (!undo.set)
		return 0;
	undo.set = false;
	return set_realtime(undo.realtime_ns, undo.shared_us, err);
}

static int finish(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	(void)err;
	undo.set = false;
	return 0;
}

extern const struct kho_serializer kho_ser_clock;
const struct kho_serializer kho_ser_clock = {
	.name = "clock",
	.order = 10,
	.flags = KHO_SER_COPY,
	.preserve = preserve,
	.drain = drain,
	.prepare = prepare,
	.unprepare = unprepare,
	.retrieve = retrieve,
	.finish = finish,
};
