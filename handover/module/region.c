// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two regions a kernel can know, and the way into their ledgers.
 *
 * The region above (kho_up) is found through the ACPI device KHOC0001 that the outgoing side put
 * into the DSDT; the one below (kho_down) is made by REGION_INIT.  Nothing that the peer can
 * write is used before it has been checked: positions of tables are copied once, owners and
 * states are compared, and lengths never come from shared memory twice.
 */
#include "kho.h"

#include <linux/acpi.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/rcupdate.h>
#include <asm/tsc.h>

struct kho_region kho_up = {
	.name = "up", .self = KHO_SIDE_INCOMING, .peer = KHO_SIDE_OUTGOING,
	.self_owner = KHO_OWNER_INCOMING, .peer_owner = KHO_OWNER_OUTGOING,
};
struct kho_region kho_down = {
	.name = "down", .self = KHO_SIDE_OUTGOING, .peer = KHO_SIDE_INCOMING,
	.self_owner = KHO_OWNER_OUTGOING, .peer_owner = KHO_OWNER_INCOMING,
};
DECLARE_RWSEM(kho_life);

struct kho_region *kho_region_of(u32 peer)
{
	struct kho_region *r = NULL;

	if (peer == KHO_PEER_INCOMING)
		r = &kho_down;
	else if (peer == KHO_PEER_OUTGOING)
		r = &kho_up;
	return r && kho_live(r) ? r : NULL;
}

bool kho_state_terminal(u32 state)
{
	return state >= KHO_STATE_RETIRED;	/* an unknown state is not one we can wait for */
}

static bool beat_is_old(const struct kho_region *r)
{
	return rdtsc_ordered() - READ_ONCE(r->peer_beat_tsc) > (u64)tsc_khz * KHO_SILENT_MS;
}

bool kho_peer_runs(const struct kho_region *r)
{
	u32 s = READ_ONCE(kho_peer(r)->state);

	return s >= KHO_STATE_BOOTING && !kho_state_terminal(s);
}

/*
 * Are all its CPUs known to be parked?  It says so when it has ended in order, or whoever fenced it; one
 * that panicked may still run on other CPUs for a while: the outgoing side fences it (KHO_IOC_STOP), the
 * incoming side, which cannot, waits until nothing beats there any more.
 */
bool kho_peer_ended(const struct kho_region *r)
{
	u32 s = READ_ONCE(kho_peer(r)->state);

	if (s == KHO_STATE_PANICKED)
		return r == &kho_up && beat_is_old(r);
	return s < KHO_STATE_BOOTING || kho_state_terminal(s);
}

/*
 * Committed, this kernel is the machine: one that hung while it retired must not keep it from
 * resetting the machine, or from its consoles.  What that one owns stays untouched all the same.
 */
bool kho_peer_gone(const struct kho_region *r)
{
	if (kho_peer_ended(r))
		return true;
	return r == &kho_up && READ_ONCE(kho_self(r)->state) == KHO_STATE_COMMITTED &&
	       rdtsc_ordered() - READ_ONCE(r->peer_beat_tsc) > (u64)tsc_khz * KHO_GONE_MS;
}

/* The table of khoctl_owner_table.h, for one entry as it is now. */
bool kho_may(const struct kho_region *r, enum kho_act act, const u8 *owner, const u8 *to)
{
	u8 o = smp_load_acquire(owner);

	return kho_owner_may(act, r->self_owner, o, READ_ONCE(*to), kho_peer_ended(r));
}

bool kho_peer_silent(const struct kho_region *r)
{
	if (!kho_peer_runs(r))
		return true;
	return beat_is_old(r);
}

struct kho_ledger_cpu *kho_ledger_cpu(const struct kho_region *r, u32 apicid)
{
	u32 i;

	for (i = 0; i < r->ncpus; i++)
		if (READ_ONCE(r->cpus[i].apicid) == apicid)
			return &r->cpus[i];
	return NULL;
}

struct kho_ledger_pci *kho_ledger_pci(const struct kho_region *r, u16 segment, u8 bus, u8 devfn)
{
	struct kho_ledger_pci *p;
	u32 i;

