// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mailboxes and park pages: how a CPU that belongs to nobody is asked (TEST), sent on (WAKE), and
 * how one that does not listen is put there (INIT, start-up IPI).
 *
 * Both kernels use the mailbox of a region, and the incoming one also through its stock
 * acpi_wakeup_cpu(), which knows nothing of us: the lock word in the firmware half of the page is
 * held around every command, by the hot-plug callback of cpu.c for the stock one.
 */
#include "kho.h"

#include <linux/delay.h>
#include <linux/io.h>
#include <linux/irqflags.h>
#include <asm/apic.h>

#define LOCK_MS		15000	/* a stock wakeup that nobody answers takes 10 s */
#define SIPI_MS		1000

static u16 *command(struct kho_region *r)
{
	return r->head + KHO_OFF_MAILBOX + KHO_MBOX_COMMAND;
}

static u32 *lock_word(struct kho_region *r)
{
	return r->head + KHO_OFF_MAILBOX + KHO_MBOX_LOCK;
}

/**
 * kho_mbox_lock - mailbox for this kernel alone
 *
 * Context: process; may wait up to 15 s for the other kernel, unless that is dead.
 * Return: 0; -EBUSY.
 */
int kho_mbox_lock(struct kho_region *r)
{
	u32 mine = 1 + r->self, *w = lock_word(r), now;
	int ms = 0;

	down(&r->mbox_lock);
	while ((now = cmpxchg(w, 0, mine)) != 0) {
		if (kho_peer_silent(r)) {
			/* it died in the middle of a command */
			if (cmpxchg(w, now, mine) == now) {
				WRITE_ONCE(*command(r), 0);
				return 0;
			}
			continue;
		}
		if (ms++ >= LOCK_MS) {
			up(&r->mbox_lock);
			return -EBUSY;
		}
		usleep_range(500, 1000);
	}
	return 0;
}

void kho_mbox_unlock(struct kho_region *r)
{
	cmpxchg_release(lock_word(r), 1 + r->self, 0);
	up(&r->mbox_lock);
}

void kho_mbox_break(struct kho_region *r)
{
	down(&r->mbox_lock);
	memset(r->head + KHO_OFF_MAILBOX, 0, KHO_MBOX_FENCE);
	memset(r->head + KHO_OFF_MAILBOX + KHO_MBOX_FENCE + 4, 0, PAGE_SIZE - KHO_MBOX_FENCE - 4);
	up(&r->mbox_lock);
}

static void put_command(struct kho_region *r, u32 apicid, u16 cmd, u64 vector, u64 rsi)
{
	void *m = r->head + KHO_OFF_MAILBOX;

	WRITE_ONCE(*(u32 *)(m + KHO_MBOX_APICID), apicid);
	WRITE_ONCE(*(u64 *)(m + KHO_MBOX_VECTOR), vector);
	WRITE_ONCE(*(u64 *)(m + KHO_MBOX_RSI), rsi);
	smp_store_release(command(r), cmd);
}

/* One command; the lock is held.  0 when a parked CPU acknowledged it, -ETIMEDOUT. */
int kho_mbox_send(struct kho_region *r, u32 apicid, u16 cmd, u64 vector, u64 rsi, unsigned int ms)
{
	u64 us = 0;

	put_command(r, apicid, cmd, vector, rsi);
	while (READ_ONCE(*command(r))) {
		if (us < 1000) {		/* a listening CPU answers at once */
			udelay(5);
			us += 5;
			continue;
		}
		if (us >= (u64)ms * 1000)
			return xchg(command(r), 0) ? -ETIMEDOUT : 0;	/* it may have been acknowledged just now */
		usleep_range(100, 200);
		us += 200;
	}
	return 0;
}

int kho_mbox_test(struct kho_region *r, u32 apicid, unsigned int ms)
{
	int ret = kho_mbox_lock(r);

	if (ret)
		return ret;
	ret = kho_mbox_send(r, apicid, KHO_MBOX_CMD_TEST, 0, 0, ms);
	kho_mbox_unlock(r);
	return ret;
}

int kho_mbox_wake(struct kho_region *r, u32 apicid, u64 vector, u64 rsi)
{
	int ret = kho_mbox_lock(r);

	if (ret)
		return ret;
	ret = kho_mbox_send(r, apicid, KHO_MBOX_CMD_WAKE, vector, rsi, 1000);
	kho_mbox_unlock(r);
	return ret;
}

/**
 * kho_mbox_pass - send on a CPU that is parked, or will be in a moment
 *
 * Context: any, a panic too: takes no lock, which is fine only where nobody else uses this mailbox any more.
 * Return: 0; -ETIMEDOUT it does not get there.
 */
int kho_mbox_pass(struct kho_region *r, u32 apicid, u64 vector, unsigned int ms)
{
	unsigned int us;

	put_command(r, apicid, KHO_MBOX_CMD_WAKE, vector, 0);
	for (us = 0; us < ms * 1000 && READ_ONCE(*command(r)); us += 10)
		udelay(10);
	return cmpxchg(command(r), KHO_MBOX_CMD_WAKE, 0) ? -ETIMEDOUT : 0;
}

void kho_ipi(u32 icr, u32 apicid)
{
	unsigned long flags;

	mb();			/* an x2APIC's register is written without any order */
	local_irq_save(flags);
	if (apic->safe_wait_icr_idle)
		apic->safe_wait_icr_idle();
	apic->icr_write(icr, apicid);
	if (apic->safe_wait_icr_idle)
		apic->safe_wait_icr_idle();
	local_irq_restore(flags);
}

/* Stop a CPU, whatever it does.  Never the machine's boot CPU: that would be a reset. */
void kho_ipi_init(u32 apicid)
{
	kho_ipi(APIC_INT_LEVELTRIG | APIC_INT_ASSERT | APIC_DM_INIT, apicid);
}

/* At least 10 ms after kho_ipi_init(). */
void kho_ipi_deinit(u32 apicid)
{
	kho_ipi(APIC_INT_LEVELTRIG | APIC_DM_INIT, apicid);
}

/**
 * kho_sipi - start a CPU that has had INIT, into the park page of @r
 *
 * Context: process.
 * Return: 0 parked, TEST acknowledged; -ETIMEDOUT; -EBUSY mailbox in use.
 */
int kho_sipi(struct kho_region *r, u32 apicid)
{
	u32 start = APIC_DM_STARTUP | (KHO_LOW_SLOT(r->low_slot) + KHO_LOW_SIPI) >> PAGE_SHIFT;
	u8 *hint = r->head + KHO_OFF_MAILBOX + KHO_MBOX_PARKED + (apicid & 0xff);

	WRITE_ONCE(*hint, 0);
	kho_ipi(start, apicid);
	udelay(300);
	if (!READ_ONCE(*hint))
		kho_ipi(start, apicid);
	return kho_mbox_test(r, apicid, SIPI_MS);
}

/* The whole of it for one CPU, neither online here nor the machine's boot CPU. */
int kho_park_by_sipi(struct kho_region *r, u32 apicid)
{
	kho_ipi_init(apicid);
	mdelay(10);
	kho_ipi_deinit(apicid);
	return kho_sipi(r, apicid);
}
