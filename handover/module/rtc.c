// SPDX-License-Identifier: GPL-2.0-only
/*
 * The CMOS clock of a kernel that is alone: rtc-cmos finds no device (there is no PNP one) and has
 * given up its platform driver long before, so this is a small one over the kernel's own access
 * routines.  No alarm: its interrupt does not arrive here.
 */
#include "kho.h"

#include <linux/mc146818rtc.h>
#include <linux/platform_device.h>
#include <linux/rtc.h>

#define WAIT_MS 1000		/* for the end of an update cycle; at most 2 ms on hardware */

static bool ready;

/*
 * rtc0 sets the system's clock when it is registered.  Ours is right, to the microsecond, and must
 * not jump: until then there is no time to be had.
 */
static int read_time(struct device *dev, struct rtc_time *t)
{
	return smp_load_acquire(&ready) ? mc146818_get_time(t, WAIT_MS) : -EAGAIN;
}

static int set_time(struct device *dev, struct rtc_time *t)
{
	return mc146818_set_time(t);
}

static const struct rtc_class_ops ops = { .read_time = read_time, .set_time = set_time };

static int probe(struct platform_device *pdev)
{
	struct rtc_device *rtc = devm_rtc_allocate_device(&pdev->dev);
	int ret;

	if (IS_ERR(rtc))
		return PTR_ERR(rtc);
	rtc->ops = &ops;
	rtc->range_min = RTC_TIMESTAMP_BEGIN_1900;
	rtc->range_max = RTC_TIMESTAMP_END_2099;
	clear_bit(RTC_FEATURE_ALARM, rtc->features);
	clear_bit(RTC_FEATURE_UPDATE_INTERRUPT, rtc->features);
	ret = devm_rtc_register_device(rtc);
	if (!ret)
		smp_store_release(&ready, true);
	return ret;
}

/* Called once, when this kernel is alone. Never taken away: such a kernel keeps the module. */
void kho_rtc_open(void)
{
	static struct platform_driver driver = {
		.probe = probe,
		.driver = { .name = "khoctl-rtc", .suppress_bind_attrs = true },
	};
	struct platform_device *d;
	int ret;

	if (!(kho_platform()->flags & KHO_PLATFORM_RTC))
		return;
	ret = platform_driver_register(&driver);
	d = ret ? ERR_PTR(ret) : platform_device_register_simple("khoctl-rtc", PLATFORM_DEVID_NONE,
								 NULL, 0);
	if (IS_ERR(d))
		pr_err("clock: %ld\n", PTR_ERR(d));
}