	for (i = 0; i < r->npci; i++) {
		p = &r->pci[i];
		if (READ_ONCE(p->segment) == segment && READ_ONCE(p->bus) == bus &&
		    READ_ONCE(p->devfn) == devfn)
			return p;
	}
	return NULL;
}

/*
 * The receiver is written first: whoever sees PARK sees for whom.  What stays parked changes with that
 * one write: the receiver may have taken it before there could be a second.
 */
void kho_set_owner(u8 *owner, u8 *to, u8 who, u8 receiver)
{
	if (who == KHO_OWNER_PARK)
		WRITE_ONCE(*to, receiver);
	if (who != KHO_OWNER_PARK || READ_ONCE(*owner) != who)
		smp_store_release(owner, who);
	if (who != KHO_OWNER_PARK)
		WRITE_ONCE(*to, 0);
}

static void *table(struct kho_ledger *l, struct kho_ledger_table *t, size_t entry, u32 *n, int *err)
{
	u32 off = READ_ONCE(t->off), count = READ_ONCE(t->count);

	*n = count;
	if (!count)
		return NULL;
	if (off % 8 || off < sizeof(*l) || off > KHO_LEDGER_BYTES ||
	    count > (KHO_LEDGER_BYTES - off) / entry)
		*err = -EPROTO;
	return (void *)l + off;
}

/**
 * kho_region_bind - check a ledger and find its tables
 * @r: base, bytes, head are set
 *
 * Context: process, before @r is live.
 * Return: 0; -ENODEV not a ledger; -EPROTO other revision or broken; -ENOMEM.
 */
int kho_region_bind(struct kho_region *r)
{
	struct kho_ledger *l = r->head + KHO_OFF_LEDGER;
	int err = 0;

	if (smp_load_acquire(&l->magic) != KHO_REGION_MAGIC)
		return -ENODEV;
	if (l->revision != KHO_REGION_REVISION || l->region_base != r->base || l->low_slot > 1)
		return -EPROTO;
	r->bytes = l->region_bytes;
	r->bulk_base = l->bulk_base;
	r->bulk_bytes = l->bulk_bytes;
	r->low_slot = l->low_slot;
	if (r->bytes <= KHO_HEAD_BYTES || r->base + r->bytes < r->base ||
	    r->bulk_bytes > r->bytes - KHO_HEAD_BYTES ||
	    r->bulk_base != r->base + r->bytes - r->bulk_bytes)
		return -EPROTO;
	r->ledger = l;
	r->cpus = table(l, &l->cpus, sizeof(*r->cpus), &r->ncpus, &err);
	r->ram = table(l, &l->ram, sizeof(*r->ram), &r->nram, &err);
	r->ecams = table(l, &l->ecams, sizeof(*r->ecams), &r->necams, &err);
	r->windows = table(l, &l->windows, sizeof(*r->windows), &r->nwindows, &err);
	r->pci = table(l, &l->pci, sizeof(*r->pci), &r->npci, &err);
	r->given = table(l, &l->given, sizeof(*r->given), &r->ngiven, &err);
	if (err)
		return err;
	r->tx = r->head + (r->self == KHO_SIDE_OUTGOING ? KHO_OFF_RING_DOWN : KHO_OFF_RING_UP);
	r->rx = r->head + (r->self == KHO_SIDE_OUTGOING ? KHO_OFF_RING_UP : KHO_OFF_RING_DOWN);
	r->console = r->head + KHO_OFF_CONSOLE;
	if (!r->low)
		r->low = memremap(KHO_LOW_SLOT(r->low_slot), KHO_LOW_RAM, MEMREMAP_WB);
	return r->low ? 0 : -ENOMEM;
}

/* From here on timers, interrupts and hot-plug callbacks look at it. */
void kho_region_activate(struct kho_region *r)
{
	r->seq++;
	r->broken = false;
	r->attached = false;
	r->want_pong = false;
	r->peer_state = READ_ONCE(kho_peer(r)->state);
	r->peer_beat = READ_ONCE(kho_peer(r)->heartbeat);
	r->peer_beat_tsc = rdtsc_ordered();
	smp_store_release(&r->live, true);
	kho_doorbell_publish(r);
}

