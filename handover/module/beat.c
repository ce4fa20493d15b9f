// SPDX-License-Identifier: GPL-2.0-only
/*
 * The heartbeat: every KHO_HEARTBEAT_MS this side's fields in the ledger, the wall clock for an
 * incoming kernel (it has no RTC), and a look at the peer.  Runs in a timer, so that it beats
 * under any load.  Waiters of the link and of the console are woken too: a lost doorbell costs one
 * beat, no more.
 */
#include "kho.h"

#include <linux/cpumask.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/timekeeping.h>
#include <linux/timer.h>
#include <linux/utsname.h>
#include <asm/tsc.h>

/* Booted by firmware, until the ledger says otherwise. */
u32 kho_instance_id = 1, kho_generation = 1;

static void beat(struct timer_list *t);
static DEFINE_TIMER(timer, beat);

static s64 realtime_offset_us(u64 tsc)
{
	u64 us = tsc / tsc_khz * 1000 + tsc % tsc_khz * 1000 / tsc_khz;

	return ktime_to_us(ktime_get_real()) - (s64)us;
}

static void beat_once(struct kho_region *r)
{
	struct kho_ledger_side *s = kho_self(r);
	u64 tsc = rdtsc_ordered();

	WRITE_ONCE(s->online_cpus, num_online_cpus());
	WRITE_ONCE(s->mem_total_kib, (u64)totalram_pages() << (PAGE_SHIFT - 10));
	WRITE_ONCE(s->heartbeat_tsc, tsc);
	/* again: one that publishes while its CPU goes offline may write the old place last */
	kho_doorbell_publish(r);
	smp_store_release(&s->heartbeat, s->heartbeat + 1);
	if (r->self == KHO_SIDE_OUTGOING)
		WRITE_ONCE(r->ledger->realtime_offset_us, realtime_offset_us(tsc));
}

static void watch_peer(struct kho_region *r)
{
	struct kho_ledger_side *p = kho_peer(r);
	u32 state = READ_ONCE(p->state);
	u64 beats = READ_ONCE(p->heartbeat);

	/* its reset register is memory: it wanted to reset the machine */
	if (r == &kho_down && READ_ONCE(*(u8 *)(r->head + KHO_OFF_RESET_REG)) && kho_peer_runs(r)) {
		state = KHO_STATE_HALTED;
		smp_store_release(&p->state, state);
	}
	if (beats != r->peer_beat) {
		WRITE_ONCE(r->peer_beat, beats);
		WRITE_ONCE(r->peer_beat_tsc, rdtsc_ordered());
	}
	if (state != r->peer_state) {
		pr_info_ratelimited("%s: state %u -> %u\n", r == &kho_down ? "incoming" : "outgoing",
			r->peer_state, state);
		r->peer_state = state;
	}
	wake_up(&r->wait);
}

static void beat(struct timer_list *t)
{
	struct kho_region *r;

	rcu_read_lock();
	for_each_region(r)
		if (kho_live(r)) {
			beat_once(r);
			watch_peer(r);
		}
	kho_platform_watch();
	rcu_read_unlock();
	mod_timer(&timer, jiffies + msecs_to_jiffies(KHO_HEARTBEAT_MS));
}

/* The fields of this side that do not change, and the first beat. */
void kho_beat_fill(struct kho_region *r)
{
	struct kho_ledger_side *s = kho_self(r);

	strscpy(s->release, init_utsname()->release, sizeof(s->release));
	s->boot_tsc = rdtsc_ordered();
	beat_once(r);
}

/**
 * kho_state_set - KHO_IOC_STATE: what this kernel says of itself, in every region it knows
 *
 * Return: 0; -EINVAL not a state that user space may set; -ENODEV no region.
 */
long kho_state_set(void *arg)
{
	struct kho_ioc_u32 *a = arg;
	struct kho_region *r;
	long ret = -ENODEV;

	if (kho_check_state(a->value))
		return -EINVAL;
	down_read(&kho_life);
	if (a->value == KHO_STATE_READY && kho_live(&kho_up))
		(void)kho_pci_in_prepare();	/* a failure shows at TAKE */
	for_each_region(r)
		if (kho_live(r)) {
			if (a->value == KHO_STATE_FROZEN)
				WRITE_ONCE(kho_self(r)->frozen_tsc, rdtsc_ordered());
			kho_say(r, a->value);
			kho_doorbell_ring(r);
			ret = 0;
		}
	up_read(&kho_life);
	return ret;
}

int kho_beat_setup(void)
{
	mod_timer(&timer, jiffies + 1);
	return 0;
}

void kho_beat_cleanup(void)
{
	timer_shutdown_sync(&timer);
}
