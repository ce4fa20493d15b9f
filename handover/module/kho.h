/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of khoctl.ko.  One source for the outgoing and the incoming side and for every kernel.
 *
 * A kernel knows at most two regions: the one it lives in (kho_up, it is the incoming side there)
 * and the one it has made (kho_down, it is the outgoing side there).  Locks, outermost first:
 *   kho_life (rwsem)   the down region exists and stays; written by REGION_INIT and _DROP only
 *   kho_cpu_lock       CPU give/take, held over CPU hot-plug; never over PCI or the link
 *   fn->lock           one PCI function, held over its PM callbacks and probing
 *   r->mbox_lock       one mailbox, together with the lock word the other kernel sees
 *   r->tx_lock, rx_lock, ping_lock   one direction of a link
 * Interrupt, timer, panic and CPU-hotplug callbacks take none of the first three: they look at
 * r->live under RCU; REGION_DROP clears it and waits for them.
 */
#ifndef KHO_MODULE_H
#define KHO_MODULE_H

#define pr_fmt(fmt) "khoctl: " fmt

#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "khoctl_ioctl.h"
#include "check.h"
#include "khoctl_owner.h"
#include "park.h"

struct kho_region {
	const char *name;
	int self, peer;			/* KHO_SIDE_* */
	u8 self_owner, peer_owner;	/* KHO_OWNER_* */
	bool live;
	u32 seq;			/* which region: open files of an older one are dead */

	u64 base, bytes, bulk_base, bulk_bytes;
	void *head;			/* KHO_HEAD_BYTES */
	u8 *low;			/* low slot up to KHO_LOW_RAM */
	u32 low_slot;

	/* The peer can write to all of this. */
	struct kho_ledger *ledger;
	struct kho_ledger_cpu *cpus;
	struct kho_ledger_pci *pci;
	struct kho_ledger_range *given;
	/*
	 * It cannot write here: the ledger as it was checked and copied, once. What is constant is read here alone, and
	 * owners and receivers say what this kernel itself has given and taken (kho_known()).
	 */
	struct kho_ledger *known;
	struct kho_ledger_range *ram;
	struct kho_ledger_ecam *ecams;
	struct kho_ledger_window *windows;
	u32 ncpus, nram, necams, nwindows, npci, ngiven;
	u32 state;			/* what this side has said of itself last */
	bool frozen;			/* the blackout has begun: the peer may hold the state, and sign */
	bool fenced;			/* by us, and each of its CPUs has answered from the park since */
	u64 tx_head, rx_tail;		/* its counters in the rings */

	struct semaphore mbox_lock;	/* taken and released by different threads of a hot-plug */

	struct kho_ring *tx, *rx;
	struct kho_console_ring *console;
	wait_queue_head_t wait;
	struct mutex tx_lock, rx_lock, ping_lock;
	bool attached;			/* one /dev/khoctl-link at a time */
	bool broken;			/* the peer broke the rules of the ring */
	bool want_pong;
	struct completion pong_seen;
	struct work_struct poll_work;
	u32 peer_state;			/* as last seen by the heartbeat */
	u64 peer_beat, peer_beat_tsc;
};

extern struct kho_region kho_up, kho_down;
extern struct rw_semaphore kho_life;

#define for_each_region(r) for ((r) = &kho_up; (r); (r) = (r) == &kho_up ? &kho_down : NULL)

static inline bool kho_live(const struct kho_region *r)
{
	return smp_load_acquire(&r->live);
}

/* What this kernel knows of an entry (of cpus, pci, given) that both can write. */
#define kho_known(r, e)	((typeof(e))((void *)(r)->known + ((void *)(e) - (void *)(r)->ledger)))
/* Ours: taken by us, or never given; whatever the peer writes into the ledger. */
#define kho_is_ours(r, e)	(READ_ONCE(kho_known(r, e)->owner) == (r)->self_owner)

static inline struct kho_ledger_side *kho_self(const struct kho_region *r)
{
	return &r->ledger->side[r->self];
}

static inline struct kho_ledger_side *kho_peer(const struct kho_region *r)
{
	return &r->ledger->side[r->peer];
}