void kho_region_deactivate(struct kho_region *r)
{
	WRITE_ONCE(r->live, false);
	synchronize_rcu();		/* interrupts, timer, hot-plug that still saw it */
	cancel_work_sync(&r->poll_work);
	wake_up_all(&r->wait);
	if (r->low)
		memunmap(r->low);
	r->low = NULL;
	r->base = r->bytes = 0;
}

/* Which low slot a new region would use: not the one this kernel itself lives in. */
u32 kho_free_slot(void)
{
	return kho_live(&kho_up) ? !kho_up.low_slot : 0;
}

static bool owns_anything(struct kho_region *r)
{
	u32 i;

	for (i = 0; i < r->ncpus; i++)
		if (READ_ONCE(r->cpus[i].owner) != KHO_OWNER_OUTGOING)
			return true;
	for (i = 0; i < r->npci; i++)
		if (READ_ONCE(r->pci[i].owner) != KHO_OWNER_OUTGOING)
			return true;
	return false;
}

/**
 * kho_region_drop - KHO_IOC_REGION_DROP
 *
 * Context: process; takes kho_life for writing (waits for operations under way).
 * Return: 0; -ENODEV no region; -EBUSY the incoming kernel runs or something is not back.
 */
long kho_region_drop(void *arg)
{
	struct kho_region *r = &kho_down;
	struct kho_ioc_u32 *a = arg;
	u64 base;

	if (a->value)
		return -EINVAL;
	down_write(&kho_life);
	if (!kho_live(r)) {
		up_write(&kho_life);
		return -ENODEV;
	}
	if (kho_peer_runs(r) || owns_anything(r)) {
		up_write(&kho_life);
		return -EBUSY;
	}
	base = r->base;
	kho_region_deactivate(r);
	memset(r->head, 0, KHO_HEAD_BYTES);
	r->head = NULL;
	up_write(&kho_life);
	kho_mem_pin(base, false);
	kho_mem_ungive();
	return 0;
}

/* This kernel was made by another one: take the side that was kept for it. */
static int up_probe(struct platform_device *pdev)
{
	struct kho_region *r = &kho_up;
	struct kho_ledger_cpu *c;
	struct resource *res;
	int ret;

	res = platform_get_resource(pdev, IORESOURCE_MEM, 0);
	if (!res || resource_size(res) != KHO_HEAD_BYTES || kho_live(r))
		return -ENODEV;
	r->base = res->start;
	r->head = memremap(r->base, KHO_HEAD_BYTES, MEMREMAP_WB);
	if (!r->head)
		return -ENOMEM;
	ret = kho_region_bind(r);
	if (ret) {
		dev_err(&pdev->dev, "no usable ledger at %pa: %d\n", &res->start, ret);
		memunmap(r->head);
		r->head = NULL;
		return ret;
	}
	kho_instance_id = kho_self(r)->id;
	kho_generation = kho_self(r)->generation;
	ret = kho_doorbell_open();
	if (ret) {
		memunmap(r->head);
		r->head = NULL;
		return ret;
	}
	/* this kernel cannot be without it: the veto and the bridge are in the module */
	__module_get(THIS_MODULE);
	kho_region_activate(r);
	c = kho_ledger_cpu(r, kho_apicid(0));
	if (c)
		kho_own(c, KHO_OWNER_INCOMING);
	else
		dev_warn(&pdev->dev, "boot CPU is not in the ledger\n");
	kho_beat_fill(r);
	smp_store_release(&kho_self(r)->state, (u32)KHO_STATE_RUNNING);
	kho_console_start();
	dev_info(&pdev->dev, "instance %u, generation %u\n", kho_instance_id, kho_generation);
	return 0;
}

static const struct acpi_device_id up_ids[] = { { "KHOC0001", 0 }, { } };
MODULE_DEVICE_TABLE(acpi, up_ids);

static struct platform_driver up_driver = {
	.probe = up_probe,
	.driver = {
		.name = "khoctl",
		.acpi_match_table = up_ids,
		.suppress_bind_attrs = true,
	},
};

int kho_region_setup(void)
{
	struct kho_region *r;

	for_each_region(r) {
		sema_init(&r->mbox_lock, 1);
		kho_link_init(r);
	}
	return platform_driver_register(&up_driver);
}

void kho_region_cleanup(void)
{
	platform_driver_unregister(&up_driver);
}
