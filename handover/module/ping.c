// SPDX-License-Identifier: GPL-2.0-only
/*
 * Latency of the link.  IRQ pings are answered in the doorbell's handler.  Polled pings are
 * answered by a work item that the first one (with a doorbell, not counted) starts; it goes away
 * when no ping came for a while, so nothing polls unless it is asked to.
 */
#include "kho.h"

#include <linux/math64.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <asm/tsc.h>

#define IDLE_MS		100	/* the answering side stops polling */
#define RING_MS		20	/* after a pause of that length it is asked again */
#define TIMEOUT_MS	1000

static struct workqueue_struct *poll_wq;

static u64 cycles(unsigned int ms)
{
	return (u64)tsc_khz * ms;
}

/* In the doorbell's handler: answer, and see answers. */
void kho_ping_irq(struct kho_region *r)
{
	u64 ping = READ_ONCE(r->rx->ping);

	if (r->tx->pong != ping) {
		WRITE_ONCE(r->tx->pong, ping);
		kho_doorbell_ring(r);
	}
	if (READ_ONCE(r->want_pong) && READ_ONCE(r->rx->pong) == r->tx->ping)
		complete(&r->pong_seen);
	if (r->tx->poll_pong != READ_ONCE(r->rx->poll_ping))
		queue_work(poll_wq, &r->poll_work);
}

void kho_ping_poll_work(struct work_struct *w)
{
	struct kho_region *r = container_of(w, struct kho_region, poll_work);
	u64 last = rdtsc_ordered(), ping;

	while (kho_live(r) && rdtsc_ordered() - last < cycles(IDLE_MS)) {
		ping = READ_ONCE(r->rx->poll_ping);
		if (ping != r->tx->poll_pong) {
			WRITE_ONCE(r->tx->poll_pong, ping);
			last = rdtsc_ordered();
		}
		cpu_relax();
		cond_resched();
	}
}

static bool ping_irq(struct kho_region *r)
{
	reinit_completion(&r->pong_seen);
	WRITE_ONCE(r->want_pong, true);
	WRITE_ONCE(r->tx->ping, r->tx->ping + 1);
	kho_doorbell_ring(r);
	wait_for_completion_timeout(&r->pong_seen, msecs_to_jiffies(TIMEOUT_MS));
	WRITE_ONCE(r->want_pong, false);
	return READ_ONCE(r->rx->pong) == r->tx->ping;
}

static bool ping_poll(struct kho_region *r, bool bell)
{
	u64 start = rdtsc_ordered();

	WRITE_ONCE(r->tx->poll_ping, r->tx->poll_ping + 1);
	if (bell)
		kho_doorbell_ring(r);
	while (READ_ONCE(r->rx->poll_pong) != r->tx->poll_ping) {
		if (rdtsc_ordered() - start > cycles(TIMEOUT_MS))
			return false;
		cpu_relax();
		cond_resched();
	}
	return true;
}

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static u64 to_ns(u64 c)
{
	return mul_u64_u64_div_u64(c, NSEC_PER_MSEC, tsc_khz);
}

static int run(struct kho_region *r, struct kho_ioc_ping *p, u64 *t)
{
	u64 start, last = 0;
	u32 i, n = 0;
	bool ok;

	for (i = 0; i < p->count; i++) {
		if (signal_pending(current))
			return -EINTR;
		start = rdtsc_ordered();
		if (p->mode == KHO_PING_POLL && start - last > cycles(RING_MS)) {
			if (!ping_poll(r, true))
				return -ETIMEDOUT;
			start = rdtsc_ordered();
		}
		ok = p->mode == KHO_PING_POLL ? ping_poll(r, false) : ping_irq(r);
		last = ok ? rdtsc_ordered() : 0;
		if (ok)
			t[n++] = rdtsc_ordered() - start;
		else if (++p->lost > 3)
			return -ETIMEDOUT;	/* nobody is there */
	}
	if (!n)
		return -ETIMEDOUT;
	sort(t, n, sizeof(*t), compare, NULL);
	p->min_ns = to_ns(t[0]);
	p->median_ns = to_ns(t[n / 2]);
	p->p99_ns = to_ns(t[n * 99 / 100]);
	return 0;
}

/**
 * kho_ping_run - measure round trips
 *
 * Context: process; kho_life held for reading.
 * Return: 0; -EPIPE the peer does not run; -ETIMEDOUT more than 3 lost; -EINTR; -ENOMEM.
 */
int kho_ping_run(struct kho_region *r, struct kho_ioc_ping *p)
{
	u64 *t;
	int ret;

	if (!kho_peer_runs(r))
		return -EPIPE;
	t = kvmalloc_array(p->count, sizeof(*t), GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	p->lost = 0;
	mutex_lock(&r->ping_lock);
	ret = run(r, p, t);
	mutex_unlock(&r->ping_lock);
	kvfree(t);
	return ret;
}

int kho_ping_setup(void)
{
	poll_wq = alloc_workqueue("khoctl", WQ_UNBOUND, 0);
	return poll_wq ? 0 : -ENOMEM;
}

void kho_ping_cleanup(void)
{
	destroy_workqueue(poll_wq);
}