/* --- region.c: the two regions and their ledgers --- */
struct kho_region *kho_region_of(u32 peer);	/* KHO_PEER_* -> live region, or NULL */
bool kho_state_terminal(u32 state);
bool kho_peer_runs(const struct kho_region *r);	/* started and not in a terminal state */
bool kho_peer_silent(const struct kho_region *r);	/* or no heartbeat for KHO_SILENT_MS */
bool kho_peer_ended(const struct kho_region *r);	/* all its CPUs are parked, or it never started */
s64 kho_beat_age_ms(const struct kho_region *r);	/* since the peer's last heartbeat; never negative */
bool kho_peer_gone(const struct kho_region *r);	/* or it is the old kernel after the commit, and silent for KHO_GONE_MS */
bool kho_may(const struct kho_region *r, enum kho_act act, bool ours, const u8 *owner, const u8 *to);
#define KHO_MAY(r, act, e)	kho_may(r, KHO_ACT_##act, kho_is_ours(r, e), &(e)->owner, &(e)->to)
struct kho_ledger_cpu *kho_ledger_cpu(const struct kho_region *r, u32 apicid);
struct kho_ledger_pci *kho_ledger_pci(const struct kho_region *r, u16 segment, u8 bus, u8 devfn);
#define kho_give(r, e, who)	kho_change(r, e, KHO_OWNER_PARK, who)
#define kho_own(r, e, who)	kho_change(r, e, who, 0)
/* Known when it can be seen: who has counted what is known (others_left()) may tell the peer. */
#define kho_change(r, e, who, receiver) do {							\
	kho_set_owner(&(e)->owner, &(e)->to, who, receiver);					\
	kho_set_owner(&kho_known(r, e)->owner, &kho_known(r, e)->to, who, receiver);		\
} while (0)
void kho_set_owner(u8 *owner, u8 *to, u8 who, u8 receiver);
int kho_region_bind(struct kho_region *r);	/* check the ledger, copy it, find its tables */
void kho_region_unbind(struct kho_region *r);
void kho_say(struct kho_region *r, u32 state);	/* our state */
void kho_region_activate(struct kho_region *r);
void kho_region_deactivate(struct kho_region *r);
int kho_region_setup(void);
void kho_region_cleanup(void);
long kho_region_drop(void *arg);
u32 kho_free_slot(void);
#define KHO_SILENT_MS	3000
#define KHO_GONE_MS	30000

/* --- init.c: what a new region contains --- */
long kho_region_init(void *arg);
void kho_region_heal(struct kho_region *r);	/* the peer is stopped: what it may have overwritten */

/* --- mem.c --- */
long kho_mem_take(void *arg);
long kho_mem_release(void *arg);
long kho_mem_adopt(void *arg);
long kho_mem_disown(void *arg);
long kho_mem_give(void *arg);
void kho_mem_ungive(void);			/* the region is gone: they can be released */
bool kho_mem_is_taken(u64 base, u64 bytes);	/* exactly one taken range */
int kho_mem_pin(u64 base, bool pin);		/* a region lies there: no release */
int kho_mem_mmap(struct file *f, struct vm_area_struct *vma);
int kho_mem_setup(void);
void kho_mem_cleanup(void);

/* --- mailbox.c: park pages and IPIs --- */
int kho_mbox_test(struct kho_region *r, u32 apicid, unsigned int ms);
int kho_mbox_wake(struct kho_region *r, u32 apicid, u64 vector, u64 rsi);
int kho_mbox_pass(struct kho_region *r, u32 apicid, u64 vector, unsigned int ms);
int kho_mbox_lock(struct kho_region *r);
void kho_mbox_unlock(struct kho_region *r);
int kho_mbox_send(struct kho_region *r, u32 apicid, u16 cmd, u64 vector, u64 rsi, unsigned int ms);
void kho_mbox_break(struct kho_region *r);	/* fenced: empty but for the claim, its half-done command goes */
void kho_ipi(u32 icr, u32 apicid);
void kho_ipi_init(u32 apicid);
void kho_ipi_deinit(u32 apicid);
int kho_sipi(struct kho_region *r, u32 apicid);
int kho_park_by_sipi(struct kho_region *r, u32 apicid);

