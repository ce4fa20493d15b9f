// SPDX-License-Identifier: GPL-2.0-only
/*
 * The clock serializer: an incoming kernel has no RTC; its wall clock is the outgoing one's, carried over
 * through the TSC that both read.  Set once early (so that time stamps of its logs are right) and again
 * in the blackout, from a fresh pair.
 */
#include <sys/timex.h>
#include <time.h>

#include "lib/clock.h"
#include "state-serializers/clock.pb-c.h"
#include "state-serializers/common.h"

#define NS_PER_S 1000000000ll
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

/* The pair with the least time between its two readings of the shared clock. */
static void sample(uint64_t *out_us, int64_t *out_ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
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

static int read_clock(struct kho_blob *out, struct kho_err *err)
{
	Kho__Clock c = KHO__CLOCK__INIT;
	struct timex tx = { 0 };
	int64_t ns = 0;

	if (adjtimex(&tx) < 0)
		return kho_fail_errno(err, "read clock adjustment");
	c.freq = tx.freq;
	c.tick = tx.tick;
	c.tai = tx.tai;
	c.status = tx.status;
	sample(&c.shared_us, &ns);
	c.realtime_ns = ns;
	return kho_pb_pack(&c.base, out, err);
}

static int preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err)
{
	(void)env;
	*out_more = false;
	return round ? 0 : read_clock(out, err);
}

static int drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	(void)env;
	return read_clock(out, err);
}

static int set_realtime(int64_t ns, struct kho_err *err)
{
	struct timespec ts = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };

	if (ns < 0)
		return kho_fail(err, -EBADMSG, "state of clock: negative time");
	return clock_settime(CLOCK_REALTIME, &ts) < 0 ? kho_fail_errno(err, "set the clock") : 0;
}

static int apply(const struct kho_blob *in, bool adjust, struct kho_err *err)
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
		ret = set_realtime(c->realtime_ns + (int64_t)(kho_clock_us() - c->shared_us) * 1000, err);
	}
	if (!ret && adjust) {
		struct timex tx = { .modes = ADJ_FREQUENCY | ADJ_TICK | ADJ_TAI, .freq = c->freq, .tick = c->tick, .constant = c->tai };

		if (adjtimex(&tx) < 0)
			ret = kho_fail_errno(err, "set clock adjustment");
	}
	kho__clock__free_unpacked(c, NULL);
	return ret;
}

static int prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	(void)env;
	return apply(in, false, err);
}

static int retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err)
{
	(void)env;
	return apply(in, true, err);
}

/* Back to what this kernel had before prepare, moved on by the time that has passed. */
static int unprepare(struct kho_env *env, struct kho_err *err)
{
	(void)env;
	if (!undo.set)
		return 0;
	undo.set = false;
	return set_realtime(undo.realtime_ns + (int64_t)(kho_clock_us() - undo.shared_us) * 1000, err);
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
	.preserve = preserve,
	.drain = drain,
	.prepare = prepare,
	.unprepare = unprepare,
	.retrieve = retrieve,
	.finish = finish,
};