/* --- cpu.c --- */
extern struct mutex kho_cpu_lock;
long kho_cpu_give(void *arg);
long kho_cpu_take(void *arg);
int kho_cpu_of(u32 apicid);			/* logical CPU or -ENODEV */
u32 kho_apicid(int cpu);
int kho_cpu_give_one(struct kho_region *r, u32 apicid);	/* kho_cpu_lock held */
int kho_cpus_parked(struct kho_region *r);	/* each that is not ours answers, or -EBUSY; takes kho_cpu_lock */
void kho_cpus_show(void);			/* given CPUs are present while a driver thaws */
void kho_cpus_hide(void);
int kho_cpu_setup(void);
void kho_cpu_cleanup(void);

/* --- spawn.c, fence.c, leave.c --- */
long kho_spawn(void *arg);
long kho_stop(void *arg);
bool kho_fence_claimed(const struct kho_region *r);	/* the peer stops this kernel, and may */
long kho_retire(void *arg);
void __noreturn kho_leave(struct kho_region *r, u32 state);	/* this CPU, to the park */
int kho_leave_setup(void);
void kho_leave_cleanup(void);

/* --- platform.c: reset, power off; rtc.c, serial.c: what this kernel opens when it is alone; dmesg.c --- */
void kho_platform_fill(struct kho_ledger_platform *p);	/* of a region that is being made */
void kho_platform_watch(void);
const struct kho_ledger_platform *kho_platform(void);	/* of the machine, as the ledger told us */
int kho_platform_setup(void);
void kho_platform_cleanup(void);
void kho_rtc_open(void);
void kho_serial_fill(struct kho_ledger_platform *p);
void kho_serial_open(void);
void kho_wire_fill(u32 irq, struct kho_ledger_uart *u);
int kho_wire_open(const struct kho_ledger_uart *u);
void kho_wires_fill(u32 *ioapic);		/* KHO_IOAPICS of them */
void kho_wires_mask(const u32 *ioapic);
void kho_dmesg_write(struct kho_region *r);

/* --- doorbell.c, link.c, ping.c --- */
int kho_doorbell_open(void);
void kho_doorbell_close(void);
void kho_doorbell_publish(struct kho_region *r);
void kho_doorbell_ring(struct kho_region *r);
extern const struct file_operations kho_link_fops;
void kho_link_init(struct kho_region *r);
void kho_ping_irq(struct kho_region *r);
void kho_ping_poll_work(struct work_struct *w);
int kho_ping_run(struct kho_region *r, struct kho_ioc_ping *p);
int kho_ping_setup(void);
void kho_ping_cleanup(void);

/* --- beat.c, proc.c, console.c --- */
long kho_state_set(void *arg);
extern u32 kho_instance_id, kho_generation;
void kho_beat_fill(struct kho_region *r);
int kho_beat_setup(void);
void kho_beat_cleanup(void);
int kho_proc_setup(void);
void kho_proc_cleanup(void);
extern const struct file_operations kho_console_fops;
int kho_console_setup(void);

/* --- pci.c: functions of this kernel; filter.c: the given ones; bridge.c: host bridge --- */
struct kho_pci_id {
	u16 segment;
	u8 bus, devfn;
};
long kho_pci_quiesce(void *arg);
long kho_pci_unquiesce(void *arg);
void kho_net_renew(struct device *fn);		/* net.c: it has thawed */
long kho_pci_give(void *arg);
long kho_pci_take(void *arg);
void kho_pci_stop_dma(void);			/* of all functions the fenced peer had */
bool kho_pci_masters(u16 segment, u8 bus, u8 devfn);	/* it is ours and masters the bus */
void kho_pci_quiet(void);			/* before leaving: no DMA from what stays behind */
void kho_pci_cleanup(void);
int kho_filter_set(struct pci_dev *dev, bool given);
bool kho_filter_has(const struct pci_dev *dev);
int kho_filter_stop_dma(struct pci_dev *dev);	/* past the filter */
void kho_filter_cleanup(void);
int kho_pci_give_up(struct kho_pci_id id);
int kho_pci_take_up(struct kho_pci_id id);
int kho_pci_in_prepare(void);

/* --- blobs and the way out (park.S, sipi.S, jump.S) --- */
extern const u8 kho_park_blob[PAGE_SIZE];
extern const u8 kho_sipi_blob[PAGE_SIZE];
asmlinkage void kho_jump(unsigned long cr3, unsigned long target);

#endif
